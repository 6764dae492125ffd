//! What each action does to the world.

use crate::Glue;
use crate::agent::Agent;
use crate::explorer::Violation;
use crate::spool::Disk;
use crate::tables::Number;
use crate::world::{NONE, Reply, Request, State, World};

impl World {
    pub(crate) fn tick(&mut self, next: &mut State) -> Result<bool, Violation> {
        if next.now == self.scenario.ticks {
            return Ok(false);
        }
        self.sample_all(next)?;
        Ok(true)
    }

    /// Every running agent takes the next reading.
    pub(crate) fn sample_all(&mut self, next: &mut State) -> Result<(), Violation> {
        next.now += 1;
        for agent in next.agents.iter_mut().filter(|agent| **agent != NONE) {
            *agent = self.sample(*agent, next.now)?;
        }
        Ok(())
    }

    pub(crate) fn sync(&mut self, next: &mut State, place: u8) -> bool {
        let before = next.agents[usize::from(place)];
        next.agents[usize::from(place)] = self.change(before, Agent::sync);
        next.agents[usize::from(place)] != before
    }

    pub(crate) fn send(&mut self, next: &mut State, place: u8) -> Result<bool, Violation> {
        if self.at(next, place).is_none_or(|agent| !agent.is_running() || agent.is_waiting()) {
            return Ok(false);
        }
        let mut requests = (*self.requests.get(next.requests)).clone();
        if requests.len() == self.scenario.requests {
            let Some(stale) = requests.iter().position(|request| !request.live) else { return Ok(false) };
            requests.remove(stale);
        }
        let (agent, body, minted) = self.post(next, place)?;
        if body == NONE {
            return Ok(false);
        }
        next.agents[usize::from(place)] = agent;
        next.next_stream += u8::from(minted);
        requests.push(Request { agent: place, live: true, body });
        next.requests = self.request_list(requests);
        Ok(true)
    }

    pub(crate) fn request_list(&mut self, mut requests: Vec<Request>) -> Number {
        requests.sort_unstable();
        requests.dedup();
        self.requests.number(requests).0
    }

    pub(crate) fn reply_list(&mut self, mut replies: Vec<Reply>) -> Number {
        replies.sort_unstable();
        self.lists.number(replies).0
    }

    pub(crate) fn deliver(&mut self, next: &mut State, request: u8, keep: bool) -> Result<bool, Violation> {
        let mut requests = (*self.requests.get(next.requests)).clone();
        let Request { agent, live, body } = requests[usize::from(request)];
        if !keep {
            requests.remove(usize::from(request));
            next.requests = self.request_list(requests);
        }
        let (candidate, answer) = self.take(next, body)?;
        next.candidate = candidate;
        if live {
            let early = self.glue.has(Glue::AnswerBeforeCommit)
                || (self.glue.has(Glue::StandsAtOnce) && self.is_stands(answer)?);
            let list = if early { &mut next.answers } else { &mut next.waiting };
            let mut waiting = (*self.lists.get(*list)).clone();
            waiting.push(Reply { agent, answer });
            *list = self.reply_list(waiting);
        }
        if self.glue.has(Glue::PublishVolatile) {
            next.published = self.candidate_ticks(candidate);
        }
        Ok(true)
    }

    pub(crate) fn begin_commit(&mut self, next: &mut State) -> Result<bool, Violation> {
        let idle = self.lists.get(next.waiting).is_empty() && !self.ledger(next.candidate).is_dirty();
        if next.flight != NONE || idle {
            return Ok(false);
        }
        let (candidate, flight) = self.begin(next.candidate)?;
        (next.candidate, next.flight) = (candidate, flight);
        let empty = self.reply_list(Vec::new());
        let boarded = std::mem::replace(&mut next.waiting, empty);
        if flight == NONE {
            // Nothing is in flight and nothing changed: all that these answers rest on is on disk.
            self.send_answers(next, boarded);
        } else {
            next.boarded = boarded;
        }
        Ok(true)
    }

    pub(crate) fn end_commit(&mut self, next: &mut State) -> Result<bool, Violation> {
        if next.flight == NONE {
            return Ok(false);
        }
        next.image = self.commit(next.image, next.flight)?;
        next.flight = NONE;
        next.published = self.figures(next.image).ticks;
        let empty = self.reply_list(Vec::new());
        let boarded = std::mem::replace(&mut next.boarded, empty);
        self.send_answers(next, boarded);
        Ok(true)
    }

    pub(crate) fn send_answers(&mut self, next: &mut State, list: Number) {
        let more = self.lists.get(list);
        let answers = self.lists.get(next.answers).iter().chain(&*more).copied().collect();
        next.answers = self.reply_list(answers);
    }

    pub(crate) fn answer_one(&mut self, next: &mut State, answer: u8) -> Result<bool, Violation> {
        let reply = self.lists.get(next.answers)[usize::from(answer)];
        let (agent, durable, minted, heard) = self.settle(next, reply)?;
        let is_of_now = self.generation_of(reply.answer) == next.generation;
        let missing = durable & !self.images.get(next.image).applied;
        if missing != 0 && is_of_now && !self.scenario.forgets_posts {
            let found = format!("readings {missing:#b} are acknowledged and not on disk");
            return Err(Violation::new("what is acknowledged is on disk", found));
        }
        next.agents[usize::from(reply.agent)] = agent;
        next.next_stream += u8::from(minted);
        next.heard |= u8::from(heard && is_of_now && next.generation > 0) << reply.agent;
        self.forget_post(next, reply.agent);
        Ok(true)
    }

