//! What can happen, in every order: the protocol's own steps, and faults while their budget lasts.

use crate::Fault;
use crate::agent::Agent;
use crate::aggregator::Image;
use crate::explorer::{Explorable, Violation};
use crate::world::{NONE, State, World};

/// The bit of [`State::heard`] for the agent in the snapshot.
const SNAPSHOT_HEARD: u8 = 4;

/// One step of the world. Small numbers are places of agents, or places in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Every running agent reads the device.
    Tick,
    Sync(u8),
    Send(u8),
    /// A post arrives and is applied; `keep`: and will arrive again.
    Deliver {
        request: u8,
        keep: bool,
    },
    BeginCommit,
    EndCommit,
    Answer(u8),
    Start(u8),
    /// The agent's time limit passes; its post may still arrive.
    GiveUp(u8),
    Kill(u8),
    /// A power cut that leaves so many of the records that were not synced.
    PowerCut {
        agent: u8,
        kept: u8,
    },
    /// The spool's folder is gone.
    Wipe(u8),
    /// The oldest acknowledged record makes room.
    Evict(u8),
    /// So many of the oldest records become summaries to make room.
    Coalesce {
        agent: u8,
        count: u8,
    },
    /// The aggregator dies; `written`: after the commit in flight reached the disk.
    Crash {
        written: bool,
    },
    Backup,
    Restore,
    /// The store is gone.
    StoreLost,
    /// A snapshot of the first agent's machine, and the return to it.
    Snapshot,
    Rollback,
    /// A second agent on a copy of the first one's spool.
    Clone,
    /// A second agent with a spool of its own.
    Second,
}

impl Action {
    /// The fault that it is, if it is one.
    const fn fault(self) -> Option<Fault> {
        Some(match self {
            Self::GiveUp(_) => Fault::Loss,
            Self::Deliver { keep: true, .. } => Fault::Repeat,
            Self::Kill(_) => Fault::Kill,
            Self::PowerCut { .. } => Fault::Power,
            Self::Wipe(_) => Fault::Wipe,
            Self::Evict(_) => Fault::Evict,
            Self::Coalesce { .. } => Fault::Coalesce,
            Self::Crash { .. } => Fault::Crash,
            Self::Backup => Fault::Backup,
            Self::Restore => Fault::Restore,
            Self::StoreLost => Fault::StoreLost,
            Self::Snapshot => Fault::Snapshot,
            Self::Rollback => Fault::Rollback,
            Self::Clone => Fault::Clone,
            Self::Second => Fault::Second,
            _ => return None,
        })
    }

    /// Whether it may destroy readings that nobody else holds: it is documented to.
    const fn destroys(self, state: &State) -> bool {
        match self {
            Self::PowerCut { .. } | Self::Wipe(_) | Self::Rollback | Self::Restore | Self::StoreLost => true,
            // A restored ledger may lack what it acknowledged before. Until it was heard of, that goes
            // as any other acknowledged record.
            Self::Evict(place) => state.generation > 0 && state.heard >> place & 1 == 0,
            _ => false,
        }
    }
}

impl Explorable for World {
    type State = State;
    type Action = Action;

    fn start(&mut self) -> Result<State, Violation> {
        self.first()
    }

    fn next(&mut self, state: &State, into: &mut Vec<(Action, State)>) -> Result<(), Violation> {
        for action in self.possible(state) {
            let told =
                |violation: Violation| Violation { found: format!("{action:?}: {}", violation.found), ..violation };
            if let Some(next) = self.act(state, action).map_err(told)? {
                into.push((action, next));
            }
        }
        Ok(())
    }

    fn check(&mut self, state: &State) -> Result<(), Violation> {
        self.check_completion(state)
    }
}

