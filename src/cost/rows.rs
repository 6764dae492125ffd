//! From exact sums to printed rows: every figure is rounded here, once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use meter::time::SECOND_NS;
use meter::units::MICROJOULE;
use meter::{ByQuality, DoubtCounts, Energy, Methods, Utc};
use rust_decimal::Decimal;

use crate::cells::{Cell, Coverage};
use crate::currency::Currency;
use crate::money::{Amount, KWH, MICRO, Share, apportion, apportion_table};
use crate::rollup::Rollup;
use crate::statement::{Carbon, Cost, CostParts, FlaggedHost, QualityFigures, Row};
use crate::tenant::Class;

/// The exact sums behind one row.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) class: Class,
    pub(crate) energy: ByQuality,
    pub(crate) metered: Energy,
    pub(crate) apportioned: Energy,
    pub(crate) coverage: Coverage,
    pub(crate) methods: Methods,
    pub(crate) doubts: DoubtCounts,
    /// Energy times PUE, in millionths of ½ pJ.
    pub(crate) facility: i128,
    pub(crate) unpriced: Energy,
    pub(crate) costs: BTreeMap<Currency, Parts>,
    /// Tonnes of CO₂ equivalent; nothing as long as no energy had a factor.
    pub(crate) carbon: Option<Amount>,
    pub(crate) without_factor: Energy,
}

/// The exact parts of an amount.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts {
    /// The energy that is priced in this currency.
    pub(crate) priced: Energy,
    pub(crate) energy: Amount,
    pub(crate) pue_overhead: Amount,
    pub(crate) demand: Amount,
    pub(crate) fixed: Amount,
}

/// A row before it is printed.
pub(crate) struct Exact {
    /// Start and end, exclusive.
    pub(crate) span: (Utc, Utc),
    /// The group's values, in the order of the keys asked for.
    pub(crate) key: Vec<String>,
    pub(crate) sums: Sums,
}

impl Rollup<'_> {
    /// The hosts that people should look at, the worst first, at most `most` of them; and how many there are.
    #[must_use]
    pub fn flagged(&self, most: usize) -> (Vec<FlaggedHost>, u64) {
        let mut hosts: Vec<_> = self.doubted.iter().map(|(&name, counts)| (name, counts)).collect();
        let text = |number| self.symbols.text(number);
        hosts.sort_by_key(|((cluster, host), counts)| {
            (std::cmp::Reverse(counts.0.iter().max().copied()), text(*cluster), text(*host))
        });
        let flagged = hosts.iter().take(most).map(|((cluster, host), counts)| FlaggedHost {
            cluster: text(*cluster).to_owned(),
            host: text(*host).to_owned(),
            flags: flags(counts),
        });
        (flagged.collect(), hosts.len() as u64)
    }

    /// The rows, by time, then by key, and their total.
    #[must_use]
    pub fn finish(self) -> (Vec<Row>, Row) {
        let (names, rows, whole) = self.exact();
        print(&names, &rows, &whole)
    }

    /// The same before anything is rounded, with the names of the keys; the last is the whole.
    pub(crate) fn exact(mut self) -> (Vec<String>, Vec<Exact>, Exact) {
        self.spread();
        let key = |cell: &Cell| {
            let key = &self.groups[cell.group as usize].key;
            key.iter().map(|&number| self.symbols.text(number).to_owned()).collect::<Vec<_>>()
        };
        let mut order: Vec<_> = self.cells.iter().map(|cell| (cell.interval, key(cell), cell)).collect();
        order.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        let class = |cell: &Cell| self.groups[cell.group as usize].class;
        let exact = |(interval, key, cell): (u32, Vec<String>, &Cell)| {
            let span = self.intervals[interval as usize];
            Exact { span: (span.start(), span.end()), key, sums: Sums::of(cell, class(cell), &self.prices) }
        };
        let rows: Vec<Exact> = order.into_iter().map(exact).collect();
        let edges = self.intervals.first().zip(self.intervals.last());
        let span = edges.map_or((Utc(0), Utc(0)), |(first, last)| (first.start(), last.end()));
        let mut sums = Sums::default();
        rows.iter().for_each(|row| sums.add(&row.sums));
        (sums.coverage, sums.methods, sums.doubts) = (self.total.coverage, self.total.methods, self.total.doubts);
        (self.by.names(), rows, Exact { span, key: Vec::new(), sums })
    }
}

