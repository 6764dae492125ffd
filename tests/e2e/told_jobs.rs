//! Jobs that cannot be as they are told: of devices that are not there, and of machines that never reported.

use serde_json::{Value, json};

use crate::harness::{Home, Server, Writer, get, post, slot_ago_ms, wattledger};

fn tell(server: &Server, body: &Value) -> (u16, Value) {
    let answer = post(&format!("{}/api/v1/jobs", server.url), "application/json", body.to_string());
    (answer.status, serde_json::from_str(&answer.body).expect("JSON"))
}

#[test]
fn a_job_on_a_device_that_its_host_does_not_have_is_refused_by_name_and_alone() {
    let home = Home::new();
    let inventory = home.write("inventory.csv", "host,chassis\nnode-1,bmc-1\n");
    let server = home.start_with("127.0.0.1:0", &["--inventory", inventory.to_str().expect("a plain path")]);
    let base = slot_ago_ms(4);
    let points: Vec<_> = (0..=10).map(|n| (base + n * 60_000, Some(300_000))).collect();
    let mut writer = Writer::new(&server.url, 1, "node-1");
    for number in 1..=12 {
        writer.power("gpu", &format!("GPU-{number:02}"), &points, 60_000);
    }
    let readings: Vec<Value> = points
        .iter()
        .map(|(at, _)| json!({"scope": "chassis", "device": "psu-1", "at_ms": at, "watts": 500, "period_ms": 60_000}))
        .collect();
    let body = json!({"stream": "bmc", "seq": 1, "chassis": "bmc-1", "readings": readings});
    assert_eq!(crate::harness::post_json(&server.url, &body).json()["refused"], json!([]));

    let job = |id: &str, device: &str| json!({"id": id, "host": "node-1", "devices": [device]});
    let (status, told) = tell(&server, &job("1", "GPU-jl-33"));
    assert_eq!((status, &told["code"], &told["field"]), (400, &json!("unknown-device"), &json!("devices")), "{told}");
    let detail = told["detail"].as_str().expect("words");
    assert!(detail.contains("node-1 has no device \"GPU-jl-33\"") && detail.contains("GPU-10 and 2 more"), "{detail}");
    assert_eq!(told["known"].as_array().map(Vec::len), Some(10));
    assert_eq!(get(&format!("{}/api/v1/jobs/1", server.url)).status, 404, "nothing was taken");
    // In the past alike.
    let mut past = job("2", "GPU-jl-33");
    (past["start"], past["stop"]) = (json!(base / 1000), json!(base / 1000 + 300));
    assert_eq!(tell(&server, &past).1["code"], "unknown-device");

    // Alone among others; an instance of a board and what only the host's BMC has are there.
    let jobs =
        json!({"jobs": [job("3", "GPU-jl-33"), job("4", "MIG-GPU-03/1/0"), job("5", "psu-1"), job("6", "GPU-12")]});
    let (status, told) = tell(&server, &jobs);
    assert_eq!((status, &told["taken"], &told["refused"][0]["id"]), (200, &json!(3), &json!("3")), "{told}");
    // Of a host that never reported nothing is known: as before.
    let (status, told) = tell(&server, &json!({"id": "7", "host": "node-9", "devices": ["GPU-jl-33"]}));
    assert_eq!((status, &told["code"]), (404, &json!("no-such-host")), "{told}");
}

#[test]
fn jobs_of_the_past_name_the_hosts_that_never_reported() {
    let home = Home::new();
    let inventory = home.write("inventory.csv", "host,chassis,alias_of\nold-name,,node-1\nsled-1,bmc-1,\n");
    let server = home.start_with("127.0.0.1:0", &["--inventory", inventory.to_str().expect("a plain path")]);
    let base = slot_ago_ms(4);
    let points: Vec<_> = (0..=10).map(|n| (base + n * 60_000, Some(300_000))).collect();
    Writer::new(&server.url, 1, "node-1").power("chassis", "wall", &points, 60_000);
    let (start, stop) = (base / 1000, base / 1000 + 300);
    let one = json!({"id": "1", "hosts": "nosuch2,node-1", "start": start, "stop": stop});
    let (status, told) = tell(&server, &one);
    assert_eq!((status, &told["job"]["unknown_hosts"]), (200, &json!(["nosuch2"])), "{told}");
    // One that has another name now is known, and one that only its chassis measures.
    let reading = json!([{"scope": "chassis", "device": "bmc", "at_ms": base, "watts": 500, "period_ms": 60_000}]);
    let body = json!({"stream": "bmc", "seq": 1, "chassis": "bmc-1", "readings": reading});
    assert_eq!(crate::harness::post_json(&server.url, &body).json()["refused"], json!([]));
    let known = json!({"id": "9", "hosts": "old-name,sled-1", "start": start, "stop": stop});
    let (status, told) = tell(&server, &known);
    assert_eq!((status, told["job"].get("unknown_hosts")), (200, None), "{told}");
    let (status, told) = tell(
        &server,
        &json!({"jobs": [
            {"id": "2", "hosts": "nosuch[1-2]", "start": start, "stop": stop},
            {"id": "3", "hosts": "nosuch[2-3],node-1", "start": start, "stop": stop},
        ]}),
    );
    let expected = json!(["nosuch1", "nosuch2", "nosuch3"]);
    assert_eq!((status, &told["taken"], &told["unknown_hosts"]), (200, &json!(2), &expected), "{told}");
    assert_eq!(told["unknown_host_count"], 3);

    let sacct = format!("JobIDRaw|NodeList|Start|End\n17|node-1,lost[1-7]|{start}|{stop}\n");
    let file = home.write("sacct.txt", sacct);
    let arguments = ["jobs", "import", "--server", &server.url, "--sacct", file.to_str().expect("a plain path")];
    let done = wattledger(&home, &arguments).ok();
    assert!(done.out.contains("1 jobs taken"), "{}", done.out);
    assert!(done.out.contains("7 hosts never reported"), "{}", done.out);
    assert!(done.out.contains("lost1, lost2, lost3, lost4, lost5, …"), "{}", done.out);
}
