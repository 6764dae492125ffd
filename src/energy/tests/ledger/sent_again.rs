//! What is sent again is dated anew: by a date that was slewed since. It is still known by its own clock.

use crate::support::*;
use energy::{Append, AppendOutcome, Ledger, Policy, Sent};
use meter::{Clock, Context, Record, Utc};

const FIRST: [u8; 16] = [1; 16];
const SECOND: [u8; 16] = [2; 16];

fn live(stream: u8, boot: [u8; 16]) -> Agent {
    let context = Context { clock: Clock::Boot(boot), wall_offset_ns: 0, devices: vec![gpu("a", 1)] };
    let mut agent = Agent::new(stream, "node-1", context);
    agent.import = false;
    agent
}

/// Sends records that end at `last` seconds of their boot clock; the ledger's own clock says `now`.
fn send(ledger: &mut Ledger, agent: &mut Agent, boot: [u8; 16], records: &[Record], now: u64) {
    let last = records.iter().map(|record| record.at).max().unwrap_or(0);
    let sent = Some(Sent { boot, boot_ns: last, wall_ns: 0 });
    let append = Append { sent, ..agent.message(records) };
    match ledger.append(&append, Utc((T0 + now) as i64)) {
        AppendOutcome::Applied { at, .. } => agent.position = at,
        other => panic!("not applied: {other:?}"),
    }
}

#[test]
fn a_slewed_date_brings_nothing_into_a_hole_again() {
    // A constant 100 W. The posts of the first boot come later and later, or earlier and earlier.
    for late in [-40_i64, 40] {
        let (mut ledger, mut agent) = (Ledger::new(Policy::default()), live(1, FIRST));
        let all: Vec<Record> = (0..=600).map(|s| power(1000 * S + s * S, 0, 100_000)).collect();
        for (round, records) in all.chunks(50).enumerate() {
            let on_time = (round as i64 + 1) * 50 * S as i64;
            let now = (1_000_000_000_000 + on_time + late * round as i64 * 100_000_000) as u64;
            send(&mut ledger, &mut agent, FIRST, records, now);
        }
        // Another boot an hour later: a hole lies between.
        let mut after = live(2, SECOND);
        let records: Vec<Record> = (0..=60).map(|s| power(5000 * S + s * S, 0, 100_000)).collect();
        send(&mut ledger, &mut after, SECOND, &records, 5_200 * S);
        let before = agent.state(&ledger).accounts[0].clone();
        assert_eq!(before.lifetime.total(), joules(100 * 660));

        // The first boot's records come once more, in a stream that nobody knows.
        let mut again = live(3, FIRST);
        for records in all.chunks(70) {
            let append =
                Append { sent: Some(Sent { boot: SECOND, boot_ns: 5070 * S, wall_ns: 0 }), ..again.message(records) };
            let outcome = ledger.append(&append, Utc((T0 + 5_210 * S) as i64));
            let AppendOutcome::Applied { at, tally } = outcome else { panic!("not applied: {outcome:?}") };
            assert_eq!((tally.booked, tally.fenced), (0, records.len() as u64));
            again.position = at;
        }
        let account = &agent.state(&ledger).accounts[0];
        assert_eq!((account.lifetime, account.covered_ns), (before.lifetime, before.covered_ns), "{late}");
    }
}
