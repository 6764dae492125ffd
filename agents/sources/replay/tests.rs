//! Replay against hand-written files and against the reference figures of recorded ones.

use std::io::Write;
use std::path::Path;

use meter::{Microjoules, Refusal, Scope};

use super::*;

struct Files {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

fn files(contents: &[&[u8]]) -> Files {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |(n, content): (usize, &&[u8])| {
        let path = folder.path().join(format!("{n}.csv"));
        std::fs::write(&path, content).expect("written");
        path
    };
    let paths = contents.iter().enumerate().map(write).collect();
    Files { folder, paths }
}

fn read(csv: &str, options: &ReplayOptions) -> Result<Vec<RecordedOwner>, ReplayError> {
    load(&files(&[csv.as_bytes()]).paths, options)
}

fn one(csv: &str) -> RecordedOwner {
    let mut owners = read(csv, &ReplayOptions::default()).expect("readable");
    assert_eq!(owners.len(), 1);
    owners.remove(0)
}

fn error(csv: &str, options: &ReplayOptions) -> String {
    read(csv, options).expect_err("must not be readable").to_string()
}

fn host(name: &str) -> ReplayOptions {
    ReplayOptions { host: Some(name.into()), ..ReplayOptions::default() }
}

/// (instant in ms, device, mW) of every power.
fn powers(owner: &RecordedOwner) -> Vec<(u64, u16, u64)> {
    let of =
        |record: &Record| record.samples.iter().map(|s| (record.at / 1_000_000, s.device, s.power)).collect::<Vec<_>>();
    owner.records.iter().flat_map(of).filter_map(|(at, device, power)| Some((at, device, power?.0))).collect()
}

#[test]
fn rows_are_sorted_and_one_instant_is_one_record() {
    let owner = one("ts_ms,host,scope,device,watts\n\
        2000,n1,gpu,b,20.5\n1000,n1,gpu,b,10\n1000,n1,gpu,a,0.001\n2000,n1,gpu,a,7\n4000,n1,gpu,a,9\n");
    assert_eq!(owner.owner, Owner::host("n1").expect("a good name"));
    let keys: Vec<String> = owner.contexts[0].devices.iter().map(|decl| decl.key.to_string()).collect();
    assert_eq!(keys, ["gpu:a", "gpu:b"]);
    assert_eq!(powers(&owner), [(1000, 0, 1), (1000, 1, 10_000), (2000, 0, 7000), (2000, 1, 20_500), (4000, 0, 9000)]);
    assert_eq!(owner.records.iter().map(|r| r.samples.len()).collect::<Vec<_>>(), [2, 2, 1]);
    assert!(owner.records.iter().all(|r| r.context == wire::context_id(&owner.contexts[0])));
    assert_eq!(owner.contexts[0].clock, Clock::Utc);
}

#[test]
fn stamps_may_be_rfc_3339_with_an_offset() {
    let owner = one("ts,chassis,watts\n2026-10-01T02:00:00+02:00,c1,5\n2026-10-01T00:00:00.0005Z,c1,6\n");
    assert_eq!(owner.owner.kind, OwnerKind::Chassis);
    assert_eq!(owner.contexts[0].devices[0].key.to_string(), "chassis:", "the default scope, without device");
    assert_eq!(
        owner.records.iter().map(|r| r.at).collect::<Vec<_>>(),
        [1_790_812_800_000_000_000, 1_790_812_800_000_500_000]
    );
}

#[test]
fn an_empty_value_is_no_reading_and_a_bad_one_is_refused_by_its_reason() {
    let owner = one(
        "ts_ms,host,watts,joules\n1,n,,\n2,n,NaN,\n3,n,-1,\n4,n,abc,\n5,n,0,\n6,n,9223372036854775794,5\n7,n,,-2\n",
    );
    let read: Vec<_> = owner.records.iter().map(|r| (r.at / 1_000_000, r.samples[0])).collect();
    let refused = |reason| Sample { refused: Some(reason), ..Sample::default() };
    let expected = [
        (2, refused(Refusal::PowerNotFinite)),
        (3, refused(Refusal::PowerNegative)),
        (4, refused(Refusal::PowerNotFinite)),
        (5, Sample { power: Some(Milliwatts(0)), ..Sample::default() }),
        (6, Sample { counter: Some(Microjoules(5_000_000)), ..refused(Refusal::Sentinel) }),
        (7, refused(Refusal::CounterNegative)),
    ];
    assert_eq!(read, expected);
}

#[test]
fn the_period_is_given_or_the_median_of_the_distances_between_distinct_stamps() {
    let period = |csv: &str| one(csv).contexts[0].devices[0].period_ns / 1_000_000;
    // 60, 60, 120, 0 (the same stamp), 60 s: 60. The row without reading counts as a stamp.
    assert_eq!(period("ts_ms,host,watts\n0,n,1\n60000,n,1\n120000,n,\n240000,n,1\n240000,n,2\n300000,n,1\n"), 60_000);
    assert_eq!(
        period("ts_ms,host,watts\n0,n,1\n0,n,2\n0,n,3\n0,n,4\n7000,n,1\n"),
        7000,
        "equal stamps are no distance"
    );
    assert_eq!(period("ts_ms,host,watts\n0,n,1\n1000,n,1\n4000,n,1\n"), 2000, "between 1 and 3 s");
    assert_eq!(period("ts_ms,host,watts\n0,n,1\n"), 0, "one stamp tells nothing");
    assert_eq!(period("ts_ms,host,period_ms,watts\n0,n,5000,1\n60000,n,5000,1\n"), 5000);
}

#[test]
fn one_device_twice_at_an_instant_is_two_records_in_the_order_of_the_file() {
    let owner = one("ts_ms,host,device,watts\n5,n,a,1\n5,n,b,2\n5,n,a,3\n");
    assert_eq!(powers(&owner), [(5, 0, 1000), (5, 1, 2000), (5, 0, 3000)]);
    assert_eq!(owner.records.len(), 2);
}

#[test]
fn a_counter_declares_epoch_and_modulus_and_a_new_epoch_makes_a_new_context() {
    let owner = one("ts_ms,host,scope,device,joules,epoch,wraps_at_joules\n\
        1,n,cpu,package-0,10.5,boot-a,262143.328850\n2,n,cpu,package-0,11,boot-a,262143.328850\n\
        3,n,cpu,package-0,1,boot-b,262143.328850\n4,n,cpu,package-0,2,boot-b,262143.328850\n");
    assert_eq!(owner.contexts.len(), 2);
    let epochs: Vec<u64> = owner.contexts.iter().map(|context| context.devices[0].epoch).collect();
    // The first 8 bytes, little-endian, of BLAKE3 over the text, from another implementation.
    assert_eq!(epochs, [BOOT_A, BOOT_B]);
    assert_eq!(owner.contexts[1].devices[0].modulus, Some(Microjoules(262_143_328_850)));
    let ids: Vec<u64> = owner.contexts.iter().map(wire::context_id).collect();
    let used: Vec<u64> = owner.records.iter().map(|record| record.context).collect();
    assert_eq!(used, [ids[0], ids[0], ids[1], ids[1]]);
    assert_eq!(owner.records[0].samples[0].counter, Some(Microjoules(10_500_000)));
    assert_eq!(one("ts_ms,host,watts\n1,n,5\n").contexts[0].devices[0].epoch, 0, "no counter, no epoch");
}
const BOOT_A: u64 = 0x3c66_09fa_2c13_66b9;
const BOOT_B: u64 = 0x17ea_6f31_5932_dfd4;

#[test]
fn files_are_merged_and_gzip_is_known_by_its_content() {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"ts_ms,meter,cluster,watts\r\n2,m,c9,8\r\n").expect("packed");
    let plain = b"\xef\xbb\xbfts_ms,meter,cluster,watts\n1,m,c9,7\n";
    let files = files(&[&packed.finish().expect("packed"), plain]);
    assert!(files.folder.path().exists());
    let owners = load(&files.paths, &ReplayOptions::default()).expect("readable");
    assert_eq!(owners.len(), 1);
    assert_eq!(owners[0].owner.canonical(), "c9/meter/m");
    assert_eq!(powers(&owners[0]), [(1, 0, 7000), (2, 0, 8000)]);
}

