//! Small pages of every exporter, written by hand from its documentation and source, and what they come to.

use std::collections::BTreeMap;

use meter::OwnerKind;

use super::accounts::{Account, Content, accounts};
use super::page::{Page, Selection};
use super::value::{Unit, Value};

/// What a page comes to, as text.
pub(super) struct Shown {
    /// `scope:device 400000 mW 7242184000 uJ`, sorted by account.
    pub(super) accounts: Vec<String>,
    /// `power-not-finite 8`.
    pub(super) refused: Vec<String>,
    pub(super) remarks: Vec<String>,
}

pub(super) fn selection(kind: OwnerKind) -> Selection {
    Selection { kind, prefix: String::new(), only: BTreeMap::new(), ranges: BTreeMap::new() }
}

pub(super) fn content(page: &[u8], selection: &Selection) -> Content {
    accounts(&Page::read(page, selection, 1_800_000_000_000))
}

/// What the page of a host comes to.
pub(super) fn shown(page: &[u8]) -> Shown {
    show(content(page, &selection(OwnerKind::Host)))
}

fn show(content: Content) -> Shown {
    let mut refused = content.refused.clone();
    let mut lines = Vec::new();
    for account in content.accounts {
        let values = [account.power, account.counter];
        for reason in values.iter().flatten().filter_map(Value::refusal) {
            *refused.entry(reason).or_default() += 1;
        }
        let good: Vec<String> = values.iter().flatten().filter_map(text).collect();
        if !good.is_empty() {
            lines.push(format!("{} {}", account.key, good.join(" ")));
        }
    }
    Shown {
        accounts: lines,
        refused: refused.iter().map(|(reason, times)| format!("{reason} {times}")).collect(),
        remarks: content.remarks.iter().map(|remark| (*remark).to_owned()).collect(),
    }
}

/// The accounts of a page, as text.
pub(super) fn lines(content: &Content) -> Vec<String> {
    let values = |account: &Account| [account.power, account.counter].iter().flatten().filter_map(text).collect();
    let line = |account: &Account| {
        let values: Vec<String> = values(account);
        format!("{} {}", account.key, values.join(" "))
    };
    content.accounts.iter().map(line).collect()
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Power(power) => power.ok().map(|power| format!("{} mW", power.0)),
        Value::Counter(counter) => counter.ok().map(|counter| format!("{} uJ", counter.0)),
    }
}

/// `gpu:x 1.5 W` as [`Shown`] has it: `gpu:x 1500 mW`. The point is moved in the text.
pub(super) fn in_small_units(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let [account, number, unit] = words.as_slice() else { panic!("{line}") };
    let (places, small) = if *unit == "W" { (3, "mW") } else { (6, "uJ") };
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{decimals:0<places$}");
    format!("{account} {} {small}", digits.trim_start_matches('0'))
}

pub(super) fn check(page: &str, expected: &[&str]) -> Shown {
    let found = shown(page.as_bytes());
    assert_eq!(found.accounts, expected, "{page}\n{:?} {:?}", found.remarks, found.refused);
    found
}

pub(super) fn find<'a>(content: &'a Content, key: &str) -> &'a Account {
    let found = content.accounts.iter().find(|account| account.key.to_string() == key);
    found.unwrap_or_else(|| panic!("no {key}: {:?}", content.accounts))
}

#[test]
fn dcgm_is_read_by_its_new_and_old_names_in_its_units() {
    let found = check(
        r#"
# TYPE DCGM_FI_DEV_POWER_USAGE gauge
DCGM_FI_DEV_POWER_USAGE{gpu="0",UUID="GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a",pci_bus_id="00000000:37:00.0",device="nvidia0",modelName="Tesla T4",Hostname="cp-bm14r7"} 68.244000
DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a",hostname="other"} 15152422938
dcgm_power_usage{gpu="1",uuid="GPU-00000000-0000-0000-0000-000000000001"} 20.5
dcgm_total_energy_consumption{gpu="1",uuid="GPU-00000000-0000-0000-0000-000000000001"} 5
DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a"} 74
"#,
        &[
            "gpu:GPU-00000000-0000-0000-0000-000000000001 20500 mW 5000 uJ",
            "gpu:GPU-6d5c0ac5-74d7-3130-46f1-e93ed57f469a 68244 mW 15152422938000 uJ",
        ],
    );
    assert!(found.refused.is_empty() && found.remarks.is_empty());
}

