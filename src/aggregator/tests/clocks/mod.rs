//! The aggregator's own clock steps by days while agents report and somebody scrapes.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicI64, Ordering};

use aggregator::Parts;
use meter::{
    AccountKey, Clock, Context, DeviceDecl, Energy, Milliwatts, Owner, Position, Quality, Record, Sample, Scope, Utc,
};
use wire::{AppendAnswer, Hello, Post, SentAt};

use crate::common::{Server, TestStore, settings};
use crate::{host, send};

const S: u64 = 1_000_000_000;
const DAY: i64 = 86_400;
/// 2026-11-01T00:00:00Z, in seconds.
const T0: i64 = 1_793_491_200;
const MW: u64 = 300_000;

/// What the aggregator's clock shows, in nanoseconds: only this test sets it.
static SHOWN: AtomicI64 = AtomicI64::new(0);

fn shown() -> Utc {
    Utc(SHOWN.load(Ordering::SeqCst))
}

/// A node whose boot began `uptime` seconds before `T0` and whose stream is told by one byte.
struct Node {
    owner: Owner,
    id: u8,
    uptime: u64,
    position: Position,
}

impl Node {
    fn new(id: u8, uptime: u64) -> Self {
        Self { owner: host(&format!("node-{id}")), id, uptime, position: Position::default() }
    }

    /// Posts a reading for each second from `from` to `to`, both in seconds after `T0`, and sees that
    /// all are booked.
    fn report(&mut self, server: &Server, from: u64, to: u64) {
        let key = AccountKey::new(Scope::Gpu, "g0").expect("a good device");
        let device = DeviceDecl { key, period_ns: S, limit: Milliwatts(0), modulus: None, epoch: 0 };
        let boot = [self.id; 16];
        let context = Context { clock: Clock::Boot(boot), wall_offset_ns: 0, devices: vec![device] };
        let record = |s: u64| Record {
            context: wire::context_id(&context),
            at: (s + self.uptime) * S,
            samples: vec![Sample { power: Some(Milliwatts(MW)), ..Sample::default() }],
            ..Record::default()
        };
        let append = wire::Append {
            stream: boot,
            owner: self.owner.clone(),
            hello: Some(Hello {
                fingerprint: Some(boot),
                agent: "test/1".into(),
                contexts: vec![context.clone()],
                ..Hello::default()
            }),
            base: self.position,
            import: false,
            records: (from..=to).map(record).collect(),
            live: Vec::new(),
        };
        let sent = SentAt { boot, boot_ns: (to + self.uptime) * S, wall_ns: (T0 + to as i64) * S as i64 };
        self.position = append.end();
        let answers = send(server, &Post { sent: Some(sent), appends: vec![append] }).answers;
        let all = AppendAnswer::Durable { at: self.position, booked: to - from + 1, fenced: 0, refused: vec![] };
        assert_eq!(answers, [all], "the clock shows {}", shown().0);
    }

    /// Measured energy, and where its time ends in seconds after `T0`, rounded.
    fn figures(&self, server: &Server) -> (Energy, i64) {
        let snapshot = server.snapshot();
        let account = &snapshot.owner(&self.owner).expect("reported").state.accounts[0];
        let second = S as i64;
        (account.lifetime[Quality::Integrated], (account.frontier.at.0 + second / 2).div_euclid(second) - T0)
    }
}

/// The energy counters that a scraper sees, by series.
fn scraped(server: &Server) -> Vec<(String, f64)> {
    // HTTP/1.0 gets no chunks.
    let mut client = server.connect();
    client.stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: x\r\n\r\n").expect("sent");
    let mut text = String::new();
    client.stream.read_to_string(&mut text).expect("text");
    let counters = text.lines().filter(|line| line.starts_with("wattledger_energy_joules_total{"));
    let pair = |line: &str| {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        (series.to_owned(), value.parse().expect("a number"))
    };
    counters.map(pair).collect()
}

#[test]
fn whatever_the_aggregators_clock_shows_no_joule_is_lost_and_no_counter_falls() {
    let show = |s: i64| SHOWN.store((T0 + s) * S as i64, Ordering::SeqCst);
    show(0);
    let parts = |store| Parts { settings: settings(), store, exporter: None, now: shown, on_death: |_| () };
    let store = TestStore::new();
    let server = Server::from(move || aggregator::start_on(parts(store)));
    let mut steady = Node::new(1, 1000);
    let mut newcomers = Vec::new();
    let mut before = Vec::new();
    // Three days ahead, three days behind, 1970, right again.
    for (round, wrong) in [0, 3 * DAY, -3 * DAY, -T0, 0, 0].into_iter().enumerate() {
        let (from, to) = (round as u64 * 100, round as u64 * 100 + 100);
        show(to as i64 + wrong);
        steady.report(&server, from + u64::from(round > 0), to);
        // A host heard of for the first time while the clock is wrong goes on as well.
        newcomers.push((Node::new(10 + round as u8, 50), from, wrong));
        for (node, since, _) in &mut newcomers {
            node.report(&server, if *since == from { from } else { from + 1 }, to);
        }
        let now = scraped(&server);
        for (series, joules) in &before {
            let still = now.iter().find(|(name, _)| name == series);
            assert!(still.is_some_and(|(_, now)| now >= joules), "{series} fell from {joules} to {still:?}");
        }
        assert!(now.len() > before.len(), "{now:?}");
        before = now;
    }
    let joules = |seconds: u64| Energy::of_constant(Milliwatts(MW), seconds * S);
    assert_eq!(steady.figures(&server), (joules(600), 600));
    for (node, since, wrong) in &newcomers {
        assert_eq!(node.figures(&server), (joules(600 - since), 600 + wrong), "first heard of {wrong} s off");
    }
}