#[test]
fn rows_are_selected_by_any_column() {
    let csv = "run,ts_ms,device,watts\nr0,1,wall,1\nr1,2,wall,2\nr2,3,wall,3\nr0,4,wall/ch1,4\n";
    let select = |wheres: &[(&str, &str)]| {
        let wheres = wheres.iter().map(|(c, v)| ((*c).to_owned(), (*v).to_owned())).collect();
        read(csv, &ReplayOptions { wheres, ..host("h") })
    };
    let times = |wheres| powers(&select(wheres).expect("rows")[0]).iter().map(|p| p.0).collect::<Vec<_>>();
    assert_eq!(times(&[("run", "r0")]), [1, 4]);
    assert_eq!(times(&[("run", "r0"), ("run", "r2")]), [1, 3, 4]);
    assert_eq!(times(&[("run", "r0"), ("device", "wall")]), [1]);
    let unknown = select(&[("rum", "r0")]).expect_err("no such column").to_string();
    assert!(unknown.contains("no column rum") && unknown.contains("run, ts_ms, device, watts"), "{unknown}");
    let nothing = select(&[("run", "r9")]).expect_err("no such run").to_string();
    assert!(nothing.contains("run=r9"), "{nothing}");
}

#[test]
fn errors_name_file_and_line_and_what_to_do() {
    let none = ReplayOptions::default();
    for (csv, line, what) in [
        ("ts_ms,host,watts\n1,n,5\nx,n,5\n", "0.csv, line 3", "ts_ms \"x\" is not a whole number"),
        ("ts,host,watts\n2026-10-01,n,5\n", "0.csv, line 2", "is not RFC 3339"),
        ("ts_ms,host,watts\n1,n,5\n\n1,n\n", "0.csv, line 4", "2 values where the header names 3"),
        ("\u{feff}ts_ms,host,watts\r\n1,n,5\r\n\r\n1,n\r\n", "0.csv, line 4", "2 values"),
        ("\u{feff}ts_ms,host,watts\r\n1,n,5\r\n2,n,5\r\n?,n,5", "0.csv, line 4", "ts_ms"),
        ("ts_ms,host,watts\n-5,n,5\n", "0.csv, line 2", "outside 1970"),
        ("ts_ms,host,watts\n1,a b,5\n", "0.csv, line 2", "host \"a b\""),
        ("ts_ms,host,watts\n1,,5\n", "0.csv, line 2", "names no host"),
        ("ts_ms,host,chassis,watts\n1,a,b,5\n", "0.csv, line 2", "belongs to one"),
        ("ts_ms,host,scope,watts\n1,a,cpus,5\n", "0.csv, line 2", "\"cpus\" is none of chassis, cpu"),
        ("ts_ms,host,device,watts\n1,a,<b>,5\n", "0.csv, line 2", "device:"),
        ("ts_ms,host,period_ms,watts\n1,a,0,5\n", "0.csv, line 2", "period_ms"),
        ("ts_ms,host,joules,wraps_at_joules\n1,a,5,none\n", "0.csv, line 2", "wraps_at_joules"),
        ("ts_ms,watts\n1,5\n", "0.csv, line 1", "--host NAME"),
        (
            "ts_ms,host,power\n1,n,5\n",
            "0.csv, line 1",
            "no column watts or joules; the columns are: ts_ms, host, power",
        ),
        ("ts_ms;host;watts\n1;n;5\n", "0.csv, line 1", "the columns are: ts_ms;host;watts"),
        ("ts_ms,host,watts,watts\n1,n,5,6\n", "0.csv, line 1", "watts is there twice"),
    ] {
        let error = error(csv, &none);
        assert!(error.contains(line) && error.contains(what), "{csv:?}: {error}");
    }
    let missing = load(&["/nowhere/readings.csv".into()], &none).expect_err("missing").to_string();
    assert!(missing.contains("/nowhere/readings.csv"), "{missing}");
}