    /// Nobody waits for this agent's answers any more; its posts may still arrive.
    pub(crate) fn forget_post(&mut self, next: &mut State, place: u8) {
        let mut requests = (*self.requests.get(next.requests)).clone();
        requests.iter_mut().filter(|request| request.agent == place).for_each(|request| request.live = false);
        next.requests = self.request_list(requests);
        for list in [&mut next.boarded, &mut next.waiting, &mut next.answers] {
            let others = self.lists.get(*list).iter().filter(|reply| reply.agent != place).copied().collect();
            *list = self.reply_list(others);
        }
    }

    pub(crate) fn detach(&mut self, next: &mut State, place: u8) {
        if let Some(agent) = self.at(next, place).filter(|agent| agent.is_waiting()) {
            let mut agent = (*agent).clone();
            agent.give_up();
            next.agents[usize::from(place)] = self.agent(agent);
        }
        self.forget_post(next, place);
    }

    pub(crate) fn give_up(&mut self, next: &mut State, place: u8) -> bool {
        let waits = self.at(next, place).is_some_and(|agent| agent.is_waiting());
        self.detach(next, place);
        waits
    }

    /// The agent's process ends, and whatever else.
    pub(crate) fn stop(&mut self, next: &mut State, place: u8, change: impl FnOnce(&mut Agent)) -> bool {
        let runs = self.at(next, place).is_some_and(|agent| agent.is_running());
        self.detach(next, place);
        next.agents[usize::from(place)] = self.change(next.agents[usize::from(place)], change);
        runs
    }

    pub(crate) fn power_cut(&mut self, next: &mut State, place: u8, kept: usize) -> bool {
        self.stop(next, place, |agent| agent.power_cut(kept))
    }

    pub(crate) fn start_agent(&mut self, next: &mut State, place: u8) -> bool {
        let Some(agent) = self.at(next, place).filter(|agent| !agent.is_running()) else { return false };
        let stream = if self.glue.has(Glue::StreamReused) { 1 } else { next.next_stream };
        next.next_stream += u8::from(agent.disk.is_none());
        next.agents[usize::from(place)] = self.change(next.agents[usize::from(place)], |agent| agent.start(stream));
        true
    }

    pub(crate) fn evict(&mut self, next: &mut State, place: u8) -> bool {
        let (mut evicted, glue) = (false, self.glue);
        let agent = next.agents[usize::from(place)];
        next.agents[usize::from(place)] = self.change(agent, |agent| evicted = agent.evict(glue));
        evicted
    }

    pub(crate) fn coalesce(&mut self, next: &mut State, place: u8, count: usize) -> bool {
        let (mut coalesced, kind, stream, glue) = (false, self.kind, next.next_stream, self.glue);
        let agent = next.agents[usize::from(place)];
        next.agents[usize::from(place)] =
            self.change(agent, |agent| coalesced = agent.coalesce(count, kind, stream, glue));
        next.next_stream += u8::from(coalesced);
        coalesced
    }

    pub(crate) fn crash(&mut self, next: &mut State, written: bool) -> Result<bool, Violation> {
        if next.flight == NONE && written {
            return Ok(false);
        }
        if written {
            let (before, after) = (next.image, self.commit(next.image, next.flight)?);
            let torn = self.images.get(before).torn(&self.images.get(after), self.glue);
            next.image = torn.map_or(Ok(after), |torn| self.image(torn))?;
        }
        if self.glue.has(Glue::FailedCommitAnswered) {
            let boarded = next.boarded;
            self.send_answers(next, boarded);
        }
        let candidate = next.candidate;
        self.restart(next)?;
        if self.glue.has(Glue::CandidateKept) {
            next.candidate = candidate;
        }
        Ok(true)
    }

    pub(crate) fn replace_store(&mut self, next: &mut State, image: Number) -> Result<bool, Violation> {
        let before = std::mem::replace(&mut next.image, image);
        if self.glue.has(Glue::PositionsKeptAtRestore) {
            let mixed = self.images.get(image).with_positions_of(&self.images.get(before));
            next.image = mixed.map_or(Ok(image), |mixed| self.image(mixed))?;
        }
        next.generation += u8::from(!self.glue.has(Glue::GenerationKept));
        next.heard = 0;
        self.restart(next)?;
        Ok(true)
    }

    /// The aggregator starts on what is on disk; whoever waited for it learns that it went away.
    pub(crate) fn restart(&mut self, next: &mut State) -> Result<(), Violation> {
        next.candidate = self.load(next.image)?;
        next.flight = NONE;
        next.published = self.figures(next.image).ticks;
        let empty = self.reply_list(Vec::new());
        (next.boarded, next.waiting) = (empty, empty);
        let requests = self.requests.get(next.requests);
        let answers = self.lists.get(next.answers);
        for place in 0..2 {
            let answered = requests.iter().any(|request| request.agent == place && request.live)
                || answers.iter().any(|reply| reply.agent == place);
            if !answered {
                self.detach(next, place);
            }
        }
        Ok(())
    }

    pub(crate) fn clone_agent(&mut self, next: &mut State) -> bool {
        let Some(original) = self.at(next, 0).filter(|agent| agent.disk.is_some()) else { return false };
        if next.agents[1] != NONE {
            return false;
        }
        next.agents[1] = self.agent(Agent { place: 1, disk: original.disk.clone(), process: None });
        true
    }

    pub(crate) fn second_agent(&mut self, next: &mut State) -> bool {
        if next.agents[1] != NONE {
            return false;
        }
        let mut second = Agent::new(1, Disk::new(next.next_stream));
        second.start(0);
        next.next_stream += 1;
        next.agents[1] = self.agent(second);
        true
    }
}
