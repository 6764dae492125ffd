//! What a month by team takes of a fleet of 1,000 hosts, in CPU and memory, from cells and from the day book: each asked
//! twice of a store that was just opened. Prints a line per question.
//!
//! `MONTH_HOSTS` sets the size of the fleet, `MONTH_DIR` a directory that is kept: making the ledger takes longest. With
//! `FLEET_DAYS_BEFORE=334` the store holds a year, of which the last month is asked.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![expect(clippy::print_stdout, reason = "what it measures is for people")]

mod fleet;

use std::path::Path;

use aggregator::query::{CostQuery, HeldQuery, Zone, label_keys};
use billing::Figures;
use billing::daybook::DayBook;
use billing::keeping::make_one;
use billing::published::Snapshot;
use billing::topology::Topology;
use cost::{Answer, By, RateCard, Step, Where, Window};
use energy::boundary::Ratio;
use meter::Slot;
use store::Store;

use fleet::{HOURS, START, ledger};

/// CPU of this process in milliseconds.
fn cpu_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("a Linux");
    text.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).expect("a number") / 1e6
}

/// A line of this process's status, in MiB.
fn memory(key: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("a Linux");
    let line = text.lines().find_map(|line| line.strip_prefix(key)).expect("a line");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") >> 10
}

fn measured<T>(what: &str, work: impl FnOnce() -> T) -> T {
    // The peak begins anew.
    std::fs::write("/proc/self/clear_refs", "5").expect("one's own");
    let (cpu, resident) = (cpu_ms(), memory("VmRSS"));
    let made = work();
    let cpu = cpu_ms() - cpu;
    println!("{what}: {cpu:.0} ms CPU, {resident} MiB resident before, {} at most", memory("VmHWM"));
    made
}

fn asked(store: &dyn Store, snapshot: &Snapshot, days: Option<&DayBook>, by: &str, step: Option<Step>) -> Answer {
    let topology = Topology::default();
    let labels = label_keys(snapshot, &topology.inventory);
    let query = CostQuery {
        window: Window::of_slots(Slot(START * 4), Slot((START + HOURS) * 4)),
        by: By::parse(by, &labels).expect("keys"),
        select: Where::default(),
        step,
        zone: Zone::of("UTC").expect("a zone"),
        held: HeldQuery::default(),
    };
    query.answer(&figures(store, snapshot, &topology, days), &RateCard::default()).expect("an answer")
}

fn figures<'a>(
    store: &'a dyn Store,
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    days: Option<&'a DayBook>,
) -> Figures<'a> {
    Figures { snapshot, store, topology, now: snapshot.as_of, factor: Ratio::default(), days }
}

fn make(store: &dyn Store, snapshot: &Snapshot, book: &DayBook) {
    let topology = Topology::default();
    // The last day rests for a while.
    let now = meter::Utc(snapshot.as_of.0 + 3_600_000_000_000);
    let figures = Figures { now, ..figures(store, snapshot, &topology, None) };
    let mut until = None;
    while let Some(next) = make_one(book, &figures, until, &|| true).expect("pages") {
        until = Some(next);
    }
}

fn month(directory: &Path) {
    let hosts = std::env::var("MONTH_HOSTS").ok().and_then(|hosts| hosts.parse().ok()).unwrap_or(1000);
    let open = || ledger(directory, hosts);
    let questions =
        [("by team", "team", None), ("by team and day", "team", Some(Step::Day)), ("by scope", "scope", None)];
    let (store, snapshot) = measured("the ledger made or found", open);
    let mut plain = Vec::new();
    for (what, by, step) in questions {
        plain.push(measured(&format!("{what}, from cells"), || asked(&store, &snapshot, None, by, step)));
    }
    drop(store);
    let (store, snapshot) = open();
    let book = DayBook::open(&directory.join("days"), store.identity(), 8 << 30).expect("a book");
    measured("pages of all days made, or found to hold", || make(&store, &snapshot, &book));
    let bytes: u64 = book.days().expect("days").iter().map(|(_, bytes)| bytes).sum();
    let days = book.days().expect("days").len();
    println!("{days} days, {:.2} MiB each", bytes as f64 / days as f64 / f64::from(1 << 20));
    drop(store);
    let (store, snapshot) = open();
    for (number, (what, by, step)) in questions.into_iter().enumerate() {
        for time in ["first", "again"] {
            let what = format!("{what}, from the day book, {time}");
            let answer = measured(&what, || asked(&store, &snapshot, Some(&book), by, step));
            assert_eq!(format!("{answer:?}"), format!("{:?}", plain[number]), "{what}");
        }
    }
}

fn main() {
    match std::env::var("MONTH_DIR") {
        Ok(kept) => month(Path::new(&kept)),
        Err(_) => month(tempfile::tempdir().expect("a directory").path()),
    }
}
