//! NVML's logic on a made driver: eight GPUs, each of which can be told what to answer.

mod made;

use made::Answer::{Both, Fails, InstantOnly, NoEnergy, Old, Super};
use made::{Made, TURN, driver, set};
use meter::{Microjoules, Milliwatts};

use super::super::{Probe, Source};
use super::*;

fn source(roots: &Roots) -> Nvml {
    let open: Open = |_| {
        driver().opened += 1;
        Ok(Box::new(Made))
    };
    driver().persistent = true;
    Nvml::with(open, &NvmlSettings::default(), roots)
}

/// An empty machine.
fn machine() -> (tempfile::TempDir, Roots) {
    let folder = tempfile::tempdir().expect("a folder");
    let roots = Roots { sys: folder.path().join("sys"), proc: folder.path().join("proc") };
    write(&roots.proc, "sys/kernel/random/boot_id", "7f3e0000-0000-4000-8000-000000000001\n");
    (folder, roots)
}

fn write(root: &std::path::Path, path: &str, content: &str) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
    std::fs::write(path, content).expect("written");
}

fn epochs(nvml: &Nvml) -> Vec<u64> {
    nvml.devices().iter().map(|device| device.epoch).collect()
}

/// Device, counter in µJ, power in mW.
type Value = (u16, Option<u64>, Option<u64>);

fn read(nvml: &mut Nvml) -> Result<Vec<Value>, PollError> {
    let mut samples = Vec::new();
    nvml.read(&mut samples)?;
    Ok(samples.iter().map(|s| (s.device, s.counter.map(|c| c.0), s.power.map(|p| p.0))).collect())
}

/// Reads until GPUs have been looked for again: a minute at 1 Hz.
fn pass_a_minute(nvml: &mut Nvml) {
    for _ in 0..61 {
        read(nvml).expect("read");
    }
}

#[test]
fn eight_gpus_give_counters_in_microjoules_and_their_average_power() {
    let _turn = TURN.lock();
    set(&[Both(5_000_000_001, 412_345); 8]);
    let mut nvml = source(&Roots::default());
    let Probe::Found { devices, note: None } = nvml.probe() else { panic!("eight GPUs without remark") };
    assert_eq!(devices.len(), 8);
    for (n, device) in devices.iter().enumerate() {
        assert_eq!(device.decl.key.to_string(), format!("gpu:GPU-{n:08x}"));
        assert_eq!((device.decl.limit, device.decl.modulus), (Milliwatts(700_000), None));
        assert_ne!(device.decl.epoch, 0);
        let now = device.now.expect("a value");
        assert_eq!((now.counter, now.power), (Some(Microjoules(5_000_000_001_000)), Some(Milliwatts(412_345))));
    }
    assert!(devices[7].about.contains("MIG"));
}

#[test]
fn older_boards_and_drivers_give_what_they_have() {
    let _turn = TURN.lock();
    set(&[InstantOnly(70_000), Old(123, 60_000)]);
    let mut nvml = source(&Roots::default());
    nvml.probe();
    assert_eq!(nvml.devices().iter().map(|d| d.epoch != 0).collect::<Vec<_>>(), [false, true]);
    let expected = [(0, None, Some(70_000)), (1, Some(123_000), Some(60_000))];
    assert_eq!(read(&mut nvml).expect("read"), expected);
}

#[test]
fn an_error_code_leaves_out_one_value_of_one_gpu() {
    let _turn = TURN.lock();
    set(&[Both(10, 20_000); 4]);
    let mut nvml = source(&Roots::default());
    nvml.probe();
    let mut answers = [Both(11, 21_000); 4];
    answers[1] = NoEnergy(|| NvmlError::Timeout, 22_000);
    answers[2] = Fails(|| NvmlError::Unknown);
    set(&answers);
    let expected = [(0, Some(11_000), Some(21_000)), (1, None, Some(22_000)), (3, Some(11_000), Some(21_000))];
    assert_eq!(read(&mut nvml).expect("three of four"), expected);
    set(&[Fails(|| NvmlError::Unknown); 4]);
    assert!(matches!(read(&mut nvml), Err(PollError::Retry(_))));
}

