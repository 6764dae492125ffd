//! The source `redfish` on BMCs that stand in for real ones.

#![cfg(test)]

#[expect(dead_code, reason = "other tests use the rest")]
#[path = "../../tests/harness/bmc.rs"]
mod bmc;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agents::sources::PollError;
use agents::sources::redfish::{Redfish, RedfishSettings};
use agents::sources::target::{Discovery, Reach, Target};
use bmc::{Bmc, Mood, PASSWORD, USER};
use meter::{Microjoules, Milliwatts, Refusal, Sample};
use serde_json::{Value, json};

const METRICS: &str = "/redfish/v1/Chassis/1/EnvironmentMetrics";
const UUID: &str = "4C4C4544-0051-4E10-8058-C4C04F4E4D32";

/// Targets of these settings, with a profile `ops` that has the right password.
fn targets(settings: Value) -> Result<Vec<Box<dyn Target>>, String> {
    let mut all = json!({
        "period_ms": 100,
        "timeout_ms": 2000,
        "profiles": { "ops": { "user": USER, "password_command": ["echo", PASSWORD] } },
    });
    for (key, value) in settings.as_object().expect("settings") {
        all[key] = value.clone();
    }
    let settings: RedfishSettings = serde_json::from_value(all).expect("good settings");
    settings.check()?;
    Redfish::new(&settings, "default").targets()
}

/// The one target of a BMC that is trusted by its fingerprint.
fn target(bmc: &Bmc) -> Box<dyn Target> {
    let one = json!([{ "address": bmc.url(), "pin": bmc.fingerprint(), "name": "bmc-1" }]);
    targets(json!({ "targets": one })).expect("a target").remove(0)
}

/// A server that draws this many watts.
fn server(watts: &Arc<AtomicU64>) -> Bmc {
    let bmc = Bmc::start();
    let watts = Arc::clone(watts);
    bmc.be_a_server("S1", UUID, move || {
        format!(r#"{{"PowerWatts": {{"Reading": {}}}}}"#, watts.load(Ordering::Relaxed))
    });
    bmc
}

fn four_hundred() -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(400))
}

async fn probed(target: &mut Box<dyn Target>) -> Vec<Vec<agents::sources::FoundDevice>> {
    match target.probe().await {
        Reach::Found { devices, .. } => devices,
        Reach::Absent { why } => panic!("absent: {why}"),
    }
}

async fn absent(target: &mut Box<dyn Target>) -> String {
    match target.probe().await {
        Reach::Absent { why } => why,
        Reach::Found { devices, .. } => panic!("found {devices:?}"),
    }
}

async fn read(target: &mut Box<dyn Target>) -> Result<Vec<Vec<Sample>>, PollError> {
    let mut into = vec![Vec::new(); target.outlets().len()];
    target.read(&mut into).await?;
    Ok(into)
}

/// What a failed reading says.
async fn failure(target: &mut Box<dyn Target>) -> String {
    read(target).await.expect_err("a failure").to_string()
}

#[actix_rt::test]
async fn a_server_is_found_and_read_over_one_session_and_one_connection() {
    let watts = four_hundred();
    let bmc = server(&watts);
    let mut target = target(&bmc);
    let devices = probed(&mut target).await;
    assert_eq!(devices[0][0].decl.key.to_string(), "chassis:bmc");
    assert_eq!(devices[0][0].now.and_then(|sample| sample.power), Some(Milliwatts(400_000)));
    let outlet = target.outlets()[0].clone();
    assert_eq!(outlet.owner.to_string(), "default/chassis/bmc-1");
    let labels: Vec<(&str, &str)> = outlet.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let uuid = UUID.to_lowercase();
    let expected = [
        ("hw.model", "C-1U"),
        ("hw.power", "on"),
        ("hw.serial", "S1"),
        ("hw.uuid", uuid.as_str()),
        ("hw.vendor", "Contoso"),
        ("rack", "R12"),
        ("row", "C"),
    ];
    assert_eq!(labels, expected);
    let before = bmc.seen().requests.len();
    for power in [401, 402, 403] {
        watts.store(power, Ordering::Relaxed);
        let samples = read(&mut target).await.expect("a reading");
        assert_eq!(samples[0][0].power, Some(Milliwatts(power * 1000)));
    }
    let seen = bmc.seen();
    assert_eq!(seen.requests[before..], [format!("GET {METRICS}"), format!("GET {METRICS}"), format!("GET {METRICS}")]);
    assert_eq!((seen.logins, seen.connections, seen.at_once, bmc.sessions()), (1, 1, 1, 1));
    target.close().await;
    assert_eq!((bmc.seen().deleted, bmc.sessions()), (1, 0));
}

