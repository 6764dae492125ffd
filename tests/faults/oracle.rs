//! What the ledger has to hold: everything the agents read, added up here by other code than the product's,
//! by the rules of `docs/LEDGER.md`, in integers of half picojoules.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agents::spool::{Room, Spool};
use meter::{Clock, Context, Id, Position, Record};
use serde_json::Value;

use crate::fleet::World;
use crate::harness::{now_ms, rows, slots_around, wait_for};
use crate::proxy::Proxy;
use crate::scraper;

/// Host, scope and device.
pub(crate) type Account = (String, String, String);

/// One device's values at one instant of the boot clock, and what its source declares.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reading {
    at: u64,
    power: Option<u64>,
    counter: Option<u64>,
    epoch: u64,
    modulus: Option<u64>,
    limit: u64,
    period: u64,
}

/// Everything that was read, by account and instant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    accounts: BTreeMap<Account, BTreeMap<u64, Reading>>,
    boot: Option<Id>,
    /// Instants that were new here although later ones were known: a ledger that got them in this order may
    /// have joined the readings around them, and then it fences them.
    late: BTreeMap<String, BTreeSet<u64>>,
    /// Whether readings were coalesced in a spool after they were added here.
    pub(crate) coalesced: bool,
}

/// What an account's readings add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    half_picojoules: i128,
    /// Nanoseconds between the first and the last reading.
    pub(crate) expected: u64,
    /// Nanoseconds of it that no energy is known for.
    pub(crate) uncovered: u64,
    pub(crate) readings: usize,
}

/// What two neighbouring readings say of the time between them.
enum Piece {
    Energy(i128),
    Hole,
    /// More than the device can draw.
    Unbelievable,
}

const MICROJOULE: i128 = 2_000_000;
const SECOND: u64 = 1_000_000_000;

impl Truth {
    /// Adds what the spool in a folder holds. A copy is read: nothing of the agent's is touched.
    pub(crate) fn add_spool(&mut self, host: &str, folder: &Path) {
        let around = tempfile::tempdir().expect("a folder");
        let copy = around.path().join("spool");
        std::fs::create_dir(&copy).expect("a folder");
        std::fs::set_permissions(&copy, Permissions::from_mode(0o700)).expect("a folder of ours");
        for entry in std::fs::read_dir(folder).expect("a spool") {
            let path = entry.expect("an entry").path();
            std::fs::copy(&path, copy.join(path.file_name().expect("a name"))).expect("a copy");
        }
        let fingerprint = agents::identity::fingerprint(Path::new("/sys"), Path::new("/etc"));
        let mut spool = Spool::open(&copy, fingerprint, u64::MAX >> 8).expect("a spool that opens");
        let mut at: Position = spool.start();
        loop {
            let batch =
                spool.read(at, Room { bytes: 1 << 20, samples: 1 << 18, until: u64::MAX }).expect("a sound spool");
            if batch.records.is_empty() {
                return;
            }
            for record in &batch.records {
                self.add(host, &batch.contexts[&record.context], record);
            }
            at = batch.end;
        }
    }

    /// What agents sent through a proxy so far. What they send later is in their spools.
    pub(crate) fn seen_by(proxy: &Proxy) -> Self {
        // A summary on its way tells of readings that were on it before.
        let (mut truth, mut contexts) = (Self { coalesced: true, ..Self::default() }, BTreeMap::new());
        for body in proxy.bodies() {
            let post = wire::decode_post(&body).expect("what an agent posts");
            for append in post.appends {
                let declared = append.hello.into_iter().flat_map(|hello| hello.contexts);
                contexts.extend(declared.map(|context| (wire::context_id(&context), context)));
                for record in &append.records {
                    truth.add(&append.owner.name, &contexts[&record.context], record);
                }
            }
        }
        truth
    }

