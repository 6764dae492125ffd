//! The power of whole agents goes, beside a ledger that keeps its own. What an agent lost was not synced;
//! the ledger may have got it before. After the last cut each counter's account holds exactly what the
//! counter counted between the first reading and the last.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agents::spool::{Room, Spool};
use meter::Scope;
use rustix::process::{Pid, Signal, kill_process};

use crate::cut::{Cut, Draw, Loses, shim};
use crate::harness::{Home, Killed, Server, made_up, series, wait_for, within};
use crate::{cuts, seed};

/// Agents that live at the same time.
const AGENTS: u64 = 6;
/// Operations of a short and a long life: a record every 50 ms, a sync every 5 s.
const LIVES: [u64; 3] = [20, 90, 250];

/// One agent and what it leaves behind.
struct Machine {
    home: Home,
    host: String,
    server: String,
}

impl Machine {
    fn new(number: u64, server: &Server) -> Self {
        let (home, host) = (Home::new(), format!("made-up-{number}"));
        home.write("agent.toml", made_up(&host, 50, 3));
        std::fs::create_dir(home.path("machine")).expect("a folder");
        Self { home, host, server: server.url.clone() }
    }

    fn command(&self) -> Command {
        let mut command = self.home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
        let log = File::options().create(true).append(true).open(self.home.path("agent.log")).expect("a log file");
        command.args(["run", "--config"]).arg(self.home.path("agent.toml")).args(["--server", &self.server]);
        command.arg("--state-dir").arg(self.home.path("machine/state")).stdout(Stdio::null()).stderr(log);
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path("agent.log")).unwrap_or_default()
    }

    /// Runs it until SIGTERM, at least until `enough` is so; it delivers what it has.
    fn live(&self, enough: impl Fn() -> bool) {
        let child = self.command().spawn().expect("the agent");
        wait_for("an agent that listens to signals", Duration::from_secs(60), || handles_sigterm(&child).then_some(()));
        std::thread::sleep(Duration::from_secs(2));
        wait_for("what the agent is to do", Duration::from_secs(60), || enough().then_some(()));
        kill_process(Pid::from_child(&child), Signal::TERM).expect("a running agent");
        assert!(within(child, Duration::from_secs(20), || self.log()).success(), "{}", self.log());
    }

    /// Runs it until its power goes.
    fn die(&self, cut: &Cut, shim: &Path) {
        let mut command = self.command();
        cut.threaten(&mut command, shim, &self.home.path("machine"), &self.home.path(""));
        let mut child: Killed = Killed(command.spawn().expect("the agent"));
        let ended = |child: &mut Child| child.try_wait().expect("a child of ours");
        let status = wait_for("the power cut", Duration::from_secs(90), || ended(&mut child.0));
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "{cut:?}: {status}\n{}", self.log());
    }

    fn spool(&self) -> PathBuf {
        let state = std::fs::read_dir(self.home.path("machine/state")).expect("a state folder");
        let spools = state.map(|entry| entry.expect("an entry").path());
        let mut spools = spools.filter(|path| path.join("state").is_file());
        spools.next().expect("a spool")
    }

    /// What each GPU's counter counted between the first reading and the last in the spool, in µJ.
    fn counted(&self) -> BTreeMap<String, i128> {
        let fingerprint = agents::identity::fingerprint(Path::new("/sys"), Path::new("/etc"));
        let mut spool = Spool::open(&self.spool(), fingerprint, 64 << 20).expect("opens");
        let mut ends: BTreeMap<String, (i128, i128)> = BTreeMap::new();
        let mut at = spool.start();
        while at.seq < spool.head().seq {
            let batch = spool.read(at, Room { bytes: 1 << 20, samples: 1 << 16, until: u64::MAX }).expect("reads");
            for record in &batch.records {
                for sample in &record.samples {
                    let key = &batch.contexts[&record.context].devices[usize::from(sample.device)].key;
                    let counter = sample.counter.filter(|_| key.scope == Scope::Gpu);
                    let Some(counter) = counter.map(|counter| i128::from(counter.0)) else { continue };
                    ends.entry(key.device.to_string()).or_insert((counter, counter)).1 = counter;
                }
            }
            assert!(batch.end.seq > at.seq, "nothing behind {at:?}");
            at = batch.end;
        }
        ends.into_iter().map(|(device, (first, last))| (device, last - first)).collect()
    }

    /// What the ledger holds of this machine's GPUs, in µJ.
    fn booked(&self) -> BTreeMap<String, i128> {
        let all = series(&self.server, "wattledger_energy_joules_total");
        let host = format!("host=\"{}\"", self.host);
        let mut booked = BTreeMap::new();
        for (labels, joules) in all.iter().filter(|(labels, _)| labels.contains(&host) && labels.contains("\"gpu\"")) {
            let device = labels.split("device=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a device");
            // Joules as decimals: below 2^53 µJ these are whole microjoules.
            *booked.entry(device.to_owned()).or_default() += (joules * 1e6).round() as i128;
        }
        booked
    }
}

/// Whether a process handles SIGTERM; until then it dies of it.
fn handles_sigterm(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let caught = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    caught.is_some_and(|signals| (signals >> (Signal::TERM.as_raw() - 1)) & 1 == 1)
}

#[test]
fn agents_whose_power_goes_lose_and_double_nothing_that_a_counter_counted() {
    let Some(shim) = shim() else { return };
    let home = Home::new();
    let server = home.start();
    let each = cuts(6).div_ceil(AGENTS);
    let loses = [
        Loses { name: "all unsynced lost", words: "all entries", unit: 4096 },
        Loses { name: "sectors lost at random", words: "some entries", unit: 512 },
    ];
    std::thread::scope(|scope| {
        for number in 0..AGENTS {
            let (server, shim) = (&server, &shim);
            scope.spawn(move || {
                let (machine, mut draw) = (Machine::new(number, server), Draw(seed() + 100 * number));
                // The first reading is delivered and synced; after that anything may happen.
                machine.live(|| machine.booked().len() == 3);
                for _ in 0..each {
                    let longest = LIVES[usize::try_from(draw.next() % 3).expect("small")];
                    let loses = loses[usize::try_from(draw.next() % 2).expect("small")];
                    machine.die(&Cut { loses, at: draw.up_to(longest), seed: draw.next() }, shim);
                }
                let (mut counted, mut booked) = (BTreeMap::new(), BTreeMap::new());
                // On a busy machine a life may end before all is delivered: the next one goes on there.
                for _ in 0..5 {
                    machine.live(|| true);
                    (counted, booked) = (machine.counted(), machine.booked());
                    if booked == counted {
                        break;
                    }
                }
                assert_eq!(counted.len(), 3, "{counted:?}");
                assert!(counted.values().all(|energy| *energy > 0), "{counted:?}");
                assert_eq!(booked, counted, "{} after {each} cuts\n{}", machine.host, machine.log());
                let minted = machine.log().matches("is sent as a new stream").count();
                println!("{}: {each} cuts, {minted} new streams, 0 difference", machine.host);
            });
        }
    });
}
