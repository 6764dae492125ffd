//! Budgets: what is used and forecast against closed forms, and a webhook that is told of each crossing once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Home, Point, Server, await_one_day, batch, get, now_ms, post_json, power, series, stream, wait_for, wattledger,
};

const DAY: i64 = 86_400_000;
const SECRET: &str = "s3cret-of-the-test";

/// Somebody who is told of crossings. The first message is turned away with a 503.
struct Hook {
    address: String,
    told: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Hook {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}/hook/of-the-test", listener.local_addr().expect("an address"));
        let told: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let heard = Arc::clone(&told);
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = BufReader::new(connection.expect("a connection"));
                let (mut head, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    connection.read_line(&mut line).expect("a line");
                    if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                        length = value.trim().parse().expect("a length");
                    }
                    if line.trim().is_empty() {
                        break;
                    }
                    head += &line;
                }
                let mut body = vec![0; length];
                connection.read_exact(&mut body).expect("a body");
                let mut heard = heard.lock().expect("no panic");
                let status = if heard.is_empty() { "503 Busy" } else { "204 No Content" };
                heard.push((head, serde_json::from_slice(&body).expect("JSON")));
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                connection.get_mut().write_all(answer.as_bytes()).expect("an answer");
            }
        });
        Self { address, told }
    }

    fn told(&self) -> Vec<(String, Value)> {
        self.told.lock().expect("no panic").clone()
    }

    /// Which thresholds were told, in the order in which they came, the one that was turned away left out.
    fn thresholds(&self) -> Vec<u64> {
        self.told()
            .iter()
            .skip(1)
            .map(|(_, message)| message["threshold_percent"].as_u64().expect("a number"))
            .collect()
    }
}

/// The start of this month in UTC, its length, and now; in milliseconds.
fn month() -> (i64, i64, i64) {
    await_one_day();
    let now = now_ms();
    let start = first_of_month(now);
    (start, first_of_month(start + 32 * DAY) - start, now)
}

/// The start of the month that holds an instant, by counting days back to the first.
fn first_of_month(ms: i64) -> i64 {
    let mut day = ms.div_euclid(DAY);
    while civil_day(day) != 1 {
        day -= 1;
    }
    day * DAY
}

/// The day of the month. Howard Hinnant, "chrono-compatible low-level date algorithms".
fn civil_day(days: i64) -> i64 {
    let doe = (days + 719_468).rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    doy - (153 * ((5 * doy + 2) / 153) + 2) / 5 + 1
}

/// A host at 1000 W since eight days before the month.
fn constant_load(server: &Server, (start, now): (i64, i64)) {
    let begin = start - 8 * DAY;
    let mut points: Vec<Point> =
        (0..=(now - begin) / 1_200_000).map(|n| (begin + n * 1_200_000, Some(1_000_000))).collect();
    points.push((now, Some(1_000_000)));
    let readings: Vec<Value> = points.iter().map(|point| power("chassis", "wall", *point, 1_200_000)).collect();
    let mut body = batch(&stream(1), 1, "node-1", &readings);
    body["labels"] = json!({ "team": "nlp" });
    body["import"] = json!(true);
    assert_eq!(post_json(&server.url, &body).status, 200);
}

/// A host of the team whose counter counted so many joules since the start of the month.
fn counted(server: &Server, (start, now): (i64, i64), joules: i64) {
    let reading = |at_ms: i64, joules: i64| json!({ "scope": "chassis", "device": "wall", "at_ms": at_ms, "joules": joules, "epoch": "one" });
    let mut body = batch(&stream(2), 1, "node-2", &[reading(start, 0), reading(now, joules)]);
    body["labels"] = json!({ "team": "nlp" });
    body["import"] = json!(true);
    assert_eq!(post_json(&server.url, &body).status, 200);
}

/// A kWh figure in six decimals from milliwatt hours.
fn kwh(milli_wh: i64) -> String {
    format!("{}.{:06}", milli_wh / 1_000_000, milli_wh % 1_000_000)
}

fn start(home: &Home, budgets: &str) -> Server {
    let file = home.write("budgets.toml", budgets);
    let config = home.write("wattledger.toml", format!("[budgets]\nfile = \"{}\"\n", file.display()));
    home.start_with("127.0.0.1:0", &["--config", config.to_str().expect("a plain path")])
}

fn standing(server: &Server, name: &str) -> Value {
    let answer = get(&format!("{}/api/v1/budgets", server.url)).json();
    let found = answer["budgets"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name).cloned());
    found.unwrap_or_else(|| panic!("no {name} in {answer}"))
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no decimal text"))
}

