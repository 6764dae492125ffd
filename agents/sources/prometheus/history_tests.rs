//! A server on this machine that answers what the test says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use meter::{Microjoules, Milliwatts};

use super::*;
use crate::sources::prometheus::{Prometheus, PrometheusSettings, ScrapeSettings, history};

/// Answers these bodies in turn with these statuses, and tells what was asked.
fn server(answers: Vec<(u16, String)>) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (asked, forms) = channel();
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().expect("a connection");
            let mut reader = BufReader::new(stream);
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).expect("a head");
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().expect("a length");
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut form = vec![0; length];
            reader.read_exact(&mut form).expect("a form");
            asked.send(String::from_utf8(form).expect("text")).expect("somebody listens");
            let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
            // Who does not want to read to the end need not.
            let _ = reader.get_mut().write_all((head + &body).as_bytes());
        }
    });
    (url, forms)
}

fn past(only: &str) -> Past {
    let settings = format!(r#"{{"targets": [{{"hosts": "n1", "url": "http://{{host}}:9400"{only}}}]}}"#);
    let settings: PrometheusSettings = serde_json::from_str(&settings).expect("settings");
    Prometheus::new(&settings, "c1").pasts().expect("targets").pop().expect("a target")
}

fn asking(url: &str, matcher: &str) -> History {
    let access = ScrapeSettings { url: url.into(), ..ScrapeSettings::default() };
    history(&access, matcher, Duration::from_secs(5)).expect("a server")
}

/// A series of values at seconds.
fn series(name: &str, labels: &str, values: &[(f64, &str)]) -> String {
    let values: Vec<String> = values.iter().map(|(at, value)| format!(r#"[{at}, "{value}"]"#)).collect();
    format!(r#"{{"metric": {{"__name__": "{name}", {labels}}}, "values": [{}]}}"#, values.join(","))
}

fn matrix(series: &[String]) -> String {
    format!(r#"{{"status": "success", "data": {{"resultType": "matrix", "result": [{}]}}}}"#, series.join(","))
}

const GPU: &str =
    r#""UUID": "GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a", "gpu": "0", "instance": "n1:9400", "job": "dcgm""#;

#[tokio::test]
async fn scrapes_are_read_as_they_were_taken_and_dated_by_their_stamps() {
    let energy = series(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        GPU,
        &[(970.0, "1"), (1000.125, "5000"), (1030.125, "17000"), (1060.125, "29000"), (1090.125, "41000")],
    );
    let power = series("DCGM_FI_DEV_POWER_USAGE", GPU, &[(1000.125, "400.5"), (1060.125, "NaN")]);
    let (url, forms) = server(vec![(200, matrix(&[energy, power]))]);
    let mut past = past("");
    let history = asking(&url, r#"instance="{instance}",node="{host}""#);
    assert_eq!(past.asked(&history), r#"{instance="n1:9400",node="n1"}"#);
    let scrapes = past.recall(&history, 1_000_000..1_090_125).await.expect("an answer");
    assert_eq!(scrapes, 3, "what lies before the span and at its end belongs to others");
    let form = forms.recv().expect("a question");
    assert!(form.contains("time=1090.125") && form.contains("DCGM_FI_DEV_POWER_USAGE"), "{form}");
    assert!(form.contains("90126ms") && form.contains("instance%3D%22n1%3A9400%22"), "{form}");

    let (owner, refused) = past.take();
    assert_eq!((owner.owner.to_string(), refused), ("c1/host/n1".into(), vec![]));
    let device = &owner.contexts[0].devices[0];
    assert_eq!(
        (device.key.to_string(), device.period_ns),
        ("gpu:GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a".into(), 30_000_000_000)
    );
    let seen: Vec<(u64, Option<Milliwatts>, Option<Microjoules>)> = owner
        .records
        .iter()
        .map(|record| (record.at / 1_000_000, record.samples[0].power, record.samples[0].counter))
        .collect();
    assert_eq!(
        seen,
        [
            (1_000_125, Some(Milliwatts(400_500)), Some(Microjoules(5_000_000))),
            (1_030_125, None, Some(Microjoules(17_000_000))),
            (1_060_125, None, Some(Microjoules(29_000_000))),
        ]
    );
    assert_eq!(owner.records[2].samples[0].refused, Some(Refusal::PowerNotFinite), "none is never zero");
    assert_eq!(past.len(), 0, "taken is taken");
}

#[tokio::test]
async fn what_is_too_much_for_one_answer_is_asked_for_in_halves() {
    let too_many = r#"{"status": "error", "errorType": "execution", "error": "query processing would load too many samples into memory in query execution"}"#;
    let at =
        |seconds: f64, value: &str| matrix(&[series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", GPU, &[(seconds, value)])]);
    let answers = vec![(422, too_many.to_owned()), (200, at(1900.0, "9")), (200, at(1100.0, "5"))];
    let (url, forms) = server(answers);
    let mut past = past("");
    let history = asking(&url, r#"instance="{instance}""#);
    assert_eq!(past.recall(&history, 1_000_000..2_000_000).await, Ok(2));
    let times: Vec<bool> = ["time=2000.000", "time=2000.000", "time=1500.000"]
        .map(|time| forms.recv().expect("a question").contains(time))
        .to_vec();
    assert_eq!(times, [true; 3]);
    let (owner, _) = past.take();
    assert!(owner.records.is_sorted_by_key(|record| record.at), "by time, in whatever order it came");

    let refused = r#"{"status": "error", "errorType": "bad_data", "error": "parse error: no"}"#;
    let (url, _forms) = server(vec![(400, refused.into()), (200, "<html>".into())]);
    let history = asking(&url, r#"instance="{instance}""#);
    let why = past.recall(&history, 2_000_000..3_000_000).await.expect_err("a refusal");
    assert!(why.contains("400") && why.contains("parse error: no"), "{why}");
    let why = past.recall(&history, 2_000_000..3_000_000).await.expect_err("no Prometheus");
    assert!(why.contains("not the answer of Prometheus"), "{why}");
}

#[test]
fn a_series_is_shown_as_its_exporter_did() {
    let metric = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    };
    let shown = head(&metric(&[
        ("__name__", "m"),
        ("instance", "n1:9400"),
        ("job", "dcgm"),
        ("pod", "exporter-x"),
        ("exported_pod", "train \"a\"\\b"),
        ("UUID", "GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a"),
    ]));
    assert_eq!(shown.as_deref(), Some(r#"m{UUID="GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a",pod="train \"a\"\\b",}"#));
    assert_eq!(head(&metric(&[("instance", "x")])), None);
    for bad in ["", "prom:9090", "ftp://x", "http://u:p@x:9090"] {
        let access = ScrapeSettings { url: bad.into(), ..ScrapeSettings::default() };
        assert!(history(&access, "", Duration::from_secs(1)).is_err(), "{bad}");
    }
}
