//! One moment of the world as a few numbers, and what pure functions make of them.

use std::hash::{Hash, Hasher};

use energy::Policy;
use wire::AppendAnswer;

use crate::agent::{Agent, Kind, policy};
use crate::aggregator::{Candidate, CandidateKey, Figures, Flight, Image};
use crate::readings::Set;
use crate::spool::Disk;
use crate::tables::{FastMap, Number, Table};
use crate::{Broken, Fault, Scenario, Violation};

/// Nothing, in place of a number.
pub(crate) const NONE: Number = Number::MAX;

/// One moment of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    /// The last reading that was taken.
    pub(crate) now: u8,
    pub(crate) next_stream: u8,
    pub(crate) generation: u8,
    /// The ticks that a scraper saw since the generation last changed.
    pub(crate) published: Set,
    /// Which agents heard from the ledger since the generation last changed, one bit each.
    pub(crate) heard: u8,
    /// How often each fault happened, four bits each.
    pub(crate) used: u64,
    pub(crate) agents: [Number; 2],
    pub(crate) snapshot: Number,
    pub(crate) candidate: Number,
    pub(crate) image: Number,
    pub(crate) backup: Number,
    /// The commit on its way to disk.
    pub(crate) flight: Number,
    /// Who is answered with it.
    pub(crate) boarded: Number,
    /// Who is answered with the next one.
    pub(crate) waiting: Number,
    pub(crate) requests: Number,
    pub(crate) answers: Number,
}

impl Hash for State {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let small = [self.now, self.next_stream, self.generation, self.published, self.heard, 0, 0, 0];
        let pairs = [
            (self.agents[0], self.agents[1]),
            (self.snapshot, self.candidate),
            (self.image, self.backup),
            (self.flight, self.boarded),
            (self.waiting, self.requests),
            (self.answers, 0),
        ];
        state.write_u64(u64::from_le_bytes(small));
        state.write_u64(self.used);
        pairs.iter().for_each(|(high, low)| state.write_u64(u64::from(*high) << 32 | u64::from(*low)));
    }
}

/// A post under way in the network. It is *live* while its sender waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Request {
    pub(crate) agent: u8,
    pub(crate) live: bool,
    pub(crate) body: Number,
}

/// An answer that somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Reply {
    pub(crate) agent: u8,
    pub(crate) answer: Number,
}

/// The functions whose results are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Op {
    Take,
    Begin,
    Commit,
    Load,
    Post,
    Settle,
    Sample,
}

/// All that was ever worked out.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    pub(crate) kind: Kind,
    pub(crate) glue: Broken,
    pub(crate) policy: Policy,
    pub(crate) agents: Table<Agent>,
    agent_readings: Vec<Set>,
    candidates: Table<CandidateKey>,
    ledgers: Vec<(Candidate, Figures)>,
    pub(crate) images: Table<Image>,
    figures: Vec<Figures>,
    flights: Table<Flight>,
    bodies: Table<Vec<u8>>,
    replies: Table<(u8, Vec<u8>)>,
    pub(crate) requests: Table<Vec<Request>>,
    pub(crate) lists: Table<Vec<Reply>>,
    memo: FastMap<(Op, Number, Number, Number), [Number; 3]>,
    /// What completion made of agents and a candidate.
    pub(crate) completed: FastMap<(Number, Number, Number, Number, u8, u8), ()>,
}

impl State {
    pub(crate) const fn times(&self, fault: Fault) -> u8 {
        (self.used >> (4 * fault as u64) & 15) as u8
    }

    pub(crate) const fn count(&mut self, fault: Fault) {
        self.used += 1 << (4 * fault as u64);
    }
}

impl World {
    pub(crate) fn new(scenario: Scenario, glue: Broken) -> Self {
        let kind = Kind { meter: scenario.meter, dated: scenario.dated };
        let policy = policy(Policy { streams: scenario.streams, contexts: scenario.contexts, ..Policy::default() });
        Self {
            scenario,
            kind,
            glue,
            policy,
            agents: Table::new(),
            agent_readings: Vec::new(),
            candidates: Table::new(),
            ledgers: Vec::new(),
            images: Table::new(),
            figures: Vec::new(),
            flights: Table::new(),
            bodies: Table::new(),
            replies: Table::new(),
            requests: Table::new(),
            lists: Table::new(),
            memo: FastMap::default(),
            completed: FastMap::default(),
        }
    }

