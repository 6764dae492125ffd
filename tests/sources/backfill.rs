//! What a real Prometheus remembers of an exporter, in the built ledger.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::harness::{
    Done, Home, Killed, Server, free_address, get, now_ms, output, rows, series, slots_around, tool, wait_for,
};
use crate::prometheus::{Counter, Exporter, GPU};

/// A Prometheus that scrapes an exporter five times a second.
fn remembering(home: &Home, program: &Path, exporter: &str) -> (Killed, String) {
    let address = free_address();
    let config = format!(
        "global: {{ scrape_interval: 200ms, scrape_timeout: 200ms }}\n\
         scrape_configs:\n  - job_name: dcgm\n    static_configs:\n      - targets: ['{exporter}']\n"
    );
    let config = home.write("prometheus.yml", config);
    let mut command = home.command(program.to_str().expect("a plain path"));
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", home.path("tsdb").display()))
        .arg(format!("--web.listen-address={address}"));
    let running = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a Prometheus");
    let url = format!("http://{address}");
    wait_for("a ready Prometheus", Duration::from_secs(60), || {
        std::net::TcpStream::connect(&address).ok().filter(|_| get(&format!("{url}/-/ready")).status == 200)
    });
    (Killed(running), url)
}

/// The newest value that it has of a metric.
fn newest(prometheus: &str, metric: &str) -> Option<u64> {
    let answer = get(&format!("{prometheus}/api/v1/query?query={metric}")).json();
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

fn backfill(home: &Home, prometheus: &str, server: &Server, more: &[&str]) -> Done {
    let mut command = home.command(env!("CARGO_BIN_EXE_wattledger-agent"));
    command.args(["backfill", "--prometheus", prometheus, "--server", &server.url]).args(more);
    output(home, command, Duration::from_secs(60))
}

#[test]
fn what_prometheus_remembers_is_booked_once_to_the_microjoule() {
    let Some(program) = tool("prometheus", "a real Prometheus is asked what it remembers") else { return };
    let home = Home::new();
    let counter = Counter::new(7_000_000, 250_000, 2000);
    let shown = counter.clone();
    let exporter = Exporter::new(move || {
        let watts = if shown.is_done() { 0 } else { 250 };
        format!(
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu=\"0\",UUID=\"{GPU}\",job=\"training\"}} {}\n\
             DCGM_FI_DEV_POWER_USAGE{{gpu=\"0\",UUID=\"{GPU}\"}} {watts}\n",
            shown.mj()
        )
    });
    let address = exporter.url.trim_start_matches("http://").trim_end_matches("/metrics");
    let from_ms = now_ms();
    let (_running, prometheus) = remembering(&home, &program, address);
    let metric = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION";
    wait_for("the first scrape", Duration::from_secs(60), || newest(&prometheus, metric));
    counter.run();
    let end_mj = 7_000_000 + u64::try_from(counter.moves_uj() / 1000).expect("millijoules");
    wait_for("the last value", Duration::from_secs(60), || newest(&prometheus, metric).filter(|mj| *mj == end_mj));

    let server = home.start();
    let target = |url: &str| {
        format!("[[sources.prometheus.targets]]\nhosts = \"n1\"\nurl = \"{url}\"\nlabels = {{ team = \"nlp\" }}\n")
    };
    let config = home.write("agent.toml", target(&exporter.url));
    let config = config.to_str().expect("a plain path");
    let from = (from_ms / 1000 - 5).to_string();
    let energy = || {
        let window = slots_around(from_ms, now_ms());
        rows(&server.url, &format!("window={window}&by=team,host,scope,device"))
    };
    let told = backfill(&home, &prometheus, &server, &["--from", &from, "--config", config]).ok().out;
    assert!(told.starts_with("durable: ") && told.contains(" of 1 owners; booked "), "{told}");
    let booked = energy();
    assert_eq!(booked.len(), 1, "{booked:?}");
    assert_eq!((&*booked[0].by["team"], &*booked[0].by["device"]), ("nlp", GPU));
    assert_eq!(booked[0].energy_uj, counter.moves_uj(), "every scrape's register, and nothing else");
    assert!(series(&server.url, "wattledger_readings_total")[0].1 >= 10.0);

    // The same again is covered already, and so is what is read live of it from now on.
    let again = backfill(&home, &prometheus, &server, &["--from", &from, "--config", config]).ok().out;
    assert!(again.contains("already covered "), "{again}");
    assert_eq!(energy()[0].energy_uj, counter.moves_uj());

    let nothing = backfill(&home, &prometheus, &server, &["--from", &from, "--config", config, "--match", "job=\"x\""]);
    assert_eq!(nothing.status.code(), Some(1), "{}", nothing.err);
    assert!(nothing.err.contains("nothing is remembered of {job=\"x\"}"), "{}", nothing.err);
    for (arguments, told) in [
        (vec!["--from", &*from], "no exporter is configured"),
        (vec!["--from", "2100-01", "--config", config], "still to come"),
        (vec!["--from", "soon", "--config", config], "a month (2026-10)"),
    ] {
        let refused = backfill(&home, &prometheus, &server, &arguments);
        assert!(refused.status.code() == Some(2) && refused.err.contains(told), "{}", refused.err);
    }
    let nobody = backfill(&home, "http://127.0.0.1:9", &server, &["--from", &from, "--config", config]);
    assert!(nobody.status.code() == Some(1) && nobody.err.contains("http://127.0.0.1:9"), "{}", nobody.err);
}
