//! Measurements of people: a name, whom it is about, from when to when. Each is a small document of the store;
//! what was used is worked out whenever somebody asks, from the ledger, cut at its very instants.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use billing::Figures;
use billing::figures::is_billed;
use billing::holds::LONGEST_DAYS;
use cost::{By, Carbon, Cost, Currency, ROWS_MAX, RateCard, Step, Where, Window};
use energy::Account;
use meter::{Owner, SECOND_NS, Scope, Utc};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use store::{Store, StoreError};
use utoipa::ToSchema;

use crate::http::problem::Problem;
use crate::query::{CostQuery, HeldQuery, Zone, cost_problem, rfc3339};
use crate::recent::RecentPower;
use crate::vitals::is_made_up;

/// What the names of the documents begin with.
const PREFIX: &str = "meter/";
/// The version of their form.
const VERSION: u8 = 1;
/// Longest name of a measurement and longest filter, in bytes.
pub const NAME_MAX: usize = 128;
/// Longest filter, in bytes.
pub const FILTER_MAX: usize = 4096;
/// An account that was read so long before the beginning at most is waited for at the end: three periods of the
/// slowest agents.
const ALIVE_NS: u64 = 180 * SECOND_NS as u64;

/// A measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    version: u8,
    /// Its id: sorts by beginning.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Whom it is about, as `where` of a report.
    pub filter: String,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start: i64,
    /// When it ended.
    pub stop: Option<i64>,
}

/// A measurement with what was used, as answers carry it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Measurement)]
pub struct MeasurementView {
    /// When the figures were taken.
    as_of: String,
    id: String,
    name: String,
    #[serde(rename = "where")]
    filter: String,
    start: String,
    stop: Option<String>,
    /// For how long, so far.
    seconds: f64,
    /// Hosts that it is about.
    hosts: usize,
    /// How many of these are simulated or replayed; absent if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    made_up_hosts: Option<usize>,
    /// Whether it has ended and all readings up to its end are booked, of what was read when it began.
    complete: bool,
    energy_uj: String,
    energy_joules: f64,
    energy_kwh: f64,
    facility_kwh: f64,
    /// The mean of the time that was measured; nothing if none was.
    average_watts: Option<f64>,
    peak_watts: Option<f64>,
    /// What the peak is the mean of: `10s`, or `15m` where no live graph reaches.
    peak_of: Option<&'static str>,
    estimated_joules: f64,
    apportioned_joules: f64,
    /// Whether nothing of it was apportioned by time.
    exact: bool,
    covered_seconds: f64,
    expected_seconds: f64,
    cost: Vec<Cost>,
    /// The amounts before they are rounded to the minor unit, to 10⁻¹² of the currency.
    unrounded: BTreeMap<Currency, Decimal>,
    unpriced_kwh: f64,
    carbon: Carbon,
    /// Whether money is left out, as the aggregator is configured; absent if not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    cost_hidden: bool,
}

impl Measurement {
    /// A new one. `noise` tells measurements of one millisecond apart.
    #[must_use]
    pub fn new(name: &str, filter: &str, start: Utc, noise: u32) -> Self {
        let id = format!("{:013}-{noise:08x}", start.0.div_euclid(1_000_000).max(0));
        let (name, filter) = (name.to_owned(), filter.to_owned());
        Self { version: VERSION, id, name, filter, start: start.0, stop: None }
    }

    /// From when to when; to `now` if it has not ended.
    #[must_use]
    pub fn span(&self, now: Utc) -> Range<Utc> {
        Utc(self.start)..Utc(self.stop.unwrap_or(now.0).max(self.start))
    }

    /// Keeps it; on disk when this returns.
    ///
    /// # Errors
    /// The store's.
    pub fn keep(&self, store: &dyn Store) -> Result<(), StoreError> {
        let bytes = serde_json::to_vec(self).map_err(|error| StoreError::Failed(error.to_string()))?;
        store.put_document(&format!("{PREFIX}{}", self.id), &bytes)
    }

    /// The one of an id, if there is one.
    ///
    /// # Errors
    /// The store's, or that the document is none.
    pub fn find(store: &dyn Store, id: &str) -> Result<Option<Self>, StoreError> {
        let bytes = store.document(&format!("{PREFIX}{id}"))?;
        bytes.map(|bytes| read(&bytes)).transpose()
    }

    /// All of them, by beginning, that began in a span of time.
    ///
    /// # Errors
    /// The store's, or that a document is none.
    pub fn all(store: &dyn Store, began: &Range<Utc>) -> Result<Vec<Self>, StoreError> {
        let name = |at: Utc| format!("{PREFIX}{:013}", at.0.div_euclid(1_000_000).max(0));
        let (mut all, mut failed) = (Vec::new(), None);
        store.documents(&name(began.start), &name(began.end), &mut |_, bytes| match read(&bytes) {
            Ok(one) => all.push(one),
            Err(error) => failed = Some(error),
        })?;
        failed.map_or(Ok(all), Err)
    }
}

