//! Why an append is refused as a whole: what people and agents are told.

use meter::{Id, Owner, SECOND_NS};

/// The code by which an agent is told that its boot clock was set back: it goes on under a new boot id.
pub const CLOCK_SET_BACK: &str = "clock-set-back";

/// Why an append is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The name belongs to another machine.
    #[error(
        "{owner} is bound to machine {}, but machine {} reports under this name: rename one of them or, \
         if the new one took the old one's place, run: wattledger host rebind {}",
        hex(bound),
        hex(theirs),
        owner.name
    )]
    BoundElsewhere {
        /// The owner.
        owner: Box<Owner>,
        /// The machine it is bound to.
        bound: Id,
        /// The machine that asked.
        theirs: Id,
    },
    /// The sender's boot clock lies behind what was read by it before.
    #[error(
        "the boot clock of {owner}'s sender lies {} s behind what it reported before, as after the restore of \
         a snapshot: readings must go on under a new boot id",
        .behind_ns / SECOND_NS.unsigned_abs()
    )]
    ClockSetBack {
        /// The owner.
        owner: Box<Owner>,
        /// By how much.
        behind_ns: u64,
    },
    /// The ledger is full.
    #[error("the ledger holds as many accounts as it may ({0}): raise ledger.max_accounts")]
    AccountCap(usize),
}

impl Rejection {
    /// The stable code for answers.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::BoundElsewhere { .. } => "host-bound-elsewhere",
            Self::ClockSetBack { .. } => CLOCK_SET_BACK,
            Self::AccountCap(_) => "account-cap",
        }
    }
}

fn hex(id: &Id) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}
