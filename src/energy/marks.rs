//! Marks: what a machine is told of its jobs, as holds in its row and cuts in what it books.
//!
//! An allocation runs until it is stopped, until another one begins under its id, or until the machine
//! reboots: a machine that is up again runs none of the jobs of before. Those end with the last reading of
//! the boot before.

use std::sync::Arc;

use meter::hash::stable_hash;
use meter::{Allocation, Clock, Hold, Id, Mark, Refusal, Utc};

use crate::cut::CutCount;
use crate::dating::Dates;
use crate::owner::count_refused;
use crate::{Edge, KnownContext, OwnerState};

/// Most allocations that run at once on one machine; it has fewer cores.
pub(crate) const HOLDS_MAX: usize = 1024;

/// Most marks remembered per machine, to know them again: more than what is under way when an answer is lost.
const TOLD_MAX: usize = 256;

/// What became of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkOutcome {
    /// It is in the row.
    Marked(CutCount),
    /// There is no such owner.
    UnknownOwner,
    /// No such job runs there: it ended before, or nobody told of its start.
    UnknownJob,
    /// It was not taken.
    Refused(Refusal),
}

impl OwnerState {
    /// Takes in a mark of a stream.
    pub(crate) fn book_mark(&mut self, edge: Result<Edge, Refusal>, mark: &Mark) {
        let marked = match edge {
            Err(reason) => MarkOutcome::Refused(reason),
            Ok(edge) if self.is_told_again(&edge, mark) => return,
            Ok(edge) => self.mark(edge.at, mark),
        };
        match marked {
            MarkOutcome::Refused(reason) => count_refused(&mut self.refused, reason, 1),
            MarkOutcome::UnknownJob => count_refused(&mut self.refused, Refusal::UnknownJob, 1),
            MarkOutcome::Marked(_) | MarkOutcome::UnknownOwner => {}
        }
    }

    /// Whether a stream brought this mark before: what an agent sends again under a new name, because an
    /// answer was lost, is dated by a clock that was slewed meanwhile. Its own clock tells.
    fn is_told_again(&mut self, edge: &Edge, mark: &Mark) -> bool {
        let (kind, id): (u8, &str) = match mark {
            Mark::Start(allocation) => (0, &allocation.id),
            Mark::Stop(id) => (1, id),
            Mark::Cut => (2, ""),
        };
        let told = [&edge.boot.to_le_bytes()[..], &edge.mono.to_le_bytes(), &[kind], id.as_bytes()].concat();
        let told = stable_hash(&told);
        if self.told.contains(&told) {
            return true;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.remove(0);
        }
        self.told.push(told);
        false
    }

    /// Takes in a mark at an instant.
    pub(crate) fn mark(&mut self, at: Utc, mark: &Mark) -> MarkOutcome {
        match mark {
            Mark::Start(allocation) => match self.start(at, allocation) {
                Ok(()) => MarkOutcome::Marked(self.cut(at)),
                Err(reason) => MarkOutcome::Refused(reason),
            },
            // A stop that nobody understands cuts all the same: its start may still be on its way.
            Mark::Stop(id) => match (self.stop(at, id), self.cut(at)) {
                (true, count) => MarkOutcome::Marked(count),
                (false, _) => MarkOutcome::UnknownJob,
            },
            Mark::Cut => MarkOutcome::Marked(self.cut(at)),
        }
    }

    /// Begins an allocation. The same one told again, as by two agents of one machine, is one.
    fn start(&mut self, at: Utc, allocation: &Arc<Allocation>) -> Result<(), Refusal> {
        let known = self.holds.iter().position(|hold| hold.allocation.id == allocation.id);
        let hold = Hold { from: at, until: None, allocation: Arc::clone(allocation) };
        match known {
            Some(known) if self.holds[known].allocation == *allocation => {}
            Some(known) if at < self.holds[known].from => {
                // Told late: the one that runs took its place.
                self.ended.push(Hold { until: Some(self.holds[known].from), ..hold });
            }
            Some(known) => {
                self.end(known, at);
                self.holds.push(hold);
            }
            None if self.holds.len() >= HOLDS_MAX => return Err(Refusal::HoldCap),
            None => self.holds.push(hold),
        }
        Ok(())
    }

    /// Ends the job of this id; false if none runs, or only one that began later.
    fn stop(&mut self, at: Utc, id: &str) -> bool {
        let known = self.holds.iter().position(|hold| &*hold.allocation.id == id && hold.from <= at);
        known.inspect(|known| self.end(*known, at)).is_some()
    }

    /// Takes a hold out of those that run. One that was held for no time leaves nothing.
    fn end(&mut self, index: usize, at: Utc) {
        let hold = self.holds.remove(index);
        if at > hold.from {
            self.ended.push(Hold { until: Some(at), ..hold });
        }
    }

    /// Ends everything that runs: the host was retired, or its name given to another machine.
    pub(crate) fn end_all(&mut self, at: Utc) -> usize {
        let count = self.holds.len();
        (0..count).for_each(|_| self.end(0, at));
        if count > 0 {
            self.cut(at);
        }
        count
    }

    /// The boots of these contexts that the row has no date of.
    pub(crate) fn new_boots(&self, contexts: &[KnownContext]) -> Vec<Id> {
        let is_known = |boot: &Id| self.boots.iter().any(|known| known.boot == *boot);
        let boots = contexts.iter().filter_map(|context| match context.clock {
            Clock::Boot(boot) => Some(boot),
            Clock::Utc => None,
        });
        boots.filter(|boot| !is_known(boot)).collect()
    }

    /// Before the first record of a boot: what ran before it ended with the last reading of the machine's boot
    /// before. Whether the boot was dated, so that this need not be asked again.
    pub(crate) fn has_rebooted(&mut self, boot: Id, dates: Option<Dates>) -> bool {
        let Some(begun) = dates.and_then(|dates| dates.at(0)) else { return false };
        if !self.boots.iter().any(|known| known.boot == boot && known.own) {
            return true;
        }
        let earlier = self.boots.iter().filter(|known| known.own && known.boot != boot && known.utc < begun);
        let last = earlier.map(|known| known.utc).max();
        let mut index = 0;
        while let Some(hold) = self.holds.get(index) {
            if hold.from >= begun {
                index += 1;
                continue;
            }
            let until = last.filter(|last| *last > hold.from).unwrap_or(begun);
            self.end(index, until);
            self.cut(until);
        }
        true
    }

    /// When the machine last reported itself.
    pub(crate) fn last_own(&self) -> Option<Utc> {
        self.boots.iter().filter(|known| known.own).map(|known| known.utc).max()
    }
}
