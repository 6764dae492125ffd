//! `/metrics` as Prometheus's own tools and a real Prometheus see it.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;

use crate::harness::{
    Home, Killed, Writer, free_address, get, now_ms, output, rollup, series, slot_ago_ms, slots_around, tool, wait_for,
};

/// Two hosts, labels that need escaping, a refusal.
fn book(url: &str) {
    let start = slot_ago_ms(3);
    for (number, host) in ["node-1", "node-2"].into_iter().enumerate() {
        let labels = json!({ "team": "say \"hi\" \\ to <b>", "rack": "r1" });
        let mut writer = Writer::new(url, number as u64, host).labelled(labels);
        let points: Vec<_> = (0..=40).map(|n| (start + n * 30_000, Some(123_456 + 1000 * n))).collect();
        writer.power("chassis", "wall", &points, 30_000);
        writer.power("gpu", "GPU-a", &[(start, Some(-1)), (start + 1000, Some(1))], 1000);
    }
    // Power now is only told of a host that is live.
    let now = now_ms();
    Writer::new(url, 9, "node-live").power("chassis", "wall", &[(now - 9000, Some(1)), (now, Some(2))], 10_000);
}

#[test]
fn promtool_finds_nothing_wrong_with_metrics() {
    let Some(promtool) = tool("promtool", "promtool check metrics") else { return };
    let home = Home::new();
    let server = home.start();
    book(&server.url);
    let page = get(&format!("{}/metrics", server.url));
    assert_eq!(page.status, 200);
    for name in [
        "wattledger_energy_joules_total",
        "wattledger_readings_total",
        "wattledger_readings_refused_total",
        "wattledger_power_watts",
        "wattledger_hosts",
        "wattledger_accounts",
        "wattledger_accounts_max",
        "wattledger_host_info",
    ] {
        assert!(page.body.lines().any(|line| line.starts_with(&format!("# TYPE {name} "))), "{name} is not declared");
    }
    let file = home.write("metrics.txt", &page.body);
    let mut command = home.command(promtool.to_str().expect("a plain path"));
    command.args(["check", "metrics"]).stdin(std::fs::File::open(file).expect("the page"));
    let done = output(&home, command, Duration::from_secs(30)).ok();
    assert_eq!((done.out.trim(), done.err.trim()), ("", ""), "no advice either");
}

#[test]
fn each_family_is_declared_once_and_stands_together() {
    let home = Home::new();
    let server = home.start();
    book(&server.url);
    let page = get(&format!("{}/metrics", server.url)).body;
    let mut declared: Vec<&str> = Vec::new();
    for line in page.lines().filter(|line| !line.is_empty()) {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap_or_default();
            assert!(!declared.contains(&name), "{name} is declared twice");
            declared.push(name);
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = declared.last().copied().unwrap_or_default();
            assert!(name.starts_with(family) && !family.is_empty(), "{name} stands under {family}");
        }
    }
}

#[test]
fn a_real_prometheus_shows_the_same_counter() {
    let Some(prometheus) = tool("prometheus", "a real Prometheus scrapes /metrics") else { return };
    let home = Home::new();
    let server = home.start();
    book(&server.url);
    let ours = series(&server.url, "wattledger_energy_joules_total");
    assert!(!ours.is_empty());

    let port = free_address();
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: wattledger\n    static_configs:\n      - targets: ['{}']\n",
        server.address()
    );
    let config = home.write("prometheus.yml", config);
    let mut command = home.command(prometheus.to_str().expect("a plain path"));
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", home.path("tsdb").display()))
        .arg(format!("--web.listen-address={port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _running = Killed(command.spawn().expect("a Prometheus"));
    wait_for("a ready Prometheus", Duration::from_secs(30), || {
        std::net::TcpStream::connect(&port).ok().filter(|_| get(&format!("http://{port}/-/ready")).status == 200)
    });
    let scraped = wait_for("the counter in Prometheus", Duration::from_secs(30), || {
        let answer = get(&format!("http://{port}/api/v1/query?query=wattledger_energy_joules_total")).json();
        let result = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        (!result.is_empty()).then_some(result)
    });
    assert_eq!(scraped.len(), ours.len(), "{scraped:?}");
    for (labels, value) in ours {
        let same = scraped.iter().find(|one| {
            ["cluster", "host", "scope", "device"]
                .iter()
                .all(|key| labels.contains(&format!("{key}=\"{}\"", one["metric"][key].as_str().unwrap_or_default())))
        });
        let same = same.unwrap_or_else(|| panic!("{labels} is not in {scraped:?}"));
        let shown: f64 = same["value"][1].as_str().and_then(|text| text.parse().ok()).expect("a number");
        assert_eq!(shown, value, "{labels}");
    }
}

#[test]
fn the_billed_counter_is_the_rollups_figure_also_over_a_kill() {
    let home = Home::new();
    let server = home.start();
    let start = slot_ago_ms(3);
    let points: Vec<_> = (0..=40).map(|n| (start + n * 30_000, Some(600_000))).collect();
    let half: Vec<_> = points.iter().map(|(ms, _)| (*ms, Some(250_000))).collect();
    let mut writer = Writer::new(&server.url, 1, "node-1");
    writer.power("chassis", "wall", &points, 30_000);
    writer.power("gpu", "GPU-a", &half, 30_000);
    // 600 W for 1200 s: the chassis alone, whatever its GPU draws.
    let billed = || series(&server.url, "wattledger_billed_energy_joules_total");
    let before = billed();
    assert_eq!(before.iter().map(|(_, joules)| *joules).collect::<Vec<_>>(), [720_000.0]);
    assert_eq!(rollup(&server.url, &slots_around(start, start + 1_200_000), "host=node-1").energy_uj, 720_000_000_000);
    server.kill();
    let server = home.start();
    assert_eq!(series(&server.url, "wattledger_billed_energy_joules_total"), before, "the same series goes on");
}
