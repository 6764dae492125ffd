//! What must hold after every step, and what must hold in the end.

use std::collections::HashMap;

use energy::{Account, OwnerState};
use meter::{ByQuality, Owner, Quality};
use store::records;

use crate::oracle::{self, Figures};
use crate::plan::Theme;
use crate::world::World;

/// The last figures that a scraper saw of an account.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    generation: u64,
    measured: i128,
    /// Estimated energy before late readings replaced any of it.
    estimated: i128,
    reversed: i128,
}

impl Seen {
    fn of(generation: u64, account: &Account) -> Self {
        let reversed = account.rare().map_or(0, |rare| rare.reversed.0);
        let (measured, estimated) = (account.lifetime.measured().0, account.lifetime[Quality::Estimated].0 + reversed);
        Self { generation, measured, estimated, reversed }
    }

    const fn has_stepped_back(&self, earlier: &Self) -> bool {
        self.generation == earlier.generation
            && (self.measured < earlier.measured
                || self.estimated < earlier.estimated
                || self.reversed < earlier.reversed)
    }
}

impl World {
    /// After every publication: what readers see is on disk, has not stepped back, and is no more than
    /// was read.
    pub(crate) fn shown(&mut self, owners: &[Owner]) {
        let generation = self.generation();
        for owner in owners {
            let Some((state, version)) = self.seen(owner) else { continue };
            let on_disk = self.aggregator.store.row(owner);
            if on_disk.as_ref().map(|row| row.version) != Some(version)
                || on_disk.is_none_or(|row| row.bytes != records::encode_row(&state))
            {
                self.violation(format!("version {version} of {owner} is shown and not on disk"));
            }
            for place in 0..self.truth.accounts.len() {
                let account = &self.truth.accounts[place];
                let Some(shown) = account_of(&state, account).filter(|_| account.owner == *owner) else { continue };
                let seen = Seen::of(generation, shown);
                let (key, device) = (account.key.clone(), account.device);
                if let Some(earlier) = self.scraped.insert(place, seen)
                    && seen.has_stepped_back(&earlier)
                {
                    self.violation(format!("{owner} {key:?} stepped back from {earlier:?} to {seen:?}"));
                }
                let looks = self.truth.looks(place, false);
                let slack = if matches!(self.plan.theme, Theme::Clocks | Theme::Copies) {
                    oracle::reboot_slack(device, &looks).0
                } else {
                    0
                };
                let bound = oracle::bound(device, &looks) + slack;
                if seen.measured > bound {
                    let measured = seen.measured;
                    self.violation(format!("{owner} {key:?} shows {measured}, and at most {bound} can have been read"));
                }
            }
        }
    }

    /// In the end: what is on disk is what was read.
    pub(crate) fn is_exact(&mut self) {
        let expected = self.truth.figures();
        let image = self.aggregator.store.copy();
        let mut states = HashMap::new();
        for (owner, row) in &image.rows {
            states.insert(owner.clone(), records::decode_row(owner, &row.bytes).expect("a row"));
        }
        for (place, expected) in expected {
            let account = &self.truth.accounts[place];
            let found = states.get(&account.owner).and_then(|state| account_of(state, account));
            let figures = found.map(figures_of).unwrap_or_default();
            let name = format!("{} {:?}", account.owner, account.key);
            let looks = self.truth.looks(place, true);
            let mut slack = Slack { per_mille: i128::from(!self.plan.calm), ..Slack::default() };
            if account.is_late {
                slack.estimated = oracle::estimate_bound(account.device, &looks);
            }
            if matches!(self.plan.theme, Theme::Clocks | Theme::Copies) {
                (slack.integrated, slack.covered_ns) = oracle::reboot_slack(account.device, &looks);
            }
            if !slack.agree(&figures, &expected) {
                self.say(|| format!("{name} is {found:#?}\n{looks:?}").replace("Look {", "\n"));
                self.violation(format!("{name}\n  has  {figures:?}\n  read {expected:?}"));
            }
        }
        self.marks_are_exact(&states, &image);
        for (owner, state) in &states {
            let mut sums = vec![(ByQuality::default(), 0_u64); state.accounts.len()];
            for slot in &state.open {
                for (account, cell) in slot.cells.iter().enumerate() {
                    sums[account].0 += cell.energy;
                    sums[account].1 += cell.covered_ns;
                }
            }
            for entry in image.history.iter().filter(|entry| entry.owner == *owner) {
                for cell in records::decode_hour(entry.hour, &entry.bytes).expect("a posting").cells {
                    sums[usize::from(cell.account)].0 += cell.cell.energy;
                    sums[usize::from(cell.account)].1 += cell.cell.covered_ns;
                }
            }
            for (account, sum) in state.accounts.iter().zip(sums) {
                if sum != (account.lifetime, account.covered_ns) {
                    self.violation(format!("{owner}: slots hold {sum:?}, the register {:?}", account.lifetime));
                }
            }
        }
    }
}

fn account_of<'a>(state: &'a OwnerState, account: &crate::truth::Account) -> Option<&'a Account> {
    let index = state.keys.iter().position(|key| *key == account.key)?;
    state.accounts.get(index)
}

fn figures_of(account: &Account) -> Figures {
    Figures {
        counter: account.lifetime[Quality::Counter].0,
        integrated: account.lifetime[Quality::Integrated].0,
        estimated: account.lifetime[Quality::Estimated].0,
        covered_ns: account.covered_ns.into(),
    }
}

/// How far figures may be from what was read. Measured energy is exact in any weather; only how long a
/// machine was away is not known better than wall clocks are right.
#[derive(Clone, Copy, Debug, Default)]
struct Slack {
    /// Estimates and covered time are lengths on the ledger's axis, which a delay may slew by 500 ppm.
    per_mille: i128,
    /// If readings came out of order, the estimate of what is left of a hole is known within this bound.
    estimated: i128,
    /// What may be joined over reboots, or only shown right after one, and how long that is.
    integrated: i128,
    covered_ns: i128,
}

impl Slack {
    fn agree(&self, found: &Figures, expected: &Figures) -> bool {
        let near = |found: i128, expected: i128, more: i128| {
            let slew = expected / 1000 * self.per_mille;
            (expected - slew - more..=expected + slew + more).contains(&found)
        };
        found.counter == expected.counter
            && (found.integrated - expected.integrated).abs() <= self.integrated
            && (near(found.estimated, expected.estimated, 0)
                || (self.estimated > 0 && (0..=self.estimated).contains(&found.estimated)))
            && near(found.covered_ns, expected.covered_ns, self.covered_ns)
    }
}
