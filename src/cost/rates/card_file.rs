//! The rate card's TOML: every fault is found, with its line and key.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::tz::TimeZone;
use toml::de::{DeTable, DeValue};

use super::Rate;
use super::figure::Figure;
use super::period_file::Kind;
use super::schedule::{Holidays, Period, Schedule};
use super::series_file::{CARBON, PRICE, SeriesDraft};
use super::values::{Entry, Reader, Value};
use crate::currency::Currency;
use crate::error::{Fault, shortened};
use crate::money::{MICRO, NANO};

const KEYS: &str = "id, name, version, site, match, currency, price_per_kwh, period, holidays, series, adder_per_kwh, \
                    demand_per_kw, fixed_per_month, overhead_share, pue, pue_period, carbon_g_per_kwh, carbon_series, \
                    valid_from, valid_to, timezone";

/// Most of a currency per kWh: beyond the dearest in the weakest currency, and far from overflow.
pub(super) const PRICE_MAX: i64 = 1_000_000;
/// Most of a currency per kW, and per month.
const CHARGE_MAX: i64 = 1_000_000_000;
/// Highest PUE: beyond any plant.
const PUE_MAX: i64 = 10;
/// Highest carbon intensity in g/kWh: five times the worst lignite.
pub(super) const CARBON_MAX: i64 = 10_000;
/// What is said of a file that prices nothing.
const NO_RATE: &str = "no [[rate]] in it, so it is no rate card: write at least one; to have no prices leave files.rates \
                       empty";
/// Most rates of a card.
const RATES_MAX: usize = 10_000;

const PRICES: Kind = Kind { block: "period", key: "price_per_kwh", scale: NANO, bounds: (-PRICE_MAX, PRICE_MAX) };
const PUES: Kind = Kind { block: "pue_period", key: "pue", scale: MICRO, bounds: (1, PUE_MAX) };

/// What gives the text of a file that a card names.
pub(super) type Files<'f> = dyn FnMut(&str) -> Result<String, String> + 'f;

/// The rates of a card, or all its faults.
pub(super) fn read(text: &str, files: &mut Files<'_>) -> Result<Vec<Rate>, Vec<Fault>> {
    let mut reader = Reader { text, faults: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().unwrap_or(0..0);
        reader.fault(at, "", error.message().to_owned());
    }
    let mut rates = Vec::new();
    if reader.faults.is_empty() {
        for entry in document.get_ref() {
            reader.top(entry, files, &mut rates);
        }
        reader.refuse_doubles(&rates);
    }
    // A file that was emptied, or cut off by a full disk, must not make everything unpriced.
    if reader.faults.is_empty() && rates.is_empty() {
        reader.faults.push(Fault { file: None, line: 0, key: String::new(), problem: NO_RATE.into() });
    }
    reader.faults.sort_by(|a, b| (&a.file, a.line).cmp(&(&b.file, b.line)));
    if reader.faults.is_empty() { Ok(rates) } else { Err(reader.faults) }
}

/// The values of one `[[rate]]` as they are found.
#[derive(Default)]
struct Draft {
    id: Option<String>,
    name: Option<String>,
    version: Option<String>,
    labels: BTreeMap<String, String>,
    currency: Option<Currency>,
    price_nano: Option<i64>,
    periods: Vec<Period>,
    holidays: Holidays,
    series: Option<SeriesDraft>,
    adder_nano: i64,
    demand_nano: i64,
    fixed_nano: i64,
    overhead_micro: i64,
    pue_micro: Option<i64>,
    pue_periods: Vec<Period>,
    carbon_milligrams: Option<i64>,
    carbon_series: Option<SeriesDraft>,
    timezone: Option<TimeZone>,
    valid_from: Option<(Range<usize>, String)>,
    valid_to: Option<(Range<usize>, String)>,
}

