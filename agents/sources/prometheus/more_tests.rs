//! Small pages of Kepler, Scaphandre, CEEMS, BMC exporters, AMD's and others, written by hand.

use meter::OwnerKind;

use super::page::Selection;
use super::tests::{check, content, find, selection, shown};

#[test]
fn kepler_is_active_and_idle_together_and_no_process_is_an_account() {
    let page = r#"
process_start_time_seconds 1.76e+09
kepler_node_cpu_active_joules_total{node_name="n1",path="/host/sys/class/powercap/intel-rapl:0",zone="package"} 1000.25
kepler_node_cpu_idle_joules_total{node_name="n1",path="/host/sys/class/powercap/intel-rapl:0",zone="package"} 500.5
kepler_node_cpu_joules_total{node_name="n1",path="/host/sys/class/powercap/intel-rapl:0",zone="package"} 17
kepler_node_cpu_watts{node_name="n1",path="/host/sys/class/powercap/intel-rapl:0",zone="package"} 45.5
kepler_node_cpu_active_joules_total{path="/host/sys/class/powercap/intel-rapl:0:0",zone="core"} 1
kepler_node_cpu_idle_joules_total{path="/host/sys/class/powercap/intel-rapl:0:0",zone="core"} 2
kepler_node_cpu_joules_total{path="/host/sys/class/powercap/intel-rapl:1",zone="psys"} 9
kepler_node_gpu_joules_total{gpu="0",gpu_uuid="GPU-3877938d-024c-c46b-5268-cd86ad37f0d7",vendor="nvidia"} 12
kepler_node_gpu_watts{gpu="0",gpu_uuid="GPU-3877938d-024c-c46b-5268-cd86ad37f0d7",vendor="nvidia"} 70
kepler_container_cpu_joules_total{container_id="c",zone="package"} 3
kepler_process_cpu_watts{pid="1",zone="package"} 4
kepler_pod_cpu_joules_total{pod_id="p",zone="package"} 5
kepler_vm_cpu_joules_total{vm_id="v",zone="package"} 6
"#;
    check(
        page,
        &[
            "cpu:package-0 45500 mW 1500750000 uJ",
            "cpu:package-0/core 3000000 uJ",
            "cpu:psys 9000000 uJ",
            "gpu:GPU-3877938d-024c-c46b-5268-cd86ad37f0d7 70000 mW 12000000 uJ",
        ],
    );
    let host = selection(OwnerKind::Host);
    let epoch = |page: &str, key| find(&content(page.as_bytes(), &host), key).epoch;
    let restarted = page.replace("1.76e+09", "1.77e+09");
    assert_ne!(epoch(page, "cpu:package-0"), epoch(&restarted, "cpu:package-0"), "Kepler counts from its start");
    // Without the idle part the register stands in, which counts from elsewhere.
    let without_idle = page.replace("kepler_node_cpu_idle_joules_total{node_name", "kepler_other{node_name");
    assert_ne!(epoch(page, "cpu:package-0"), epoch(&without_idle, "cpu:package-0"));
    let found = shown(without_idle.as_bytes());
    assert!(found.accounts.contains(&"cpu:package-0 45500 mW 17000000 uJ".to_owned()), "{:?}", found.accounts);
}

#[test]
fn kepler_of_several_packages_is_a_sum_that_contains_them() {
    check(
        r#"
kepler_node_cpu_active_joules_total{zone="package",path="aggregated-package"} 1
kepler_node_cpu_idle_joules_total{zone="package",path="aggregated-package"} 2
kepler_node_cpu_active_joules_total{zone="dram",path="aggregated-dram"} 3
kepler_node_cpu_idle_joules_total{zone="dram",path="aggregated-dram"} NaN
kepler_node_cpu_watts{zone="core",path="aggregated-core"} 4
"#,
        &["cpu:packages 3000000 uJ", "cpu:packages/core 4000 mW"],
    );
}

