//! One account: a register, the time it covers, and what a new reading does to both.
//!
//! Coverage is one axis of ledger time: from the earliest reading to the frontier everything is
//! covered except the holes. A reading beyond the frontier extends it, a reading in a hole (or before
//! the first) fills it, a reading in covered time is fenced. So no delivery fault and no second stream
//! can book an instant twice, and nothing is refused for coming late.

use meter::{Energy, Milliwatts, Mutant, Quality, Refusal, Utc, mutant};

use crate::integrator::{Joint, elapsed_ns, join, trapezoid};
use crate::policy::{Estimate, Policy, Rules};
use crate::precedence::Readers;
use crate::profile::Profile;
use crate::slots::post;
use crate::{Account, Cell, Cut, Edge, Flag, Hole, Line, OpenSlot};

/// Where bookings of one account go, and by which rules.
pub(crate) struct Desk<'a> {
    pub(crate) open: &'a mut Vec<OpenSlot>,
    /// Where what is booked is cut; ascending.
    pub(crate) cuts: &'a [Cut],
    pub(crate) account: u16,
    pub(crate) policy: &'a Policy,
    pub(crate) rules: &'a Rules,
    /// Who else reads, if the reading is of the present and somebody may.
    pub(crate) readers: Option<&'a Readers>,
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Booked,
    Fenced,
    Refused(Refusal),
}

impl Account {
    /// Applies one reading.
    pub(crate) fn apply(&mut self, edge: Edge, desk: &mut Desk<'_>) -> Applied {
        self.show(edge.at, edge.power);
        if self.is_unread() {
            (self.first, self.frontier) = (edge, edge);
            return Applied::Booked;
        }
        if mutant(Mutant::NoFence) && edge.at != self.frontier.at {
            return self.advance(edge, desk);
        }
        if is_known(&edge, &self.frontier, &self.first) {
            self.fence(edge, desk)
        } else if edge.at > self.frontier.at {
            self.advance(edge, desk)
        } else if edge.at == self.frontier.at {
            self.step(edge, desk)
        } else if edge.at < self.first.at {
            self.precede(edge, desk)
        } else {
            self.fill(edge, desk)
        }
    }

    /// Notes the latest power, for people.
    pub(crate) fn show(&mut self, at: Utc, power: Option<Milliwatts>) {
        if let Some(power) = power
            && self.shown.is_none_or(|(shown, _)| shown <= at)
        {
            self.shown = Some((at, power));
        }
    }

    /// A reading beyond the frontier.
    fn advance(&mut self, edge: Edge, desk: &mut Desk<'_>) -> Applied {
        if self.is_left_to_better(&edge, desk) {
            return self.withhold(edge, desk);
        }
        self.take_over(&edge, desk);
        self.extend(edge, desk)
    }

    /// Extends the covered time by a reading, or opens a hole in front of it.
    pub(crate) fn extend(&mut self, edge: Edge, desk: &mut Desk<'_>) -> Applied {
        let from = self.frontier;
        if is_between_counts(&from, &edge, desk.rules) {
            return Applied::Booked;
        }
        match join(&from, &edge, desk.rules) {
            Joint::Jump => return self.suspect(edge, desk),
            Joint::Hole { broken } => self.open_hole(from, edge, broken, desk),
            Joint::Counter(energy) => {
                self.cross_check(&from, &edge, energy, desk);
                self.book(&from, &edge, Quality::Counter, energy, desk);
            }
            Joint::Power(energy) => self.book(&from, &edge, Quality::Integrated, energy, desk),
        }
        self.frontier = edge;
        if let Some(rare) = self.rare.as_deref_mut() {
            rare.suspect = None;
        }
        Applied::Booked
    }

