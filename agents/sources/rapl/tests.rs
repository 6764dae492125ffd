//! RAPL on made trees and on a recorded one.

use meter::Refusal;

use super::*;

/// Writes (path, content) pairs below a new folder.
fn tree(files: &[(&str, &str)]) -> (tempfile::TempDir, Roots) {
    let folder = tempfile::tempdir().expect("a folder");
    for (path, content) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(path, content).expect("written");
    }
    let roots = Roots { sys: folder.path().join("sys"), proc: folder.path().join("proc") };
    (folder, roots)
}

fn zone(id: &str, name: &str, energy: &str, range: &str) -> Vec<(String, String)> {
    let path = |file: &str| format!("sys/class/powercap/{id}/{file}");
    let mut files = vec![(path("name"), format!("{name}\n"))];
    for (file, content) in [("energy_uj", energy), ("max_energy_range_uj", range)] {
        if !content.is_empty() {
            files.push((path(file), format!("{content}\n")));
        }
    }
    files
}

fn source(zones: &[Vec<(String, String)>]) -> (tempfile::TempDir, Rapl) {
    let mut files: Vec<(&str, &str)> = zones.iter().flatten().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    files.push(("proc/sys/kernel/random/boot_id", "7f3e0000-0000-4000-8000-000000000001\n"));
    let (folder, roots) = tree(&files);
    (folder, Rapl::new(&RaplSettings::default(), &roots))
}

fn keys(source: &Rapl) -> Vec<String> {
    source.devices().iter().map(|decl| decl.key.to_string()).collect()
}

const INTEL: &str = "262143328850";

#[test]
fn two_sockets_with_psys_and_an_mmio_duplicate_are_each_zone_once() {
    let (_folder, mut rapl) = source(&[
        zone("intel-rapl:0", "package-0", "1000001", INTEL),
        zone("intel-rapl:0:0", "core", "2000002", INTEL),
        zone("intel-rapl:0:1", "dram", "3000003", "65712999613"),
        zone("intel-rapl:1", "package-1", "4000004", INTEL),
        zone("intel-rapl:1:0", "uncore", "5000005", INTEL),
        zone("intel-rapl:1:1", "dram", "6000006", "65712999613"),
        zone("intel-rapl:2", "psys", "7000007", INTEL),
        zone("intel-rapl-mmio:0", "package-0", "1000009", INTEL),
        zone("intel-rapl-mmio:0:0", "dram", "3000003", INTEL),
    ]);
    let Probe::Found { devices, note } = rapl.probe() else { panic!("nothing found") };
    let expected = [
        ("cpu:package-0", 1_000_001, 262_143_328_911_u64),
        ("cpu:package-1", 4_000_004, 262_143_328_911),
        ("cpu:psys", 7_000_007, 262_143_328_911),
        ("cpu:package-0/core", 2_000_002, 262_143_328_911),
        ("dram:package-0", 3_000_003, 65_712_999_629),
        ("cpu:package-1/uncore", 5_000_005, 262_143_328_911),
        ("dram:package-1", 6_000_006, 65_712_999_629),
    ];
    assert_eq!(devices.len(), expected.len());
    for (device, (key, uj, modulus)) in devices.iter().zip(expected) {
        assert_eq!(device.decl.key.to_string(), key);
        assert_eq!(device.now.expect("a value").counter, Some(Microjoules(uj)), "{key}");
        assert_eq!(device.decl.modulus, Some(Microjoules(modulus)), "{key}");
        assert_ne!(device.decl.epoch, 0, "{key}");
    }
    let note = note.expect("the duplicates are named");
    assert!(note.contains("intel-rapl-mmio:0 (package-0)") && note.contains("intel-rapl-mmio:0:0 (dram)"), "{note}");
}

#[test]
fn a_zone_that_only_mmio_shows_is_used() {
    let (_folder, mut rapl) = source(&[zone("intel-rapl-mmio:0", "package-0", "9", INTEL)]);
    assert!(matches!(rapl.probe(), Probe::Found { .. }));
    assert_eq!(keys(&rapl), ["cpu:package-0"]);
}

