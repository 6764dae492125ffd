//! What the page and `wattledger_cost_month_to_date` show of cost: today, this month, the last days.
//!
//! Worked out when somebody looks, at most every [`FRESH_FOR`], by the same rollup that answers
//! `/api/v1/rollup`; who comes meanwhile waits for the one that is being made.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cost::{Answer, By, Step, Where, Window};

use crate::app::App;
use crate::http::problem::Problem;
use crate::lines::Figures;
use crate::query::{CostQuery, Zone, cost_problem, label_keys};

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
        Ok(Self {
            today: ask("today", "cluster,host", None)?,
            month: ask("month", key, None)?,
            days: ask(&format!("{DAYS}d"), "", Some(Step::Day))?,
            key: key.to_owned(),
            zone,
        })
    }
}
