//! The state of one owner: everything the ledger knows of a host, chassis or meter, as plain data.
//!
//! It is one row of the store and changes in one atomic commit: registers, coverage, open slots,
//! stream positions and dating can never be from different moments.

use std::sync::Arc;

use meter::{
    AccountKey, ByQuality, Clock, Energy, Hold, Id, Labels, Microjoules, Milliwatts, Owner, Position, Refusal, Slot,
    Utc,
};

use crate::cut::{Cut, CutCells, HourCut};

/// One owner's row.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnerState {
    /// Whose row this is.
    pub owner: Owner,
    /// The machine that reports *itself* under this name, once one has.
    pub fingerprint: Option<Id>,
    /// The labels the agent gave, with the instant from which they hold; ascending.
    pub labels: Vec<LabelsSince>,
    /// The accounts' keys by account index. Only ever appended to: history refers to the indices.
    pub keys: Arc<Vec<AccountKey>>,
    /// The accounts, parallel to `keys`.
    pub accounts: Vec<Account>,
    /// Slots that are not in the history yet; ascending.
    pub open: Vec<OpenSlot>,
    /// The streams that feed this owner, in order of first appearance.
    pub streams: Vec<Stream>,
    /// How boot clocks map to ledger time.
    pub boots: Vec<BootDate>,
    /// The contexts that records may refer to, least recently used first.
    pub contexts: Arc<Vec<KnownContext>>,
    /// Readings seen, whether booked, fenced or refused.
    pub readings: u64,
    /// Readings refused, by reason; ascending, without zeros.
    pub refused: Vec<(Refusal, u64)>,
    /// When the ledger last heard of this owner, on its own clock.
    pub last_seen: Utc,
    /// Allocations that run on this machine, in the order in which they were told.
    pub holds: Vec<Hold>,
    /// Allocations that ended since the last commit, which takes them out of the row.
    pub ended: Vec<Hold>,
    /// The recent cuts, ascending: what is booked later is cut there, too.
    pub cuts: Vec<Cut>,
    /// The last marks that streams brought, as hashes of their instant and what they said: told again under
    /// another stream's name they change nothing.
    pub told: Vec<u64>,
}

/// Labels and the instant from which they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelsSince {
    /// From here on.
    pub from: Utc,
    /// The labels.
    pub labels: Arc<Labels>,
}

/// One lifetime energy register and its coverage. An account without any reading yet is the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Account {
    /// Energy since the first reading, by quality; what a late fill reversed is already taken off.
    pub lifetime: ByQuality,
    /// Time for which there were readings, in nanoseconds.
    pub covered_ns: u64,
    /// The earliest reading: all time before it is a hole.
    pub first: Edge,
    /// The reading at the watermark: all time from `first` to here is covered, but for the holes.
    pub frontier: Edge,
    /// The latest power seen, also where the counter books: for people, never for booking.
    pub shown: Option<(Utc, Milliwatts)>,
    /// What most accounts never have.
    pub rare: Option<Box<Rare>>,
}

/// What most accounts never have: holes, fenced energy, flags.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rare {
    /// Uncovered time between `first` and `frontier`; ascending, disjoint.
    pub holes: Vec<Hole>,
    /// Holes that became final because there were too many; their time stays uncovered for good.
    pub final_holes: u64,
    /// Estimated energy that late readings replaced, in total.
    pub reversed: Energy,
    /// Energy reported for time that was covered already: not booked.
    pub fenced: Energy,
    /// The last reading inside covered time, to tell how much energy is fenced.
    pub fence: Option<Edge>,
    /// A reading whose counter jumped; if the next one agrees with it, counting goes on from here.
    pub suspect: Option<Edge>,
    /// The counter and the integrated power of the current slot, to see whether they agree.
    pub check: CrossCheck,
    /// What people should look at; see [`Flag`].
    pub flags: u8,
}

/// Counter and integrated power side by side over one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CrossCheck {
    /// The slot being compared.
    pub slot: Slot,
    /// Energy by the counter in intervals where both were read.
    pub counter: Energy,
    /// Energy by the trapezoid in the same intervals.
    pub power: Energy,
}

/// What people should look at before they believe an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Flag {
    /// Counter and integrated power differed by more than 10 % over a slot.
    CounterDisagrees = 1,
    /// More than one live stream feeds this account.
    TwoStreams = 2,
    /// A counter jumped further than the device could have drawn.
    CounterJumped = 4,
    /// So many holes that some became final.
    HolesFinal = 8,
}

/// A reading that borders covered time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// Ledger time.
    pub at: Utc,
    /// The same instant on the boot clock `boot`, or UTC nanoseconds if `boot` is zero.
    pub mono: u64,
    /// The boot clock: the first 8 bytes, little-endian, of the boot id; zero for UTC.
    pub boot: u64,
    /// Power, if it was read.
    pub power: Option<Milliwatts>,
    /// The counter, if it was read.
    pub counter: Option<Count>,
}

/// A counter value and what it counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// The value.
    pub value: Microjoules,
    /// The epoch: differences are only taken within one.
    pub epoch: u64,
}

/// Uncovered time, with the readings at its ends and what was booked as an estimate of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The reading where it begins.
    pub start: Edge,
    /// The reading where it ends.
    pub end: Edge,
    /// The line whose area between the ends is booked as estimated.
    pub estimate: Option<Line>,
}

