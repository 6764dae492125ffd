use super::super::payload;
use super::*;

fn parsed(text: &str) -> Document<'_> {
    Document::parse(text).expect("JSON")
}

/// Power in mW and counter in µJ that a gauge reads.
fn read(gauge: &Gauge, document: Document<'_>) -> (Option<u64>, Option<u64>) {
    let values = gauge.read(document);
    (values.power.and_then(Result::ok).map(|power| power.0), values.counter.and_then(Result::ok).map(|uj| uj.0))
}

#[test]
fn every_vendors_power_resource_gives_one_figure() {
    // Worked out by hand from the files: the average where it is one of a minute, else the present value.
    for (name, milliwatts, seconds) in [
        ("telegraf-dell_power.json", 426_000, 60),
        ("telegraf-hp_power.json", 221_000, 0),
        ("lenovo-xcc-power.json", 290_000, 60),
        ("dmtf-1U-Power.json", 344_000, 0),
        ("kepler-mock-1U-Power.json", 344_000, 0),
        ("kepler-mock-2U-Power.json", 450_000, 0),
        ("kepler-mock-4U-Power.json", 750_000, 0),
    ] {
        let Some(text) = payload(name) else { return };
        let gauge = of_control("/redfish/v1/Chassis/1/Power", parsed(&text)).expect(name);
        assert_eq!(read(&gauge, parsed(&text)), (Some(milliwatts), None), "{name}");
        assert_eq!(gauge.period_ns, seconds * SECOND, "{name}");
        assert!(gauge.has_value(parsed(&text)) && !gauge.is_silent(parsed(&text)));
    }
}

#[test]
fn broken_payloads_are_no_documents() {
    for name in ["telegraf-dell_powerinvalid.json", "telegraf-hp_powerinvalid.json"] {
        let Some(text) = payload(name) else { return };
        assert!(Document::parse(&text).is_err(), "{name}");
    }
}

#[test]
fn what_supplies_give_out_and_what_they_are_rated_is_no_meter() {
    // Dell: PowerInputWatts is 900, the rating of a supply that gives out 203 W. HPE, DMTF and Lenovo: only
    // LastPowerOutputWatts, or nothing.
    for name in ["telegraf-dell_power.json", "telegraf-hp_power.json", "dmtf-1U-Power.json", "lenovo-xcc-power.json"] {
        let Some(text) = payload(name) else { return };
        assert_eq!(of_legacy_supplies("/p", parsed(&text)), [], "{name}");
    }
}

#[test]
fn environment_metrics_and_supply_metrics() {
    let Some(text) = payload("dmtf-1U-EnvironmentMetrics.json") else { return };
    let gauge = of_metrics("/e", "PowerWatts", parsed(&text)).expect("a figure");
    assert_eq!(read(&gauge, parsed(&text)), (Some(374_000), None));
    assert_eq!(gauge.sensor.as_deref(), Some("/redfish/v1/Chassis/1U/Sensors/TotalPower"));
    for name in ["dmtf-1U-PowerSubsystem_PowerSupplies_Bay1_Metrics.json", "telegraf-hp_power_subsys_metrics.json"] {
        let Some(text) = payload(name) else { return };
        let gauge = of_metrics("/s", "InputPowerWatts", parsed(&text)).expect("a figure");
        // 937.4 W go in. The counter, 325675 kWh, has no digit behind the point: too coarse to book.
        assert_eq!(read(&gauge, parsed(&text)), (Some(937_400), None), "{name}");
        assert!(gauge.coarse.is_some() && gauge.outdated(parsed(&text)).is_none());
    }
    let Some(text) = payload("telegraf-hp_power_subsys_psu_1.json") else { return };
    assert!(is_present(parsed(&text)));
    assert_eq!(part(parsed(&text).text("Id").as_deref(), 0), "psu-Bay1");
    let Some(text) = payload("dmtf-1U-Sensors_CPU1Power.json") else { return };
    assert_eq!(sensor_period_ns(parsed(&text)), 10_000_000, "PT0.01S");
}

