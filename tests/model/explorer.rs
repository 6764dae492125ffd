//! Every state that can be reached, breadth first, so that the first violation found is a shortest one.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::tables::FastMap;

/// More states than this are beyond what a test may take, in time and in memory (about 150 bytes each).
const STATES_MAX: usize = 5_000_000;

/// A world that can be explored.
pub(crate) trait Explorable {
    /// One moment of it; compared exactly.
    type State: Copy + Eq + Hash;
    /// What can happen next.
    type Action: Copy + std::fmt::Debug;

    /// Where it begins.
    fn start(&mut self) -> Result<Self::State, Violation>;

    /// Everything that can happen in a state.
    fn next(&mut self, state: &Self::State, into: &mut Vec<(Self::Action, Self::State)>) -> Result<(), Violation>;

    /// What must hold in a state.
    fn check(&mut self, state: &Self::State) -> Result<(), Violation>;
}

/// An invariant that does not hold.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) found: String,
}

/// What an exploration saw.
#[derive(Debug)]
pub(crate) struct Report {
    /// States that differ.
    pub(crate) unique: usize,
    /// States that were worked out.
    pub(crate) generated: u64,
    /// Steps to the furthest state.
    pub(crate) depth: u32,
    pub(crate) time: Duration,
    /// The first violation, and how it came about.
    pub(crate) violation: Option<(Violation, Vec<String>)>,
}

impl Violation {
    pub(crate) fn new(invariant: &'static str, found: impl Into<String>) -> Self {
        Self { invariant, found: found.into() }
    }
}

/// How a state was reached.
struct Way<A> {
    from: u32,
    by: Option<A>,
    depth: u32,
}

/// Explores all states, or up to the first violation.
pub(crate) fn explore<W: Explorable>(world: &mut W) -> Report {
    let since = Instant::now();
    let mut report = Report { unique: 0, generated: 0, depth: 0, time: Duration::ZERO, violation: None };
    let mut seen: FastMap<W::State, ()> = FastMap::default();
    let mut ways: Vec<Way<W::Action>> = Vec::new();
    if let Err((violation, last)) = all(world, &mut seen, &mut ways, &mut report) {
        report.violation = Some((violation, trace(&ways, last)));
    }
    report.unique = seen.len();
    report.time = since.elapsed();
    report
}

fn all<W: Explorable>(
    world: &mut W,
    seen: &mut FastMap<W::State, ()>,
    ways: &mut Vec<Way<W::Action>>,
    report: &mut Report,
) -> Result<(), (Violation, usize)> {
    let start = world.start().map_err(|violation| (violation, 0))?;
    let mut open = VecDeque::from([start]);
    let mut next = Vec::new();
    seen.insert(start, ());
    ways.push(Way { from: 0, by: None, depth: 0 });
    let mut current = 0;
    while let Some(state) = open.pop_front() {
        report.depth = ways[current].depth;
        next.clear();
        world.check(&state).and_then(|()| world.next(&state, &mut next)).map_err(|violation| (violation, current))?;
        report.generated += next.len() as u64;
        assert!(seen.len() < STATES_MAX, "more than {STATES_MAX} states: give the scenario a smaller budget");
        for (by, to) in next.drain(..) {
            if seen.insert(to, ()).is_none() {
                let from = u32::try_from(current).expect("fewer states than numbers");
                ways.push(Way { from, by: Some(by), depth: report.depth + 1 });
                open.push_back(to);
            }
        }
        current += 1;
    }
    Ok(())
}

/// The actions that lead to a state.
fn trace<A: std::fmt::Debug>(ways: &[Way<A>], last: usize) -> Vec<String> {
    let mut actions = Vec::new();
    let mut at = last;
    while let Some(Way { from, by: Some(by), .. }) = ways.get(at) {
        actions.push(format!("{by:?}"));
        at = *from as usize;
    }
    actions.reverse();
    actions
}
