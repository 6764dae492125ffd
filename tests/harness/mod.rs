//! What the stories of `tests/e2e` and the faults of `tests/faults` are told with: an aggregator in its own directory, an agent's commands, HTTP as a
//! stranger speaks it, and recorded readings.

mod agent;
mod batch;
#[expect(dead_code, reason = "other tests use the rest")]
pub(crate) mod bmc;
mod data;
mod http;
mod node;
mod readings;
mod rollup;
mod server;

pub(crate) use agent::{Done, Killed, agent, output, spawn_replay, wattledger, within};
pub(crate) use batch::{Writer, batch, power, stream};
pub(crate) use data::{recorded, reference, samples};
pub(crate) use http::{Answer, client, get, post, post_json, raw};
pub(crate) use node::{Node, can_unshare, made_up};
pub(crate) use readings::{Point, Readings, joined, watts};
pub(crate) use rollup::{Row, counter, refused, rollup, rows, series, slots_around};
pub(crate) use server::{Home, Server};

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Waits until `done` gives something; fails, saying what was waited for, after `limit`.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(since.elapsed() < limit, "waited {limit:?} in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits, in the last two minutes of a day in UTC, until the next one is some seconds old: a story of today, of this
/// month or of the last one must not end in another than it began in, and needs a little of it.
pub(crate) fn await_one_day() {
    const DAY_MS: i64 = 86_400_000;
    while (now_ms() - 10_000) / DAY_MS != (now_ms() + 120_000) / DAY_MS {
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Now, in Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock after 1970").as_millis();
    i64::try_from(now).expect("milliseconds of this age")
}

/// The beginning of a slot about `hours` ago, in Unix milliseconds.
pub(crate) fn slot_ago_ms(hours: i64) -> i64 {
    now_ms() / 900_000 * 900_000 - hours * 3_600_000
}

/// A loopback address that was free a moment ago, for what has to come back under the same one. It lies
/// below the ports that outgoing connections take: while nobody listens there, nobody gets it by chance.
pub(crate) fn free_address() -> String {
    let seed = RandomState::new().hash_one(std::process::id());
    let ports = (0..20_000).map(|n| 12_000 + (seed.wrapping_add(n * 7919) % 20_000) as u16);
    let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.map(Some).find_map(|port| port.filter(free)).map(|port| format!("127.0.0.1:{port}")).expect("a free port")
}

/// The path of a program of the system, or nothing and a visible line that says what is skipped.
pub(crate) fn tool(name: &str, skipped: &str) -> Option<std::path::PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: {skipped}: there is no {name} (tests/run says where to get it)");
    }
    found
}
