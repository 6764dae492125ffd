//! Closed months: how they close, where they are kept, and what becomes known of them later.
//!
//! A statement is of one site (the value of the label `site`) and one calendar month of that site's
//! zone. It is a document of the store, written once; `statements/shelf.rs` keeps it and the list of
//! all. What changes afterwards never changes it: it falls due, as adjustments, in the first month
//! after it that is still open (`statements/corrections.rs`).

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use billing::Figures;
use cost::closing::{Closed, Correction, Fact, Facts, facts};
use cost::{Answer, Axis, By, Dimension, RateCard, Where, Window};
use jiff::civil::Date;
use store::{Store, StoreError};

use crate::http::problem::Problem;
use crate::query::{CostQuery, HeldQuery, Zone};
use crate::report::gather::Source;

pub mod auto;
pub mod beside;
pub mod close;
mod corrections;
pub mod desk;
pub mod late;
mod shelf;
pub mod unpriced;

use corrections::Cache;
use late::Late;
use shelf::Shelf;
pub use shelf::{Entry, ShelfError};

/// Most facts of one month: 100,000 hosts with 20 devices.
const FACTS_MAX: usize = 2_000_000;

/// The closed months of a ledger.
pub struct Statements {
    shelf: Shelf,
    cache: Cache,
    /// What was booked late.
    pub late: Arc<Late>,
    /// One closing at a time.
    closing: Mutex<()>,
}

/// What statements and their corrections are worked out from: all of one moment.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// The ledger's figures.
    pub figures: Figures<'a>,
    /// The prices.
    pub card: &'a Arc<RateCard>,
    /// Every label key of hosts there is.
    pub labels: &'a BTreeSet<String>,
    /// The axes of attribution.
    pub axes: &'a [Arc<Axis>],
    /// The server's zone.
    pub zone: &'a Zone,
    /// For how many months a closed month is looked at for adjustments.
    pub adjust_months: u32,
    /// What was booked late, as of before the figures were taken.
    pub late: u64,
}

impl Statements {
    /// The statements of a store.
    ///
    /// # Errors
    /// [`ShelfError`] if the store or its list of statements cannot be read: a closed month must not
    /// look open.
    pub fn load(store: Arc<dyn Store>) -> Result<Self, ShelfError> {
        let shelf = Shelf::load(store)?;
        let late = Arc::new(Late::default());
        late.watch(shelf.list().iter().map(|entry| entry.head.window.end));
        Ok(Self { shelf, cache: Cache::default(), late, closing: Mutex::new(()) })
    }

    /// The list of all, the newest month first.
    #[must_use]
    pub fn list(&self) -> Vec<Entry> {
        self.shelf.list()
    }

    /// A statement's bytes, as they were written.
    ///
    /// # Errors
    /// [`ShelfError`] if they cannot be read, or are not what was written.
    pub fn bytes(&self, entry: &Entry) -> Result<Vec<u8>, ShelfError> {
        self.shelf.bytes(entry)
    }

    /// A statement.
    ///
    /// # Errors
    /// As [`Statements::bytes`].
    pub fn read(&self, entry: &Entry) -> Result<Arc<Closed>, ShelfError> {
        self.shelf.read(entry)
    }

    /// The answer of closed months, if the question is exactly one, whole or one site's, and of keys that a
    /// statement has.
    ///
    /// # Errors
    /// A problem if a statement cannot be read.
    pub fn closed_answer(&self, query: &CostQuery) -> Result<Option<Answer>, Problem> {
        let Some(statements) = self.closed(query)? else { return Ok(None) };
        let by = query.by.names();
        let mut facts = Facts::default();
        let (mut named, mut corrections) = (Vec::new(), Vec::new());
        for closed in &statements {
            facts.extend(closed.facts());
            named.push(closed.original());
            corrections.extend(closed.corrections());
        }
        let Some(first) = statements.first() else { return Ok(None) };
        let closed_at = statements.iter().map(|closed| closed.head.closed_at).max().unwrap_or_default();
        let answer = facts.answer(&by, first.head.window, &query.zone.name, closed_at);
        Ok(Some(Answer { statements: named, ..answer.with_corrections(&corrections) }))
    }

