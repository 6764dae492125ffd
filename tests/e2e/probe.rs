//! `wattledger-agent probe` on whatever machine this is, sensors or none.

use serde_json::Value;

use crate::harness::{Home, agent};

#[test]
fn probe_explains_each_source_and_exits_with_0() {
    let home = Home::new();
    let done = agent(&home, &["probe"]).ok();
    for source in ["rapl", "hwmon", "nvml", "ipmi"] {
        let line = done.out.lines().find(|line| line.to_lowercase().contains(source));
        assert!(line.is_some(), "{source} is not mentioned:\n{}", done.out);
    }
    // On a bare machine the reason is a file, a folder, a library or a permission.
    if !std::path::Path::new("/sys/class/powercap/intel-rapl").exists() {
        assert!(done.out.contains("/sys"), "which folder was looked for:\n{}", done.out);
    }
    if !done.out.contains("GPU-") {
        assert!(done.out.contains("libnvidia-ml"), "which library was looked for:\n{}", done.out);
    }
}

#[test]
fn probe_is_readable_for_programs_too() {
    let home = Home::new();
    let done = agent(&home, &["probe", "--format", "json"]).ok();
    let document: Value = serde_json::from_str(&done.out).unwrap_or_else(|why| panic!("{why} in {}", done.out));
    let text = document.to_string();
    for source in ["rapl", "hwmon", "nvml", "ipmi"] {
        assert!(text.contains(source), "{source} is not in {text}");
    }
}

/// A machine with two sockets, a platform zone, a duplicate by MMIO, and a GPU.
const TREE: [(&str, &str); 16] = [
    ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
    ("sys/class/powercap/intel-rapl:0/energy_uj", "1000001\n"),
    ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n"),
    ("sys/class/powercap/intel-rapl:1/name", "package-1\n"),
    ("sys/class/powercap/intel-rapl:1/energy_uj", "2000002\n"),
    ("sys/class/powercap/intel-rapl:1/max_energy_range_uj", "262143328850\n"),
    ("sys/class/powercap/intel-rapl:2/name", "psys\n"),
    ("sys/class/powercap/intel-rapl:2/energy_uj", "3000003\n"),
    ("sys/class/powercap/intel-rapl:2/max_energy_range_uj", "262143328850\n"),
    ("sys/class/powercap/intel-rapl-mmio:0/name", "package-0\n"),
    ("sys/class/powercap/intel-rapl-mmio:0/energy_uj", "1000001\n"),
    ("sys/class/powercap/intel-rapl-mmio:0/max_energy_range_uj", "262143328850\n"),
    ("sys/class/hwmon/hwmon0/name", "power_meter\n"),
    ("sys/class/hwmon/hwmon0/power1_average", "412000000\n"),
    ("sys/class/hwmon/hwmon0/power1_average_interval", "1000\n"),
    ("proc/sys/kernel/random/boot_id", "7f3e0000-0000-4000-8000-000000000001\n"),
];

#[test]
fn probe_lists_each_account_of_a_machine_once() {
    let home = Home::new();
    for (path, content) in TREE {
        std::fs::create_dir_all(home.path(path).parent().expect("a parent")).expect("a folder");
        home.write(path, content);
    }
    let (sys, proc) = (home.path("sys"), home.path("proc"));
    let roots = [sys.to_str().expect("a plain path"), proc.to_str().expect("a plain path")];
    let done = agent(&home, &["probe", "--sys", roots[0], "--proc", roots[1]]).ok();
    for account in ["package-0", "package-1", "psys"] {
        let lines = done.out.lines().filter(|line| line.starts_with("  cpu") && line.contains(account));
        assert_eq!(lines.count(), 1, "{account}:\n{}", done.out);
    }
    assert!(done.out.lines().any(|line| line.starts_with("  chassis") && line.contains("412")), "{}", done.out);
}