#[test]
fn zones_that_cannot_be_counted_are_left_out_and_named() {
    let (_folder, mut rapl) = source(&[
        zone("intel-rapl:0", "package-0", "1", INTEL),
        zone("intel-rapl:1", "package-1", "1", ""),
        zone("intel-rapl:2", "package-2", "", INTEL),
        zone("intel-rapl:3", "psys", "0", INTEL),
        zone("intel-rapl:4", "psys-1", "1", INTEL),
        zone("intel-rapl:5", "package-5-die-1", "1", "65532610987"),
    ]);
    let Probe::Found { note: Some(note), .. } = rapl.probe() else { panic!("no note") };
    assert_eq!(keys(&rapl), ["cpu:package-0", "cpu:package-5-die-1"]);
    for named in
        ["intel-rapl:1 has no readable max_energy_range_uj", "intel-rapl:2/energy_uj", "intel-rapl:3", "psys-1"]
    {
        assert!(note.contains(named), "{named} is not in: {note}");
    }
}

#[test]
fn a_permission_error_says_how_to_grant_it() {
    let remarks = Remarks { denied: 2, ..Remarks::default() };
    let text = remarks.text().expect("a text");
    assert!(text.starts_with("2 zones: permission denied") && text.contains("5.10") && text.contains("tmpfiles"));
}

#[test]
fn the_tree_is_found_without_its_class_links() {
    let base = "sys/devices/virtual/powercap/intel-rapl/intel-rapl:0";
    let files: Vec<(String, &str)> = [
        ("name", "package-0"),
        ("energy_uj", "5"),
        ("max_energy_range_uj", INTEL),
        ("intel-rapl:0:0/name", "dram"),
        ("intel-rapl:0:0/energy_uj", "6"),
        ("intel-rapl:0:0/max_energy_range_uj", INTEL),
    ]
    .into_iter()
    .map(|(file, content)| (format!("{base}/{file}"), content))
    .collect();
    let (_folder, roots) = tree(&files.iter().map(|(a, b)| (a.as_str(), *b)).collect::<Vec<_>>());
    let mut rapl = Rapl::new(&RaplSettings::default(), &roots);
    assert!(matches!(rapl.probe(), Probe::Found { .. }));
    assert_eq!(keys(&rapl), ["cpu:package-0", "dram:package-0"]);
}

#[test]
fn the_largest_plausible_power_limit_is_declared() {
    for (limits, expected) in [
        (&[("constraint_0_max_power_uw", "205000000"), ("constraint_1_power_limit_uw", "246000000")][..], 246_000),
        // Capped for now; nothing says what it could draw.
        (&[("constraint_0_power_limit_uw", "100000000")], 0),
        (&[("constraint_0_max_power_uw", "350000000"), ("constraint_1_power_limit_uw", "4095875000")], 350_000),
        (&[("constraint_0_max_power_uw", "0")], 0),
        (&[], 0),
    ] {
        let mut files = zone("intel-rapl:0", "package-0", "1", INTEL);
        files.extend(limits.iter().map(|(f, v)| (format!("sys/class/powercap/intel-rapl:0/{f}"), (*v).to_owned())));
        let (_folder, mut rapl) = source(&[files]);
        rapl.probe();
        assert_eq!(rapl.devices()[0].limit, Milliwatts(expected), "{limits:?}");
    }
}

#[test]
fn a_reading_without_value_is_no_sample_and_a_vanished_tree_is_gone() {
    let (folder, mut rapl) =
        source(&[zone("intel-rapl:0", "package-0", "10", INTEL), zone("intel-rapl:1", "package-1", "20", INTEL)]);
    rapl.probe();
    let file = |n: u8| folder.path().join(format!("sys/class/powercap/intel-rapl:{n}/energy_uj"));
    let mut samples = Vec::new();
    std::fs::write(file(0), "").expect("written");
    std::fs::write(file(1), "-3\n").expect("written");
    rapl.read(&mut samples).expect("one of two gave something");
    let refused = Sample { device: 1, refused: Some(Refusal::CounterNegative), ..Sample::default() };
    assert_eq!(samples, [refused], "an empty file is no sample, a negative counter is a refused one");
    std::fs::write(file(1), "").expect("written");
    assert!(matches!(rapl.read(&mut samples), Err(PollError::Retry(_))));
    assert_eq!(samples.len(), 1, "a failed reading appends nothing");
}

