//! What is found behind a BMC, and whose it is.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use agents::sources::PollError;
use meter::{Microjoules, Milliwatts, Refusal, Sample};
use serde_json::json;

use crate::bmc::Bmc;
use crate::{METRICS, UUID, absent, four_hundred, probed, read, server, target, targets};

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

/// A recorded payload, or nothing and a visible line that says what is skipped.
fn payload(name: &str) -> Option<String> {
    let Some(folder) = std::env::var_os("WATTLEDGER_TEST_DATA") else {
        eprintln!("SKIPPED: {name}: WATTLEDGER_TEST_DATA does not name the folder of recorded payloads");
        return None;
    };
    let path = std::path::Path::new(&folder).join("redfish-ipmi-payloads").join(name);
    Some(std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display())))
}

/// A BMC that answers with these recorded payloads, by their paths.
fn recorded(payloads: &[(&str, &str)]) -> Option<Bmc> {
    let bmc = Bmc::start();
    for (path, name) in payloads {
        bmc.put(path, payload(name)?);
    }
    let (chassis, _) = payloads[0];
    bmc.put("/redfish/v1/Chassis", format!(r#"{{"Members": [{{"@odata.id": {chassis:?}}}]}}"#));
    Some(bmc)
}

#[actix_rt::test]
async fn recorded_payloads_as_they_hang_together() {
    const DELL: &str = "/redfish/v1/Chassis/System.Embedded.1";
    let dell = [(DELL, "telegraf-dell_chassis.json"), (&format!("{DELL}/Power"), "telegraf-dell_power.json")];
    let Some(bmc) = recorded(&dell) else { return };
    let mut dell = target(&bmc);
    probed(&mut dell).await;
    let outlet = &dell.outlets()[0];
    let label = |key: &str| outlet.labels.get(key).map(String::as_str);
    assert_eq!((label("hw.serial"), label("hw.vendor")), (Some("CNIVC007CV0803"), Some("Dell Inc.")));
    assert_eq!((label("hw.model"), label("hw.power")), (Some("PowerEdge R640"), Some("on")));
    assert_eq!((label("rack"), label("hw.uuid")), (None, None));
    assert_eq!(outlet.devices[0].period_ns, 60_000_000_000, "an average of a minute");
    assert_eq!(read(&mut dell).await.expect("a reading")[0][0].power, Some(Milliwatts(426_000)));

    const HPE: &str = "/redfish/v1/Chassis/1";
    let supplies = format!("{HPE}/PowerSubsystem/PowerSupplies");
    let hpe = [
        (HPE, "telegraf-hp_chassis_subsys.json"),
        (&format!("{HPE}/PowerSubsystem"), "telegraf-hp_power_subsys.json"),
        (&supplies, "telegraf-hp_power_subsys_psu.json"),
        (&format!("{supplies}/PowerSupply1"), "telegraf-hp_power_subsys_psu_1.json"),
        (&format!("{supplies}/PowerSupply1/Metrics"), "telegraf-hp_power_subsys_metrics.json"),
    ];
    let Some(bmc) = recorded(&hpe) else { return };
    let mut hpe = target(&bmc);
    probed(&mut hpe).await;
    assert_eq!(hpe.outlets()[0].devices[0].key.to_string(), "chassis:bmc/psu-Bay1");
    let sample = read(&mut hpe).await.expect("a reading")[0][0];
    assert_eq!((sample.power, sample.counter), (Some(Milliwatts(937_400)), None), "whole kWh are too coarse");

    // The same with a payload that is broken: nothing is made of it.
    let broken = [(DELL, "telegraf-dell_chassis.json"), (&format!("{DELL}/Power"), "telegraf-dell_powerinvalid.json")];
    let Some(bmc) = recorded(&broken) else { return };
    let why = absent(&mut target(&bmc)).await;
    assert!(why.contains("no JSON"), "{why}");
}
