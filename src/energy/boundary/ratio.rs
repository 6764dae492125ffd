//! What a host's meter usually shows over its components: for the seconds that the meter misses.
//!
//! The ratio for a slot is the meter's energy over that of the components, summed over *complete* slots (both
//! covered all of it, but for [`JOIN_NS`] at most) of the last 7 UTC days that have any, out of the 14 before the
//! slot's own day. A host that is metered since today has none: then it is that of today's complete slots before
//! this one, and before the first of them a configured factor.
//!
//! Only slots count in which at least the same kinds of component (scopes) were read: a meter over CPUs alone
//! says little of CPUs and GPUs together.
//!
//! So the ratio depends on the host and the slot alone, never on the window that is asked for, and
//! windows add up. It is a whole number of millionths, hence the same everywhere.

use std::collections::VecDeque;

use meter::{Energy, Slot};

use super::Survey;
use super::meters::JOIN_NS;

/// Slots of a UTC day.
const DAY: i32 = 96;
/// How many days with complete slots decide.
const DAYS: usize = 7;
/// How far they may lie back.
pub const LOOK_BACK_DAYS: i32 = 14;
/// For how long after its last reading a meter is one that misses seconds. After that it is none any more.
const LAPSES_SLOTS: i32 = 7 * DAY;
/// One, in millionths.
const ONE: i128 = 1_000_000;
/// No machine draws so many times what its components show; with this limit 128 bits suffice.
const MOST: i128 = 1000 * ONE;

/// A meter's energy over that of the components, in millionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio(i128);

/// What was seen of an owner before a slot: complete slots by day, and when its meter was last read.
#[derive(Clone, Debug)]
pub struct History {
    days: VecDeque<Day>,
    last: Option<(Slot, Whose)>,
    factor: Ratio,
}

/// A chassis that an owner sat in, by a number that the caller gives.
pub type Place = u16;

/// Whose meter was read last.
#[derive(Clone, Copy, Debug)]
enum Whose {
    /// The owner's own.
    Own,
    /// That of a chassis, and the one the owner sat in then.
    Linked(Option<Place>),
}

#[derive(Clone, Debug)]
struct Day {
    number: i32,
    /// By the scopes that were read.
    sums: Vec<(u16, Sums)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    meter: Energy,
    components: Energy,
}

impl Default for Ratio {
    fn default() -> Self {
        Self(ONE)
    }
}

impl Ratio {
    /// A ratio in millionths, at most a thousandfold.
    #[must_use]
    pub fn from_millionths(millionths: u64) -> Self {
        Self(i128::from(millionths).min(MOST))
    }

    /// It, in millionths.
    #[must_use]
    pub const fn millionths(self) -> i128 {
        self.0
    }

    /// This many times an amount, rounded down.
    #[must_use]
    pub const fn of(self, Energy(all): Energy) -> Energy {
        Energy((all * self.0).div_euclid(ONE))
    }
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.meter += other.meter;
        self.components += other.components;
    }

    fn ratio(&self) -> Option<Ratio> {
        // A week of a megawatt is 1.2e24 half picojoules: a million times that fits 128 bits.
        let (meter, components) = (self.meter.0, self.components.0);
        let ratio = (meter > 0 && components > 0).then(|| (meter * ONE).div_euclid(components));
        ratio.map(|ratio| Ratio(ratio.min(MOST)))
    }
}

impl Day {
    /// What was summed where these scopes were read, if anything was.
    fn with(&self, scopes: u16) -> Option<Sums> {
        let mut sums = self.sums.iter().filter(|(read, _)| read & scopes == scopes).map(|(_, sums)| sums).peekable();
        sums.peek()?;
        let mut all = Sums::default();
        sums.for_each(|sums| all.add(sums));
        Some(all)
    }
}

impl History {
    /// Nothing yet. `factor` is the ratio of a host whose own is not known.
    #[must_use]
    pub fn new(factor: Ratio) -> Self {
        Self { days: VecDeque::new(), last: None, factor }
    }

    /// Takes in what a slot showed; slots come in order. `place` is the chassis that the owner sat in then.
    pub fn note(&mut self, slot: Slot, survey: &Survey, place: Option<Place>) {
        let Some(meter) = survey.meter.filter(|meter| meter.covered_ns > 0) else { return };
        self.last = Some((slot, if meter.linked { Whose::Linked(place) } else { Whose::Own }));
        if !survey.is_complete() {
            return;
        }
        let number = slot.0.div_euclid(DAY);
        while self.days.front().is_some_and(|day| day.number < number - LOOK_BACK_DAYS) {
            self.days.pop_front();
        }
        if self.days.back().is_none_or(|day| day.number != number) {
            self.days.push_back(Day { number, sums: Vec::new() });
        }
        let Some(day) = self.days.back_mut() else { return };
        let index = day.sums.iter().position(|(read, _)| *read == survey.scopes).unwrap_or_else(|| {
            day.sums.push((survey.scopes, Sums::default()));
            day.sums.len() - 1
        });
        day.sums[index].1.add(&Sums { meter: meter.energy.total(), components: survey.components.total() });
    }

    /// The ratio for a slot in which these scopes were read.
    #[must_use]
    pub fn ratio(&self, slot: Slot, scopes: u16) -> Ratio {
        let today = slot.0.div_euclid(DAY);
        let mut sums = Sums::default();
        let before = self.days.iter().rev().skip_while(|day| day.number >= today);
        let before = before.take_while(|day| day.number >= today - LOOK_BACK_DAYS);
        before.filter_map(|day| day.with(scopes)).take(DAYS).for_each(|day| sums.add(&day));
        let own = sums.ratio().or_else(|| {
            let today = self.days.back().filter(|day| day.number == today)?;
            today.with(scopes)?.ratio()
        });
        own.unwrap_or(self.factor)
    }

    /// Whether the meter was read of late, and the owner still sits in the chassis whose meter it is: a slot
    /// without its readings is then one that it missed.
    #[must_use]
    pub fn expects_meter(&self, slot: Slot, place: Option<Place>) -> bool {
        let Some((last, whose)) = self.last else { return false };
        let sits = match whose {
            Whose::Own => true,
            Whose::Linked(at) => at.is_some() && at == place,
        };
        sits && slot.0 - last.0 <= LAPSES_SLOTS
    }
}

impl Survey {
    /// Whether meter and components covered all of the slot, as near as can be told.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let whole_ns = self.length_ns.saturating_sub(JOIN_NS);
        self.components_ns >= whole_ns && self.meter.is_some_and(|meter| meter.covered_ns >= whole_ns)
    }
}
