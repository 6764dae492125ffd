//! What readings come to, by the rules of `docs/LEDGER.md` in arithmetic of its own: nothing of `energy`
//! is called here. All energy is in half picojoules.
//!
//! The readings of one account are given in the order of their clocks; whatever way and order they
//! came to the ledger by, it must end at these figures.

use std::collections::HashMap;

/// What the rules need to know of a device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device {
    pub(crate) join_ns: u64,
    pub(crate) ceiling_mw: u64,
    pub(crate) modulus_uj: Option<u64>,
}

/// One good reading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Which clock, counted in the order they began to run.
    pub(crate) clock: u64,
    /// The instant on it.
    pub(crate) at: u64,
    pub(crate) mw: Option<u64>,
    /// Value in microjoules and epoch.
    pub(crate) counter: Option<(u64, u64)>,
}

/// Figures of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    pub(crate) counter: i128,
    pub(crate) integrated: i128,
    pub(crate) estimated: i128,
    pub(crate) covered_ns: i128,
}

/// Longest hole that is estimated: 15 minutes.
const ESTIMATE_NS: u64 = 900_000_000_000;
/// Half picojoules in a microjoule.
const MICROJOULE: i128 = 2_000_000;

enum Piece {
    Counter(i128),
    Integrated(i128),
    Estimated(i128),
    Nothing,
}

/// Which part of the time is asked for, and where clocks lie: all on the ledger's axis.
pub(crate) struct Split<'a> {
    /// By clock: the ledger's time less the clock's own.
    pub(crate) offsets: &'a HashMap<u64, i128>,
    pub(crate) from: i128,
    pub(crate) until: i128,
}

impl Split<'_> {
    /// What of a piece lies in the part: a counter's difference evenly, power along its line, each rounded
    /// down from the piece's beginning on.
    fn share(&self, piece: &Piece, from: &Look, to: &Look) -> (i128, i128) {
        if matches!(piece, Piece::Nothing) || to.at <= from.at {
            return (0, 0);
        }
        let offset = self.offsets.get(&from.clock).copied().unwrap_or(0);
        let begin = offset + i128::from(from.at);
        let length = i128::from(to.at) - i128::from(from.at);
        let within = |at: i128| (at - begin).clamp(0, length);
        let (left, right) = (within(self.from), within(self.until));
        let (w, v) = (i128::from(from.mw.unwrap_or(0)), i128::from(to.mw.unwrap_or(0)));
        let up_to = |x: i128| match piece {
            Piece::Counter(energy) => (energy / length) * x + (energy % length * x).div_euclid(length),
            Piece::Integrated(_) | Piece::Estimated(_) => 2 * w * x + ((v - w) * x * x).div_euclid(length),
            Piece::Nothing => 0,
        };
        (up_to(right) - up_to(left), right - left)
    }
}

/// What of these readings' energy lies in a part of the time.
pub(crate) fn before(device: Device, looks: &[Look], split: &Split<'_>) -> Figures {
    add_up(device, looks, |piece, from, to| split.share(piece, from, to))
}

/// What these readings come to.
pub(crate) fn figures(device: Device, looks: &[Look]) -> Figures {
    add_up(device, looks, |piece, from, to| match piece {
        Piece::Counter(energy) | Piece::Integrated(energy) | Piece::Estimated(energy) => {
            (*energy, if from.clock == to.clock { i128::from(to.at - from.at) } else { 0 })
        }
        Piece::Nothing => (0, 0),
    })
}

/// Adds up what `share` takes of each piece: energy and time.
fn add_up(device: Device, looks: &[Look], share: impl Fn(&Piece, &Look, &Look) -> (i128, i128)) -> Figures {
    let mut figures = Figures::default();
    let mut before: Option<Look> = None;
    for look in looks {
        if let Some(before) = before {
            let elapsed = (before.clock == look.clock).then(|| look.at - before.at);
            if before.counter.is_some() && look.counter.is_none() && elapsed.is_some_and(|ns| ns <= device.join_ns) {
                // Power between two values of a counter is shown, not booked.
                continue;
            }
            let piece = piece(device, &before, look, elapsed);
            let (energy, covered) = share(&piece, &before, look);
            match piece {
                Piece::Counter(_) => {
                    figures.counter += energy;
                    figures.covered_ns += covered;
                }
                Piece::Integrated(_) => {
                    figures.integrated += energy;
                    figures.covered_ns += covered;
                }
                Piece::Estimated(_) => figures.estimated += energy,
                Piece::Nothing => {}
            }
        }
        before = Some(*look);
    }
    figures
}

