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
fn grace_meters_nest_and_the_module_is_known_by_its_name() {
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
    assert_eq!(note, "");
    let read: Vec<_> = found.into_iter().map(|(key, power, ..)| (key, power)).collect();
    let expected = [
        ("other:module-0", 100_000),
        ("cpu:grace-0", 101_000),
        ("cpu:grace-0/cpu", 102_000),
        ("cpu:grace-0/sysio", 103_000),
    ];
    assert_eq!(read, expected.map(|(key, mw)| (key.to_owned(), Some(mw))));
    let devices = hwmon.devices();
    assert!(devices[2..].iter().all(|part| part.key.is_part_of(&devices[1].key)));
    assert!(devices.iter().all(|decl| decl.period_ns == 1_000_000_000), "50 ms of averaging, read once a second");
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

/// An AMD card at a PCI address: (file, content) pairs beside its name and device.
fn amd(n: usize, pci: &str, files: &[(&str, &str)]) -> Vec<(String, String)> {
    let path = |file: &str| format!("class/hwmon/hwmon{n}/{file}");
    let mut all = vec![
        (path("name"), "amdgpu\n".into()),
        (path("power1_label"), "PPT\n".into()),
        (path("device"), format!("-> ../../../devices/{pci}")),
        (format!("devices/{pci}/vendor"), "0x1002\n".into()),
    ];
    all.extend(files.iter().map(|(file, content)| match file.strip_prefix("device/") {
        Some(own) => (format!("devices/{pci}/{own}"), (*content).into()),
        None => (path(file), (*content).into()),
    }));
    all
}

fn of(chips: &[Vec<(String, String)>]) -> (tempfile::TempDir, Hwmon) {
    let files: Vec<(&str, &str)> = chips.iter().flatten().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let (folder, roots) = tree(&files);
    (folder, Hwmon::new(&HwmonSettings::default(), &roots))
}

fn watts(values: &[Value]) -> Vec<(&str, Option<u64>)> {
    values.iter().map(|(key, power, ..)| (key.as_str(), *power)).collect()
}

#[test]
fn each_instinct_gives_what_it_has_and_a_second_die_nothing() {
    let (_folder, mut hwmon) = of(&[
        // MI300X: no average.
        amd(0, "0000:05:00.0", &[("power1_input", "750000000\n")]),
        // MI210: no input.
        amd(1, "0000:26:00.0", &[("power1_average", "300000000\n")]),
        // An average that is a "no value" mark beside a good input.
        amd(2, "0000:46:00.0", &[("power1_average", "4294967295000\n"), ("power1_input", "290000000\n")]),
        // MI250: the first die reads the card, the second reads zero.
        amd(3, "0000:c9:00.0", &[("power1_average", "560000000\n"), ("power1_cap_max", "560000000\n")]),
        amd(4, "0000:cc:00.0", &[("power1_average", "0\n"), ("power1_cap_max", "0\n")]),
        // Zero now, and has a limit: a card that is being reset.
        amd(6, "0000:d1:00.0", &[("power1_average", "0\n"), ("power1_cap_max", "300000000\n")]),
        // Nothing at all this time: asked again later.
        amd(5, "0000:cf:00.0", &[("power1_average", "")]),
    ]);
    let (found, note) = values(&mut hwmon);
    let expected = [
        ("gpu:0000:05:00.0", Some(750_000)),
        ("gpu:0000:26:00.0", Some(300_000)),
        ("gpu:0000:46:00.0", Some(290_000)),
        ("gpu:0000:c9:00.0", Some(560_000)),
        ("gpu:0000:cf:00.0", None),
        ("gpu:0000:d1:00.0", None),
    ];
    assert_eq!(watts(&found), expected);
    let refused: Vec<_> = found.iter().filter_map(|(key, _, _, refused)| Some((key.as_str(), (*refused)?))).collect();
    assert_eq!(refused, [("gpu:0000:d1:00.0", Refusal::Sentinel)]);
    assert!(note.contains("gpu:0000:cc:00.0 reads 0 W") && !note.contains(';'), "{note}");
    // By number both dies are there, and the second leads to the card.
    let nicknames = hwmon.nicknames();
    let named = |name: &str| nicknames.iter().find(|(_, known)| known == name).map(|(place, _)| *place);
    let by_number: Vec<_> = (0..8).map(|number: u8| named(&number.to_string())).collect();
    assert_eq!(by_number, [Some(0), Some(1), Some(2), Some(3), Some(3), Some(4), Some(5), None]);
    assert_eq!(named("0000:cc:00.0"), Some(3));
}

#[test]
fn a_board_that_comes_to_read_zero_is_refused_not_booked() {
    let (folder, mut hwmon) = of(&[amd(0, "0000:05:00.0", &[("power1_average", "90000000\n")])]);
    values(&mut hwmon);
    std::fs::write(folder.path().join("sys/class/hwmon/hwmon0/power1_average"), "0\n").expect("written");
    let mut samples = Vec::new();
    hwmon.read(&mut samples).expect("a reading");
    assert_eq!(samples, [Sample { refused: Some(Refusal::Sentinel), ..Sample::default() }]);
}

#[test]
fn a_processors_graphics_is_left_to_rapl_where_there_is_one() {
    // The table's header: 120 bytes, format 2, content 3; a card's has format 1.
    let apu = amd(0, "0000:0b:00.0", &[("power1_average", "45000000\n"), ("device/gpu_metrics", "x\0\u{2}\u{3}rest")]);
    let card = amd(1, "0000:05:00.0", &[("power1_average", "99000000\n"), ("device/gpu_metrics", "x\0\u{1}\u{3}rest")]);
    let zone = vec![("class/powercap/intel-rapl:0/name".to_owned(), "package-0\n".to_owned())];
    let (_folder, mut alone) = of(&[apu.clone(), card.clone()]);
    let both = [("gpu:0000:0b:00.0", Some(45_000)), ("gpu:0000:05:00.0", Some(99_000))];
    assert_eq!(watts(&values(&mut alone).0), both);
    let (_folder, mut beside) = of(&[apu, card, zone]);
    let (found, note) = values(&mut beside);
    assert_eq!(watts(&found), both[1..]);
    assert!(note.contains("gpu:0000:0b:00.0: it measures the whole processor"), "{note}");
}

#[test]
fn a_card_that_sleeps_is_not_asked_until_it_is_awake() {
    let files = [
        ("power1_average", "30000000\n"),
        ("device/power/control", "auto\n"),
        ("device/power/runtime_status", "suspended\n"),
    ];
    let (folder, mut hwmon) = of(&[amd(0, "0000:05:00.0", &files)]);
    assert_eq!(watts(&values(&mut hwmon).0), [("gpu:0000:05:00.0", None)]);
    let mut samples = Vec::new();
    hwmon.read(&mut samples).expect("sleeping is no failure");
    assert!(samples.is_empty());
    let status = folder.path().join("sys/devices/0000:05:00.0/power/runtime_status");
    std::fs::write(status, "active\n").expect("written");
    hwmon.read(&mut samples).expect("a reading");
    assert_eq!(samples[0].power, Some(Milliwatts(30_000)));
}

#[test]
fn intel_cards_count_their_card_channel_and_no_tile() {
    let energy = |n: usize, name: &str, files: &[(&str, &str)]| -> Vec<(String, String)> {
        let path = |file: &str| format!("class/hwmon/hwmon{n}/{file}");
        let own = [("name", name), ("device", "-> ../../../0000:4d:00.0")];
        own.iter().chain(files).map(|(file, content)| (path(file), (*content).into())).collect()
    };
    let (_folder, mut hwmon) = of(&[
        energy(0, "i915\n", &[("energy1_input", "123456789\n")]),
        energy(1, "i915_gt0\n", &[("energy1_input", "100000000\n")]),
        energy(2, "i915_gt1\n", &[("energy1_input", "20000000\n")]),
    ]);
    let (found, note) = values(&mut hwmon);
    assert_eq!(found, [("gpu:0000:4d:00.0".to_owned(), None, Some(123_456_789), None)]);
    assert_eq!(note, "", "tiles are parts of the card");
}

#[test]
fn a_chip_that_is_missing_is_looked_for_while_the_others_go_on() {
    let (folder, mut hwmon) = of(&[
        amd(0, "0000:05:00.0", &[("power1_average", "30000000\n")]),
        amd(1, "0000:26:00.0", &[("power1_average", "40000000\n")]),
    ]);
    hwmon.period_ns = 20_000_000_000;
    let chip = folder.path().join("sys/class/hwmon/hwmon1");
    std::fs::rename(&chip, folder.path().join("aside")).expect("moved");
    assert_eq!(values(&mut hwmon).0.len(), 1);
    // As after a probe that had found both.
    hwmon.missing.looked(2);
    let mut counts = |readings: usize| -> Vec<usize> {
        let read = |hwmon: &mut Hwmon| {
            let mut samples = Vec::new();
            hwmon.read(&mut samples).expect("the other goes on");
            samples.len()
        };
        (0..readings).map(|_| read(&mut hwmon)).collect()
    };
    assert_eq!(counts(20), [1; 20]);
    std::fs::rename(folder.path().join("aside"), folder.path().join("sys/class/hwmon/hwmon9")).expect("moved");
    let found_at = counts(20).iter().position(|count| *count == 2).expect("found again, under another number");
    assert!((1..=3).contains(&found_at), "within a minute, but not at every reading: {found_at}");
    assert_eq!(hwmon.devices()[1].key.to_string(), "gpu:0000:26:00.0");
}

/// The recorded tree, with these chips vouched for.
fn recorded(chips: &[(&str, Scope)]) -> Option<(Vec<Value>, String)> {
    let Ok(data) = std::env::var("WATTLEDGER_TEST_DATA") else {
        eprintln!("SKIPPED: WATTLEDGER_TEST_DATA does not name the folder of recorded trees");
        return None;
    };
    let sys = Path::new(&data).join("redfish-ipmi-payloads/sysfs-kepler/sys");
    let chips = chips.iter().map(|(name, scope)| ((*name).to_owned(), *scope)).collect();
    let settings = HwmonSettings { chips, ..HwmonSettings::default() };
    Some(values(&mut Hwmon::new(&settings, &Roots { sys, ..Roots::default() })))
}

#[test]
fn the_recorded_tree_gives_its_one_gpu_and_names_the_rest() {
    let Some((found, note)) = recorded(&[]) else { return };
    assert_eq!(found, [("gpu:hwmon1".to_owned(), Some(118_000), None, None)]);
    // Every other chip of the tree, by hand: package and cores beside rapl, rails, meters of unknown things.
    let unknown = [
        ("hwmon_device_path", "1 channel"),
        ("hwmon_dir_fallback", "1 channel"),
        ("energy_meter", "1 channel"),
        ("energy_with_enable", "2 channels"),
        ("k10temp", "2 channels"),
        ("multi_energy", "3 channels"),
        ("multi_sensor", "2 channels"),
        ("platform_sensor", "1 channel"),
        ("power_chip", "1 channel"),
        ("test_power_chip", "2 channels"),
    ];
    let mut expected: Vec<String> = unknown
        .iter()
        .map(|(name, count)| {
            format!("chip {name}, {count}: not known to be a meter of its own, see `[sources.hwmon] chips`")
        })
        .collect();
    for products in ["ina226, 2 times", "ina3221, 6 times", "max20730", "unknown_chip"] {
        expected.push(format!("chip {products}: volts and amperes but no power"));
    }
    expected.push("chip test_power_chip, power3 (PSU_Rail_C): switched off".into());
    expected.push("chip energy_with_enable, energy3 (Rail_C): switched off".into());
    expected.sort();
    assert_eq!(note, format!("left out: {}", expected.join("; ")));
}

#[test]
fn chips_of_the_recorded_tree_that_are_vouched_for_are_read_channel_by_channel() {
    let chips = [
        ("test_power_chip", Scope::Storage),
        ("energy_with_enable", Scope::Switch),
        ("multi_sensor", Scope::Other),
        ("power_chip", Scope::Pdu),
    ];
    let Some((found, _)) = recorded(&chips) else { return };
    let value = |key: &str, mw, uj| (key.to_owned(), mw, uj, None);
    let expected = [
        value("gpu:hwmon1", Some(118_000), None),
        value("other:multi_sensor-hwmon_aggregate-package-1", Some(50_000), None),
        value("other:multi_sensor-hwmon_aggregate-package-2", Some(30_000), None),
        value("storage:test_power_chip-hwmon_disabled_power-PSU_Rail_A", Some(45_000), None),
        value("storage:test_power_chip-hwmon_disabled_power-PSU_Rail_B", Some(15_000), None),
        value("pdu:power_chip-hwmon_energy_no_label-1", None, Some(300_000_000)),
        value("switch:energy_with_enable-hwmon_energy_disabled-Rail_A", None, Some(500_000_000)),
        value("switch:energy_with_enable-hwmon_energy_disabled-Rail_B", None, Some(200_000_000)),
    ];
    let sorted = |mut values: Vec<Value>| {
        values.sort();
        values
    };
    assert_eq!(sorted(found), sorted(expected.into()));
}