#[test]
fn a_lost_gpu_is_left_alone_for_a_minute_and_the_others_go_on() {
    let _turn = TURN.lock();
    set(&[Both(10, 20_000); 3]);
    let mut nvml = source(&Roots::default());
    nvml.probe();
    set(&[Both(11, 21_000), Fails(|| NvmlError::GpuLost), Both(11, 21_000)]);
    let others = [(0, Some(11_000), Some(21_000)), (2, Some(11_000), Some(21_000))];
    assert_eq!(read(&mut nvml).expect("two of three"), others);
    // Back at once, but asked only after 60 readings at 1 Hz.
    set(&[Both(11, 21_000); 3]);
    for _ in 0..60 {
        assert_eq!(read(&mut nvml).expect("two of three"), others);
    }
    assert_eq!(read(&mut nvml).expect("all").len(), 3);
    set(&[Fails(|| NvmlError::GpuLost); 3]);
    assert!(matches!(read(&mut nvml), Err(PollError::Gone(_))), "all lost");
}

#[test]
fn a_driver_that_went_away_ends_the_source_until_the_next_probe() {
    let _turn = TURN.lock();
    set(&[Both(10, 20_000); 2]);
    let mut nvml = source(&Roots::default());
    nvml.probe();
    let epoch = nvml.devices()[0].epoch;
    set(&[Both(11, 21_000), Fails(|| NvmlError::DriverNotLoaded)]);
    let mut samples = Vec::new();
    assert!(matches!(nvml.read(&mut samples), Err(PollError::Gone(_))));
    assert!(samples.is_empty(), "a failed reading appends nothing");
    assert!(matches!(nvml.read(&mut samples), Err(PollError::Gone(_))), "until it is probed again");
    set(&[Both(1, 20_000); 2]);
    nvml.probe();
    assert_eq!(nvml.devices()[0].epoch, epoch, "same boot, same driver, same load");
    assert_eq!(read(&mut nvml).expect("read")[0].1, Some(1000));
}

#[test]
fn a_sleeping_gpu_is_not_woken() {
    let _turn = TURN.lock();
    let folder = tempfile::tempdir().expect("a folder");
    let power = folder.path().join("bus/pci/devices/0000:01:00.0/power");
    std::fs::create_dir_all(&power).expect("made");
    let status = |text: &str| std::fs::write(power.join("runtime_status"), text).expect("written");
    std::fs::write(power.join("control"), "auto\n").expect("written");
    status("active\n");
    set(&[Both(10, 20_000); 2]);
    let mut nvml = source(&Roots { sys: folder.path().into(), ..Roots::default() });
    nvml.probe();
    assert_eq!(read(&mut nvml).expect("both").len(), 2);
    status("suspended\n");
    // A look at the sleeper would end the source: it must not be looked at.
    set(&[Both(10, 20_000), Fails(|| NvmlError::DriverNotLoaded)]);
    assert_eq!(read(&mut nvml).expect("one"), [(0, Some(10_000), Some(20_000))]);
}

