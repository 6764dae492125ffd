//! Where a machine's boot clock lies on the ledger's axis.
//!
//! Durations come from the boot clock alone. Its place is fixed when the ledger first hears from a boot
//! and afterwards only slewed, so that no wall clock, right or wrong, changes energy or touches another
//! owner, and nothing a boot clock dates is ever refused for its date.
//!
//! - **A running boot** is placed by the ledger's own clock less the record's age.
//! - **A boot that was over** before the ledger heard of it is placed by the machine's wall clock,
//!   corrected by how far that clock is off now, if that is possible: after the machine's earlier boots
//!   and before the one that sends. If it is not, as early as possible.
//! - **A machine's boots follow each other.** One that would begin before the last instant of an earlier
//!   one (the ledger's clock was ahead then, and was corrected) would fall into covered time and be
//!   fenced. It is placed behind it.
//! - **A clock that was set back** (a virtual machine restored from a snapshot) would date new readings
//!   into covered time. Its append is rejected, and its agent goes on under a new clock.

use meter::{Clock, Id, Mutant, Utc, mutant};

use crate::{BootDate, Edge, Sent};

/// The most a date is slewed: 500 ppm, as NTP's kernel discipline.
const SLEW_DIVISOR: i64 = 2000;
/// Below this the measured offset is network delay, not drift.
const SLEW_DEADBAND_NS: u64 = 100_000_000;
/// Boots remembered per owner: a spool rarely reaches back over more, and what is forgotten can only
/// be placed by its wall clock.
pub(crate) const BOOTS_MAX: usize = 32;
/// A post of another agent on the machine may be under way for this long; a clock that lies further
/// back was set back, a record that lies further ahead was read by no clock.
pub(crate) const CLOCK_SLACK_NS: u64 = 120_000_000_000;
/// A wall clock that says more is one that was not set: no spool holds readings for that long.
const AGE_MAX_NS: i64 = 400 * 86_400 * 1_000_000_000;

/// Maps instants of one boot clock to ledger time, for the records of one append.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dates {
    anchor: BootDate,
    /// How far the date at `last` is moved, reached along a straight line from the anchor.
    slew: i64,
    last: u64,
}

/// Records of one boot in one append, and all there is to date them by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) boot: Id,
    /// Its earliest and its latest record on the boot clock.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// The machine's wall clock less its boot clock, during that boot.
    pub(crate) wall_offset_ns: i64,
    /// Whether the machine reports itself: then its boots cannot overlap.
    pub(crate) own: bool,
    /// Whether the stream held records before: then those of this boot are the later ones.
    pub(crate) follows: bool,
    pub(crate) sent: Option<&'a Sent>,
    pub(crate) now: Utc,
    /// How far other clocks may be ahead of the ledger's.
    pub(crate) skew_ns: u64,
}

impl Dates {
    /// The ledger time of an instant; nothing if it lies outside ±292 years.
    pub(crate) fn at(&self, mono: u64) -> Option<Utc> {
        let since = i128::from(mono) - i128::from(self.anchor.mono);
        let span = i128::from(self.last) - i128::from(self.anchor.mono);
        let slewed = if since > 0 && span > 0 { i128::from(self.slew) * since.min(span) / span } else { 0 };
        i64::try_from(i128::from(self.anchor.utc.0) + since + slewed).ok().map(Utc)
    }
}

impl BootDate {
    /// The ledger time of an instant of this boot; what lies beyond ±292 years lies at their end.
    fn at(&self, mono: u64) -> Utc {
        let utc = i128::from(self.utc.0) + i128::from(mono) - i128::from(self.mono);
        Utc(i64::try_from(utc).unwrap_or(if utc < 0 { i64::MIN } else { i64::MAX }))
    }

    /// The same boot placed so that `mono` is at `utc`.
    const fn with(self, mono: u64, utc: Utc) -> Self {
        Self { mono, utc, ..self }
    }
}

/// Fixes or slews the date of the run's boot and returns the mapping for its records. Repeats are never
/// applied, so each record is dated once.
pub(crate) fn date(boots: &mut Vec<BootDate>, run: &Run<'_>) -> Dates {
    let live = run.sent.filter(|sent| sent.boot == run.boot);
    let (anchor, slew) = match boots.iter().position(|known| known.boot == run.boot && !mutant(Mutant::DateAnew)) {
        Some(index) => {
            // The longest unused is forgotten first, never the one that is running.
            let known = boots.remove(index);
            let slew = live.map_or(0, |sent| slew(&known, run.last, sent, run.now));
            (BootDate { own: known.own || run.own, ..known }, slew)
        }
        None => (first_date(boots, live, run), 0),
    };
    if boots.len() >= BOOTS_MAX {
        boots.remove(0);
    }
    let dates = Dates { anchor, slew, last: run.last };
    let last = dates.at(run.last).filter(|_| run.last > anchor.mono);
    boots.push(last.map_or(anchor, |utc| anchor.with(run.last, utc)));
    dates
}

