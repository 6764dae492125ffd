//! Who belongs to whom, from what hosts and BMCs say of themselves: joins, shares, states, what is left over.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Home, Server, get, now_ms, post_json, rows, slot_ago_ms, slots_around, stream, wait_for, wattledger,
};

/// Both byte orders of one UUID: DSP0134 §7.2.1.
const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
const TURNED: &str = "33221100-5544-7766-8899-aabbccddeeff";

/// Ten minutes of constant power of one account, 10 s apart; it ends at `end`. The labels are the owner's.
fn watts(server: &Server, owner: (&str, &str), account: (&str, &str), end: i64, watts: i64, labels: Value) {
    let number = end + owner.1.bytes().fold(0, |sum, byte| sum * 31 % 100_003 + i64::from(byte));
    let readings: Vec<Value> = (0..=60)
        .map(|n| {
            let at = end - 600_000 + n * 10_000;
            json!({"scope": account.0, "device": account.1, "at_ms": at, "watts": watts, "period_ms": 10_000})
        })
        .collect();
    let stream = stream(number.unsigned_abs());
    let body = json!({"stream": stream, "seq": 1, owner.0: owner.1, "labels": labels, "readings": readings});
    let answer = post_json(&server.url, &body).json();
    assert_eq!(answer["booked"], 61, "{answer}");
}

fn with_inventory(home: &Home, csv: &str) -> Server {
    let inventory = home.write("inventory.csv", csv);
    let config = home.write("wattledger.toml", format!("[files]\ninventory = {:?}\n", inventory.display().to_string()));
    home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")])
}

/// Makes an owner known that has no account.
fn known(server: &Server, number: u64, owner: (&str, &str), labels: Value) {
    let body = json!({"stream": stream(number), "seq": 1, owner.0: owner.1, "labels": labels, "readings": []});
    assert_eq!(post_json(&server.url, &body).status, 200);
}

