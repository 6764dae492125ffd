//! A machine's own agent and others who read the same device: the better source books.
//!
//! The machine's own sensor sees 100 W, the other one 110 W, so that no joule of one can pass for one of
//! the other.

use crate::support::*;
use energy::{Account, Append, AppendOutcome, Flag, Hello, Ledger, NumberedPost, Policy, PostOutcome, Sent};
use meter::{
    Clock, Context, DeviceDecl, Energy, Id, Microjoules, Milliwatts, Owner, OwnerKind, Quality, Record, Sample, Utc,
};

/// One who reads the device once in `period` seconds and posts every `post` seconds.
struct Reader {
    agent: Agent,
    machine: Option<Id>,
    watts: u64,
    period: u64,
    post: u64,
    counts: bool,
    shows: bool,
    /// What it read and has not sent, in seconds.
    unsent: Vec<u64>,
    fenced: u64,
}

impl Reader {
    fn new(number: u8, owner: &Owner, watts: u64, device: DeviceDecl) -> Self {
        let period = device.period_ns / S;
        let context = Context { clock: Clock::Boot([number; 16]), wall_offset_ns: T0 as i64, devices: vec![device] };
        let agent = Agent { import: false, owner: owner.clone(), ..Agent::new(number, "node-1", context) };
        Self { agent, machine: None, watts, period, post: 10, counts: true, shows: true, unsent: vec![], fenced: 0 }
    }

    fn record(&self, second: u64) -> Record {
        let counter = self.counts.then(|| Microjoules(1_000_000_000_000 + self.watts * second * 1_000_000));
        let power = self.shows.then_some(Milliwatts(self.watts * 1000));
        let sample = Sample { device: 0, power, counter, ..Sample::default() };
        Record { context: 1, at: second * S, samples: vec![sample], ..Record::default() }
    }

    /// Reads and posts as the second tells.
    fn tick(&mut self, ledger: &mut Ledger, second: u64) {
        if second.is_multiple_of(self.period) {
            self.unsent.push(second);
        }
        if (second + self.period).is_multiple_of(self.post) {
            self.send(ledger, second);
        }
    }

    fn send(&mut self, ledger: &mut Ledger, now: u64) {
        let unsent = std::mem::take(&mut self.unsent);
        let records: Vec<Record> = unsent.into_iter().map(|second| self.record(second)).collect();
        let mut append: Append = self.agent.message(&records);
        let Clock::Boot(boot) = self.agent.context.clock else { panic!("a boot clock") };
        append.sent = Some(Sent { boot, boot_ns: now * S, wall_ns: at(now).0 });
        let contexts = vec![(1, self.agent.context.clone())];
        append.hello = Some(Hello { fingerprint: self.machine, contexts, ..Hello::default() });
        match ledger.append(&append, at(now)) {
            AppendOutcome::Applied { at, tally } => {
                self.agent.position = at;
                self.fenced += tally.fenced;
            }
            other => panic!("not applied: {other:?}"),
        }
    }
}

fn at(second: u64) -> Utc {
    Utc((T0 + second * S) as i64)
}

fn node() -> Owner {
    Owner::host("node-1").expect("a name")
}

/// The machine's own agent, and one who scrapes its exporter.
fn both() -> (Ledger, Reader, Reader) {
    let own = Reader { machine: Some([1; 16]), ..Reader::new(1, &node(), 100, counter("a", 1, 1, None)) };
    let other = Reader::new(9, &node(), 110, counter("a", 1, 7, None));
    (Ledger::new(Policy::default()), own, other)
}

fn account<'a>(ledger: &'a Ledger, owner: &Owner) -> &'a Account {
    &ledger.state(owner).expect("an owner").accounts[0]
}

/// Energy by counter, integrated and estimated in joules, and covered seconds.
fn booked(account: &Account) -> ([i128; 3], u64) {
    let of = |quality| {
        let energy: Energy = account.lifetime[quality];
        assert_eq!(energy, joules((energy.microjoules() / 1_000_000) as u64), "whole joules");
        energy.microjoules() / 1_000_000
    };
    ([of(Quality::Counter), of(Quality::Integrated), of(Quality::Estimated)], account.covered_ns / S)
}