#[test]
fn a_host_name_renames_one_owner_and_never_merges_several() {
    let renamed = read("ts_ms,host,watts\n1,a,5\n", &host("b")).expect("readable");
    assert_eq!(renamed[0].owner.canonical(), "default/host/b");
    let error = error("ts_ms,host,watts\n1,a,5\n1,c,5\n", &host("b"));
    assert!(error.contains("2 owners") && error.contains("--where"), "{error}");
}

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("WATTLEDGER_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: WATTLEDGER_TEST_DATA is not set");
    }
    folder
}

fn reference(set: &Path) -> serde_json::Value {
    serde_json::from_slice(&std::fs::read(set.join("reference.json")).expect("a reference")).expect("JSON")
}

fn set(folder: &Path, options: &ReplayOptions) -> Vec<RecordedOwner> {
    load(&[folder.join("samples.csv.gz")], options).expect("readable")
}

fn count(owner: &RecordedOwner, of: impl Fn(&Sample) -> bool) -> u64 {
    owner.records.iter().flat_map(|record| &record.samples).filter(|sample| of(sample)).count() as u64
}

/// Joules under the straight lines between readings, in floating point: the references' own rule.
fn trapezoid_joules(owner: &RecordedOwner) -> f64 {
    powers(owner).windows(2).map(|p| (p[1].0 - p[0].0) as f64 / 1e3 * (p[0].2 + p[1].2) as f64 / 2e3).sum()
}