    /// Adds a record. What a spool coalesced says nothing that its readings did not say before.
    pub(crate) fn add(&mut self, host: &str, context: &Context, record: &Record) {
        let Clock::Boot(boot) = context.clock else { panic!("an agent reads by its boot clock") };
        assert_eq!(*self.boot.get_or_insert(boot), boot, "one machine, one boot");
        assert!(record.summary.is_none() || self.coalesced, "a spool that had room for everything");
        for sample in &record.samples {
            let device = &context.devices[usize::from(sample.device)];
            let account = (host.to_owned(), device.key.scope.word().to_owned(), device.key.device.to_string());
            let reading = Reading {
                at: record.at,
                power: sample.power.map(|power| power.0),
                counter: sample.counter.map(|counter| counter.0),
                epoch: device.epoch,
                modulus: device.modulus.map(|modulus| modulus.0),
                limit: device.limit.0,
                period: device.period_ns,
            };
            assert!(sample.refused.is_none(), "a made-up machine gives values only");
            let known = self.accounts.entry(account).or_default();
            let is_late = known.last_key_value().is_some_and(|(last, _)| *last > record.at);
            let before = known.insert(record.at, reading.clone());
            if is_late && before.is_none() {
                self.late.entry(host.to_owned()).or_default().insert(record.at);
            }
            assert!(before.is_none_or(|before| before == reading), "two readings at one instant");
        }
    }

    /// What everything adds up to, by account.
    pub(crate) fn sums(&self) -> BTreeMap<Account, Sum> {
        self.accounts.iter().map(|(account, readings)| (account.clone(), add_up(readings.values()))).collect()
    }

    /// Fails if a reading is sent after later ones. The ledger then fences it where it joined those around it,
    /// which shows in the energy only if the power bent in between.
    fn must_be_in_order(&self) {
        if let Some((host, late)) = self.late.first_key_value() {
            let (first, last) = (late.first(), late.last());
            panic!("{host}: {} instants were sent after later ones, from {first:?} to {last:?} ns", late.len());
        }
    }

    /// How many readings there are.
    pub(crate) fn readings(&self) -> usize {
        self.accounts.values().map(BTreeMap::len).sum()
    }
}

impl Sum {
    /// Whole microjoules, as they are printed.
    pub(crate) fn microjoules(&self) -> i128 {
        self.half_picojoules.div_euclid(MICROJOULE)
    }
}

fn add_up<'a>(readings: impl Iterator<Item = &'a Reading>) -> Sum {
    let mut sum = Sum::default();
    let (mut from, mut doubted): (Option<&Reading>, Option<&Reading>) = (None, None);
    for to in readings {
        sum.readings += 1;
        let Some(before) = from.replace(to) else { continue };
        sum.expected += to.at - before.at;
        match piece(before, to) {
            Piece::Energy(energy) => sum.half_picojoules += energy,
            Piece::Hole => sum.uncovered += to.at - before.at,
            Piece::Unbelievable => {
                // Believed only if the next reading agrees with it; till then the one before it stands.
                match doubted.map(|doubted| (doubted, piece(doubted, to))) {
                    Some((doubted, Piece::Energy(energy))) => {
                        sum.half_picojoules += energy;
                        sum.uncovered += doubted.at - before.at;
                    }
                    _ => {
                        sum.expected -= to.at - before.at;
                        (from, doubted) = (Some(before), Some(to));
                        continue;
                    }
                }
            }
        }
        doubted = None;
    }
    sum
}