/// What is printed of a whole: its energy in microjoules, its amounts in minor units.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    energy_uj: i128,
    amounts: BTreeMap<Currency, i128>,
}

impl Totals {
    /// Each figure rounded once.
    pub(crate) fn of(whole: &Sums) -> Self {
        let amount =
            |(&currency, parts): (&Currency, &Parts)| (currency, parts.amount().rounded(currency.minor_digits()));
        Self { energy_uj: whole.energy.total().microjoules(), amounts: whole.costs.iter().map(amount).collect() }
    }

    /// What is printed of one less what is printed of the other.
    pub(crate) fn less(mut self, other: &Self) -> Self {
        self.energy_uj -= other.energy_uj;
        for (currency, amount) in &other.amounts {
            *self.amounts.entry(*currency).or_default() -= amount;
        }
        self
    }
}

/// Printed rows and their total, from exact ones in their order; `names` are those of their keys.
pub(crate) fn print(names: &[String], rows: &[Exact], whole: &Exact) -> (Vec<Row>, Row) {
    print_as(names, rows, whole, &Totals::of(&whole.sums))
}

/// The same where the totals are given: they are within a unit or two of the exact ones.
pub(crate) fn print_as(names: &[String], rows: &[Exact], whole: &Exact, totals: &Totals) -> (Vec<Row>, Row) {
    let sums: Vec<&Sums> = rows.iter().map(|row| &row.sums).collect();
    let energy = Microjoules::of(&sums, &whole.sums, totals.energy_uj);
    let (costs, total_costs) = costs(&sums, &whole.sums, &energy, &totals.amounts);
    let row = |((row, uj), cost): ((&Exact, i128), Vec<Cost>)| {
        let by = names.iter().cloned().zip(row.key.iter().cloned()).collect();
        row.sums.row(Some(by), row.span, uj, cost)
    };
    let printed = rows.iter().zip(energy.rows).zip(costs).map(row).collect();
    (printed, whole.sums.row(None, whole.span, energy.total, total_costs))
}

impl Parts {
    /// What the amount is made of, each under the name by which it is kept.
    pub(crate) fn named(&self) -> [(&'static str, Amount); 4] {
        let Self { energy, pue_overhead, demand, fixed, .. } = *self;
        [("energy", energy), ("pue_overhead", pue_overhead), ("demand", demand), ("fixed", fixed)]
    }

    /// The part that is kept under this name.
    pub(crate) fn part_mut(&mut self, name: &str) -> Option<&mut Amount> {
        match name {
            "energy" => Some(&mut self.energy),
            "pue_overhead" => Some(&mut self.pue_overhead),
            "demand" => Some(&mut self.demand),
            "fixed" => Some(&mut self.fixed),
            _ => None,
        }
    }

    /// All parts together.
    pub(crate) fn amount(&self) -> Amount {
        self.named().into_iter().map(|(_, part)| part).sum()
    }

    fn add(&mut self, other: &Self) {
        self.priced += other.priced;
        for (name, part) in other.named() {
            if let Some(mine) = self.part_mut(name) {
                *mine += part;
            }
        }
    }
}

impl Sums {
    /// Adds energy and money, which add up over any rows; not time, which does not.
    pub(crate) fn add(&mut self, other: &Self) {
        self.energy += other.energy;
        self.metered += other.metered;
        self.apportioned += other.apportioned;
        self.facility += other.facility;
        self.unpriced += other.unpriced;
        self.without_factor += other.without_factor;
        for (&currency, parts) in &other.costs {
            self.costs.entry(currency).or_default().add(parts);
        }
        if let Some(carbon) = other.carbon {
            *self.carbon.get_or_insert_default() += carbon;
        }
    }

    /// Adds time, methods and doubts.
    pub(crate) fn add_time(&mut self, other: &Self) {
        self.coverage.extend(&other.coverage);
        self.methods.extend(other.methods);
        self.doubts.add(&other.doubts);
    }

