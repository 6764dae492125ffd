//! The whole agent on targets that the tests make up: plausible, empty, slow, panicking, and gone again.
#![expect(clippy::expect_used, reason = "a test stops where it cannot go on")]

#[expect(dead_code, reason = "the tests of delivery look at faults")]
mod fake;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use agents::config::Settings;
use agents::run::{self, RunningAgent};
use agents::sources::target::{Discovery, Outlet, Reach, Target};
use agents::sources::{PollError, Roots};
use fake::{Fake, Greeting};
use futures_util::future::{BoxFuture, FutureExt, pending};
use meter::{AccountKey, DeviceDecl, Labels, Milliwatts, Owner, OwnerKind, Sample, Scope};

/// How a made-up target behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Good,
    Hangs,
    PanicsAtRead,
    PanicsAtProbe,
    Absent,
}

struct MadeUp {
    address: String,
    outlets: Vec<Outlet>,
    way: Way,
    probes: Arc<AtomicUsize>,
    closed: Arc<Mutex<Vec<String>>>,
}

impl Target for MadeUp {
    fn name(&self) -> &'static str {
        "made-up"
    }
    fn address(&self) -> &str {
        &self.address
    }
    fn owner(&self) -> &Owner {
        &self.outlets[0].owner
    }
    fn period_ns(&self) -> u64 {
        100_000_000
    }
    fn probe(&mut self) -> BoxFuture<'_, Reach> {
        self.probes.fetch_add(1, Ordering::Relaxed);
        assert!(self.way != Way::PanicsAtProbe, "a probe that panics before there is anything to wait for");
        let reach = match self.way {
            Way::Absent => Reach::Absent { why: "nobody answers".into() },
            _ => Reach::Found { devices: self.outlets.iter().map(|_| Vec::new()).collect(), note: None },
        };
        async move { reach }.boxed()
    }
    fn outlets(&self) -> &[Outlet] {
        &self.outlets
    }
    fn read<'a>(&'a mut self, into: &'a mut [Vec<Sample>]) -> BoxFuture<'a, Result<(), PollError>> {
        async move {
            tokio::task::yield_now().await;
            match self.way {
                Way::Hangs => pending().await,
                Way::PanicsAtRead => panic!("a register that is none"),
                _ => {}
            }
            for (outlet, into) in self.outlets.iter().zip(into) {
                let sample = |device| Sample { device, power: Some(Milliwatts(7000)), ..Sample::default() };
                into.extend((0..outlet.devices.len() as u16).map(sample));
            }
            Ok(())
        }
        .boxed()
    }
    fn close(&mut self) -> BoxFuture<'_, ()> {
        self.closed.lock().expect("no panic with the lock").push(self.address.clone());
        async {}.boxed()
    }
}

/// Targets as a file lists them: address and way, and the devices of a chassis of that name.
struct Listed {
    file: [PathBuf; 1],
    asked: Arc<AtomicUsize>,
    probes: Arc<AtomicUsize>,
    closed: Arc<Mutex<Vec<String>>>,
}

impl Discovery for Listed {
    fn name(&self) -> &'static str {
        "made-up"
    }
    fn targets(&mut self) -> Result<Vec<Box<dyn Target>>, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let text = std::fs::read_to_string(&self.file[0]).map_err(|error| error.to_string())?;
        let target = |line: &str| -> Result<Box<dyn Target>, String> {
            let mut words = line.split_whitespace();
            let (name, way) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let way = match way {
                "good" => Way::Good,
                "hangs" => Way::Hangs,
                "panics" => Way::PanicsAtRead,
                "panics-at-probe" => Way::PanicsAtProbe,
                "absent" => Way::Absent,
                other => return Err(format!("{other:?} is no way")),
            };
            let owner = Owner::new("default", OwnerKind::Chassis, name).expect("a good name");
            let labels = Labels::from([("rack".into(), "r1".into())]);
            let outlets = vec![Outlet { owner, labels, devices: words.map(device).collect() }];
            let (probes, closed) = (Arc::clone(&self.probes), Arc::clone(&self.closed));
            Ok(Box::new(MadeUp { address: format!("https://{name}"), outlets, way, probes, closed }))
        };
        text.lines().map(target).collect()
    }
    fn files(&self) -> &[PathBuf] {
        &self.file
    }
}

fn device(name: &str) -> DeviceDecl {
    let key = AccountKey::new(Scope::Chassis, name).expect("a good name");
    DeviceDecl { key, period_ns: 100_000_000, limit: Milliwatts(0), modulus: None, epoch: 0 }
}

struct Stage {
    fake: Fake,
    folder: tempfile::TempDir,
    asked: Arc<AtomicUsize>,
    probes: Arc<AtomicUsize>,
    closed: Arc<Mutex<Vec<String>>>,
}

impl Stage {
    fn new(listed: &str) -> Self {
        let stage = Self {
            fake: Fake::start(&[]),
            folder: tempfile::tempdir().expect("a folder"),
            asked: Arc::default(),
            probes: Arc::default(),
            closed: Arc::default(),
        };
        stage.list(listed);
        stage
    }

