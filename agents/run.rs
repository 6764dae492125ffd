//! The agent as a whole: samplers, spool and uplink, put together and taken apart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter};
use futures_util::future::join_all;
use meter::{Id, Labels, NameError, Owner};

use crate::clock::BootId;
use crate::config::Settings;
use crate::link::{Link, LinkError};
use crate::outbox::{Lane, Outbox};
use crate::sampler::{Beat, LastLook, Sampler};
use crate::sources::{self, Roots};
use crate::spool::{Spool, SpoolError};
use crate::spool_actor::{Care, SpoolActor};
use crate::uplink::{Drain, Uplink};
use crate::{clock, identity};

/// How long the last readings, and the last post, may take.
const LAST_LOOK: Duration = Duration::from_millis(800);
const LAST_POST: Duration = Duration::from_secs(4);

/// Why the agent cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The host's or the cluster's name cannot be one.
    #[error("the name of this host or its cluster cannot be used: {0}; give --host")]
    Name(#[from] NameError),
    /// The aggregator's address is none.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The spool's folder must not be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
}

/// An agent at work on the current actix system.
#[derive(Debug)]
pub struct RunningAgent {
    owner: Owner,
    samplers: Vec<(Addr<Sampler>, Arbiter)>,
    spool: (Addr<SpoolActor>, Arbiter),
    uplink: Addr<Uplink>,
    watch: tokio::task::JoinHandle<()>,
}

/// Starts an agent: this machine's sources into its spool, and on to the aggregator.
///
/// # Errors
/// [`StartError`] that says what to change.
pub fn start(settings: &Settings) -> Result<RunningAgent, StartError> {
    let roots = Roots::default();
    let owner = identity::owner(&settings.agent.cluster, &settings.agent.host)?;
    let timeout = Duration::from_secs(settings.uplink.timeout_s.max(1));
    let link = Link::new(&settings.uplink.servers, timeout)?;
    let fingerprint = identity::fingerprint(&roots.sys, Path::new("/etc"));
    let spool = open_spool(settings, &owner, fingerprint)?;
    let boot = BootId::new(identity::boot_id(&roots.proc));
    let lane = Lane::live(owner.clone(), Some(fingerprint), labels(settings), spool);

    let spool_thread = Arbiter::new();
    let actor = SpoolActor::new(Outbox::new(vec![lane]), boot.clone());
    let spool = SpoolActor::start_in_arbiter(&spool_thread.handle(), move |_| actor);
    let interval = Duration::from_secs(settings.uplink.interval_s.max(1));
    let uplink = Uplink::new(spool.clone(), link, interval).start();

    let (mut samplers, mut beats) = (Vec::new(), Vec::new());
    for source in sources::all(&settings.sources, &roots) {
        let (sampler, beat) = Sampler::new(source, spool.clone().recipient(), boot.clone());
        let thread = Arbiter::new();
        samplers.push((Sampler::start_in_arbiter(&thread.handle(), move |_| sampler), thread));
        beats.push(beat);
    }
    let watch = actix_rt::spawn(watch(beats));
    tracing::info!(host = %owner, servers = ?settings.uplink.servers, "running");
    Ok(RunningAgent { owner, samplers, spool: (spool, spool_thread), uplink, watch })
}

/// Labels as configured; made-up readings say so wherever they show.
fn labels(settings: &Settings) -> Labels {
    let mut labels = settings.labels.clone();
    if settings.sources.simulated.enabled {
        labels.insert("simulated".into(), "true".into());
    }
    labels
}

/// Opens the spool. A folder that must not be used is an error; a disk that does not work is not:
/// then memory has to do, and the log says so.
fn open_spool(settings: &Settings, owner: &Owner, fingerprint: Id) -> Result<Spool, SpoolError> {
    let max_bytes = settings.spool.max_mib.max(1) << 20;
    let path = settings.state_dir().join(format!("spool-{:016x}", owner.stable_hash()));
    let home = path.clone();
    match Spool::open(&path, fingerprint, max_bytes) {
        Err(SpoolError::Io(path, error)) => {
            tracing::error!(path = %path.display(), %error, "the spool cannot be opened: readings are held in memory and would be lost with the process; free the disk or give --state-dir, it is tried again every few seconds");
            Spool::in_memory_until(&home, fingerprint, max_bytes)
        }
        other => other,
    }
}

/// Reports, once each, the sources whose reading does not come back.
async fn watch(beats: Vec<Arc<Beat>>) {
    let mut reported = vec![false; beats.len()];
    loop {
        tokio::time::sleep(Duration::from_secs(10)).await;
        let now = clock::boot_ns();
        for (beat, reported) in beats.iter().zip(&mut reported) {
            if beat.hangs(now) && !std::mem::replace(reported, true) {
                tracing::error!(source = beat.name, "hangs: it is left alone, the others go on");
            }
        }
    }
}

impl RunningAgent {
    /// Whose readings these are.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Takes a last reading of each source, tries one last time to deliver, and stops; within five
    /// seconds, whatever hangs. Tells whether the ledger has everything on disk.
    pub async fn stop(self) -> bool {
        self.watch.abort();
        let looks = self.samplers.iter().map(|(sampler, _)| sampler.send(LastLook));
        if tokio::time::timeout(LAST_LOOK, join_all(looks)).await.is_err() {
            tracing::warn!("a source does not answer: its last reading is missing");
        }
        let _ = self.spool.0.send(Care::Sync).await;
        let drained = tokio::time::timeout(LAST_POST, self.uplink.send(Drain)).await;
        let delivered = matches!(drained, Ok(Ok(true)));
        let _ = self.spool.0.send(Care::Sync).await;
        for (_, thread) in &self.samplers {
            thread.stop();
        }
        self.spool.1.stop();
        if self.spool.1.join().is_err() {
            tracing::error!("the spool's thread ended badly");
        }
        delivered
    }
}
