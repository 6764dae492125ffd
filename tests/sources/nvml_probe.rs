//! What `wattledger-agent probe` finds of a driver that a test made up.

use serde_json::Value;

use crate::driver::{Call, Driver, Global, Knob, LOST};
use crate::harness::{Home, agent};
use crate::nvml::uuid;

/// What the agent's probe finds of a driver, on a machine with these files.
pub(crate) fn probe(home: &Home, driver: &Driver, files: &[(&str, &str)]) -> Value {
    for (path, content) in files {
        std::fs::create_dir_all(home.path(path).parent().expect("a parent")).expect("a folder");
        home.write(path, content);
    }
    let config = home.write("agent.toml", driver.config("gpu-1", 1000, 60));
    let path = |name: &str| home.path(name).display().to_string();
    let arguments = ["probe", "--format", "json", "--config", &config.display().to_string()].map(str::to_owned);
    let roots = ["--sys".to_owned(), path("sys"), "--proc".to_owned(), path("proc")];
    let arguments: Vec<String> = arguments.into_iter().chain(roots).collect();
    let done = agent(home, &arguments.iter().map(String::as_str).collect::<Vec<_>>()).ok();
    serde_json::from_str(&done.out).unwrap_or_else(|why| panic!("{why} in {}", done.out))
}

#[test]
fn a_superchips_module_is_asked_for_with_its_scope() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 5) else { return };
    // The fifth has the links of a superchip, but no CPU beside it.
    driver.set(4, Knob::C2cLinks, 10);
    for gpu in 0..4 {
        driver.set(gpu, Knob::C2cLinks, 10);
        driver.set(gpu, Knob::ModuleMw, 499_999 + gpu % 2 + 100_000 * (gpu / 2));
        driver.set(gpu, Knob::RawPower, 90_000 + gpu);
    }
    // The fourth has no power of its own, and no average.
    driver.fail(3, Call::AverageField, 3);
    driver.fail(3, Call::InstantField, 3);
    // The first does not answer for its module now: the second does.
    driver.fail(0, Call::ModuleField, 10);
    let tree = [
        ("sys/bus/pci/devices/0000:10:00.0/local_cpulist", "0-71\n"),
        ("sys/bus/pci/devices/0000:11:00.0/local_cpulist", "0-71\n"),
        ("sys/bus/pci/devices/0000:12:00.0/local_cpulist", "72-143\n"),
        ("sys/bus/pci/devices/0000:13:00.0/local_cpulist", "72-143\n"),
        ("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n"),
        ("sys/devices/system/cpu/cpu72/topology/physical_package_id", "1\n"),
    ];
    let found = probe(&home, &driver, &tree);
    let devices = found[0]["devices"].as_array().unwrap_or_else(|| panic!("devices in {found}"));
    let value = |device: &Value| (device["device"].as_str().unwrap().to_owned(), device["watts"].as_f64());
    let gpu = |gpu: u64| uuid(gpu)["gpu:".len()..].to_owned();
    let expected = [
        (gpu(0), Some(90.0)),
        (gpu(1), Some(90.001)),
        (gpu(2), Some(90.002)),
        (gpu(4), Some(0.0)),
        ("module-0".into(), Some(500.0)),
        ("module-1".into(), Some(599.999)),
    ];
    assert_eq!(devices.iter().map(value).collect::<Vec<_>>(), expected, "{found}");
    assert_eq!(devices[4]["limit_watts"], 1000.0);
    let counters: Vec<_> = devices.iter().map(|device| device["counter_uj"].as_str()).collect();
    assert_eq!(counters, [None, None, None, Some("5000000000000"), None, None], "{found}");
    assert!(!driver.calls().contains("nvmlDeviceGetPowerUsage"), "nobody says whose power that is");
}

#[test]
fn a_probe_tells_what_is_missing() {
    let home = Home::new();
    let Some(driver) = Driver::new(&home, 2) else { return };
    let boot = [("proc/sys/kernel/random/boot_id", "7f3e0000-0000-4000-8000-000000000001\n")];
    let why = |found: &Value| found[0]["why"].as_str().unwrap_or_else(|| panic!("absent: {found}")).to_owned();
    driver.set_global(Global::InitError, 9);
    assert!(why(&probe(&home, &driver, &boot)).contains("kernel module nvidia is not loaded"));
    driver.set_global(Global::InitError, 18);
    assert!(why(&probe(&home, &driver, &boot)).contains("the driver was updated"));
    driver.set_global(Global::InitError, 0);
    driver.set_global(Global::DriverError, 999);
    assert!(why(&probe(&home, &driver, &boot)).contains("does not answer"));
    driver.set_global(Global::DriverError, 0);
    driver.order(&[]);
    assert!(why(&probe(&home, &driver, &boot)).contains("NVIDIA_VISIBLE_DEVICES"));
    driver.order(&[0, 1]);
    driver.fail(1, Call::Handle, LOST);
    driver.fail(0, Call::Mig, 3);
    driver.set(0, Knob::LimitMw, u64::from(u32::MAX));
    let found = probe(&home, &driver, &boot);
    assert_eq!(found[0]["devices"].as_array().map(Vec::len), Some(1), "{found}");
    assert_eq!(found[0]["devices"][0]["limit_watts"], Value::Null, "a register full of ones is no limit");
    driver.fail(0, Call::Uuid, 999);
    driver.fail(0, Call::Limits, 3);
    let nameless = &probe(&home, &driver, &boot)[0]["devices"][0];
    assert_eq!((&nameless["device"], &nameless["limit_watts"]), (&Value::from("0000:10:00.0"), &Value::Null));
    assert!(found[0]["note"].as_str().is_some_and(|note| note.contains("GPU 1")), "{found}");
}