    /// Two readings at one instant are a step: the second begins the next piece, nothing is booked.
    fn step(&mut self, edge: Edge, desk: &Desk<'_>) -> Applied {
        let known = self.frontier;
        if self.is_left_to_better(&edge, desk) {
            return self.fence(edge, desk);
        }
        if (edge.power.is_none() || edge.power == known.power)
            && (edge.counter.is_none() || edge.counter == known.counter)
        {
            return self.fence(edge, desk);
        }
        self.frontier.power = edge.power.or(known.power);
        self.frontier.counter = edge.counter.or(known.counter);
        if known.at == self.first.at {
            self.first = self.frontier;
        }
        Applied::Booked
    }

    /// A reading before all others: the time before the first reading is a hole without a beginning.
    fn precede(&mut self, edge: Edge, desk: &mut Desk<'_>) -> Applied {
        let first = self.first;
        match closing(&edge, &first, desk.rules.period_ns, desk) {
            Joint::Counter(energy) => self.book(&edge, &first, Quality::Counter, energy, desk),
            Joint::Power(energy) => self.book(&edge, &first, Quality::Integrated, energy, desk),
            Joint::Jump => return Applied::Refused(Refusal::CounterJump),
            Joint::Hole { broken } => self.open_hole(edge, first, broken, desk),
        }
        self.first = edge;
        Applied::Booked
    }

    /// A reading between the first and the frontier: it fills a hole, or it is fenced.
    fn fill(&mut self, edge: Edge, desk: &mut Desk<'_>) -> Applied {
        let holes = self.rare().map_or(&[][..], |rare| &rare.holes);
        // The first hole that ends after the reading is the only one that may hold it.
        let index = holes.partition_point(|hole| hole.end.at <= edge.at);
        let hole = holes.get(index).copied().filter(|hole| hole.start.at < edge.at && hole.holds(&edge));
        let Some(hole) = hole else { return self.fence(edge, desk) };
        if is_between_counts(&hole.start, &edge, desk.rules) {
            return Applied::Booked;
        }
        let (before, after) =
            (join(&hole.start, &edge, desk.rules), closing(&edge, &hole.end, elapsed_ns(&hole.start, &edge), desk));
        if before == Joint::Jump || after == Joint::Jump {
            return Applied::Refused(Refusal::CounterJump);
        }
        let mut rest = Vec::with_capacity(2);
        for (from, to, joint) in [(hole.start, edge, before), (edge, hole.end, after)] {
            let quality = if matches!(joint, Joint::Counter(_)) { Quality::Counter } else { Quality::Integrated };
            match joint {
                Joint::Counter(energy) | Joint::Power(energy) => {
                    self.replace(&hole, (&from, &to), quality, energy, desk);
                }
                Joint::Hole { broken } => rest.push(self.remains(&hole, from, to, broken, desk)),
                Joint::Jump => {}
            }
        }
        let rare = self.rare_mut();
        rare.holes.splice(index..=index, rest);
        self.limit_holes(desk.policy.holes);
        Applied::Booked
    }

    /// A part of a hole that stays open. It keeps its share of the estimate, so that it can still be
    /// reversed; unless the counter turns out to have restarted in it, when no estimate is justified.
    pub(crate) fn remains(&mut self, hole: &Hole, start: Edge, end: Edge, broken: bool, desk: &mut Desk<'_>) -> Hole {
        if !broken {
            return Hole { start, end, estimate: hole.estimate };
        }
        self.reverse(hole, start.at, end.at, desk);
        Hole { start, end, estimate: None }
    }

    /// Counts the energy of readings in covered time, and books nothing.
    pub(crate) fn fence(&mut self, edge: Edge, desk: &Desk<'_>) -> Applied {
        let rare = self.rare_mut();
        if let Some(before) = rare.fence.filter(|fence| fence.at < edge.at)
            && let Joint::Counter(energy) | Joint::Power(energy) = join(&before, &edge, desk.rules)
        {
            rare.fenced += energy;
        }
        rare.fence = Some(edge);
        Applied::Fenced
    }