fn read(bytes: &[u8]) -> Result<Measurement, StoreError> {
    let one: Measurement =
        serde_json::from_slice(bytes).map_err(|error| StoreError::Failed(format!("a measurement: {error}")))?;
    if one.version == VERSION {
        Ok(one)
    } else {
        Err(StoreError::Failed(format!("a measurement of version {}", one.version)))
    }
}

/// What a measurement is worked out from.
pub struct Desk<'a> {
    /// The figures of one moment.
    pub figures: Figures<'a>,
    /// The prices.
    pub card: &'a RateCard,
    /// The keys that its filter may name.
    pub labels: &'a BTreeSet<String>,
    /// Live graphs.
    pub recent: &'a RecentPower,
    /// Whether money is left out.
    pub hides_money: bool,
}

impl Desk<'_> {
    /// The hosts that a filter selects now; and, joined to them, the chassis that measure them.
    ///
    /// # Errors
    /// A problem that names the term at fault.
    pub fn owners(&self, filter: &str) -> Result<(Vec<Owner>, Vec<Owner>), Problem> {
        let select = Where::parse(filter, self.labels).map_err(|error| cost_problem(&error))?;
        let (topology, now) = (self.figures.topology, self.figures.now);
        let mut chassis = BTreeSet::new();
        let mut owners = Vec::new();
        for view in self.figures.snapshot.owners() {
            let owner = &view.state.owner;
            let is_one = is_billed(owner, topology)
                && crate::http::hosts::is_selected(&select, owner, Some(view), topology, now);
            if is_one {
                owners.push(owner.clone());
                chassis.extend(topology.chassis_at(owner, now).cloned());
            }
        }
        chassis.retain(|owner| self.figures.snapshot.owner(owner).is_some());
        Ok((owners, chassis.into_iter().collect()))
    }

    /// A measurement with what was used. Blocks while the store is read.
    ///
    /// # Errors
    /// A problem if the store fails or its filter cannot be used any more.
    pub fn view(&self, one: &Measurement) -> Result<MeasurementView, Problem> {
        let span = one.span(self.figures.now);
        let (owners, chassis) = self.owners(&one.filter)?;
        let query = self.query(one, &span, None)?;
        let (mut total, mut unrounded) = query.rolled(&self.figures, self.card, ROWS_MAX, &[])?.total_unrounded();
        if self.hides_money {
            total.hide_money();
            unrounded.clear();
        }
        let seconds = span.end.since(span.start) as f64 / SECOND_NS as f64;
        let average = average_watts(&total, &self.passed(span.clone(), &span));
        // A measurement may be shorter than what a peak is the mean of.
        let peak =
            self.peak(one, &span, &owners)?.map(|(watts, of)| (average.map_or(watts, |mean| mean.max(watts)), of));
        let is_booked = || owners.iter().chain(&chassis).all(|owner| self.is_booked(owner, &span));
        Ok(MeasurementView {
            as_of: rfc3339(self.figures.snapshot.as_of),
            id: one.id.clone(),
            name: one.name.clone(),
            filter: one.filter.clone(),
            start: rfc3339(span.start),
            stop: one.stop.map(|_| rfc3339(span.end)),
            seconds,
            hosts: owners.len(),
            made_up_hosts: Some(self.made_up(&owners)).filter(|hosts| *hosts > 0),
            complete: one.stop.is_some() && is_booked(),
            energy_uj: total.energy_uj.to_string(),
            energy_joules: total.energy_joules,
            energy_kwh: total.energy_kwh,
            facility_kwh: total.facility_kwh,
            average_watts: average,
            peak_watts: peak.map(|(watts, _)| watts),
            peak_of: peak.map(|(_, of)| of),
            estimated_joules: total.quality.estimated_joules,
            apportioned_joules: total.quality.apportioned_joules,
            exact: total.quality.apportioned_joules == 0.0,
            covered_seconds: total.quality.covered_seconds,
            expected_seconds: total.quality.expected_seconds,
            cost: total.cost,
            unrounded,
            unpriced_kwh: total.unpriced_kwh,
            carbon: total.carbon,
            cost_hidden: self.hides_money,
        })
    }

    /// How many of these say that they are no live machines.
    fn made_up(&self, owners: &[Owner]) -> usize {
        let says_so = |owner: &&Owner| {
            let view = self.figures.snapshot.owner(owner);
            view.is_some_and(|view| {
                is_made_up(&self.figures.topology.labels(owner, self.figures.now, &view.state.labels))
            })
        };
        owners.iter().filter(says_so).count()
    }

    /// What has passed of an interval within a measurement: of time that is still to come nothing is expected.
    fn passed(&self, interval: Range<Utc>, span: &Range<Utc>) -> Range<Utc> {
        let end = interval.end.min(span.end).min(self.figures.now);
        interval.start.max(span.start).min(end)..end
    }

    fn query(&self, one: &Measurement, span: &Range<Utc>, step: Option<Step>) -> Result<CostQuery, Problem> {
        let read = || {
            Ok(CostQuery {
                window: Window::around(span.start, Utc(span.end.0.max(span.start.0 + 1)))?,
                by: By::default(),
                select: Where::parse(&one.filter, self.labels)?,
                step,
                zone: Zone::of("UTC")?,
                held: HeldQuery { within: Some(span.clone()), ..HeldQuery::default() },
            })
        };
        read().map_err(|error| cost_problem(&error))
    }

    /// The highest power of all hosts together: of live graphs where they reach, else of quarters of an hour.
    fn peak(
        &self,
        one: &Measurement,
        span: &Range<Utc>,
        owners: &[Owner],
    ) -> Result<Option<(f64, &'static str)>, Problem> {
        let select = Where::parse(&one.filter, self.labels).map_err(|error| cost_problem(&error))?;
        if !select.splits_hosts()
            && let Some(watts) = live_peak(self.recent, span, owners)
        {
            return Ok(Some((watts, "10s")));
        }
        // By quarters of an hour, of a time that a person can have meant.
        if span.end.since(span.start) > LONGEST_DAYS as u64 * 86_400 * SECOND_NS as u64 {
            return Ok(None);
        }
        let rows = self.query(one, span, Some(Step::Quarter))?.answer(&self.figures, self.card)?.rows;
        let watts = rows.iter().filter_map(|row| average_watts(row, &self.passed(row.start..row.end, span)));
        Ok(watts.reduce(f64::max).map(|watts| (watts, "15m")))
    }

    /// Whether all that was read of an owner when it began is read up to its end.
    fn is_booked(&self, owner: &Owner, span: &Range<Utc>) -> bool {
        let Some(view) = self.figures.snapshot.owner(owner) else { return true };
        let is_alive = |account: &&Account| !account.is_unread() && span.start.since(account.frontier.at) <= ALIVE_NS;
        let of = view.state.keys.iter().zip(&view.state.accounts);
        let own = of.filter(|(key, _)| !matches!(key.scope, Scope::Pdu | Scope::Facility)).map(|(_, account)| account);
        own.filter(is_alive).all(|account| account.frontier.at >= span.end)
    }
}

