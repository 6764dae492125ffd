//! Code that may panic without taking its thread along, or the log.
//!
//! A panic is caught and told once by whoever asked for the work. The usual message on standard error would
//! come with each of them, so it is kept back.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;

/// What panicked, and where: `index out of bounds … (agents/sources/rapl.rs:17)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked(pub String);

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sees to it that a guarded panic is kept back; all others are reported as before.
fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                return before(info);
            }
            let place = info.location().map(|place| format!("{}:{}", place.file(), place.line())).unwrap_or_default();
            let text = info.payload_as_str().unwrap_or("a panic without words");
            let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
            SAID.set(Some(format!("{line} ({place})")));
        }));
    });
}

/// Runs something that may panic.
///
/// # Errors
/// [`Panicked`] if it did. What it was at work on may be in any state.
pub fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    install();
    let around = GUARDED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(around);
    done.map_err(|_| Panicked(SAID.take().unwrap_or_default()))
}

/// Waits for something that may panic whenever it is polled.
///
/// # Errors
/// [`Panicked`] if it did.
pub async fn guarded_wait<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let mut work = pin!(work);
    poll_fn(|context| match guarded(|| work.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(done)) => Poll::Ready(Ok(done)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_words_and_place() {
        let broken = |register: u8| if register > 8 { panic!("no such\nregister") } else { register };
        let Err(Panicked(said)) = guarded(|| broken(9)) else { panic!("it was not caught") };
        assert!(said.starts_with("no such register (") && said.contains("guard.rs:"), "{said}");
        assert_eq!(guarded(|| broken(7)), Ok(7));
    }

    fn said_before() -> bool {
        SAID.take().is_none()
    }

    #[actix_rt::test]
    async fn a_panic_after_a_wait_is_caught_too() {
        let work = async {
            tokio::task::yield_now().await;
            if said_before() {
                panic!("late")
            }
        };
        let Err(Panicked(said)) = guarded_wait(work).await else { panic!("it was not caught") };
        assert!(said.starts_with("late ("), "{said}");
    }
}