#[test]
fn in_band_goes_before_scraped_however_their_posts_fall() {
    for (post, of_other, counts) in
        [(10, 10, true), (10, 15, true), (60, 10, true), (60, 10, false), (60, 7, false), (10, 60, false)]
    {
        let (mut ledger, mut own, mut other) = both();
        (own.post, other.post, other.counts) = (post, of_other, counts);
        for second in 0..=600 {
            // The scraper begins later, so that it is never the first.
            if second >= post {
                other.tick(&mut ledger, second);
            }
            own.tick(&mut ledger, second);
        }
        own.send(&mut ledger, 600);
        let account = account(&ledger, &node());
        assert_eq!(booked(account), ([60_000, 0, 0], 600), "{post} {of_other} {counts}");
        assert!(account.rare().is_some_and(|rare| rare.holes.is_empty() && rare.fenced > Energy::ZERO));
        assert!(other.fenced > 400 && own.fenced == 0 && !account.is_flagged(Flag::TwoStreams));
    }
}

#[test]
fn who_came_first_gives_way_to_the_machine_itself() {
    let (mut ledger, mut own, mut other) = both();
    for second in 0..=200 {
        other.tick(&mut ledger, second);
        if second > 100 {
            own.tick(&mut ledger, second);
        }
    }
    own.send(&mut ledger, 200);
    // The scraper posts first every time. When the machine first posts, at 109 s, it is fenced but for its
    // reading at 109 s, where the scraper ended; from then on the scraper gives way.
    assert_eq!(booked(account(&ledger, &node())), ([110 * 109 + 100 * 91, 0, 0], 200));
    assert!(!account(&ledger, &node()).is_flagged(Flag::TwoStreams));
}

#[test]
fn a_counter_takes_over_without_loss_and_gives_back() {
    let (mut ledger, mut own, mut other) = both();
    for second in 0..=900 {
        if second <= 299 || second > 600 {
            own.tick(&mut ledger, second);
        }
        other.tick(&mut ledger, second);
        if second == 380 {
            assert_eq!(booked(account(&ledger, &node())).1, 299, "it is waited for");
        }
    }
    own.send(&mut ledger, 900);
    // Own up to 299 s; the other's counter from its first reading after that, 300 s, up to 600 s, its last
    // before the machine was back; a second of nobody's at each change.
    assert_eq!(booked(account(&ledger, &node())), ([100 * 299 + 110 * 300 + 100 * 299, 0, 0], 898));
    assert!(!account(&ledger, &node()).is_flagged(Flag::TwoStreams));
}

#[test]
fn power_takes_over_with_an_estimate_of_what_was_withheld() {
    let (mut ledger, mut own, mut other) = both();
    other.counts = false;
    for second in 0..=609 {
        if second <= 299 {
            own.tick(&mut ledger, second);
        }
        other.tick(&mut ledger, second);
    }
    // Withheld from 300 s to 388 s, 89 s after the last of the machine's own; taken over at 389 s.
    assert_eq!(booked(account(&ledger, &node())), ([100 * 299, 110 * 220, 110 * 89], 299 + 220));
}

#[test]
fn what_the_machine_brings_late_fills_the_hole_that_was_left() {
    let (mut ledger, mut own, mut other) = both();
    (other.period, other.post) = (30, 30);
    other.agent.context.devices[0].period_ns = 30 * S;
    for second in 0..=599 {
        if second <= 299 {
            own.tick(&mut ledger, second);
        } else {
            // It goes on reading, but nobody hears it.
            own.unsent.push(second);
        }
        other.tick(&mut ledger, second);
    }
    // The scraper's first reading after 299 s is at 300 s.
    assert_eq!(booked(account(&ledger, &node())), ([100 * 299 + 110 * 270, 0, 0], 299 + 270));
    own.send(&mut ledger, 600);
    // It goes on where the scraper ended, at 570 s, by its own reading of that instant.
    assert_eq!(booked(account(&ledger, &node())), ([100 * 299 + 110 * 270 + 100 * 29, 0, 0], 299 + 270 + 29));
}