fn first_date(boots: &[BootDate], live: Option<&Sent>, run: &Run<'_>) -> BootDate {
    let boot = BootDate { boot: run.boot, mono: 0, utc: Utc(0), own: run.own };
    match (live, run.sent) {
        (Some(sent), _) => running(boots, boot.with(sent.boot_ns, run.now), run),
        (None, Some(sent)) => over(boots, boot, sent, run),
        (None, None) => boot.with(0, Utc(run.wall_offset_ns)),
    }
}

/// Places a boot that is running, by the ledger's clock if that does not contradict what is known.
fn running(boots: &[BootDate], measured: BootDate, run: &Run<'_>) -> BootDate {
    let Some(newest) = newest(boots, run.own) else { return measured };
    if run.own && (run.follows || newest > run.now) {
        return if measured.at(run.first) > newest { measured } else { behind(measured, newest, run) };
    }
    // Somebody else may report this owner at the same time, and be right. Only where the ledger's clock
    // was plainly ahead is now the newest instant there is: nothing is booked twice whoever reports.
    if newest.since(run.now) > run.skew_ns { measured.with(measured.mono, newest) } else { measured }
}

/// Places a boot that was over before the ledger heard of it.
fn over(boots: &[BootDate], boot: BootDate, sent: &Sent, run: &Run<'_>) -> BootDate {
    let skew = run.now.0.saturating_sub(sent.wall_ns);
    let by_wall = boot.with(0, Utc(run.wall_offset_ns.saturating_add(skew)));
    let sender = boots.iter().find(|known| known.boot == sent.boot);
    let begun = sender.map_or_else(|| boot.with(sent.boot_ns, run.now).at(0), |known| known.at(0));
    // A boot that comes out of order, or that may have been forgotten, may be booked already.
    let in_order = run.own && run.follows && sender.is_none() && boots.len() < BOOTS_MAX;
    let earlier = if in_order { newest(boots, true) } else { None };
    let oldest = earlier.unwrap_or(Utc(run.now.0.saturating_sub(AGE_MAX_NS)));
    if by_wall.at(run.first) > oldest && by_wall.at(run.last) < begun {
        return by_wall;
    }
    match earlier {
        Some(newest) => behind(by_wall, newest, run),
        None => boot.with(run.last, Utc(begun.0.saturating_sub(1))),
    }
}

/// The boot placed so that its first record follows the newest instant of earlier ones: after as long as
/// the machine had been up by then, up to two minutes of it.
fn behind(boot: BootDate, newest: Utc, run: &Run<'_>) -> BootDate {
    let up = run.first.clamp(1, CLOCK_SLACK_NS);
    let placed = boot.with(run.first, Utc(newest.0.saturating_add_unsigned(up)));
    // The anchor stays where it is on the boot's clock.
    placed.with(boot.mono, placed.at(boot.mono))
}

/// The newest instant of the boots known; if the machine reports itself, of its own.
fn newest(boots: &[BootDate], own: bool) -> Option<Utc> {
    boots.iter().filter(|known| known.own || !own).map(|known| known.utc).max()
}

/// How far the sender's clock lies behind what was read by it, or by a later boot of the same machine,
/// if that is further than posts that overtake each other explain.
pub(crate) fn set_back(boots: &[BootDate], sent: &Sent) -> Option<u64> {
    let running = boots.iter().find(|known| known.boot == sent.boot)?;
    let newest = if running.own { newest(boots, true)? } else { running.utc };
    let behind = newest.since(running.at(sent.boot_ns));
    (behind > CLOCK_SLACK_NS).then_some(behind)
}

fn slew(anchor: &BootDate, last: u64, sent: &Sent, now: Utc) -> i64 {
    let error = now.0.saturating_sub(anchor.at(sent.boot_ns).0);
    let span = i64::try_from(last.saturating_sub(anchor.mono)).unwrap_or(i64::MAX);
    let most = span / SLEW_DIVISOR;
    if error.unsigned_abs() < SLEW_DEADBAND_NS { 0 } else { error.clamp(-most, most) }
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
    let dated = match clock {
        Clock::Boot(_) => dates?.at(at)?,
        Clock::Utc => Utc(i64::try_from(at).ok()?),
    };
    Some(Edge { at: dated, mono: at, boot: boot_tag(clock), power: None, counter: None })
}
