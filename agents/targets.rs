//! The actor that keeps the targets that the settings and their files name, and no others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix::{
    Actor, ActorContext, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Context as Ctx, Handler, ResponseFuture,
    WrapFuture,
};
use futures_util::future::join_all;
use meter::Owner;

use crate::clock::BootId;
use crate::guard::guarded;
use crate::health::{Health, Registry};
use crate::reader::Reader;
use crate::sampler::{LastLook, Sampler};
use crate::sources::target::{Discovery, Target};
use crate::spool_actor::SpoolActor;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The first looks of all targets are spread over this, or over their period if that is shorter.
const SPREAD_MAX: Duration = Duration::from_secs(10);

/// Keeps targets.
pub struct Targets {
    kinds: Vec<Kind>,
    running: BTreeMap<Key, Running>,
    needs: Needs,
}

/// What a target is known by: its kind, its address, and the owner it is for.
type Key = (&'static str, String, Owner);

/// What samplers of targets need.
#[derive(Clone, Debug)]
pub struct Needs {
    /// Where records go.
    pub spool: Addr<SpoolActor>,
    /// The running boot.
    pub boot: BootId,
    /// Where conditions are kept.
    pub registry: Registry,
    /// The thread that all targets share.
    pub thread: ArbiterHandle,
}

/// The targets of one kind.
struct Kind {
    discovery: Box<dyn Discovery>,
    /// How the files looked when they were last read.
    seen: Option<Vec<Option<Look>>>,
    /// What was wrong with them.
    wrong: Option<String>,
}

/// A file's length, age and number: another of any of them is another content.
type Look = (u64, Option<SystemTime>, u64);

struct Running {
    sampler: Addr<Sampler>,
    health: Arc<Health>,
    period_ns: u64,
}

impl Targets {
    /// The targets that these know.
    #[must_use]
    pub fn new(discoveries: Vec<Box<dyn Discovery>>, needs: Needs) -> Self {
        let kinds = discoveries.into_iter().map(|discovery| Kind { discovery, seen: None, wrong: None }).collect();
        Self { kinds, running: BTreeMap::new(), needs }
    }

    /// Looks at the files; starts and stops what they say differently.
    fn look(&mut self, context: &mut Ctx<Self>) {
        for place in 0..self.kinds.len() {
            let kind = &mut self.kinds[place];
            let name = kind.discovery.name();
            if let Some(targets) = kind.changed() {
                self.keep(name, targets, context);
            }
        }
    }

    /// Keeps these targets of a kind running, and no others.
    fn keep(&mut self, kind: &'static str, targets: Vec<Box<dyn Target>>, context: &mut Ctx<Self>) {
        let (mut wanted, mut started) = (BTreeMap::new(), 0_usize);
        for target in targets {
            wanted.entry((kind, target.address().to_owned(), target.owner().clone())).or_insert(target);
        }
        let is_kept = |key: &Key, running: &Running| {
            key.0 != kind
                || wanted
                    .get(key)
                    .is_some_and(|target| running.sampler.connected() && target.period_ns() == running.period_ns)
        };
        let gone: Vec<Running> =
            self.running.extract_if(.., |key, running| !is_kept(key, running)).map(|one| one.1).collect();
        for running in &gone {
            self.needs.registry.remove(&running.health);
            // It ends its sessions at its leisure.
            let end = running.sampler.send(LastLook).into_actor(self);
            context.spawn(end.map(|_, _, _| ()));
        }
        for (key, target) in wanted {
            if !self.running.contains_key(&key) {
                started += 1;
                let running = self.begin(target);
                self.running.insert(key, running);
            }
        }
        let count = self.running.keys().filter(|key| key.0 == kind).count();
        if started > 0 || !gone.is_empty() {
            tracing::info!(source = kind, targets = count, started, stopped = gone.len(), "targets");
        }
    }

    fn begin(&self, target: Box<dyn Target>) -> Running {
        let period_ns = target.period_ns();
        let phase = phase(target.address(), target.owner(), period_ns);
        let needs = &self.needs;
        let (sampler, health) = Sampler::new(Reader::Remote(target), needs.spool.clone(), needs.boot.clone(), phase);
        needs.registry.add(Arc::clone(&health));
        let sampler = Sampler::start_in_arbiter(&needs.thread, move |_| sampler);
        Running { sampler, health, period_ns }
    }
}

impl Kind {
    /// The targets of now, if a file changed since they were asked for.
    fn changed(&mut self) -> Option<Vec<Box<dyn Target>>> {
        let looks = |discovery: &dyn Discovery| discovery.files().iter().map(|file| look_at(file)).collect::<Vec<_>>();
        let now = looks(&*self.discovery);
        if self.seen.as_ref() == Some(&now) {
            return None;
        }
        let source = self.discovery.name();
        let found = guarded(|| self.discovery.targets()).unwrap_or_else(|panicked| Err(panicked.0));
        // Files that are only known once they were asked for are as they are now.
        let after = looks(&*self.discovery);
        self.seen = Some(if after.len() == now.len() { now } else { after });
        match found {
            Ok(targets) => {
                if self.wrong.take().is_some() {
                    tracing::info!(source, "the targets can be read again");
                }
                Some(targets)
            }
            Err(why) => {
                // It may be no file that was wrong: the next look tries again.
                self.seen = None;
                if self.wrong.as_ref() != Some(&why) {
                    tracing::error!(source, why, "the targets cannot be read: those of before stay in use");
                    self.wrong = Some(why);
                }
                None
            }
        }
    }
}

fn look_at(file: &Path) -> Option<Look> {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(file).ok()?;
    Some((about.len(), about.modified().ok(), about.ino()))
}

/// When a target is looked at first: the same for each target at every start, and spread over all of them, so
/// that fifty do not answer at one instant.
fn phase(address: &str, owner: &Owner, period_ns: u64) -> Duration {
    let spread = u64::try_from(SPREAD_MAX.as_nanos()).unwrap_or(u64::MAX).min(period_ns).max(1);
    // Never none: the first reading of this machine's own sensors comes before.
    Duration::from_nanos(meter::hash::stable_hash(format!("{address} {owner}").as_bytes()) % spread + 1)
}

impl Actor for Targets {
    type Context = Ctx<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.look(context);
        context.run_interval(LOOK_EVERY, Self::look);
    }
}

impl Handler<LastLook> for Targets {
    type Result = ResponseFuture<()>;

    /// Ends all targets.
    fn handle(&mut self, _: LastLook, context: &mut Self::Context) -> Self::Result {
        let ends: Vec<_> = self.running.values().map(|running| running.sampler.send(LastLook)).collect();
        self.running.clear();
        context.stop();
        Box::pin(async move {
            join_all(ends).await;
        })
    }
}
