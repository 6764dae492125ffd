//! Who this machine is.

use std::fs;
use std::path::Path;

use meter::{Id, Labels, NameError, Owner, OwnerKind};

/// The lower-case short name of this machine, as Slurm's `NodeName`.
#[must_use]
pub fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    short_name(&name)
}

fn short_name(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_ascii_lowercase()
}

/// This machine as an owner; `host` empty means its own short name.
///
/// # Errors
/// [`NameError`] if the name cannot be one.
pub fn owner(cluster: &str, host: &str) -> Result<Owner, NameError> {
    let own;
    let name = if host.is_empty() {
        own = host_name();
        &own
    } else {
        host
    };
    Owner::new(cluster, OwnerKind::Host, name)
}

/// The id of the running boot; zero if the kernel does not tell.
#[must_use]
pub fn boot_id(proc: &Path) -> Id {
    let text = fs::read_to_string(proc.join("sys/kernel/random/boot_id")).unwrap_or_default();
    uuid(&text).unwrap_or_default()
}

fn uuid(text: &str) -> Option<Id> {
    let digits: Vec<u8> =
        text.trim().chars().filter(|c| *c != '-').map(|c| c.to_digit(16)).map_while(|d| d).map(|d| d as u8).collect();
    let digits: [u8; 32] = digits.try_into().ok()?;
    Some(std::array::from_fn(|place| digits[2 * place] << 4 | digits[2 * place + 1]))
}

/// 128 bits that tell machines apart, as [`meter::machine`] compares them: product UUID and board serial
/// number, and the machine id, as far as they can be read and mean something.
#[must_use]
pub fn fingerprint(sys: &Path, etc: &Path) -> Id {
    let dmi = sys.join("class/dmi/id");
    let hardware = half(&[told(&dmi.join("product_uuid")), told(&dmi.join("board_serial"))]);
    meter::machine::fingerprint(hardware, half(&[told(&etc.join("machine-id"))]))
}

/// What a file says, in lower case (the kernel changed the case of UUIDs); nothing if it cannot be read
/// or says nothing.
fn told(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?.trim().to_ascii_lowercase();
    (!meter::machine::is_placeholder(&text)).then_some(text)
}

/// What this machine's firmware says of itself, by which its BMC is joined with it: `hw.uuid`, the SMBIOS
/// system UUID, and `hw.serial`, the system's serial number, as far as they can be read (root only, on most
/// kernels) and are no placeholder.
#[must_use]
pub fn hardware_labels(sys: &Path) -> Labels {
    let dmi = sys.join("class/dmi/id");
    let is_uuid = |text: &String| uuid(text).is_some();
    let uuid = told(&dmi.join("product_uuid")).filter(is_uuid);
    // A serial number is told as the maker writes it; whether it is one does not depend on the case.
    let serial = dmi.join("product_serial");
    let serial = told(&serial).and_then(|_| fs::read_to_string(serial).ok()).map(|text| text.trim().to_owned());
    let labels = [("hw.uuid", uuid), ("hw.serial", serial)];
    let known = labels.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
    known.filter(|(_, value)| meter::reading::label_value_is_valid(value)).collect()
}

