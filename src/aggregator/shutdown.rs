//! How the process ends: on a signal in good order, on a dead actor at once.

use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::health::Health;

/// The exit code of an internal fault.
pub const INTERNAL_FAULT: i32 = 70;

/// The exit code of a command that failed for reasons outside the program.
pub const FAILED: i32 = 1;

/// The signals that ask the process to end. They are caught from the moment that this is made.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Catches SIGTERM and SIGINT from now on.
    ///
    /// # Errors
    /// If the signals cannot be watched.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns when one came, with its name.
    pub async fn any(mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Ends the process with code 70 if the actor that holds it dies while the server lives.
///
/// A panic closes an actor's mailbox for good and leaves everything else running: a server that
/// answers and books nothing. The service manager restarts us, the agents send again what was not
/// acknowledged.
pub struct DeathWatch {
    /// Whose death it watches.
    pub actor: &'static str,
    /// Tells a shutdown from a death.
    pub health: Arc<Health>,
    /// What to do; [`exit`] outside tests.
    pub on_death: fn(&'static str),
}

impl Drop for DeathWatch {
    fn drop(&mut self) {
        if !self.health.is_draining() {
            (self.on_death)(self.actor);
        }
    }
}

/// Ends the process with [`INTERNAL_FAULT`].
pub fn exit(actor: &'static str) {
    tracing::error!("the {actor} actor died; stopping, so that a service manager starts afresh");
    std::process::exit(INTERNAL_FAULT);
}

/// Ends the process with [`FAILED`]: its files were taken away, and only a fresh start mends that.
pub fn give_up() {
    tracing::error!("stopping, so that a service manager starts afresh");
    std::process::exit(FAILED);
}
