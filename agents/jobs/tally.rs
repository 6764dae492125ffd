//! What was heard of jobs, for `/metrics`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use meter::Mark;

use super::refused::Refused;

/// The ways by which a word comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The Unix socket.
    Socket = 0,
    /// A file in the drop folder.
    File = 1,
    /// The kubelet.
    Kubernetes = 2,
    /// The agent itself, of what a boot before left running.
    Boot = 3,
}

impl Way {
    /// Every way, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Socket, Self::File, Self::Kubernetes, Self::Boot];

    /// The word in metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["socket", "file", "kubernetes", "boot"][self as usize]
    }
}

/// The kinds of marks, in the order of [`kind`].
pub const KINDS: [&str; 3] = ["start", "stop", "cut"];

/// The place of a mark's kind among [`KINDS`].
#[must_use]
pub const fn kind(mark: &Mark) -> usize {
    match mark {
        Mark::Start(_) => 0,
        Mark::Stop(_) => 1,
        Mark::Cut => 2,
    }
}

/// Counts since the agent started.
#[derive(Debug, Default)]
pub struct Tally {
    /// Marks put into the stream, by kind and way.
    pub marks: [[AtomicU64; Way::ALL.len()]; KINDS.len()],
    /// Words refused, by reason.
    pub refused: [AtomicU64; Refused::REASONS.len()],
    /// Jobs that run here as far as was told.
    pub running: AtomicU64,
    /// Questions that the kubelet did not answer.
    pub kubelet_failures: AtomicU64,
    /// Whether the kubelet is asked at all.
    pub kubelet: AtomicBool,
}

impl Tally {
    pub(super) fn heard(&self, mark: &Mark, way: Way) {
        self.marks[kind(mark)][way as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn refuse(&self, refused: &Refused) {
        self.refused[refused.reason()].fetch_add(1, Relaxed);
    }
}