fn json_at(server: &Server, path: &str) -> Value {
    let answer = get(&format!("{}{path}", server.url));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Host and energy in microjoules, by host.
fn by_host(server: &Server, window: &str) -> Vec<(String, i128)> {
    let rows = rows(&server.url, &format!("window={window}&by=host"));
    rows.into_iter().map(|row| (row.by["host"].clone(), row.energy_uj)).collect()
}

/// Name and reason of what is joined to nothing.
fn unmatched(server: &Server, query: &str) -> Vec<(String, String)> {
    let answer = json_at(server, &format!("/api/v1/unmatched{query}"));
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let all = answer["unmatched"].as_array().expect("a list").iter();
    all.map(|one| (text(&one["name"]), text(&one["reason"]))).collect()
}

#[test]
fn a_bmc_joins_its_host_by_uuid_and_bills_it() {
    let home = Home::new();
    let server = home.start();
    let now = now_ms();
    watts(&server, ("host", "n1"), ("gpu", "GPU-a"), now, 300, json!({"hw.uuid": UUID}));
    watts(&server, ("chassis", "bmc-1"), ("chassis", "bmc"), now, 500, json!({"hw.uuid": TURNED, "hw.power": "on"}));
    let answer = json_at(&server, "/api/v1/hosts/n1");
    let host = &answer["host"];
    assert_eq!((&host["chassis"], &host["joined_by"]), (&json!("bmc-1"), &json!("uuid")), "{host}");
    assert_eq!(host["boundary"], json!({"meter": "default/chassis/bmc-1", "method": "meter"}));
    assert_eq!((&host["watts"], &host["lifetime"]["uj"]), (&json!(500.0), &json!("300000000000")), "{host}");
    assert_eq!(answer["chassis_devices"][0]["device"], "bmc");
    assert_eq!(json_at(&server, "/api/v1/chassis/bmc-1")["chassis"]["hosts"], json!(["n1"]));
    assert_eq!(json_at(&server, "/api/v1/top?by=host")["total_watts"], json!(500.0), "once");
    assert!(unmatched(&server, "").is_empty());
    // The bill of the same minutes: the BMC's 500 W for 600 s, and the GPU in it.
    let window = slots_around(now - 600_000, now);
    assert_eq!(by_host(&server, &window), [("n1".to_owned(), 300_000_000_000)]);
}

#[test]
fn sleds_share_the_meter_of_their_enclosure() {
    let home = Home::new();
    let server = home.start();
    let now = now_ms();
    watts(&server, ("chassis", "enc"), ("chassis", "bmc"), now, 2000, json!({"hw.serial": "ENC4711"}));
    for n in 1..=4_i64 {
        watts(&server, ("host", &format!("n{n}")), ("gpu", &format!("GPU-{n}")), now, 100 * n, json!({}));
        let labels = json!({"hw.host": format!("n{n}"), "hw.enclosure": "enc"});
        known(&server, n.unsigned_abs(), ("chassis", &format!("sled-{n}")), labels);
    }
    let expected = |n: i128| (format!("n{n}"), 2000 * 600 * 1_000_000 * n / 10);
    let window = slots_around(now - 600_000, now);
    assert_eq!(by_host(&server, &window), [expected(1), expected(2), expected(3), expected(4)]);
    let host = &json_at(&server, "/api/v1/hosts/n3")["host"];
    assert_eq!(host["boundary"], json!({"meter": "default/chassis/enc", "method": "shared-chassis/component-energy"}));
    assert_eq!((&host["chassis"], &host["bmc"]), (&json!("enc"), &json!("sled-3")));
    assert_eq!((&host["watts"], &host["lifetime"]["joules"]), (&json!(600.0), &json!(360_000.0)));
    assert_eq!(json_at(&server, "/api/v1/chassis/enc")["chassis"]["hosts"], json!(["n1", "n2", "n3", "n4"]));
    assert_eq!(json_at(&server, "/api/v1/top?by=chassis")["rows"][0]["watts"], json!(2000.0));
    assert!(unmatched(&server, "").is_empty());
}

#[test]
fn what_belongs_to_nothing_is_listed_in_pages_and_counted() {
    let home = Home::new();
    let server = with_inventory(&home, "host,chassis\nz,enc-9\n");
    for (number, (kind, name, labels)) in [
        ("host", "a", json!({"hw.uuid": UUID})),
        ("host", "b", json!({"hw.uuid": UUID})),
        ("chassis", "bmc-ab", json!({"hw.uuid": TURNED})),
        ("chassis", "bmc-x", json!({"hw.serial": "XYZ123", "hw.enclosure": "nowhere"})),
        ("chassis", "bmc-0", json!({"hw.serial": "To be filled by O.E.M."})),
        ("chassis", "wall", json!({})),
    ]
    .into_iter()
    .enumerate()
    {
        known(&server, number as u64, (kind, name), labels);
    }
    let all = unmatched(&server, "");
    let expected = [
        ("bmc-0", "placeholder"),
        ("bmc-ab", "several-hosts"),
        ("bmc-x", "no-host"),
        ("bmc-x", "unknown-enclosure"),
        ("wall", "no-identity"),
        ("a", "no-bmc"),
        ("b", "no-bmc"),
        ("z", "unknown-chassis"),
    ];
    assert_eq!(all, expected.map(|(name, reason)| (name.to_owned(), reason.to_owned())));
    let answer = json_at(&server, "/api/v1/unmatched");
    assert_eq!(answer["counts"], json!({"ambiguous": 1, "chassis": 3, "host": 2, "link": 2}));
    let several = &json_at(&server, "/api/v1/unmatched?kind=ambiguous")["unmatched"][0];
    assert_eq!((&several["candidates"], &several["owner"]), (&json!(["a", "b"]), &json!("chassis")));
    let metrics = get(&format!("{}/metrics", server.url)).body;
    assert!(metrics.contains("wattledger_unmatched{kind=\"chassis\"} 3\n"), "{metrics}");

    let (mut seen, mut query) = (Vec::new(), "?limit=3".to_owned());
    loop {
        seen.extend(unmatched(&server, &query));
        match json_at(&server, &format!("/api/v1/unmatched{query}"))["next_cursor"].as_str() {
            Some(cursor) => query = format!("?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, all);
    for (query, code) in
        [("kind=bmc", "bad-parameter"), ("colour=red", "unknown-parameter"), ("limit=0", "bad-parameter")]
    {
        let answer = get(&format!("{}/api/v1/unmatched?{query}", server.url));
        assert_eq!((answer.status, answer.problem()), (400, code.to_owned()), "{query}");
    }

    let done = wattledger(&home, &["host", "unmatched", "--server", &server.url]).ok();
    assert_eq!(done.out.lines().count(), 9, "{}", done.out);
    assert!(done.out.lines().any(|line| line.contains("bmc-ab") && line.contains("a b")), "{}", done.out);
    let done = wattledger(&home, &["host", "unmatched", "--kind", "link", "--format", "json", "--server", &server.url]);
    let list: Value = serde_json::from_str(&done.ok().out).expect("JSON");
    assert_eq!((&list[0]["named"], &list[1]["named"]), (&json!("nowhere"), &json!("enc-9")));
}

#[test]
fn a_host_that_its_bmc_says_is_off_is_off_and_not_silent() {
    let home = Home::new();
    let server = home.start();
    let (before, now) = (slot_ago_ms(2), now_ms());
    watts(&server, ("host", "n1"), ("gpu", "GPU-a"), before, 300, json!({}));
    watts(&server, ("host", "n2"), ("gpu", "GPU-b"), before, 300, json!({}));
    let labels = |power: &str| json!({"hw.host": "n1", "hw.power": power});
    watts(&server, ("chassis", "bmc-1"), ("chassis", "bmc"), now, 8, labels("off"));
    // A host without an agent is what its BMC says.
    watts(&server, ("chassis", "bmc-3"), ("chassis", "bmc"), now, 400, json!({"hw.host": "n3", "hw.power": "on"}));
    let states = || {
        let answer = json_at(&server, "/api/v1/hosts");
        let hosts = answer["hosts"].as_array().expect("a list").clone();
        let words = hosts.iter().map(|host| host["state"].as_str().expect("a word").to_owned());
        words.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(states(), "off silent live");
    let metrics = || get(&format!("{}/metrics", server.url)).body;
    assert!(metrics().contains("wattledger_hosts{state=\"off\"} 1\n"));
    assert_eq!(json_at(&server, "/api/v1/hosts/n1")["host"]["watts"], json!(8.0), "what it draws while it is off");
    // Its agent reports again: it is on, whatever the BMC said last.
    watts(&server, ("host", "n1"), ("gpu", "GPU-a"), now, 300, json!({}));
    wait_for("the host to be live", Duration::from_secs(10), || states().starts_with("live").then_some(()));
}

#[test]
fn the_inventory_overrides_what_hardware_says_and_is_followed() {
    let home = Home::new();
    let server = with_inventory(&home, "host,chassis\n");
    let now = now_ms();
    for (host, uuid) in [("n1", UUID), ("n2", "9e8d7c6b-0000-1111-2222-333344445555")] {
        watts(&server, ("host", host), ("gpu", host), now, 100, json!({"hw.uuid": uuid}));
    }
    watts(&server, ("chassis", "bmc-1"), ("chassis", "bmc"), now, 500, json!({"hw.uuid": TURNED}));
    let window = slots_around(now - 600_000, now);
    let kj = |host: &str, kj: i128| (host.to_owned(), kj * 1_000_000_000);
    assert_eq!(by_host(&server, &window), [kj("n1", 300), kj("n2", 60)]);
    // The labels were on the wrong board.
    home.write("inventory.csv", "host,chassis\nn2,bmc-1\n");
    wait_for("the inventory", Duration::from_secs(30), || {
        (by_host(&server, &window) == [kj("n1", 60), kj("n2", 300)]).then_some(())
    });
    assert_eq!(json_at(&server, "/api/v1/hosts/n2")["host"]["joined_by"], "inventory");
    assert_eq!(unmatched(&server, ""), [("n1".to_owned(), "no-bmc".to_owned())]);
}
