//! Questions as they arrive: parameters read strictly, and the one way to answer a question of cost.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::http::StatusCode;
use cost::statement::Question;
use cost::{Answer, By, CostError, RateCard, Rollup, Status, Step, Where, Window};
use jiff::tz::TimeZone;
use meter::Utc;
use serde_json::json;

use crate::http::problem::Problem;
use crate::inventory::Inventory;
use crate::lines::{Figures, LinesError, add_up};
use crate::published::Snapshot;

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
                let detail = format!("there is no parameter {shown:?} here; known are {}", known.join(", "));
                return Err(Problem::bad_request("unknown-parameter", detail).with("known", json!(known)));
            }
            if params.insert(name, value).is_some() {
                return Err(Problem::bad_request("repeated-parameter", format!("{shown:?} is given twice")));
            }
        }
        Ok(Self(params))
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
        for name in ["idle", "shared"] {
            params.one_of(name, &["separate", "owner", "proportional"])?;
        }
        let read = || {
            Ok(Self {
                window: Window::parse(window, now, &zone.tz)?,
                by: By::parse(params.get("by").unwrap_or(""), labels)?,
                select: Where::parse(params.get("where").unwrap_or(""), labels)?,
                step: params.get("step").map(str::parse).transpose()?,
                zone: zone.clone(),
            })
        };
        read().map_err(|error| cost_problem(&error))
    }

    /// The answer, from figures of one moment. Blocks while the store is read.
    ///
    /// # Errors
    /// A problem if the store fails or the answer grows too large.
    pub fn answer(&self, figures: &Figures<'_>, card: &RateCard) -> Result<Answer, Problem> {
        let intervals =
            cost::step::intervals(self.window, self.step, &self.zone.tz).map_err(|error| cost_problem(&error))?;
        let mut rollup = Rollup::new(card, self.by.clone(), self.select.clone(), intervals);
        add_up(figures, self.window, &mut rollup).map_err(|error| match error {
            LinesError::Cost(error) => cost_problem(&error),
            error => Problem::internal("read the history", &error),
        })?;
        let question = Question {
            window: self.window,
            step: self.step,
            tz: &self.zone.name,
            as_of: figures.snapshot.as_of,
            status: Status::Provisional,
        };
        Ok(Answer::new(&question, rollup))
    }
}

/// Every label key that a query may name: of the inventory and of the agents.
#[must_use]
pub fn label_keys(snapshot: &Snapshot, inventory: &Inventory) -> BTreeSet<String> {
    let mut keys: BTreeSet<&str> = inventory.label_keys();
    for since in snapshot.owners().flat_map(|view| &view.state.labels) {
        keys.extend(since.labels.keys().map(String::as_str));
    }
    keys.into_iter().map(str::to_owned).collect()
}

/// What is wrong with a question, as a problem document.
#[must_use]
pub fn cost_problem(error: &CostError) -> Problem {
    let problem = match error {
        CostError::OutsideWindow(_) | CostError::Write(_) => return Problem::internal("add up the answer", error),
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
