//! Power cuts by `shim.c`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use crate::harness::tool;

/// What a disk without power has lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loses {
    /// For people.
    pub(crate) name: &'static str,
    /// In the shim's words.
    pub(crate) words: &'static str,
    /// Bytes that reach the disk whole or not at all.
    pub(crate) unit: u32,
}

/// One cut to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) loses: Loses,
    /// The operation that never comes.
    pub(crate) at: u64,
    pub(crate) seed: u64,
}

impl Cut {
    /// Makes the power of a command's process go. `folder` is what it writes in; it may not exist yet.
    pub(crate) fn threaten(&self, command: &mut Command, shim: &Path, folder: &Path, aside: &Path) {
        let trash = aside.join("trash");
        std::fs::create_dir_all(&trash).expect("a folder");
        let parent = folder.parent().and_then(|parent| parent.canonicalize().ok()).expect("a folder's folder");
        command.env("LD_PRELOAD", shim).env("POWERCUT_ROOT", parent.join(folder.file_name().expect("a name")));
        command.env("POWERCUT_AT", self.at.to_string()).env("POWERCUT_SEED", self.seed.to_string());
        command.env("POWERCUT_LOSES", self.loses.words).env("POWERCUT_UNIT", self.loses.unit.to_string());
        command.env("POWERCUT_DELAY", "4000").env("POWERCUT_TRASH", trash);
        command.env("POWERCUT_REPORT", aside.join("cuts"));
    }

    /// What the cuts so far found and took, a line each.
    pub(crate) fn reports(aside: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(aside.join("cuts")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// The built shim, or nothing and a visible line.
pub(crate) fn shim() -> Option<PathBuf> {
    static BUILT: LazyLock<Option<(tempfile::TempDir, PathBuf)>> = LazyLock::new(|| {
        let cc = tool("cc", "power cuts by a preloaded library")?;
        let folder = tempfile::tempdir().expect("a folder");
        let built = folder.path().join("shim.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/power/shim.c");
        let flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"];
        let mut command = Command::new(cc);
        command.args(flags).arg(&built).args([source, "-ldl", "-lpthread"]);
        let output = command.output().expect("the compiler runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Some((folder, built))
    });
    BUILT.as_ref().map(|(_, path)| path.clone())
}

/// Numbers drawn from a seed (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `1..=most`.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        1 + self.next() % most
    }
}
