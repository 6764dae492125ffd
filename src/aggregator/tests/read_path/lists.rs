//! The JSON and CSV answers over HTTP.

use aggregator::Settings;
use meter::{Milliwatts, Owner, OwnerKind, Refusal, Scope, Slot, Utc};
use serde_json::{Value, json};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::served::Server;

const S: i32 = MONDAY.0;
const INVENTORY: &str = "host,cluster,retired,team,chassis\n\
    node-2,,2026-10-01,cv,\n\
    node-8,,,spare,\n\
    ,,,rack,enc-1\n";

fn now() -> Utc {
    Utc(Slot(S + 2).start().0 + 30_000_000_000)
}

/// node-1 live, node-2 retired, node-3 silent, node-8 never seen, a second node-1 in another cluster.
fn served() -> (Server, tempfile::TempDir) {
    let mut fleet = Fleet::new();
    let other = Owner::new("east", OwnerKind::Host, "node-1").expect("a name");
    for (owner, last) in [(host("node-1"), 1), (host("node-2"), 1), (host("node-3"), 0), (other, 1)] {
        fleet.owner(&owner, &[(Scope::Chassis, ""), (Scope::Gpu, "a"), (Scope::Gpu, "b")], MONDAY, Slot(S + last));
        fleet.label(&owner, MONDAY.start(), &[("team", "=nlp()")]);
        fleet.open(&owner, MONDAY, &[cell(kj(900), 900), cell(kj(300), 900), cell(kj(200), 900)]);
    }
    let state = fleet.state(&host("node-1"));
    state.refused = vec![(Refusal::AboveCeiling, 4)];
    state.accounts[0].shown = Some((Slot(S + 2).start(), Milliwatts(1_234_500)));
    fleet.state(&host("node-1")).accounts[2].covered_ns = 450_000_000_000;
    fleet.settle_all(Slot(S + 2));
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("inventory.csv");
    std::fs::write(&file, INVENTORY).expect("written");
    let mut settings = Settings::default();
    settings.files.inventory = file.display().to_string();
    (Server::on(fleet.store, settings, now), folder)
}

fn names(answer: &Value) -> Vec<String> {
    let hosts = answer["hosts"].as_array().expect("hosts");
    hosts
        .iter()
        .map(|host| format!("{} {}", host["id"].as_str().expect("an id"), host["state"].as_str().expect("a state")))
        .collect()
}

#[test]
fn hosts_are_listed_with_their_states() {
    let (server, _folder) = served();
    let answer = server.json("/api/v1/hosts");
    assert_eq!(
        names(&answer),
        [
            "default/node-1 live",
            "default/node-2 retired",
            "default/node-3 silent",
            "default/node-8 never_seen",
            "east/node-1 live"
        ]
    );
    let one = &answer["hosts"][0];
    assert_eq!(one["watts"], json!(1234.5), "the outer meter's watts, not the sum with what is inside");
    assert_eq!((&one["lifetime"]["uj"], &one["lifetime"]["joules"]), (&json!("900000000000"), &json!(900_000.0)));
    assert_eq!((&one["refused"], &one["labels"]), (&json!({"above-ceiling": 4}), &json!({"team": "=nlp()"})));
    assert_eq!((&one["last_reading"], &one["accounts"]), (&json!("2026-10-05T00:30:00Z"), &json!(3)));
    assert_eq!(answer["hosts"][1]["labels"], json!({"team": "cv"}), "the inventory's label");
    assert_eq!(answer["hosts"][3]["watts"], Value::Null, "missing is not zero");
    assert_eq!(names(&server.json("/api/v1/hosts?state=silent")), ["default/node-3 silent"]);
    assert_eq!(
        names(&server.json("/api/v1/hosts?where=team=cv|spare")),
        ["default/node-2 retired", "default/node-8 never_seen"]
    );
    assert_eq!(server.json("/api/v1/chassis")["chassis"][0]["id"], "default/enc-1");
}

#[test]
fn an_id_means_one_host_or_a_problem_says_which_there_are() {
    let (server, _folder) = served();
    assert_eq!(server.json("/api/v1/hosts/node-3")["host"]["state"], "silent");
    assert_eq!(server.json("/api/v1/hosts/east/node-1")["devices"].as_array().map(Vec::len), Some(3));
    let (status, code, detail) = server.problem("/api/v1/hosts/node-1");
    assert_eq!((status, code.as_str()), (409, "ambiguous-id"));
    assert!(detail.contains("default/node-1, east/node-1"), "{detail}");
    assert_eq!(server.problem("/api/v1/hosts/nobody").0, 404);
    assert_eq!(server.problem("/api/v1/hosts/%3Cscript%3E").0, 404);
}

#[test]
fn devices_show_coverage_per_account() {
    let (server, _folder) = served();
    let device = &server.json("/api/v1/devices/default/host/node-1/gpu:b")["device"];
    assert_eq!((&device["covered_seconds"], &device["uncovered_seconds"]), (&json!(450.0), &json!(1350.0)));
    assert_eq!(
        (&device["owner"], &device["scope"], &device["lifetime"]["uj"]),
        (&json!("node-1"), &json!("gpu"), &json!("200000000000"))
    );
    assert_eq!(server.problem("/api/v1/devices/b").1, "ambiguous-id");
    let listed = server.json("/api/v1/devices?where=scope=gpu,host=node-3");
    assert_eq!(listed["devices"].as_array().map(Vec::len), Some(2));
}