    /// The statements that answer a question, if they do.
    ///
    /// # Errors
    /// A problem if one cannot be read.
    pub fn closed(&self, query: &CostQuery) -> Result<Option<Vec<Arc<Closed>>>, Problem> {
        if query.step.is_some() || query.held.within.is_some() {
            return Ok(None);
        }
        let Some(period) = whole_month(query.window, &query.zone) else { return Ok(None) };
        let entries = self.shelf.newest(&period);
        let entries: Vec<Entry> = match (query.select.is_everything(), query.select.only_site()) {
            (true, _) if self.shelf.is_complete(&period) => entries,
            (false, Some(site)) => entries.into_iter().filter(|entry| entry.head.site == site).collect(),
            _ => return Ok(None),
        };
        let edges = (query.window.start(), query.window.end());
        let is_it = |entry: &Entry| (entry.head.window.start, entry.head.window.end) == edges;
        if entries.is_empty() || !entries.iter().all(is_it) {
            return Ok(None);
        }
        let closed = entries.iter().map(|entry| self.read(entry).map_err(|error| failed(&error)));
        let closed = closed.collect::<Result<Vec<_>, _>>()?;
        Ok(closed.iter().all(|closed| can_answer(closed, query)).then_some(closed))
    }
}

/// Whether a statement has the keys that a question is about: those of jobs only as axes, and only as they are.
fn can_answer(closed: &Closed, query: &CostQuery) -> bool {
    let is_there = |dimension: &Dimension| match dimension {
        Dimension::Axis(_) => closed.axes().contains(dimension.name()),
        Dimension::Job(_) => false,
        Dimension::Label(key) => !closed.axes().contains(&**key),
        _ => true,
    };
    let dimensions = query.by.dimensions();
    let is_about_jobs = dimensions.iter().any(Dimension::is_of_tenant);
    dimensions.iter().all(is_there) && (!is_about_jobs || query.held.policies == cost::Policies::default())
}

impl Moment<'_> {
    /// The finest grain: every label, axis, scope and device.
    pub(crate) fn grain(&self) -> By {
        By::grain(self.labels).with_axes(self.axes)
    }

    /// What charts are asked of.
    pub(crate) fn source(&self) -> Source<'_> {
        Source { figures: self.figures, card: self.card, labels: self.labels, axes: self.axes }
    }

    /// The names of the axes.
    pub(crate) fn axis_names(&self) -> Vec<&str> {
        self.axes.iter().map(|axis| axis.name()).collect()
    }
}

/// The exact sums of a window at one grain.
///
/// # Errors
/// A problem if the store fails or the month has more facts than there may be.
pub(crate) fn read_facts(moment: &Moment<'_>, window: Window, by: By, select: &Where) -> Result<Vec<Fact>, Problem> {
    let (zone, held) = (moment.zone.clone(), HeldQuery::default());
    let query = CostQuery { window, by, select: select.clone(), step: None, zone, held };
    query.rolled(&moment.figures, moment.card, FACTS_MAX, &[]).map(facts)
}

/// A statement that should be there and is not.
pub(crate) fn failed(error: &ShelfError) -> Problem {
    Problem::internal("read a statement", error)
}

/// The month of a window that is exactly one.
fn whole_month(window: Window, zone: &Zone) -> Option<String> {
    let period = month_of(window, zone)?;
    (month_window(&period, zone)? == window).then_some(period)
}

/// The month that a window begins with and does not leave, `2026-10`.
pub(crate) fn month_of(window: Window, zone: &Zone) -> Option<String> {
    let months = window.months(&zone.tz);
    let [period] = &*months else { return None };
    (month_window(period, zone)?.first() == window.first()).then(|| period.clone())
}

/// The window of a month in a zone; nothing if the text is no month.
pub(crate) fn month_window(period: &str, zone: &Zone) -> Option<Window> {
    if period.len() != 7 {
        return None;
    }
    Window::parse(period, meter::Utc(0), &zone.tz).ok()
}

/// The month after another.
pub(crate) fn next_month(period: &str) -> Option<String> {
    months_after(period, 1)
}

/// The month before another.
pub(crate) fn month_before(period: &str) -> Option<String> {
    months_after(period, -1)
}

fn months_after(period: &str, months: i32) -> Option<String> {
    let first: Date = format!("{period}-01").parse().ok()?;
    let other = first.checked_add(jiff::Span::new().months(months)).ok()?;
    Some(format!("{:04}-{:02}", other.year(), other.month()))
}

/// The zone that decides the months of a site: its card's, else the server's.
pub(crate) fn zone_of(site: &str, card: &RateCard, server: &Zone) -> Zone {
    let stated = card.zone_of(site).and_then(|tz| Some((tz, tz.iana_name()?)));
    stated.map_or_else(|| server.clone(), |(tz, name)| Zone { tz: tz.clone(), name: name.to_owned() })
}

/// Corrections and whom they are due to.
pub(crate) type Due = Vec<Arc<Correction>>;

impl From<StoreError> for ShelfError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
