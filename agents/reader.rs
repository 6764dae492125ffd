//! Whatever can be read: a sensor of this machine, or an address on the network.

use std::time::Duration;

use meter::{DeviceDecl, Labels, Owner, Refusal, Sample};
use tokio::sync::Notify;

use crate::guard::{Panicked, guarded, guarded_wait};
use crate::health::{Called, State, TARGET_MAX};
use crate::sources::target::{Reach, Target};
use crate::sources::{PollError, Probe, Source};

/// How long a target may take to end its sessions.
const CLOSE_MAX: Duration = Duration::from_secs(3);

/// A source of this machine, which blocks its thread while it is read, or a target, which does not.
pub enum Reader {
    /// Sensors of this machine: in band.
    Local {
        /// What reads them.
        source: Box<dyn Source>,
        /// This machine.
        owner: Owner,
    },
    /// An address on the network, read on behalf of its owners.
    Remote(Box<dyn Target>),
}

/// What a look found.
#[derive(Debug)]
pub struct Found {
    /// How many devices.
    pub devices: usize,
    /// What a person should know.
    pub note: Option<String>,
}

/// Why there was nothing to read, or no reading.
#[derive(Debug)]
pub enum Fault {
    /// Nothing is there.
    Absent(String),
    /// The source's own word.
    Poll(PollError),
    /// Its code panicked.
    Panicked(Panicked),
    /// It did not come back in time.
    Hangs(Duration),
}

impl Fault {
    /// The state that it puts a source in.
    #[must_use]
    pub const fn state(&self) -> State {
        match self {
            Self::Absent(_) => State::Absent,
            Self::Poll(PollError::Retry(_)) => State::Failing,
            Self::Poll(PollError::Gone(_)) => State::Gone,
            Self::Poll(PollError::Broken(_)) => State::Broken,
            Self::Panicked(_) => State::Panicked,
            Self::Hangs(_) => State::Hangs,
        }
    }

    /// Says in the log what it is, and what is done about it.
    pub(crate) fn tell(&self, source: &str, target: Option<&str>) {
        match self {
            Self::Absent(why) => tracing::info!(source, target, why, "absent"),
            Self::Poll(PollError::Retry(why)) => tracing::warn!(source, target, why, "no reading: trying on"),
            Self::Poll(PollError::Gone(why)) => {
                tracing::warn!(source, target, why, "gone: looking again every 30 s");
            }
            Self::Poll(PollError::Broken(why)) => {
                tracing::error!(source, target, why, "broken: it is not read any more");
            }
            Self::Hangs(limit) => {
                let limit_s = limit.as_secs();
                tracing::error!(source, target, limit_s, "hangs: put aside for a minute, the others go on");
            }
            Self::Panicked(panicked) => {
                let panic = &panicked.0;
                tracing::error!(source, target, panic, "panicked: put aside, and tried again every minute");
            }
        }
    }
}

/// What one outlet is, as far as a sampler has to know.
#[derive(Clone, Copy, Debug)]
pub struct OutletView<'a> {
    /// Whose readings.
    pub owner: &'a Owner,
    /// What the hardware says of itself.
    pub labels: Option<&'a Labels>,
    /// Its devices.
    pub devices: &'a [DeviceDecl],
}