    /// A counter that jumped is not believed at once. If the next reading agrees with it, the register
    /// was really set anew: counting goes on from there, and the time up to it stays a hole.
    fn suspect(&mut self, edge: Edge, desk: &mut Desk<'_>) -> Applied {
        let from = self.frontier;
        let agreed = self
            .rare()
            .and_then(|rare| rare.suspect)
            .filter(|suspect| suspect.at < edge.at && matches!(join(suspect, &edge, desk.rules), Joint::Counter(_)));
        let rare = self.rare_mut();
        rare.flags |= Flag::CounterJumped as u8;
        let Some(suspect) = agreed else {
            rare.suspect = Some(edge);
            return Applied::Refused(Refusal::CounterJump);
        };
        self.open_hole(from, suspect, true, desk);
        self.frontier = suspect;
        self.extend(edge, desk)
    }

    pub(crate) fn open_hole(&mut self, start: Edge, end: Edge, broken: bool, desk: &mut Desk<'_>) {
        let estimate = if broken { None } else { estimate(&start, &end, desk.policy) };
        if let Some(line) = estimate {
            let profile = Profile::line(&line, line.to.since(line.from));
            self.lifetime[Quality::Estimated] += profile.between(start.at, end.at);
            desk.spread(&profile, start.at, end.at, |energy, _| Cell::of(Quality::Estimated, energy, 0));
        }
        let rare = self.rare_mut();
        let index = rare.holes.partition_point(|hole| hole.start.at < start.at);
        rare.holes.insert(index, Hole { start, end, estimate });
        self.limit_holes(desk.policy.holes);
    }

    /// Books measured energy for a part of a hole, in place of its estimate.
    pub(crate) fn replace(
        &mut self,
        hole: &Hole,
        (from, to): (&Edge, &Edge),
        quality: Quality,
        energy: Energy,
        desk: &mut Desk<'_>,
    ) {
        self.reverse(hole, from.at, to.at, desk);
        self.book(from, to, quality, energy, desk);
    }

    /// Takes back the estimate of a part of a hole: exactly what was booked for it.
    pub(crate) fn reverse(&mut self, hole: &Hole, from: Utc, to: Utc, desk: &mut Desk<'_>) {
        let Some(line) = hole.estimate.filter(|_| !mutant(Mutant::NoReversal)) else { return };
        let profile = Profile::line(&line, line.to.since(line.from));
        desk.spread(&profile, from, to, |energy, _| Cell::of(Quality::Estimated, -energy, 0));
        let energy = profile.between(from, to);
        self.lifetime[Quality::Estimated] -= energy;
        self.rare_mut().reversed += energy;
    }

    /// Books measured energy for the time between two readings.
    fn book(&mut self, from: &Edge, to: &Edge, quality: Quality, energy: Energy, desk: &mut Desk<'_>) {
        let covered = to.at.since(from.at);
        self.lifetime[quality] += energy;
        self.covered_ns += covered;
        // Nearly every piece lies whole in the newest slot: nothing to divide then.
        if let Some(newest) = desk.open.last()
            && from.at >= newest.slot.start()
            && to.at <= newest.slot.end()
            && !desk.is_cut_from(newest.slot)
        {
            return post(desk.open, desk.account, newest.slot, quality, energy, covered);
        }
        let profile = match (quality, from.power, to.power) {
            (Quality::Integrated, Some(start), Some(end)) => {
                Profile::line(&Line { from: from.at, to: to.at, start, end }, elapsed_ns(from, to))
            }
            _ => Profile::even(from.at, to.at, energy),
        };
        desk.spread(&profile, from.at, to.at, |energy, touched| Cell::of(quality, energy, touched));
    }

    /// Over the limit the shortest hole becomes final: its time stays uncovered for good.
    pub(crate) fn limit_holes(&mut self, limit: usize) {
        let Some(rare) = self.rare.as_deref_mut() else { return };
        while rare.holes.len() > limit {
            let length = |hole: &Hole| hole.end.at.since(hole.start.at);
            let shortest =
                rare.holes.iter().enumerate().min_by_key(|(_, hole)| length(hole)).map_or(0, |(index, _)| index);
            rare.holes.remove(shortest);
            rare.final_holes += 1;
            rare.flags |= Flag::HolesFinal as u8;
        }
    }

