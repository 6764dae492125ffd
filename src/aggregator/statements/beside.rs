//! Closed months beside figures that the ledger has today, for answers that are always worked out anew.

use std::collections::BTreeSet;

use cost::Window;
use cost::closing::{ClosedFigure, Facts, Sum};

use super::{Entry, Statements, failed};
use crate::http::problem::Problem;

/// Whose figure it is.
#[derive(Clone, Debug)]
pub struct Whose<'a> {
    /// The sites, an empty text for those that name none; every site if absent.
    pub sites: Option<BTreeSet<String>>,
    /// Cluster and name of one host; all of them if absent.
    pub host: Option<(&'a str, &'a str)>,
}

impl Statements {
    /// What closed months say of a window, beside `today`; nothing if none shares time with it.
    ///
    /// # Errors
    /// A problem if a statement cannot be read.
    pub fn beside(&self, window: Window, whose: &Whose<'_>, today: &Sum) -> Result<Option<ClosedFigure>, Problem> {
        let sites = whose.sites.as_ref();
        let entries = self.overlapping(window, sites);
        if entries.is_empty() {
            return Ok(None);
        }
        let is_closed = self.is_closed(&entries, window, sites);
        let edges = (window.start(), window.end());
        let is_whole = entries.iter().all(|entry| (entry.head.window.start, entry.head.window.end) == edges);
        let total = if is_closed && is_whole { Some(self.total_of(&entries, whose)?) } else { None };
        let statements = entries.iter().map(|entry| entry.head.original()).collect();
        Ok(Some(ClosedFigure::new(statements, is_closed, total, today)))
    }

    /// The newest statements whose months share time with a window: those of these sites, or of all.
    #[must_use]
    pub fn overlapping(&self, window: Window, sites: Option<&BTreeSet<String>>) -> Vec<Entry> {
        self.shelf.newest_of(|head| {
            head.window.start < window.end()
                && window.start() < head.window.end
                && sites.is_none_or(|sites| sites.contains(&head.site))
        })
    }

    /// Whether a window lies in the months of these statements: one of each of these sites, or of every site there is.
    fn is_closed(&self, entries: &[Entry], window: Window, sites: Option<&BTreeSet<String>>) -> bool {
        let holds = |entry: &Entry| entry.head.window.start <= window.start() && window.end() <= entry.head.window.end;
        let is_complete = match (sites, entries.first()) {
            (Some(sites), _) => sites.iter().all(|site| entries.iter().any(|entry| entry.head.site == *site)),
            // Also of a site whose month is another, as that begins later.
            (None, Some(first)) => {
                let period = &first.head.period;
                self.shelf.is_complete(period) && self.shelf.newest(period).iter().all(holds)
            }
            (None, None) => false,
        };
        is_complete && entries.iter().all(holds)
    }

    /// What statements have, rounded as one total.
    fn total_of(&self, entries: &[Entry], whose: &Whose<'_>) -> Result<Sum, Problem> {
        let (mut facts, mut head) = (Facts::default(), None);
        for entry in entries {
            let closed = self.read(entry).map_err(|error| failed(&error))?;
            facts.extend(match whose.host {
                Some((cluster, host)) => closed.facts_of_host(cluster, host),
                None => closed.facts(),
            });
            head = Some(&entry.head);
        }
        let total = head.map(|head| facts.answer(&[], head.window, &head.tz, head.closed_at).total);
        Ok(total.as_ref().map(Sum::of).unwrap_or_default())
    }
}
