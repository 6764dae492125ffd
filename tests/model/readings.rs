//! What there is to read: energies by which every interval can be told in a sum.
//!
//! A *tick* is the interval between two readings, and tick `t` holds 4^t units of energy: the base-4
//! digits of a total show how often each tick was booked, so that one booked twice cannot hide behind
//! another that is missing. This arithmetic is the oracle's own; nothing of it comes from the ledger.

use meter::{AccountKey, Clock, Context, DeviceDecl, Energy, Microjoules, Milliwatts, Record, Sample, Scope, Utc};
use wire::SentAt;

/// The time between two readings.
pub(crate) const TICK_NS: u64 = 10_000_000_000;

/// Reading 0 lies 15 s before a slot border, so that the second tick is divided by it.
const FIRST_NS: i64 = 1_793_491_200_000_000_000 - 15_000_000_000;

/// Most ticks of a world, those of its completion included.
pub(crate) const TICKS_MAX: u8 = 6;

/// A set of readings or ticks by their numbers, one bit each.
pub(crate) type Set = u8;

/// What the device offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meter {
    /// Power: a tick is known from the two readings at its ends.
    Power,
    /// A hardware counter (and power): what is missing between two readings is known all the same.
    Counter,
}

/// The clock of the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dated {
    /// By their own stamps, as recordings are.
    Utc,
    /// By the boot clock, as live readings are: the ledger dates them when it first hears of the boot.
    Boot,
}

/// Powers in milliwatts whose neighbours add up to 4^t: 1 + 3, 3 + 13, 13 + 51….
fn power(reading: u8) -> u64 {
    (1..=u32::from(reading)).fold(1, |before, tick| 4_u64.pow(tick) - before)
}

/// A counter that moves on by 4^t µJ in tick t.
fn counter(reading: u8) -> u64 {
    (1..=u32::from(reading)).fold(1_000, |before, tick| before + 4_u64.pow(tick))
}

/// Half picojoules in a unit.
fn unit(meter: Meter) -> i128 {
    match meter {
        Meter::Power => i128::from(TICK_NS),
        Meter::Counter => meter::units::MICROJOULE,
    }
}

/// When a reading was taken.
fn instant(reading: u8) -> i64 {
    FIRST_NS + i64::from(reading) * TICK_NS as i64
}

/// The same instant on a boot clock: each boot counts from a start of its own.
fn boot_ns(reading: u8) -> u64 {
    777_000_000_000 + u64::from(reading) * TICK_NS
}

fn boot() -> [u8; 16] {
    [0xB0; 16]
}

/// The ledger's clock when `now` readings were taken.
pub(crate) fn ledger_clock(dated: Dated, now: u8) -> Utc {
    match dated {
        // Recordings: when they arrive changes nothing, so that the clock may stand still.
        Dated::Utc => Utc(instant(TICKS_MAX + 1)),
        Dated::Boot => Utc(instant(now) + 1_000_000_000),
    }
}

/// The sender's clocks, for live readings.
pub(crate) fn sent_at(dated: Dated, now: u8) -> Option<SentAt> {
    (dated == Dated::Boot).then(|| SentAt {
        boot: boot(),
        boot_ns: boot_ns(now) + 1_000_000_000,
        wall_ns: instant(now) + 1_000_000_000,
    })
}

/// What the records of an agent refer to. Two agents declare the device alike, but not to the byte:
/// their records differ, as those of two machines would.
pub(crate) fn context(meter: Meter, dated: Dated, agent: u8) -> Context {
    let device = DeviceDecl {
        key: AccountKey::new(Scope::Gpu, "gpu-0").expect("a good device"),
        period_ns: TICK_NS,
        limit: Milliwatts(0),
        modulus: None,
        epoch: u64::from(meter == Meter::Counter),
    };
    let clock = match dated {
        Dated::Utc => Clock::Utc,
        Dated::Boot => Clock::Boot(boot()),
    };
    Context { clock, wall_offset_ns: i64::from(agent), devices: vec![device] }
}

