//! Questions as they arrive: parameters read strictly, and the one way to answer a question of cost.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use actix_web::http::StatusCode;
use billing::charges::charges;
use billing::holds::attribution;
use billing::inventory::Inventory;
use billing::lines::{Attribution, add_up_held};
use billing::published::Snapshot;
use billing::topology::Topology;
use billing::{BillingError, Figures};
use cost::statement::Question;
use cost::tenant::label_key;
use cost::{
    Answer, Axis, By, CostError, HostInfo, Policies, Policy, ROWS_MAX, RateCard, Rollup, Status, Step, Where, Window,
};
use energy::OwnerState;
use jiff::tz::TimeZone;
use meter::Utc;
use serde_json::json;

use crate::books::Books;
use crate::http::problem::Problem;

/// Most parameters of one request.
const PARAMETERS_MAX: usize = 32;

/// The parameters of a request: each known, each at most once.
#[derive(Debug, Default)]
pub struct Params(BTreeMap<String, String>);

/// The time zone that decides days and months, and its name.
#[derive(Clone, Debug)]
pub struct Zone {
    /// The zone.
    pub tz: TimeZone,
    /// Its IANA name.
    pub name: String,
}

/// A question of cost.
#[derive(Clone, Debug)]
pub struct CostQuery {
    /// The window, moved outward to slot borders.
    pub window: Window,
    /// Grouped by.
    pub by: By,
    /// What counts.
    pub select: Where,
    /// The step.
    pub step: Option<Step>,
    /// The zone.
    pub zone: Zone,
    /// What is asked about who held the energy.
    pub held: HeldQuery,
}

/// What is asked about who held energy.
#[derive(Clone, Debug, Default)]
pub struct HeldQuery {
    /// What becomes of energy that no job held.
    pub policies: Policies,
    /// Only this time counts, to the nanosecond; all of the window if absent.
    pub within: Option<Range<Utc>>,
}

/// The parameters of a [`CostQuery`].
pub const COST_PARAMETERS: [&str; 7] = ["window", "by", "where", "step", "tz", "idle", "shared"];

impl Params {
    /// Reads a query string.
    ///
    /// # Errors
    /// A 400 problem that names a parameter that is unknown (and lists the known ones) or given twice.
    pub fn read(query: &str, known: &[&str]) -> Result<Self, Problem> {
        let pairs = actix_web::web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|error| Problem::bad_request("bad-query", error.to_string()))?
            .into_inner();
        if pairs.len() > PARAMETERS_MAX {
            return Err(Problem::bad_request("bad-query", format!("more than {PARAMETERS_MAX} parameters")));
        }
        let mut params = BTreeMap::new();
        for (name, value) in pairs {
            let shown: String = name.chars().take(80).collect();
            if !known.contains(&name.as_str()) {
                let known_are = if known.is_empty() { "none is".into() } else { format!("are {}", known.join(", ")) };
                let detail = format!("there is no parameter {shown:?} here; known {known_are}");
                return Err(Problem::bad_request("unknown-parameter", detail).with("known", json!(known)));
            }
            if params.insert(name, value).is_some() {
                return Err(Problem::bad_request("repeated-parameter", format!("{shown:?} is given twice")));
            }
        }
        Ok(Self(params))
    }

    /// Parameters that no request gave.
    #[must_use]
    pub fn of<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(given.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// A parameter that is given and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A parameter that is one of these words; the first if it is not given.
    ///
    /// # Errors
    /// A 400 problem that lists the words.
    pub fn one_of<'a>(&self, name: &str, words: &[&'a str]) -> Result<&'a str, Problem> {
        let Some(given) = self.get(name) else { return Ok(words.first().copied().unwrap_or("")) };
        words.iter().copied().find(|word| *word == given).ok_or_else(|| {
            // The empty word stands for none at all.
            let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
            let detail =
                format!("{name}={:?} is none of {}", given.chars().take(80).collect::<String>(), words.join(", "));
            Problem::bad_request("bad-parameter", detail).with("parameter", json!(name)).with("known", json!(words))
        })
    }

    /// A whole number within limits.
    ///
    /// # Errors
    /// A 400 problem that names the limits.
    pub fn number(
        &self,
        name: &str,
        default: usize,
        within: std::ops::RangeInclusive<usize>,
    ) -> Result<usize, Problem> {
        let Some(given) = self.get(name) else { return Ok(default) };
        given.parse().ok().filter(|number| within.contains(number)).ok_or_else(|| {
            let detail = format!("{name} must be a whole number from {} to {}", within.start(), within.end());
            Problem::bad_request("bad-parameter", detail).with("parameter", json!(name))
        })
    }
}

