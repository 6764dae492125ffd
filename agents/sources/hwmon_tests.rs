//! Hwmon on made trees and on recorded ones.

use super::*;

fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        let path = folder.path().join("sys").join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        match content.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).expect("linked"),
            None => std::fs::write(path, content).expect("written"),
        }
    }
    let roots = Roots { sys: folder.path().join("sys"), proc: folder.path().join("proc") };
    (folder, roots)
}

/// Account, power in mW, counter in µJ, refusal.
type Value = (String, Option<u64>, Option<u64>, Option<Refusal>);

fn values(hwmon: &mut Hwmon) -> (Vec<Value>, String) {
    match hwmon.probe() {
        Probe::Absent { why } => (Vec::new(), why),
        Probe::Found { devices, note } => {
            let value = |device: &FoundDevice| {
                let now = device.now.unwrap_or_default();
                (device.decl.key.to_string(), now.power.map(|p| p.0), now.counter.map(|c| c.0), now.refused)
            };
            (devices.iter().map(value).collect(), note.unwrap_or_default())
        }
    }
}

#[test]
fn an_average_is_preferred_and_an_input_stands_in_for_an_empty_one() {
    let (folder, roots) = tree(&[
        ("class/hwmon/hwmon0/name", "coretemp\n"),
        ("class/hwmon/hwmon0/temp1_input", "40000\n"),
        ("class/hwmon/hwmon1/name", "amdgpu\n"),
        ("class/hwmon/hwmon1/device", "-> ../../../0000:43:00.0"),
        ("class/hwmon/hwmon1/power1_average", "118000499\n"),
        ("class/hwmon/hwmon1/power1_input", "120000500\n"),
        ("class/hwmon/hwmon1/power1_cap_max", "560000000\n"),
    ]);
    let mut hwmon = Hwmon::new(&HwmonSettings::default(), &roots);
    let gpu = "gpu:0000:43:00.0".to_owned();
    assert_eq!(values(&mut hwmon).0, [(gpu.clone(), Some(118_000), None, None)]);
    assert_eq!(hwmon.devices()[0].limit, Milliwatts(560_000));
    assert_eq!(hwmon.devices()[0].epoch, 0, "no counter, no epoch");
    std::fs::write(folder.path().join("sys/class/hwmon/hwmon1/power1_average"), "").expect("written");
    assert_eq!(values(&mut hwmon).0, [(gpu, Some(120_001), None, None)]);
}

#[test]
fn sentinels_are_refused_and_failing_files_are_no_value_never_zero() {
    let (folder, roots) = tree(&[
        ("class/hwmon/hwmon1/name", "amdgpu\n"),
        ("class/hwmon/hwmon1/device", "-> ../../../0000:43:00.0"),
        ("class/hwmon/hwmon1/power1_average", "4294967295000\n"),
        ("class/hwmon/hwmon2/name", "xe\n"),
        ("class/hwmon/hwmon2/device", "-> ../../../0000:44:00.0"),
        ("class/hwmon/hwmon2/energy1_input", "77000000\n"),
        ("class/hwmon/hwmon2/energy1_label", "card\n"),
        ("class/hwmon/hwmon2/energy2_input", "55000000\n"),
        ("class/hwmon/hwmon2/energy2_label", "pkg\n"),
    ]);
    let mut hwmon = Hwmon::new(&HwmonSettings::default(), &roots);
    let expected = [
        ("gpu:0000:43:00.0".to_owned(), None, None, Some(Refusal::Sentinel)),
        ("gpu:0000:44:00.0".to_owned(), None, Some(77_000_000), None),
    ];
    assert_eq!(values(&mut hwmon).0, expected);
    assert_ne!(hwmon.devices()[1].epoch, 0);
    for file in ["hwmon1/power1_average", "hwmon2/energy1_input"] {
        std::fs::write(folder.path().join("sys/class/hwmon").join(file), "").expect("written");
    }
    let mut samples = Vec::new();
    assert!(matches!(hwmon.read(&mut samples), Err(PollError::Retry(_))));
    assert!(samples.is_empty());
}

#[test]
fn grace_meters_nest_and_the_module_with_its_gpus_is_left_out() {
    let labels = ["Module Power Socket 0", "Grace Power Socket 0", "CPU Power Socket 0", "SysIO Power Socket 0"];
    let mut files = Vec::new();
    for (n, label) in labels.iter().enumerate() {
        // The old driver keeps everything in the device's own folder.
        let path = |file: &str| format!("class/hwmon/hwmon{n}/device/{file}");
        files.push((path("name"), "power_meter\n".to_owned()));
        files.push((path("power1_average"), format!("{}000000\n", 100 + n)));
        files.push((path("power1_average_interval"), "50\n".to_owned()));
        files.push((path("power1_oem_info"), format!("{label}\n")));
    }
    let (_folder, roots) = tree(&files.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect::<Vec<_>>());
    let mut hwmon = Hwmon::new(&HwmonSettings::default(), &roots);
    let (found, note) = values(&mut hwmon);
    assert!(note.contains("Module Power Socket 0"), "{note}");
    let read: Vec<_> = found.into_iter().map(|(key, power, ..)| (key, power)).collect();
    let expected = [("cpu:grace-0", 101_000), ("cpu:grace-0/cpu", 102_000), ("cpu:grace-0/sysio", 103_000)];
    assert_eq!(read, expected.map(|(key, mw)| (key.to_owned(), Some(mw))));
    let devices = hwmon.devices();
    assert!(devices[1..].iter().all(|part| part.key.is_part_of(&devices[0].key)));
}

