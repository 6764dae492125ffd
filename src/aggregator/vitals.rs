//! How a host is, as its rows say: its state, whether its readings are fresh, its flags.
//!
//! A host is `live` while its newest reading is no older than three of its slowest account's periods, at least
//! [`LIVE_AT_LEAST_NS`]; after that it is `silent`, or `off` if its BMC says so. `never_seen` is in the inventory without
//! a reading; `retired` by the inventory's date or by an act, whatever still comes in: that is booked and billed as
//! ever, and flagged.

use energy::{Account, Flag, OwnerState};
use meter::{Energy, Labels, Milliwatts, SECOND_NS, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// Least time after which a host is silent: agents of large fleets post once a minute.
pub const LIVE_AT_LEAST_NS: u64 = 90 * SECOND_NS as u64;

/// The period assumed where a source names none, as in the ledger.
const PERIOD_UNKNOWN_NS: u64 = 60 * SECOND_NS as u64;

/// Labels that say, where they are `true`, that a host is no live machine.
pub const MADE_UP: [&str; 2] = ["simulated", "replayed"];

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Readings arrive.
    Live,
    /// Known to be switched off.
    Off,
    /// Readings have stopped.
    Silent,
    /// In the inventory, but nothing was ever read.
    NeverSeen,
    /// Out of service by the inventory.
    Retired,
}

impl HostState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Live, Self::Off, Self::Silent, Self::NeverSeen, Self::Retired];

    /// The stable word for answers and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["live", "off", "silent", "never_seen", "retired"][self as usize]
    }

    /// The same for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        ["live", "off", "silent", "never seen", "retired"][self as usize]
    }
}

/// The newest reading of an owner.
#[must_use]
pub fn newest_reading(state: &OwnerState) -> Option<Utc> {
    state.accounts.iter().map(|account| account.frontier.at).max()
}

/// For how long a reading of this period tells what is now.
#[must_use]
pub const fn fresh_for(period_ns: u64) -> u64 {
    let three = period_ns.saturating_mul(3);
    if three > LIVE_AT_LEAST_NS { three } else { LIVE_AT_LEAST_NS }
}

/// The period of each account, by index, from the contexts that declare it.
#[must_use]
pub fn periods(state: &OwnerState) -> Vec<u64> {
    let mut periods = vec![0; state.accounts.len()];
    for device in state.contexts.iter().flat_map(|context| &context.devices) {
        if let Ok(index) = &device.account
            && let Some(period) = periods.get_mut(usize::from(*index))
        {
            *period = device.period_ns.max(*period);
        }
    }
    for period in periods.iter_mut().filter(|period| **period == 0) {
        *period = PERIOD_UNKNOWN_NS;
    }
    periods
}

/// The latest power of each account, by index, where it is fresh.
#[must_use]
pub fn fresh_watts(state: &OwnerState, now: Utc) -> Vec<Option<Milliwatts>> {
    let fresh = |(account, period): (&Account, u64)| {
        account.shown.filter(|(at, _)| now.since(*at) <= fresh_for(period)).map(|(_, power)| power)
    };
    state.accounts.iter().zip(periods(state)).map(fresh).collect()
}

/// Time between an account's first and newest reading for which there were no readings.
#[must_use]
pub fn uncovered_ns(account: &Account) -> u64 {
    account.frontier.at.since(account.first.at).saturating_sub(account.covered_ns)
}

/// The words of the flags that are up on any of these accounts.
#[must_use]
pub fn flags<'a>(accounts: impl IntoIterator<Item = &'a Account> + Clone) -> Vec<&'static str> {
    let up = |flag: &Flag| accounts.clone().into_iter().any(|account| account.is_flagged(*flag));
    Flag::ALL.into_iter().filter(up).map(Flag::code).collect()
}

/// Energy of an owner that was reported for covered time.
#[must_use]
pub fn fenced(state: &OwnerState) -> Energy {
    state.accounts.iter().filter_map(Account::rare).map(|rare| rare.fenced).sum()
}

/// Whether these labels say that a host is no live machine.
#[must_use]
pub fn is_made_up(labels: &Labels) -> bool {
    MADE_UP.iter().any(|key| labels.get(*key).is_some_and(|value| value == "true"))
}