#[actix_rt::test]
async fn a_session_that_expired_is_replaced_without_losing_a_reading() {
    let bmc = server(&four_hundred());
    let mut target = target(&bmc);
    probed(&mut target).await;
    bmc.forget_sessions();
    assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(400_000)));
    assert_eq!((bmc.seen().logins, bmc.sessions()), (2, 1));
}

#[actix_rt::test]
async fn two_refusals_pause_a_profile_for_all_its_bmcs() {
    let (first, second) = (server(&four_hundred()), server(&four_hundred()));
    let places: Vec<Value> =
        [&first, &second].map(|bmc| json!({ "address": bmc.url(), "pin": bmc.fingerprint() })).into();
    let wrong = json!({ "ops": { "user": USER, "password_command": ["echo", "wrong-password"] } });
    let places: Vec<Value> = places
        .into_iter()
        .enumerate()
        .map(|(place, mut one)| {
            one["name"] = format!("bmc-{place}").into();
            one
        })
        .collect();
    let mut all = targets(json!({ "profiles": wrong, "targets": places })).expect("targets");
    for round in 0..4 {
        for target in &mut all {
            let why = absent(target).await;
            assert!(!why.contains("wrong-password") && why.contains(target.address()), "{round}: {why}");
        }
        // The target's own back-off.
        tokio::time::sleep(Duration::from_millis(350)).await;
    }
    let why = absent(&mut all[1]).await;
    assert!(why.contains("profile ops") && why.contains("15 min"), "{why}");
    assert_eq!(first.seen().refused + second.seen().refused, 2, "nobody knocks a third time");
}

#[actix_rt::test]
async fn basic_authentication_by_choice() {
    let bmc = server(&four_hundred());
    let basic = json!({ "ops": { "user": USER, "password_command": ["echo", PASSWORD], "basic": true } });
    let place = json!([{ "address": bmc.url(), "pin": bmc.fingerprint() }]);
    let mut target = targets(json!({ "profiles": basic, "targets": place })).expect("a target").remove(0);
    probed(&mut target).await;
    assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(400_000)));
    assert_eq!((bmc.seen().logins, bmc.sessions(), bmc.seen().refused), (0, 0, 0));
}

#[actix_rt::test]
async fn certificates_are_trusted_by_pin_by_file_by_explicit_choice_and_else_not() {
    let bmc = server(&four_hundred());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, bmc.pem()).expect("written");
    let with = |key: &str, value: Value| {
        let mut place = json!({ "address": bmc.url() });
        place[key] = value;
        targets(json!({ "targets": [place] })).expect("a target").remove(0)
    };
    for (key, value) in [("pin", json!(bmc.fingerprint())), ("ca_file", json!(file)), ("insecure", json!(true))] {
        probed(&mut with(key, value)).await;
    }
    let logins = bmc.seen().logins;
    let other = format!("sha256:{}", "00".repeat(32));
    for (key, value) in [("pin", json!(other)), ("insecure", json!(false))] {
        let why = absent(&mut with(key, value)).await;
        assert!(why.contains(bmc.fingerprint()) && why.contains("set pin"), "{why}");
    }
    assert_eq!(bmc.seen().logins, logins, "the password went nowhere");
}

#[actix_rt::test]
async fn a_bmc_in_a_bad_mood_costs_readings_and_nothing_else() {
    for (mood, part) in [
        (Mood::Busy(7), "503"),
        (Mood::Garbage, "no JSON"),
        (Mood::Truncated, "cannot be reached"),
        (Mood::Endless, "larger than 1 MiB"),
        (Mood::Redirects, "not followed"),
        (Mood::Hangs, "no answer in time"),
    ] {
        let bmc = server(&four_hundred());
        let mut target = target(&bmc);
        probed(&mut target).await;
        bmc.be(mood);
        let why = failure(&mut target).await;
        assert!(why.contains(part) && why.contains(&bmc.url()), "{mood:?}: {why}");
        bmc.be(Mood::Well);
        if mood == Mood::Busy(7) {
            let asked = bmc.asked(METRICS);
            assert!(failure(&mut target).await.contains("left alone for 7 s"));
            assert_eq!(bmc.asked(METRICS), asked, "it asked for seven seconds");
        } else {
            let since = Instant::now();
            // The second failure in a row would wait; the first does not.
            assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(400_000)), "{mood:?}");
            assert!(since.elapsed() < Duration::from_secs(2));
        }
    }
}

