//! From every state: what happens when nothing goes wrong any more.
//!
//! Everything on its way is dropped, the ledger commits, the agents start, read once more and send
//! until they are done. Then every tick that the kept readings prove is booked once, and nothing else.

use crate::agent::Agent;
use crate::explorer::Violation;
use crate::readings::proven;
use crate::world::{NONE, State, World};

/// Far more rounds than any world needs: who still sends has not come to rest.
const ROUNDS_MAX: usize = 24;

impl World {
    pub(crate) fn check_completion(&mut self, state: &State) -> Result<(), Violation> {
        let key = (state.agents[0], state.agents[1], state.candidate, state.image, state.now, state.next_stream);
        if self.completed.insert(key, ()).is_some() {
            return Ok(());
        }
        let told =
            |violation: Violation| Violation { found: format!("once faults stop: {}", violation.found), ..violation };
        self.complete(state).map_err(told)
    }

    fn complete(&mut self, state: &State) -> Result<(), Violation> {
        let mut next = *state;
        let empty = self.lists.number(Vec::new()).0;
        next.requests = self.requests.number(Vec::new()).0;
        (next.boarded, next.waiting, next.answers) = (empty, empty, empty);
        self.settle_down(&mut next)?;
        for place in (0..2).filter(|place| state.agents[usize::from(*place)] != NONE) {
            self.start_agent(&mut next, place);
            next.agents[usize::from(place)] = self.change(next.agents[usize::from(place)], Agent::give_up);
        }
        self.sample_all(&mut next)?;
        let kept = self.spooled(&next) | self.ledger(next.candidate).applied;
        let mut rounds = 0;
        while self.round(&mut next)? {
            rounds += 1;
            if rounds > ROUNDS_MAX {
                return Err(Violation::new("agents come to rest", format!("not within {ROUNDS_MAX} rounds")));
            }
        }
        if (0..2).filter_map(|place| self.at(&next, place)).any(|agent| !agent.is_delivered()) {
            return Err(Violation::new("agents come to rest", "one has nothing to say and is not done"));
        }
        let (booked, expected) = (self.figures(next.image).ticks, proven(self.kind.meter, kept));
        let lacking = if self.scenario.forgets_posts { 0 } else { expected & !booked };
        if booked & !expected != 0 || lacking != 0 {
            let found = format!("ticks {booked:#b} are booked, the readings kept prove {expected:#b}");
            return Err(Violation::new("whatever is kept is booked exactly once", found));
        }
        Ok(())
    }

    /// Commits until nothing is left to commit.
    fn settle_down(&mut self, next: &mut State) -> Result<(), Violation> {
        loop {
            let begun = self.begin_commit(next)?;
            if !self.end_commit(next)? && !begun {
                return Ok(());
            }
        }
    }

    /// One post of each agent and its answer; whether anybody had something to say.
    fn round(&mut self, next: &mut State) -> Result<bool, Violation> {
        let mut said = false;
        for place in 0..2 {
            if self.send(next, place)? {
                said = true;
                self.deliver(next, 0, false)?;
                self.settle_down(next)?;
                if !self.lists.get(next.answers).is_empty() {
                    self.answer_one(next, 0)?;
                }
            }
        }
        Ok(said)
    }
}
