//! The inventory over HTTP: listed, read as it is, replaced as a whole or not at all.

use reqwest::StatusCode;
use reqwest::blocking::Response;
use serde_json::Value;

use crate::harness::{Home, Server, Writer, client, get, now_ms, power, wattledger};

const CSV: &str = "host,team,chassis,valid_from\nnode[01-02],nlp,bmc-1,\nnode03,vision,,2026-10-01\n";

fn served(home: &Home) -> Server {
    let path = home.write("inventory.csv", CSV);
    let config = home.write("aggregator.toml", format!("[files]\ninventory = {path:?}\n"));
    home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")])
}

fn put(server: &Server, kind: &str, if_match: Option<&str>, body: &str) -> Response {
    let request = client().put(format!("{}/api/v1/inventory", server.url)).header("content-type", kind);
    let request = if let Some(tag) = if_match { request.header("if-match", tag) } else { request };
    request.body(body.to_owned()).send().expect("an answer")
}

fn code(response: Response) -> (u16, String) {
    let status = response.status().as_u16();
    let problem: Value = response.json().expect("a problem");
    (status, problem["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn the_inventory_is_listed_read_and_replaced() {
    let home = Home::new();
    let server = served(&home);
    let listed = get(&format!("{}/api/v1/inventory", server.url)).json();
    let named = |listed: &Value| -> Vec<String> {
        let owners = listed["owners"].as_array().expect("owners");
        owners.iter().map(|one| one["name"].as_str().expect("a name").to_owned()).collect()
    };
    assert_eq!(named(&listed), ["node01", "node02", "node03"]);
    let first = &listed["owners"][0]["labels"][0];
    assert_eq!((first["labels"]["team"].as_str(), first["chassis"].as_str()), (Some("nlp"), Some("bmc-1")));
    assert_eq!(listed["owners"][2]["labels"][0]["from"], "2026-10-01T00:00:00Z");
    assert!(listed["owners"][0]["labels"][0]["from"].is_null(), "it holds for all time");

    let file = client().get(format!("{}/api/v1/inventory?format=file", server.url)).send().expect("an answer");
    let tag = file.headers()["etag"].to_str().expect("text").to_owned();
    assert_eq!(file.headers()["content-type"], "text/csv");
    assert_eq!(file.text().expect("text"), CSV);

    let more = format!("{CSV}node04,nlp,,\n");
    let answer = put(&server, "text/csv", Some(&tag), &more);
    assert_eq!((answer.status(), answer.json::<Value>().expect("JSON")["owners"].as_u64()), (StatusCode::OK, Some(4)));
    // In force at once, and on disk.
    assert_eq!(named(&get(&format!("{}/api/v1/inventory", server.url)).json()).len(), 4);
    assert_eq!(std::fs::read_to_string(home.path("inventory.csv")).expect("the file"), more);
    let acts = get(&format!("{}/api/v1/acts", server.url)).json();
    assert_eq!((acts["acts"][0]["act"].as_str(), acts["acts"][0]["old"].as_str()), (Some("inventory"), Some(&*tag)));

    // Who read the older one would undo what came between.
    assert_eq!(code(put(&server, "text/csv", Some(&tag), CSV)), (412, "inventory-changed".into()));
    let bad = put(&server, "text/csv", None, "host,team,valid_from\nnode01,nlp,soon\n");
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    let problem: Value = bad.json().expect("a problem");
    assert_eq!((&problem["code"], &problem["faults"][0]["line"]), (&"bad-inventory".into(), &2.into()), "{problem}");
    assert_eq!(problem["faults"][0]["column"], "valid_from");
    assert_eq!(code(put(&server, "application/xml", None, CSV)), (415, "unsupported-media-type".into()));
    assert_eq!(std::fs::read_to_string(home.path("inventory.csv")).expect("the file"), more, "nothing of that counts");
    // The same as file_sd, which Prometheus' users have.
    let sd = r#"[{"targets": ["node09:9100"], "labels": {"team": "ops"}}]"#;
    assert_eq!(put(&server, "application/json", None, sd).status(), StatusCode::OK);
    assert_eq!(named(&get(&format!("{}/api/v1/inventory", server.url)).json()), ["node09"]);
}

#[test]
fn the_command_shows_what_is_in_force_and_tells_what_does_not_fit() {
    let home = Home::new();
    let server = served(&home);
    let run = |arguments: &[&str]| wattledger(&home, &[&["inventory"], arguments, &["--server", &server.url]].concat());
    let shown = run(&["show"]).ok().out;
    assert!(shown.contains("default/node02  bmc-1    team=nlp"), "{shown}");
    let all: Value = serde_json::from_str(&run(&["show", "--format", "json"]).ok().out).expect("JSON");
    assert_eq!(all["owners"][2]["labels"][0]["from"], "2026-10-01T00:00:00Z");

    // Two of three report, and one that nobody named.
    for (number, host) in [(1, "node01"), (2, "node02"), (3, "stranger")] {
        let reading = power("chassis", "wall", (now_ms(), Some(1_000_000)), 1000);
        assert_eq!(Writer::new(&server.url, number, host).send(&[reading]).status, 200);
    }
    let checked = run(&["check"]);
    assert_eq!(checked.status.code(), Some(1), "{}", checked.out);
    for told in ["default/stranger: reports, and", "default/node03: is in the inventory and never reported"] {
        assert!(checked.out.contains(told), "{}", checked.out);
    }
    assert!(!checked.out.contains("node01") && checked.err.contains("in 2 points"), "{} {}", checked.out, checked.err);
    let misfits: Value = serde_json::from_str(&run(&["check", "--format", "json"]).out).expect("JSON");
    assert_eq!(misfits["unnamed"], serde_json::json!(["default/stranger"]));
    assert_eq!(put(&server, "text/csv", None, "host,team\nnode[01-02],nlp\nstranger,\n").status(), StatusCode::OK);
    let fits = run(&["check"]).ok().out;
    assert!(fits.contains("3 owners, every host fits"), "{fits}");

    // A file before it is put in place, without any aggregator.
    let bad = home.write("new.csv", "host,team,valid_from\nnode01,nlp,soon\n");
    let told = wattledger(&home, &["inventory", "check", bad.to_str().expect("a plain path")]);
    assert_eq!(told.status.code(), Some(2), "{}", told.err);
    assert!(told.out.contains("new.csv:2: valid_from"), "{}", told.out);
}

#[test]
fn without_a_file_there_is_nothing_to_replace_and_others_may_not() {
    let home = Home::new();
    let server = home.start();
    assert_eq!(code(put(&server, "text/csv", None, CSV)), (409, "no-inventory-file".into()));
    assert_eq!(get(&format!("{}/api/v1/inventory?format=file", server.url)).status, 409);
    assert_eq!(get(&format!("{}/api/v1/inventory", server.url)).json()["owners"], serde_json::json!([]));
    let proxied = client().put(format!("{}/api/v1/inventory", server.url)).header("content-type", "text/csv");
    let proxied = proxied.header("x-forwarded-for", "10.0.0.9").body(CSV).send().expect("an answer");
    assert_eq!(code(proxied), (403, "not-from-here".into()));
}
