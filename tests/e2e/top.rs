//! The fleet in a real terminal: tmux is the terminal, and tells what a person would see.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::harness::{Home, Server, batch, free_address, get, now_ms, stream, tool, wait_for, wattledger};

/// A busy machine draws within this.
const SOON: Duration = Duration::from_secs(30);
/// What each of the three hosts draws: a kWh in four seconds, so that figures move while one looks.
const WATTS: f64 = 900_000.0;
/// Between two readings, a question, and what is drawn, there may be so many seconds on a busy machine.
const SLACK_S: f64 = 8.0;

/// `n1` and `n2` sit in `enc`, `n3` in nothing, `n4` has never been seen.
const INVENTORY: &str = "host,chassis,team\nn1,enc,nlp\nn2,enc,nlp\nn3,,nlp\nn4,,nlp\n";
const RATES: &str = "[[rate]]\ncurrency = \"USD\"\nprice_per_kwh = \"0.12\"\n";

/// An aggregator with a price and an inventory.
fn serve(home: &Home, listen: &str, more: &str) -> Server {
    let path = |name: &str, text: &str| home.write(name, text).display().to_string();
    let (inventory, rates) = (path("inventory.csv", INVENTORY), path("rates.toml", RATES));
    let config = format!("[files]\ninventory = {inventory:?}\nrates = {rates:?}\n{more}");
    let config = path("aggregator.toml", &config);
    home.start_with(listen, &["--config", &config])
}

