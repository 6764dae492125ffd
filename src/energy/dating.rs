//! Where a machine's boot clock lies on the ledger's axis.
//!
//! Durations come from the boot clock alone. The offset to ledger time is fixed when the ledger first
//! hears from a boot, from its own clock less the record's age, and afterwards only slewed. So no wall
//! clock, right or wrong, changes energy, and none touches another owner.

use meter::{Clock, Id, Utc};

use crate::{BootDate, Edge, KnownContext, Sent};

/// The most a date is slewed: 500 ppm, as NTP's kernel discipline.
const SLEW_DIVISOR: i64 = 2000;
/// Below this the measured offset is network delay, not drift.
const SLEW_DEADBAND_NS: i64 = 100_000_000;
/// Boots remembered per owner: spools reach back over a few reboots, not over dozens.
const BOOTS_MAX: usize = 8;

/// Maps instants of one boot clock to ledger time, for the records of one append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    anchor: BootDate,
    /// How far the date at `last` is moved, reached along a straight line from the anchor.
    slew: i64,
    last: u64,
}

impl Dates {
    fn at(&self, mono: u64) -> Utc {
        let since = i128::from(mono) - i128::from(self.anchor.mono);
        let span = i128::from(self.last) - i128::from(self.anchor.mono);
        let slewed = if since > 0 && span > 0 { i128::from(self.slew) * since.min(span) / span } else { 0 };
        let utc = i128::from(self.anchor.utc.0) + since + slewed;
        Utc(i64::try_from(utc).unwrap_or(if utc < 0 { i64::MIN } else { i64::MAX }))
    }
}

/// Fixes or slews the date of `boot` and returns the mapping for an append whose last record is at
/// `last` on that clock. Repeats are never applied, so each record is dated once.
pub(crate) fn date(
    boots: &mut Vec<BootDate>,
    boot: Id,
    last: u64,
    context: &KnownContext,
    sent: Option<&Sent>,
    now: Utc,
) -> Dates {
    let live = sent.filter(|sent| sent.boot == boot);
    let Some(index) = boots.iter().position(|known| known.boot == boot) else {
        let anchor = first_date(boot, context, live, sent, now);
        if boots.len() == BOOTS_MAX {
            boots.remove(0);
        }
        boots.push(anchor);
        return Dates { anchor, slew: 0, last };
    };
    let anchor = boots[index];
    let slew = live.map_or(0, |sent| slew(&anchor, last, sent, now));
    let dates = Dates { anchor, slew, last };
    if last > anchor.mono {
        boots[index] = BootDate { mono: last, utc: dates.at(last), live: anchor.live || live.is_some(), boot };
    }
    dates
}

fn first_date(boot: Id, context: &KnownContext, live: Option<&Sent>, sent: Option<&Sent>, now: Utc) -> BootDate {
    if let Some(sent) = live {
        return BootDate { boot, mono: sent.boot_ns, utc: now, live: true };
    }
    // A boot that was over before the ledger heard of it: the machine's own wall clock, corrected by
    // how far that clock is off now.
    let skew = sent.map_or(0, |sent| now.0.saturating_sub(sent.wall_ns));
    BootDate { boot, mono: 0, utc: Utc(context.wall_offset_ns.saturating_add(skew)), live: false }
}

fn slew(anchor: &BootDate, last: u64, sent: &Sent, now: Utc) -> i64 {
    let mapped = Dates { anchor: *anchor, slew: 0, last }.at(sent.boot_ns);
    let error = now.0.saturating_sub(mapped.0);
    let span = i64::try_from(last.saturating_sub(anchor.mono)).unwrap_or(i64::MAX);
    let most = span / SLEW_DIVISOR;
    if error.abs() < SLEW_DEADBAND_NS { 0 } else { error.clamp(-most, most) }
}

/// The boot's tag in an [`Edge`].
pub(crate) fn boot_tag(clock: Clock) -> u64 {
    match clock {
        Clock::Utc => 0,
        Clock::Boot(id) => {
            let mut first = [0; 8];
            first.copy_from_slice(&id[..8]);
            u64::from_le_bytes(first).max(1)
        }
    }
}

/// An edge without values at an instant of a context's clock; nothing if the instant cannot be dated.
pub(crate) fn edge_at(clock: Clock, at: u64, dates: Option<&Dates>) -> Option<Edge> {
    let dated = match dates {
        Some(dates) => dates.at(at),
        None => Utc(i64::try_from(at).ok()?),
    };
    Some(Edge { at: dated, mono: at, boot: boot_tag(clock), power: None, counter: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: Id = [7; 16];
    const S: u64 = 1_000_000_000;

    fn context(wall_offset_ns: i64) -> KnownContext {
        KnownContext { id: 1, clock: Clock::Boot(BOOT), wall_offset_ns, devices: Vec::new() }
    }

    fn sent(boot_s: u64) -> Sent {
        Sent { boot: BOOT, boot_ns: boot_s * S, wall_ns: 0 }
    }

    #[test]
    fn the_first_live_append_fixes_the_date_and_age_decides_it() {
        let mut boots = Vec::new();
        let now = Utc(1_000 * S as i64);
        let dates = date(&mut boots, BOOT, 100 * S, &context(0), Some(&sent(100)), now);
        assert_eq!(dates.at(90 * S), Utc(990 * S as i64));
    }

    #[test]
    fn an_aggregator_clock_that_jumps_moves_dates_by_no_more_than_500_ppm() {
        let mut boots = Vec::new();
        date(&mut boots, BOOT, 100 * S, &context(0), Some(&sent(100)), Utc(1_000 * S as i64));
        let three_days_on = Utc((1_010 + 3 * 86_400) * S as i64);
        let dates = date(&mut boots, BOOT, 110 * S, &context(0), Some(&sent(110)), three_days_on);
        assert_eq!(dates.at(110 * S), Utc(1_010 * S as i64 + 5_000_000), "10 s × 500 ppm");
        assert_eq!(dates.at(105 * S), Utc(1_005 * S as i64 + 2_500_000));
    }

    #[test]
    fn network_delay_is_not_drift() {
        let mut boots = Vec::new();
        date(&mut boots, BOOT, 100 * S, &context(0), Some(&sent(100)), Utc(1_000 * S as i64));
        let late = Utc(1_010 * S as i64 + 80_000_000);
        assert_eq!(
            date(&mut boots, BOOT, 110 * S, &context(0), Some(&sent(110)), late).at(110 * S),
            Utc(1_010 * S as i64)
        );
    }

    #[test]
    fn an_earlier_boot_is_dated_by_the_machines_wall_clock_less_its_error_now() {
        let mut boots = Vec::new();
        let other = Sent { boot: [9; 16], boot_ns: 5 * S, wall_ns: 3_600 * S as i64 };
        // The machine's clock says 3600 s, ours 4000 s: it is 400 s behind.
        let dates = date(&mut boots, BOOT, 50 * S, &context(3_000 * S as i64), Some(&other), Utc(4_000 * S as i64));
        assert_eq!(dates.at(50 * S), Utc(3_450 * S as i64));
    }
}
