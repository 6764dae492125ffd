//! How the ledger's figures of closed months differ from what was closed.
//!
//! Worked out when somebody asks, and again only if prices or labels changed or something was booked
//! late in that month. A statement's correction falls due in the first month after its own that its
//! site has not closed; what later statements hold already is left out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use billing::topology::Topology;
use cost::closing::{Adjustment, Correction, Fact, Original, difference};
use cost::{RateCard, Where, Window};

use super::{Due, Entry, Moment, Statements, failed, month_of, month_window, next_month, read_facts, zone_of};
use crate::http::problem::Problem;
use crate::query::CostQuery;

/// Corrections by window, as of some moment.
#[derive(Default)]
pub(super) struct Cache(Mutex<BTreeMap<(i32, i32), Known>>);

struct Known {
    late: u64,
    card: Arc<RateCard>,
    topology: Arc<Topology>,
    /// How many statements there were.
    statements: usize,
    by_site: BTreeMap<String, Option<Arc<Correction>>>,
}

impl Statements {
    /// The adjustments that fall due in the month that a question begins with and does not leave.
    ///
    /// # Errors
    /// A problem if the store fails.
    pub fn adjustments(
        &self,
        moment: &Moment<'_>,
        topology: &Arc<Topology>,
        query: &CostQuery,
    ) -> Result<Vec<Adjustment>, Problem> {
        let all = self.list();
        if all.is_empty() {
            return Ok(Vec::new());
        }
        let Some(period) = month_of(query.window, &query.zone) else { return Ok(Vec::new()) };
        let by = query.by.names();
        let mut adjustments = Vec::new();
        for correction in self.due(moment, topology, &all, &period, None)? {
            if query.select.is_everything() {
                adjustments.extend(correction.adjustments(&by));
            } else {
                let before = self.billed(&all, &correction.original)?;
                adjustments.extend(correction.selected(&by, &query.select, before.iter()));
            }
        }
        Ok(adjustments)
    }

    /// The corrections that fall due in a month, of all sites or of one.
    pub(super) fn due(
        &self,
        moment: &Moment<'_>,
        topology: &Arc<Topology>,
        all: &[Entry],
        period: &str,
        site: Option<&str>,
    ) -> Result<Due, Problem> {
        let mut due = Vec::new();
        let mut windows: Vec<(String, Window)> = Vec::new();
        for entry in all {
            let window = Window::of_slots(entry.head.window.start.slot(), entry.head.window.end.slot());
            let known = (entry.head.period.clone(), window);
            if entry.head.period.as_str() < period
                && is_recent(&entry.head.period, period, moment)
                && !windows.contains(&known)
            {
                windows.push(known);
            }
        }
        for (original, window) in windows {
            for (of, correction) in self.corrections(moment, topology, all, &original, window)? {
                let is_wanted = site.is_none_or(|site| site == of);
                if is_wanted && first_open(all, &of, &original).as_deref() == Some(period) {
                    due.extend(correction);
                }
            }
        }
        due.sort_by(|a, b| (&a.original.period, &a.original.site).cmp(&(&b.original.period, &b.original.site)));
        Ok(due)
    }

    /// The corrections of a month's statements, by site.
    fn corrections(
        &self,
        moment: &Moment<'_>,
        topology: &Arc<Topology>,
        all: &[Entry],
        period: &str,
        window: Window,
    ) -> Result<BTreeMap<String, Option<Arc<Correction>>>, Problem> {
        let key = (window.first().0, window.until().0);
        let mut cache = self.cache.0.lock().unwrap_or_else(PoisonError::into_inner);
        let late = self.late.last_in(window);
        let is_fresh = |known: &&Known| {
            let same = Arc::ptr_eq(&known.card, moment.card) && Arc::ptr_eq(&known.topology, topology);
            same && known.statements == all.len() && late <= known.late
        };
        if let Some(known) = cache.get(&key).filter(is_fresh) {
            return Ok(known.by_site.clone());
        }
        let by_site = self.work_out(moment, all, period, window)?;
        cache.insert(
            key,
            Known {
                late: moment.late,
                card: Arc::clone(moment.card),
                topology: Arc::clone(topology),
                statements: all.len(),
                by_site: by_site.clone(),
            },
        );
        Ok(by_site)
    }