fn piece(from: &Reading, to: &Reading) -> Piece {
    let elapsed = to.at - from.at;
    if let (Some(before), Some(after)) = (from.counter, to.counter) {
        if from.epoch != to.epoch {
            return Piece::Hole;
        }
        // One and a half times what the device declares; below a second a published step of 0.1 s more.
        let most = |ns: u64| 2 * i128::from(to.limit * 3 / 2) * i128::from(ns);
        assert!(to.limit > 0, "a device with a counter declares what it can draw");
        let moved = match to.modulus {
            Some(modulus) => {
                assert!(before.max(after) <= modulus && most(elapsed) < i128::from(modulus) * MICROJOULE);
                if after < before { modulus - before + after } else { after - before }
            }
            None if after < before => return Piece::Hole,
            None => after - before,
        };
        let energy = i128::from(moved) * MICROJOULE;
        let step = if elapsed < SECOND { SECOND / 10 } else { 0 };
        return if energy > most(elapsed + step) { Piece::Unbelievable } else { Piece::Energy(energy) };
    }
    assert!(from.counter.is_none() && to.counter.is_none(), "a source that sometimes has a counter");
    let (Some(start), Some(end)) = (from.power, to.power) else { panic!("a reading without a value") };
    let near = elapsed <= (3 * to.period).max(10 * SECOND);
    if near { Piece::Energy(i128::from(start + end) * i128::from(elapsed)) } else { Piece::Hole }
}

/// Ends the agents, lets couriers bring what is left, and compares the ledger with what the spools hold
/// and `seen` besides. Gives what was read.
pub(crate) fn settle(world: &mut World, seen: Truth) -> Truth {
    world.stop_agents();
    let mut truth = seen;
    for node in 0..world.nodes.len() {
        truth.add_spool(&world.nodes[node].name.clone(), &world.spool(node));
    }
    truth.must_be_in_order();
    world.start_couriers();
    compare(world, &truth);
    world.stop_agents();
    // Nothing comes after, either.
    compare(world, &truth);
    truth
}