fn acpi(n: usize, extra: &[(&str, &str)]) -> Vec<(String, String)> {
    let path = |file: &str| format!("class/hwmon/hwmon{n}/{file}");
    let mut files = vec![
        (path("name"), "power_meter\n".into()),
        (path("power1_average"), "412000000\n".into()),
        (path("power1_average_interval"), "300000\n".into()),
    ];
    files.extend(extra.iter().map(|(file, content)| (path(file), (*content).into())));
    files
}

#[test]
fn one_acpi_meter_is_the_chassis_and_several_nameless_ones_are_nothing() {
    let probe = |chips: &[Vec<(String, String)>], settings: &HwmonSettings| {
        let files: Vec<(&str, &str)> = chips.iter().flatten().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        let (_folder, roots) = tree(&files);
        let mut hwmon = Hwmon::new(settings, &roots);
        let found = values(&mut hwmon);
        (found, hwmon.devices().first().map(|decl| decl.period_ns))
    };
    let on = HwmonSettings::default();
    let (found, period) = probe(&[acpi(0, &[])], &on);
    assert_eq!(found.0, [("chassis:acpi-power-meter".to_owned(), Some(412_000), None, None)]);
    assert_eq!(period, Some(300_000_000_000), "it has a new value every 300 s however often it is read");
    let ((none, why), _) = probe(&[acpi(0, &[]), acpi(1, &[])], &on);
    assert!(none.is_empty() && why.contains("2 ACPI power meters"), "{why}");
    let ((none, why), _) = probe(&[acpi(0, &[])], &HwmonSettings { acpi_power_meter: false, ..on.clone() });
    assert!(none.is_empty() && why.contains("acpi_power_meter"), "{why}");
    let ((none, _), _) = probe(&[acpi(0, &[("power1_is_battery", "1\n")])], &on);
    assert!(none.is_empty());
}

#[test]
fn power_supplies_are_the_meter_when_vouched_for_and_then_only_their_input_counts() {
    let files = [
        ("class/hwmon/hwmon2/name", "power_meter\n"),
        ("class/hwmon/hwmon2/power1_average", "240000000\n"),
        ("class/hwmon/hwmon3/name", "dps650ab\n"),
        ("class/hwmon/hwmon3/device", "-> ../../3-0058"),
        ("class/hwmon/hwmon3/power1_label", "pin\n"),
        ("class/hwmon/hwmon3/power1_input", "250000000\n"),
        ("class/hwmon/hwmon3/power2_label", "pout1\n"),
        ("class/hwmon/hwmon3/power2_input", "230000000\n"),
    ];
    let (_folder, roots) = tree(&files);
    let (found, note) = values(&mut Hwmon::new(&HwmonSettings::default(), &roots));
    assert_eq!(found, [("chassis:acpi-power-meter".to_owned(), Some(240_000), None, None)]);
    assert!(note.contains("psu-3-0058"), "{note}");
    let on = HwmonSettings { power_supplies: true, ..HwmonSettings::default() };
    let (found, note) = values(&mut Hwmon::new(&on, &roots));
    assert_eq!(found, [("chassis:psu-3-0058".to_owned(), Some(250_000), None, None)]);
    assert!(note.contains("ACPI power meter"), "one meter of the whole machine, never two: {note}");
}

#[test]
fn recorded_trees_read_as_their_files_say() {
    let Ok(data) = std::env::var("WATTLEDGER_TEST_DATA") else {
        return eprintln!("skipped: WATTLEDGER_TEST_DATA is not set");
    };
    let sys = Path::new(&data).join("redfish-ipmi-payloads/sysfs-kepler/sys");
    let roots = Roots { sys, ..Roots::default() };
    let (found, note) = values(&mut Hwmon::new(&HwmonSettings::default(), &roots));
    assert_eq!(found, [("gpu:hwmon1".to_owned(), Some(118_000), None, None)]);
    // Package and core power beside RAPL would be counted twice, so such chips wait for a person's word.
    for left_out in ["k10temp", "platform_sensor", "test_power_chip", "energy_with_enable"] {
        assert!(note.contains(left_out), "{left_out} is not in: {note}");
    }
    let scopes = [("test_power_chip", Scope::Storage), ("energy_with_enable", Scope::Switch)];
    let chips = scopes.into_iter().map(|(name, scope)| (name.to_owned(), scope)).collect();
    let (found, _) = values(&mut Hwmon::new(&HwmonSettings { chips, ..HwmonSettings::default() }, &roots));
    let named = |prefix: &str| -> Vec<_> { found.iter().filter(|(key, ..)| key.starts_with(prefix)).collect() };
    let values: Vec<_> = named("storage:").iter().map(|(_, power, ..)| power.expect("power")).collect();
    assert_eq!(values, [45_000, 15_000], "the third channel is switched off");
    let values: Vec<_> = named("switch:").iter().map(|(_, _, counter, _)| counter.expect("energy")).collect();
    assert_eq!(values, [500_000_000, 200_000_000], "the third channel is switched off");
}
