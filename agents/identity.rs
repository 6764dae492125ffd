//! Who this machine is.

use std::fs;
use std::path::Path;

use meter::{Id, NameError, Owner, OwnerKind};

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

/// 128 bits that tell machines apart: from the product UUID, the board's serial number and the
/// machine id, as far as they can be read. A reinstalled machine and a cloned disk both differ.
#[must_use]
pub fn fingerprint(sys: &Path) -> Id {
    let mut hasher = blake3::Hasher::new();
    let files = [
        sys.join("class/dmi/id/product_uuid"),
        sys.join("class/dmi/id/board_serial"),
        Path::new("/etc/machine-id").into(),
    ];
    for file in files {
        let text = fs::read_to_string(file).unwrap_or_default();
        hasher.update(text.trim().as_bytes());
        hasher.update(&[0]);
    }
    let mut id = Id::default();
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    id
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

    #[test]
    fn the_fingerprint_depends_on_the_machine() {
        let folder = tempfile::tempdir().expect("a folder");
        let dmi = folder.path().join("class/dmi/id");
        fs::create_dir_all(&dmi).expect("folders");
        let nothing = fingerprint(folder.path());
        fs::write(dmi.join("board_serial"), "A1\n").expect("a file");
        let a1 = fingerprint(folder.path());
        fs::write(dmi.join("board_serial"), "A2\n").expect("a file");
        assert!(nothing != a1 && a1 != fingerprint(folder.path()));
    }
}