/// The record of a reading.
pub(crate) fn record(meter: Meter, dated: Dated, agent: u8, reading: u8) -> Record {
    let at = match dated {
        Dated::Utc => instant(reading) as u64,
        Dated::Boot => boot_ns(reading),
    };
    let counter = (meter == Meter::Counter).then(|| Microjoules(counter(reading)));
    let sample = Sample { device: 0, power: Some(Milliwatts(power(reading))), counter, refused: None };
    let context = wire::context_id(&context(meter, dated, agent));
    Record { context, at, samples: vec![sample], ..Record::default() }
}

/// All readings from one to another.
pub(crate) fn through(first: u8, last: u8) -> Set {
    (first..=last).fold(0, |all, reading| all | 1 << reading)
}

/// The runs of readings that a record holds, by their first and last.
pub(crate) fn spans_of(record: &Record) -> Vec<(u8, u8)> {
    let number = |at: u64| {
        let since =
            |start: u64| at.checked_sub(start).map(|since| since / TICK_NS).filter(|n| *n <= u64::from(TICKS_MAX));
        let number = since(boot_ns(0)).or_else(|| since(instant(0) as u64)).expect("an instant of a reading");
        u8::try_from(number).expect("few readings")
    };
    let single = record.samples.iter().map(|_| (number(record.at), number(record.at)));
    let spans = record.summary.iter().flat_map(|summary| &summary.spans);
    single.chain(spans.map(|span| (number(span.from.at), number(span.to.at)))).collect()
}

/// The readings that a ledger knows once a run of them was applied. Where a part of it is known already
/// the rest cannot be divided: then its ends are all there is.
pub(crate) fn with_run(meter: Meter, known: Set, (first, last): (u8, u8)) -> Set {
    let ticks = through(first, last) & !(1 << first);
    let inside = through(first, last) & !(1 << first | 1 << last);
    let is_covered = ticks & !proven(meter, known) == 0;
    if is_covered || known & inside == 0 { known | through(first, last) } else { known | 1 << first | 1 << last }
}

/// The ticks of which a measured total consists; nothing if it is no sum of ticks, or holds one twice.
pub(crate) fn ticks_of(meter: Meter, measured: Energy) -> Option<Set> {
    let mut rest = measured.0 / unit(meter);
    if rest * unit(meter) != measured.0 || rest < 0 || rest % 4 != 0 {
        return None;
    }
    let mut ticks = 0;
    for tick in 1..=TICKS_MAX {
        rest /= 4;
        match rest % 4 {
            0 => {}
            1 => ticks |= 1 << tick,
            _ => return None,
        }
    }
    (rest / 4 == 0).then_some(ticks)
}

/// The ticks that a set of readings proves.
pub(crate) fn proven(meter: Meter, readings: Set) -> Set {
    match meter {
        // Both ends were read.
        Meter::Power => readings & (readings << 1),
        // It lies between two readings.
        Meter::Counter if readings == 0 => 0,
        Meter::Counter => {
            let (first, last) = (readings.trailing_zeros(), readings.ilog2());
            (0..8).filter(|tick| (first + 1..=last).contains(tick)).map(|tick| 1 << tick).sum()
        }
    }
}

#[test]
fn a_total_tells_its_ticks() {
    assert_eq!((0..=4).map(power).collect::<Vec<_>>(), [1, 3, 13, 51, 205]);
    let sum = |ticks: &[u32]| Energy(ticks.iter().map(|tick| 4_i128.pow(*tick) * i128::from(TICK_NS)).sum());
    assert_eq!(ticks_of(Meter::Power, sum(&[1, 3])), Some(0b1010));
    assert_eq!(ticks_of(Meter::Power, sum(&[2, 2])), None, "one of them twice");
    assert_eq!(ticks_of(Meter::Power, sum(&[2, 2, 2, 2])), Some(0b1000), "four times is beyond what a world can do");
    assert_eq!(ticks_of(Meter::Power, Energy(7)), None);
    assert_eq!(proven(Meter::Power, 0b1011), 0b0010);
    assert_eq!(proven(Meter::Counter, 0b1001), 0b1110);
}
