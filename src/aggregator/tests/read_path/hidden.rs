//! Where money is hidden, nothing that is answered or shown has a cost, a price or a currency; energy is as before.

use std::io::{Read, Write};
use std::net::TcpStream;

use aggregator::Settings;
use meter::{Scope, Slot, Utc};
use serde_json::{Value, json};

use crate::fleet::{Fleet, MONDAY, cell, host, kj};
use crate::served::{Server, write};

const S: i32 = MONDAY.0;
const OCTOBER: &str = "2026-10";

/// In November, so that October can be closed.
fn now() -> Utc {
    Slot(S + 40 * 96).start()
}

/// A host that used 2 kWh in half an hour, at a price with demand and fixed charges; budgets of energy and of money.
fn served(show_cost: bool) -> (Server, tempfile::TempDir) {
    let mut fleet = Fleet::new();
    let owner = host("node-1");
    fleet.owner(&owner, &[(Scope::Gpu, "a")], MONDAY, Slot(S + 1));
    fleet.label(&owner, MONDAY.start(), &[("team", "nlp"), ("site", "par1")]);
    for slot in [MONDAY, Slot(S + 1)] {
        fleet.open(&owner, slot, &[cell(kj(3600), 900)]);
    }
    fleet.settle_all(Slot(S + 2));
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| write(&dir, name, text);
    let mut settings = Settings::default();
    settings.server.show_cost = show_cost;
    settings.files.rates = write(
        "rates.toml",
        "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.37\"\npue = \"1.5\"\ncarbon_g_per_kwh = \"60\"\n\
         demand_per_kw = \"7.77\"\nfixed_per_month = \"8.88\"\n",
    );
    settings.budgets.file = write(
        "budgets.toml",
        "[[budget]]\nname = \"of energy\"\nkwh = \"100\"\n\n\
         [[budget]]\nname = \"of money\"\namount = \"500\"\ncurrency = \"EUR\"\n",
    );
    (Server::on(fleet.store, settings, now), dir)
}

fn post(server: &Server, path: &str, said: &Value) -> (u16, String) {
    let (mut stream, said) = (TcpStream::connect(server.addr).expect("a connection"), said.to_string());
    let head = "host: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length";
    write!(stream, "POST {path} HTTP/1.1\r\n{head}: {}\r\n\r\n{said}", said.len()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer");
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, text.split_once("\r\n\r\n").expect("a body").1.to_owned())
}

/// Everything that speaks of energy, before and after the month is closed.
fn asked(server: &Server) -> Vec<(String, String)> {
    let past = json!({"start": "2026-10-05T00:00:00Z", "stop": "2026-10-05T00:30:00Z"});
    let mut seen = Vec::new();
    let mut told = |path: &str, said: Value| {
        let (status, body) = post(server, path, &said);
        assert_eq!(status, 200, "{path}: {body}");
        seen.push((format!("POST {path}"), body));
    };
    let job = json!({"id": "7", "user": "ada", "hosts": "node-1", "start": past["start"], "stop": past["stop"]});
    told("/api/v1/jobs", job);
    told("/api/v1/meters", past);
    let questions = |seen: &mut Vec<(String, String)>| {
        for path in [
            "/api/v1/rollup?window=2026-10&by=team",
            "/api/v1/rollup?window=2026-10&by=team&step=1d",
            "/api/v1/report?window=2026-10&format=json",
            "/api/v1/report?window=2026-10&format=csv",
            "/api/v1/report?window=2026-10&format=html",
            "/api/v1/report?window=2026-10&by=host&format=html&where=host=node-1",
            "/api/v1/explain?host=node-1&window=2026-10",
            "/api/v1/explain?host=node-1&window=2026-10-05T00:00:00Z,2026-10-05T00:30:00Z",
            "/api/v1/reconcile?window=2026-10&site=par1&invoice=kwh%3D3",
            "/api/v1/jobs?window=2026-10",
            "/api/v1/jobs/7",
            "/api/v1/meters?window=2026-10",
            "/api/v1/budgets",
            "/api/v1/statements",
            "/metrics",
            "/",
            "/hosts/node-1",
        ] {
            let (status, _, body) = server.get(path);
            assert_eq!(status, 200, "{path}: {body}");
            seen.push((path.to_owned(), body));
        }
    };
    questions(&mut seen);
    let (status, body) = post(server, "/api/v1/statements", &json!({"period": OCTOBER, "allow_incomplete": true}));
    assert_eq!(status, 200, "{body}");
    seen.push(("closed".into(), body));
    questions(&mut seen);
    for path in ["?by=team", "?format=csv", "?format=html&by=host"] {
        let path = format!("/api/v1/statements/{OCTOBER}{path}");
        seen.push((path.clone(), server.get(&path).2));
    }
    seen
}