#[test]
fn constant_load_is_forecast_as_the_whole_month() {
    let (home, (begin, length, now)) = (Home::new(), month());
    let server = start(&home, "[[budget]]\nname = \"all\"\nkwh = \"100000\"\n");
    constant_load(&server, (begin, now));
    let used_kwh = (now - begin) as f64 / 3.6e6;
    let all = wait_for("the readings in the budget", Duration::from_secs(20), || {
        let all = standing(&server, "all");
        (number(&all["used"]) > 0.0).then_some(all)
    });
    assert!((number(&all["used"]) - used_kwh).abs() < 1e-5, "{used_kwh}: {all}");
    // Seven or more days before today are known, whatever day it is: 1 kW for all of the month.
    let whole_kwh = length as f64 / 3.6e6;
    let late = (now_ms() - now) as f64 / 3.6e6;
    let off = whole_kwh - number(&all["forecast"]);
    assert!((-1e-3..late + 1e-3).contains(&off), "{whole_kwh}, read {late} h ago: {all}");
    assert_eq!((all["state"].as_str(), all["unit"].as_str()), (Some("ok"), Some("kWh")), "{all}");
    assert!(all["basis"]["days"].as_u64().is_some_and(|days| days >= 7), "{all}");
    let rollup = get(&format!("{}/api/v1/rollup?window=month&by=cluster&tz=UTC", server.url)).json();
    let shown: f64 = rollup["rows"][0]["energy_kwh"].as_f64().expect("a figure");
    assert!((number(&all["used"]) - shown).abs() < 1e-6, "the same as the rollup's: {rollup}");
}

/// That 50 and 80 % are crossed is a metric, and a line in the terminal.
fn is_shown(home: &Home, server: &Server) {
    let crossed = series(&server.url, "wattledger_budget_threshold_crossed");
    let value = |threshold: &str| {
        let label = format!("budget=\"nlp\",threshold=\"{threshold}\"");
        crossed.iter().find(|(labels, _)| *labels == label).map(|(_, value)| *value)
    };
    assert_eq!([value("50"), value("80"), value("100")], [Some(1.0), Some(1.0), Some(0.0)], "{crossed:?}");
    let table = wattledger(home, &["budgets", "--server", &server.url]).ok().out;
    assert!(table.contains("nlp") && table.contains("warning") && table.contains("50 %, 80 %"), "{table}");
}

