//! One target against an exporter on this machine that answers what the test says.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use meter::{Microjoules, OwnerKind, Scope};

use super::*;
use crate::sources::prometheus::{Prometheus, PrometheusSettings};
use crate::sources::target::Discovery;

/// An exporter: answers each request with the answer of now and keeps what was asked.
struct Loopback {
    port: u16,
    answer: Arc<Mutex<String>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Loopback {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (answer, asked) = (Arc::new(Mutex::new(String::new())), Arc::new(Mutex::new(Vec::new())));
        let (to_give, to_keep) = (Arc::clone(&answer), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                to_keep.lock().expect("kept").push(String::from_utf8_lossy(&request[..length]).into_owned());
                // Who does not want to read to the end need not.
                let _ = stream.write_all(to_give.lock().expect("an answer").as_bytes());
            }
        });
        Self { port, answer, asked }
    }

    fn says(&self, page: &str) {
        self.answers(&format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{page}"));
    }

    fn answers(&self, answer: &str) {
        *self.answer.lock().expect("an answer") = answer.into();
    }

    fn target(&self, kind: &str, more: &str) -> Box<dyn Target> {
        let entry = format!(r#"{{{kind}, "url": "http://127.0.0.1:{}/metrics"{more}}}"#, self.port);
        let settings: PrometheusSettings =
            serde_json::from_str(&format!(r#"{{"timeout_ms": 2000, "targets": [{entry}]}}"#)).expect("settings");
        let mut targets = Prometheus::new(&settings, "c1").targets().expect("targets");
        targets.pop().expect("a target")
    }
}

const HOST: &str = r#""hosts": "n1""#;

/// A reading of a target with one owner.
async fn read(target: &mut dyn Target) -> Result<Vec<Sample>, PollError> {
    let mut lists = vec![Vec::new(); target.outlets().len()];
    target.read(&mut lists).await.map(|()| lists.concat())
}

async fn why_absent(target: &mut dyn Target) -> String {
    match target.probe().await {
        Reach::Absent { why } => why,
        Reach::Found { devices, .. } => panic!("found {devices:?}"),
    }
}

fn dcgm(gpu: u8, watts: &str) -> String {
    format!("DCGM_FI_DEV_POWER_USAGE{{UUID=\"GPU-0000000{gpu}\"}} {watts}\n")
}

fn power(device: u16, mw: u64) -> Sample {
    Sample { device, power: Some(Milliwatts(mw)), ..Sample::default() }
}

#[tokio::test]
async fn a_page_becomes_devices_and_readings_and_a_new_gpu_joins_them() {
    let exporter = Loopback::new();
    let mut target = exporter.target(HOST, r#", "labels": {"team": "nlp"}"#);
    exporter.says(&(dcgm(1, "100") + &dcgm(2, "NaN") + "DCGM_FI_DEV_POWER_USAGE{} 3\n"));
    assert!(target.outlets().is_empty(), "nothing was asked for yet");
    let Reach::Found { devices, note } = target.probe().await else { panic!("a page") };
    assert_eq!(devices[0].len(), 1);
    assert!(note.expect("a remark").contains("do not name their device"), "people are told, too");
    assert_eq!(devices[0][0].now, Some(power(0, 100_000)));
    assert_eq!(devices[0][0].about, "dcgm-exporter: DCGM_FI_DEV_POWER_USAGE");
    // The exporter has new values every 30 s, the target is read every 15.
    assert_eq!(devices[0][0].decl.period_ns, 30_000_000_000);
    let outlet = &target.outlets()[0];
    assert_eq!(outlet.owner, Owner::new("c1", OwnerKind::Host, "n1").expect("a name"));
    assert_eq!(outlet.labels["team"], "nlp");
    assert_eq!(target.take_refused(), [(Refusal::PowerNotFinite, 1), (Refusal::BadName, 1)]);

    exporter.says(&(dcgm(2, "7") + &dcgm(1, "101")));
    let samples = read(&mut *target).await.expect("a reading");
    assert_eq!(samples, [power(0, 101_000), power(1, 7000)]);
    let names: Vec<String> = target.outlets()[0].devices.iter().map(|decl| decl.key.to_string()).collect();
    assert_eq!(names, ["gpu:GPU-00000001", "gpu:GPU-00000002"]);

    // A value that is none is its device's; a device that is not shown is left out.
    exporter.says(&dcgm(2, "9223372036854775794"));
    let samples = read(&mut *target).await.expect("a reading");
    assert_eq!(samples, [Sample { device: 1, refused: Some(Refusal::Sentinel), ..Sample::default() }]);
    assert_eq!(target.take_refused(), []);
    let asked = exporter.asked.lock().expect("kept").clone();
    assert!(asked.iter().all(|request| request.starts_with("GET /metrics HTTP/1.1")), "{asked:?}");
}

#[tokio::test]
async fn whatever_is_no_page_is_no_reading_and_the_next_one_is() {
    let exporter = Loopback::new();
    let mut target = exporter.target(HOST, "");
    exporter.answers("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert!(why_absent(&mut *target).await.contains("404"));
    exporter.says("<html><body>Exporter</body></html>");
    assert!(why_absent(&mut *target).await.contains("no power or energy"));
    exporter.says("all_smi_chassis_power_watts 3200\n");
    assert!(why_absent(&mut *target).await.contains("no meter"));
    assert!(target.outlets().is_empty());
    exporter.says(&dcgm(1, "1"));
    assert!(matches!(target.probe().await, Reach::Found { .. }));
    for nothing in [
        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\nConnection: close\r\n\r\nDCGM_FI_DEV_POWER_USAGE{UUID=\"GPU-0000",
        "SSH-2.0-OpenSSH_9.6\r\n",
        "",
    ] {
        exporter.answers(nothing);
        let failed = read(&mut *target).await.expect_err(nothing);
        assert!(matches!(failed, PollError::Retry(_)), "{failed}");
    }
    exporter.says(&dcgm(1, "2"));
    assert_eq!(read(&mut *target).await.expect("a reading"), [power(0, 2000)]);
}

#[tokio::test]
async fn half_a_number_is_none() {
    let exporter = Loopback::new();
    let mut target = exporter.target(HOST, "");
    let page = dcgm(1, "100") + dcgm(2, "1234").trim_end();
    exporter.says(&page);
    assert!(matches!(target.probe().await, Reach::Found { .. }));
    assert_eq!(read(&mut *target).await.expect("a reading"), [power(0, 100_000)], "it may go on");
    // Who says how long the page is need not end its last line.
    let length = page.len();
    exporter.answers(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"));
    assert_eq!(read(&mut *target).await.expect("a reading"), [power(0, 100_000), power(1, 1_234_000)]);
}

#[tokio::test]
async fn a_page_without_end_is_given_up() {
    let exporter = Loopback::new();
    let mut target = exporter.target(HOST, "");
    exporter.says(&"x 1\n".repeat(5 << 20));
    assert!(why_absent(&mut *target).await.contains("longer than 16 MiB"));
}

#[tokio::test]
async fn a_counter_that_an_exporter_keeps_begins_anew_with_it() {
    let exporter = Loopback::new();
    let mut target = exporter.target(HOST, r#", "period_ms": 1000"#);
    let page = |start: &str, joules: u32| {
        format!(
            "process_start_time_seconds {start}\nkepler_node_cpu_active_joules_total{{zone=\"psys\"}} {joules}\n\
             kepler_node_cpu_idle_joules_total{{zone=\"psys\"}} 1\n"
        )
    };
    let counter = |uj| Sample { counter: Some(Microjoules(uj)), ..Sample::default() };
    exporter.says(&page("1.5e9", 100));
    assert!(matches!(target.probe().await, Reach::Found { .. }));
    let first = target.outlets()[0].devices[0].clone();
    assert_eq!((first.key.scope, first.period_ns, first.modulus), (Scope::Cpu, 5_000_000_000, None));
    exporter.says(&page("1.5e9", 102));
    assert_eq!(read(&mut *target).await.expect("a reading"), [counter(103_000_000)]);
    assert_eq!(target.outlets()[0].devices[0], first);
    exporter.says(&page("1.6e9", 4));
    assert_eq!(read(&mut *target).await.expect("a reading"), [counter(5_000_000)]);
    let second = &target.outlets()[0].devices[0];
    assert!(second.epoch != first.epoch && second.epoch != 0 && first.epoch != 0);
}

#[tokio::test]
async fn where_a_register_wraps_the_configuration_may_say() {
    let exporter = Loopback::new();
    let ranges = r#", "max_energy_range_uj": {"package": 262143328850, "dram": 65712999613}"#;
    exporter.says(
        "node_rapl_package_joules_total{index=\"1\",path=\"/s/intel-rapl:1\"} 5\n\
         node_rapl_dram_joules_total{index=\"0\",path=\"/s/intel-rapl:1:0\"} 6\n\
         node_rapl_core_joules_total{index=\"0\",path=\"/s/intel-rapl:1:1\"} 7\n\
         kepler_node_cpu_joules_total{zone=\"dram\",path=\"/s/intel-rapl:7:1\"} 8\n\
         scaph_host_energy_microjoules 9\n",
    );
    let wraps = async |more: &str| {
        let mut target = exporter.target(HOST, more);
        assert!(matches!(target.probe().await, Reach::Found { .. }));
        let devices = target.outlets()[0].devices.iter();
        devices.map(|decl| (decl.key.to_string(), decl.modulus.map(|range| range.0))).collect::<Vec<_>>()
    };
    let expected = |package, dram| {
        [
            ("cpu:package-1", package),
            ("cpu:package-1/core", None),
            ("cpu:packages", None),
            ("dram:package-1", dram),
            // Kepler's own sum, or a register: it does not say.
            ("dram:package-7", None),
        ]
        .map(|(key, range)| (key.to_owned(), range))
    };
    assert_eq!(wraps(ranges).await, expected(Some(262_143_328_850), Some(65_712_999_613)));
    assert_eq!(wraps("").await, expected(None, None));
}

#[tokio::test]
async fn secrets_are_sent_and_never_shown() {
    let exporter = Loopback::new();
    let secret = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(secret.path(), "hunter2\n").expect("written");
    let file = secret.path().display().to_string();
    for (fields, header) in [
        // `u:hunter2` by base64(1).
        (format!(r#", "user": "u", "password_file": "{file}""#), "authorization: Basic dTpodW50ZXIy"),
        (format!(r#", "token_file": "{file}""#), "authorization: Bearer hunter2"),
    ] {
        let mut target = exporter.target(HOST, &fields);
        exporter.answers("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        let why = why_absent(&mut *target).await;
        assert!(why.contains("401") && !why.contains("hunter2") && !why.contains("dTpodW50ZXIy"), "{why}");
        let request = exporter.asked.lock().expect("kept").last().cloned().unwrap_or_default();
        assert!(request.contains(header), "{request}");
        assert!(!target.address().contains("hunter2"));
    }
    std::fs::remove_file(secret.path()).expect("removed");
    let mut target = exporter.target(HOST, &format!(r#", "token_file": "{file}""#));
    assert!(why_absent(&mut *target).await.contains(&file), "which file is missing");
}

#[tokio::test]
async fn an_exporter_that_does_not_answer_is_given_up_in_time() {
    // Accepts connections, by the kernel's queue, and never reads.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let entry = format!(r#"{{"hosts": "n1", "url": "http://127.0.0.1:{port}"}}"#);
    let settings: PrometheusSettings =
        serde_json::from_str(&format!(r#"{{"timeout_ms": 200, "targets": [{entry}]}}"#)).expect("settings");
    let mut targets = Prometheus::new(&settings, "c1").targets().expect("targets");
    let why = why_absent(&mut **targets.last_mut().expect("a target")).await;
    assert!(why.contains("no answer in time"), "{why}");
}