/// The hash of what is known; zero if nothing is.
fn half(parts: &[Option<String>]) -> [u8; 8] {
    let mut half = [0; 8];
    if parts.iter().any(Option::is_some) {
        let mut hasher = blake3::Hasher::new();
        for part in parts {
            hasher.update(part.as_deref().unwrap_or_default().as_bytes());
            hasher.update(&[0]);
        }
        half.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    }
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_name_is_short_and_lower_case() {
        assert_eq!(short_name("Node-17.cluster.example.org"), "node-17");
        assert_eq!(short_name("node-17"), "node-17");
    }

    #[test]
    fn a_boot_id_is_read_from_its_text() {
        let id = uuid("0d3c0000-0000-4000-8000-0000000000ff\n").expect("a uuid");
        assert_eq!((id[0], id[1], id[6], id[15]), (0x0d, 0x3c, 0x40, 0xff));
        assert_eq!(uuid("nonsense"), None);
    }

    /// The fingerprint of a machine with these numbers; `None` is a file that cannot be read.
    fn machine(uuid: Option<&str>, serial: Option<&str>, machine_id: Option<&str>) -> Id {
        let folder = tempfile::tempdir().expect("a folder");
        let (dmi, etc) = (folder.path().join("class/dmi/id"), folder.path().join("etc"));
        fs::create_dir_all(&dmi).expect("folders");
        fs::create_dir_all(&etc).expect("a folder");
        let files = [(&dmi, "product_uuid", uuid), (&dmi, "board_serial", serial), (&etc, "machine-id", machine_id)];
        for (folder, name, text) in files {
            if let Some(text) = text {
                fs::write(folder.join(name), text).expect("a file");
            }
        }
        fingerprint(folder.path(), &etc)
    }

    const UUID: Option<&str> = Some("4C4C4544-0042-3610-8056-B4C04F4E4D32\n");
    const ID: Option<&str> = Some("3d1219c7c4c5404aaa1f6d2a48adfda4\n");
    const OTHER_ID: Option<&str> = Some("91f3a90d8d4f4dd38fc1e37f0c1a4b5e\n");

    #[test]
    fn a_machine_is_known_again_by_root_and_user_and_after_a_reboot_without_a_disk() {
        let known = machine(UUID, Some("A1\n"), ID);
        for again in [
            machine(None, None, ID),
            machine(UUID, Some("A1\n"), OTHER_ID),
            machine(Some("4c4c4544-0042-3610-8056-b4c04f4e4d32"), Some("A1"), None),
            machine(None, None, None),
        ] {
            assert!(meter::same_machine(&known, &again), "{known:?} {again:?}");
        }
        for other in [
            machine(UUID, Some("A2\n"), ID),
            machine(Some("5c4c4544-0042-3610-8056-b4c04f4e4d32"), Some("A1"), ID),
            machine(None, None, OTHER_ID),
        ] {
            assert!(!meter::same_machine(&known, &other), "{known:?} {other:?}");
        }
    }

    #[test]
    fn the_hardware_is_labelled_unless_the_maker_left_it_unfilled() {
        let folder = tempfile::tempdir().expect("a folder");
        let dmi = folder.path().join("class/dmi/id");
        let labels = |uuid: &str, serial: &str| {
            fs::create_dir_all(&dmi).expect("folders");
            fs::write(dmi.join("product_uuid"), uuid).expect("a file");
            fs::write(dmi.join("product_serial"), serial).expect("a file");
            hardware_labels(folder.path())
        };
        assert_eq!(hardware_labels(folder.path()), Labels::new(), "nothing can be read");
        let known = labels("4C4C4544-0042-3610-8056-B4C04F4E4D32\n", "CZ3D0A1B2C \n");
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            known,
            Labels::from([pair("hw.uuid", "4c4c4544-0042-3610-8056-b4c04f4e4d32"), pair("hw.serial", "CZ3D0A1B2C"),])
        );
        assert_eq!(labels("00000000-0000-0000-0000-000000000000", "To be filled by O.E.M."), Labels::new());
        assert_eq!(labels("no uuid", "Default string\n"), Labels::new());
    }

    #[test]
    fn what_makers_leave_unfilled_tells_no_machines_apart() {
        let zeros = Some("00000000-0000-0000-0000-000000000000");
        let ones = Some("FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF\n");
        for nothing in [zeros, ones, Some("03000200-0400-0500-0006-000700080009"), Some("Not Specified"), Some(" \n")] {
            for serial in [Some("Default string\n"), Some("To be filled by O.E.M."), Some("None"), Some("0"), None] {
                let machine = machine(nothing, serial, Some("uninitialized\n"));
                assert_eq!(machine, Id::default(), "{nothing:?} {serial:?}");
            }
        }
        assert_ne!(machine(zeros, Some("A1"), None), Id::default(), "the serial number alone is something");
    }
}
