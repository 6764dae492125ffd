//! What the page and `wattledger_cost_month_to_date` show of cost: today, this month, the last days.
//!
//! Worked out when somebody looks, at most every [`FRESH_FOR`], by the same rollup that answers
//! `/api/v1/rollup`; who comes meanwhile waits for the one that is being made.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use billing::topology::Topology;
use cost::{Answer, By, Row, Step, Where, Window};
use meter::{Doubt, Owner, OwnerKind, Utc};

use crate::books::Books;
use crate::http::problem::Problem;
use crate::kept::{Kept, Patience};
use crate::query::{CostQuery, HeldQuery, Zone, cost_problem, label_keys};

/// For how long a summary serves: a page that is reloaded costs nothing.
pub const FRESH_FOR: Duration = Duration::from_secs(30);

/// Days in the graph of days.
pub const DAYS: u32 = 30;

/// Cost and energy at one moment.
#[derive(Debug)]
pub struct Summary {
    /// Today, by cluster and host.
    pub today: Answer,
    /// This month by [`Summary::key`].
    pub month: Answer,
    /// The last [`DAYS`] days, a row each.
    pub days: Answer,
    /// What people should look at before they believe today's bill of a host, by cluster and host; only those
    /// with something.
    flags: HashMap<(String, String), Vec<&'static str>>,
    /// What the month is grouped by: `team` where hosts have one, else `site`, else `host`.
    pub key: String,
    /// The zone that decides days.
    pub zone: Zone,
}

/// The newest summary.
#[derive(Debug)]
pub struct Summaries(Kept<Summary>);

/// What the dashboard shows of cost.
const PATIENCE: Patience =
    Patience { fresh: Duration::from_millis(900), serves: Duration::from_secs(600), unasked: Duration::from_secs(300) };

impl Default for Summaries {
    fn default() -> Self {
        Self(Kept::new(PATIENCE))
    }
}

impl Summaries {
    /// A summary that is fresh. Blocks while one is made.
    ///
    /// # Errors
    /// A problem if the store fails.
    pub fn of(&self, books: &Books) -> Result<Arc<Summary>, Problem> {
        self.0.within(FRESH_FOR, || Summary::new(books))
    }

    /// One that serves the dashboard: newer where that is quick, older where it takes long. Blocks while one is made,
    /// if none serves.
    ///
    /// # Errors
    /// A problem if the store fails.
    pub fn lately(&self, books: &Books) -> Result<Arc<Summary>, Problem> {
        self.0.of(|| Summary::new(books))
    }

    /// Makes one if that is due.
    pub fn keep_up(&self, books: &Books) {
        self.0.keep_up(|| Summary::new(books));
    }
}

impl Summary {
    fn new(books: &Books) -> Result<Self, Problem> {
        let ((snapshot, topology, now), card) = (books.moment(), books.rates.load());
        let labels = label_keys(&snapshot, &topology.inventory);
        let key = ["team", "site"].into_iter().find(|key| labels.contains(*key)).unwrap_or("host");
        let zone = Zone::of(&books.settings.server.timezone).map_err(|error| cost_problem(&error))?;
        let figures = books.figures(&snapshot, &topology, now);
        let ask = |window: &str, by: &str, step: Option<Step>| {
            let window = Window::parse(window, now, &zone.tz).map_err(|error| cost_problem(&error))?;
            let by = By::parse(by, &labels).map_err(|error| cost_problem(&error))?;
            let query = CostQuery {
                window,
                by,
                select: Where::default(),
                step,
                zone: zone.clone(),
                held: HeldQuery::default(),
            };
            query.answer(&figures, &card)
        };
        let today = ask("today", "cluster,host", None)?;
        Ok(Self {
            flags: flags(&today),
            today,
            month: ask("month", key, None)?,
            days: ask(&format!("{DAYS}d"), "", Some(Step::Day))?,
            key: key.to_owned(),
            zone,
        })
    }

    /// Whether there is anything to look at of any host.
    #[must_use]
    pub fn has_flags(&self) -> bool {
        !self.flags.is_empty()
    }

    /// What people should look at before they believe today's bill of a host; of a chassis, before they believe
    /// those of the hosts that sit in it now.
    #[must_use]
    pub fn flags_of(&self, owner: &Owner, topology: &Topology, now: Utc) -> Vec<&'static str> {
        let billed = match owner.kind {
            OwnerKind::Host => vec![owner],
            OwnerKind::Chassis if topology.hosts_of(owner).is_some() => topology.sitting_in(owner, now),
            OwnerKind::Chassis => vec![owner],
            OwnerKind::Meter => return Vec::new(),
        };
        let key = |owner: &&Owner| (owner.cluster.to_string(), owner.name.to_string());
        let all: BTreeSet<&str> =
            billed.iter().filter_map(|owner| self.flags.get(&key(owner))).flatten().copied().collect();
        all.into_iter().collect()
    }
}

/// The flags of an answer's rows.
fn flags(answer: &Answer) -> HashMap<(String, String), Vec<&'static str>> {
    let flagged = answer.rows.iter().filter(|row| !row.flags.is_empty());
    let words = |row: &Row| {
        let up = Doubt::ALL.into_iter().map(Doubt::code).filter(|code| row.flags.contains_key(*code));
        ((row.value("cluster").to_owned(), row.value("host").to_owned()), up.collect())
    };
    flagged.map(words).collect()
}
