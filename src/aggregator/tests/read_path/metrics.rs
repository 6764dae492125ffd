//! `/metrics` against promtool, a golden page written by hand, and hostile labels.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use aggregator::Settings;
use aggregator::exposition::Scrape;
use aggregator::exposition::text::Format;
use billing::topology::Topology;
use energy::Rare;
use meter::{ByQuality, Energy, Owner, OwnerKind, Quality, Refusal, Scope, Slot, Utc};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::served::{Server, fetch};

const S: i32 = MONDAY.0;

fn now() -> Utc {
    Slot(S + 2).start()
}

/// One host with a GPU whose figures exercise every family, and a reference meter.
fn small() -> Fleet {
    let mut fleet = Fleet::new();
    let one = host("node-1");
    fleet.owner(&one, &[(Scope::Gpu, "GPU-1"), (Scope::Cpu, "package-0")], MONDAY, Slot(S + 1));
    fleet.label(&one, MONDAY.start(), &[("team", "n\"l\\p"), ("k8s.io/pool", "a")]);
    fleet.open(&one, Slot(S + 1), &[cell(kj(100), 900), cell(kj(7), 900)]);
    let state = fleet.state(&one);
    state.refused = vec![(Refusal::Sentinel, 3)];
    let gpu = &mut state.accounts[0];
    gpu.lifetime =
        ByQuality([Energy::from_microjoules(9_007_199_254_740_993), Energy::from_microjoules(7), Energy::ZERO]);
    gpu.lifetime[Quality::Estimated] = Energy::from_microjoules(1_500_000);
    gpu.rare = Some(Box::new(Rare {
        reversed: Energy::from_microjoules(500_000),
        fenced: Energy::from_microjoules(2_000_001),
        flags: energy::Flag::TwoStreams as u8,
        ..Rare::default()
    }));
    // The CPU's last reading is old: its power is not now.
    state.accounts[1].shown = Some((MONDAY.start(), meter::Milliwatts(9_000)));
    let pdu = Owner::new("c2", OwnerKind::Meter, "pdu-1").expect("a name");
    fleet.owner(&pdu, &[(Scope::Pdu, "outlet-1")], MONDAY, Slot(S + 1));
    fleet.open(&pdu, Slot(S + 1), &[cell(kj(1), 900)]);
    fleet
}

fn scrape(fleet: &Fleet, format: Format, shard: (u8, u8), per_account: bool) -> String {
    let label_names = [("team", "team"), ("k8s.io/pool", "k8s_io_pool")];
    let snapshot = Arc::new(fleet.snapshot(now()));
    let scrape = Scrape {
        topology: Arc::new(Topology::new(Arc::default(), snapshot.hardware())),
        snapshot,
        summary: None,
        now: now(),
        label_names: label_names.map(|(key, name)| (key.to_owned(), name.to_owned())).into(),
        format,
        shard,
        per_account,
        all_smi_names: true,
        accounts_max: 10,
    };
    let mut before = String::new();
    if scrape.is_first() {
        scrape.fleet(&mut before);
    }
    scrape.chunks(before).map(|chunk| String::from_utf8(chunk.to_vec()).expect("UTF-8")).collect()
}

