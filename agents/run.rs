//! The agent as a whole: samplers, spool and uplink, put together and taken apart.

use std::path::Path;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, Recipient};
use futures_util::future::join_all;
use meter::{Labels, NameError, Owner, reading};
use rustix::process::{Resource, Rlimit};

use crate::clock::BootId;
use crate::config::Settings;
use crate::health::{Notice, Registry};
use crate::home::Home;
use crate::intake::Intake;
use crate::jobs::{self, Ear};
use crate::link::{Link, LinkError};
use crate::metrics::{self, Desk};
use crate::reader::Reader;
use crate::sampler::{LastLook, LookNow, Sampler};
use crate::sources::target::Discovery;
use crate::sources::{self, Roots};
use crate::spool::SpoolError;
use crate::spool_actor::{Care, SpoolActor};
use crate::targets::{Needs, Targets};
use crate::uplink::{Drain, Uplink};
use crate::{clock, identity};

/// How long the last readings, and the targets' last words, may take; then the last post, and the ends of
/// sessions that are not over by then.
const LAST_LOOK: Duration = Duration::from_millis(500);
const LAST_POST: Duration = Duration::from_millis(3500);
const LAST_CLOSE: Duration = Duration::from_millis(300);

/// How often to see whether a source hangs.
const WATCH_EVERY: Duration = Duration::from_secs(5);

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
pub struct RunningAgent {
    owner: Owner,
    samplers: Vec<(Addr<Sampler>, Arbiter)>,
    /// With the threads of discovery and targets; nothing if there can be none.
    targets: Option<(Addr<Targets>, [Arbiter; 2])>,
    spool: (Addr<SpoolActor>, Arbiter),
    uplink: Addr<Uplink>,
    ear: Ear,
    watch: [tokio::task::JoinHandle<()>; 2],
}

/// Starts an agent: this machine's sources and the targets it is to read into its spools, and on to the
/// aggregator.
///
/// # Errors
/// [`StartError`] that says what to change.
pub fn start(settings: &Settings) -> Result<RunningAgent, StartError> {
    start_on(settings, &Roots::default())
}

/// The same on other trees than the kernel's.
///
/// # Errors
/// [`StartError`] that says what to change.
pub fn start_on(settings: &Settings, roots: &Roots) -> Result<RunningAgent, StartError> {
    let discoveries = sources::discoveries(&settings.sources, roots, &settings.agent.cluster);
    start_with(settings, roots, discoveries)
}

/// The same with these targets.
///
/// # Errors
/// [`StartError`] that says what to change.
pub fn start_with(
    settings: &Settings,
    roots: &Roots,
    discoveries: Vec<Box<dyn Discovery>>,
) -> Result<RunningAgent, StartError> {
    let owner = identity::owner(&settings.agent.cluster, &settings.agent.host)?;
    let timeout = Duration::from_secs(settings.uplink.timeout_s.max(1));
    let link = Link::new(&settings.uplink.servers, timeout)?;
    let fingerprint = identity::fingerprint(&roots.sys, Path::new("/etc"));
    let home = Home::new(settings, fingerprint);
    let own = home.own(&owner, labels(settings, roots))?;
    let boot = BootId::new(identity::boot_id(&roots.proc));
    raise_file_limit();

    let spool_thread = Arbiter::new();
    let actor = SpoolActor::new(Intake::new(own, home), boot.clone());
    let spool = SpoolActor::start_in_arbiter(&spool_thread.handle(), move |_| actor);
    let interval = Duration::from_secs(settings.uplink.interval_s.max(1));
    let uplink = Uplink::new(spool.clone(), link, interval);
    let progress = uplink.progress();
    let uplink = uplink.start();

    let registry = Registry::default();
    let mut samplers = Vec::new();
    for source in sources::all(&settings.sources, roots) {
        let reader = Reader::Local { source, owner: owner.clone() };
        let (sampler, health) = Sampler::new(reader, spool.clone(), boot.clone(), Duration::ZERO);
        let thread = Arbiter::new();
        samplers.push((Sampler::start_in_arbiter(&thread.handle(), move |_| sampler), thread));
        registry.add(health);
    }
    let targets = start_targets(discoveries, &spool, &boot, &registry);
    let sensors = samplers.iter().map(|(sampler, _)| Recipient::<LookNow>::from(sampler.clone())).collect();
    let needs = jobs::Needs {
        owner: owner.clone(),
        spool: spool.clone(),
        boot,
        registry: registry.clone(),
        sensors,
        sys: roots.sys.clone(),
    };
    let ear = jobs::start(settings, needs);
    let desk = Desk { registry: registry.clone(), spool: spool.clone(), progress, jobs: ear.tally() };
    let watch = [actix_rt::spawn(metrics::serve(settings.metrics.clone(), desk)), actix_rt::spawn(watch(registry))];
    tracing::info!(host = %owner, servers = ?settings.uplink.servers, "running");
    Ok(RunningAgent { owner, samplers, targets, spool: (spool, spool_thread), uplink, ear, watch })
}