#[test]
fn kepler_before_0_10_counts_by_mode_and_its_models_do_not_count() {
    let found = check(
        r#"
kepler_node_package_joules_total{instance="n1",mode="dynamic",package="0",source="rapl-sysfs"} 10
kepler_node_package_joules_total{instance="n1",mode="idle",package="0",source="rapl-sysfs"} 20.5
kepler_node_dram_joules_total{instance="n1",mode="dynamic"} 1
kepler_node_dram_joules_total{instance="n1",mode="idle"} 2
kepler_node_core_joules_total{instance="n1",mode="dynamic",source="trained_power_model"} 1
kepler_node_core_joules_total{instance="n1",mode="idle",source="trained_power_model"} 2
kepler_node_uncore_joules_total{instance="n1",mode="dynamic"} 1
kepler_node_platform_joules_total{instance="n1",mode="dynamic",source="redfish"} 100
kepler_node_platform_joules_total{instance="n1",mode="idle",source="redfish"} 200
kepler_node_gpu_joules_total{instance="n1",mode="dynamic",source="nvidia"} 7
kepler_node_other_joules_total{instance="n1",mode="idle"} 8
"#,
        &["chassis:bmc 300000000 uJ", "cpu:package-0 30500000 uJ", "dram:packages 3000000 uJ"],
    );
    assert!(found.remarks.iter().any(|remark| remark.contains("model")), "{:?}", found.remarks);
    check(r#"kepler_node_platform_joules_total{mode="idle",source="trained_power_model"} 200"#, &[]);
}

#[test]
fn kepler_shows_the_machine_by_its_power_control_or_by_its_supplies() {
    let line = |chassis: &str, kind: &str, id: &str, name: &str, watts: &str| {
        format!(
            "kepler_platform_watts{{source=\"redfish\",bmc_id=\"b\",chassis_id=\"{chassis}\",source_id=\"{id}\",\
             source_name=\"{name}\",source_type=\"{kind}\"}} {watts}\n"
        )
    };
    let supplies = line("1U", "PowerSupply", "PS1", "Power Supply 1", "245")
        + &line("1U", "PowerSupply", "PS2", "Power Supply 2", "240.5");
    check(&supplies, &["chassis:bmc/psu-PS1 245000 mW", "chassis:bmc/psu-PS2 240500 mW"]);
    let controls = line("1U", "PowerControl", "PC1", "Server Power Control", "450.5")
        + &line("1U", "PowerControl", "PC2", "CPU Sub-system Power", "85.2");
    check(&controls, &["chassis:bmc 450500 mW"]);
    let unclear = controls.replace("CPU Sub-system Power", "Second Power Control");
    check(&unclear, &[]);
    let found = check(&(supplies + &line("2U", "PowerSupply", "PS1", "Power Supply 1", "3")), &[]);
    assert!(found.remarks.iter().any(|remark| remark.contains("several chassis")), "{:?}", found.remarks);
    let old = r#"kepler_platform_watts{source="redfish",chassis_id="c",power_control_id="PC1",power_control_name="Server Power Control"} 450.5
kepler_platform_watts{source="redfish",chassis_id="c",power_control_id="PC2",power_control_name="Memory"} 50"#;
    check(old, &["chassis:bmc 450500 mW"]);
}

#[test]
fn scaphandre_is_read_by_socket_and_by_host_only_without_sockets() {
    let page = r#"
scaph_host_power_microwatts 90500000
scaph_host_energy_microjoules 346728467994
scaph_socket_power_microwatts{socket_id="0"} 60250400
scaph_socket_energy_microjoules{socket_id="0"} 43038699818
scaph_socket_energy_microjoules{socket_id="1"} 246521945562
scaph_domain_energy_microjoules{domain_name="dram",domain_id="0",socket_id="1"} 49920589217
scaph_domain_power_microwatts{domain_name="core",domain_id="1",socket_id="1"} 1500000
scaph_host_rapl_psys_microjoules 5
scaph_process_power_consumption_microwatts{exe="x",pid="7",cmdline="x \"-y\""} 4000000
"#;
    check(
        page,
        &[
            "cpu:package-0 60250 mW 43038699818 uJ",
            "cpu:package-1 246521945562 uJ",
            "cpu:package-1/core 1500 mW",
            "cpu:psys 5 uJ",
            "dram:package-1 49920589217 uJ",
        ],
    );
    check(&page[..page.find("scaph_socket").expect("a line")], &["cpu:packages 90500 mW 346728467994 uJ"]);
}

#[test]
fn ceems_shows_bmc_dcmi_and_crays_counters() {
    check(
        r#"
ceems_ipmi_dcmi_power_current_watts{hostname="h"} 332
ceems_ipmi_dcmi_power_avg_watts{hostname="h"} 330
ceems_redfish_power_current_watts{chassis="Chassis_Enclosure",hostname="h"} 520.5
ceems_cray_pm_counters_energy_joules{domain="node",hostname="h"} 1234567
ceems_cray_pm_counters_power_watts{domain="node",hostname="h"} 400
ceems_cray_pm_counters_energy_joules{domain="cpu",hostname="h"} 1000
ceems_cray_pm_counters_power_watts{domain="accel0",hostname="h"} 90
"#,
        &[
            "chassis:bmc 520500 mW",
            "chassis:dcmi 332000 mW",
            "chassis:pm-counters 400000 mW 1234567000000 uJ",
            "cpu:packages 1000000000 uJ",
        ],
    );
    // Old names; two chassis of which either may hold the other.
    check(
        r#"
ceems_ipmi_dcmi_current_watts 332
ceems_redfish_current_watts{chassis="a"} 5
ceems_redfish_current_watts{chassis="b"} 6
"#,
        &["chassis:dcmi 332000 mW"],
    );
}

#[test]
fn dcmi_has_two_names_and_zero_is_no_measurement() {
    check("ipmi_dcmi_power_consumption_watts 219", &["chassis:dcmi 219000 mW"]);
    check("ipmi_dcmi_power_consumption_current_watts 219", &["chassis:dcmi 219000 mW"]);
    check("ipmi_dcmi_power_consumption_watts 0\nipmi_power_watts{id=\"90\",name=\"Pwr Consumption\"} 70", &[]);
    assert_eq!(check("ipmi_dcmi_power_consumption_watts NaN", &[]).refused, ["power-not-finite 1"]);
    assert_eq!(check("ipmi_dcmi_power_consumption_watts -1", &[]).refused, ["power-negative 1"]);
}

#[test]
fn a_redfish_exporter_shows_the_machine_and_the_input_of_its_supplies() {
    let page = r#"
idrac_power_supply_output_watts{id="0"} 74.5
idrac_power_supply_input_watts{id="0"} 89
idrac_power_supply_input_watts{id="1"} 88.5
idrac_power_control_consumed_watts{id="0",name="System Power Control"} 166
idrac_power_control_consumed_watts{id="1",name="CPU Power"} 60
idrac_power_control_avg_consumed_watts{id="0",name="System Power Control"} 170
idrac_power_control_capacity_watts{id="0",name="System Power Control"} 816
"#;
    check(page, &["chassis:bmc 166000 mW", "chassis:bmc/psu-0 89000 mW", "chassis:bmc/psu-1 88500 mW"]);
    check(r#"idrac_power_supply_input_watts{psu="2"} 89"#, &["chassis:bmc/psu-2 89000 mW"]);
}

#[test]
fn pdus_are_meters_and_meters_are_pdus() {
    let page = "idrac_pdu_power_watts{id=\"1\"} 3210.5\nidrac_pdu_energy_kwh{id=\"1\"} 12345.678\n\
        idrac_power_control_consumed_watts{id=\"0\",name=\"System Power Control\"} 166\n";
    let meter = content(page.as_bytes(), &selection(OwnerKind::Meter));
    assert_eq!(meter.accounts.len(), 1);
    // 12345.678 kWh are 44 444.4408 MJ.
    assert_eq!(super::tests::lines(&meter), ["pdu:1 3210500 mW 44444440800000000 uJ"]);
    check(page, &["chassis:bmc 166000 mW"]);
}

#[test]
fn amd_gpus_are_read_whatever_the_case_and_the_version_of_their_labels() {
    let labels = |gpu: &str, partition: &str| {
        format!(
            "card_model=\"102-G30211-0C\",gpu_id=\"{gpu}\",gpu_partition_id=\"{partition}\",\
             gpu_uuid=\"ccff74a1-0000-1000-80e0-c6d49f5b0d8{gpu}\",hostname=\"tw038\",pod=\"\",serial_number=\"692409005408\""
        )
    };
    let page = format!(
        "gpu_package_power{{{}}} 748\ngpu_package_power{{{}}} 0\ngpu_average_package_power{{{}}} 700\n\
         gpu_energy_consumed{{{}}} 1.4e17\n",
        labels("0", "0"),
        labels("1", "1"),
        labels("0", "0"),
        labels("0", "0")
    );
    let gpu = ["gpu:ccff74a1-0000-1000-80e0-c6d49f5b0d80 748000 mW 140000000000000000 uJ"];
    check(&page, &gpu);
    check(&page.replace("gpu_package", "amd_gpu_package").replace("gpu_energy", "amd_gpu_energy"), &gpu);
    let prefixed: String = page.lines().map(|line| format!("site_{line}\n")).collect();
    check(&prefixed, &[]);
    let with_prefix = Selection { prefix: "site_".into(), ..selection(OwnerKind::Host) };
    assert_eq!(super::tests::lines(&content(prefixed.as_bytes(), &with_prefix)), gpu);
    check("gpu_power_usage{serial_number=\"SN-0\",gpu_id=\"3\"} 41", &["gpu:amd-SN-0 41000 mW"]);
    check("gpu_power_usage{gpu_id=\"3\"} 41", &["gpu:gpu-3 41000 mW"]);
}

#[test]
fn omnistat_shows_gpus_by_number_and_crays_counters() {
    check(
        r#"
rocm_average_socket_power_watts{card="0"} 35.0
rocm_energy_joules{card="0"} 2.6181130255356e+07
omnistat_vendor_energy_joules{vendor="cray"} 1e6
omnistat_vendor_power_watts{vendor="cray"} 1500
omnistat_vendor_cpu_energy_joules{vendor="cray"} 2e5
omnistat_vendor_memory_power_watts{vendor="cray"} 60
omnistat_vendor_accel_power_watts{accel="0",vendor="cray"} 300
"#,
        &[
            "chassis:pm-counters 1500000 mW 1000000000000 uJ",
            "cpu:packages 200000000000 uJ",
            "dram:packages 60000 mW",
            "gpu:card-0 35000 mW 26181130255356 uJ",
        ],
    );
}

#[test]
fn ear_is_read_of_one_node_at_its_latest_instant() {
    let page = "periodic_metric_DC_power_Watts{node=\"n1, jobid=5, stepid=0\"} 410 1799999940000\n\
        periodic_metric_DC_power_Watts{node=\"n1, jobid=6, stepid=0\"} 420 1799999990000\n\
        periodic_metric_PCK_power_Watts{node=\"n1\"} 200 1799999990000\n\
        periodic_metric_DRAM_power_Watts{node=\"n1\"} 30 1799999990000\n\
        periodic_metric_GPU_power_Watts{node=\"n1\"} 100 1799999990000\n\
        periodic_metric_DC_power_Watts{node=\"n2\"} 999 1799999990000\n\
        periodic_metric_DC_power_Watts{node=\"n1\"} 77 1799999000000\n";
    let of = |node: &str| {
        let only = [("node".to_owned(), node.to_owned())].into();
        content(page.as_bytes(), &Selection { only, ..selection(OwnerKind::Host) })
    };
    let n1 = of("n1");
    assert_eq!(
        super::tests::lines(&n1),
        ["chassis:ear-dc 420000 mW", "cpu:packages 200000 mW", "dram:packages 30000 mW"]
    );
    assert_eq!(n1.refused.into_iter().collect::<Vec<_>>(), [(meter::Refusal::TooOld, 1)]);
    assert_eq!(find(&of("n2"), "chassis:ear-dc").renews_ns, 60_000_000_000);
    let found = shown(page.as_bytes());
    assert!(!found.accounts.iter().any(|line| line.starts_with("chassis")), "{:?}", found.accounts);
    assert!(found.remarks.iter().any(|remark| remark.contains("only")), "{:?}", found.remarks);
}

#[test]
fn opentelemetry_shows_machine_and_devices() {
    check(
        r#"
hw_host_energy_joules_total{host_name="h"} 5000.5
hw_host_power_watts{host_name="h"} 350
hw_power_watts{hw_id="GPU-0000aaaa-0000-0000-0000-000000000000",hw_type="gpu",hw_parent="chassis"} 70
hw_energy_joules_total{hw_id="nvidia_GPU-0000aaaa-0000-0000-0000-000000000000",hw_type="gpu"} 8
hw_power_watts{hw_id="0000:03:00.0",hw_type="gpu"} 30
hw_power_watts{hw_id="psu 1",hw_type="power_supply"} 180
hw_power_watts{hw_id="chassis",hw_type="enclosure"} 350
hw_power_watts{hw_type="gpu"} 1
hw_power_watts{hw_id="0000:03:00.0/vrm",hw_type="memory",hw_parent="0000:03:00.0"} 2
"#,
        &[
            "chassis:bmc 350000 mW 5000500000 uJ",
            "chassis:bmc/psu-psu-1 180000 mW",
            "gpu:0000:03:00.0 30000 mW",
            "gpu:GPU-0000aaaa-0000-0000-0000-000000000000 70000 mW 8000000 uJ",
        ],
    );
}

#[test]
fn estimates_and_windows_are_nobodys() {
    let found = check(
        r#"
power_estimation_watts{sensor="s",target="firefox"} 12
energy_monitor_gpu_energy_joules_total{window="epoch",index="0"} 5
power_monitor_gpu_power_watts{window="epoch",index="0"} 6
ceems_compute_unit_cpu_user_seconds_total{uuid="1"} 7
all_smi_chassis_power_watts{hostname="h",instance="h"} 3200.00
all_smi_energy_consumed_joules_total{host="h", scope="chassis"} 57937.470
"#,
        &[],
    );
    assert!(found.refused.is_empty());
}

#[test]
fn an_instance_label_that_holds_a_device_is_not_looked_at() {
    check(
        r#"all_smi_gpu_power_consumption_watts{gpu="Furiosa RNGD", instance="npu0", gpu_uuid="8E04053C", gpu_index="0"} 60
all_smi_gpu_power_consumption_watts{gpu="Furiosa RNGD", instance="npu1", gpu_uuid="BA05F2EC", gpu_index="1"} -1"#,
        &["accelerator:8E04053C 60000 mW"],
    );
}
