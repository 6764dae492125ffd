//! The kernel's small files: opened once, read many times.
//!
//! Sysfs gives a fresh value at every read from offset zero, so an open file costs one system call
//! per value instead of three.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use meter::Refusal;

/// A file that holds one value.
#[derive(Debug)]
pub(super) struct Attribute {
    file: File,
    path: PathBuf,
}

/// What a file that should hold a number says: nothing, a number, or something that is refused.
pub(super) type Reading = Option<Result<u64, Refusal>>;

impl Attribute {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, path: path.into() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A power in µW.
    pub(super) fn power(&self) -> io::Result<Reading> {
        self.text(|text| number(text, Refusal::PowerNotFinite, Refusal::PowerNegative, &POWER_SENTINELS))
    }

    /// A counter in µJ.
    pub(super) fn counter(&self) -> io::Result<Reading> {
        self.text(|text| number(text, Refusal::CounterNotFinite, Refusal::CounterNegative, &COUNTER_SENTINELS))
    }

    fn text<T>(&self, parse: impl FnOnce(&str) -> T) -> io::Result<T> {
        let mut buffer = [0; 64];
        let length = self.file.read_at(&mut buffer, 0)?;
        Ok(parse(std::str::from_utf8(&buffer[..length]).unwrap_or("not text").trim()))
    }
}

/// Registers full of ones, in µW: 2^32 - 1 as µW and as mW, 2^63 - 1, 2^64 - 1.
const POWER_SENTINELS: [u64; 4] = [u32::MAX as u64, 4_294_967_295_000, i64::MAX as u64, u64::MAX];
/// A counter may well pass 2^32 µJ, so only the 64-bit marks are none.
const COUNTER_SENTINELS: [u64; 2] = [i64::MAX as u64, u64::MAX];

fn number(text: &str, junk: Refusal, negative: Refusal, sentinels: &[u64]) -> Reading {
    if text.is_empty() {
        return None;
    }
    Some(match text.parse::<u64>() {
        Ok(value) if sentinels.contains(&value) => Err(Refusal::Sentinel),
        Ok(value) => Ok(value),
        Err(_) if text.parse::<i128>().is_ok_and(|value| value < 0) => Err(negative),
        Err(_) => Err(junk),
    })
}

/// The trimmed text of a small file; nothing if it cannot be read or is empty.
pub(super) fn text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}

/// The whole number in a small file; nothing if there is none.
pub(super) fn whole(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Whether an error says that the device itself is no longer there.
pub(super) fn is_gone(error: &io::Error) -> bool {
    const ENXIO: i32 = 6;
    const ENODEV: i32 = 19;
    error.kind() == io::ErrorKind::NotFound || matches!(error.raw_os_error(), Some(ENXIO | ENODEV))
}

/// The epoch of counters that count from machine boot or later: the boot, and what else `also` names.
///
/// A machine that hides its boot id gets a new epoch at every start of the agent: energy over the
/// restart is then left out rather than guessed.
pub(super) fn boot_epoch(proc: &Path, also: &str) -> u64 {
    let boot = text(&proc.join("sys/kernel/random/boot_id")).unwrap_or_else(|| {
        format!("{}-{:?}", std::process::id(), std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH))
    });
    meter::hash::epoch(&format!("{boot}/{also}"))
}

/// A device name out of free text: what is not allowed in one becomes a dash.
pub(super) fn device_name(text: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:@+".contains(c);
    let name: String = text.trim().chars().map(|c| if allowed(c) { c } else { '-' }).take(64).collect();
    name.trim_matches('-').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_read_afresh_each_time_and_nothing_in_it_is_no_value() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("power1_input");
        std::fs::write(&path, "45000000\n").expect("written");
        let attribute = Attribute::open(&path).expect("opened");
        assert_eq!(attribute.power().expect("read"), Some(Ok(45_000_000)));
        for (content, expected) in [
            ("", None),
            ("\n", None),
            ("0\n", Some(Ok(0))),
            ("-5\n", Some(Err(Refusal::PowerNegative))),
            ("4294967295000\n", Some(Err(Refusal::Sentinel))),
            ("4294967295\n", Some(Err(Refusal::Sentinel))),
            ("[N/A]\n", Some(Err(Refusal::PowerNotFinite))),
        ] {
            std::fs::write(&path, content).expect("written");
            assert_eq!(attribute.power().expect("read"), expected, "{content:?}");
        }
        std::fs::write(&path, "4294967295\n").expect("written");
        assert_eq!(attribute.counter().expect("read"), Some(Ok(4_294_967_295)), "a counter may stand there");
    }

    #[test]
    fn the_epoch_is_the_boots() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sys/kernel/random/boot_id");
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("made");
        let epoch_of = |boot: &str| {
            std::fs::write(&file, boot).expect("written");
            boot_epoch(folder.path(), "rapl")
        };
        let first = epoch_of("7f3e0000-0000-4000-8000-000000000001\n");
        assert_eq!(first, epoch_of("7f3e0000-0000-4000-8000-000000000001\n"));
        assert_ne!(first, epoch_of("7f3e0000-0000-4000-8000-000000000002\n"));
        assert_ne!(boot_epoch(folder.path(), "a"), boot_epoch(folder.path(), "b"));
    }

    #[test]
    fn free_text_becomes_a_device_name() {
        for (text, name) in [("0000:03:00.0", "0000:03:00.0"), (" PSU Rail A ", "PSU-Rail-A"), ("ä/../x", "..-x")] {
            assert_eq!(device_name(text), name);
        }
    }
}