/// Power that runs straight from one instant to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it begins.
    pub from: Utc,
    /// Where it ends.
    pub to: Utc,
    /// Power at the beginning.
    pub start: Milliwatts,
    /// Power at the end.
    pub end: Milliwatts,
}

/// A slot that may still change in the row: `cells` by account index.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenSlot {
    /// Which slot.
    pub slot: Slot,
    /// What was booked, by account index; accounts beyond the end have nothing.
    pub cells: Vec<Cell>,
    /// What of it lies before each cut within the slot; ascending.
    pub cuts: Vec<CutCells>,
}

/// Energy and covered time of one account in one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Energy by quality.
    pub energy: ByQuality,
    /// Time for which there were readings, in nanoseconds.
    pub covered_ns: u64,
}

/// A posting to the history: what one commit adds to one hour of one owner. Several postings of an
/// hour add up; the reversal of an estimate is a negative amount.
#[derive(Clone, Debug, PartialEq)]
pub struct HourBlock {
    /// Hours since the Unix epoch.
    pub hour: i32,
    /// The cells, ascending by quarter and account.
    pub cells: Vec<HourCell>,
    /// What of the cells lies before cuts; ascending by instant and account.
    pub cuts: Vec<HourCut>,
}

/// One account's cell in one quarter of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourCell {
    /// 0 to 3.
    pub quarter: u8,
    /// Account index.
    pub account: u16,
    /// What is added.
    pub cell: Cell,
}

/// How far a stream has been applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// The stream.
    pub id: Id,
    /// Where it stands.
    pub position: Position,
    /// When something of it was last applied, on the ledger's clock.
    pub last_seen: Utc,
    /// For numbered posts (JSON): the last answers, ascending by number.
    pub answers: Vec<StoredAnswer>,
}

/// The answer given to a numbered post, so that its repetition gets the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    /// The post's number.
    pub seq: u64,
    /// A digest of the body.
    pub body: Id,
    /// The tally.
    pub tally: Tally,
}

/// What became of a batch of readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Readings that were booked.
    pub booked: u64,
    /// Readings that fell in time already covered.
    pub fenced: u64,
    /// Readings refused, by device and reason.
    pub refused: Vec<RefusedCount>,
}

/// Readings of one device refused for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCount {
    /// The scope as it was given.
    pub scope: String,
    /// The device as it was given.
    pub device: String,
    /// Why.
    pub reason: Refusal,
    /// How many.
    pub count: u64,
}

/// Where a boot clock lies on the ledger's axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootDate {
    /// The boot.
    pub boot: Id,
    /// The newest instant known of the boot clock, in nanoseconds…
    pub mono: u64,
    /// …and the ledger time it was given.
    pub utc: Utc,
    /// Whether the owner reported itself: a machine's own boots follow each other.
    pub own: bool,
}

/// A context the ledger has been told, with its devices resolved to accounts.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownContext {
    /// The context's id.
    pub id: u64,
    /// Its clock.
    pub clock: Clock,
    /// Its wall clock offset; see [`meter::Context`].
    pub wall_offset_ns: i64,
    /// Its devices.
    pub devices: Vec<KnownDevice>,
}

/// A declared device, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownDevice {
    /// The account; or, while no good reading has opened one, its name (and the reason `NoValue`).
    pub account: Result<u16, Box<(AccountKey, Refusal)>>,
    /// Period in nanoseconds; zero if unknown.
    pub period_ns: u64,
    /// The device's own limit; zero if none.
    pub limit: Milliwatts,
    /// Where the counter wraps.
    pub modulus: Option<Microjoules>,
    /// The counter's epoch.
    pub epoch: u64,
}

impl OwnerState {
    /// An owner nobody has reported yet.
    #[must_use]
    pub fn new(owner: Owner) -> Self {
        Self {
            owner,
            fingerprint: None,
            labels: Vec::new(),
            keys: Arc::default(),
            accounts: Vec::new(),
            open: Vec::new(),
            streams: Vec::new(),
            boots: Vec::new(),
            contexts: Arc::default(),
            readings: 0,
            refused: Vec::new(),
            last_seen: Utc::default(),
            holds: Vec::new(),
            ended: Vec::new(),
            cuts: Vec::new(),
            told: Vec::new(),
        }
    }

    /// The labels the agent's word puts in force at `at`.
    #[must_use]
    pub fn labels_at(&self, at: Utc) -> Option<&Arc<Labels>> {
        // Before the first known labels the first ones hold: a machine does not lack a team because
        // its agent told it one reading late.
        let known = self.labels.iter().rev().find(|since| since.from <= at).or(self.labels.first());
        known.map(|since| &since.labels)
    }
}

impl Account {
    /// Whether no reading was accepted yet.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.first.power.is_none() && self.first.counter.is_none()
    }

    /// What most accounts do not have.
    #[must_use]
    pub fn rare(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    /// The rare part, made when first needed.
    pub fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Whether a flag is up.
    #[must_use]
    pub fn is_flagged(&self, flag: Flag) -> bool {
        self.rare().is_some_and(|rare| rare.flags & flag as u8 != 0)
    }
}

impl Flag {
    /// Every flag.
    pub const ALL: [Self; 4] = [Self::CounterDisagrees, Self::TwoStreams, Self::CounterJumped, Self::HolesFinal];

    /// The stable word for answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::CounterDisagrees => "counter-disagrees",
            Self::TwoStreams => "two-streams",
            Self::CounterJumped => "counter-jumped",
            Self::HolesFinal => "holes-final",
        }
    }
}