impl Reader<'_> {
    fn top(&mut self, (key, value): Entry<'_, '_>, files: &mut Files<'_>, rates: &mut Vec<Rate>) {
        let name = key.get_ref().as_ref();
        let Some(tables) = value.get_ref().as_array().filter(|_| name == "rate") else {
            let hint =
                if name == "rate" { "write [[rate]], one block per rate" } else { "unknown key; known is [[rate]]" };
            self.fault(key.span(), name, hint);
            return;
        };
        if tables.len() > RATES_MAX {
            self.fault(key.span(), name, format!("more than {RATES_MAX} rates in one card"));
        }
        for table in tables.iter().take(RATES_MAX) {
            match table.get_ref().as_table() {
                Some(entries) => rates.extend(self.rate(table.span(), entries, files)),
                None => self.fault(table.span(), "rate", "write [[rate]], one block per rate"),
            }
        }
    }

    fn rate(&mut self, at: Range<usize>, entries: &DeTable<'_>, files: &mut Files<'_>) -> Option<Rate> {
        let before = self.faults.len();
        let mut draft = Draft::default();
        for entry in entries {
            self.entry(entry, &mut draft);
        }
        self.refuse_missing(&at, entries);
        let stated = draft.timezone.take();
        let tz = stated.clone().unwrap_or(TimeZone::UTC);
        let valid_from = self.slot("valid_from", draft.valid_from.take(), &tz);
        let to = draft.valid_to.take();
        let valid_to = self.slot("valid_to", to.clone(), &tz);
        if let (Some(from), Some(until), Some((at, _))) = (valid_from, valid_to, to)
            && until <= from
        {
            self.fault(at, "valid_to", "is not after valid_from; it is exclusive");
        }
        let price = self.price(&at, &mut draft, &tz, stated.as_ref(), files);
        let pue = self.pue(&at, &mut draft, &tz);
        let carbon = match draft.carbon_series.take() {
            Some(series) => self.series(&series, &CARBON, stated.as_ref(), files).map(|s| Figure::Series(Arc::new(s))),
            None => draft.carbon_milligrams.map(Figure::Constant),
        };
        if self.faults.len() > before {
            return None;
        }
        Some(Rate {
            id: draft.id,
            name: draft.name,
            version: draft.version,
            labels: draft.labels,
            currency: draft.currency?,
            price: price?,
            pue: pue?,
            carbon,
            demand_nano: draft.demand_nano,
            fixed_nano: draft.fixed_nano,
            overhead_micro: draft.overhead_micro,
            tz,
            states_zone: stated.is_some(),
            valid_from,
            valid_to,
            line: self.line(at.start),
        })
    }

    fn refuse_missing(&mut self, at: &Range<usize>, entries: &DeTable<'_>) {
        let given = |key: &str| entries.iter().any(|(name, _)| name.get_ref() == key);
        if !given("currency") {
            self.fault(at.clone(), "currency", "is missing in this [[rate]]");
        }
        if !["price_per_kwh", "period", "series"].into_iter().any(given) {
            let problem = "is missing in this [[rate]], and so are [[rate.period]] and series";
            self.fault(at.clone(), "price_per_kwh", problem);
        }
        for (one, other) in [
            ("series", "price_per_kwh"),
            ("series", "period"),
            ("carbon_series", "carbon_g_per_kwh"),
            ("site", "match"),
        ] {
            if given(one) && given(other) {
                self.fault(at.clone(), one, format!("say either {one} or {other} in one rate"));
            }
        }
        if given("holidays") && !given("period") && !given("pue_period") {
            self.fault(at.clone(), "holidays", "needs a [[rate.period]] that prices them");
        }
    }

    fn price(
        &mut self,
        at: &Range<usize>,
        draft: &mut Draft,
        tz: &TimeZone,
        stated: Option<&TimeZone>,
        files: &mut Files<'_>,
    ) -> Option<Figure> {
        let more = draft.adder_nano;
        if let Some(series) = draft.series.take() {
            let series = self.series(&series, &PRICE, stated, files)?;
            return Some(Figure::Series(Arc::new(series.plus(more))));
        }
        if draft.periods.is_empty() {
            return draft.price_nano.map(|price| Figure::Constant(price + more));
        }
        let schedule = self.schedule(at, &PRICES, &draft.periods, draft.price_nano, &draft.holidays, tz)?;
        Some(Figure::Schedule(Arc::new(schedule.plus(more))))
    }

    fn pue(&mut self, at: &Range<usize>, draft: &mut Draft, tz: &TimeZone) -> Option<Figure> {
        if draft.pue_periods.is_empty() {
            return Some(Figure::Constant(draft.pue_micro.unwrap_or(MICRO)));
        }
        let schedule = self.schedule(at, &PUES, &draft.pue_periods, draft.pue_micro, &draft.holidays, tz)?;
        Some(Figure::Schedule(Arc::new(schedule)))
    }

    fn schedule(
        &mut self,
        at: &Range<usize>,
        kind: &Kind,
        periods: &[Period],
        default: Option<i64>,
        holidays: &Holidays,
        tz: &TimeZone,
    ) -> Option<Schedule> {
        match Schedule::new(periods, default, holidays.clone(), tz.clone()) {
            Ok(schedule) => Some(schedule),
            Err(problems) => {
                let of_rate = self.line(at.start);
                self.faults.extend(problems.into_iter().map(|problem| Fault {
                    file: None,
                    line: problem.line.unwrap_or(of_rate),
                    key: kind.block.to_owned(),
                    problem: problem.what,
                }));
                None
            }
        }
    }

    fn entry(&mut self, (key, value): Entry<'_, '_>, draft: &mut Draft) {
        let name = key.get_ref().as_ref();
        match name {
            "id" => draft.id = self.text(name, value),
            "name" => draft.name = self.text(name, value),
            "version" => draft.version = self.text(name, value),
            "site" => draft.labels.extend(self.text(name, value).map(|site| (name.to_owned(), site))),
            "match" => self.labels(name, value, draft),
            "currency" => draft.currency = self.currency(name, value),
            "period" => draft.periods = self.periods(&PRICES, value),
            "pue_period" => draft.pue_periods = self.periods(&PUES, value),
            "holidays" => draft.holidays = self.holidays(name, value),
            "series" => draft.series = self.series_draft(name, value),
            "carbon_series" => draft.carbon_series = self.series_draft(name, value),
            "timezone" => draft.timezone = self.timezone(name, value),
            "valid_from" => draft.valid_from = self.moment(name, value),
            "valid_to" => draft.valid_to = self.moment(name, value),
            _ => self.number(name, (key, value), draft),
        }
    }

    fn number(&mut self, name: &str, (key, value): Entry<'_, '_>, draft: &mut Draft) {
        match name {
            "price_per_kwh" => draft.price_nano = self.decimal(name, value, NANO, -PRICE_MAX, PRICE_MAX),
            "adder_per_kwh" => {
                draft.adder_nano = self.decimal(name, value, NANO, -PRICE_MAX, PRICE_MAX).unwrap_or_default();
            }
            "demand_per_kw" => draft.demand_nano = self.decimal(name, value, NANO, 0, PRICE_MAX).unwrap_or_default(),
            "fixed_per_month" => draft.fixed_nano = self.decimal(name, value, NANO, 0, CHARGE_MAX).unwrap_or_default(),
            "overhead_share" => draft.overhead_micro = self.decimal(name, value, MICRO, 0, 10).unwrap_or_default(),
            "pue" => draft.pue_micro = self.decimal(name, value, MICRO, 1, PUE_MAX),
            "carbon_g_per_kwh" => draft.carbon_milligrams = self.decimal(name, value, 1000, 0, CARBON_MAX),
            _ => self.fault(key.span(), name, format!("unknown key; known are {KEYS}")),
        }
    }

    fn currency(&mut self, key: &str, value: &Value<'_>) -> Option<Currency> {
        let code = self.text(key, value)?;
        let currency = Currency::new(&code);
        if currency.is_none() {
            let problem = format!("{:?} is no ISO 4217 code: three capital letters such as EUR", shortened(&code));
            self.fault(value.span(), key, problem);
        }
        currency
    }

    fn labels(&mut self, key: &str, value: &Value<'_>, draft: &mut Draft) {
        let DeValue::Table(labels) = value.get_ref() else {
            self.fault(value.span(), key, "must be labels such as { site = \"par1\", room = \"r1\" }");
            return;
        };
        if labels.is_empty() {
            self.fault(value.span(), key, "is empty; leave the key out for every host without a rate of its own");
        }
        for (label, wanted) in labels {
            let name = label.get_ref().as_ref();
            draft.labels.extend(self.text(name, wanted).map(|wanted| (name.to_owned(), wanted)));
        }
    }

    fn refuse_doubles(&mut self, rates: &[Rate]) {
        let mut known = BTreeMap::new();
        for rate in rates {
            if let Some(line) = known.insert((&rate.labels, rate.valid_from), rate.line) {
                let problem = format!("is for the same hosts and valid_from as the one at line {line}");
                self.faults.push(Fault { file: None, line: rate.line, key: "rate".into(), problem });
            }
        }
    }
}
