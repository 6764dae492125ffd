//! Something that takes long to work out, kept for as long as it serves.
//!
//! What was quick to make is made anew whenever somebody looks and it is no longer fresh. What took long is handed
//! out again meanwhile, and made anew beside by [`Kept::keep_up`]: nobody waits for it, and it takes no more than a
//! twentieth of a core.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use billing::rests;

use crate::http::problem::Problem;

/// Making anew what nobody asks for may take this share: 1 in 1000. A ledger that grows is not what it was when making
/// it was quick.
const UNASKED_FACTOR: u32 = 1000;
/// And is done no more often than this.
const UNASKED_LEAST: Duration = Duration::from_secs(5);
/// What is made within this is made whenever somebody looks.
const QUICK: Duration = Duration::from_millis(40);

/// How long something serves.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// It is fresh for so long, or longer if it took long to make.
    pub fresh: Duration,
    /// What took long to make serves for so long.
    pub serves: Duration,
    /// After so long it is made anew though nobody looked, or sooner if that takes next to nothing.
    pub unasked: Duration,
}

/// The newest of something.
#[derive(Debug)]
pub struct Kept<T> {
    patience: Patience,
    newest: Mutex<Option<Made<T>>>,
    /// Held while one is made, so that who comes meanwhile waits for that one.
    making: Mutex<()>,
    is_wanted: AtomicBool,
}

#[derive(Debug)]
struct Made<T> {
    at: Instant,
    took: Duration,
    value: Arc<T>,
}

impl<T> Kept<T> {
    /// Nothing yet.
    #[must_use]
    pub fn new(patience: Patience) -> Self {
        Self { patience, newest: Mutex::new(None), making: Mutex::new(()), is_wanted: AtomicBool::new(false) }
    }

    /// What serves now. Blocks while it is made, if nothing does.
    ///
    /// # Errors
    /// The problem of `make`.
    pub fn of(&self, make: impl FnOnce() -> Result<T, Problem>) -> Result<Arc<T>, Problem> {
        let serves = |made: &Made<T>| {
            let age = made.at.elapsed();
            age < made.fresh_for(self.patience.fresh) || (made.took >= QUICK && age < self.patience.serves)
        };
        self.that(serves, make)
    }

    /// What is no older than `age`. Blocks while it is made, if nothing is.
    ///
    /// # Errors
    /// The problem of `make`.
    pub fn within(&self, age: Duration, make: impl FnOnce() -> Result<T, Problem>) -> Result<Arc<T>, Problem> {
        self.that(|made| made.at.elapsed() < age, make)
    }

    /// The newest there is, whatever its age.
    #[must_use]
    pub fn peek(&self) -> Option<Arc<T>> {
        self.newest().as_ref().map(|made| Arc::clone(&made.value))
    }

    /// Makes it anew if that is due. Blocks meanwhile.
    pub fn keep_up(&self, make: impl FnOnce() -> Result<T, Problem>) {
        let is_due = self.newest().as_ref().is_none_or(|made| {
            let (age, is_wanted) = (made.at.elapsed(), self.is_wanted.load(Ordering::Relaxed));
            age >= made.fresh_for(self.patience.fresh)
                && (is_wanted || age >= made.unasked_after(self.patience.unasked))
        });
        if is_due && let Err(problem) = self.within(Duration::ZERO, make) {
            tracing::warn!("the dashboard's figures could not be made anew: {problem}");
        }
    }

    fn that(
        &self,
        serves: impl Fn(&Made<T>) -> bool,
        make: impl FnOnce() -> Result<T, Problem>,
    ) -> Result<Arc<T>, Problem> {
        if let Some(value) = self.served(&serves) {
            return Ok(value);
        }
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(value) = self.served(&serves) {
            return Ok(value);
        }
        let begin = Instant::now();
        let value = Arc::new(make()?);
        let took = begin.elapsed();
        self.is_wanted.store(false, Ordering::Relaxed);
        *self.newest() = Some(Made { at: Instant::now(), took, value: Arc::clone(&value) });
        Ok(value)
    }

    fn served(&self, serves: &impl Fn(&Made<T>) -> bool) -> Option<Arc<T>> {
        let newest = self.newest();
        let made = newest.as_ref().filter(|made| serves(made))?;
        if made.at.elapsed() >= made.fresh_for(self.patience.fresh) {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
        Some(Arc::clone(&made.value))
    }

    fn newest(&self) -> MutexGuard<'_, Option<Made<T>>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Made<T> {
    fn fresh_for(&self, least: Duration) -> Duration {
        rests(least, self.took)
    }

    fn unasked_after(&self, most: Duration) -> Duration {
        UNASKED_LEAST.max(self.took.saturating_mul(UNASKED_FACTOR)).min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { fresh: Duration::ZERO, serves: Duration::from_secs(600), unasked: Duration::from_secs(600) };

    #[test]
    fn what_is_quick_is_made_anew_and_what_is_slow_serves_until_it_was_made_beside() {
        let kept = Kept::new(PATIENCE);
        let quick = |value| kept.of(move || Ok(value)).expect("a value");
        assert_eq!(*quick(1), 1);
        let until = Instant::now();
        while *quick(2) != 2 {
            assert!(until.elapsed() < Duration::from_secs(10), "what took no time is fresh for no time");
        }
        let slow = |value| {
            std::thread::sleep(QUICK);
            Ok(value)
        };
        let until = Instant::now();
        kept.within(Duration::ZERO, || slow(3)).expect("a value");
        assert_eq!(*quick(4), 3, "it serves");
        // It took 40 ms, so it is fresh for 800 ms.
        while *kept.within(Duration::from_secs(600), || Ok(0)).expect("a value") == 3 {
            assert_eq!(*kept.of(|| Ok(5)).expect("a value"), 3);
            kept.keep_up(|| Ok(6));
            assert!(until.elapsed() < Duration::from_secs(30), "it is made anew at last");
        }
        assert!(
            until.elapsed() > rests(Duration::ZERO, QUICK) - 2 * QUICK,
            "but not more often than its share of a core allows"
        );
    }

    #[test]
    fn what_nobody_asks_for_is_made_for_a_thousandth_of_a_core_and_at_least_now_and_then() {
        let after = |took| {
            Made { at: Instant::now(), took: Duration::from_millis(took), value: Arc::new(()) }
                .unasked_after(Duration::from_secs(60))
        };
        assert_eq!([0, 5, 20, 60, 9000].map(|took| after(took).as_secs()), [5, 5, 20, 60, 60]);
    }

    #[test]
    fn a_failure_leaves_what_there_was() {
        let kept = Kept::new(PATIENCE);
        let fails = || Err(Problem::come_again("no", "no"));
        assert!(kept.of(fails).is_err());
        assert_eq!(*kept.of(|| Ok(1)).expect("a value"), 1);
        kept.keep_up(fails);
        assert_eq!(*kept.within(Duration::from_secs(600), fails).expect("a value"), 1);
    }
}
