//! A tariff of the OpenEI Utility Rate Database (URDB) as a rate of ours.
//!
//! URDB prices hours by two tables of 12 months × 24 hours, for weekdays and weekends, that point into a
//! list of periods with tiers. What a rate of ours cannot say is told, never left out silently.
//!
//! Format: <https://openei.org/services/doc/rest/util_rates/?version=8>.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

use crate::error::CostError;
use crate::rates::RateCard;

mod schedule;

use schedule::{Rule, Table, rules};

/// How to convert.
#[derive(Clone, Debug, Default)]
pub struct Options<'a> {
    /// The IANA zone of the tariff's hours; nothing for UTC.
    pub timezone: Option<&'a str>,
    /// The site it is for; nothing for every site without a rate of its own.
    pub site: Option<&'a str>,
    /// Which of several tariffs of the file, from 1.
    pub item: Option<usize>,
    /// Whether the database's dates limit the rate.
    pub dated: bool,
}

/// A rate card, and what people must know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// The card as TOML.
    pub toml: String,
    /// What it does not say, and what was assumed.
    pub notes: Vec<String>,
}

/// A tariff as URDB writes it; what is not read here is looked for among `more`.
#[derive(Deserialize)]
struct Tariff {
    label: Option<String>,
    uri: Option<String>,
    name: Option<String>,
    utility: Option<String>,
    source: Option<String>,
    #[serde(default)]
    energyratestructure: Vec<Vec<Tier>>,
    #[serde(default)]
    energyweekdayschedule: Table,
    #[serde(default)]
    energyweekendschedule: Table,
    #[serde(default)]
    demandratestructure: Vec<Vec<Tier>>,
    #[serde(default)]
    flatdemandstructure: Vec<Vec<Tier>>,
    #[serde(default)]
    flatdemandmonths: Vec<usize>,
    fixedchargefirstmeter: Option<Value>,
    fixedmonthlycharge: Option<Value>,
    fixedchargeunits: Option<String>,
    startdate: Option<i64>,
    enddate: Option<i64>,
    #[serde(flatten)]
    more: BTreeMap<String, Value>,
}

/// A price up to some usage.
#[derive(Deserialize)]
struct Tier {
    rate: Option<Value>,
    adj: Option<Value>,
    max: Option<Value>,
    unit: Option<String>,
}

/// Keys that say what is due, and that a rate of ours has no word for.
const UNSAID: [(&str, &str); 11] = [
    ("mincharge", "a minimum charge"),
    ("minmonthlycharge", "a minimum charge per month"),
    ("annualmincharge", "a minimum charge per year"),
    ("fixedchargeeaaddl", "a fixed charge for each further meter"),
    ("coincidentratestructure", "a charge for demand at the time of the system's peak"),
    ("fueladjustmentsmonthly", "fuel adjustments by month"),
    ("energyattrs", "further attributes of energy"),
    ("demandattrs", "further attributes of demand"),
    ("fixedattrs", "further attributes of fixed charges"),
    ("demandratchetpercentage", "a demand ratchet"),
    ("demandreactivepowercharge", "a charge for reactive power"),
];

/// Converts a URDB answer, or one tariff of it.
///
/// # Errors
/// [`CostError::Tariff`] if it is none, has no energy prices, or names several tariffs and none was chosen.
pub fn convert(text: &str, options: &Options<'_>) -> Result<Converted, CostError> {
    let wrong = |why: String| CostError::Tariff(why);
    let document: Value = serde_json::from_str(text).map_err(|error| wrong(format!("it is no JSON: {error}")))?;
    let tariff: Tariff = serde_json::from_value(chosen(document, options.item)?)
        .map_err(|error| wrong(format!("it is no URDB tariff: {error}")))?;
    if tariff.energyratestructure.is_empty() {
        return Err(wrong("it has no energyratestructure: there is no price of energy to take".into()));
    }
    let mut writer = Writer { tariff: &tariff, options, notes: Vec::new() };
    let toml = writer.card()?;
    // What is written must be a card; an invented zone, say, makes it none.
    RateCard::parse(&toml).map_err(|error| wrong(format!("what it says makes no rate card: {error}")))?;
    Ok(Converted { toml, notes: writer.notes })
}