/// Written by hand from the rows above. 2026-10-05T00:30Z is 1791160200.
const GOLDEN: &str = r##"wattledger_energy_joules_total{cluster="default",host="node-1",kind="host",scope="gpu",device="GPU-1",gen="42"} 9007199254.741000
wattledger_energy_joules_total{cluster="default",host="node-1",kind="host",scope="cpu",device="package-0",gen="42"} 7000
wattledger_energy_joules_total{cluster="c2",host="pdu-1",kind="meter",scope="pdu",device="outlet-1",gen="42"} 1000
wattledger_estimated_joules_total{cluster="default",host="node-1",kind="host",scope="gpu",device="GPU-1",gen="42"} 2
wattledger_estimated_reversed_joules_total{cluster="default",host="node-1",kind="host",scope="gpu",device="GPU-1",gen="42"} 0.500000
wattledger_power_watts{cluster="default",host="node-1",kind="host",scope="gpu",device="GPU-1"} 500
wattledger_power_watts{cluster="c2",host="pdu-1",kind="meter",scope="pdu",device="outlet-1"} 500
wattledger_host_last_reading_timestamp_seconds{cluster="default",host="node-1",kind="host"} 1791160200
wattledger_host_last_reading_timestamp_seconds{cluster="c2",host="pdu-1",kind="meter"} 1791160200
wattledger_stream_lag_seconds{cluster="default",host="node-1",kind="host"} 0
wattledger_stream_lag_seconds{cluster="c2",host="pdu-1",kind="meter"} 0
wattledger_host_info{cluster="default",host="node-1",kind="host",k8s_io_pool="a",team="n\"l\\p"} 1
all_smi_energy_consumed_joules_total{host="node-1",scope="gpu",gpu_index="0",gpu_uuid="GPU-1"} 9007199254.741000
all_smi_energy_consumed_joules_total{host="node-1",scope="cpu"} 7000
wattledger_readings_total{gen="42"} 20
wattledger_readings_refused_total{reason="sentinel",gen="42"} 3
wattledger_readings_refused_total{reason="power-negative",gen="42"} 0
wattledger_unknown_job_stops_total{gen="42"} 0
wattledger_fenced_joules_total{gen="42"} 2.000001
wattledger_accounts 3
wattledger_accounts_max 10
wattledger_hosts{state="live"} 1
wattledger_hosts{state="silent"} 0
wattledger_unmatched{kind="chassis"} 0
wattledger_unmatched{kind="host"} 1
wattledger_unmatched{kind="ambiguous"} 0
wattledger_unmatched{kind="link"} 0
wattledger_flagged_accounts{flag="counter-disagrees"} 0
wattledger_flagged_accounts{flag="two-streams"} 1
wattledger_flagged_accounts{flag="counter-jumped"} 0
wattledger_flagged_accounts{flag="holes-final"} 0
wattledger_host_flag{cluster="default",host="node-1",kind="host",flag="two-streams"} 1
"##;

#[test]
fn series_are_what_was_written_by_hand() {
    let fleet = small();
    let text = scrape(&fleet, Format::Prometheus, (0, 1), true);
    let lines: HashSet<&str> = text.lines().collect();
    for line in GOLDEN.lines() {
        assert!(lines.contains(line), "missing: {line}\n{text}");
    }
    let series = lines.iter().filter(|line| !line.starts_with('#')).count();
    // The golden page has two of fifteen reasons and two of five states.
    assert_eq!(series, GOLDEN.lines().count() + 13 + 3, "{text}");
}

#[test]
fn a_family_has_one_head_and_its_series_stand_together() {
    let fleet = small();
    let text = scrape(&fleet, Format::OpenMetrics, (0, 1), true);
    let mut seen: HashSet<String> = HashSet::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(head) = line.strip_prefix("# HELP ") {
            current = head.split(' ').next().expect("a name").to_owned();
            assert!(seen.insert(current.clone()), "{current} comes twice");
        } else if !line.starts_with('#') {
            assert!(line.starts_with(&current), "{line} stands under {current}");
        }
    }
    assert!(seen.contains("wattledger_energy_joules") && !seen.contains("wattledger_energy_joules_total"));
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
}

#[test]
fn shards_together_are_the_whole_and_share_no_series() {
    let mut fleet = small();
    for n in 0..50 {
        let owner = host(&format!("h{n}"));
        fleet.owner(&owner, &[(Scope::Gpu, "g")], MONDAY, MONDAY);
        fleet.open(&owner, MONDAY, &[cell(kj(n), 900)]);
    }
    let series = |text: String| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let mut whole = series(scrape(&fleet, Format::Prometheus, (0, 1), true));
    let shards: Vec<Vec<String>> = (0..4).map(|n| series(scrape(&fleet, Format::Prometheus, (n, 4), true))).collect();
    assert!(shards.iter().all(|shard| shard.len() > 20), "each shard carries its share");
    let mut together: Vec<String> = shards.into_iter().flatten().collect();
    whole.sort();
    together.sort();
    assert_eq!(together, whole);
}

