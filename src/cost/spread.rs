//! Spreads energy that no job held over the jobs, where the policy is to: in proportion to their energy,
//! within the rows that differ in nothing but whose they are. So with `by=job.user` the idle energy of the whole
//! selection is spread, with `by=host,job.user` that of each host, and with a step that of each interval. Where
//! there is no job to bear it, it stays a line of its own.
//!
//! Everything that adds up is split, each by rounded cumulative sums: not half a picojoule is lost.

use std::collections::BTreeMap;

use meter::{ByQuality, Energy};

use crate::cells::Cell;
use crate::priced::Priced;
use crate::rollup::Rollup;
use crate::selector::Dimension;
use crate::tenant::{Class, Policy};

/// The rows that bear one another's idle energy: interval, and the key but for whose they are.
type Pool = (u32, Vec<u32>);

/// The cells of a pool, by class.
#[derive(Default)]
struct Cells {
    held: Vec<usize>,
    idle: Vec<usize>,
    shared: Vec<usize>,
}

impl Rollup<'_> {
    /// Spreads what is to be spread, and takes out the lines that are empty then.
    pub(crate) fn spread(&mut self) {
        let policies = self.tenants.policies;
        let is_spread = |class| policies.of(class) == Policy::Proportional;
        if !self.by.dimensions().iter().any(Dimension::is_of_tenant)
            || ![Class::Idle, Class::Shared].map(is_spread).contains(&true)
        {
            return;
        }
        let mut gone = Vec::new();
        for cells in self.pools().into_values() {
            // By what the jobs themselves used, so that the order of the two does not matter.
            let weights = weights(&self.cells, &cells.held);
            if weights.iter().sum::<i128>() == 0 {
                continue;
            }
            for (class, from) in [(Class::Idle, &cells.idle), (Class::Shared, &cells.shared)] {
                for &cell in from.iter().filter(|_| is_spread(class)) {
                    self.spread_cell(cell, &cells.held, &weights);
                    gone.push(cell);
                }
            }
        }
        gone.sort_unstable();
        let mut index = 0;
        self.cells.retain(|_| {
            index += 1;
            gone.binary_search(&(index - 1)).is_err()
        });
    }

    fn pools(&self) -> BTreeMap<Pool, Cells> {
        let kept: Vec<bool> = self.by.dimensions().iter().map(|dimension| !dimension.is_of_tenant()).collect();
        let mut pools: BTreeMap<Pool, Cells> = BTreeMap::new();
        for (index, cell) in self.cells.iter().enumerate() {
            let group = &self.groups[cell.group as usize];
            let key = group.key.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(value, _)| *value).collect();
            let cells = pools.entry((cell.interval, key)).or_default();
            match group.class {
                Class::Held => cells.held.push(index),
                Class::Idle => cells.idle.push(index),
                Class::Shared => cells.shared.push(index),
            }
        }
        // In the order of the names, so that the odd half picojoule goes to the same row each time.
        let name = |index: &usize| {
            let key = &self.groups[self.cells[*index].group as usize].key;
            key.iter().map(|&number| self.symbols.text(number)).collect::<Vec<_>>()
        };
        pools.values_mut().for_each(|cells| cells.held.sort_by_key(name));
        pools
    }

    fn spread_cell(&mut self, from: usize, to: &[usize], weights: &[i128]) {
        let cell = &self.cells[from];
        let (energy, metered, apportioned) = (cell.energy, cell.metered, cell.apportioned);
        let (methods, priced) = (cell.methods, cell.priced.clone());
        let mut ways = Ways::by(weights);
        for (&to, &weight) in to.iter().zip(weights) {
            ways.step(weight);
            let cell = &mut self.cells[to];
            cell.energy += ByQuality(energy.0.map(|energy| ways.share(energy)));
            cell.metered += ways.share(metered);
            cell.apportioned += ways.share(apportioned);
            cell.methods.extend(methods);
            priced.iter().for_each(|sum| ways.share_priced(sum).join(&mut cell.priced));
        }
    }
}

/// What cells weigh: their energy, in units so large that a product of two sums fits 128 bits.
fn weights(cells: &[Cell], held: &[usize]) -> Vec<i128> {
    let energy = |&cell: &usize| cells[cell].energy.total().0.max(0);
    let sum: i128 = held.iter().map(energy).sum();
    let surplus = (i128::BITS - sum.leading_zeros()).saturating_sub(62);
    held.iter().map(|cell| energy(cell) >> surplus).collect()
}

/// Cumulative shares.
pub(crate) struct Ways {
    whole: i128,
    before: i128,
    after: i128,
}

impl Ways {
    pub(crate) fn by(weights: &[i128]) -> Self {
        Self { whole: weights.iter().sum::<i128>().max(1), before: 0, after: 0 }
    }

    /// Of weights that add up to `whole`.
    pub(crate) const fn of(whole: i128) -> Self {
        Self { whole, before: 0, after: 0 }
    }

    /// Goes on to the next weight.
    pub(crate) const fn step(&mut self, weight: i128) {
        self.before = self.after;
        self.after += weight;
    }

    /// The share of the weight that was stepped to: the difference of two rounded sums.
    pub(crate) const fn share(&self, Energy(all): Energy) -> Energy {
        Energy(portion(all, self.after, self.whole) - portion(all, self.before, self.whole))
    }

    /// The same of energy that has a price.
    fn share_priced(&self, sum: &Priced) -> Priced {
        sum.portion(self.after, self.whole) - sum.portion(self.before, self.whole)
    }
}

/// `all × part / whole`, rounded down; whole and part first, so that it fits 128 bits.
pub(crate) const fn portion(all: i128, part: i128, whole: i128) -> i128 {
    if all == 0 {
        return 0;
    }
    all.div_euclid(whole) * part + (all.rem_euclid(whole) * part).div_euclid(whole)
}