impl Zone {
    /// The zone of a name; the system's where the name is empty.
    ///
    /// # Errors
    /// [`CostError::Zone`] if there is none of that name.
    pub fn of(name: &str) -> Result<Self, CostError> {
        if name.is_empty() {
            let tz = TimeZone::system();
            // Debian calls it Etc/UTC; everybody else, and every answer of ours, UTC.
            let name = tz.iana_name().filter(|name| *name != "Etc/UTC").unwrap_or("UTC").to_owned();
            return Ok(Self { tz, name });
        }
        Ok(Self { tz: cost::zone(name)?, name: name.to_owned() })
    }
}

impl CostQuery {
    /// Reads the question from a request's parameters. `labels` are the label keys there are.
    ///
    /// # Errors
    /// A 400 problem that names the parameter and what would be right.
    pub fn read(params: &Params, labels: &BTreeSet<String>, now: Utc, default_zone: &str) -> Result<Self, Problem> {
        let zone = Zone::of(params.get("tz").unwrap_or(default_zone)).map_err(|error| cost_problem(&error))?;
        let window = params.get("window").ok_or_else(|| {
            Problem::bad_request("missing-parameter", "window is needed, such as window=24h or window=lastmonth")
                .with("parameter", json!("window"))
        })?;
        let policy = |name| Ok(Policy::of_word(params.one_of(name, &Policy::WORDS)?).unwrap_or_default());
        let policies = Policies { idle: policy("idle")?, shared: policy("shared")? };
        let read = || {
            Ok(Self {
                window: Window::parse(window, now, &zone.tz)?,
                by: By::parse(params.get("by").unwrap_or(""), labels)?,
                select: Where::parse(params.get("where").unwrap_or(""), labels)?,
                step: params.get("step").map(str::parse).transpose()?,
                zone: zone.clone(),
                held: HeldQuery { policies, within: None },
            })
        };
        read().map_err(|error| cost_problem(&error))
    }

    /// Who held what, if that is asked for.
    fn attribution(&self, figures: &Figures<'_>, rollup: &mut Rollup<'_>) -> Result<Option<Attribution>, BillingError> {
        let within = self.held.within.clone();
        if !rollup.needs_tenants() {
            return Ok(within.map(|within| Attribution { within: Some(within), ..Attribution::default() }));
        }
        let span = self.window.start()..self.window.end();
        Ok(Some(Attribution { within, ..attribution(figures, &span, rollup)? }))
    }

    /// With these axes of attribution in place of the labels of their names.
    #[must_use]
    pub fn with_axes(self, axes: &[Arc<Axis>]) -> Self {
        Self { by: self.by.with_axes(axes), select: self.select.with_axes(axes), ..self }
    }

    /// The answer, from figures of one moment. Blocks while the store is read.
    ///
    /// # Errors
    /// A problem if the store fails or the answer grows too large.
    pub fn answer(&self, figures: &Figures<'_>, card: &RateCard) -> Result<Answer, Problem> {
        self.answer_cut(figures, card, &[])
    }

    /// The same with rows that end where a month does in any of these zones.
    ///
    /// # Errors
    /// As [`CostQuery::answer`].
    pub fn answer_cut(&self, figures: &Figures<'_>, card: &RateCard, zones: &[TimeZone]) -> Result<Answer, Problem> {
        let rollup = self.rolled(figures, card, ROWS_MAX, zones)?;
        let question = Question {
            window: self.window,
            step: self.step,
            tz: &self.zone.name,
            as_of: figures.snapshot.as_of,
            status: Status::Provisional,
        };
        Ok(Answer::new(&question, rollup))
    }