#[test]
fn series_per_account_can_be_switched_off() {
    let text = scrape(&small(), Format::Prometheus, (0, 1), false);
    assert!(
        !text.contains("device=") && text.contains("wattledger_host_info") && text.contains("wattledger_accounts 3")
    );
}

/// Promtool's word on an exposition; nothing where it is not installed.
fn promtool(text: &str) -> Option<(bool, String)> {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = started else {
        eprintln!("skipped: promtool is not installed");
        return None;
    };
    child.stdin.take().expect("its input").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let words = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&words).into_owned()))
}

#[test]
fn promtool_accepts_what_is_served() {
    let mut fleet = small();
    fleet.settle_all(Slot(S + 2));
    let server = Server::on(Arc::clone(&fleet.store) as _, Settings::default(), now);
    let (status, head, text) = server.get("/metrics");
    assert_eq!(status, 200);
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    for name in ["process_cpu_seconds_total", "process_open_fds", "wattledger_build_info", "wattledger_commits_total"] {
        assert!(text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    if let Some((passed, words)) = promtool(&text) {
        assert!(passed && words.is_empty(), "{words}");
        // The check can fail: a second head for a family is what it is there for.
        assert!(!promtool("# HELP a x\n# TYPE a gauge\na 1\n# TYPE a gauge\n").expect("it ran before").0);
    }
    let (_, head, open) = fetch(server.addr, "/metrics", "accept: application/openmetrics-text; version=1.0.0\r\n");
    assert!(head.contains("application/openmetrics-text; version=1.0.0") && open.ends_with("# EOF\n"), "{head}");
}

#[test]
fn hostile_labels_do_not_break_the_lines_of_others() {
    let mut fleet = Fleet::new();
    let hostile = ["\"", "\\", "a\"} 1\\", "<script>alert(1)</script>", "=cmd()", "ü€\u{202e}", "{}=,#"];
    for (n, value) in hostile.into_iter().enumerate() {
        let owner = host(&format!("h{n}"));
        fleet.owner(&owner, &[(Scope::Gpu, "g")], MONDAY, Slot(S + 1));
        fleet.label(&owner, MONDAY.start(), &[("team", value), ("host", "not-me")]);
    }
    fleet.settle_all(Slot(S + 2));
    let server = Server::on(Arc::clone(&fleet.store) as _, Settings::default(), now);
    let text = server.get("/metrics").2;
    if let Some((passed, words)) = promtool(&text) {
        assert!(passed && words.is_empty(), "{words}");
    }
    let infos: Vec<BTreeMap<String, String>> =
        text.lines().filter_map(|line| line.strip_prefix("wattledger_host_info")).map(parsed).collect();
    let teams: HashSet<&str> = infos.iter().map(|labels| labels["team"].as_str()).collect();
    assert_eq!(teams, HashSet::from(hostile), "every value comes back as it went in");
    assert!(infos.iter().all(|labels| labels["host"].starts_with('h') && labels["label_host"] == "not-me"));
}

/// An independent reader of `{a="b",…} 1`.
fn parsed(line: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let mut rest = line.strip_prefix('{').expect("labels");
    while let Some((key, after)) = rest.split_once("=\"") {
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next().expect("a closing quote") {
                (_, '\\') => match chars.next().expect("an escape").1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => panic!("no escape: {c}"),
                },
                (at, '"') => break at,
                (_, c) => value.push(c),
            }
        };
        labels.insert(key.to_owned(), value);
        rest = after[end + 1..].trim_start_matches(',');
    }
    assert_eq!(rest, "} 1");
    labels
}

#[test]
fn a_wrong_shard_is_a_problem_that_says_so() {
    let server = Server::on(Arc::clone(&Fleet::new().store) as _, Settings::default(), now);
    for query in ["shard=5&of=4", "shard=0&of=4", "of=0", "of=65", "shard=x&of=4"] {
        assert_eq!(server.problem(&format!("/metrics?{query}")).0, 400, "{query}");
    }
}
