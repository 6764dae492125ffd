//! IPMI without a BMC: programs that print what BMCs print, and devices that are none.

use std::os::unix::fs::PermissionsExt;

use meter::Refusal;

use super::*;

/// A BMC that gives prepared answers, in order.
#[derive(Debug)]
struct Prepared(Vec<Result<PowerReading, Trouble>>);

impl Bmc for Prepared {
    fn ask(&mut self) -> Result<PowerReading, Trouble> {
        self.0.remove(0)
    }

    fn place(&self) -> String {
        "a made-up BMC".into()
    }
}

fn watts(current_w: u64, active: bool) -> PowerReading {
    PowerReading { current_w, active, statistics: None }
}

/// A folder with a program in it that does what `script` says.
fn program(script: &str) -> (tempfile::TempDir, IpmiSettings) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ipmitool");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("made a program");
    let command = vec![path.to_str().expect("a plain path").into(), "dcmi".into(), "power reading".into()];
    (folder, IpmiSettings { devices: vec![], command, timeout_ms: 20_000, ..IpmiSettings::default() })
}

fn ipmi(settings: &IpmiSettings) -> Ipmi {
    Ipmi::new(settings, &Roots { sys: "/no-such-tree".into(), proc: "/no-such-tree".into() })
}

fn absent(ipmi: &mut Ipmi) -> String {
    match ipmi.probe() {
        Probe::Absent { why } => why,
        Probe::Found { devices, .. } => panic!("found {devices:?}"),
    }
}

fn found(ipmi: &mut Ipmi) -> (FoundDevice, String) {
    match ipmi.probe() {
        Probe::Found { mut devices, note } => (devices.remove(0), note.unwrap_or_default()),
        Probe::Absent { why } => panic!("absent: {why}"),
    }
}

#[test]
fn a_program_is_run_with_its_arguments_and_what_it_prints_is_the_reading() {
    let (_folder, settings) = program(
        r#"test "$1:$2:$#" = "dcmi:power reading:2" || exit 9
        echo "    Instantaneous power reading:                   319 Watts"
        echo "    Power reading state is:                   activated""#,
    );
    let mut ipmi = ipmi(&settings);
    let (device, note) = found(&mut ipmi);
    assert_eq!(device.decl.key.to_string(), "chassis:dcmi");
    assert_eq!(device.decl.period_ns, 5_000_000_000);
    assert_eq!(device.now.and_then(|now| now.power), Some(Milliwatts(319_000)));
    assert_eq!(note, "");
    let mut samples = Vec::new();
    ipmi.read(&mut samples).expect("a reading");
    assert_eq!(samples, [Sample { power: Some(Milliwatts(319_000)), ..Sample::default() }]);
}

#[test]
fn a_program_that_hangs_is_ended_with_all_it_started_and_run_again_when_it_is_gone() {
    let (folder, settings) = program(
        r#"cd "$(dirname "$0")"
        test -e hangs || { echo "Current Power : 200 Watts"; echo "Power Measurement : Active"; exit 0; }
        echo $$ > started; sleep 600 & wait"#,
    );
    let mut ipmi = ipmi(&IpmiSettings { timeout_ms: 2000, ..settings });
    std::fs::write(folder.path().join("hangs"), "").expect("written");
    let (device, note) = found(&mut ipmi);
    assert!(device.now.is_none() && note.contains("did not end within 2s"), "{note}");
    let pid = std::fs::read_to_string(folder.path().join("started")).expect("it was started");
    let group_lives = || {
        let all = std::fs::read_dir("/proc").expect("the processes").flatten();
        let stat = all.filter_map(|entry| std::fs::read_to_string(entry.path().join("stat")).ok());
        // pid (name) state parent group …
        let fields = |stat: &str| stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').map(str::to_owned).collect());
        stat.filter_map(|stat| fields(&stat)).any(|f: Vec<String>| f[0] != "Z" && f[2] == pid.trim())
    };
    while group_lives() {
        std::thread::yield_now();
    }
    std::fs::remove_file(folder.path().join("hangs")).expect("removed");
    let mut samples = Vec::new();
    ipmi.read(&mut samples).expect("it is run again");
    assert_eq!(samples[0].power, Some(Milliwatts(200_000)));
}

#[test]
fn a_program_that_fails_is_quoted_and_its_arguments_are_not() {
    let (_folder, mut settings) = program("echo '    DCMI request failed because: Invalid command (c1)' >&2; exit 1");
    settings.command.push("a-password".into());
    let why = absent(&mut ipmi(&settings));
    assert!(why.contains("Invalid command (c1)") && !why.contains("a-password"), "{why}");
    let missing = IpmiSettings { command: vec!["/no-such-program".into()], ..settings };
    let why = absent(&mut ipmi(&missing));
    assert!(why.contains("/no-such-program"), "{why}");
}