    /// An agent with its first reading before an empty ledger.
    pub(crate) fn first(&mut self) -> Result<State, Violation> {
        let mut agent = Agent::new(0, Disk::new(1));
        agent.start(0);
        agent.sample(0, self.kind);
        self.plain(&mut agent);
        let image = self.image(Image::default())?;
        let (candidate, agent) = (self.load(image)?, self.agent(agent));
        let (requests, list) = (self.requests.number(Vec::new()).0, self.lists.number(Vec::new()).0);
        Ok(State {
            now: 0,
            next_stream: 2,
            generation: 0,
            published: 0,
            heard: 0,
            used: 0,
            agents: [agent, NONE],
            snapshot: NONE,
            candidate,
            image,
            backup: NONE,
            flight: NONE,
            boarded: list,
            waiting: list,
            requests,
            answers: list,
        })
    }

    /// Leaves out what no fault of the scenario can tell apart.
    fn plain(&self, agent: &mut Agent) {
        if self.scenario.most(Fault::Coalesce) == 0 {
            agent.forget_posts();
        }
        // Where the power never fails, what is written is as good as synced.
        if self.scenario.most(Fault::Power) == 0 {
            agent.sync();
        }
    }

    pub(crate) fn agent(&mut self, agent: Agent) -> Number {
        let readings = agent.readings();
        let (number, new) = self.agents.number(agent);
        if new {
            self.agent_readings.push(readings);
        }
        number
    }

    /// The agent at a place, if there is one.
    pub(crate) fn at(&self, state: &State, place: u8) -> Option<std::rc::Rc<Agent>> {
        let number = state.agents[usize::from(place)];
        (number != NONE).then(|| self.agents.get(number))
    }

    fn candidate(&mut self, candidate: Candidate) -> Result<Number, Violation> {
        let (number, new) = self.candidates.number(candidate.key());
        if new {
            let figures = candidate.check(self.kind)?;
            self.ledgers.push((candidate, figures));
        }
        Ok(number)
    }

    pub(crate) fn image(&mut self, image: Image) -> Result<Number, Violation> {
        let figures = image.check(self.kind)?;
        let (number, new) = self.images.number(image);
        if new {
            self.figures.push(figures);
        }
        Ok(number)
    }

    pub(crate) fn ledger(&self, candidate: Number) -> &Candidate {
        &self.ledgers[candidate as usize].0
    }

    pub(crate) fn candidate_ticks(&self, candidate: Number) -> Set {
        self.ledgers[candidate as usize].1.ticks
    }

    pub(crate) fn figures(&self, image: Number) -> Figures {
        self.figures[image as usize]
    }

    /// Every reading that is in a spool.
    pub(crate) fn spooled(&self, state: &State) -> Set {
        let agents = state.agents.iter().filter(|agent| **agent != NONE);
        agents.fold(0, |all, agent| all | self.agent_readings[*agent as usize])
    }

    /// Every reading that is in a spool or on the ledger's disk.
    pub(crate) fn kept(&self, state: &State) -> Set {
        self.spooled(state) | self.images.get(state.image).applied
    }

    fn kept_result(
        &mut self,
        key: (Op, Number, Number, Number),
        work: impl FnOnce(&mut Self) -> Result<[Number; 3], Violation>,
    ) -> Result<[Number; 3], Violation> {
        if let Some(result) = self.memo.get(&key) {
            return Ok(*result);
        }
        let result = work(self)?;
        self.memo.insert(key, result);
        Ok(result)
    }

    /// The candidate that a post makes of another, and the answer.
    pub(crate) fn take(&mut self, state: &State, body: Number) -> Result<(Number, Number), Violation> {
        let key = (Op::Take, state.candidate, body, Number::from(state.now) << 8 | Number::from(state.generation));
        let [candidate, answer, _] = self.kept_result(key, |world| {
            let mut candidate = world.ledger(state.candidate).clone();
            let (now, generation) = (state.now, state.generation);
            let answer = candidate.take(&world.bodies.get(body), now, generation, world.kind, world.glue)?;
            let bytes = wire::encode_answer(&answer).expect("an answer to one append");
            let answer = world.replies.number((state.generation, bytes)).0;
            Ok([world.candidate(candidate)?, answer, 0])
        })?;
        Ok((candidate, answer))
    }

    /// The candidate once its commit has begun, and the commit.
    pub(crate) fn begin(&mut self, candidate: Number) -> Result<(Number, Number), Violation> {
        let [candidate, flight, _] = self.kept_result((Op::Begin, candidate, 0, 0), |world| {
            let mut next = world.ledger(candidate).clone();
            let flight = next.begin(world.glue).map_or(NONE, |flight| world.flights.number(flight).0);
            Ok([world.candidate(next)?, flight, 0])
        })?;
        Ok((candidate, flight))
    }

