//! A clock that rings once, at an instant of the boot clock.
//!
//! The runtime's own timers are a wheel: a wait of a second wakes its thread two or three times, which costs more
//! than reading a few sensors. The kernel's timer (timerfd) wakes it once.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

use crate::clock;

/// A clock for one waiter at a time.
#[derive(Debug)]
pub(crate) struct Alarm(Option<AsyncFd<OwnedFd>>);

impl Alarm {
    /// A clock that waits by the runtime's timers, for one of very many.
    pub(crate) const fn of_many() -> Self {
        Self(None)
    }

    /// A clock of the kernel's; within a runtime. Where there is none, the runtime's timers serve.
    #[expect(deprecated, reason = "its heir is unsafe for types that swap descriptors; an OwnedFd does not")]
    pub(crate) fn new() -> Self {
        let made = timerfd_create(TimerfdClockId::Boottime, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC);
        Self(made.map_err(io::Error::from).and_then(AsyncFd::new).ok())
    }

    /// Returns at this instant of the boot clock, in nanoseconds; at once if it is over.
    pub(crate) async fn ring_at(&self, at_ns: u64) {
        let rung = match &self.0 {
            Some(timer) => wait(timer, at_ns).await,
            None => Err(io::ErrorKind::Unsupported.into()),
        };
        if rung.is_err() {
            tokio::time::sleep(Duration::from_nanos(at_ns.saturating_sub(clock::boot_ns()))).await;
        }
    }
}

async fn wait(timer: &AsyncFd<OwnedFd>, at_ns: u64) -> io::Result<()> {
    let second = 1_000_000_000;
    let [tv_sec, tv_nsec] = [at_ns / second, at_ns % second].map(u64::cast_signed);
    let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
    let at = Itimerspec { it_interval, it_value: Timespec { tv_sec, tv_nsec } };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &at)?;
    loop {
        let mut ready = timer.readable().await?;
        // Reading tells how often it rang, and makes it silent again.
        match ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0; 8])?)) {
            Ok(read) => return read.map(drop),
            Err(_would_block) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_rt::test]
    async fn it_rings_at_the_instant_and_at_once_where_that_is_over() {
        for alarm in [Alarm::new(), Alarm::of_many()] {
            let begin = clock::boot_ns();
            for after_ms in [30, 5, 0] {
                let at = clock::boot_ns() + after_ms * 1_000_000;
                alarm.ring_at(at).await;
                assert!(clock::boot_ns() >= at, "{alarm:?} rang early");
            }
            alarm.ring_at(begin).await;
            assert!(clock::boot_ns() - begin < 5_000_000_000, "{alarm:?} rang late");
        }
        assert!(Alarm::new().0.is_some(), "this kernel has timers");
    }
}
