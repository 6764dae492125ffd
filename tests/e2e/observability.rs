//! The rules and the dashboard of `configs/`, against what the programs really serve.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{
    Home, Killed, Writer, free_address, get, made_up, now_ms, output, rollup, series, slot_ago_ms, slots_around, tool,
    wait_for,
};

fn shipped(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(path)
}

fn text(path: &str) -> String {
    std::fs::read_to_string(shipped(path)).expect("a file of ours")
}

/// What looks like a metric of ours. What a rule records has a colon before it.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c| !is_part(c));
    words.filter(|word| word.starts_with("wattledger_")).map(str::to_owned).collect()
}

/// The expressions of the dashboard, wherever they stand.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| expressions(one, found)),
        Value::Object(fields) => {
            for (name, one) in fields {
                match one.as_str().filter(|_| ["expr", "query"].contains(&name.as_str())) {
                    Some(text) => found.push(text.to_owned()),
                    None => expressions(one, found),
                }
            }
        }
        _ => {}
    }
}

fn declared(page: &str) -> impl Iterator<Item = String> + '_ {
    page.lines().filter_map(|line| Some(line.strip_prefix("# TYPE ")?.split(' ').next()?.to_owned()))
}

#[test]
fn rules_and_dashboard_use_only_metrics_that_exist() {
    let home = Home::new();
    let rates = home.write("rates.toml", "[[rate]]\nprice_per_kwh = \"0.12\"\ncurrency = \"EUR\"\n");
    let budgets = home.write("budgets.toml", "[[budget]]\nname = \"all\"\nkwh = \"1\"\n");
    let config = format!("[files]\nrates = {rates:?}\n[budgets]\nfile = {budgets:?}\n");
    let config = home.write("aggregator.toml", config);
    let server = home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")]);
    // A cost, a budget that is used and an estimated hole are there before anybody asks.
    let start = slot_ago_ms(1);
    let minutes = (0..=10).filter(|n| !(3..6).contains(n));
    let points: Vec<_> = minutes.map(|n| (start + n * 60_000, Some(600_000))).collect();
    Writer::new(&server.url, 1, "node-2").power("chassis", "wall", &points, 60_000);
    // And a day before today, on which a forecast rests also in the first hour of a month.
    let midnight = now_ms() / 86_400_000 * 86_400_000;
    let yesterday: Vec<_> = (-96..=0).map(|n| (midnight + n * 900_000, Some(600_000))).collect();
    Writer::new(&server.url, 2, "node-3").power("chassis", "wall", &yesterday, 900_000);
    let address = free_address();
    let agent = home.write("agent.toml", made_up("node-1", 200, 2));
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    command.args(["run", "--server", &server.url, "--state-dir"]).arg(home.path("agent")).arg("--config").arg(agent);
    command.env("WATTLEDGER_AGENT__METRICS__LISTEN", &address).stdout(Stdio::null()).stderr(Stdio::null());
    let _agent = Killed(command.spawn().expect("an agent"));
    wait_for("readings in the ledger", Duration::from_secs(60), || {
        (!series(&server.url, "wattledger_power_watts").is_empty()).then_some(())
    });
    wait_for("a reading on disk, for the agent", Duration::from_secs(60), || {
        std::net::TcpStream::connect(&address).ok()?;
        let page = get(&format!("http://{address}/metrics")).body;
        page.contains("# TYPE wattledger_agent_last_durable_timestamp_seconds").then_some(())
    });
    wait_for("the budget's standing", Duration::from_secs(60), || {
        (!series(&server.url, "wattledger_budget_used_ratio").is_empty()).then_some(())
    });
    let mut used = Vec::new();
    let rules = text("prometheus/wattledger.rules.yml");
    used.extend(rules.lines().filter(|line| !line.trim_start().starts_with('#')).map(str::to_owned));
    let board: Value = serde_json::from_str(&text("grafana/wattledger.json")).expect("JSON");
    expressions(&board, &mut used);
    let used: BTreeSet<String> = used.iter().flat_map(|line| metrics_in(line)).collect();
    assert!(used.len() > 20, "{used:?}");
    let exist = || -> BTreeSet<String> {
        let pages = [get(&format!("{}/metrics", server.url)).body, get(&format!("http://{address}/metrics")).body];
        pages.iter().flat_map(|page| declared(page)).collect()
    };
    // Some are worked out now and then only: this month's cost may still be of the moment before there was any.
    let since = Instant::now();
    let (mut missing, mut known) = (Vec::new(), BTreeSet::new());
    while since.elapsed() < Duration::from_secs(60) {
        known = exist();
        missing = used.difference(&known).cloned().collect();
        if missing.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    assert!(missing.is_empty(), "{missing:?} are no metrics of ours: {known:?}");
}

#[test]
fn promtool_accepts_the_rules_and_their_tests() {
    let Some(promtool) = tool("promtool", "promtool check rules and test rules") else { return };
    let home = Home::new();
    let promtool = promtool.to_str().expect("a plain path");
    for arguments in [
        ["check", "rules", "wattledger.rules.yml"],
        ["test", "rules", "wattledger.rules_test.yml"],
        ["check", "config", "prometheus.yml"],
    ] {
        let mut command = home.command(promtool);
        command.args(arguments).current_dir(shipped("prometheus"));
        let done = output(&home, command, Duration::from_secs(30));
        assert!(done.status.success(), "{arguments:?}: {}{}", done.out, done.err);
    }
}

/// A Prometheus that scrapes an aggregator five times a second and evaluates the shipped rules.
fn prometheus(home: &Home, program: &Path, target: &str) -> (Killed, String) {
    let address = free_address();
    home.write("wattledger.rules.yml", text("prometheus/wattledger.rules.yml"));
    let config = format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 1s }}\n\
         rule_files: [wattledger.rules.yml]\n\
         scrape_configs:\n  - job_name: wattledger\n    honor_labels: true\n    static_configs:\n      - targets: ['{target}']\n"
    );
    let config = home.write("prometheus.yml", config);
    let mut command = home.command(program.to_str().expect("a plain path"));
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", home.path("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let running = Killed(command.spawn().expect("a Prometheus"));
    let url = format!("http://{address}");
    wait_for("a ready Prometheus", Duration::from_secs(30), || {
        std::net::TcpStream::connect(&address).ok().filter(|_| get(&format!("{url}/-/ready")).status == 200)
    });
    (running, url)
}

