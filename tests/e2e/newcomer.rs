//! The README's first way: an aggregator with the example files, two nodes, a report. On made-up machines.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::harness::{Home, Killed, Server, await_one_day, counter, wait_for, wattledger};

fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name).display().to_string()
}

fn node(home: &Home, server: &Server, name: &str) -> Killed {
    let log = std::fs::File::create(home.path(&format!("{name}.log"))).expect("a log file");
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    command.args(["run", "--simulated", "--host", name, "--server", &server.url, "--state-dir"]);
    Killed(command.arg(home.path(name)).stdout(Stdio::null()).stderr(log).spawn().expect("the agent"))
}

fn report(home: &Home, server: &Server, arguments: &[&str]) -> String {
    wattledger(home, &[&["report", "--server", &server.url, "--window", "today"], arguments].concat()).ok().out
}

#[test]
fn two_nodes_have_a_priced_report_by_the_readmes_commands() {
    await_one_day();
    let home = Home::new();
    let (rates, inventory) = (example("rates.toml"), example("inventory.csv"));
    let server = home.start_with("127.0.0.1:0", &["--rates", &rates, "--inventory", &inventory]);
    let _nodes = ["node001", "node009"].map(|name| node(&home, &server, name));
    wait_for("readings of both nodes", Duration::from_secs(60), || {
        let answer: Value =
            serde_json::from_str(&report(&home, &server, &["--by", "team,host", "--format", "json"])).expect("JSON");
        let rows = answer["rows"].as_array()?;
        let of = |team: &str, host: &str| {
            let row = rows.iter().find(|row| row["by"]["team"] == team && row["by"]["host"] == host)?;
            let energy: i128 = row["energy_uj"].as_str()?.parse().ok()?;
            (energy > 0 && row["cost"][0]["currency"] == "EUR").then_some(())
        };
        // The example's labels: node009 moved to another team in July.
        of("nlp", "node001").zip(of("vision", "node009"))
    });
    let table = report(&home, &server, &["--by", "team,host"]);
    for word in ["nlp", "vision", "node001", "node009", "EUR", "total"] {
        assert!(table.to_lowercase().contains(&word.to_lowercase()), "{word}: {table}");
    }
    assert!(table.contains("2 hosts are simulated or replayed, no live machines"), "{table}");
    let page = home.path("today.html").display().to_string();
    report(&home, &server, &["--by", "team", "--format", "html", "--output", &page]);
    let page = std::fs::read_to_string(page).expect("a page");
    assert!(page.contains("vision") && page.contains("Simulated or replayed data: 2 of the hosts"), "{page}");
    assert!(counter(&server.url, "wattledger_readings_total", "") > 0.0);
}