    /// Writes the list, whole or not at all: it is followed.
    fn list(&self, listed: &str) {
        let path = self.folder.path().join("targets");
        std::fs::write(path.with_extension("new"), listed).expect("a file");
        std::fs::rename(path.with_extension("new"), path).expect("a file");
    }

    fn start(&self) -> RunningAgent {
        let mut settings = Settings::default();
        settings.agent.host = "n1".into();
        settings.agent.state_dir = self.folder.path().join("state");
        settings.uplink.servers = vec![self.fake.url()];
        settings.uplink.interval_s = 1;
        settings.metrics.listen = String::new();
        settings.jobs.enabled = false;
        settings.sources.nvml.enabled = false;
        let empty = self.folder.path().join("nothing");
        let file = [self.folder.path().join("targets")];
        let (asked, probes, closed) = (Arc::clone(&self.asked), Arc::clone(&self.probes), Arc::clone(&self.closed));
        let listed = Listed { file, asked, probes, closed };
        run::start_with(&settings, &Roots { sys: empty.clone(), proc: empty }, vec![Box::new(listed)]).expect("starts")
    }

    /// Waits until an owner has been introduced and satisfies.
    async fn wait_for(&self, owner: &str, satisfied: impl Fn(&Greeting) -> bool) -> Greeting {
        let since = Instant::now();
        loop {
            let seen = self.fake.seen();
            if let Some(greeting) = seen.owner(owner).filter(|greeting| satisfied(greeting)) {
                return greeting.clone();
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{owner}: {:?}", seen.owner(owner));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[actix_rt::test]
async fn each_owner_has_a_stream_and_faults_stay_where_they_are() {
    let stage = Stage::new(
        "bmc-0 panics bmc\nbmc-1 good bmc bmc/psu-1\nbmc-2 hangs bmc\nbmc-3 panics-at-probe bmc\nbmc-4 good\nbmc-5 absent bmc\nbmc-6 good bmc",
    );
    let agent = stage.start();
    for name in ["bmc-1", "bmc-6"] {
        let many = |greeting: &Greeting| greeting.values.get("chassis:bmc").is_some_and(|values| values.len() > 10);
        let greeting = stage.wait_for(&format!("default/chassis/{name}"), many).await;
        assert!(!greeting.own, "it is read on behalf of {name}");
        assert_eq!(greeting.labels, [Labels::from([("rack".into(), "r1".into())])]);
        assert!(greeting.values["chassis:bmc"].iter().all(|milliwatts| *milliwatts == 7000));
    }
    let empty = stage.wait_for("default/chassis/bmc-4", |greeting| greeting.records > 0).await;
    assert_eq!((empty.records, empty.values.len()), (1, 0), "made known once");
    for name in ["bmc-0", "bmc-2", "bmc-3", "bmc-5"] {
        assert!(stage.fake.seen().owner(&format!("default/chassis/{name}")).is_none(), "{name} gave nothing");
    }
    assert_eq!(stage.probes.load(Ordering::Relaxed), 7, "what failed is put aside, not tried all the time");
    let stopping = Instant::now();
    assert!(agent.stop().await, "everything is delivered");
    assert!(stopping.elapsed() < Duration::from_secs(5));
    let mut closed = stage.closed.lock().expect("no panic with the lock").clone();
    closed.sort();
    assert_eq!(closed, (0..7).map(|n| format!("https://bmc-{n}")).collect::<Vec<_>>(), "also the one that hangs");
}

#[actix_rt::test]
async fn targets_come_and_go_with_their_file() {
    let stage = Stage::new("bmc-1 good bmc\nbmc-2 good bmc");
    let agent = stage.start();
    let _ = stage.wait_for("default/chassis/bmc-2", |greeting| greeting.records > 2).await;
    stage.list("bmc-1 good bmc\nbmc-3 nonsense");
    let asked = stage.asked.load(Ordering::Relaxed);
    while stage.asked.load(Ordering::Relaxed) == asked {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(stage.closed.lock().expect("no panic with the lock").len(), 0, "a bad file changes nothing");
    stage.list("bmc-1 good bmc\nbmc-3 good bmc");
    let _ = stage.wait_for("default/chassis/bmc-3", |greeting| greeting.records > 2).await;
    assert_eq!(*stage.closed.lock().expect("no panic with the lock"), ["https://bmc-2"]);
    assert_eq!(stage.probes.load(Ordering::Relaxed), 3, "bmc-1 was left alone");
    assert!(agent.stop().await, "everything is delivered");
}

#[actix_rt::test]
async fn what_was_read_for_a_target_of_before_is_still_delivered() {
    let stage = Stage::new("bmc-1 good bmc");
    stage.fake.reject("bmc-1");
    let agent = stage.start();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!agent.stop().await, "the ledger does not want it");
    stage.fake.accept_all();
    stage.list("");
    let agent = stage.start();
    let greeting = stage.wait_for("default/chassis/bmc-1", |greeting| greeting.records > 5).await;
    assert_eq!((greeting.streams.len(), greeting.own), (1, false));
    assert_eq!(greeting.labels, [Labels::from([("rack".into(), "r1".into())])]);
    assert!(agent.stop().await, "everything is delivered");
}
