//! Budgets: where they stand, worked out beside the ledger, and who is told when a threshold is crossed.
//!
//! Every [`EVERY`] the month of each budget is added up by the same rollup that answers `/api/v1/rollup`, on a thread
//! for blocking work and for no more than a small share of a core. Whoever asks gets the newest
//! standings, or newer ones where working them out costs nothing worth mentioning.
//!
//! A crossing is noted in the store before anybody is told of it (`budgets/crossings.rs`), so that a restart neither
//! forgets nor repeats it; messages go out one at a time (`budgets/messenger.rs`).

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use billing::rests;
use cost::budget::{Budget, Budgets as Book, Standings};
use meter::Utc;

use crate::books::Books;
use crate::http::problem::Problem;
use crate::query::rfc3339;
use crate::settings::Settings;
use crate::watched::Watched;

mod crossing;
mod crossings;
pub mod following;
mod messenger;
mod standing;

use crossing::Crossing;
use crossings::Crossings;
use messenger::Messenger;
pub(crate) use standing::Month;
use standing::{Before, Round};

/// How often budgets are added up, at most.
pub const EVERY: Duration = Duration::from_secs(60);
/// Standings serve for at least so long whoever asks.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// Longest budgets file, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Budgets, their standings, and what was told of them.
pub struct Budgets {
    /// The file.
    pub file: Arc<Watched<Book>>,
    work: Mutex<Work>,
    messenger: Messenger,
    is_ending: AtomicBool,
}

/// What is kept from one time to the next.
#[derive(Default)]
struct Work {
    newest: Option<Newest>,
    /// Days before the month, by budget.
    before: HashMap<String, Before>,
    crossings: Crossings,
}

struct Newest {
    at: Instant,
    took: Duration,
    book: Arc<Book>,
    standings: Arc<Standings>,
}

/// Reads the budgets file that is configured.
///
/// # Errors
/// Every fault of the file, with its line and key.
pub fn follow_budgets(settings: &Settings) -> Result<Watched<Book>, String> {
    let read = |path: &Path| {
        let told = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
        let length = std::fs::metadata(path).map_err(|error| told(&error))?.len();
        if length > FILE_MAX {
            return Err(told(&format!("longer than {FILE_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
        Book::parse(&text).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(|fault| told(fault)).collect();
            faults.join("\n")
        })
    };
    match settings.budgets.file.as_str() {
        "" => Ok(Watched::fixed(Book::default())),
        path => Watched::open(path, read),
    }
}

impl Budgets {
    /// Budgets of a file that is followed.
    #[must_use]
    pub fn new(file: Arc<Watched<Book>>) -> Self {
        Self { file, work: Mutex::default(), messenger: Messenger::default(), is_ending: AtomicBool::new(false) }
    }

    /// Leaves off after the budget at hand: the process ends, and would wait for all of them.
    pub fn end(&self) {
        self.is_ending.store(true, Ordering::Relaxed);
    }

    /// Standings that are fresh. Blocks while they are worked out.
    ///
    /// # Errors
    /// A problem if the store fails.
    pub fn of(&self, books: &Books) -> Result<Arc<Standings>, Problem> {
        self.standings(books, FRESH_FOR)
    }

    /// The newest standings, whatever their age; nothing before they were worked out.
    #[must_use]
    pub fn newest(&self) -> Option<Arc<Standings>> {
        self.lock().newest.as_ref().map(|newest| Arc::clone(&newest.standings))
    }

    /// Standings no older than `fresh_for`, or than their cost allows.
    fn standings(&self, books: &Books, fresh_for: Duration) -> Result<Arc<Standings>, Problem> {
        let mut work = self.lock();
        let book = self.file.load();
        let is_fresh =
            |newest: &&Newest| newest.at.elapsed() < rests(fresh_for, newest.took) && Arc::ptr_eq(&newest.book, &book);
        if let Some(newest) = work.newest.as_ref().filter(is_fresh) {
            return Ok(Arc::clone(&newest.standings));
        }
        let begin = Instant::now();
        let standings =
            Arc::new(work.next(books, &book, &self.is_ending, self.file.failure().map(|why| (*why).clone()))?);
        let took = begin.elapsed();
        work.newest = Some(Newest { at: Instant::now(), took, book, standings: Arc::clone(&standings) });
        Ok(standings)
    }

    /// The messages that are due, with the months they are about.
    fn due(&self, now: Utc) -> Vec<(String, Crossing)> {
        let work = self.lock();
        let due = work.crossings.pending().filter(|(_, crossing)| messenger::is_due(crossing, now));
        due.map(|(month, crossing)| (month.clone(), crossing.clone())).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    /// The standings of now, with new crossings noted in the store.
    fn next(
        &mut self,
        books: &Books,
        book: &Book,
        is_ending: &AtomicBool,
        file_problem: Option<String>,
    ) -> Result<Standings, Problem> {
        let round = Round::of(books);
        self.before.retain(|name, _| book.0.iter().any(|budget| budget.name == *name));
        let mut standings = Vec::with_capacity(book.0.len());
        for budget in &book.0 {
            if is_ending.load(Ordering::Relaxed) {
                return Err(Problem::come_again("ending", "the aggregator is shutting down"));
            }
            let month = Month::of(budget, &round)?;
            let figures = month.figures(budget, &round, self.before.get(&budget.name))?;
            self.before.insert(budget.name.clone(), figures.before.clone());
            self.crossings.note(budget, &month, &figures, books)?;
            standings.push(figures.standing(budget, &month, self.crossings.of(budget, &month)));
        }
        Ok(Standings { as_of: rfc3339(round.snapshot.as_of), file_problem, budgets: standings, cost_hidden: false })
    }
}

/// The budget of a name, as the file is now.
fn named<'b>(book: &'b Book, name: &str) -> Option<&'b Budget> {
    book.0.iter().find(|budget| budget.name == name)
}

/// Nanoseconds from one instant to a later one, as a duration.
fn since(later: Utc, earlier: Utc) -> Duration {
    Duration::from_nanos(later.since(earlier))
}