#[test]
fn a_counter_is_another_one_after_a_load_a_session_or_a_loss() {
    let _turn = TURN.lock();
    let (_folder, roots) = machine();
    write(&roots.sys, "module/nvidia/version", "570.86.15\n");
    set(&[Both(10, 20_000); 2]);
    let mut nvml = source(&roots);
    nvml.probe();
    let first = epochs(&nvml);
    assert_eq!(first[0], first[1]);
    let mut again = source(&roots);
    again.probe();
    assert_eq!(epochs(&again), first, "another start of the agent, the same counters");

    // Unloaded and loaded again between two starts: by now the counter has passed what it was.
    std::fs::rename(roots.sys.join("module/nvidia"), roots.sys.join("before")).expect("moved");
    write(&roots.sys, "module/nvidia/version", "570.86.15\n");
    set(&[Both(11, 20_000); 2]);
    let mut again = source(&roots);
    again.probe();
    let loaded = epochs(&again);
    assert!(loaded[0] != first[0] && loaded[0] == loaded[1]);

    // Without persistence the driver sets a GPU up anew for whoever comes next.
    driver().persistent = false;
    again.probe();
    let session = epochs(&again);
    again.probe();
    assert!(epochs(&again)[0] != session[0] && session[0] != loaded[0]);

    // A GPU that was lost has been reset; the other has not.
    let mut nvml = source(&roots);
    nvml.probe();
    set(&[Both(12, 20_000), Fails(|| NvmlError::GpuLost)]);
    pass_a_minute(&mut nvml);
    set(&[Both(13, 20_000), Both(14, 20_000)]);
    pass_a_minute(&mut nvml);
    let returned = epochs(&nvml);
    assert!(returned[0] == loaded[0] && returned[1] != loaded[1], "{returned:?} {loaded:?}");
}

#[test]
fn a_gpus_number_is_the_drivers_also_where_another_is_left_out() {
    let _turn = TURN.lock();
    let (_folder, roots) = machine();
    set(&[Fails(|| NvmlError::Unknown), Both(10, 20_000)]);
    let mut nvml = source(&roots);
    let Probe::Found { devices, .. } = nvml.probe() else { panic!("one of two") };
    assert_eq!((devices.len(), nvml.nicknames()), (1, vec![(0, "1".to_owned())]));
}

#[test]
fn gpus_come_and_go_while_the_others_are_read() {
    let _turn = TURN.lock();
    let (_folder, roots) = machine();
    set(&[Both(10, 20_000), Fails(|| NvmlError::Unknown)]);
    let mut nvml = source(&roots);
    let Probe::Found { devices, note: Some(note) } = nvml.probe() else { panic!("one of two") };
    assert!(devices.len() == 1 && note.contains("GPU 1"), "{note}");
    let first = epochs(&nvml);
    // The second is well again, and a third was added.
    set(&[Both(11, 20_000); 2]);
    pass_a_minute(&mut nvml);
    let mut made = vec![Both(12, 20_000); 3];
    set(&made);
    assert_eq!(read(&mut nvml).expect("two").len(), 2, "not at once");
    pass_a_minute(&mut nvml);
    assert_eq!(read(&mut nvml).expect("three").len(), 3);
    assert_eq!(epochs(&nvml), [first[0]; 3]);
    assert_eq!(driver().opened, 1, "the library saw it without being opened again");
    // One is taken away and put back: its counter began anew.
    made.truncate(2);
    set(&made);
    // Until the GPUs are counted again the one that is gone is asked for, and fails.
    driver().answers.push(Fails(|| NvmlError::NotFound));
    read(&mut nvml).expect("two");
    driver().answers.truncate(2);
    pass_a_minute(&mut nvml);
    assert_eq!(nvml.devices().len(), 2);
    set(&[Both(13, 20_000); 3]);
    pass_a_minute(&mut nvml);
    let back = epochs(&nvml);
    assert!(back[..2] == [first[0]; 2] && back[2] != first[0], "{back:?}");
}

#[test]
fn what_only_the_kernel_sees_needs_a_new_session() {
    let _turn = TURN.lock();
    let (_folder, roots) = machine();
    write(&roots.sys, "bus/pci/drivers/nvidia/0000:00:00.0", "");
    set(&[Both(10, 20_000)]);
    let mut nvml = source(&roots);
    driver().opened = 0;
    nvml.probe();
    pass_a_minute(&mut nvml);
    pass_a_minute(&mut nvml);
    assert_eq!(driver().opened, 1);
    write(&roots.sys, "bus/pci/drivers/nvidia/0000:01:00.0", "");
    pass_a_minute(&mut nvml);
    pass_a_minute(&mut nvml);
    assert_eq!(driver().opened, 2, "once for one change");
}

