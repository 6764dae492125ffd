//! A machine with clocks of its own, for the tests of dating.

use crate::support::*;
use energy::{AppendOutcome, Hello, Ledger, Policy, Sent, Tally};
use meter::{Clock, Context, Energy, Id, Milliwatts, Quality, Record, Utc};

pub(crate) const MW: u64 = 250_000;
pub(crate) const DAY: i64 = 86_400;

/// A machine that reads one GPU at constant power and keeps what it cannot deliver.
pub(crate) struct Machine {
    pub(crate) agent: Agent,
    pub(crate) boot: Id,
    /// Where its boot clock began, in true seconds since `T0`.
    pub(crate) booted: i64,
    /// How far its wall clock is ahead, in seconds.
    pub(crate) wall: i64,
    pub(crate) fingerprint: Option<Id>,
    pub(crate) waiting: Vec<Record>,
    pub(crate) contexts: Vec<(u64, Context)>,
}

/// The ledger's clock that reads `s` seconds after `T0`.
pub(crate) fn at(s: i64) -> Utc {
    Utc(T0 as i64 + s * S as i64)
}

impl Machine {
    pub(crate) fn new(boot: u8, booted: i64) -> Self {
        let agent = Agent { import: false, ..Agent::new(1, "node-1", recorded(vec![gpu("a", 1)])) };
        let fingerprint = Some([1; 16]);
        let mut machine =
            Self { agent, boot: [0; 16], booted: 0, wall: 0, fingerprint, waiting: vec![], contexts: vec![] };
        machine.reboot(boot, booted);
        machine
    }

    /// Another boot, begun at a true instant.
    pub(crate) fn reboot(&mut self, boot: u8, booted: i64) {
        (self.boot, self.booted) = ([boot; 16], booted);
        let wall_offset_ns = T0 as i64 + (booted + self.wall) * S as i64;
        let context = Context { clock: Clock::Boot(self.boot), wall_offset_ns, devices: vec![gpu("a", 1)] };
        self.contexts.push((u64::from(boot), context));
    }

    /// Reads once a second from `from` up to and with `to`, in true seconds.
    pub(crate) fn read(&mut self, from: i64, to: i64) {
        let context = u64::from(self.boot[0]);
        let records = (from..=to).map(|s| Record { context, ..power((s - self.booted) as u64 * S, 0, MW) });
        self.waiting.extend(records);
    }

    /// The next append as it leaves at a true instant.
    pub(crate) fn message(&self, records: &[Record], now: i64) -> energy::Append {
        let mut append = self.agent.message(records);
        append.hello =
            Some(Hello { fingerprint: self.fingerprint, contexts: self.contexts.clone(), ..Hello::default() });
        append.sent = Some(Sent {
            boot: self.boot,
            boot_ns: (now - self.booted) as u64 * S,
            wall_ns: T0 as i64 + (now + self.wall) * S as i64,
        });
        append
    }

    /// Delivers what waits, in posts of `post` records, at a true instant; the ledger's clock is
    /// `ahead` seconds ahead.
    pub(crate) fn deliver(&mut self, ledger: &mut Ledger, now: i64, ahead: i64, post: usize) -> Tally {
        let mut sum = Tally::default();
        for records in std::mem::take(&mut self.waiting).chunks(post) {
            match ledger.append(&self.message(records, now), at(now + ahead)) {
                AppendOutcome::Applied { at, tally } => {
                    self.agent.position = at;
                    sum.booked += tally.booked;
                    sum.fenced += tally.fenced;
                    sum.refused.extend(tally.refused);
                }
                other => panic!("not applied: {other:?}"),
            }
        }
        sum
    }

    /// Measured energy, in seconds at the constant power, to the half picojoule; and covered seconds,
    /// rounded, because dates are slewed.
    pub(crate) fn measured(&self, ledger: &Ledger) -> (i128, u64) {
        let account = &self.agent.state(ledger).accounts[0];
        let second = Energy::of_constant(Milliwatts(MW), S).0;
        assert_eq!(account.lifetime[Quality::Integrated].0 % second, 0);
        (account.lifetime[Quality::Integrated].0 / second, (account.covered_ns + S / 2) / S)
    }

    /// Where the account's time ends, in seconds since `T0`, rounded.
    pub(crate) fn frontier(&self, ledger: &Ledger) -> i64 {
        (self.agent.state(ledger).accounts[0].frontier.at.0 - T0 as i64 + S as i64 / 2).div_euclid(S as i64)
    }
}

pub(crate) fn ledger() -> Ledger {
    Ledger::new(Policy::default())
}

pub(crate) fn nothing_lost(tally: &Tally) {
    assert_eq!((tally.fenced, tally.refused.len()), (0, 0), "{tally:?}");
}
