//! NVML's logic on a made driver: eight GPUs, each of which can be told what to answer.

use std::sync::Mutex;

use super::super::nvml_library::Fields;
use super::*;

/// What GPU n answers to one look.
#[derive(Clone, Copy)]
enum Answer {
    /// Energy in mJ and power in mW.
    Both(u64, u64),
    /// Only the power of this instant, as on boards without average and counter.
    InstantOnly(u64),
    /// A driver without field values: counter and power by their own calls.
    Old(u64, u32),
    /// The whole look fails.
    Fails(fn() -> NvmlError),
    /// The energy fails, the power does not.
    NoEnergy(fn() -> NvmlError, u64),
}

use Answer::{Both, Fails, InstantOnly, NoEnergy, Old};

/// The answers of the made driver; tests that use it take turns.
static ANSWERS: Mutex<Vec<Answer>> = Mutex::new(Vec::new());
static TURN: Mutex<()> = Mutex::new(());

struct Made;

fn answer(index: u32) -> Answer {
    ANSWERS.lock().expect("not poisoned")[index as usize]
}

fn set(answers: &[Answer]) {
    *ANSWERS.lock().expect("not poisoned") = answers.to_vec();
}

impl Library for Made {
    fn driver_version(&self) -> Result<String, NvmlError> {
        Ok("570.86.15".into())
    }
    fn count(&self) -> Result<u32, NvmlError> {
        Ok(ANSWERS.lock().expect("not poisoned").len() as u32)
    }
    fn describe(&self, index: u32) -> Result<Board, NvmlError> {
        let (uuid, pci) = (format!("GPU-{index:08x}"), format!("0000:{index:02x}:00.0"));
        Ok(Board { uuid, pci, name: "Made H100".into(), limit_mw: 700_000, mig: index == 7 })
    }
    fn fields(&self, index: u32) -> Result<Fields, NvmlError> {
        let no = || Err(NvmlError::NotSupported);
        match answer(index) {
            Both(mj, mw) => Ok(Fields { energy_mj: Ok(mj), average_mw: Ok(mw), instant_mw: Ok(mw + 99_000) }),
            InstantOnly(mw) => Ok(Fields { energy_mj: no(), average_mw: no(), instant_mw: Ok(mw) }),
            NoEnergy(why, mw) => Ok(Fields { energy_mj: Err(why()), average_mw: Ok(mw), instant_mw: no() }),
            Old(..) => Err(NvmlError::FunctionNotFound),
            Fails(why) => Err(why()),
        }
    }
    fn energy_mj(&self, index: u32) -> Result<u64, NvmlError> {
        if let Old(mj, _) = answer(index) { Ok(mj) } else { Err(NvmlError::NotSupported) }
    }
    fn power_mw(&self, index: u32) -> Result<u32, NvmlError> {
        match answer(index) {
            Old(_, mw) => Ok(mw),
            Fails(why) => Err(why()),
            _ => Err(NvmlError::NotSupported),
        }
    }
}

fn source(roots: &Roots) -> Nvml {
    let open: Open = |_| Ok(Box::new(Made));
    Nvml::with(open, &NvmlSettings::default(), roots)
}

/// Device, counter in µJ, power in mW.
type Value = (u16, Option<u64>, Option<u64>);

fn read(nvml: &mut Nvml) -> Result<Vec<Value>, PollError> {
    let mut samples = Vec::new();
    nvml.read(&mut samples)?;
    Ok(samples.iter().map(|s| (s.device, s.counter.map(|c| c.0), s.power.map(|p| p.0))).collect())
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
    assert_eq!(nvml.devices()[0].epoch, epoch, "same boot, same driver: the fall of the counter tells of the reload");
    assert_eq!(read(&mut nvml).expect("read")[0].1, Some(1000));
}

#[test]
fn registers_full_of_ones_are_refused() {
    let _turn = TURN.lock();
    set(&[Both(u64::MAX, u32::MAX.into()), Both(7, u32::MAX.into())]);
    let mut nvml = source(&Roots::default());
    nvml.probe();
    let mut samples = Vec::new();
    nvml.read(&mut samples).expect("read");
    let refused = Sample { refused: Some(Refusal::Sentinel), ..Sample::default() };
    assert_eq!(samples, [refused, Sample { device: 1, counter: Some(Microjoules(7000)), ..refused }]);
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
fn a_machine_without_the_library_says_so() {
    let settings = NvmlSettings { library: "libno-such.so.1".into(), ..NvmlSettings::default() };
    let Probe::Absent { why } = Nvml::new(&settings, &Roots::default()).probe() else { panic!("found") };
    assert!(why.contains("libno-such.so.1") && why.contains("no NVIDIA driver"), "{why}");
}