/// Two readings side by side. `elapsed` is absent over a reboot: then nothing is known of the time.
fn piece(device: Device, from: &Look, to: &Look, elapsed: Option<u64>) -> Piece {
    let Some(elapsed) = elapsed else { return Piece::Nothing };
    if let (Some((before, of)), Some((after, epoch))) = (from.counter, to.counter) {
        let most = 2 * i128::from(device.ceiling_mw) * i128::from(elapsed);
        let ambiguous = device.modulus_uj.is_some_and(|modulus| most >= i128::from(modulus) * MICROJOULE);
        if of != epoch || (device.modulus_uj.is_none() && after < before) {
            return Piece::Nothing;
        }
        if !ambiguous {
            let wrapped = if after < before { device.modulus_uj.unwrap_or(0) } else { 0 };
            return Piece::Counter((i128::from(after) + i128::from(wrapped) - i128::from(before)) * MICROJOULE);
        }
    }
    let (Some(start), Some(end)) = (from.mw, to.mw) else { return Piece::Nothing };
    let area = i128::from(start + end) * i128::from(elapsed);
    match elapsed {
        ns if ns <= device.join_ns => Piece::Integrated(area),
        ns if ns <= ESTIMATE_NS => Piece::Estimated(area),
        _ => Piece::Nothing,
    }
}

/// What reboots may add: how long a machine was away the ledger knows by wall clocks alone, and where it
/// seems short the last reading and the first are joined, or power next to a counter is only shown. Energy
/// and time.
pub(crate) fn reboot_slack(device: Device, looks: &[Look]) -> (i128, i128) {
    let highest = looks.iter().filter_map(|look| look.mw).max().unwrap_or(0);
    let reboots = looks.windows(2).filter(|pair| pair[0].clock != pair[1].clock).count() as i128;
    (2 * i128::from(highest) * i128::from(device.join_ns) * reboots, i128::from(device.join_ns) * reboots)
}

/// More than this can not be estimated, in whatever order the readings came: a part of a hole keeps its
/// share of the estimate that was made of the whole.
pub(crate) fn estimate_bound(device: Device, looks: &[Look]) -> i128 {
    let highest = looks.iter().filter_map(|look| look.mw).max().unwrap_or(0);
    let holes = looks.windows(2).filter(|pair| pair[0].clock == pair[1].clock).map(|pair| pair[1].at - pair[0].at);
    let estimated = holes.filter(|hole| (device.join_ns + 1..=ESTIMATE_NS).contains(hole));
    // A hole begins at the last value of a counter, not at power that is only shown behind it.
    estimated.map(|hole| 2 * i128::from(highest) * i128::from(hole + device.join_ns)).sum()
}

/// More than this can not have been measured, whichever of these readings the ledger knows so far:
/// what the counter moved, and where no counter speaks the largest power within reach.
pub(crate) fn bound(device: Device, looks: &[Look]) -> i128 {
    let mut bound = 0;
    // Pairs of readings whose time a counter explains.
    let mut counted = vec![false; looks.len()];
    let counters: Vec<usize> = (0..looks.len()).filter(|place| looks[*place].counter.is_some()).collect();
    for pair in counters.windows(2) {
        let (from, to) = (&looks[pair[0]], &looks[pair[1]]);
        let elapsed = (from.clock == to.clock).then(|| to.at - from.at);
        if let Piece::Counter(energy) = piece(device, from, to, elapsed) {
            bound += energy;
            counted[pair[0]..pair[1]].fill(true);
        }
    }
    for place in (1..looks.len()).filter(|place| !counted[place - 1]) {
        let (from, to) = (&looks[place - 1], &looks[place]);
        if from.clock != to.clock || to.at - from.at > device.join_ns {
            continue;
        }
        let is_near = |look: &&Look| {
            look.clock == from.clock
                && look.at + device.join_ns >= from.at
                && look.at <= to.at.saturating_add(device.join_ns)
        };
        let (before, after) = (looks[..place].iter().rev(), looks[place..].iter());
        let near = before.take_while(is_near).chain(after.take_while(is_near));
        let highest = near.filter_map(|look| look.mw).max().unwrap_or(0);
        bound += 2 * i128::from(highest) * i128::from(to.at - from.at);
    }
    bound
}
