//! What a person measures: a command, or from one word to the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rust_decimal::Decimal;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::harness::{Home, Server, Writer, get, now_ms, post, wait_for, wattledger};

/// A machine that draws 1 kW, its GPU 400 W of it, read ten times a second until it is dropped.
struct Drawing {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drawing {
    fn begin(server: &Server, host: &'static str, number: u64) -> Self {
        let (stop, url) = (Arc::new(AtomicBool::new(false)), server.url.clone());
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut writer = Writer::new(&url, number, host).labelled(json!({ "simulated": "true" }));
            while !is_over.load(Ordering::Relaxed) {
                let at = now_ms();
                let reading = |scope: &str, device: &str, watts: f64| json!({"scope": scope, "device": device, "at_ms": at, "watts": watts, "period_ms": 1000});
                let answer = writer.send(&[reading("chassis", "wall", 1000.0), reading("gpu", "GPU-1", 400.0)]);
                assert_eq!(answer.status, 200, "{}", answer.body);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        wait_for("its first reading", Duration::from_secs(20), || {
            (get(&format!("{}/api/v1/hosts/{host}", server.url)).status == 200).then_some(())
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn measured(server: &Server) -> Value {
    get(&format!("{}/api/v1/meters", server.url)).json()["meters"][0].clone()
}

/// A kilowatt for as long as it took, in whole microjoules: milliwatts times nanoseconds are picojoules.
fn of_a_kilowatt(one: &Value) -> i128 {
    let ns = |field: &str| {
        let text = one[field].as_str().expect("an instant");
        let (day, clock) = text.trim_end_matches('Z').split_once('T').expect("RFC 3339");
        let _ = day;
        let parts: Vec<&str> = clock.split(':').collect();
        let (seconds, fraction) = parts[2].split_once('.').unwrap_or((parts[2], ""));
        let number = |text: &str| text.parse::<i128>().expect("digits");
        let whole = (number(parts[0]) * 60 + number(parts[1])) * 60 + number(seconds);
        whole * 1_000_000_000 + number(&format!("{fraction:0<9}"))
    };
    let day = 86_400_000_000_000;
    (ns("stop") - ns("start")).rem_euclid(day) * 1_000_000 / 1_000_000
}

#[test]
fn a_command_is_measured_to_the_microjoule_and_its_exit_code_is_ours() {
    let home = Home::new();
    let server = home.start();
    let _drawing = Drawing::begin(&server, "node-1", 1);
    let done = wattledger(
        &home,
        &[
            "meter",
            "--host",
            "node-1",
            "--name",
            "training",
            "--wait",
            "1m",
            "--server",
            &server.url,
            "--",
            "sh",
            "-c",
            "cat; echo to stdout; echo to stderr >&2; sleep 1; exit 7",
        ],
    );
    assert_eq!(done.status.code(), Some(7), "{}", done.err);
    assert_eq!(done.out, "to stdout\n", "the standard output is the command's");
    for told in [
        "to stderr",
        "training: ",
        "on 1 host",
        "kWh",
        "average 1000.0 W",
        "peak 1000.0 W",
        "no rate card",
        "made up: one host is simulated or replayed",
    ] {
        assert!(done.err.contains(told), "{told}: {}", done.err);
    }
    assert!(!done.err.contains("not all readings"), "{}", done.err);
    let one = measured(&server);
    assert_eq!((&one["complete"], &one["exact"]), (&json!(true), &json!(true)), "{one}");
    assert!(one["seconds"].as_f64().is_some_and(|seconds| (1.0..20.0).contains(&seconds)), "{one}");
    assert_eq!(one["energy_uj"], of_a_kilowatt(&one).to_string(), "{one}");
    assert_eq!(one["covered_seconds"], one["expected_seconds"], "{one}");

    let missing = wattledger(&home, &["meter", "--server", &server.url, "--", "/nowhere/at-all"]);
    assert_eq!(missing.status.code(), Some(127), "as of a shell: {}", missing.err);
    assert!(missing.err.contains("cannot run /nowhere/at-all"), "{}", missing.err);
    let nobody = wattledger(&home, &["meter", "--host", "node-9", "--server", &server.url, "--", "true"]);
    assert_eq!(nobody.status.code(), Some(2), "{}", nobody.err);
}

#[test]
fn a_small_cost_has_two_digits_that_count() {
    let home = Home::new();
    let rates = home.write("rates.toml", "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.20\"\n");
    let config = home.write("wattledger.toml", format!("[files]\nrates = '{}'\n", rates.display()));
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    let _drawing = Drawing::begin(&server, "node-1", 1);
    let done = wattledger(&home, &["meter", "--wait", "60s", "--server", &server.url, "--", "sleep", "1"]);
    let one = measured(&server);
    let uj: i128 = one["energy_uj"].as_str().and_then(|text| text.parse().ok()).expect("a whole number");
    assert_eq!((&one["cost"][0]["amount"], &one["complete"]), (&json!("0.00"), &json!(true)), "{one}");
    // A fifth of a euro for 3.6·10¹² µJ, so an eighteenth of 10⁻¹² EUR for each.
    let exact = Decimal::from_i128_with_scale(uj / 18, 12);
    let unrounded: Decimal = one["unrounded"]["EUR"].as_str().and_then(|text| text.parse().ok()).expect("an amount");
    assert!((unrounded - exact).abs() <= Decimal::new(1, 12), "{unrounded} {exact}");
    let cost = exact.round_sf(2).expect("an amount").to_string();
    assert!(cost.starts_with("0.000") && done.err.contains(&format!("cost     {cost} EUR\n")), "{cost}: {}", done.err);
    let listed = wattledger(&home, &["meter", "list", "--server", &server.url]).ok().out;
    assert!(listed.contains(&format!("{cost} EUR")), "{listed}");
    let refused = wattledger(&home, &["meter", "--wait", "2h", "--server", &server.url, "--", "true"]);
    assert!(refused.status.code() == Some(2) && refused.err.contains("at most an hour"), "{}", refused.err);
}

#[test]
fn signals_reach_the_command_and_the_measurement_ends_with_it() {
    let home = Home::new();
    let server = home.start();
    let _drawing = Drawing::begin(&server, "node-1", 1);
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger"));
    let script = "trap 'echo ended; exit 5' TERM; echo begun; while :; do sleep 0.05; done";
    command.args(["meter", "--server", &server.url, "--", "sh", "-c", script]);
    let out = home.path("out");
    command.stdout(std::fs::File::create(&out).expect("a file"));
    let mut child = command.spawn().expect("the built program");
    let said = || std::fs::read_to_string(&out).unwrap_or_default();
    wait_for("the command", Duration::from_secs(30), || said().contains("begun").then_some(()));
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a running program");
    let status = wait_for("its end", Duration::from_secs(60), || child.try_wait().expect("a child of ours"));
    assert_eq!((status.code(), said().as_str()), (Some(5), "begun\nended\n"));
    assert!(measured(&server)["stop"].is_string());
}

#[test]
fn a_measurement_begins_and_ends_with_a_word() {
    let home = Home::new();
    let server = home.start();
    let drawings = [Drawing::begin(&server, "node-1", 1), Drawing::begin(&server, "node-2", 2)];
    let id = wattledger(&home, &["meter", "start", "--where", "scope=gpu", "--server", &server.url]).ok().out;
    let id = id.trim();
    let url = format!("{}/api/v1/meters/{id}", server.url);
    wait_for("some energy", Duration::from_secs(20), || {
        get(&url).json()["energy_joules"].as_f64().filter(|joules| *joules > 100.0)
    });
    let told = wattledger(&home, &["meter", "stop", id, "--server", &server.url]).ok().out;
    assert!(told.contains("on 2 hosts"), "{told}");
    let one = wait_for("its last readings", Duration::from_secs(20), || {
        Some(get(&url).json()).filter(|one| one["complete"] == true)
    });
    // Two GPUs of 400 W.
    assert_eq!(
        (one["energy_uj"].clone(), &one["exact"]),
        (json!((of_a_kilowatt(&one) * 4 / 5).to_string()), &json!(true)),
        "{one}"
    );
    assert!(one["average_watts"].as_f64().is_some_and(|watts| (watts - 800.0).abs() < 0.001), "{one}");
    let again = post(&format!("{url}/stop"), "application/json", "{}").json();
    assert_eq!(again["stop"], one["stop"], "it has ended");
    let listed = wattledger(&home, &["meter", "list", "--server", &server.url]).ok().out;
    assert!(listed.contains(id) && listed.contains("scope=gpu") && listed.contains("800.0 W"), "{listed}");

    // Past time is apportioned, and says so.
    drop(drawings);
    let body = json!({"name": "late", "where": "host=node-1", "start": one["start"], "stop": one["stop"]});
    let late = post(&format!("{}/api/v1/meters", server.url), "application/json", body.to_string()).json();
    assert_eq!(late["exact"], true, "cut there before: {late}");
    let body = json!({"name": "later", "where": "host=node-1", "start": now_ms() / 1000 - 2});
    let late = post(&format!("{}/api/v1/meters", server.url), "application/json", body.to_string()).json();
    assert_eq!(late["stop"], Value::Null, "{late}");
    // Time without readings is none at which nothing was drawn.
    std::thread::sleep(Duration::from_secs(1));
    let body = json!({"name": "silent", "where": "host=node-1", "start": one["start"], "stop": now_ms() / 1000 + 600});
    let silent = post(&format!("{}/api/v1/meters", server.url), "application/json", body.to_string()).json();
    let seconds = |field: &str| silent[field].as_f64().expect("seconds");
    assert!(seconds("covered_seconds") < 0.5 * seconds("expected_seconds"), "{silent}");
    assert!(silent["average_watts"].as_f64().is_some_and(|watts| (watts - 1000.0).abs() < 0.001), "{silent}");
    assert_eq!(silent["made_up_hosts"], 1, "{silent}");
    let body = json!({"where": "host=node-1", "start": now_ms() / 1000 + 300, "stop": now_ms() / 1000 + 600});
    let nothing = post(&format!("{}/api/v1/meters", server.url), "application/json", body.to_string()).json();
    assert_eq!((&nothing["covered_seconds"], &nothing["average_watts"]), (&json!(0.0), &Value::Null), "{nothing}");
    for (body, code) in [
        (json!({"where": "room=1"}), "unknown-key"),
        (json!({"where": "host=nobody"}), "nothing-selected"),
        (json!({"start": "noon"}), "bad-instant"),
        (json!({"name": "x".repeat(129)}), "bad-meter"),
    ] {
        let answer = post(&format!("{}/api/v1/meters", server.url), "application/json", body.to_string());
        assert_eq!(answer.problem(), code);
    }
    assert_eq!(get(&format!("{}/api/v1/meters/x", server.url)).problem(), "no-such-meter");
    assert_eq!(post(&format!("{}/api/v1/meters", server.url), "text/plain", "{}").status, 415);
}
