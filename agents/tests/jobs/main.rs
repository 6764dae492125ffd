//! The whole agent told of jobs, by every way, up to an aggregator that counts marks.
#![expect(clippy::expect_used, reason = "a test stops where it cannot go on")]

#[expect(dead_code, reason = "the tests of delivery look at faults")]
#[path = "../fake/mod.rs"]
mod fake;
mod files;
mod kubelet;
mod socket;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agents::config::Settings;
use agents::run::{self, RunningAgent};
use agents::sources::Roots;
use fake::Fake;
use meter::Mark;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

/// A made-up machine with two GPUs, its agent's settings, and the aggregator it reports to.
struct Machine {
    folder: TempDir,
    fake: Fake,
    settings: Settings,
}

/// A GPU of the made-up machine.
fn gpu(number: u32) -> String {
    format!("GPU-simulated-1-00000-{number}")
}

impl Machine {
    fn new() -> Self {
        let (folder, fake) = (tempfile::tempdir().expect("a folder"), Fake::start(&[]));
        let mut settings = Settings::default();
        settings.agent.host = "n1".into();
        settings.agent.state_dir = folder.path().join("state");
        settings.uplink.servers = vec![fake.url()];
        settings.uplink.interval_s = 1;
        settings.metrics.listen = String::new();
        settings.jobs.socket = folder.path().join("run/agent.sock").display().to_string();
        let sources = &mut settings.sources;
        (sources.nvml.enabled, sources.ipmi.enabled) = (false, false);
        (sources.simulated.enabled, sources.simulated.gpus, sources.simulated.period_ms) = (true, 2, 100);
        Self { folder, fake, settings }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the agent on empty trees but for what the test put there.
    fn start(&self) -> RunningAgent {
        let roots = Roots { sys: self.path("sys"), proc: self.path("proc") };
        run::start_on(&self.settings, &roots).expect("starts")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.settings.jobs.socket).await.expect("an agent listens")
    }

    /// Says a line and gives the answer.
    async fn say(&self, line: &Value) -> Value {
        let mut stream = BufReader::new(self.connect().await);
        stream.get_mut().write_all(format!("{line}\n").as_bytes()).await.expect("written");
        let mut answer = String::new();
        stream.read_line(&mut answer).await.expect("an answer");
        serde_json::from_str(&answer).unwrap_or_else(|why| panic!("{why}: {answer:?}"))
    }

    /// Says a line again until sources were looked for.
    async fn say_soon(&self, line: &Value) -> Value {
        let since = Instant::now();
        loop {
            let answer = self.say(line).await;
            if answer["later"] != true || since.elapsed() > Duration::from_secs(20) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the aggregator has so many marks.
    async fn marks(&self, count: usize) -> Vec<(u64, Mark)> {
        let since = Instant::now();
        loop {
            let marks = self.fake.seen().marks();
            if marks.len() >= count {
                return marks;
            }
            assert!(since.elapsed() < Duration::from_secs(30), "{count} marks were expected: {marks:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The marks in words: `+4711` begins, `-4711` ends, `|` cuts.
fn words(marks: &[(u64, Mark)]) -> Vec<String> {
    let word = |(_, mark): &(u64, Mark)| match mark {
        Mark::Start(allocation) => format!("+{}", allocation.id),
        Mark::Stop(id) => format!("-{id}"),
        Mark::Cut => "|".into(),
    };
    marks.iter().map(word).collect()
}

/// What a mark's start holds.
fn held(mark: &(u64, Mark)) -> (Vec<Arc<str>>, u32, u32) {
    let Mark::Start(allocation) = &mark.1 else { panic!("no start: {mark:?}") };
    (allocation.devices.clone(), allocation.cores, allocation.cores_of)
}

fn names(numbers: &[u32]) -> Vec<Arc<str>> {
    numbers.iter().map(|number| gpu(*number).into()).collect()
}

#[actix_rt::test]
async fn what_ran_when_the_machine_went_down_ends_with_the_boot() {
    let machine = Machine::new();
    let boot = |text: &str| {
        let folder = machine.path("proc/sys/kernel/random");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("boot_id"), text).expect("written");
    };
    boot("7f3e0000-0000-4000-8000-000000000001");
    let agent = machine.start();
    for id in ["1", "2"] {
        assert_eq!(machine.say(&json!({"start": {"id": id}})).await["ok"], true);
    }
    assert_eq!(machine.say(&json!({"stop": "1"})).await["ok"], true);
    agent.stop().await;
    // A restart of the agent alone ends nothing.
    let agent = machine.start();
    assert_eq!(machine.say(&json!({"cut": true})).await["ok"], true);
    agent.stop().await;
    boot("7f3e0000-0000-4000-8000-000000000002");
    let agent = machine.start();
    let marks = machine.marks(5).await;
    agent.stop().await;
    assert_eq!(words(&marks), ["+1", "+2", "-1", "|", "-2"]);
    assert!(marks[4].0 < 1_000_000, "at the beginning of the boot: {marks:?}");
}