fn chosen(document: Value, item: Option<usize>) -> Result<Value, CostError> {
    let Value::Object(mut answer) = document else { return Err(CostError::Tariff("it is no JSON object".into())) };
    let mut items = match answer.remove("items") {
        Some(Value::Array(items)) => items,
        _ => vec![Value::Object(answer)],
    };
    let count = items.len();
    let place = match item {
        Some(number) => number.checked_sub(1).filter(|&place| place < count),
        None if count == 1 => Some(0),
        None => None,
    };
    place.map(|place| items.swap_remove(place)).ok_or_else(|| {
        let name = |(index, item): (usize, &Value)| format!("{} {}", index + 1, item["name"].as_str().unwrap_or("?"));
        let names: Vec<String> = items.iter().enumerate().take(20).map(name).collect();
        CostError::Tariff(format!("it holds {count} tariffs, say which with --item: {}", names.join("; ")))
    })
}

struct Writer<'a> {
    tariff: &'a Tariff,
    options: &'a Options<'a>,
    notes: Vec<String>,
}

impl Writer<'_> {
    fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    fn card(&mut self) -> Result<String, CostError> {
        let mut toml = self.comments();
        toml += "\n[[rate]]\n";
        for (key, value) in [("id", &self.tariff.label), ("name", &self.tariff.name)] {
            value.iter().for_each(|value| line(&mut toml, key, value));
        }
        self.options.site.iter().for_each(|site| line(&mut toml, "site", site));
        line(&mut toml, "currency", "USD");
        let zone = self.options.timezone.unwrap_or("UTC");
        if self.options.timezone.is_none() {
            self.note(
                "URDB files name no time zone: the hours are taken as UTC, which is wrong nearly everywhere in its \
                 reach. Say --timezone, such as --timezone America/New_York",
            );
        }
        line(&mut toml, "timezone", zone);
        self.dates(&mut toml);
        self.charges(&mut toml);
        let rules = self.rules()?;
        if let [only] = rules.as_slice() {
            line(&mut toml, "price_per_kwh", &self.price(only.period)?.to_string());
        } else {
            for rule in &rules {
                toml += "\n[[rate.period]]\n";
                line(&mut toml, "name", &format!("URDB period {}", rule.period));
                rule.write(&mut toml);
                line(&mut toml, "price_per_kwh", &self.price(rule.period)?.to_string());
            }
        }
        self.tiers();
        let of = self.tariff;
        for (key, what) in UNSAID.iter().filter(|(key, _)| of.more.get(*key).is_some_and(says_something)) {
            self.note(format!("{key}: {what} is not taken over"));
        }
        Ok(toml)
    }

    fn comments(&self) -> String {
        let of = self.tariff;
        let mut text = "# Converted from the OpenEI Utility Rate Database.\n".to_owned();
        for (what, value) in [("Utility", &of.utility), ("Entry", &of.uri), ("Source", &of.source)] {
            let plain = value.as_ref().map(|value| value.replace(char::is_control, " "));
            if let Some(value) = plain {
                let _ = writeln!(text, "# {what}: {value}");
            }
        }
        text
    }

    /// The database's dates say when an entry was superseded there; a fleet is priced by it for as long as its
    /// operator says.
    fn dates(&mut self, toml: &mut String) {
        let of = self.tariff;
        let date = |seconds: i64| Timestamp::from_second(seconds).ok().map(|at| at.strftime("%Y-%m-%d").to_string());
        let comment = if self.options.dated { "" } else { "# " };
        for (key, value) in [("valid_from", of.startdate), ("valid_to", of.enddate)] {
            if let Some(date) = value.and_then(date) {
                let _ = writeln!(toml, "{comment}{key} = {}", quoted(&date));
            }
        }
        if !self.options.dated && (of.startdate.is_some() || of.enddate.is_some()) {
            let edge = |value: Option<i64>| value.and_then(date).unwrap_or_else(|| "…".into());
            let (from, to) = (edge(of.startdate), edge(of.enddate));
            self.note(format!(
                "URDB dates this tariff {from} to {to}; the rate holds always. Say --dated to keep the dates"
            ));
        }
    }

    fn charges(&mut self, toml: &mut String) {
        let of = self.tariff;
        let demand = self.demand();
        if let Some(demand) = demand.filter(|demand| !demand.is_zero()) {
            line(toml, "demand_per_kw", &demand.to_string());
        }
        let fixed = of.fixedchargefirstmeter.as_ref().or(of.fixedmonthlycharge.as_ref()).and_then(number);
        let Some(fixed) = fixed.filter(|fixed| !fixed.is_zero()) else { return };
        let unit = of.fixedchargeunits.as_deref().unwrap_or("$/month");
        if unit == "$/month" && fixed > Decimal::ZERO {
            line(toml, "fixed_per_month", &fixed.to_string());
        } else {
            self.note(format!("fixedchargefirstmeter: {fixed} {unit} is not taken over: only $/month can be"));
        }
    }

    /// The demand charge, where it is the same in all months and hours.
    fn demand(&mut self) -> Option<Decimal> {
        let of = self.tariff;
        let mut sum = Decimal::ZERO;
        let flat: BTreeSet<usize> = of.flatdemandmonths.iter().copied().collect();
        let parts = [
            ("flatdemandstructure", &of.flatdemandstructure, flat.len() <= 1, flat.first().copied().unwrap_or(0)),
            ("demandratestructure", &of.demandratestructure, of.demandratestructure.len() == 1, 0),
        ];
        for (key, periods, is_one, period) in parts {
            let prices: BTreeSet<Decimal> = periods.iter().filter_map(|tiers| sum_of(tiers.first()?)).collect();
            if prices.iter().all(Decimal::is_zero) {
                continue;
            }
            let unit = periods.iter().flatten().filter_map(|tier| tier.unit.as_deref()).find(|unit| *unit != "kW");
            match periods.get(period).and_then(|tiers| sum_of(tiers.first()?)) {
                Some(price) if (is_one || prices.len() == 1) && unit.is_none() && price >= Decimal::ZERO => {
                    sum += price
                }
                _ => {
                    let all = prices.iter().map(Decimal::to_string).collect::<Vec<_>>().join(", ");
                    let unit = unit.unwrap_or("kW");
                    self.note(format!(
                        "{key}: demand charges that differ by month or hour ({all} $ per {unit}) are not taken over"
                    ));
                }
            }
        }
        Some(sum)
    }

    fn rules(&self) -> Result<Vec<Rule>, CostError> {
        let of = self.tariff;
        let known = of.energyratestructure.len();
        rules(&of.energyweekdayschedule, &of.energyweekendschedule, known).map_err(CostError::Tariff)
    }

    /// Rate and adjustment of a period's first tier, per kWh.
    fn price(&mut self, period: usize) -> Result<Decimal, CostError> {
        let tier = self.tariff.energyratestructure.get(period).and_then(|tiers| tiers.first());
        let price = tier.and_then(sum_of);
        let price = price.ok_or_else(|| CostError::Tariff(format!("its energy period {period} has no price")))?;
        let rounded = price.round_dp(9).normalize();
        if rounded != price.normalize() {
            self.note(format!("energyratestructure: {price} of period {period} is rounded to 9 decimals"));
        }
        Ok(rounded)
    }

    fn tiers(&mut self) {
        for (period, tiers) in self.tariff.energyratestructure.iter().enumerate() {
            if tiers.len() > 1 {
                let upto = tiers.first().and_then(|tier| tier.max.as_ref()).and_then(number);
                let upto = upto.map_or_else(|| "some usage".into(), |max| format!("{max} kWh"));
                let more = tiers.len() - 1;
                self.note(format!(
                    "energyratestructure: of period {period} the first tier (up to {upto}) is taken for all usage; {more} more are not taken over"
                ));
            }
            let unit = tiers.first().and_then(|tier| tier.unit.as_deref()).unwrap_or("kWh");
            if unit != "kWh" {
                self.note(format!("energyratestructure: the tiers of period {period} are by {unit}"));
            }
        }
    }
}

fn sum_of(tier: &Tier) -> Option<Decimal> {
    let parts = [&tier.rate, &tier.adj].into_iter().flatten();
    let parts: Vec<Decimal> = parts.map(number).collect::<Option<_>>()?;
    (!parts.is_empty()).then(|| parts.into_iter().sum())
}

/// A JSON number by its digits.
fn number(value: &Value) -> Option<Decimal> {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.trim().to_owned(),
        _ => return None,
    };
    Decimal::from_str_exact(&text).or_else(|_| Decimal::from_scientific(&text)).ok()
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Number(_) | Value::String(_) => number(value).is_none_or(|number| !number.is_zero()),
        Value::Array(list) => list.iter().any(says_something),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(said) => *said,
    }
}

fn line(toml: &mut String, key: &str, value: &str) {
    let _ = writeln!(toml, "{key} = {}", quoted(value));
}

/// Text as a TOML string.
fn quoted(text: &str) -> String {
    let plain = text.replace(char::is_control, " ").replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{plain}\"")
}
