//! Power of late, for live graphs: beside the ledger, never part of it.
//!
//! Limits: per host 10 s steps for 2 h, up to a number of hosts; for the fleet 1 min steps for 7
//! days. It starts empty with the process and holds power by the same boundary that bills, so that
//! a graph never adds a chassis to the GPUs inside it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use energy::{Billed, Boundary, Cell, OwnerState};
use meter::{AccountKey, ByQuality, Energy, Milliwatts, Owner, OwnerKind, Quality, SECOND_NS, Utc};

const HOST_STEP_NS: i64 = 10 * SECOND_NS;
const HOST_STEPS: usize = 720;
const FLEET_STEP_NS: i64 = 60 * SECOND_NS;
const FLEET_STEPS: usize = 7 * 24 * 60;
/// A figure older than this is not "now": agents may stretch their posts to 60 s.
const FRESH_NS: i64 = 150 * SECOND_NS;
/// The mark of a step without a figure.
const NONE: u32 = u32::MAX;

/// One step of a graph: when it begins, and its power if there was a reading.
pub type Point = (Utc, Option<Milliwatts>);

/// Power of late.
#[derive(Debug)]
pub struct RecentPower {
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    hosts: HashMap<Owner, Host>,
    fleet: Ring,
    scratch: Scratch,
}

#[derive(Debug)]
struct Host {
    last: (Utc, Milliwatts),
    /// Only so many hosts have one.
    ring: Option<Ring>,
    bounds: Bounds,
}

/// The boundary of an owner, and the accounts that it is of.
#[derive(Debug)]
struct Bounds {
    keys: Arc<Vec<AccountKey>>,
    boundary: Boundary,
}

#[derive(Debug, Default)]
struct Scratch {
    cells: Vec<Cell>,
    billed: Billed,
}

/// The newest steps of a graph.
#[derive(Debug)]
struct Ring {
    step_ns: i64,
    /// Milliwatts of one unit: a host is kept in mW (up to 4 MW), the fleet in W (up to 4 GW).
    unit: u64,
    /// The number of the newest step since the Unix epoch.
    newest: i64,
    steps: Box<[u32]>,
}

impl RecentPower {
    /// Nothing yet, with graphs for at most `hosts`.
    #[must_use]
    pub fn new(hosts: usize) -> Self {
        let fleet = Ring::new(FLEET_STEP_NS, FLEET_STEPS, 1000);
        let inner = Inner { hosts: HashMap::new(), fleet, scratch: Scratch::default() };
        Self { most: hosts, inner: Mutex::new(inner) }
    }

    /// Takes the newest power of owners that were just committed.
    pub fn note<'a>(&self, states: impl Iterator<Item = &'a OwnerState>, now: Utc) {
        let mut inner = self.lock();
        let Inner { hosts, scratch, .. } = &mut *inner;
        for state in states {
            if let Some(host) = hosts.get_mut(&state.owner) {
                host.bounds.follow(state);
                let Some((at, power)) = power(state, now, &host.bounds.boundary, scratch) else { continue };
                host.take(at, power);
                continue;
            }
            let bounds = Bounds::of(state);
            let Some((at, power)) = power(state, now, &bounds.boundary, scratch) else { continue };
            let ring = (hosts.len() < self.most).then(|| Ring::new(HOST_STEP_NS, HOST_STEPS, 1));
            let mut host = Host { last: (at, power), ring, bounds };
            host.take(at, power);
            hosts.insert(state.owner.clone(), host);
        }
    }

    /// Lets time pass: notes the fleet's power.
    pub fn tick(&self, now: Utc) {
        let mut inner = self.lock();
        if let Some((power, _)) = inner.fleet_now(now) {
            inner.fleet.put(now, power);
        }
    }

    /// A host's graph, oldest step first.
    #[must_use]
    pub fn host(&self, owner: &Owner) -> Option<Vec<Point>> {
        self.lock().hosts.get(owner)?.ring.as_ref().map(Ring::points)
    }

    /// The fleet's graph, oldest step first. Hosts only: a chassis may hold them.
    #[must_use]
    pub fn fleet(&self) -> Vec<Point> {
        self.lock().fleet.points()
    }

    /// A host's newest power and its instant, if it is fresh.
    #[must_use]
    pub fn now_host(&self, owner: &Owner, now: Utc) -> Option<(Utc, Milliwatts)> {
        self.lock().hosts.get(owner).map(|host| host.last).filter(|(at, _)| is_fresh(*at, now))
    }

    /// The power of all hosts with a fresh figure, and how many those are.
    #[must_use]
    pub fn fleet_now(&self, now: Utc) -> Option<(Milliwatts, usize)> {
        self.lock().fleet_now(now)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn take(&mut self, at: Utc, power: Milliwatts) {
        self.last = (at, power);
        if let Some(ring) = &mut self.ring {
            ring.put(at, power);
        }
    }
}