/// Three hosts that are read five times a second, until this is dropped; what does not arrive is sent again.
struct Feed {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Feed {
    fn begin(url: &str) -> Self {
        // Even for plain HTTP the client wants to know how it would encrypt.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let stop = Arc::new(AtomicBool::new(false));
        let threads = ["n1", "n2", "n3"].into_iter().zip(1..).map(|(host, number)| {
            let (url, is_over) = (format!("{url}/api/v1/ingest"), Arc::clone(&stop));
            std::thread::spawn(move || {
                let client = reqwest::blocking::Client::new();
                let reading = || {
                    json!({"scope": "chassis", "device": "wall", "at_ms": now_ms(), "watts": WATTS, "period_ms": 1000})
                };
                let (mut seq, mut body) = (1, batch(&stream(number), 1, host, &[reading()]));
                while !is_over.load(Ordering::Relaxed) {
                    let sent = client.post(&url).header("content-type", "application/json").body(body.to_string());
                    if sent.send().is_ok_and(|answer| answer.status().is_success()) {
                        seq += 1;
                        body = batch(&stream(number), seq, host, &[reading()]);
                    }
                    std::thread::sleep(Duration::from_millis(200));
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// A terminal with one program in it.
struct Terminal {
    tmux: PathBuf,
    socket: PathBuf,
}

impl Terminal {
    /// Runs a line of the shell in a terminal of this size; nothing where there is no tmux.
    fn run(home: &Home, (width, height): (u16, u16), line: &str) -> Option<Self> {
        let tmux = tool("tmux", "the tests of the terminal view")?;
        // A socket of its own: a server that is being ended still has its.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let terminal = Self { tmux, socket: home.path(&format!("tmux-{number}")) };
        let size = [width.to_string(), height.to_string()];
        let mut command = home.command("env");
        command.args(["-u", "NO_COLOR", "-u", "TMUX", "LC_ALL=C.UTF-8"]).arg(&terminal.tmux).args([
            "-u",
            "-f",
            "/dev/null",
            "-S",
        ]);
        command.arg(&terminal.socket).args(["new-session", "-d", "-s", "t", "-x", &size[0], "-y", &size[1], line]);
        let done = command.output().expect("tmux");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Some(terminal)
    }

    /// `top` in it, between two lines of the shell; the arguments follow the server.
    fn top(home: &Home, size: (u16, u16), server: &str, arguments: &str) -> Option<Self> {
        let program = env!("CARGO_BIN_EXE_wattledger");
        let line = format!(
            "echo before; {program} top --interval 1 --server {server} {arguments}; echo \"ended $?\"; stty -a; cat"
        );
        Self::run(home, size, &line)
    }

    fn ask(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.tmux);
        command.arg("-S").arg(&self.socket).args(arguments).stdin(Stdio::null());
        let done = command.output().expect("tmux");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8_lossy(&done.stdout).into_owned()
    }

    fn text(&self) -> String {
        self.ask(&["capture-pane", "-p", "-t", "t"])
    }

    fn keys(&self, keys: &[&str]) {
        self.ask(&[&["send-keys", "-t", "t"], keys].concat());
    }

    fn resize(&self, width: u16, height: u16) {
        self.ask(&["resize-window", "-t", "t", "-x", &width.to_string(), "-y", &height.to_string()]);
    }

    /// Waits for a screen on which all of this stands, and gives it.
    fn shows(&self, all: &[&str]) -> String {
        let mut seen = String::new();
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(&format!("{all:?}"), SOON, || {
                seen = self.text();
                all.iter().all(|text| seen.contains(text)).then(|| seen.clone())
            })
        }));
        found.unwrap_or_else(|_| panic!("waited in vain for {all:?}; there is\n{}", self.text()))
    }

    /// The kWh of the fleet's session, once they are known.
    fn session(&self) -> f64 {
        let kwh =
            |line: &str| line.strip_prefix("Energy session: ")?.split_once(" kWh")?.0.replace(',', "").parse().ok();
        wait_for("an energy", SOON, || self.text().lines().nth(2).and_then(kwh))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = Command::new(&self.tmux).arg("-S").arg(&self.socket).arg("kill-server").output();
    }
}

/// What three hosts use in so many seconds, in kWh.
fn used(seconds: f64) -> f64 {
    3.0 * WATTS * seconds / 3.6e6
}

/// The line of a screen that begins with these words.
fn line<'a>(screen: &'a str, words: &[&str]) -> Option<&'a str> {
    let begins = |line: &&str| {
        let found: Vec<&str> = line.trim_start_matches(['>', ' ']).split_whitespace().take(words.len()).collect();
        found == words
    };
    screen.lines().find(begins)
}

#[test]
fn a_person_sees_the_fleet_and_every_key_does_what_it_says() {
    let home = Home::new();
    let server = serve(&home, "127.0.0.1:0", "");
    let _feed = Feed::begin(&server.url);
    wait_for("three hosts", SOON, || (get(&format!("{}/api/v1/top", server.url)).json()["groups"] == 3).then_some(()));
    let begun = Instant::now();
    let Some(terminal) = Terminal::top(&home, (80, 24), &server.url, "") else { return };

    // Rows: one for the chassis with the power of both hosts in it, one for each host without.
    let screen = terminal.shows(&[
        "3 hosts are read now",
        "1 never seen",
        "Fleet 2.70 MW",
        "(at $0.12/kWh)",
        "1.80 MW",
        "900.00 kW",
        "lifetime",
    ]);
    assert!(screen.lines().count() <= 24 && screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    let words = |name: &str| line(&screen, &[name]).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
    assert_eq!(words("enc").last(), Some(&"live"), "{screen}");
    assert_eq!(words("n4")[..4], ["n4", "0", "of", "1"], "{screen}");
    assert_eq!(words("n4")[4], "–", "what was never read has no power: {screen}");
    assert!(!screen.contains("n1") && !screen.contains("n2"), "{screen}");

    // What the session came to, by power and time.
    let before = begun.elapsed().as_secs_f64();
    wait_for("ten kWh", SOON, || (terminal.session() > 10.0).then_some(()));
    let (kwh, most) = (terminal.session(), used(begun.elapsed().as_secs_f64()));
    // The answer that it began with may have been some seconds old, on a busy machine.
    assert!(kwh <= most + used(3.0), "{kwh} kWh, at most {most}");
    assert!(kwh >= most - used(before + SLACK_S), "{kwh} kWh, at most {most}");

    // R: the session begins anew, and says so; the lifetime does not.
    terminal.keys(&["R"]);
    let reset = Instant::now();
    let screen = terminal.shows(&["Session reset", "Lifetime figures are untouched"]);
    assert!(screen.contains("lifetime"), "{screen}");
    let kwh = terminal.session();
    // Less than the ten kWh of before, and what came since.
    assert!(kwh <= used(reset.elapsed().as_secs_f64() + SLACK_S), "{kwh}");
    let lifetime = |screen: &str| -> Option<f64> {
        screen.split_once("lifetime ")?.1.split_once(" kWh")?.0.replace(',', "").parse().ok()
    };
    wait_for("the lifetime of before", SOON, || lifetime(&terminal.text()).filter(|lifetime| *lifetime > 5.0));

    // E: hosts by energy, and back.
    terminal.keys(&["E"]);
    let screen = terminal.shows(&["TOP CONSUMERS", "SHARE", " %", "n1", "n2", "n3"]);
    assert_eq!(line(&screen, &["n1", "enc"]).map(|line| line.contains("900.00 kW")), Some(true), "{screen}");
    terminal.keys(&["E"]);
    terminal.shows(&["CHASSIS OR HOST"]);

    // Help, filter, order.
    terminal.keys(&["?"]);
    terminal.shows(&["reset the session", "the biggest consumers", "never goes back"]);
    terminal.keys(&["x", "/"]);
    terminal.keys(&["-l", "n2"]);
    let screen = terminal.shows(&["/n2_"]);
    assert!(line(&screen, &["enc"]).is_some() && line(&screen, &["n3"]).is_none(), "{screen}");
    terminal.keys(&["Enter"]);
    terminal.shows(&["1 row by power, filter /n2"]);
    terminal.keys(&["Escape"]);
    terminal.shows(&["3 rows by power"]);
    terminal.keys(&["n"]);
    terminal.shows(&["3 rows by name"]);
    terminal.keys(&["G"]);
    terminal.shows(&["> n4", "host default/n4  never seen"]);
}

#[test]
fn every_size_works_with_colour_and_without() {
    let home = Home::new();
    let server = serve(&home, "127.0.0.1:0", "");
    let _feed = Feed::begin(&server.url);
    let Some(terminal) = Terminal::top(&home, (80, 24), &server.url, "") else { return };
    terminal.shows(&["Fleet 2.70 MW", "STATE"]);
    let colours = |terminal: &Terminal| {
        let seen = terminal.ask(&["capture-pane", "-p", "-e", "-t", "t"]);
        // Any colour of the foreground or background, of 8, 16 or 256.
        let codes =
            seen.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m')).map(|(codes, _)| codes.to_owned());
        codes
            .flat_map(|codes| codes.split(';').map(str::to_owned).collect::<Vec<_>>())
            .any(|code| code.parse::<u16>().is_ok_and(|code| matches!(code, 30..=38 | 40..=48 | 90..=107)))
    };
    assert!(colours(&terminal));
    terminal.resize(120, 40);
    terminal.shows(&["Fleet 2.70 MW", "STATE"]);
    terminal.resize(44, 12);
    let screen = wait_for("a narrow screen", SOON, || Some(terminal.text()).filter(|screen| !screen.contains("STATE")));
    assert!(screen.lines().all(|line| line.chars().count() <= 44), "{screen}");
    terminal.shows(&["Energy session: ", "> enc"]);
    terminal.resize(20, 5);
    terminal.shows(&["too small: 40x10"]);
    terminal.resize(80, 24);
    terminal.shows(&["Fleet 2.70 MW", "STATE"]);
    drop(terminal);
    let Some(plain) = Terminal::top(&home, (80, 24), &server.url, "--no-color") else { return };
    plain.shows(&["Fleet 2.70 MW", "(at $0.12/kWh)"]);
    assert!(!colours(&plain));
    drop(plain);
    let program = env!("CARGO_BIN_EXE_wattledger");
    let line = format!("NO_COLOR=1 {program} top --server {}", server.url);
    let Some(plain) = Terminal::run(&home, (80, 24), &line) else { return };
    plain.shows(&["Fleet 2.70 MW", "(at $0.12/kWh)"]);
    assert!(!colours(&plain));
}

#[test]
fn the_session_survives_the_aggregator() {
    let home = Home::new();
    let address = free_address();
    let server = serve(&home, &address, "");
    let url = server.url.clone();
    let _feed = Feed::begin(&url);
    let begun = Instant::now();
    let Some(terminal) = Terminal::top(&home, (80, 24), &url, "") else { return };
    terminal.shows(&["Fleet 2.70 MW", "(at $0.12/kWh)"]);
    wait_for("three kWh", SOON, || (terminal.session() > 3.0).then_some(()));
    server.kill();
    let screen = terminal.shows(&["No answer since ", "Connection refused", "figures are of then"]);
    assert!(screen.contains("Fleet 2.70 MW"), "what is known stays: {screen}");
    let then = terminal.session();
    let _server = serve(&home, &address, "");
    let screen = wait_for("an answer", SOON, || Some(terminal.text()).filter(|screen| !screen.contains("No answer")));
    assert!(screen.contains("Fleet "), "{screen}");
    // More than before it was down, and never more than was drawn: nothing is counted twice.
    let mut last = then;
    wait_for("more energy", SOON, || {
        let kwh = terminal.session();
        assert!(kwh >= last && kwh <= used(begun.elapsed().as_secs_f64() + 3.0), "{kwh} after {last}");
        last = kwh;
        (kwh > then + 3.0).then_some(())
    });
    let missing = used(begun.elapsed().as_secs_f64()) - terminal.session();
    assert!(missing < used(2.0 * SLACK_S), "{missing} kWh are missing");
}

#[test]
fn the_terminal_is_given_back_however_the_view_ends() {
    let home = Home::new();
    let server = serve(&home, "127.0.0.1:0", "");
    let end = |how: &dyn Fn(&Terminal)| -> Option<()> {
        let terminal = Terminal::top(&home, (80, 24), &server.url, "")?;
        // Whether hosts of the inventory are there already is no matter.
        terminal.shows(&["wattledger top", "session since", "q quit"]);
        assert_eq!(terminal.ask(&["display", "-p", "-t", "t", "#{alternate_on}"]).trim(), "1");
        how(&terminal);
        let screen = terminal.shows(&["before", "ended 0"]);
        assert_eq!(terminal.ask(&["display", "-p", "-t", "t", "#{alternate_on} #{cursor_flag}"]).trim(), "0 1");
        assert!(!screen.contains("wattledger top"), "{screen}");
        let screen = terminal.shows(&["icanon", "echo"]);
        assert!(!screen.contains("-icanon") && !screen.contains("-echo "), "{screen}");
        Some(())
    };
    end(&|terminal| terminal.keys(&["q"]));
    end(&|terminal| terminal.keys(&["C-c"]));
    end(&|terminal| {
        let shell = terminal.ask(&["display", "-p", "-t", "t", "#{pane_pid}"]);
        let children = format!("/proc/{0}/task/{0}/children", shell.trim());
        let child = std::fs::read_to_string(&children).expect("the children of the shell");
        let child = child.trim().parse().ok().and_then(Pid::from_raw).expect("one child");
        kill_process(child, Signal::TERM).expect("a running view");
    });
}

#[test]
fn where_it_cannot_be_shown_it_says_what_else_to_use() {
    let home = Home::new();
    let done = wattledger(&home, &["top", "--server", "http://127.0.0.1:9"]);
    assert_eq!(done.status.code(), Some(2), "{}", done.err);
    assert!(done.err.contains("needs a terminal") && done.err.contains("wattledger report"), "{}", done.err);
    assert_eq!(done.out, "");
    let done = wattledger(&home, &["top", "--server", "ftp://x"]);
    assert_eq!(done.status.code(), Some(2), "{}", done.err);
    let program = env!("CARGO_BIN_EXE_wattledger");
    let line = format!("TERM=dumb {program} top; echo \"ended $?\"; cat");
    let Some(terminal) = Terminal::run(&home, (80, 24), &line) else { return };
    terminal.shows(&["TERM", "wattledger report", "ended 2"]);
}

#[test]
fn money_is_hidden_where_the_aggregator_says_so() {
    let home = Home::new();
    let server = serve(&home, "127.0.0.1:0", "[server]\nshow_cost = false\n");
    let _feed = Feed::begin(&server.url);
    wait_for("three hosts", SOON, || (get(&format!("{}/api/v1/top", server.url)).json()["groups"] == 3).then_some(()));
    let report = wattledger(&home, &["report", "--window", "1h", "--by", "host", "--server", &server.url]).ok().out;
    assert!(report.contains("kWh") && report.contains("n1"), "{report}");
    let answer = get(&format!("{}/api/v1/report?window=1h&format=json", server.url)).json();
    assert_eq!((&answer["cost_hidden"], &answer["total"]["cost"]), (&json!(true), &json!([])), "{answer}");
    let Some(terminal) = Terminal::top(&home, (100, 30), &server.url, "") else { return };
    terminal.shows(&["Fleet 2.70 MW", "Energy session: "]);
    wait_for("some energy", SOON, || (terminal.session() > 1.0).then_some(()));
    let mut seen = vec![report, terminal.text()];
    terminal.keys(&["E"]);
    seen.push(terminal.shows(&["TOP CONSUMERS"]));
    terminal.keys(&["?"]);
    seen.push(terminal.shows(&["the biggest consumers"]));
    for screen in seen {
        for money in ["$", "USD", "COST", "cost", "price"] {
            assert!(!screen.contains(money) || screen.contains("Keys") && money == "cost", "{money} in\n{screen}");
        }
    }
}
