//! What requests ask of closed months: each question with the figures of one moment.

use std::collections::BTreeSet;
use std::sync::Arc;

use billing::Figures;
use billing::figures::is_billed;
use billing::published::OwnerView;
use billing::topology::Topology;
use cost::closing::{Closed, Head};
use cost::{Answer, Axis, RateCard};
use jiff::tz::TimeZone;

use super::close::Order;
use super::{Moment, Statements};
use crate::acts::{Act, Acts, Deed};
use crate::books::Books;
use crate::http::problem::Problem;
use crate::query::{CostQuery, Params, Zone, cost_keys, cost_problem, keeps, rfc3339};
use crate::report::gather::Source;
use crate::vitals::{MADE_UP, is_made_up};

/// The figures that a request is answered from.
pub struct Desk<'a> {
    books: &'a Books,
    statements: &'a Statements,
    late: u64,
    now: meter::Utc,
    snapshot: Arc<billing::published::Snapshot>,
    topology: Arc<Topology>,
    card: Arc<RateCard>,
    /// Every key there is: labels of hosts and of jobs, axes.
    pub labels: BTreeSet<String>,
    host_labels: BTreeSet<String>,
    axes: Vec<Arc<Axis>>,
    zone: Zone,
}

impl<'a> Desk<'a> {
    /// All of this moment, for a request with these parameters.
    ///
    /// # Errors
    /// A problem if the server's zone or the keys of jobs cannot be had.
    pub fn new(books: &'a Books, statements: &'a Statements, params: &Params) -> Result<Self, Problem> {
        // Asked first: what comes late meanwhile is looked at again.
        let late = statements.late.number();
        let ((snapshot, topology, now), card) = (books.moment(), books.rates.load());
        let labels = cost_keys(books, params, &snapshot, &topology.inventory)?;
        let host_labels = labels.iter().filter(|key| !key.starts_with("job.")).cloned().collect();
        let zone = Zone::of(&books.settings.server.timezone).map_err(|error| cost_problem(&error))?;
        let axes = books.settings.axes();
        Ok(Self { books, statements, late, now, snapshot, topology, card, labels, host_labels, axes, zone })
    }

    /// A question of cost, read from a request.
    ///
    /// # Errors
    /// A problem that names the parameter at fault.
    pub fn read(&self, params: &Params) -> Result<CostQuery, Problem> {
        let query = CostQuery::read(params, &self.labels, self.now, &self.books.settings.server.timezone)?;
        Ok(query.with_axes(&self.axes))
    }

    /// The ledger's figures.
    #[must_use]
    pub fn figures(&self) -> Figures<'_> {
        self.books.figures(&self.snapshot, &self.topology, self.now)
    }

    /// What a report is asked of.
    #[must_use]
    pub fn source(&self) -> Source<'_> {
        Source { figures: self.figures(), card: &self.card, labels: &self.labels, axes: &self.axes }
    }

    fn moment(&self) -> Moment<'_> {
        Moment {
            figures: self.figures(),
            card: &self.card,
            labels: &self.host_labels,
            axes: &self.axes,
            zone: &self.zone,
            adjust_months: self.books.settings.statements.adjust_months,
            late: self.late,
        }
    }

    /// The answer: a closed month's as it was closed, else the ledger's, with the adjustments that fall due in it.
    ///
    /// # Errors
    /// A problem if the store fails or the answer grows too large.
    pub fn answer(&self, query: &CostQuery) -> Result<Answer, Problem> {
        let answer = match self.statements.closed_answer(query)? {
            Some(closed) => closed,
            None => self.live(query, &[])?,
        };
        let made_up_hosts = Some(self.made_up_hosts(query)).filter(|hosts| *hosts > 0);
        let answer = Answer { made_up_hosts, ..answer };
        Ok(if self.books.hides_money() { answer.without_money() } else { answer })
    }

    /// How many of the hosts that a question selects now say that they are no live machines.
    fn made_up_hosts(&self, query: &CostQuery) -> u64 {
        // Most fleets have none, and labels of 10,000 hosts are many to look up.
        if !MADE_UP.iter().any(|label| self.host_labels.contains(*label)) {
            return 0;
        }
        let owners = self.snapshot.owners().filter(|view| is_billed(&view.state.owner, &self.topology));
        let is_one = |view: &OwnerView| {
            let labels = self.topology.labels(&view.state.owner, self.now, &view.state.labels);
            is_made_up(&labels) && keeps(&query.select, &view.state, &self.topology, self.now)
        };
        owners.filter(|view| is_one(view)).count() as u64
    }

    /// The ledger's answer with rows of one billing period each, and the adjustments that fall due in it.
    ///
    /// # Errors
    /// As [`Desk::answer`].
    pub fn by_billing_period(&self, query: &CostQuery) -> Result<Answer, Problem> {
        let sites = self.labels.contains("site").then(|| self.card.rates());
        let zones = sites.into_iter().flatten().filter(|rate| rate.states_zone).map(|rate| rate.tz.clone());
        self.live(query, &zones.chain([self.zone.tz.clone()]).collect::<Vec<_>>())
    }

    /// The ledger's answer, cut where months end in these zones, with the adjustments that fall due in it.
    fn live(&self, query: &CostQuery, zones: &[TimeZone]) -> Result<Answer, Problem> {
        let answer = query.answer_cut(&self.figures(), &self.card, zones)?;
        let adjustments = self.statements.adjustments(&self.moment(), &self.topology, query)?;
        let site = query.select.only_site().map(|site| BTreeSet::from([site.to_owned()]));
        let overlapped = self.statements.overlapping(query.window, site.as_ref());
        let overlapped_statements = overlapped.iter().map(|entry| entry.head.original()).collect();
        Ok(Answer { overlapped_statements, ..answer.with_adjustments(adjustments) })
    }

    /// Closes a month and notes who did; `from` is where they came from. Blocks while the store is read.
    ///
    /// # Errors
    /// A problem that says why it does not close.
    pub fn close(&self, order: Order, acts: &Acts, from: &str) -> Result<Vec<Head>, Problem> {
        let order = Order { coverage_min_percent: self.books.settings.statements.coverage_min_percent, ..order };
        let note = |statements: &[Closed]| {
            let act = |closed: &Closed| Act {
                at: rfc3339(self.now),
                act: Deed::Close,
                owner: format!("statement/{}/{}", closed.head.period, closed.head.site),
                by: order.by.clone(),
                from: from.to_owned(),
                old: None,
                new: Some(closed.head.id.clone()),
            };
            acts.note(statements.iter().map(act).collect()).map_err(|error| {
                tracing::error!("failed to record an act: {error}");
                Problem::come_again("store-failed", "the act could not be recorded; nothing was done, ask again")
            })
        };
        self.statements.close(&self.moment(), &self.topology, &order, &note)
    }

    /// The sites with hosts in a month.
    ///
    /// # Errors
    /// A problem if the month is not over or the store fails.
    pub fn sites_of(&self, period: &str) -> Result<Vec<String>, Problem> {
        self.statements.sites(&self.moment(), &Order { period: period.to_owned(), ..Order::default() })
    }
}