#[test]
fn a_webhook_is_told_of_each_threshold_once_also_after_a_restart() {
    let (home, (begin, _, now)) = (Home::new(), month());
    let hook = Hook::new();
    home.write("secret", format!("{SECRET}\n"));
    // 1 kW for 3.6 ms is 1 mWh: 85 % of the limit are used so far.
    let used_mwh = (now - begin) * 10 / 36;
    let limit = used_mwh * 100 / 85;
    let budgets = format!(
        "[[budget]]\nname = \"nlp\"\nwhere = \"team=nlp\"\nkwh = \"{}\"\nwebhook = \"{}\"\nsecret_file = \"{}\"\n\n\
         [[budget]]\nname = \"others\"\nwhere = \"team!=nlp\"\nkwh = \"1\"\nwebhook = \"{}\"\n",
        kwh(limit),
        hook.address,
        home.path("secret").display(),
        hook.address,
    );
    let server = start(&home, &budgets);
    constant_load(&server, (begin, now));
    let wait = |count: usize| {
        wait_for(&format!("{count} messages"), Duration::from_secs(60), || {
            let _ = get(&format!("{}/api/v1/budgets", server.url));
            (hook.told().len() >= count).then_some(())
        });
    };
    // 50 and 80 %, one of them twice because it was turned away at first.
    wait(3);
    let mut told = hook.thresholds();
    told.sort_unstable();
    assert_eq!(told, [50, 80]);
    let messages = hook.told();
    let turned_away = &messages[0].1;
    assert_eq!(
        messages.iter().filter(|(_, message)| message["id"] == turned_away["id"]).count(),
        2,
        "the same message"
    );
    for (head, message) in &messages {
        assert!(head.to_lowercase().contains(&format!("authorization: bearer {SECRET}")), "{head}");
        assert_eq!((message["budget"].as_str(), message["kind"].as_str()), (Some("nlp"), Some("used")), "{message}");
        assert!((number(&message["used_share"]) - 0.85).abs() < 0.01, "{message}");
    }
    let nlp = wait_for("the note that they arrived", Duration::from_secs(20), || {
        let nlp = standing(&server, "nlp");
        (nlp["webhook"]["pending"] == 0).then_some(nlp)
    });
    assert_eq!((nlp["state"].as_str(), nlp["webhook"]["delivered"].as_u64()), (Some("warning"), Some(2)), "{nlp}");
    let at = nlp["thresholds"][1]["at"].clone();
    assert!(at.is_string() && nlp["thresholds"][2]["crossed"] == false, "{nlp}");
    is_shown(&home, &server);

    // Killed and started again: nothing is told anew; what is crossed afterwards is.
    let logged = server.logged();
    server.kill();
    let server = start(&home, &budgets);
    assert_eq!(standing(&server, "nlp")["thresholds"][1]["at"], at);
    // Three tenths of the limit: 1 mWh is 3.6 J. In whole joules, also in the first minutes of a month.
    counted(&server, (begin, now), limit * 108 / 100);
    wait_for("the message after the restart", Duration::from_secs(60), || {
        let _ = get(&format!("{}/api/v1/budgets", server.url));
        (hook.told().len() >= 4).then_some(())
    });
    // Several looks later it is still one message each.
    let sent = series(&server.url, "wattledger_budget_used_ratio");
    assert!(sent.iter().any(|(labels, share)| labels == "budget=\"nlp\"" && *share > 1.1), "{sent:?}");
    wait_for("the note that it arrived", Duration::from_secs(20), || {
        (standing(&server, "nlp")["webhook"]["delivered"] == 3).then_some(())
    });
    let mut told = hook.thresholds();
    told.sort_unstable();
    assert_eq!(told, [50, 80, 100]);
    assert_eq!(standing(&server, "nlp")["state"], "exceeded");
    let logged = logged + &server.logged();
    for secret in [SECRET, "of-the-test"] {
        assert!(!logged.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_forecast_beyond_the_budget_is_told_before_it_is_used() {
    let (home, (begin, length, now)) = (Home::new(), month());
    let hook = Hook::new();
    // Halfway between what is used and what will be; 1 kW for 3.6 ms is 1 mWh.
    let limit = ((now - begin) + length) / 2 / 36 * 10;
    let budgets = format!(
        "[[budget]]\nname = \"all\"\nkwh = \"{}\"\nthresholds = [100]\nwebhook = \"{}\"\nnotify_forecast = true\n",
        kwh(limit),
        hook.address
    );
    let server = start(&home, &budgets);
    constant_load(&server, (begin, now));
    let all = wait_for("the message of the forecast", Duration::from_secs(60), || {
        let all = standing(&server, "all");
        (all["webhook"]["delivered"] == 1).then_some(all)
    });
    assert_eq!(
        (all["state"].as_str(), all["thresholds"][0]["crossed"].as_bool()),
        (Some("warning"), Some(false)),
        "{all}"
    );
    assert!(all["forecast_reached_at"].is_string(), "{all}");
    let told = hook.told();
    assert_eq!(told.len(), 2, "it was turned away once: {told:?}");
    assert!(told.iter().all(|(_, message)| message["kind"] == "forecast"), "{told:?}");
    assert!(!told[0].0.to_lowercase().contains("authorization"), "there is no secret: {told:?}");
}

#[test]
fn a_bad_budgets_file_keeps_what_was_in_force_and_one_at_start_is_refused() {
    let home = Home::new();
    let server = start(&home, "[[budget]]\nname = \"all\"\nkwh = \"5\"\n");
    assert_eq!(standing(&server, "all")["limit"], "5.000000");
    home.write("budgets.toml", "[[budget]]\nname = \"all\"\nkwh = \"6\"\n");
    wait_for("the new limit", Duration::from_secs(20), || {
        (number(&standing(&server, "all")["limit"]) == 6.0).then_some(())
    });
    home.write("budgets.toml", "[[budget]]\nname = \"all\"\nkwh = \"lots\"\n");
    let told = wait_for("the word of the bad file", Duration::from_secs(20), || {
        get(&format!("{}/api/v1/budgets", server.url)).json()["file_problem"].as_str().map(str::to_owned)
    });
    assert!(told.contains("line 3") && told.contains("kwh"), "{told}");
    assert_eq!(number(&standing(&server, "all")["limit"]), 6.0);
    let config = home.path("wattledger.toml");
    let (config, data) = (config.display().to_string(), home.path("another").display().to_string());
    let done = wattledger(&home, &["serve", "--listen", "127.0.0.1:0", "--config", &config, "--data-dir", &data]);
    assert_eq!(done.status.code(), Some(2), "{}", done.err);
}