    /// What is summed before it is printed, with at most so many rows, also cut where a month ends in any of these
    /// zones. Blocks while the store is read.
    ///
    /// # Errors
    /// As [`CostQuery::answer`].
    pub fn rolled<'a>(
        &self,
        figures: &Figures<'_>,
        card: &'a RateCard,
        rows_max: usize,
        zones: &[TimeZone],
    ) -> Result<Rollup<'a>, Problem> {
        let intervals = cost::step::intervals(self.window, self.step, &self.zone.tz)
            .and_then(|intervals| cost::step::cut_at_months(&intervals, zones))
            .map_err(|error| cost_problem(&error))?;
        let charges = charges(figures, card, self.window).map_err(|error| lines_problem(&error))?;
        let rollup = Rollup::new(card, self.by.clone(), self.select.clone(), intervals).with_rows_max(rows_max);
        let mut rollup = rollup.with_charges(charges).with_policies(self.held.policies);
        let attribution = self.attribution(figures, &mut rollup).map_err(|error| lines_problem(&error))?;
        let added = add_up_held(figures, self.window, attribution.as_ref(), &mut rollup);
        added.map_err(|error| lines_problem(&error))?;
        Ok(rollup)
    }
}

/// Why lines could not be added up, as a problem document.
#[must_use]
pub fn lines_problem(error: &BillingError) -> Problem {
    match error {
        BillingError::Cost(error) => cost_problem(error),
        BillingError::TooManyHolds(_) => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too-many-jobs", error.to_string())
                .with("parameter", json!("window"))
        }
        error => Problem::internal("read the history", error),
    }
}

/// Every label key that a query may name: of the inventory and of the agents.
#[must_use]
pub fn label_keys(snapshot: &Snapshot, inventory: &Inventory) -> BTreeSet<String> {
    let mut keys: BTreeSet<&str> = inventory.label_keys();
    for since in snapshot.owners().flat_map(|view| &view.state.labels) {
        keys.extend(since.labels.keys().map(String::as_str));
    }
    let running = snapshot.owners().flat_map(|view| &view.state.holds);
    let of_jobs = running.flat_map(|hold| hold.allocation.labels.keys()).map(|label| label_key(label));
    keys.into_iter().map(str::to_owned).chain(of_jobs).chain(snapshot.jobs.label_keys()).collect()
}

/// Whether a filter keeps an owner, by its labels and place now.
#[must_use]
pub fn keeps(select: &Where, state: &OwnerState, topology: &Topology, now: Utc) -> bool {
    let shown = topology.inventory.canonical(&state.owner);
    let labels = topology.labels(&state.owner, now, &state.labels);
    let chassis = topology.chassis_at(shown, now).map(|chassis| &*chassis.name);
    select.selects_host(&HostInfo { cluster: &shown.cluster, name: &shown.name, chassis, labels: &labels })
}

/// Every key that a question of cost may name: of hosts, of jobs, and axes. What keys jobs that ended have is
/// read only if the question is about jobs.
///
/// # Errors
/// A problem if the jobs cannot be read.
pub fn cost_keys(
    books: &Books,
    params: &Params,
    snapshot: &Snapshot,
    inventory: &Inventory,
) -> Result<BTreeSet<String>, Problem> {
    if ["by", "where"].iter().filter_map(|name| params.get(name)).any(|text| text.contains("job.")) {
        snapshot.jobs.refresh(&*books.store).map_err(|error| lines_problem(&error))?;
    }
    let mut keys = label_keys(snapshot, inventory);
    keys.extend(books.settings.attribution.keys().cloned());
    Ok(keys)
}

/// What is wrong with a question, as a problem document.
#[must_use]
pub fn cost_problem(error: &CostError) -> Problem {
    let problem = match error {
        CostError::OutsideWindow(_) | CostError::Statement(_) | CostError::Write(_) => {
            return Problem::internal("add up the answer", error);
        }
        CostError::TooManyRows(_) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string()),
        _ => Problem::bad_request(error.code(), error.to_string()),
    };
    let problem = match error.parameter() {
        Some(parameter) => problem.with("parameter", json!(parameter)),
        None => problem,
    };
    match error {
        CostError::UnknownKey { known, .. } => problem.with("known", json!(known.split(", ").collect::<Vec<_>>())),
        _ => problem,
    }
}

/// An instant as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(at: Utc) -> String {
    cost::window::stamp(at)
}