    /// Energy and money with the opposite sign; without time.
    pub(crate) fn negated(&self) -> Self {
        let mut costs = self.costs.clone();
        for parts in costs.values_mut() {
            parts.priced = -parts.priced;
            for (name, part) in parts.named() {
                if let Some(mine) = parts.part_mut(name) {
                    *mine = -part;
                }
            }
        }
        Self {
            class: self.class,
            energy: ByQuality(self.energy.0.map(|energy| -energy)),
            metered: -self.metered,
            apportioned: -self.apportioned,
            facility: -self.facility,
            unpriced: -self.unpriced,
            costs,
            carbon: self.carbon.map(|tonnes| -tonnes),
            without_factor: -self.without_factor,
            ..Self::default()
        }
    }

    /// Whether there is neither energy nor money in it.
    pub(crate) fn is_nothing(&self) -> bool {
        let is_free =
            |parts: &Parts| parts.priced == Energy::ZERO && parts.named().iter().all(|(_, a)| *a == Amount::default());
        self.energy.0 == [Energy::ZERO; 3]
            && self.metered == Energy::ZERO
            && self.costs.values().all(is_free)
            && self.facility == 0
            && self.without_factor == Energy::ZERO
            && self.carbon.unwrap_or_default() == Amount::default()
    }

    fn row(&self, by: Option<BTreeMap<String, String>>, (start, end): (Utc, Utc), uj: i128, cost: Vec<Cost>) -> Row {
        Row {
            by,
            line: self.class.word().map(Cow::Borrowed),
            start,
            end,
            energy_joules: joules(uj),
            energy_uj: uj,
            energy_kwh: tidy(self.energy.total().0 as f64 / KWH as f64),
            facility_kwh: tidy(kwh_of_micro(self.facility)),
            quality: self.quality(uj),
            methods: self.methods.codes().map(Cow::Borrowed).collect(),
            flags: flags(&self.doubts),
            cost,
            unpriced_kwh: tidy(self.unpriced.0 as f64 / KWH as f64),
            carbon: Carbon {
                location_grams: self.carbon.map(|tonnes| tidy(tonnes.to_f64() * 1e6)),
                without_factor_kwh: tidy(self.without_factor.0 as f64 / KWH as f64),
            },
        }
    }

    /// The quality of a row that prints `uj` microjoules, to which its parts add up.
    fn quality(&self, uj: i128) -> QualityFigures {
        let kinds = apportion(uj, &self.energy.0.map(share));
        let boundary = apportion(uj, &[share(self.metered), share(self.energy.total() - self.metered)]);
        let seconds = |ns: u128| tidy(ns as f64 / SECOND_NS as f64);
        QualityFigures {
            counter_joules: joules(kinds[0]),
            integrated_joules: joules(kinds[1]),
            estimated_joules: joules(kinds[2]),
            metered_joules: joules(boundary[0]),
            summed_joules: joules(boundary[1]),
            apportioned_joules: joules(self.apportioned.microjoules()),
            covered_seconds: seconds(self.coverage.covered_ns),
            metered_seconds: seconds(self.coverage.metered_ns),
            summed_seconds: seconds(self.coverage.covered_ns.saturating_sub(self.coverage.metered_ns)),
            ratio_seconds: seconds(self.coverage.ratio_ns),
            expected_seconds: seconds(self.coverage.expected_ns),
        }
    }
}

pub(crate) fn flags(counts: &DoubtCounts) -> BTreeMap<Cow<'static, str>, u64> {
    counts.counts().map(|(code, slots)| (Cow::Borrowed(code), slots)).collect()
}