/// The mean power of all hosts together, of what was measured while it was: time without readings is no time at
/// which nothing was used. Nothing if no time was measured.
fn average_watts(total: &cost::Row, passed: &Range<Utc>) -> Option<f64> {
    let quality = &total.quality;
    let passed_seconds = passed.end.since(passed.start) as f64 / SECOND_NS as f64;
    let measured_seconds = passed_seconds * quality.covered_seconds / quality.expected_seconds;
    (measured_seconds > 0.0).then(|| (total.energy_joules - quality.estimated_joules) / measured_seconds)
}

/// The highest sum of live graphs within a span, if all of these hosts' reach into it.
fn live_peak(recent: &RecentPower, span: &Range<Utc>, owners: &[Owner]) -> Option<f64> {
    let mut sums: BTreeMap<Utc, u64> = BTreeMap::new();
    let mut earliest = span.start;
    for owner in owners {
        let points = recent.host(owner)?;
        earliest = points.first().map_or(span.end, |first| first.0).max(earliest);
        for (at, power) in points.into_iter().filter(|(at, _)| *at >= span.start && *at < span.end) {
            if let Some(power) = power {
                *sums.entry(at).or_default() += power.0;
            }
        }
    }
    // A graph that begins later may have missed the peak.
    let reaches = earliest.since(span.start) <= ALIVE_NS;
    sums.into_values().max().filter(|_| reaches).map(|milliwatts| milliwatts as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use store::MemoryStore;

    #[test]
    fn measurements_are_kept_and_found_by_beginning() {
        let store = MemoryStore::new([1; 16], 1);
        let second = |n: i64| Utc(1_793_491_200_000_000_000 + n * SECOND_NS);
        for n in 0..3 {
            let mut one = Measurement::new(&format!("m{n}"), "host=a", second(n), 7);
            if n == 1 {
                one.stop = Some(second(5).0);
            }
            one.keep(&store).expect("kept");
        }
        let names = |span: Range<Utc>| -> Vec<String> {
            Measurement::all(&store, &span).expect("read").into_iter().map(|one| one.name).collect()
        };
        assert_eq!(names(second(0)..second(9)), ["m0", "m1", "m2"]);
        assert_eq!(names(second(1)..second(2)), ["m1"]);
        let found = Measurement::find(&store, "1793491201000-00000007").expect("read").expect("there");
        assert_eq!((found.name.as_str(), found.span(second(9)).end), ("m1", second(5)));
        assert_eq!(Measurement::find(&store, "x").expect("read"), None);
    }
}