    /// The image after a commit.
    pub(crate) fn commit(&mut self, image: Number, flight: Number) -> Result<Number, Violation> {
        let [image, ..] = self.kept_result((Op::Commit, image, flight, 0), |world| {
            let after = world.images.get(image).after(&world.flights.get(flight))?;
            Ok([world.image(after)?, 0, 0])
        })?;
        Ok(image)
    }

    /// The ledger as it starts on an image.
    pub(crate) fn load(&mut self, image: Number) -> Result<Number, Violation> {
        let [candidate, ..] = self.kept_result((Op::Load, image, 0, 0), |world| {
            let candidate = Candidate::load(&world.images.get(image), &world.policy);
            Ok([world.candidate(candidate)?, 0, 0])
        })?;
        Ok(candidate)
    }

    /// The agent once it has sent, the post if there is one, and whether it took a new stream's id.
    pub(crate) fn post(&mut self, state: &State, place: u8) -> Result<(Number, Number, bool), Violation> {
        let number = state.agents[usize::from(place)];
        let key = (Op::Post, number, Number::from(state.now), Number::from(state.next_stream));
        let [agent, body, _] = self.kept_result(key, |world| {
            let mut agent = (*world.agents.get(number)).clone();
            let body = agent.next_post(state.now, world.kind, state.next_stream, world.glue);
            let body = body.map_or(NONE, |body| world.bodies.number(body).0);
            world.plain(&mut agent);
            Ok([world.agent(agent), body, 0])
        })?;
        Ok((agent, body, self.took_stream(number, agent)))
    }

    /// The agent once it was answered, what the answer says is on disk, whether it took a new stream's
    /// id, and whether it learned where the ledger stands.
    pub(crate) fn settle(&mut self, state: &State, reply: Reply) -> Result<(Number, Set, bool, bool), Violation> {
        let number = state.agents[usize::from(reply.agent)];
        let key = (Op::Settle, number, reply.answer, Number::from(state.next_stream));
        let [agent, durable, heard] = self.kept_result(key, |world| {
            let mut agent = (*world.agents.get(number)).clone();
            let answer: AppendAnswer = world.answer(reply.answer)?;
            let heard = matches!(answer, AppendAnswer::Durable { .. } | AppendAnswer::Stands(_));
            let durable = agent.settle(&answer, state.next_stream, world.glue);
            world.plain(&mut agent);
            Ok([world.agent(agent), Number::from(durable), Number::from(heard)])
        })?;
        let durable = Set::try_from(durable).expect("a set");
        Ok((agent, durable, self.took_stream(number, agent), heard == 1))
    }

    fn answer(&self, answer: Number) -> Result<AppendAnswer, Violation> {
        let answer = wire::decode_answer(&self.replies.get(answer).1);
        let answer = answer.map_err(|why| Violation::new("answers are read again", why.to_string()))?;
        answer.answers.into_iter().next().ok_or_else(|| Violation::new("answers are read again", "none"))
    }

    /// Whether an answer says only where the ledger stands.
    pub(crate) fn is_stands(&self, answer: Number) -> Result<bool, Violation> {
        Ok(matches!(self.answer(answer)?, AppendAnswer::Stands(_)))
    }

    /// The generation in which an answer was given.
    pub(crate) fn generation_of(&self, answer: Number) -> u8 {
        self.replies.get(answer).0
    }

    fn took_stream(&self, before: Number, after: Number) -> bool {
        self.agents.get(before).stream() != self.agents.get(after).stream()
    }

    /// The agent after a look at the device.
    pub(crate) fn sample(&mut self, agent: Number, reading: u8) -> Result<Number, Violation> {
        let [agent, ..] = self.kept_result((Op::Sample, agent, Number::from(reading), 0), |world| {
            let mut next = (*world.agents.get(agent)).clone();
            next.sample(reading, world.kind);
            world.plain(&mut next);
            Ok([world.agent(next), 0, 0])
        })?;
        Ok(agent)
    }

    /// The agent after anything else.
    pub(crate) fn change(&mut self, agent: Number, change: impl FnOnce(&mut Agent)) -> Number {
        let mut next = (*self.agents.get(agent)).clone();
        change(&mut next);
        self.agent(next)
    }
}