impl Bounds {
    fn of(state: &OwnerState) -> Self {
        Self { keys: Arc::clone(&state.keys), boundary: Boundary::new(&state.keys, &[]) }
    }

    /// Accounts are only ever added, and the list is then another one.
    fn follow(&mut self, state: &OwnerState) {
        if !Arc::ptr_eq(&self.keys, &state.keys) {
            *self = Self::of(state);
        }
    }
}

impl Inner {
    fn fleet_now(&self, now: Utc) -> Option<(Milliwatts, usize)> {
        let fresh = |(owner, host): &(&Owner, &Host)| owner.kind == OwnerKind::Host && is_fresh(host.last.0, now);
        let powers = self.hosts.iter().filter(fresh).map(|(_, host)| host.last.1.0);
        let (sum, count) = powers.fold((0_u64, 0), |(sum, count), power| (sum.saturating_add(power), count + 1));
        (count > 0).then_some((Milliwatts(sum), count))
    }
}

const fn is_fresh(at: Utc, now: Utc) -> bool {
    now.0.saturating_sub(at.0) <= FRESH_NS
}

/// The power that would be billed at the newest reading: the boundary applied to a nanosecond.
fn power(state: &OwnerState, now: Utc, boundary: &Boundary, scratch: &mut Scratch) -> Option<(Utc, Milliwatts)> {
    let newest = state.accounts.iter().map(|account| account.frontier.at.max(shown_at(account))).max()?;
    if !is_fresh(newest, now) {
        return None;
    }
    scratch.cells.clear();
    for (index, account) in state.accounts.iter().enumerate() {
        let shown = account.shown.filter(|(at, _)| newest.0 - at.0 <= FRESH_NS).map(|(_, power)| power);
        // Where only a counter is read: its mean over the open slot.
        let mean = || {
            let slot = state.open.last().filter(|_| newest.0 - account.frontier.at.0 <= FRESH_NS)?;
            let cell = slot.cells.get(index).filter(|cell| cell.covered_ns > 0)?;
            let half_picojoules = cell.energy.total().0 / i128::from(cell.covered_ns);
            u64::try_from(half_picojoules / 2).ok().map(Milliwatts)
        };
        scratch.cells.push(match shown.or_else(mean) {
            Some(power) => {
                Cell { energy: ByQuality::of(Quality::Integrated, Energy::of_constant(power, 1)), covered_ns: 1 }
            }
            None => Cell::default(),
        });
    }
    boundary.bill(&scratch.cells, &mut scratch.billed);
    let total: Energy = scratch.billed.lines.iter().map(|line| line.energy.total()).sum();
    (scratch.billed.covered_ns > 0).then(|| (newest, Milliwatts(u64::try_from(total.0 / 2).unwrap_or(0))))
}

fn shown_at(account: &energy::Account) -> Utc {
    account.shown.map_or(Utc(i64::MIN), |(at, _)| at)
}

impl Ring {
    fn new(step_ns: i64, steps: usize, unit: u64) -> Self {
        Self { step_ns, unit, newest: i64::MIN, steps: vec![NONE; steps].into() }
    }