/// The printed costs of each row, and of the total.
///
/// The total's amount is rounded once; the rows' amounts and the total's parts add up to it, and the
/// rows' parts add up both ways.
fn costs(
    rows: &[&Sums],
    whole: &Sums,
    printed: &Microjoules,
    amounts: &BTreeMap<Currency, i128>,
) -> (Vec<Vec<Cost>>, Vec<Cost>) {
    let mut by_row = vec![Vec::new(); rows.len()];
    let mut totals = Vec::new();
    for (number, (&currency, total)) in whole.costs.iter().enumerate() {
        let digits = currency.minor_digits();
        let concerned: Vec<(usize, Parts)> =
            rows.iter().enumerate().filter_map(|(index, row)| Some((index, *row.costs.get(&currency)?))).collect();
        let column = |part: fn(&Parts) -> Amount| -> Vec<Share> {
            concerned.iter().map(|(_, parts)| part(parts).floor(digits)).collect()
        };
        let amount = amounts.get(&currency).copied().unwrap_or(0);
        let amounts = apportion(amount, &column(Parts::amount));
        // The last column is what a row lacks then: the largest, as a rule.
        let parts: [fn(&Parts) -> Amount; 4] =
            [|parts| parts.demand, |parts| parts.fixed, |parts| parts.pue_overhead, |parts| parts.energy];
        let columns = apportion(amount, &parts.map(|part| part(total).floor(digits)));
        let table = apportion_table(&amounts, &columns, &parts.map(column));
        for (at, (index, _)) in concerned.iter().enumerate() {
            let parts = [0, 1, 2, 3].map(|part: usize| table[part][at]);
            by_row[*index].push(cost(currency, printed.priced[number][*index], amounts[at], parts));
        }
        let parts = [0, 1, 2, 3].map(|part: usize| columns[part]);
        totals.push(cost(currency, printed.total_priced[number], amount, parts));
    }
    (by_row, totals)
}

/// Printed energies in whole microjoules.
struct Microjoules {
    total: i128,
    /// By row; they add up to the total.
    rows: Vec<i128>,
    /// By currency, then by row; what a row's energy is beyond them has no price.
    priced: Vec<Vec<i128>>,
    /// By currency: the same for every grouping, so that rows may differ from it by the rounding of each.
    total_priced: Vec<i128>,
}

impl Microjoules {
    /// The total is rounded once and shared by the rows; a row's energy is split by currency.
    fn of(rows: &[&Sums], whole: &Sums, total: i128) -> Self {
        let currencies: Vec<Currency> = whole.costs.keys().copied().collect();
        let split = |sums: &Sums, uj: i128| {
            let priced = |currency| sums.costs.get(currency).map_or(Energy::ZERO, |parts| parts.priced);
            let mut parts = apportion_some(uj, currencies.iter().map(priced).chain([sums.unpriced]));
            parts.pop();
            parts
        };
        let printed = apportion_some(total, rows.iter().map(|row| row.energy.total()));
        let mut priced = vec![vec![0; rows.len()]; currencies.len()];
        for (index, (row, &uj)) in rows.iter().zip(&printed).enumerate() {
            for (column, part) in priced.iter_mut().zip(split(row, uj)) {
                column[index] = part;
            }
        }
        Self { total, rows: printed, priced, total_priced: split(whole, total) }
    }
}

/// Printed energies that add up to `total`; what is exactly nothing prints as nothing.
fn apportion_some(total: i128, exact: impl Iterator<Item = Energy>) -> Vec<i128> {
    let exact: Vec<Energy> = exact.collect();
    let some: Vec<_> = exact.iter().filter(|energy| **energy != Energy::ZERO).map(|energy| share(*energy)).collect();
    let mut parts = apportion(total, &some).into_iter();
    exact.iter().map(|energy| if *energy == Energy::ZERO { 0 } else { parts.next().unwrap_or(0) }).collect()
}

/// The parts are demand, fixed, PUE overhead and energy.
fn cost(currency: Currency, energy_uj: i128, amount: i128, parts: [i128; 4]) -> Cost {
    // An amount that does not fit 96 bits (10²⁶ of a currency) cannot come of an Amount.
    let decimal = |minor| Decimal::try_from_i128_with_scale(minor, currency.minor_digits()).unwrap_or(Decimal::MAX);
    let [demand, fixed, pue_overhead, energy] = parts.map(decimal);
    let parts = CostParts { energy, pue_overhead, demand, fixed };
    Cost { currency, energy_uj, amount: decimal(amount), parts }
}

/// Whole microjoules, and the half picojoules above them.
fn share(energy: Energy) -> (i128, i128) {
    (energy.microjoules(), energy.0.rem_euclid(MICROJOULE))
}

#[expect(clippy::cast_precision_loss, reason = "presentation only")]
fn joules(uj: i128) -> f64 {
    uj as f64 / 1e6
}

#[expect(clippy::cast_precision_loss, reason = "presentation only")]
fn kwh_of_micro(facility: i128) -> f64 {
    facility as f64 / (KWH as f64 * MICRO as f64)
}

/// A float for people: nine decimals, and no negative zero.
fn tidy(value: f64) -> f64 {
    (value * 1e9).round() / 1e9 + 0.0
}
