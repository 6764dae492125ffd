//! What the page and `wattledger_cost_month_to_date` show of cost: today, this month, the last days.
//!
//! Worked out when somebody looks, at most every [`FRESH_FOR`], by the same rollup that answers
//! `/api/v1/rollup`; who comes meanwhile waits for the one that is being made.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cost::{Answer, By, Row, Step, Where, Window};
use meter::{Doubt, Owner, OwnerKind, Utc};

use crate::app::App;
use crate::http::problem::Problem;
use crate::lines::Figures;
use crate::query::{CostQuery, Zone, cost_problem, label_keys};
use crate::topology::Topology;

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
#[derive(Debug, Default)]
pub struct Summaries(Mutex<Option<(Instant, Arc<Summary>)>>);

impl Summaries {
    /// A summary that is fresh. Blocks while one is made.
    ///
    /// # Errors
    /// A problem if the store fails.
    pub fn of(&self, app: &App) -> Result<Arc<Summary>, Problem> {
        let mut newest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, summary)) = newest.as_ref().filter(|(made, _)| made.elapsed() < FRESH_FOR) {
            tracing::trace!(age_s = made.elapsed().as_secs(), "summary served again");
            return Ok(Arc::clone(summary));
        }
        let summary = Arc::new(Summary::new(app)?);
        *newest = Some((Instant::now(), Arc::clone(&summary)));
        Ok(summary)
    }
}

impl Summary {
    fn new(app: &App) -> Result<Self, Problem> {
        let ((snapshot, topology, now), card) = (app.moment(), app.rates.load());
        let labels = label_keys(&snapshot, &topology.inventory);
        let key = ["team", "site"].into_iter().find(|key| labels.contains(*key)).unwrap_or("host");
        let zone = Zone::of(&app.settings.server.timezone).map_err(|error| cost_problem(&error))?;
        let factor = app.settings.meter_factor();
        let figures = Figures { snapshot: &snapshot, store: &*app.store, topology: &topology, now, factor };
        let ask = |window: &str, by: &str, step: Option<Step>| {
            let window = Window::parse(window, now, &zone.tz).map_err(|error| cost_problem(&error))?;
            let by = By::parse(by, &labels).map_err(|error| cost_problem(&error))?;
            let query = CostQuery { window, by, select: Where::default(), step, zone: zone.clone() };
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