    fn work_out(
        &self,
        moment: &Moment<'_>,
        all: &[Entry],
        period: &str,
        window: Window,
    ) -> Result<BTreeMap<String, Option<Arc<Correction>>>, Problem> {
        let newest = newest_of(all, period, window);
        let now = read_facts(moment, window, moment.grain(), &Where::default())?;
        let mut by_site: BTreeMap<String, Vec<Fact>> = BTreeMap::new();
        for fact in now {
            by_site.entry(fact.value("site").to_owned()).or_default().push(fact);
        }
        let mut sites: Vec<String> = newest.iter().map(|entry| entry.head.site.clone()).collect();
        if self.shelf.is_complete(period) {
            // Energy of a site that had none when the month was closed.
            let is_new = |site: &&String| {
                let own = month_window(period, &zone_of(site, moment.card, moment.zone));
                own == Some(window) && !newest.iter().any(|entry| entry.head.site == **site)
            };
            sites.extend(by_site.keys().filter(is_new).cloned());
        }
        let mut corrections = BTreeMap::new();
        for site in sites {
            let original = match newest.iter().find(|entry| entry.head.site == site) {
                Some(entry) => entry.head.original(),
                None => Original { period: period.to_owned(), site: site.clone(), id: String::new(), version: 0 },
            };
            let before = self.billed(all, &original)?;
            let lines = difference(by_site.get(&site).map_or(&[], Vec::as_slice), &before);
            let edges = cost::statement::Edges { start: window.start(), end: window.end() };
            let correction = Correction::new(original, edges, &before, lines);
            corrections.insert(site, correction.map(Arc::new));
        }
        Ok(corrections)
    }

    /// What was billed of a month: its statement, and the corrections of it that later statements hold.
    fn billed(&self, all: &[Entry], original: &Original) -> Result<Vec<Fact>, Problem> {
        let mut billed = Vec::new();
        for entry in all.iter().filter(|entry| entry.head.site == original.site) {
            if entry.head.id == original.id {
                billed.extend(self.read(entry).map_err(|error| failed(&error))?.lines().iter().cloned());
            } else if entry.head.period > original.period && is_newest(all, entry) {
                let closed = self.read(entry).map_err(|error| failed(&error))?;
                billed.extend(closed.corrected(&original.period).cloned());
            }
        }
        Ok(billed)
    }

    /// The later statements that hold corrections of a site's month: it cannot be restated any more.
    pub(super) fn holders(&self, all: &[Entry], site: &str, period: &str) -> Result<Vec<String>, Problem> {
        let mut holders = Vec::new();
        for entry in all.iter().filter(|entry| entry.head.site == site && entry.head.period.as_str() > period) {
            let closed = self.read(entry).map_err(|error| failed(&error))?;
            if closed.corrected(period).next().is_some() {
                holders.push(entry.head.period.clone());
            }
        }
        Ok(holders)
    }
}

/// Whether a closed month is still looked at in another one.
fn is_recent(period: &str, from: &str, moment: &Moment<'_>) -> bool {
    let mut month = period.to_owned();
    for _ in 0..moment.adjust_months {
        let Some(next) = next_month(&month) else { return false };
        if next == from {
            return true;
        }
        month = next;
    }
    false
}

/// The first month after another that a site has not closed.
pub(super) fn first_open(all: &[Entry], site: &str, period: &str) -> Option<String> {
    let is_closed = |month: &str| all.iter().any(|entry| entry.head.site == site && entry.head.period == month);
    let mut month = next_month(period)?;
    while is_closed(&month) {
        month = next_month(&month)?;
    }
    Some(month)
}

/// The newest version of each site's statement of a month with this window.
fn newest_of<'a>(all: &'a [Entry], period: &str, window: Window) -> Vec<&'a Entry> {
    let is_it = |entry: &&Entry| {
        let edges = (entry.head.window.start, entry.head.window.end);
        entry.head.period == period && edges == (window.start(), window.end()) && is_newest(all, entry)
    };
    all.iter().filter(is_it).collect()
}

pub(super) fn is_newest(all: &[Entry], entry: &Entry) -> bool {
    let is_later = |other: &&Entry| {
        (&other.head.period, &other.head.site) == (&entry.head.period, &entry.head.site)
            && other.head.version > entry.head.version
    };
    !all.iter().any(|other| is_later(&other))
}

/// Whether a text is a month.
pub(super) fn is_month(period: &str, zone: &crate::query::Zone) -> bool {
    month_window(period, zone).is_some()
}
