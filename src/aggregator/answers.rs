//! What the views of the dashboard show of energy and cost: a window by one key, and its course over time.
//!
//! The view that everybody begins with is kept ready (`ready.rs`); others are made when they are asked for. A view is
//! kept for as long as it serves, the newest few of them.

use std::ops::Range as Span;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cost::{Answer, Step};
use meter::Utc;

use crate::asked::{Asked, Range};
use crate::books::Books;
use crate::http::problem::Problem;
use crate::kept::{Kept, Patience};
use crate::load::read_of;
use crate::query::Params;
use crate::statements::Statements;
use crate::statements::desk::Desk;

/// Views that are kept.
const VIEWS_MAX: usize = 32;
/// Rows of all views that are kept: about 1 kB each.
const ROWS_MAX: usize = 50_000;
const PATIENCE: Patience =
    Patience { fresh: Duration::from_millis(900), serves: Duration::from_secs(120), unasked: Duration::from_secs(60) };

/// What a view shows of energy and cost.
#[derive(Debug)]
pub struct ViewAnswer {
    /// Over the window, by the key.
    pub rows: Answer,
    /// Over time, all that is selected together.
    pub load: Answer,
    /// From the first reading of what is selected to the newest.
    pub read: Span<Utc>,
}

type Entry = (Asked, Arc<Kept<ViewAnswer>>);

/// The views that are kept.
#[derive(Debug, Default)]
pub struct Answers {
    /// The one asked for last at the end.
    entries: Mutex<Vec<Entry>>,
}

impl Answers {
    /// What a view shows. Blocks while it is made, if what there is does not serve.
    ///
    /// # Errors
    /// A problem that names the parameter at fault, or that the store failed.
    pub fn of(&self, books: &Books, statements: &Statements, asked: &Asked) -> Result<Arc<ViewAnswer>, Problem> {
        let answer = self.kept(asked).of(|| ViewAnswer::new(books, statements, asked));
        self.trim(asked);
        answer
    }

    /// Makes it anew if that is due. Blocks meanwhile.
    pub fn keep_up(&self, books: &Books, statements: &Statements, asked: &Asked) {
        self.kept(asked).keep_up(|| ViewAnswer::new(books, statements, asked));
    }

    fn kept(&self, asked: &Asked) -> Arc<Kept<ViewAnswer>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.iter().position(|(known, _)| known == asked).map(|at| entries.remove(at));
        let entry = known.unwrap_or_else(|| (asked.clone(), Arc::new(Kept::new(PATIENCE))));
        let kept = Arc::clone(&entry.1);
        entries.push(entry);
        kept
    }

    /// Lets go of the views that were asked for longest ago. What holds nothing, a question that failed, goes first.
    fn trim(&self, newest: &Asked) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|(asked, kept)| asked == newest || Arc::strong_count(kept) > 1 || kept.peek().is_some());
        let rows = |entry: &Entry| entry.1.peek().map_or(0, |answer| answer.rows.rows.len() + answer.load.rows.len());
        while entries.len() > 1 && (entries.len() > VIEWS_MAX || entries.iter().map(rows).sum::<usize>() > ROWS_MAX) {
            entries.remove(0);
        }
    }
}

impl ViewAnswer {
    fn new(books: &Books, statements: &Statements, asked: &Asked) -> Result<Self, Problem> {
        let step = if asked.range <= Range::Day { Step::Quarter } else { Step::Hour };
        let ask = |by: &str, step: &str| {
            let given = [("window", asked.range.word()), ("by", by), ("where", &asked.filter), ("step", step)];
            let params = Params::of(given);
            let desk = Desk::new(books, statements, &params)?;
            let query = desk.read(&params)?;
            let answer = query.answer(&desk.figures(), &books.rates.load())?;
            Ok::<_, Problem>((answer, desk, query))
        };
        let (rows, ..) = ask(&asked.by, "")?;
        let (load, desk, query) = ask(asked.along, step.word())?;
        let read = read_of(&desk.figures(), &query.select);
        Ok(Self { rows, load, read })
    }
}