#[actix_rt::test]
async fn what_keeps_failing_is_left_alone_for_longer_and_looked_for_anew() {
    let bmc = server(&four_hundred());
    let mut target = target(&bmc);
    probed(&mut target).await;
    bmc.be(Mood::Busy(0));
    let asked = bmc.asked(METRICS);
    let mut gone = None;
    let since = Instant::now();
    while gone.is_none() && since.elapsed() < Duration::from_secs(10) {
        match read(&mut target).await.expect_err("it is busy") {
            PollError::Gone(why) => gone = Some(why),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    assert!(gone.expect("gone after a while").contains("503"));
    assert_eq!(bmc.asked(METRICS) - asked, 3);
    bmc.be(Mood::Well);
    tokio::time::sleep(Duration::from_millis(350)).await;
    probed(&mut target).await;
    assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(400_000)));
}

#[actix_rt::test]
async fn values_that_are_none_are_passed_on_with_their_reason() {
    let bmc = server(&four_hundred());
    let mut target = target(&bmc);
    probed(&mut target).await;
    for (reading, reason) in
        [("null", Refusal::NoValue), ("\"400\"", Refusal::PowerNotFinite), ("-1", Refusal::PowerNegative)]
    {
        bmc.put(METRICS, format!(r#"{{"PowerWatts": {{"Reading": {reading}}}}}"#));
        let samples = read(&mut target).await.expect("a reading");
        assert_eq!(samples, [[Sample { device: 0, refused: Some(reason), ..Sample::default() }]]);
    }
    bmc.put(METRICS, "{}");
    assert_eq!(read(&mut target).await.expect("a reading")[0][0].refused, Some(Refusal::NoValue));
}

#[actix_rt::test]
async fn a_counter_that_was_set_back_gets_another_epoch() {
    let bmc = server(&four_hundred());
    let metrics = |kwh: &str, since: &str| {
        format!(
            r#"{{"PowerWatts": {{"Reading": 400}}, "EnergykWh": {{"Reading": {kwh}, "SensorResetTime": {since:?}}}}}"#
        )
    };
    bmc.put(METRICS, metrics("12.346", "2026-01-01T00:00:00Z"));
    let mut target = target(&bmc);
    probed(&mut target).await;
    let before = target.outlets()[0].devices[0].epoch;
    let sample = read(&mut target).await.expect("a reading")[0][0];
    assert_eq!(sample.counter, Some(Microjoules(44_445_600_000_000)));
    bmc.put(METRICS, metrics("0.001", "2026-03-01T00:00:00Z"));
    assert!(matches!(read(&mut target).await, Err(PollError::Gone(why)) if why.contains("set back")));
    tokio::time::sleep(Duration::from_millis(150)).await;
    probed(&mut target).await;
    assert_ne!(target.outlets()[0].devices[0].epoch, before);
}

/// A BMC whose sled has no meter; the enclosure around it has.
fn sled(number: u32, own_meter: bool) -> Bmc {
    let bmc = Bmc::start();
    bmc.be_a_server(&format!("SLED{number}"), UUID, || r#"{"PowerWatts": {"Reading": 300}}"#.into());
    let own = if own_meter {
        r#""EnvironmentMetrics": {"@odata.id": "/redfish/v1/Chassis/1/EnvironmentMetrics"},"#
    } else {
        ""
    };
    bmc.put(
        "/redfish/v1/Chassis/1",
        format!(
            r#"{{"ChassisType": "Sled", "SerialNumber": "SLED{number}", {own}
            "Power": {{"@odata.id": "/redfish/v1/Chassis/1/Power"}},
            "Links": {{"ContainedBy": {{"@odata.id": "/redfish/v1/Chassis/Enclosure"}}}}}}"#
        ),
    );
    // The supplies of all four, listed in each sled.
    bmc.put("/redfish/v1/Chassis/1/Power", r#"{"PowerSupplies": [{"MemberId": "0", "PowerInputWatts": 1250}]}"#);
    bmc.put(
        "/redfish/v1/Chassis/Enclosure",
        r#"{"ChassisType": "Enclosure", "SerialNumber": "ENC7",
        "Location": {"Placement": {"Rack": "R9"}}, "Power": {"@odata.id": "/redfish/v1/Chassis/Enclosure/Power"}}"#,
    );
    bmc.put(
        "/redfish/v1/Chassis/Enclosure/Power",
        r#"{"PowerControl": [{"MemberId": "0", "PowerConsumedWatts": 1234}]}"#,
    );
    bmc
}

#[actix_rt::test]
async fn sleds_without_a_meter_lead_to_one_and_the_same_enclosure() {
    for number in 1..=2 {
        let bmc = sled(number, false);
        let mut target = target(&bmc);
        probed(&mut target).await;
        let [own, enclosure] = target.outlets() else { panic!("{:?}", target.outlets()) };
        assert_eq!(own.owner.to_string(), "default/chassis/bmc-1");
        assert!(own.devices.is_empty());
        assert_eq!(own.labels["hw.enclosure"], "enclosure-ENC7");
        assert_eq!(own.labels["hw.serial"], format!("SLED{number}"));
        assert_eq!(enclosure.owner.to_string(), "default/chassis/enclosure-ENC7");
        assert_eq!(enclosure.devices[0].key.to_string(), "chassis:bmc");
        assert_eq!((enclosure.labels["rack"].as_str(), enclosure.labels.get("hw.uuid")), ("R9", None));
        let samples = read(&mut target).await.expect("a reading");
        assert!(samples[0].is_empty());
        assert_eq!(samples[1][0].power, Some(Milliwatts(1_234_000)));
    }
}

#[actix_rt::test]
async fn a_sled_with_a_meter_of_its_own_uses_that() {
    let bmc = sled(1, true);
    let mut target = target(&bmc);
    probed(&mut target).await;
    assert_eq!(target.outlets().len(), 1);
    assert_eq!(target.outlets()[0].labels.get("hw.enclosure"), None);
    assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(300_000)));
}