/// Waits until the ledger says what was read, and says how much that is. What it has too much stays too
/// much, so waiting excuses nothing.
pub(crate) fn compare(world: &World, truth: &Truth) {
    let sums = truth.sums();
    let mut differences = Vec::new();
    let since = std::time::Instant::now();
    while since.elapsed().as_secs() < 120 {
        differences = accounts_that_differ(world, &sums);
        if differences.is_empty() {
            let hosts = compare_hosts(world, &sums);
            compare_uncovered(world, &sums);
            let energy: i128 = sums.values().map(Sum::microjoules).sum();
            println!(
                "0 difference: {} readings of {} accounts, {energy} µJ; {hosts} hosts in the rollup",
                truth.readings(),
                sums.len()
            );
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("the ledger differs from what was read:\n{}", differences.join("\n"));
}

/// The accounts whose registers are not, to the microjoule, what was read.
fn accounts_that_differ(world: &World, sums: &BTreeMap<Account, Sum>) -> Vec<String> {
    let Some((200, page)) = scraper::try_get(&format!("{}/metrics", world.url())) else {
        return vec!["/metrics does not answer".into()];
    };
    let mut booked: BTreeMap<Account, i128> = scraper::series(&page, "wattledger_energy_joules_total")
        .map(|(series, uj)| ((label(series, "host"), label(series, "scope"), label(series, "device")), uj))
        .filter(|((host, ..), _)| world.nodes.iter().any(|node| node.name == *host))
        .collect();
    let mut differences = Vec::new();
    for (account, sum) in sums {
        let booked = booked.remove(account);
        if booked != Some(sum.microjoules()) {
            differences.push(format!("{account:?}: booked {booked:?} µJ, read {} µJ ({sum:?})", sum.microjoules()));
        }
    }
    differences.extend(booked.keys().map(|account| format!("{account:?}: was never read")));
    differences
}

/// Compares every host's `energy_uj` where its meter was read without a hole: then it alone is billed.
fn compare_hosts(world: &World, sums: &BTreeMap<Account, Sum>) -> usize {
    let window = slots_around(now_ms() - 7_200_000, now_ms());
    let whole = |host: &str| sums.iter().filter(|((of, ..), _)| of == host).all(|(_, sum)| sum.uncovered == 0);
    let meters = sums.iter().filter(|((host, scope, _), _)| scope == "chassis" && whole(host));
    let mut compared = 0;
    for ((host, ..), sum) in meters {
        let rows = rows(&world.url(), &format!("window={window}&by=host&where=host={host}"));
        let energy: Vec<i128> = rows.iter().map(|row| row.energy_uj).collect();
        assert_eq!(energy, [sum.microjoules()], "{host}: the rollup is the meter's own figure");
        compared += 1;
    }
    compared
}

/// Compares what the ledger says it does not know. Its dates are slewed by at most 500 ppm.
fn compare_uncovered(world: &World, sums: &BTreeMap<Account, Sum>) {
    for node in &world.nodes {
        let page = scraper::try_get(&format!("{}/api/v1/devices?limit=1000&where=host={}", world.url(), node.name));
        let page: Value = serde_json::from_str(&page.expect("the devices").1).expect("JSON");
        for device in page["devices"].as_array().expect("devices") {
            let text = |key: &str| device[key].as_str().unwrap_or_default().to_owned();
            let sum = sums[&(node.name.clone(), text("scope"), text("device"))];
            let (told, uncovered) =
                (device["uncovered_seconds"].as_f64().expect("seconds"), sum.uncovered as f64 / 1e9);
            assert!((told - uncovered).abs() <= uncovered / 1000.0 + 0.005, "{device}: {uncovered} s are not known");
        }
    }
}

/// A label's value in a series' text. None of ours needs escaping.
fn label(series: &str, name: &str) -> String {
    let (_, rest) = series.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name} in {series}"));
    rest.split('"').next().unwrap_or_default().to_owned()
}

/// Waits until the ledger has counted more readings than `before`; gives how many.
pub(crate) fn progress(world: &World, before: i128) -> i128 {
    let url = format!("{}/metrics", world.url());
    wait_for("further readings in the ledger", std::time::Duration::from_secs(60), || {
        let (_, page) = scraper::try_get(&url).filter(|(status, _)| *status == 200)?;
        let now = scraper::series(&page, "wattledger_readings_total").map(|(_, count)| count / 1_000_000).sum::<i128>();
        (now > before).then_some(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(ms: u64, power: Option<u64>, counter: Option<u64>, modulus: Option<u64>) -> Reading {
        let (epoch, limit) = (1, 700_000);
        Reading { at: ms * 1_000_000, power, counter, epoch, modulus, limit, period: SECOND }
    }

    fn of(readings: &[Reading]) -> (i128, u64) {
        let sum = add_up(readings.iter());
        (sum.microjoules(), sum.uncovered / 1_000_000)
    }

    #[test]
    fn the_oracle_adds_up_as_a_person_would() {
        let power = |ms, mw| reading(ms, Some(mw), None, None);
        // 100 W to 300 W over 2 s, then a hole of 11 s.
        assert_eq!(of(&[power(0, 100_000), power(2000, 300_000), power(13_000, 1)]), (400_000_000, 11_000));
        let counter = |ms, uj| reading(ms, Some(1), Some(uj), None);
        assert_eq!(of(&[counter(0, 5), counter(60_000, 1_000_005), counter(61_000, 7)]), (1_000_000, 1000));
        let wraps = |ms, uj| reading(ms, None, Some(uj), Some(200_000_000_000));
        assert_eq!(of(&[wraps(0, 199_999_999_000), wraps(1000, 500)]), (1500, 0));
    }

    #[test]
    fn a_jump_is_believed_when_the_next_reading_agrees() {
        let counter = |ms, uj| reading(ms, None, Some(uj), None);
        let jumped = [counter(0, 0), counter(1000, 9_000_000_000), counter(2000, 9_000_000_700)];
        assert_eq!(of(&jumped), (700, 1000));
        assert_eq!(of(&[counter(0, 0), counter(1000, 9_000_000_000), counter(2000, 700)]), (700, 0));
    }
}