impl World {
    /// What may be tried in a state.
    fn possible(&self, state: &State) -> Vec<Action> {
        let mut all = vec![Action::Tick, Action::BeginCommit, Action::EndCommit];
        let (requests, answers) = (self.requests.get(state.requests).len(), self.lists.get(state.answers).len());
        for request in 0..u8::try_from(requests).expect("few requests") {
            all.extend([false, true].map(|keep| Action::Deliver { request, keep }));
        }
        all.extend((0..u8::try_from(answers).expect("few answers")).map(Action::Answer));
        for place in (0..2).filter(|place| state.agents[usize::from(*place)] != NONE) {
            use Action::{Evict, GiveUp, Kill, Send, Start, Sync, Wipe};
            all.extend([Send(place), Start(place), GiveUp(place), Kill(place), Evict(place), Wipe(place)]);
            if self.scenario.most(Fault::Coalesce) > 0 {
                let held = self.at(state, place).map_or(0, |agent| agent.held());
                let held = u8::try_from(held).expect("few records");
                all.extend((2..=held).map(|count| Action::Coalesce { agent: place, count }));
            }
            if self.scenario.most(Fault::Power) > 0 {
                all.push(Sync(place));
                let unsynced = self.at(state, place).map_or(0, |agent| agent.unsynced());
                let unsynced = u8::try_from(unsynced).expect("few records");
                all.extend((0..=unsynced).map(|kept| Action::PowerCut { agent: place, kept }));
            }
        }
        use Action::{Backup, Clone, Crash, Restore, Rollback, Second, Snapshot, StoreLost};
        all.extend([Crash { written: false }, Crash { written: true }, Backup, Restore, StoreLost, Snapshot, Rollback]);
        all.extend([Clone, Second]);
        let left = |fault: Fault| state.times(fault) < self.scenario.most(fault);
        all.retain(|action| action.fault().is_none_or(left));
        all
    }

    /// The state after an action; nothing if it is impossible or changes nothing.
    pub(crate) fn act(&mut self, state: &State, action: Action) -> Result<Option<State>, Violation> {
        let mut next = *state;
        if let Some(fault) = action.fault() {
            next.count(fault);
        }
        let done = match action {
            Action::Tick => self.tick(&mut next)?,
            Action::Sync(place) => self.sync(&mut next, place),
            Action::Send(place) => self.send(&mut next, place)?,
            Action::Deliver { request, keep } => self.deliver(&mut next, request, keep)?,
            Action::BeginCommit => self.begin_commit(&mut next)?,
            Action::EndCommit => self.end_commit(&mut next)?,
            Action::Answer(answer) => self.answer_one(&mut next, answer)?,
            Action::Start(place) => self.start_agent(&mut next, place),
            Action::GiveUp(place) => self.give_up(&mut next, place),
            Action::Kill(place) => self.stop(&mut next, place, |agent| agent.process = None),
            Action::PowerCut { agent, kept } => self.power_cut(&mut next, agent, usize::from(kept)),
            Action::Wipe(place) => self.stop(&mut next, place, |agent| (agent.disk, agent.process) = (None, None)),
            Action::Evict(place) => self.evict(&mut next, place),
            Action::Coalesce { agent, count } => self.coalesce(&mut next, agent, usize::from(count)),
            Action::Crash { written } => self.crash(&mut next, written)?,
            Action::Backup => std::mem::replace(&mut next.backup, next.image) != next.image,
            Action::Restore if next.backup == NONE => false,
            Action::Restore => self.replace_store(&mut next, state.backup)?,
            Action::StoreLost => {
                let empty = self.image(Image::default())?;
                self.replace_store(&mut next, empty)?
            }
            Action::Snapshot => {
                next.snapshot = self.change(next.agents[0], Agent::give_up);
                next.heard = (next.heard & !SNAPSHOT_HEARD) | ((next.heard & 1) * SNAPSHOT_HEARD);
                next.snapshot != state.snapshot
            }
            Action::Rollback if next.snapshot == NONE || next.snapshot == next.agents[0] => false,
            Action::Rollback => {
                self.detach(&mut next, 0);
                next.agents[0] = state.snapshot;
                next.heard = (next.heard & !1) | u8::from(next.heard & SNAPSHOT_HEARD != 0);
                true
            }
            Action::Clone => self.clone_agent(&mut next),
            Action::Second => self.second_agent(&mut next),
        };
        if !done {
            return Ok(None);
        }
        self.check_step(state, &next, action)?;
        Ok(Some(next))
    }

    /// What a step may not do: lose readings, or let a published figure fall.
    fn check_step(&mut self, before: &State, after: &State, action: Action) -> Result<(), Violation> {
        let lost = self.kept(before) & !self.kept(after);
        if lost != 0 && !action.destroys(before) {
            let found = format!("readings {lost:#b} are neither in a spool nor on the ledger's disk");
            return Err(Violation::new("only a documented fault destroys readings", found));
        }
        if before.generation != after.generation {
            return Ok(());
        }
        let fallen = before.published & !after.published;
        let estimated = [before, after].map(|state| self.figures(state.image).estimated);
        if fallen != 0 || estimated[0] > estimated[1] {
            let found = format!("ticks {fallen:#b} fell back; estimated {} then {}", estimated[0], estimated[1]);
            return Err(Violation::new("a published figure never falls within a generation", found));
        }
        Ok(())
    }
}
