//! What can go wrong between a person and an aggregator, and with which exit code.

use std::path::PathBuf;

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The address of the aggregator is none.
    #[error("--server {0:?} is no address such as http://127.0.0.1:9810")]
    BadServer(String),
    /// The aggregator refused the question.
    #[error("{code}: {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The problem's stable code.
        code: String,
        /// What was wrong with which parameter.
        detail: String,
    },
    /// Nobody answers there.
    #[error(
        "no aggregator answers at {server} ({why}): start one with `wattledger serve`, or name another with --server"
    )]
    Unreachable {
        /// The address.
        server: String,
        /// What the attempt ended with.
        why: String,
    },
    /// The answer ended before it was complete.
    #[error("the answer of {server} broke off ({why}): ask again")]
    BrokenOff {
        /// The address.
        server: String,
        /// What it ended with.
        why: String,
    },
    /// Somebody answers, but not as an aggregator of this version does.
    #[error("{server} does not answer as an aggregator of this version: {why}")]
    NotUnderstood {
        /// The address.
        server: String,
        /// What was wrong with the answer.
        why: String,
    },
    /// A comparison is beyond the tolerance, or cannot be made.
    #[error("{0}")]
    NotReconciled(String),
    /// A file that was given cannot be used.
    #[error("{path}: {why}", path = .path.display())]
    BadInput {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The output file could not be written.
    #[error("failed to write {path}: {why}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: std::io::Error,
    },
    /// An argument that cannot be used.
    #[error("{0}")]
    Usage(String),
    /// Something of what was asked could not be done; what, was told before.
    #[error("{0}")]
    Incomplete(String),
    /// A command that cannot be run.
    #[error("cannot run {program}: {why}")]
    Command {
        /// The command.
        program: String,
        /// Why not.
        why: std::io::Error,
    },
    /// The terminal cannot be taken over, drawn to or read from.
    #[error("the terminal cannot be used: {0}")]
    Terminal(std::io::Error),
    /// Standard output could not be written.
    #[error("failed to write to the standard output: {0}")]
    Output(std::io::Error),
}

impl ConsoleError {
    /// The exit code that tells a script what failed: 2 for a question that cannot be asked so, as of a shell 127
    /// for a command that is not there and 126 for one that cannot be run, 1 for anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadServer(_) | Self::BadInput { .. } | Self::Refused { status: 400, .. } | Self::Usage(_) => 2,
            Self::Command { why, .. } if why.kind() == std::io::ErrorKind::NotFound => 127,
            Self::Command { .. } => 126,
            _ => 1,
        }
    }
}
