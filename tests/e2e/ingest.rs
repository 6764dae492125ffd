//! What anyone may send: once is once, a refusal is named, and what is answered with 200 is on disk.

use serde_json::{Value, json};

use crate::harness::{Home, Writer, batch, post_json, power, refused, rollup, slot_ago_ms, slots_around, stream};

/// 100 W for a minute.
fn minute(start: i64) -> Vec<Value> {
    [0, 30, 60].map(|second| power("chassis", "wall", (start + second * 1000, Some(100_000)), 30_000)).to_vec()
}

#[test]
fn the_same_batch_twice_books_once() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let window = slots_around(start, start + 60_000);
    let body = batch(&stream(1), 1, "node-1", &minute(start));

    let first = post_json(&server.url, &body).json();
    assert_eq!((&first["durable_seq"], &first["booked"]), (&json!(1), &json!(3)), "{first}");
    assert_eq!(first["refused"], json!([]), "{first}");
    for _ in 0..3 {
        assert_eq!(post_json(&server.url, &body).json(), first, "the same answer");
    }
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 6_000_000_000, "100 W for 60 s, once");

    // Another body under that number, an older number, a number that leaves a hole: said, not booked.
    let other = batch(&stream(1), 1, "node-1", &minute(start + 120_000));
    let conflict = post_json(&server.url, &other);
    assert_eq!(conflict.status, 409, "{}", conflict.body);
    conflict.problem();
    let second = batch(&stream(1), 2, "node-1", &minute(start + 60_000));
    post_json(&server.url, &second).json();
    let hole = post_json(&server.url, &batch(&stream(1), 9, "node-1", &minute(start + 120_000)));
    assert_eq!(hole.status, 409, "{}", hole.body);
    hole.problem();
    assert!(hole.body.contains('3'), "the expected number is told: {}", hole.body);
    assert_eq!(post_json(&server.url, &body).json(), first, "an older number with its own body is a repeat");
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 12_000_000_000, "two minutes, once each");
}

#[test]
fn a_repeat_after_kill_minus_9_gets_the_same_answer() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let body = batch(&stream(2), 1, "node-1", &minute(start));
    let first = post_json(&server.url, &body).json();
    server.kill();

    let server = home.start();
    let window = slots_around(start, start + 60_000);
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 6_000_000_000, "answered with 200: on disk");
    assert_eq!(post_json(&server.url, &body).json(), first);
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 6_000_000_000, "booked once");
}

#[test]
fn a_refused_reading_is_named_and_blocks_nobody() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let day = 86_400_000;
    let reading =
        |device: &str, ms: i64, watts: Value| json!({ "scope": "gpu", "device": device, "at_ms": ms, "watts": watts });
    let mut readings = minute(start);
    readings.extend([
        reading("GPU-negative", start, json!(-1.0)),
        reading("GPU-sentinel", start, json!(4_294_967_295_u32)),
        reading("GPU-too-much", start, json!(100_000.0)),
        reading("GPU-tomorrow", start + 2 * day, json!(100.0)),
        reading("GPU-last-year", start - 300 * day, json!(100.0)),
    ]);
    let answer = post_json(&server.url, &batch(&stream(3), 1, "node-1", &readings)).json();
    assert_eq!(answer["booked"], 3, "the good ones: {answer}");
    for (device, reason) in [
        ("GPU-negative", "power-negative"),
        ("GPU-sentinel", "sentinel"),
        ("GPU-too-much", "above-ceiling"),
        ("GPU-tomorrow", "from-future"),
        ("GPU-last-year", "too-old"),
    ] {
        let named = json!({ "scope": "gpu", "device": device, "reason": reason, "count": 1 });
        let all = answer["refused"].as_array().expect("a list");
        assert!(all.contains(&named), "{named} in {answer}");
        assert_eq!(refused(&server.url, reason), 1, "{reason}");
    }
    let window = slots_around(start, start + 60_000);
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 6_000_000_000, "nothing was booked for the refused ones");
}

#[test]
fn a_device_beyond_its_owners_cap_is_refused_by_name_and_the_others_go_on() {
    let home = Home::new();
    let config = home.write("wattledger.toml", "[ledger]\nmax_accounts_per_owner = 2\n");
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    let start = slot_ago_ms(3);
    let mut writer = Writer::new(&server.url, 4, "node-1");
    let at = |device: &str, second: i64| power("gpu", device, (start + second * 1000, Some(100_000)), 30_000);
    let answer = writer.send(&["GPU-a", "GPU-b", "GPU-c"].map(|device| at(device, 0))).json();
    assert_eq!(answer["refused"][0]["device"], "GPU-c", "{answer}");
    assert_eq!(answer["refused"][0]["reason"], "owner-account-cap", "{answer}");
    writer.send(&[at("GPU-a", 60), at("GPU-b", 60)]).json();
    let window = slots_around(start, start + 60_000);
    assert_eq!(rollup(&server.url, &window, "").energy_uj, 12_000_000_000, "two GPUs at 100 W for a minute");
}