/// The one value of a query, if there is one.
fn value(prometheus: &str, query: &str) -> Option<f64> {
    let coded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = get(&format!("{prometheus}/api/v1/query?query={coded}")).json();
    let result = answer["data"]["result"].as_array().expect("a vector").clone();
    assert!(result.len() <= 1, "{query}: {result:?}");
    result.first()?["value"][1].as_str()?.parse().ok()
}

#[test]
fn a_real_prometheus_evaluates_the_rules_and_its_increase_is_the_rollup_over_a_restart() {
    let Some(program) = tool("prometheus", "a real Prometheus evaluates the shipped rules") else { return };
    let home = Home::new();
    let address = free_address();
    let server = home.start_with(&address, &[]);
    let (first, second) = (slot_ago_ms(5), slot_ago_ms(3));
    let book = |url: &str, start: i64, number: u64| {
        let points: Vec<_> = (0..=60).map(|n| (start + n * 30_000, Some(600_000))).collect();
        let mut writer = Writer::new(url, number, "node-1").labelled(json!({ "team": "nlp" }));
        writer.power("chassis", "wall", &points, 30_000);
    };
    book(&server.url, first, 1);
    let (_running, prometheus) = prometheus(&home, &program, &address);
    let billed = "wattledger_billed_energy_joules_total{host=\"node-1\"}";
    let before = wait_for("the counter", Duration::from_secs(30), || value(&prometheus, billed));
    assert_eq!(before, 1_080_000.0, "600 W for half an hour");
    let since = now_ms();

    server.kill();
    let server = home.start_with(&address, &[]);
    book(&server.url, second, 2);
    wait_for("the counter of the aggregator that was started again", Duration::from_secs(60), || {
        value(&prometheus, billed).filter(|joules| *joules > before)
    });
    // Extrapolation to the borders of the window is at most a scrape each: of 20 s that is a hundredth.
    let window = 20_000;
    wait_for("a window of samples", Duration::from_secs(60), || (now_ms() - since > window - 4000).then_some(()));
    let rolled = rollup(&server.url, &slots_around(second, second + 1_800_000), "host=node-1").energy_uj;
    let rolled = rolled as f64 / 1e6;
    let span = (now_ms() - since) / 1000 + 20;
    let exact = value(&prometheus, &format!("max_over_time({billed}[{span}s]) - min_over_time({billed}[{span}s])"));
    assert_eq!(exact, Some(rolled), "to the joule");
    let increase = value(&prometheus, &format!("sum(increase({billed}[{span}s]))")).expect("an increase");
    assert!((increase / rolled - 1.0).abs() < 0.02, "{increase} J, and {rolled} J in the rollup");
    assert_eq!(value(&prometheus, &format!("resets({billed}[{span}s])")), Some(0.0), "the counter goes on");

    let rules = wait_for("every rule evaluated", Duration::from_secs(30), || {
        let groups = get(&format!("{prometheus}/api/v1/rules")).json()["data"]["groups"].as_array()?.clone();
        let rules: Vec<Value> = groups.iter().flat_map(|group| group["rules"].as_array().cloned()).flatten().collect();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    assert!(rules.len() > 15);
    for rule in rules {
        assert_eq!((&rule["health"], rule["lastError"].as_str().unwrap_or("")), (&json!("ok"), ""), "{rule}");
    }
}