/// Starts what is read over the network, on two threads: one looks at files, the other reads.
fn start_targets(
    discoveries: Vec<Box<dyn Discovery>>,
    spool: &Addr<SpoolActor>,
    boot: &BootId,
    registry: &Registry,
) -> Option<(Addr<Targets>, [Arbiter; 2])> {
    if discoveries.is_empty() {
        return None;
    }
    let threads = [Arbiter::new(), Arbiter::new()];
    let needs =
        Needs { spool: spool.clone(), boot: boot.clone(), registry: registry.clone(), thread: threads[1].handle() };
    let targets = Targets::new(discoveries, needs);
    Some((Targets::start_in_arbiter(&threads[0].handle(), move |_| targets), threads))
}

/// A spool has a handful of open files, and an agent may keep one for each of a thousand BMCs.
fn raise_file_limit() {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || (limit.current.is_some() && limit.maximum.is_none()) {
        // What is refused leaves the limit as it is; should it be reached, spools move to memory and say so.
        let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Labels as configured, then of the hardware; made-up readings say so wherever they show.
fn labels(settings: &Settings, roots: &Roots) -> Labels {
    let mut labels = settings.labels.clone();
    if settings.sources.simulated.enabled {
        labels.insert("simulated".into(), "true".into());
    }
    for (key, value) in identity::hardware_labels(&roots.sys) {
        if labels.len() < reading::LABELS_MAX {
            labels.entry(key).or_insert(value);
        }
    }
    labels
}

/// Reports, once each, the sources whose reading does not come back, and those that came back.
async fn watch(registry: Registry) {
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let now = clock::boot_ns();
        for health in registry.list() {
            let (source, target) = (health.source, health.target.as_deref());
            match health.notice(now) {
                Some(Notice::Hangs) => tracing::error!(source, target, "hangs: it is left alone, the others go on"),
                Some(Notice::Answers) => tracing::info!(source, target, "answers again"),
                None => {}
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
        self.watch.iter().for_each(tokio::task::JoinHandle::abort);
        self.ear.stop();
        // They stop reading at once, and take their time to end sessions.
        let targets = self.targets.as_ref().map(|(targets, _)| targets.send(LastLook));
        let mut ends = actix_rt::spawn(join_all(targets));
        // A source that stopped before has nothing to add.
        let looks = join_all(self.samplers.iter().map(|(sampler, _)| sampler.send(LastLook)));
        if tokio::time::timeout(LAST_LOOK, looks).await.is_err() {
            tracing::warn!("a source does not answer: its last reading is missing");
        }
        let _ = tokio::time::timeout(LAST_LOOK, &mut ends).await;
        let delivered = self.finish().await;
        if !ends.is_finished() {
            let _ = tokio::time::timeout(LAST_CLOSE, ends).await;
        }
        for thread in self.targets.iter().flat_map(|(_, threads)| threads) {
            thread.stop();
        }
        for (_, thread) in &self.samplers {
            thread.stop();
        }
        self.spool.1.stop();
        if self.spool.1.join().is_err() {
            tracing::error!("the spool's thread ended badly");
        }
        delivered
    }
    /// Tries to deliver all; whether that succeeded.
    async fn finish(&self) -> bool {
        let _ = self.spool.0.send(Care::Sync).await;
        let drained = tokio::time::timeout(LAST_POST, self.uplink.send(Drain)).await;
        let delivered = matches!(drained, Ok(Ok(true)));
        let _ = self.spool.0.send(Care::Sync).await;
        delivered
    }
}

impl std::fmt::Debug for RunningAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningAgent").field("owner", &self.owner).finish_non_exhaustive()
    }
}