#[test]
fn no_answer_has_money_where_it_is_hidden() {
    let (server, _dir) = served(false);
    for (path, body) in asked(&server) {
        for money in ["EUR", "0.37", "7.77", "8.88", "price", "Cost", "unpriced", "of money", "Rates", "FOCUS"] {
            // Names of columns and members that hold nothing, and the state of the file of rates.
            let text = body.replace("unpriced_kwh", "").replace("price_per_kwh\":null", "");
            let text = text.replace("wattledger_file_in_force{file=\"rates\"}", "");
            let is_ratio = path == "/metrics" && money == "of money";
            assert!(is_ratio || !text.contains(money), "{money} is in {path}: {text}");
        }
    }
    let answer = server.json("/api/v1/rollup?window=2026-10&by=team");
    assert_eq!(
        (&answer["cost_hidden"], &answer["total"]["cost"], &answer["total"]["energy_kwh"], &answer["status"]),
        (&json!(true), &json!([]), &json!(2.0), &json!("closed")),
    );
    assert_eq!(answer["total"]["carbon"]["location_grams"], 180.0, "2 kWh × PUE 1.5 × 60 g");
    let explained = server.json("/api/v1/explain?host=node-1&window=2026-10");
    let slot = &explained["slots"][0];
    assert_eq!((&slot["amount"], &slot["currency"], &slot["pue"]), (&Value::Null, &Value::Null, &json!("1.5")));
    for path in [
        "explain?host=node-1&window=2026-10",
        "reconcile?window=2026-10",
        "jobs?window=2026-10",
        "meters?window=2026-10",
        "budgets",
        "statements",
    ] {
        let (_, _, body) = server.get(&format!("/api/v1/{path}"));
        assert!(body.contains("\"cost_hidden\":true"), "{path}: {body}");
    }
}

#[test]
fn what_is_nothing_but_money_is_refused_where_it_is_hidden() {
    let (server, _dir) = served(false);
    let (status, body) = post(&server, "/api/v1/statements", &json!({"period": OCTOBER, "allow_incomplete": true}));
    assert_eq!(status, 200, "{body}");
    for path in [
        "/api/v1/rates",
        "/api/v1/report?window=2026-10&format=focus",
        "/api/v1/statements/2026-10",
        "/api/v1/statements/2026-10?format=focus",
        "/api/v1/reconcile?window=2026-10&invoice=amount%3D3,currency%3DEUR",
    ] {
        let (status, code, detail) = server.problem(path);
        assert_eq!((status, &*code), (403, "cost-hidden"), "{path}: {detail}");
        assert!(detail.contains("show_cost"), "{detail}");
    }
}

#[test]
fn money_is_there_where_it_is_not_hidden() {
    let (server, _dir) = served(true);
    let silent = ["POST /api/v1/jobs", "/api/v1/jobs/7", "/api/v1/reconcile", "/api/v1/statements", "/hosts/node-1"];
    for (path, body) in asked(&server) {
        let has_it = body.contains("EUR") || silent.iter().any(|known| path.starts_with(known));
        assert!(has_it && !body.contains("cost_hidden"), "{path}: {body}");
    }
    assert_eq!(server.get("/api/v1/rates").0, 200);
    assert_eq!(server.get("/api/v1/statements/2026-10").0, 200);
}
