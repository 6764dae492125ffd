//! What is read over the network on behalf of others: a BMC, an exporter.
//!
//! A [`Target`] is one address. It is probed like a [`super::Source`], and then says for which owners it
//! has readings: one [`Outlet`] each. All targets of an agent share a few threads: whatever waits does so
//! without holding one, so that a slow target delays no other.

use std::path::PathBuf;

use futures_util::future::BoxFuture;
use meter::{DeviceDecl, Labels, Owner, Refusal, Sample};

use super::{FoundDevice, PollError};

/// What a look at a target found.
#[derive(Debug)]
pub enum Reach {
    /// There is something to read.
    Found {
        /// The devices of each outlet, in the order of [`Target::outlets`].
        devices: Vec<Vec<FoundDevice>>,
        /// What a person should know: what was left out and why.
        note: Option<String>,
    },
    /// There is nothing to read, or no answer.
    Absent {
        /// What is missing, and what would help.
        why: String,
    },
}

/// An owner that a target has readings of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlet {
    /// Whose readings these are; never taken from what was scraped, unless that is a hardware's serial number.
    pub owner: Owner,
    /// What the hardware says of itself (`hw.uuid`, `hw.serial`, `rack`, …), for joining it with its host.
    pub labels: Labels,
    /// The devices; [`Sample::device`] is an index into them. May be empty: then the owner is only made known.
    pub devices: Vec<DeviceDecl>,
}

/// One address that is read over the network.
pub trait Target: Send {
    /// The kind of source, as in the configuration: `redfish`, `prometheus`.
    fn name(&self) -> &'static str;
    /// The address, without credentials, for logs and the probe.
    fn address(&self) -> &str;
    /// The owner that the configuration says it is for.
    fn owner(&self) -> &Owner;
    /// How often to read, in nanoseconds.
    fn period_ns(&self) -> u64;
    /// Looks at the target, and learns its outlets anew.
    fn probe(&mut self) -> BoxFuture<'_, Reach>;
    /// Whose readings it has, as of the last probe or reading. Their number and order changes with a probe only;
    /// at most 512 devices each, as in a message.
    fn outlets(&self) -> &[Outlet];
    /// Reads once, within a minute, or it is put aside. Appends to `into[n]` what outlet `n` gave, in ascending order of device. `into` has one
    /// list per outlet. A device that gave nothing is left out.
    ///
    /// # Errors
    /// [`PollError`] if no outlet gave anything; nothing is appended then. Where there is no new value yet, that
    /// nothing is appended is no error. After [`PollError::Gone`] the
    /// target is probed again before the next reading.
    fn read<'a>(&'a mut self, into: &'a mut [Vec<Sample>]) -> BoxFuture<'a, Result<(), PollError>>;
    /// What was refused since the last call and belongs to no device: lines and values that no account can be
    /// named for.
    fn take_refused(&mut self) -> Vec<(Refusal, u64)> {
        Vec::new()
    }
    /// Ends sessions before the agent ends.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// What knows the targets of one kind, from settings and the files they name.
pub trait Discovery: Send {
    /// The kind of source, as in the configuration.
    fn name(&self) -> &'static str;
    /// The targets of now, not yet probed. Asked at the start and again when a file changed; a target is
    /// the same as one before if its address and the owner it is for are.
    ///
    /// # Errors
    /// What is wrong, with file and place; the targets of before stay in use then.
    fn targets(&mut self) -> Result<Vec<Box<dyn Target>>, String>;
    /// The files that the targets come from.
    fn files(&self) -> &[PathBuf];
}