#[test]
fn a_superchips_module_is_read_once_and_holds_its_gpus() {
    let _turn = TURN.lock();
    let (_folder, roots) = machine();
    // Two modules with a CPU of one core and two GPUs each.
    for gpu in 0..4 {
        write(&roots.sys, &format!("bus/pci/devices/0000:{gpu:02x}:00.0/local_cpulist"), &format!("{}\n", gpu / 2));
    }
    for cpu in 0..2 {
        write(&roots.sys, &format!("devices/system/cpu/cpu{cpu}/topology/physical_package_id"), &format!("{cpu}\n"));
    }
    let chip = |own, module| Super(5_000_000, own, module);
    set(&[chip(Some(100_000), 500_000), chip(Some(110_000), 500_001), chip(None, 600_000), chip(None, 600_001)]);
    let mut nvml = source(&roots);
    let Probe::Found { devices, note: None } = nvml.probe() else { panic!("two GPUs and two modules") };
    let keys: Vec<_> = devices.iter().map(|device| device.decl.key.to_string()).collect();
    assert_eq!(keys, ["gpu:GPU-00000000", "gpu:GPU-00000001", "other:module-0", "other:module-1"]);
    assert_eq!(devices[2].decl.limit, Milliwatts(2_900_000));
    assert_eq!(epochs(&nvml), [0; 4], "whose counter it is, is documented nowhere");
    let all = [(0, None, Some(100_000)), (1, None, Some(110_000)), (2, None, Some(500_000)), (3, None, Some(600_000))];
    assert_eq!(read(&mut nvml).expect("all"), all);
    // The module is read by the GPU that still answers.
    set(&[
        Fails(|| NvmlError::GpuLost),
        chip(Some(110_000), 500_001),
        Fails(|| NvmlError::Timeout),
        chip(None, 600_001),
    ]);
    let rest = [(1, None, Some(110_000)), (2, None, Some(500_001)), (3, None, Some(600_001))];
    assert_eq!(read(&mut nvml).expect("the rest"), rest);
}

#[test]
fn a_module_of_an_unknown_socket_is_left_out_unless_it_is_the_only_one() {
    let _turn = TURN.lock();
    let (_folder, roots) = machine();
    set(&[Super(1, Some(100_000), 500_000); 2]);
    let Probe::Found { devices, note: Some(note) } = source(&roots).probe() else { panic!("two GPUs and a remark") };
    assert!(devices.len() == 2 && note.contains("socket"), "two modules or one? {note}");
    set(&[Super(1, Some(100_000), 500_000)]);
    let Probe::Found { devices, note: None } = source(&roots).probe() else { panic!("a GPU and its module") };
    assert_eq!(devices[1].decl.key.to_string(), "other:module-0");
}

#[test]
fn a_counter_that_does_not_answer_at_the_start_is_read_later() {
    let _turn = TURN.lock();
    let (_folder, roots) = machine();
    set(&[NoEnergy(|| NvmlError::Timeout, 20_000), NoEnergy(|| NvmlError::NotSupported, 30_000)]);
    let mut nvml = source(&roots);
    nvml.probe();
    assert_eq!(epochs(&nvml).iter().map(|epoch| *epoch != 0).collect::<Vec<_>>(), [true, false]);
    set(&[Both(7, 20_000), NoEnergy(|| NvmlError::NotSupported, 30_000)]);
    assert_eq!(read(&mut nvml).expect("both"), [(0, Some(7000), Some(20_000)), (1, None, Some(30_000))]);
}

#[test]
fn a_machine_without_the_library_says_so() {
    let settings = NvmlSettings { library: "libno-such.so.1".into(), ..NvmlSettings::default() };
    let Probe::Absent { why } = Nvml::new(&settings, &Roots::default()).probe() else { panic!("found") };
    assert!(why.contains("libno-such.so.1") && why.contains("no NVIDIA driver"), "{why}");
}
