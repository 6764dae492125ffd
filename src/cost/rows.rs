//! From exact sums to printed rows: every figure is rounded here, once.

use std::borrow::Cow;
use std::collections::BTreeMap;

use meter::time::SECOND_NS;
use meter::units::MICROJOULE;
use meter::{ByQuality, DoubtCounts, Energy, Methods, Utc};
use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::money::{Amount, KWH, MICRO, Share, apportion, apportion_table};
use crate::rates::{RateCard, Tariff};
use crate::rollup::{Cell, Coverage, Rollup};
use crate::statement::{Carbon, Cost, CostParts, FlaggedHost, QualityFigures, Row};

/// The exact sums behind one row.
#[derive(Default)]
struct Sums {
    energy: ByQuality,
    metered: Energy,
    coverage: Coverage,
    methods: Methods,
    doubts: DoubtCounts,
    /// Energy times PUE, in millionths of ½ pJ.
    facility: i128,
    unpriced: Energy,
    costs: BTreeMap<Currency, Parts>,
    /// Grams; nothing as long as no energy had a factor.
    carbon_grams: Option<f64>,
    without_factor: Energy,
}

/// The exact parts of an amount.
#[derive(Clone, Copy, Default)]
struct Parts {
    energy: Amount,
    pue_overhead: Amount,
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
        let texts = |cell: &Cell| {
            let key = &self.groups[cell.group as usize].key;
            key.iter().map(|&number| self.symbols.text(number)).collect::<Vec<_>>()
        };
        let mut order: Vec<_> = self.cells.iter().map(|cell| (cell.interval, texts(cell), cell)).collect();
        order.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));

        let sums: Vec<Sums> = order.iter().map(|(_, _, cell)| Sums::of(cell, self.card)).collect();
        let mut whole = Sums::default();
        sums.iter().for_each(|row| whole.add(row));
        (whole.coverage, whole.methods, whole.doubts) = (self.total.coverage, self.total.methods, self.total.doubts);

        let total_uj = whole.energy.total().microjoules();
        let shares: Vec<_> = sums.iter().map(|row| share(row.energy.total())).collect();
        let microjoules = apportion(total_uj, &shares);
        let (costs, total_costs) = costs(&sums, &whole);

        let names = self.by.names();
        let rows =
            order.iter().zip(&sums).zip(microjoules).zip(costs).map(|((((interval, key, _), sums), uj), cost)| {
                let span = self.intervals[*interval as usize];
                let by = names.iter().cloned().zip(key.iter().map(|&value| value.to_owned())).collect();
                sums.row(Some(by), (span.start(), span.end()), uj, cost)
            });
        let rows = rows.collect();
        let edges = self.intervals.first().zip(self.intervals.last());
        let span = edges.map_or((Utc(0), Utc(0)), |(first, last)| (first.start(), last.end()));
        (rows, whole.row(None, span, total_uj, total_costs))
    }
}

impl Sums {
    fn of(cell: &Cell, card: &RateCard) -> Self {
        let Cell { energy, metered, coverage, methods, doubts, .. } = *cell;
        let mut sums = Self { energy, metered, coverage, methods, doubts, ..Self::default() };
        for &(tariff, energy) in &cell.priced {
            sums.price(tariff, energy, card);
        }
        sums
    }

    fn price(&mut self, tariff: Option<Tariff>, energy: Energy, card: &RateCard) {
        let rate = tariff.and_then(|tariff| Some((tariff, card.rates().get(tariff.rate as usize)?)));
        let Some((tariff, rate)) = rate else {
            self.facility += energy.0 * i128::from(MICRO);
            self.unpriced += energy;
            self.without_factor += energy;
            return;
        };
        let facility = energy.0 * i128::from(rate.pue_micro);
        self.facility += facility;
        let parts = self.costs.entry(rate.currency).or_default();
        parts.energy += Amount::of(energy, tariff.price_nano, MICRO);
        parts.pue_overhead += Amount::of(energy, tariff.price_nano, rate.pue_micro - MICRO);
        match rate.carbon_milligrams {
            Some(factor) => *self.carbon_grams.get_or_insert(0.0) += kwh_of_micro(facility) * factor as f64 / 1e3,
            None => self.without_factor += energy,
        }
    }

    fn add(&mut self, other: &Self) {
        self.energy += other.energy;
        self.metered += other.metered;
        self.facility += other.facility;
        self.unpriced += other.unpriced;
        self.without_factor += other.without_factor;
        for (&currency, parts) in &other.costs {
            let mine = self.costs.entry(currency).or_default();
            mine.energy += parts.energy;
            mine.pue_overhead += parts.pue_overhead;
        }
        if let Some(grams) = other.carbon_grams {
            *self.carbon_grams.get_or_insert(0.0) += grams;
        }
    }

    fn row(&self, by: Option<BTreeMap<String, String>>, (start, end): (Utc, Utc), uj: i128, cost: Vec<Cost>) -> Row {
        Row {
            by,
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
                location_grams: self.carbon_grams.map(tidy),
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
            covered_seconds: seconds(self.coverage.covered_ns),
            metered_seconds: seconds(self.coverage.metered_ns),
            summed_seconds: seconds(self.coverage.covered_ns.saturating_sub(self.coverage.metered_ns)),
            ratio_seconds: seconds(self.coverage.ratio_ns),
            expected_seconds: seconds(self.coverage.expected_ns),
        }
    }
}

fn flags(counts: &DoubtCounts) -> BTreeMap<Cow<'static, str>, u64> {
    counts.counts().map(|(code, slots)| (Cow::Borrowed(code), slots)).collect()
}

/// The printed costs of each row, and of the total.
///
/// The total's amount is rounded once; the rows' amounts and the total's parts add up to it, and the
/// rows' parts add up both ways.
fn costs(rows: &[Sums], whole: &Sums) -> (Vec<Vec<Cost>>, Vec<Cost>) {
    let mut by_row = vec![Vec::new(); rows.len()];
    let mut totals = Vec::new();
    for (&currency, total) in &whole.costs {
        let digits = currency.minor_digits();
        let concerned: Vec<(usize, Parts)> =
            rows.iter().enumerate().filter_map(|(index, row)| Some((index, *row.costs.get(&currency)?))).collect();
        let column = |part: fn(&Parts) -> Amount| -> Vec<Share> {
            concerned.iter().map(|(_, parts)| part(parts).floor(digits)).collect()
        };
        let amount = (total.energy + total.pue_overhead).rounded(digits);
        let amounts = apportion(amount, &column(|parts| parts.energy + parts.pue_overhead));
        let columns = apportion(amount, &[total.pue_overhead.floor(digits), total.energy.floor(digits)]);
        let shares = [column(|parts| parts.pue_overhead), column(|parts| parts.energy)];
        let table = apportion_table(&amounts, &columns, &shares);
        for (at, (index, _)) in concerned.iter().enumerate() {
            by_row[*index].push(cost(currency, amounts[at], table[1][at], table[0][at]));
        }
        totals.push(cost(currency, amount, columns[1], columns[0]));
    }
    (by_row, totals)
}

fn cost(currency: Currency, amount: i128, energy: i128, pue_overhead: i128) -> Cost {
    // An amount that does not fit 96 bits (10²⁶ of a currency) cannot come of an Amount.
    let decimal = |minor| Decimal::try_from_i128_with_scale(minor, currency.minor_digits()).unwrap_or(Decimal::MAX);
    let parts = CostParts {
        energy: decimal(energy),
        pue_overhead: decimal(pue_overhead),
        demand: decimal(0),
        fixed: decimal(0),
    };
    Cost { currency, amount: decimal(amount), parts }
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
