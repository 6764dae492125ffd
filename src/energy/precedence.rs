//! Several who read one device: who goes before whom.
//!
//! A counter goes before power, and among equals the machine itself before who reads it from outside (a
//! scraped exporter, a collector, a JSON client). Coverage alone would let whoever posts first take the
//! time: then counters of two sources take turns, and their differences are lost at every turn.
//!
//! So a reading of a lesser source does not extend the covered time while a better one, which read lately,
//! may still bring its own: for [`PATIENCE_NS`] or three periods. It is withheld: counted as fenced. After
//! that it takes over, from the first reading that was withheld on: a counter loses nothing, power is
//! estimated. What the better source brings late fills holes as ever, and beyond the frontier it goes on
//! by itself.
//!
//! Only readings of the present are withheld. What was recorded before, or coalesced, is no rival of what
//! the better source is about to bring.

use meter::Clock;

use crate::account::{Applied, Desk, is_between_counts};
use crate::dating::boot_tag;
use crate::policy::Rules;
use crate::{Account, BootDate, Edge, KnownContext};

/// How long a better source may be silent at least: agents post every 10 to 60 s.
pub(crate) const PATIENCE_NS: u64 = 90_000_000_000;

/// What is known of all who read an owner's devices.
#[derive(Debug)]
pub(crate) struct Readers {
    /// The tags of the owner's own boots.
    own: Vec<u64>,
    /// The longest period at which each account is read.
    periods: Vec<u64>,
}

impl Readers {
    /// Everybody who reads an owner, if that may be more than one.
    pub(crate) fn of(boots: &[BootDate], contexts: &[KnownContext], clock: Clock, streams: usize) -> Option<Self> {
        let others = boots.iter().filter(|known| clock != Clock::Boot(known.boot)).count();
        if others == 0 && streams < 2 {
            return None;
        }
        let own = boots.iter().filter(|known| known.own).map(|known| boot_tag(Clock::Boot(known.boot))).collect();
        let mut periods = Vec::new();
        for device in contexts.iter().flat_map(|context| &context.devices) {
            let Ok(account) = device.account.as_ref().map(|index| usize::from(*index)) else { continue };
            if periods.len() <= account {
                periods.resize(account + 1, 0);
            }
            periods[account] = device.period_ns.max(periods[account]);
        }
        Some(Self { own, periods })
    }

    /// Whether `known` was read by a better source than `edge`.
    fn outranks(&self, known: &Edge, edge: &Edge) -> bool {
        if known.boot == edge.boot {
            return false;
        }
        let (known_own, edge_own) = (self.is_own(known.boot), self.is_own(edge.boot));
        match (known.counter.is_some(), edge.counter.is_some()) {
            // A machine that lost its counter with a reboot is its own successor.
            (true, false) => !(known_own && edge_own),
            (false, true) => false,
            _ => known_own && !edge_own,
        }
    }

    fn is_own(&self, boot: u64) -> bool {
        self.own.contains(&boot)
    }

    fn patience_ns(&self, account: u16, rules: &Rules) -> u64 {
        let period = self.periods.get(usize::from(account)).copied().unwrap_or(0).max(rules.period_ns);
        period.saturating_mul(3).max(PATIENCE_NS)
    }
}

impl Account {
    /// Whether a reading beyond the frontier, or at it, is left to a better source that read lately: the one
    /// that read the frontier, or one that was fenced because the lesser source had posted first.
    pub(crate) fn is_left_to_better(&self, edge: &Edge, desk: &Desk<'_>) -> bool {
        let Some(readers) = desk.readers else { return false };
        let patience_ns = readers.patience_ns(desk.account, desk.rules);
        let is_better = |known: &Edge| readers.outranks(known, edge) && edge.at.since(known.at) < patience_ns;
        is_better(&self.frontier) || self.fence_edge().is_some_and(is_better)
    }

    fn fence_edge(&self) -> Option<&Edge> {
        self.rare().and_then(|rare| rare.fence.as_ref())
    }

    /// Whether a fenced reading is that of a lesser source: both are meant to be there.
    pub(crate) fn is_outranked(&self, edge: &Edge, desk: &Desk<'_>) -> bool {
        desk.readers.is_some_and(|readers| readers.is_own(self.frontier.boot) != readers.is_own(edge.boot))
    }

    /// Leaves a reading to the better source. The first one is kept, in case that source stays silent.
    pub(crate) fn withhold(&mut self, edge: Edge, desk: &Desk<'_>) -> Applied {
        let frontier = self.frontier;
        let rare = self.rare_mut();
        if edge.at > frontier.at && rare.suspect.is_none_or(|kept| kept.at <= frontier.at) {
            rare.suspect = Some(edge);
        }
        let is_better = |known: &Edge| desk.readers.is_some_and(|readers| readers.outranks(known, &edge));
        if !is_better(&frontier) && rare.fence.as_ref().is_some_and(is_better) {
            // The better source is known by its fenced reading alone, which stays until it goes on.
            return Applied::Fenced;
        }
        self.fence(edge, desk)
    }

    /// Begins with the first reading that was withheld when its source takes over.
    pub(crate) fn take_over(&mut self, edge: &Edge, desk: &mut Desk<'_>) {
        let known = self.frontier;
        let is_first = |kept: &Edge| kept.boot == edge.boot && kept.at > known.at && kept.at < edge.at;
        let kept = self.rare().and_then(|rare| rare.suspect).filter(is_first);
        let Some(first) = kept.filter(|_| known.boot != edge.boot) else { return };
        self.rare_mut().suspect = None;
        if is_between_counts(&known, &first, desk.rules) {
            self.open_hole(known, first, false, desk);
            self.frontier = first;
        } else {
            self.extend(first, desk);
        }
    }
}