    fn put(&mut self, at: Utc, power: Milliwatts) {
        let (step, length) = (at.0.div_euclid(self.step_ns), self.steps.len() as i64);
        if self.newest == i64::MIN || step - self.newest >= length {
            self.steps.fill(NONE);
            self.newest = step;
        }
        while self.newest < step {
            self.newest += 1;
            let place = self.place(self.newest);
            self.steps[place] = NONE;
        }
        if self.newest - step < length {
            let place = self.place(step);
            self.steps[place] = u32::try_from(power.0 / self.unit).unwrap_or(NONE).min(NONE - 1);
        }
    }

    fn place(&self, step: i64) -> usize {
        // The remainder is below the length, which came from a usize.
        step.rem_euclid(self.steps.len() as i64) as usize
    }

    fn points(&self) -> Vec<Point> {
        if self.newest == i64::MIN {
            return Vec::new();
        }
        let first = self.newest - self.steps.len() as i64 + 1;
        let points = (first..=self.newest).map(|step| {
            let units = self.steps[self.place(step)];
            let power = (units != NONE).then(|| Milliwatts(u64::from(units) * self.unit));
            (Utc(step.saturating_mul(self.step_ns)), power)
        });
        points.skip_while(|(_, power)| power.is_none()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(s: i64) -> Utc {
        Utc(s * SECOND_NS)
    }

    #[test]
    fn a_graph_holds_its_newest_steps_and_says_where_there_was_nothing() {
        let mut ring = Ring::new(10 * SECOND_NS, 4, 1);
        assert!(ring.points().is_empty());
        ring.put(seconds(100), Milliwatts(1));
        ring.put(seconds(129), Milliwatts(3));
        ring.put(seconds(110), Milliwatts(2));
        let held = [(100, Some(1)), (110, Some(2)), (120, Some(3))];
        assert_eq!(ring.points(), held.map(|(at, mw)| (seconds(at), mw.map(Milliwatts))));
        ring.put(seconds(150), Milliwatts(5));
        let held = [(120, Some(3)), (130, None), (140, None), (150, Some(5))];
        assert_eq!(ring.points(), held.map(|(at, mw)| (seconds(at), mw.map(Milliwatts))));
        ring.put(seconds(100), Milliwatts(9));
        assert_eq!(ring.points().len(), 4, "what is too old changes nothing");
        ring.put(seconds(100_000), Milliwatts(7));
        assert_eq!(ring.points(), [(seconds(100_000), Some(Milliwatts(7)))]);
    }

    #[test]
    fn a_host_is_its_chassis_not_chassis_plus_gpu_and_old_figures_are_not_now() {
        let now = seconds(1_793_491_200);
        let body = format!(
            r#"{{"stream":"s","seq":1,"host":"n","readings":[
            {{"scope":"chassis","device":"wall","at_ms":{at},"watts":500}},
            {{"scope":"gpu","device":"g","at_ms":{at},"watts":300}}]}}"#,
            at = now.0 / 1_000_000
        );
        let mut ledger = energy::Ledger::new(energy::Policy::default());
        let post = crate::http::ingest_json::decode(body.as_bytes()).expect("a post");
        ledger.post(&post, now);
        let recent = RecentPower::new(1);
        recent.note(ledger.take_commit().iter().map(|dirty| &*dirty.state), now);
        let owner = Owner::host("n").expect("a good name");
        assert_eq!(recent.fleet_now(now), Some((Milliwatts(500_000), 1)));
        assert_eq!(recent.now_host(&owner, now), Some((now, Milliwatts(500_000))));
        assert_eq!(recent.host(&owner), Some(vec![(now, Some(Milliwatts(500_000)))]));
        let later = Utc(now.0 + FRESH_NS + 1);
        assert_eq!((recent.fleet_now(later), recent.now_host(&owner, later)), (None, None));
    }

    #[test]
    fn the_largest_power_is_not_taken_for_none() {
        let mut ring = Ring::new(10 * SECOND_NS, 4, 1);
        ring.put(seconds(0), Milliwatts(u64::MAX));
        assert_eq!(ring.points(), [(seconds(0), Some(Milliwatts(u64::from(u32::MAX - 1))))]);
    }
}