#[test]
fn a_fine_counter_books_and_the_one_that_nobody_resets_is_preferred() {
    let text = r#"{"PowerWatts": {"Reading": 410.25},
        "EnergykWh": {"Reading": 3.125, "LifetimeReading": 7855.4321, "SensorResetTime": "2026-01-01T00:00:00Z"}}"#;
    let gauge = of_metrics("/e", "PowerWatts", parsed(text)).expect("a figure");
    // 7855.4321 kWh × 3.6e12 µJ.
    assert_eq!(read(&gauge, parsed(text)), (Some(410_250), Some(28_279_555_560_000_000)));
    assert_eq!(gauge.since, None, "a life has no other beginning");
    assert_ne!(gauge.epoch("S1"), 0);
    assert_ne!(gauge.epoch("S1"), gauge.epoch("S2"), "another machine's counter");
}

#[test]
fn a_counter_that_was_set_back_is_another_counter() {
    let since = |time: &str| format!(r#"{{"EnergykWh": {{"Reading": 3.125, "SensorResetTime": {time:?}}}}}"#);
    let (before, after) = (since("2026-01-01T00:00:00Z"), since("2026-02-01T00:00:00Z"));
    let gauge = of_metrics("/e", "PowerWatts", parsed(&before)).expect("a figure");
    assert_eq!(gauge.power, None);
    assert_eq!(gauge.outdated(parsed(&before)), None);
    assert!(gauge.outdated(parsed(&after)).is_some());
    let anew = of_metrics("/e", "PowerWatts", parsed(&after)).expect("a figure");
    assert_ne!(gauge.epoch("S1"), anew.epoch("S1"));
}

#[test]
fn a_coarse_or_resting_counter_does_not_book_until_it_proves_fine() {
    for (energy, coarse) in
        [("12.5", true), ("7855", true), ("12.34", true), ("0", false), ("0.000", false), ("null", false)]
    {
        let text = format!(r#"{{"PowerWatts": {{"Reading": 400}}, "EnergykWh": {{"Reading": {energy}}}}}"#);
        let gauge = of_metrics("/e", "PowerWatts", parsed(&text)).expect("a figure");
        assert_eq!((gauge.counter.clone(), gauge.coarse.is_some()), (None, coarse), "{energy}");
        assert_eq!(gauge.epoch("S1"), 0);
    }
    let now = r#"{"PowerWatts": {"Reading": 400}, "EnergykWh": {"Reading": 12.50}}"#;
    let gauge = of_metrics("/e", "PowerWatts", parsed(now)).expect("a figure");
    let later = r#"{"PowerWatts": {"Reading": 400}, "EnergykWh": {"Reading": 12.501}}"#;
    assert!(gauge.outdated(parsed(later)).is_some_and(|why| why.contains("fine enough")));
}

#[test]
fn values_that_are_none_are_refused_by_reason() {
    let good = r#"{"PowerWatts": {"Reading": 400}, "EnergykWh": {"LifetimeReading": 12.501}}"#;
    let gauge = of_metrics("/e", "PowerWatts", parsed(good)).expect("a figure");
    for (power, energy, reasons) in [
        ("null", "null", (Refusal::NoValue, Refusal::NoValue)),
        ("\"400\"", "\"12.501\"", (Refusal::PowerNotFinite, Refusal::CounterNotFinite)),
        ("-1", "-1", (Refusal::PowerNegative, Refusal::CounterNegative)),
        ("4294967295", "4294967295", (Refusal::Sentinel, Refusal::Sentinel)),
        ("65535", "18446744073709551615", (Refusal::Sentinel, Refusal::Sentinel)),
    ] {
        let text = format!(r#"{{"PowerWatts": {{"Reading": {power}}}, "EnergykWh": {{"LifetimeReading": {energy}}}}}"#);
        let values = gauge.read(parsed(&text));
        assert_eq!((values.power, values.counter), (Some(Err(reasons.0)), Some(Err(reasons.1))), "{power} {energy}");
        assert!(!gauge.has_value(parsed(&text)));
    }
    let gone = gauge.read(parsed("{}"));
    assert_eq!((gone.power, gone.counter), (Some(Err(Refusal::NoValue)), Some(Err(Refusal::NoValue))));
}

/// A power control with these fields.
fn control(fields: &str) -> String {
    format!(r#"{{"PowerControl": [{{"MemberId": "0", {fields}}}]}}"#)
}

#[test]
fn a_present_value_and_an_average_are_told_apart() {
    for (fields, milliwatts, period_ms) in [
        // AMI: no present value, an average of five seconds.
        (r#""PowerMetrics": {"AverageConsumedWatts": 148, "IntervalInMin": 0.083333333333333}"#, Some(148_000), 5000),
        // Only an average of half an hour.
        (r#""PowerMetrics": {"AverageConsumedWatts": 148, "IntervalInMin": 30}"#, Some(148_000), 1_800_000),
        // An average that does not say over how long.
        (r#""PowerConsumedWatts": 150, "PowerMetrics": {"AverageConsumedWatts": 148}"#, Some(150_000), 0),
        // An average that is not between the extremes is a left-over.
        (
            r#""PowerConsumedWatts": 150, "PowerMetrics":
                {"AverageConsumedWatts": 0, "MinConsumedWatts": 120, "IntervalInMin": 1}"#,
            Some(150_000),
            0,
        ),
        (
            r#""PowerConsumedWatts": null, "PowerMetrics": {"AverageConsumedWatts": 148, "IntervalInMin": 20}"#,
            Some(148_000),
            1_200_000,
        ),
        (r#""PowerConsumedWatts": null"#, None, 0),
    ] {
        let text = control(fields);
        let gauge = of_control("/p", parsed(&text)).expect(fields);
        assert_eq!(read(&gauge, parsed(&text)).0, milliwatts, "{fields}");
        assert_eq!(gauge.period_ns, period_ms * 1_000_000, "{fields}");
    }
    assert_eq!(of_control("/p", parsed(&control(r#""Name": "none""#))), None);
    let off = control(r#""PowerConsumedWatts": 0"#);
    assert!(of_control("/p", parsed(&off)).expect("a figure").is_silent(parsed(&off)));
}

#[test]
fn subsystems_of_a_server_are_parts_of_its_first_control() {
    let text = r#"{"PowerControl": [
        {"MemberId": "1", "Name": "CPU Sub-system Power", "PowerConsumedWatts": 155},
        {"MemberId": "2", "Name": "Memory Sub-system Power", "PowerConsumedWatts": 49},
        {"MemberId": "0", "Name": "Server Power Control", "PowerConsumedWatts": 263}]}"#;
    let gauge = of_control("/p", parsed(text)).expect("a figure");
    assert_eq!(read(&gauge, parsed(text)).0, Some(263_000));
    let moved = r#"{"PowerControl": [{"MemberId": "0", "Name": "Server Power Control", "PowerConsumedWatts": 264}]}"#;
    assert_eq!(read(&gauge, parsed(moved)).0, Some(264_000), "found by its id, wherever it stands");
}

#[test]
fn supplies_count_together_or_not_at_all() {
    let text = r#"{"PowerSupplies": [
        {"MemberId": "0", "PowerInputWatts": 210.5, "PowerCapacityWatts": 900, "Status": {"State": "Enabled"}},
        {"MemberId": "1", "PowerInputWatts": 0, "PowerCapacityWatts": 900, "Status": {"State": "StandbyOffline"}},
        {"MemberId": "2", "Status": {"State": "Absent"}}]}"#;
    let gauges = of_legacy_supplies("/p", parsed(text));
    let all: Vec<_> = gauges.iter().map(|gauge| (gauge.part.as_str(), read(gauge, parsed(text)).0)).collect();
    assert_eq!(all, [("psu-0", Some(210_500)), ("psu-1", Some(0))], "a supply in standby draws nothing");
    let one_without = text.replace("\"PowerInputWatts\": 0,", "");
    assert_eq!(of_legacy_supplies("/p", parsed(&one_without)), []);
    let none = text.replace("\"PowerInputWatts\": 0,", "\"PowerInputWatts\": null,");
    let gauges = of_legacy_supplies("/p", parsed(&none));
    assert_eq!(gauges[1].read(parsed(&none)).power, Some(Err(Refusal::NoValue)), "null is no zero");
}