impl Reader {
    /// The source's name, as in the configuration.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Local { source, .. } => source.name(),
            Self::Remote(target) => target.name(),
        }
    }

    /// The address, of what is read over the network.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        match self {
            Self::Local { .. } => None,
            Self::Remote(target) => Some(target.address()),
        }
    }

    /// How often to read, in nanoseconds.
    #[must_use]
    pub fn period_ns(&self) -> u64 {
        match self {
            Self::Local { source, .. } => source.period_ns(),
            Self::Remote(target) => target.period_ns(),
        }
    }

    /// Whether the readings come from the machine itself.
    #[must_use]
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Local { .. })
    }

    /// How many owners it has readings of.
    #[must_use]
    pub fn outlet_count(&self) -> usize {
        match self {
            Self::Local { .. } => 1,
            Self::Remote(target) => target.outlets().len(),
        }
    }

    /// The owners it has readings of, in order.
    pub fn outlets(&self) -> impl Iterator<Item = OutletView<'_>> {
        let (local, remote) = match self {
            Self::Local { source, owner } => {
                (Some(OutletView { owner, labels: None, devices: source.devices() }), &[][..])
            }
            Self::Remote(target) => (None, target.outlets()),
        };
        let remote = remote.iter().map(|outlet| OutletView {
            owner: &outlet.owner,
            labels: Some(&outlet.labels),
            devices: &outlet.devices,
        });
        local.into_iter().chain(remote)
    }

    /// Every device by each of its names.
    #[must_use]
    pub fn called(&self) -> Vec<Called> {
        let mut called = Vec::new();
        for OutletView { owner, devices, .. } in self.outlets() {
            let by = |name: &str, device: &DeviceDecl| Called {
                owner: owner.clone(),
                name: name.into(),
                device: device.key.device.clone(),
            };
            called.extend(devices.iter().map(|device| by(&device.key.device, device)));
            if let Self::Local { source, .. } = self {
                let nicknames = guarded(|| source.nicknames()).unwrap_or_default();
                let device = |place: u16| devices.get(usize::from(place));
                called.extend(nicknames.iter().filter_map(|(place, name)| Some(by(name, device(*place)?))));
            }
        }
        called
    }

    /// Looks for something to read.
    ///
    /// # Errors
    /// [`Fault`], and never a panic.
    pub async fn probe(&mut self) -> Result<Found, Fault> {
        match self {
            Self::Local { source, .. } => match guarded(|| source.probe()).map_err(Fault::Panicked)? {
                Probe::Found { devices, note } => Ok(Found { devices: devices.len(), note }),
                Probe::Absent { why } => Err(Fault::Absent(why)),
            },
            Self::Remote(target) => {
                // Also the call that makes the future is the target's own code.
                let probe = guarded_wait(async { target.probe().await });
                match tokio::time::timeout(TARGET_MAX, probe).await.map_err(|_| Fault::Hangs(TARGET_MAX))? {
                    Ok(Reach::Found { devices, note }) => {
                        Ok(Found { devices: devices.iter().map(Vec::len).sum(), note })
                    }
                    Ok(Reach::Absent { why }) => Err(Fault::Absent(why)),
                    Err(panicked) => Err(Fault::Panicked(panicked)),
                }
            }
        }
    }

    /// Reads once into one list per outlet.
    ///
    /// # Errors
    /// [`Fault`], and never a panic.
    pub async fn read(&mut self, into: &mut [Vec<Sample>]) -> Result<(), Fault> {
        match self {
            Self::Local { source, .. } => {
                let Some(into) = into.first_mut() else { return Ok(()) };
                guarded(|| source.read(into)).map_err(Fault::Panicked)?.map_err(Fault::Poll)
            }
            Self::Remote(target) => {
                let read = guarded_wait(async { target.read(into).await });
                match tokio::time::timeout(TARGET_MAX, read).await {
                    Err(_) => Err(Fault::Hangs(TARGET_MAX)),
                    Ok(Err(panicked)) => Err(Fault::Panicked(panicked)),
                    Ok(Ok(read)) => read.map_err(Fault::Poll),
                }
            }
        }
    }

    /// What was refused since the last call and belongs to no device.
    pub fn take_refused(&mut self) -> Vec<(Refusal, u64)> {
        match self {
            Self::Local { .. } => Vec::new(),
            Self::Remote(target) => guarded(|| target.take_refused()).unwrap_or_default(),
        }
    }

    /// Ends sessions; within three seconds.
    pub async fn close(&mut self) {
        if let Self::Remote(target) = self {
            // What cannot be ended now the other side ends by itself.
            let _ = tokio::time::timeout(CLOSE_MAX, guarded_wait(async { target.close().await })).await;
        }
    }
}

/// Waits for a target, unless the end comes first.
pub(crate) async fn unless_cut<T>(cut: &Notify, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    tokio::select! {
        done = work => done,
        () = cut.notified() => Err(Fault::Poll(PollError::Retry("the agent ends".into()))),
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Reader").field(&self.name()).field(&self.address()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver with a fault in its code.
    struct Faulty;

    impl Source for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }
        fn probe(&mut self) -> Probe {
            panic!("no driver of this version")
        }
        fn period_ns(&self) -> u64 {
            1
        }
        fn read(&mut self, _: &mut Vec<Sample>) -> Result<(), PollError> {
            panic!("index out of bounds")
        }
        fn devices(&self) -> &[DeviceDecl] {
            &[]
        }
    }

    #[actix_rt::test]
    async fn a_panic_of_a_source_is_a_fault_like_others() {
        let owner = Owner::host("n1").expect("a good name");
        let mut reader = Reader::Local { source: Box::new(Faulty), owner };
        let said = |fault: Fault| match fault {
            Fault::Panicked(Panicked(said)) => said,
            other => panic!("{other:?}"),
        };
        assert!(said(reader.probe().await.expect_err("a panic")).starts_with("no driver of this version ("));
        assert!(said(reader.read(&mut [Vec::new()]).await.expect_err("a panic")).starts_with("index out of bounds ("));
    }
}
