//! A spool of bounded bytes, with days of records appended.

use std::sync::Arc;

use agents::spool::Spool;
use meter::{AccountKey, Clock, Context, DeviceDecl, Milliwatts, Record, Sample, Scope};

use crate::{disk_bytes, resident_bytes};

const MAX_BYTES: u64 = 4 << 20;
const DEVICES: u16 = 10;
/// Three days at one record per second.
const RECORDS: u64 = 3 * 86_400;

fn context() -> Arc<Context> {
    let device = |number| DeviceDecl {
        key: AccountKey::new(Scope::Gpu, &format!("GPU-{number}")).expect("a good name"),
        period_ns: 1_000_000_000,
        limit: Milliwatts(0),
        modulus: None,
        epoch: 0,
    };
    Arc::new(Context { clock: Clock::Boot([1; 16]), wall_offset_ns: 0, devices: (0..DEVICES).map(device).collect() })
}

fn record(context: u64, second: u64) -> Record {
    let power = |device: u16| Milliwatts(300_000 + (second * second * 7 + u64::from(device) * 40_009) % 90_000);
    let sample = |device| Sample { device, power: Some(power(device)), ..Sample::default() };
    Record { context, at: second * 1_000_000_000, samples: (0..DEVICES).map(sample).collect(), ..Record::default() }
}

/// Appends days of records; `delivered` if the ledger has each of them soon.
fn days(delivered: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state/spool");
    let mut spool = Spool::open(&path, [7; 16], MAX_BYTES).expect("opens");
    let context = context();
    let id = wire::context_id(&context);
    let (mut most, mut early) = (0, 0);
    for second in 1..=RECORDS {
        spool.append(&context, &record(id, second));
        if second.is_multiple_of(60) {
            if delivered {
                spool.acknowledge(spool.head().seq);
            }
            most = most.max(disk_bytes(&path));
        }
        if second == RECORDS / 6 {
            early = resident_bytes("self");
        }
    }
    let late = resident_bytes("self");
    println!(
        "spool of {} kiB, delivered {delivered}: {RECORDS} records, at most {} kiB on disk, memory {} to {} kiB, {} dropped",
        MAX_BYTES >> 10,
        most >> 10,
        early >> 10,
        late >> 10,
        spool.dropped()
    );
    assert!(spool.bytes() <= MAX_BYTES, "{} bytes", spool.bytes());
    // Beside the segments only the state and the lock.
    assert!(most <= MAX_BYTES + (64 << 10), "{most} bytes on disk");
    assert!(late < early + (8 << 20), "memory grew from {early} to {late}");
    assert!(!delivered || spool.dropped() == 0, "only what the ledger has may go");
}

#[test]
fn a_spool_takes_no_more_than_it_may() {
    // One after the other: resident memory belongs to the process.
    days(true);
    days(false);
}
