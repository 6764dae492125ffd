//! Why a reading was not booked. A refusal is data: it is named in the answer and counted.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The reason a reading was refused. Codes are stable: people script against them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Refusal {
    /// The power is not a finite number.
    PowerNotFinite = 0,
    /// The power is negative.
    PowerNegative = 1,
    /// The value is a "no value" mark of the hardware, such as a register's maximum.
    Sentinel = 2,
    /// The power is above what such a device can draw.
    AboveCeiling = 3,
    /// The counter is not a finite number.
    CounterNotFinite = 4,
    /// The counter is negative.
    CounterNegative = 5,
    /// The counter moved further than the device could have drawn meanwhile.
    CounterJump = 6,
    /// The reading is dated further ahead than clocks may differ.
    FromFuture = 7,
    /// The reading is older than live readings may be and was not marked as an import.
    TooOld = 8,
    /// The owner has as many accounts as it may have.
    OwnerAccountCap = 9,
    /// The ledger has as many accounts as it may have.
    AccountCap = 10,
    /// The device or its scope cannot be named so.
    BadName = 11,
    /// Neither power nor counter.
    NoValue = 12,
    /// A record that could not be decoded.
    Malformed = 13,
    /// The machine runs as many jobs as it may.
    HoldCap = 14,
    /// The end of a job that nobody told the beginning of, or that ended before: no fault.
    UnknownJob = 15,
}

impl Refusal {
    /// Every reason, in storage order.
    pub const ALL: [Self; 16] = [
        Self::PowerNotFinite,
        Self::PowerNegative,
        Self::Sentinel,
        Self::AboveCeiling,
        Self::CounterNotFinite,
        Self::CounterNegative,
        Self::CounterJump,
        Self::FromFuture,
        Self::TooOld,
        Self::OwnerAccountCap,
        Self::AccountCap,
        Self::BadName,
        Self::NoValue,
        Self::Malformed,
        Self::HoldCap,
        Self::UnknownJob,
    ];

    /// The stable code used in answers and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::PowerNotFinite => "power-not-finite",
            Self::PowerNegative => "power-negative",
            Self::Sentinel => "sentinel",
            Self::AboveCeiling => "above-ceiling",
            Self::CounterNotFinite => "counter-not-finite",
            Self::CounterNegative => "counter-negative",
            Self::CounterJump => "counter-jump",
            Self::FromFuture => "from-future",
            Self::TooOld => "too-old",
            Self::OwnerAccountCap => "owner-account-cap",
            Self::AccountCap => "account-cap",
            Self::BadName => "bad-name",
            Self::NoValue => "no-value",
            Self::Malformed => "malformed",
            Self::HoldCap => "hold-cap",
            Self::UnknownJob => "unknown-job",
        }
    }

    /// Whether somebody should look into it.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        !matches!(self, Self::UnknownJob)
    }

    /// The reason with this storage number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_codes_name_the_same_reasons() {
        for (number, reason) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            assert_eq!(Refusal::from_number(number as u8), Some(reason));
        }
        assert_eq!(Refusal::from_number(200), None);
    }
}