#[test]
fn a_program_that_prints_without_end_is_read_so_far_and_no_further() {
    let (_folder, settings) = program("while :; do echo 0123456789012345678901234567890123456789; done");
    let (device, note) = found(&mut ipmi(&settings));
    assert!(device.now.is_none() && note.contains("SIGPIPE"), "{note}");
}

#[test]
fn a_text_without_a_reading_is_refused_and_counted() {
    let (_folder, settings) = program("echo 'Instantaneous power reading: 319 Watts'");
    let mut ipmi = ipmi(&settings);
    let (device, note) = found(&mut ipmi);
    assert_eq!(device.now.and_then(|now| now.refused), Some(Refusal::Malformed));
    assert!(note.contains("no power reading"), "{note}");
}

#[test]
fn a_device_that_is_none_is_named_and_the_program_is_asked_instead() {
    let (folder, mut settings) = program("echo 'Current Power: 7 Watts'; echo 'Power Measurement: Active'");
    let file = folder.path().join("ipmi0");
    std::fs::write(&file, "").expect("written");
    settings.devices = vec!["/no-such-device".into(), file.to_str().expect("a plain path").into()];
    let (device, _) = found(&mut ipmi(&settings));
    assert_eq!(device.now.and_then(|now| now.power), Some(Milliwatts(7000)));
    settings.command.clear();
    let why = absent(&mut ipmi(&settings));
    assert!(why.contains("ipmi0 is no IPMI device"), "{why}");
}

#[test]
fn a_missing_device_is_explained_by_the_modules() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = IpmiSettings { devices: vec!["/no-such-device".into()], ..IpmiSettings::default() };
    let mut ipmi = Ipmi::new(&settings, &Roots { sys: folder.path().into(), ..Roots::default() });
    let why = absent(&mut ipmi);
    assert!(why.contains("/no-such-device") && why.contains("virtual machines"), "{why}");
    std::fs::create_dir_all(folder.path().join("module/ipmi_si")).expect("made");
    let why = absent(&mut ipmi);
    assert!(why.ends_with("load the module ipmi_devintf"), "{why}");
    std::fs::create_dir_all(folder.path().join("module/ipmi_devintf")).expect("made");
    assert!(absent(&mut ipmi).contains("container"));
}

#[test]
fn zero_and_inactive_readings_never_book_and_say_why() {
    let probed = |answer, trust_inactive| {
        let mut ipmi = ipmi(&IpmiSettings { trust_inactive, ..IpmiSettings::default() });
        let Some(Probe::Found { devices, note }) = ipmi.found(Box::new(Prepared(vec![])), Ok(answer)) else {
            panic!("not found");
        };
        (devices[0].now.expect("a sample"), note.unwrap_or_default())
    };
    let (now, note) = probed(watts(0, true), false);
    assert_eq!((now.power, now.refused), (None, Some(Refusal::Sentinel)));
    assert!(note.starts_with("0 W is no power"), "{note}");
    let (now, note) = probed(watts(360, false), false);
    assert_eq!((now.power, now.refused), (None, Some(Refusal::NoValue)));
    assert!(note.contains("360 W") && note.contains("trust_inactive"), "{note}");
    let (now, note) = probed(watts(360, false), true);
    assert_eq!((now.power, now.refused, note.as_str()), (Some(Milliwatts(360_000)), None, ""));
}

#[test]
fn what_passes_is_tried_again_and_what_lasts_is_looked_for_anew() {
    let mut ipmi = ipmi(&IpmiSettings::default());
    ipmi.bmc = Some(Box::new(Prepared(vec![
        Err(Trouble::Passing("busy".into())),
        Err(Trouble::Lasting("the module is gone".into())),
        Err(Trouble::Refused(Refusal::Malformed)),
        Ok(watts(250, true)),
    ])));
    let mut samples = Vec::new();
    assert!(matches!(ipmi.read(&mut samples), Err(PollError::Retry(why)) if why == "busy"));
    assert!(matches!(ipmi.read(&mut samples), Err(PollError::Gone(_))));
    assert!(samples.is_empty());
    for _ in 0..2 {
        ipmi.read(&mut samples).expect("a sample");
    }
    assert_eq!(samples[0], Sample { refused: Some(Refusal::Malformed), ..Sample::default() });
    assert_eq!(samples[1], Sample { power: Some(Milliwatts(250_000)), ..Sample::default() });
}