#[test]
fn rows_of_mig_instances_and_of_pods_are_the_board_once() {
    let row =
        |labels: &str, watts: &str| format!("DCGM_FI_DEV_POWER_USAGE{{UUID=\"GPU-0000aaaa\",{labels}}} {watts}\n");
    let page = [
        row(r#"GPU_I_PROFILE="1g.10gb",GPU_I_ID="7""#, "9223372036854775794"),
        row(r#"GPU_I_PROFILE="2g.20gb",GPU_I_ID="3""#, "311.5"),
        row(r#"GPU_I_PROFILE="3g.40gb",GPU_I_ID="1""#, "311.5"),
        row(r#"pod="a",namespace="x",container="c""#, "311.5"),
    ];
    let found = check(&page.concat(), &["gpu:GPU-0000aaaa 311500 mW"]);
    assert!(found.refused.is_empty(), "a repeat that is blank says nothing: {:?}", found.refused);
    // Nothing but blanks: refused, and never zero.
    let found = check(&page[0], &[]);
    assert_eq!(found.refused, ["sentinel 1"]);
}

#[test]
fn other_exporters_of_nvidia_gpus_name_them_alike() {
    let found = check(
        r#"
nvidia_smi_power_draw_watts{uuid="df6e7a7c-7314-46f8-abc4-b88b36dcf3aa"} 28.07
nvidia_smi_power_draw_average_watts{uuid="df6e7a7c-7314-46f8-abc4-b88b36dcf3aa"} 27.5
nvidia_smi_power_limit_watts{uuid="df6e7a7c-7314-46f8-abc4-b88b36dcf3aa"} 250
nvidia_smi_energy_joules_total{uuid="df6e7a7c-7314-46f8-abc4-b88b36dcf3aa"} 1.2345678e+07
nvidia_gpu_power_usage_milliwatts{minor_number="0",name="GeForce GTX 950",uuid="GPU-6e7a0fa1-0770-c210-1a5c-8710bc09ce00"} 13240
nvidia_gpu_power_usage_milliwatts{minor_number="1",uuid="MIG-6e7a0fa1-0770-c210-1a5c-8710bc09ce00"} 13240
nvidia_smi_power_draw_watts{gpu="0"} 28.07
"#,
        &[
            "gpu:GPU-6e7a0fa1-0770-c210-1a5c-8710bc09ce00 13240 mW",
            "gpu:GPU-df6e7a7c-7314-46f8-abc4-b88b36dcf3aa 27500 mW 12345678000000 uJ",
        ],
    );
    assert_eq!(found.refused, ["bad-name 1"], "a GPU by nothing");
}

#[test]
fn rapl_of_node_exporter_has_the_names_of_the_source_rapl() {
    let page = |dram: &str| {
        format!(
            r#"
node_rapl_package_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:0"}} 240422.366267
node_rapl_package_joules_total{{index="1",path="/sys/class/powercap/intel-rapl:1"}} 1e3
node_rapl_package_joules_total{{index="0",path="/host/sys/class/powercap/intel-rapl-mmio:0"}} 240422.366267
node_rapl_core_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:0:0"}} 118821.284256
node_rapl_uncore_joules_total{{index="1",path="/sys/class/powercap/intel-rapl:1:0"}} 7
node_rapl_dram_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:1:1"}} {dram}
node_rapl_psys_joules_total{{index="0",path="/sys/class/powercap/intel-rapl:2"}} 300000
"#
        )
    };
    let accounts = [
        "cpu:package-0 240422366267 uJ",
        "cpu:package-0/core 118821284256 uJ",
        "cpu:package-1 1000000000 uJ",
        "cpu:package-1/uncore 7000000 uJ",
        "cpu:psys 300000000000 uJ",
        "dram:package-1 5500000 uJ",
    ];
    let found = check(&page("5.5"), &accounts);
    assert_eq!(found.remarks, ["intel-rapl-mmio shows the same registers again"]);
    let found = check(&page("0"), &accounts[..5]);
    assert!(found.remarks.iter().any(|remark| remark.contains("stand at zero")));
    assert_eq!(check(&page("NaN"), &accounts[..5]).refused, ["counter-not-finite 1"]);
    // The same with the zone in a label, and as CEEMS has it.
    let named = page("5.5");
    let in_label = named.lines().map(|line| {
        let (name, rest) = line.split_once('{').unwrap_or(("", ""));
        let zone = name.trim_start_matches("node_rapl_").trim_end_matches("_joules_total");
        if name.is_empty() { String::new() } else { format!("node_rapl_joules_total{{rapl_zone=\"{zone}\",{rest}\n") }
    });
    check(&in_label.collect::<String>(), &accounts);
    let ceems = [accounts[0], accounts[1], accounts[2], accounts[5]];
    let lines = page("5.5").replace("node_", "ceems_");
    let lines = lines.lines().filter(|line| !line.contains("uncore") && !line.contains("psys"));
    check(&lines.collect::<Vec<_>>().join("\n"), &ceems);
}

#[test]
fn a_package_of_dies_and_an_mmio_zone_alone_are_read() {
    check(
        r#"
node_rapl_package_0_die_1_joules_total{index="0",path="intel-rapl:1"} 5
node_rapl_dram_joules_total{index="0",path="intel-rapl:1:0"} 6
node_rapl_package_joules_total{index="3",path="intel-rapl-mmio:0"} 7
node_rapl_core_joules_total{index="2"} 8
"#,
        &[
            "cpu:package-0-die-1 5000000 uJ",
            "cpu:package-2/core 8000000 uJ",
            "cpu:package-3 7000000 uJ",
            "dram:package-0-die-1 6000000 uJ",
        ],
    );
}

#[test]
fn chips_of_node_exporter_are_those_that_measure_something_of_their_own() {
    let found = check(
        r#"
node_hwmon_chip_names{chip="0000:02:00_0_0000:03:00_0",chip_name="amdgpu"} 1
node_hwmon_chip_names{chip="pci0000:00_0000:00:02_0",chip_name="i915"} 1
node_hwmon_chip_names{chip="lnxsybus:00_acpi000d:00",chip_name="power_meter"} 1
node_hwmon_chip_names{chip="platform_grace_0",chip_name="power_meter"} 1
node_hwmon_chip_names{chip="i2c_7_7_0058",chip_name="pfe1100"} 1
node_hwmon_chip_names{chip="i2c_1_1_0040",chip_name="ina226"} 1
node_hwmon_power_average_watt{chip="0000:02:00_0_0000:03:00_0",sensor="power1"} 35
node_hwmon_power_input_watt{chip="0000:02:00_0_0000:03:00_0",sensor="power1"} 36
node_hwmon_energy_joule_total{chip="pci0000:00_0000:00:02_0",sensor="energy1"} 12.5
node_hwmon_energy_joule_total{chip="pci0000:00_0000:00:02_0",sensor="energy2"} 6
node_hwmon_power_average_watt{chip="lnxsybus:00_acpi000d:00",sensor="power1"} 416
node_hwmon_power_average_interval_seconds{chip="lnxsybus:00_acpi000d:00",sensor="power1"} 300
node_hwmon_power_average_watt{chip="platform_grace_0",sensor="power1"} 250
node_hwmon_power_average_watt{chip="platform_grace_0",sensor="power2"} 900
node_hwmon_sensor_label{chip="platform_grace_0",sensor="power1",label="Grace Power Socket 0"} 1
node_hwmon_sensor_label{chip="platform_grace_0",sensor="power2",label="Module Power Socket 0"} 1
node_hwmon_power_watt{chip="i2c_7_7_0058",sensor="power1"} 200
node_hwmon_power_watt{chip="i2c_1_1_0040",sensor="power1"} 2
node_hwmon_power_watt{chip="nameless",sensor="power1"} 3
"#,
        &[
            "chassis:acpi-power-meter 416000 mW",
            "cpu:grace-0 250000 mW",
            "gpu:0000:00:02.0 12500000 uJ",
            "gpu:0000:03:00.0 35000 mW",
            "other:module-0 900000 mW",
        ],
    );
    assert_eq!(found.remarks.len(), 2, "{:?}", found.remarks);
}

#[test]
fn an_acpi_meter_is_read_if_there_is_one_and_it_measures() {
    let meter = |chip: &str, watts: &str| {
        format!(
            "node_hwmon_chip_names{{chip=\"{chip}\",chip_name=\"power_meter\"}} 1\n\
             node_hwmon_power_average_watt{{chip=\"{chip}\",sensor=\"power1\"}} {watts}\n"
        )
    };
    check(&meter("a", "416"), &["chassis:acpi-power-meter 416000 mW"]);
    check(&meter("a", "0"), &[]);
    check(&(meter("a", "416") + &meter("b", "416")), &[]);
    let battery = "node_hwmon_power_is_battery_watt{chip=\"b\",sensor=\"power1\"} 1e-06\n";
    check(&(meter("a", "416") + &meter("b", "9") + battery), &["chassis:acpi-power-meter 416000 mW"]);
    let interval = "node_hwmon_power_average_interval_seconds{chip=\"a\",sensor=\"power1\"} 300\n";
    let content = content((meter("a", "416") + interval).as_bytes(), &selection(OwnerKind::Host));
    assert_eq!(find(&content, "chassis:acpi-power-meter").renews_ns, 300_000_000_000);
}

#[test]
fn units_are_moved_by_text() {
    assert_eq!(in_small_units("gpu:x 0.5 W"), "gpu:x 500 mW");
    assert_eq!(in_small_units("cpu:x 240422.366267 J"), "cpu:x 240422366267 uJ");
    assert_eq!(Unit::Watts.read("0.5").as_ref().and_then(text).as_deref(), Some("500 mW"));
}