#[test]
fn a_day_of_32_hosts_has_the_recorded_readings_and_energy() {
    let Some(folder) = data().map(|data| data.join("fleet-32xHaswell-24h")) else { return };
    let (reference, owners) = (reference(&folder), set(&folder, &ReplayOptions::default()));
    assert_eq!(owners.len(), 32);
    for owner in &owners {
        let host = &reference["per_host"][&*owner.owner.name];
        assert_eq!(count(owner, |s| s.power.is_some()), host["n"].as_u64().expect("a count"), "{}", owner.owner);
        assert_eq!(count(owner, |s| s.refused.is_some()), 0);
        let truth = host["trap_interp_J"].as_f64().expect("joules");
        assert!((trapezoid_joules(owner) - truth).abs() < 1e-3, "{}: {truth}", owner.owner);
        let device = &owner.contexts[0].devices[0];
        assert_eq!((device.key.scope, &*device.key.device, device.period_ns), (Scope::Chassis, "cpu", 60_000_000_000));
    }
    let readings: u64 = owners.iter().map(|owner| count(owner, |_| true)).sum();
    assert_eq!(readings, reference["samples"].as_u64().expect("a count"), "rows without reading are no readings");
}

#[test]
fn a_fleet_of_64_hosts_has_the_recorded_readings_and_energy_per_run() {
    let Some(data) = data() else { return };
    for side in ["ac", "dc"] {
        let folder = data.join(format!("fleet-64xH100-llama2-{side}"));
        for run in reference(&folder)["runs"].as_array().expect("runs") {
            let name = run["run"].as_str().expect("a name");
            let options = ReplayOptions { wheres: vec![("run".into(), name.into())], ..ReplayOptions::default() };
            let owners = set(&folder, &options);
            assert_eq!(owners.len() as u64, run["hosts"].as_u64().expect("a count"));
            let readings: u64 = owners.iter().map(|owner| count(owner, |s| s.power.is_some())).sum();
            assert_eq!(readings, run["samples"].as_u64().expect("a count"), "{side} {name}");
            let kwh = owners.iter().map(trapezoid_joules).sum::<f64>() / 3.6e6;
            let truth = run["trap_kWh"].as_f64().expect("kWh");
            assert!((kwh - truth).abs() < 1e-6, "{side} {name}: {kwh} kWh, {truth} recorded");
            assert!(owners.iter().all(|o| (1_900..2_200).contains(&(o.contexts[0].devices[0].period_ns / 1_000_000))));
        }
    }
}

#[test]
fn a_failing_meter_s_bad_values_are_refused_each_by_its_reason() {
    let Some(folder) = data().map(|data| data.join("meter-dropouts")) else { return };
    for run in reference(&folder).as_array().expect("runs") {
        let name = run["run"].as_str().expect("a name");
        let options = ReplayOptions { wheres: vec![("run".into(), name.into())], ..host("sut") };
        let owners = set(&folder, &options);
        let (n, bad) = (run["n"].as_u64().expect("a count"), run["bad"].as_u64().expect("a count"));
        assert_eq!(count(&owners[0], |s| s.refused == Some(Refusal::PowerNegative)), bad, "{name}");
        assert_eq!(count(&owners[0], |s| s.power.is_some()), n - bad, "{name}");
        let truth = run["skip_trap_J"].as_f64().expect("joules");
        assert!((trapezoid_joules(&owners[0]) - truth).abs() < 1e-2, "{name}");
    }
}

#[test]
fn channels_of_a_wall_meter_are_parts_of_it() {
    let Some(folder) = data().map(|data| data.join("mlperf-inference-wallmeter")) else { return };
    let owners = set(&folder, &host("sut"));
    let readings = count(&owners[0], |_| true);
    assert_eq!(readings, 26_649, "lines of the file less its header");
    let keys: Vec<&AccountKey> = owners[0].contexts[0].devices.iter().map(|decl| &decl.key).collect();
    assert!(keys.len() > 1 && keys[1..].iter().all(|key| key.is_part_of(keys[0])), "{keys:?}");
}