#[test]
fn a_counter_of_another_goes_before_power_of_the_machine_itself() {
    for post in [10, 60] {
        let (mut ledger, mut own, mut other) = both();
        (own.counts, own.post, other.post) = (false, 10, post);
        for second in 0..=600 {
            other.tick(&mut ledger, second);
            if second >= post {
                own.tick(&mut ledger, second);
            }
        }
        other.send(&mut ledger, 600);
        assert_eq!(booked(account(&ledger, &node())), ([66_000, 0, 0], 600), "{post}");
        assert!(!account(&ledger, &node()).is_flagged(Flag::TwoStreams));
    }
}

#[test]
fn a_chassis_has_no_own_reader_and_still_a_counter_goes_before_power() {
    let bmc = Owner::new("default", OwnerKind::Chassis, "bmc-1").expect("a name");
    let mut counts = Reader::new(1, &bmc, 100, counter("bmc", 10, 1, None));
    let mut shows = Reader::new(2, &bmc, 110, counter("bmc", 1, 1, None));
    (counts.post, counts.shows, shows.counts) = (60, false, false);
    let mut ledger = Ledger::new(Policy::default());
    for second in 0..=600 {
        counts.tick(&mut ledger, second);
        if second > 60 {
            shows.tick(&mut ledger, second);
        }
    }
    counts.send(&mut ledger, 600);
    assert_eq!(booked(account(&ledger, &bmc)), ([60_000, 0, 0], 600));
}

/// Posts joules of a counter as recordings, at these seconds.
fn import(ledger: &mut Ledger, seconds: impl Iterator<Item = u64>, now: u64, import: bool) -> (u64, u64) {
    let context = recorded(vec![counter("a", 1, 5, None)]);
    let of = |second: u64| count(T0 + second * S, 0, 120_000_000 * second);
    let post = NumberedPost {
        stream: [77; 16],
        seq: 1,
        body: [0; 16],
        owner: node(),
        labels: None,
        context,
        import,
        records: seconds.map(of).collect(),
        unnamed: vec![],
    };
    match ledger.post(&post, at(now)) {
        PostOutcome::Applied { tally, .. } => (tally.booked, tally.fenced),
        other => panic!("not applied: {other:?}"),
    }
}

#[test]
fn recordings_fill_holes_and_are_never_withheld() {
    let (mut ledger, mut own, _) = both();
    for second in (0..=99).chain(200..=299) {
        own.tick(&mut ledger, second);
    }
    // The machine was off from 99 s to 200 s, and its counter began anew: nothing is known of that time.
    let hole = |ledger: &Ledger| account(ledger, &node()).rare().map_or(0, |rare| rare.holes.len());
    assert_eq!(
        (booked(account(&ledger, &node())), hole(&ledger)),
        (([100 * 299, 0, 0], 299), 0),
        "its counter bridges"
    );

    own.agent.context.devices[0].epoch = 2;
    own.unsent = (400..=409).collect();
    own.send(&mut ledger, 409);
    assert_eq!((booked(account(&ledger, &node())).1, hole(&ledger)), (299 + 9, 1));
    assert_eq!(import(&mut ledger, 300..=399, 409, true), (100, 0));
    assert_eq!(booked(account(&ledger, &node())), ([100 * 299 + 120 * 99 + 100 * 9, 0, 0], 299 + 99 + 9));

    // Beyond the frontier: what is recorded is booked, what is of now waits for the machine.
    for (is_import, fenced, seconds) in [(true, 0, 40), (false, 41, 0)] {
        let mut ledger = ledger.clone();
        assert_eq!(import_more(&mut ledger, is_import), (41 - fenced, fenced));
        assert_eq!(booked(account(&ledger, &node())).1, 299 + 99 + 9 + seconds);
    }
}

fn import_more(ledger: &mut Ledger, is_import: bool) -> (u64, u64) {
    let context = recorded(vec![counter("a", 1, 5, None)]);
    let records = (410..=450).map(|second| count(T0 + second * S, 0, 120_000_000 * second)).collect();
    let (stream, owner) = ([78; 16], node());
    let post = NumberedPost {
        stream,
        seq: 1,
        body: [0; 16],
        owner,
        labels: None,
        context,
        import: is_import,
        records,
        unnamed: vec![],
    };
    match ledger.post(&post, at(450)) {
        PostOutcome::Applied { tally, .. } => (tally.booked, tally.fenced),
        other => panic!("not applied: {other:?}"),
    }
}