#[test]
fn a_register_wraps_one_unit_after_its_largest_value() {
    // (2^32 - 1) units of 15 258, 61 035 and 15 300 nJ, and 2^32 of them, by hand.
    for (range, wrap) in [
        (65_532_610_987, 65_532_611_002),
        (262_143_328_850, 262_143_328_911),
        (65_712_999_613, 65_712_999_629),
        (262_143_328_851, 262_143_328_851),
        (1, 1),
        (u64::MAX, u64::MAX),
    ] {
        assert_eq!(wraps_at(range), Microjoules(wrap), "{range}");
    }
}

#[test]
fn dies_that_show_their_packages_register_are_counted_once() {
    let (_folder, mut rapl) = source(&[
        zone("intel-rapl:0", "package-0-die-0", "50000000000", INTEL),
        zone("intel-rapl:1", "package-0-die-1", "50000400000", INTEL),
        zone("intel-rapl:2", "package-1-die-0", "50000000000", INTEL),
        zone("intel-rapl:3", "package-1-die-1", "61000000000", INTEL),
    ]);
    let Probe::Found { note: Some(note), .. } = rapl.probe() else { panic!("no note") };
    assert_eq!(keys(&rapl), ["cpu:package-0-die-0", "cpu:package-1-die-0", "cpu:package-1-die-1"]);
    assert!(note.contains("intel-rapl:1 (package-0-die-1) repeats the counter of package-0-die-0"), "{note}");
}

#[test]
fn a_zone_that_is_missing_is_looked_for_while_the_others_go_on() {
    let zones = [zone("intel-rapl:0", "package-0", "10", INTEL), zone("intel-rapl:1", "package-1", "20", INTEL)];
    let (folder, mut rapl) = source(&zones);
    rapl.period_ns = 20_000_000_000;
    let tree = folder.path().join("sys/class/powercap/intel-rapl:1");
    std::fs::rename(&tree, folder.path().join("aside")).expect("moved");
    rapl.probe();
    // As after a probe that had found both.
    rapl.missing.looked(2);
    let mut counts = |readings: usize| -> Vec<usize> {
        let read = |rapl: &mut Rapl| {
            let mut samples = Vec::new();
            rapl.read(&mut samples).expect("the other goes on");
            samples.len()
        };
        (0..readings).map(|_| read(&mut rapl)).collect()
    };
    assert_eq!(counts(20), [1; 20]);
    std::fs::rename(folder.path().join("aside"), &tree).expect("moved");
    let counts = counts(4);
    assert!(counts[0] == 1 && counts[3] == 2, "within a minute, but not at every reading: {counts:?}");
}

#[test]
fn a_recorded_tree_reads_as_its_files_say() {
    let Ok(data) = std::env::var("WATTLEDGER_TEST_DATA") else {
        return eprintln!("SKIPPED: WATTLEDGER_TEST_DATA does not name the folder of recorded trees");
    };
    let sys = Path::new(&data).join("redfish-ipmi-payloads/sysfs-kepler/sys");
    let mut rapl = Rapl::new(&RaplSettings::default(), &Roots { sys, ..Roots::default() });
    let Probe::Found { devices, note } = rapl.probe() else { panic!("nothing found") };
    let read: Vec<_> = devices.iter().map(|d| (d.decl.key.to_string(), d.now.and_then(|s| s.counter))).collect();
    let expected = [
        ("cpu:package-0", 240_422_366_267),
        ("cpu:package-10", 240_422_366_267),
        ("cpu:package-0/core", 118_821_284_256),
    ];
    assert_eq!(read, expected.map(|(key, uj)| (key.to_owned(), Some(Microjoules(uj)))));
    let expected = "left out: intel-rapl-mmio:0 (package-0) shows the same registers again";
    assert_eq!(note.as_deref(), Some(expected));
}