#[actix_rt::test]
async fn supplies_are_read_where_nothing_else_is_and_an_average_no_more_often_than_it_is_renewed() {
    let bmc = server(&four_hundred());
    bmc.put(
        "/redfish/v1/Chassis/1",
        r#"{"ChassisType": "RackMount",
        "PowerSubsystem": {"@odata.id": "/redfish/v1/Chassis/1/PowerSubsystem"}}"#,
    );
    bmc.put("/redfish/v1/Chassis/1/PowerSubsystem", r#"{"PowerSupplies": {"@odata.id": "/p"}}"#);
    bmc.put("/p", r#"{"Members": [{"@odata.id": "/p/1"}, {"@odata.id": "/p/2"}, {"@odata.id": "/p/3"}]}"#);
    for (number, state) in [(1, "Enabled"), (2, "StandbySpare"), (3, "Absent")] {
        bmc.put(&format!("/p/{number}"), format!(
            r#"{{"Id": "Bay{number}", "Status": {{"State": {state:?}}}, "Metrics": {{"@odata.id": "/p/{number}/m"}}}}"#));
    }
    bmc.put("/p/1/m", r#"{"InputPowerWatts": {"Reading": 433.5}, "OutputPowerWatts": {"Reading": 400}}"#);
    bmc.put("/p/2/m", r#"{"InputPowerWatts": {"Reading": 0}, "OutputPowerWatts": {"Reading": 0}}"#);
    let mut supplies = target(&bmc);
    let devices = probed(&mut supplies).await;
    let names: Vec<String> = devices[0].iter().map(|device| device.decl.key.to_string()).collect();
    assert_eq!(names, ["chassis:bmc/psu-Bay1", "chassis:bmc/psu-Bay2"]);
    let samples = read(&mut supplies).await.expect("a reading");
    let power: Vec<_> = samples[0].iter().map(|sample| sample.power).collect();
    assert_eq!(power, [Some(Milliwatts(433_500)), Some(Milliwatts(0))]);

    bmc.put("/redfish/v1/Chassis/1", r#"{"Power": {"@odata.id": "/power"}}"#);
    bmc.put(
        "/power",
        r#"{"PowerControl": [{"PowerConsumedWatts": 429,
        "PowerMetrics": {"AverageConsumedWatts": 426, "IntervalInMin": 1}}]}"#,
    );
    let mut average = target(&bmc);
    probed(&mut average).await;
    assert_eq!(average.outlets()[0].devices[0].period_ns, 60_000_000_000);
    assert_eq!(read(&mut average).await.expect("a reading")[0][0].power, Some(Milliwatts(426_000)));
    let asked = bmc.asked("/power");
    assert!(read(&mut average).await.expect("nothing new")[0].is_empty());
    assert_eq!(bmc.asked("/power"), asked);
}

#[actix_rt::test]
async fn a_power_distribution_unit_is_a_meter_with_its_outlets_as_parts() {
    let pdu = Bmc::start_plain();
    pdu.put("/redfish/v1/", r#"{"PowerEquipment": {"@odata.id": "/e"}}"#);
    pdu.put("/e", r#"{"RackPDUs": {"@odata.id": "/e/r"}}"#);
    pdu.put("/e/r", r#"{"Members": [{"@odata.id": "/e/r/1"}]}"#);
    pdu.put(
        "/e/r/1",
        r#"{"Id": "1", "SerialNumber": "PDU29347", "Manufacturer": "Contoso",
        "Location": {"Placement": {"Rack": "R12"}},
        "Metrics": {"@odata.id": "/e/r/1/m"}, "Outlets": {"@odata.id": "/e/r/1/o"}}"#,
    );
    pdu.put("/e/r/1/m", r#"{"PowerWatts": {"Reading": 6438}, "EnergykWh": {"Reading": 56438.125}}"#);
    pdu.put("/e/r/1/o", r#"{"Members": [{"@odata.id": "/e/r/1/o/A1"}]}"#);
    pdu.put("/e/r/1/o/A1", r#"{"Id": "A1", "PowerWatts": {"Reading": 412.36}}"#);
    let place = |kind: &str| json!([{ "address": pdu.url(), "insecure": true, "name": "pdu-r12", "kind": kind, "outlets": true }]);
    let mut target = targets(json!({ "targets": place("meter") })).expect("a target").remove(0);
    probed(&mut target).await;
    let outlet = &target.outlets()[0];
    assert_eq!(outlet.owner.to_string(), "default/meter/pdu-r12");
    assert_eq!((outlet.labels["rack"].as_str(), outlet.labels["hw.serial"].as_str()), ("R12", "PDU29347"));
    let names: Vec<String> = outlet.devices.iter().map(|device| device.key.to_string()).collect();
    assert_eq!(names, ["pdu:mains", "pdu:mains/outlet-A1"]);
    let samples = read(&mut target).await.expect("a reading");
    // 56438.125 kWh × 3.6e12 µJ.
    assert_eq!(
        (samples[0][0].power, samples[0][0].counter),
        (Some(Milliwatts(6_438_000)), Some(Microjoules(203_177_250_000_000_000)))
    );
    assert_eq!(samples[0][1].power, Some(Milliwatts(412_360)));
    let mut wrong = targets(json!({ "targets": place("chassis") })).expect("a target").remove(0);
    assert!(absent(&mut wrong).await.contains("kind = \"meter\""));
}

#[actix_rt::test]
async fn of_fifty_one_that_hangs_delays_no_other() {
    let bmcs: Vec<Bmc> = (0..50).map(|_| server(&four_hundred())).collect();
    let places: Vec<Value> = bmcs
        .iter()
        .enumerate()
        .map(|(place, bmc)| json!({ "address": bmc.url(), "insecure": true, "name": format!("bmc-{place}") }))
        .collect();
    let mut all = targets(json!({ "targets": places, "timeout_ms": 30_000 })).expect("targets");
    for target in &mut all {
        probed(target).await;
    }
    bmcs[7].be(Mood::Hangs);
    let mut hanging = all.remove(7);
    let others = async {
        let since = Instant::now();
        let reads = all.iter_mut().map(read);
        let samples = futures_util::future::join_all(reads).await;
        assert!(samples.iter().all(|samples| samples.as_ref().is_ok_and(|all| all[0].len() == 1)));
        since.elapsed()
    };
    tokio::select! {
        _ = read(&mut hanging) => panic!("it answered"),
        took = others => assert!(took < Duration::from_secs(10), "{took:?}"),
    }
}

#[actix_rt::test]
async fn what_is_no_bmc_says_why() {
    let gone = Bmc::start().url();
    let place = |address: &str| json!({ "targets": [{ "address": address, "insecure": true }] });
    let mut nobody = targets(place(&gone)).expect("a target").remove(0);
    let why = absent(&mut nobody).await;
    assert!(why.contains("cannot be reached"), "{why}");
    let empty = Bmc::start_plain();
    empty.put("/redfish/v1/Chassis", r#"{"Members": []}"#);
    let mut nothing = targets(place(&empty.url())).expect("a target").remove(0);
    assert!(absent(&mut nothing).await.contains("no chassis"));
    let silent = server(&Arc::new(AtomicU64::new(0)));
    let mut target = target(&silent);
    let why = absent(&mut target).await;
    assert!(why.contains("no meter") && why.contains("0 W"), "{why}");
}