#[test]
fn pages_follow_each_other_by_cursor() {
    let (server, _folder) = served();
    let whole: Vec<Value> = server.json("/api/v1/devices?limit=1000")["devices"].as_array().expect("devices").clone();
    assert_eq!(whole.len(), 12);
    let (mut seen, mut path) = (Vec::new(), "/api/v1/devices?limit=5".to_owned());
    loop {
        let page = server.json(&path);
        seen.extend(page["devices"].as_array().expect("devices").clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/devices?limit=5&cursor={cursor}");
    }
    assert_eq!(seen, whole);
}

#[test]
fn prices_come_in_pages_and_each_of_them_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let rate = |site: &str| format!("[[rate]]\n{site}currency = \"EUR\"\nprice_per_kwh = \"0.20\"\n\n");
    let sites: Vec<String> = [String::new()].into_iter().chain((0..7).map(|n| format!("site = \"s{n}\"\n"))).collect();
    let file = folder.path().join("rates.toml");
    std::fs::write(&file, sites.iter().rev().map(|site| rate(site)).collect::<String>()).expect("written");
    let mut settings = Settings::default();
    settings.files.rates = file.display().to_string();
    let server = Server::on(Fleet::new().store, settings, now);
    let prices = |page: &Value| page["prices"].as_array().expect("prices").clone();
    let whole = server.json("/api/v1/rates");
    assert_eq!((prices(&whole).len(), &whole["next_cursor"]), (8, &Value::Null));
    let (mut seen, mut path, mut pages) = (Vec::new(), "/api/v1/rates?limit=3".to_owned(), 0);
    loop {
        let page = server.json(&path);
        assert_eq!(page["file"], whole["file"]);
        seen.extend(prices(&page));
        pages += 1;
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/api/v1/rates?limit=3&cursor={cursor}");
    }
    assert_eq!((pages, &seen), (3, &prices(&whole)));
    let told: Vec<&str> = seen.iter().map(|price| price["labels"]["site"].as_str().unwrap_or("")).collect();
    assert_eq!(told, ["", "s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
}

#[test]
fn the_rollup_answers_as_the_contract_says() {
    let (server, _folder) = served();
    let window = "window=2026-10-05T00:00:00Z,2026-10-05T01:00:00Z";
    let answer = server.json(&format!("/api/v1/rollup?{window}&by=host&where=cluster=default"));
    let row = &answer["rows"][0];
    assert_eq!((&row["by"], &row["energy_uj"]), (&json!({"host": "node-1"}), &json!("900000000000")));
    assert_eq!((&row["energy_kwh"], &row["unpriced_kwh"], &row["cost"]), (&json!(0.25), &json!(0.25), &json!([])));
    assert_eq!((&answer["status"], &answer["window"]["end"]), (&json!("provisional"), &json!("2026-10-05T01:00:00Z")));
    assert_eq!(answer["total"]["energy_uj"], "2700000000000");

    let (status, head, csv) = server.get(&format!("/api/v1/report?{window}&by=team&format=csv"));
    assert!(status == 200 && head.contains("text/csv"), "{head}");
    assert!(csv.contains(",'=nlp(),"), "a formula is text: {csv}");
    let top = server.json("/api/v1/top?by=host&limit=1");
    // Fresh: 1234.5 W of node-1 and 500 W each of node-2 and the other node-1; node-3 is silent.
    assert_eq!((&top["rows"][0]["by"], &top["total_watts"]), (&json!({"host": "node-1"}), &json!(2234.5)));
}

#[test]
fn a_bad_question_names_the_parameter_and_what_would_be_right() {
    let (server, _folder) = served();
    for (path, status, code, words) in [
        ("rollup", 400, "missing-parameter", "window"),
        ("rollup?window=soon", 400, "bad-window", "lastmonth"),
        ("rollup?window=24h&by=colour", 400, "unknown-key", "team"),
        ("rollup?window=24h&where=colour=red", 400, "unknown-key", "device"),
        ("rollup?window=24h&where=team", 400, "bad-where", "key=value"),
        ("rollup?window=24h&step=1w", 400, "bad-step", "15m"),
        ("rollup?window=24h&tz=Mars/Base", 400, "bad-tz", "Europe/Paris"),
        ("rollup?window=24h&idle=gone", 400, "bad-parameter", "separate"),
        ("rollup?window=24h&group=team", 400, "unknown-parameter", "by"),
        ("rollup?window=24h&window=7d", 400, "repeated-parameter", "window"),
        ("report?window=24h&format=pdf", 400, "bad-parameter", "csv"),
        ("hosts?limit=0", 400, "bad-parameter", "1 to 10000"),
        ("hosts?cursor=zz", 400, "bad-cursor", "cursor"),
        ("rates?cursor=zz", 400, "bad-cursor", "cursor"),
        ("hosts?state=gone", 400, "bad-parameter", "never_seen"),
        ("top?by=device", 400, "unknown-key", "rollup"),
        ("top?limit=many", 400, "bad-parameter", "1 to 1000"),
    ] {
        let (found_status, found_code, detail) = server.problem(&format!("/api/v1/{path}"));
        assert_eq!((found_status, found_code.as_str()), (status, code), "{path}");
        assert!(detail.contains(words), "{path}: {detail}");
    }
}