    /// Compares counter and integrated power over a slot: some boards' counters read low at idle.
    fn cross_check(&mut self, from: &Edge, to: &Edge, counted: Energy, desk: &Desk<'_>) {
        let Some(integrated) = trapezoid(from, to, elapsed_ns(from, to), desk.rules) else { return };
        let rare = self.rare_mut();
        let slot = to.at.slot();
        if rare.check.slot != slot {
            let (counter, power) = (rare.check.counter, rare.check.power);
            // Below 100 J the counter's own steps are a visible share.
            if counter.max(power) >= Energy::from_microjoules(100_000_000) {
                let differs = (counter.0 - power.0).abs() * 10 > counter.0.max(power.0);
                let bit = Flag::CounterDisagrees as u8;
                rare.flags = if differs { rare.flags | bit } else { rare.flags & !bit };
            }
            rare.check = crate::CrossCheck { slot, ..Default::default() };
        }
        rare.check.counter += counted;
        rare.check.power += integrated;
    }
}

/// Whether the counter books and this power is only shown: power takes over only when the counter stays
/// silent for longer than readings are joined.
pub(crate) fn is_between_counts(from: &Edge, edge: &Edge, rules: &Rules) -> bool {
    from.counter.is_some() && edge.counter.is_none() && elapsed_ns(from, edge) <= rules.join_limit_ns
}

/// Whether a reading lies beyond the covered time by its date, but within it by the clock it was read by.
/// Dates are slewed while a boot goes on, and what is sent again is dated by the slewed one; its own
/// clock tells.
pub(crate) fn is_known(edge: &Edge, frontier: &Edge, first: &Edge) -> bool {
    let same_boot = |known: &Edge| known.boot == edge.boot && edge.boot != 0 && !mutant(Mutant::TrustDates);
    (edge.at > frontier.at && same_boot(frontier) && edge.mono <= frontier.mono)
        || (edge.at < first.at && same_boot(first) && edge.mono >= first.mono)
}

impl Hole {
    /// Whether a reading that is dated within the hole lies there by its own clock, too.
    pub(crate) fn holds(&self, edge: &Edge) -> bool {
        let same_boot = |known: &Edge| known.boot == edge.boot && edge.boot != 0 && !mutant(Mutant::TrustDates);
        let is_before = same_boot(&self.start) && edge.mono <= self.start.mono;
        let is_behind = same_boot(&self.end) && edge.mono >= self.end.mono;
        !is_before && !is_behind
    }
}

/// Joins a late reading to the reading after it. Power is only joined if no reading of the same source
/// is likely to be missing in between, which would then be fenced: within one and a half of the steps
/// that the source takes here, its period or, where it missed readings, the one it just took.
pub(crate) fn closing(from: &Edge, to: &Edge, step_ns: u64, desk: &Desk<'_>) -> Joint {
    let reach = step_ns.max(desk.rules.period_ns).saturating_mul(3) / 2;
    match join(from, to, desk.rules) {
        Joint::Power(_) if elapsed_ns(from, to) > reach => Joint::Hole { broken: false },
        joint => joint,
    }
}

/// The line that estimates a hole, if the policy has one for it: only between known powers, never over
/// a reboot of the machine, never over long.
fn estimate(start: &Edge, end: &Edge, policy: &Policy) -> Option<Line> {
    let rebooted = start.boot != end.boot && start.boot != 0 && end.boot != 0;
    if rebooted || end.at.since(start.at) > policy.estimate_max_ns {
        return None;
    }
    let (first, last) = (start.power?, end.power?);
    let last = match policy.estimate {
        Estimate::Linear => last,
        Estimate::HoldLast => first,
        Estimate::None => return None,
    };
    Some(Line { from: start.at, to: end.at, start: first, end: last })
}
