//! How the figure of one host came about. The figures are those of the rollup, by the same way; beside them stands
//! what the accounts show, so that nothing has to be believed.

use billing::Figures;
use billing::charges::charges;
use billing::figures::{all_chassis_of, expected};
use billing::lines::accounts::each_slot;
use billing::published::OwnerView;
use cost::closing::Sum;
use cost::explain::{
    AccountStory, BoundaryStory, EdgeStory, Explanation, HoleStory, InForce, Kinds, LineStory, Role, priced,
};
use cost::statement::{Edges, Status};
use cost::{By, RateCard, Row, Step, UNATTRIBUTED, Where, Window};
use energy::profile::Profile;
use energy::{Account, Billed, Boundary, Cell, Edge, Hole};
use meter::{AccountKey, ByQuality, Energy, Labels, Owner, Quality, SLOT_NS, Scope, Utc};
use serde_json::json;

use crate::hosts_view::seconds;
use crate::http::problem::Problem;
use crate::query::{CostQuery, HeldQuery, Zone, cost_problem, label_keys, lines_problem, rfc3339};
use crate::statements::Statements;
use crate::statements::beside::Whose;
use crate::vitals::flags;

/// Longest window in slots: 400 days.
const SLOTS_MAX: usize = 400 * 96;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// Whose figure.
    pub owner: Owner,
    /// The window, moved outward to slot borders.
    pub window: Window,
    /// The zone of the window.
    pub zone: Zone,
}

/// Answers the question. Blocks while the store is read.
///
/// # Errors
/// A problem that names the parameter at fault, or if the store fails.
pub fn explain(
    question: &Question,
    figures: &Figures<'_>,
    card: &RateCard,
    statements: &Statements,
) -> Result<Explanation, Problem> {
    let window = question.window;
    if window.len() > SLOTS_MAX {
        let detail = "the window has more than 400 days: explain a year at a time";
        return Err(Problem::bad_request("bad-window", detail).with("parameter", json!("window")));
    }
    let topology = figures.topology;
    let shown = topology.inventory.canonical(&question.owner);
    let slots = question.ask(shown, "", Some(Step::Quarter), figures, card)?;
    let lines = question.ask(shown, "scope,device", None, figures, card)?;
    let views = views(shown, figures);
    let view = figures.snapshot.owner(shown).map(|view| &**view);
    let labels = labels(shown, view, window, figures);
    let spans: Vec<(Window, &Labels)> = labels.iter().map(|(window, _, labels)| (*window, labels)).collect();
    let charges = charges(figures, card, window).map_err(|error| lines_problem(&error))?;
    let told = priced(&slots.rows, &spans, card, &charges);
    let expected = expected(figures, shown, view.or(views.first().copied()));
    let (from, until) = (expected.start.max(window.start()), expected.end.min(window.end()));
    let sites = spans.iter().map(|(_, labels)| labels.get("site").cloned().unwrap_or_default()).collect();
    let whose = Whose { sites: Some(sites), host: Some((&shown.cluster, &shown.name)) };
    let closed = statements.beside(window, &whose, &Sum::of(&slots.total))?;
    let is_alias = |view: &&&OwnerView| view.state.owner.kind == shown.kind && view.state.owner != *shown;
    Ok(Explanation {
        cluster: shown.cluster.to_string(),
        host: shown.name.to_string(),
        aliases: views.iter().filter(is_alias).map(|view| view.state.owner.name.to_string()).collect(),
        window: Edges { start: window.start(), end: window.end() },
        as_of: rfc3339(figures.snapshot.as_of),
        status: if closed.as_ref().is_some_and(|closed| closed.is_closed) {
            Status::Closed
        } else {
            Status::Provisional
        },
        closed,
        tz: question.zone.name.clone(),
        expected: (from < until).then_some(Edges { start: from, end: until }),
        accounts: accounts(shown, &views, window, figures)?,
        boundary: boundary(&lines.rows, &slots.total),
        rates: told.rates,
        slots: told.slots,
        total: slots.total,
        exact: told.exact,
        cost_hidden: false,
        labels: labels
            .into_iter()
            .map(|(window, chassis, labels)| InForce {
                span: Edges { start: window.start(), end: window.end() },
                chassis,
                labels,
            })
            .collect(),
    })
}

impl Question {
    /// The rollup of the host alone.
    fn ask(
        &self,
        shown: &Owner,
        by: &str,
        step: Option<Step>,
        figures: &Figures<'_>,
        card: &RateCard,
    ) -> Result<cost::Answer, Problem> {
        let labels = label_keys(figures.snapshot, &figures.topology.inventory);
        let filter = format!("cluster=\"{}\",host=\"{}\"", shown.cluster, shown.name);
        let query = CostQuery {
            window: self.window,
            by: By::parse(by, &labels).map_err(|error| cost_problem(&error))?,
            select: Where::parse(&filter, &labels).map_err(|error| cost_problem(&error))?,
            step,
            zone: self.zone.clone(),
            held: HeldQuery::default(),
        };
        query.answer(figures, card)
    }
}

/// The rows whose accounts are billed under a name: its own, those of its aliases, those of its chassis.
fn views<'a>(shown: &Owner, figures: &Figures<'a>) -> Vec<&'a OwnerView> {
    let inventory = &figures.topology.inventory;
    let own = figures.snapshot.owner(shown).map(|view| &**view);
    let is_alias = |view: &&OwnerView| view.state.owner != *shown && inventory.canonical(&view.state.owner) == shown;
    let aliases = figures.snapshot.owners().map(|view| &**view).filter(is_alias);
    let mut views: Vec<&OwnerView> = own.into_iter().chain(aliases).collect();
    for chassis in all_chassis_of(figures, shown) {
        if views.iter().all(|known| known.state.owner != chassis.state.owner) {
            views.push(chassis);
        }
    }
    views
}

/// The labels in force, stretch by stretch, with the chassis that it sits in.
fn labels(
    shown: &Owner,
    view: Option<&OwnerView>,
    window: Window,
    figures: &Figures<'_>,
) -> Vec<(Window, Option<String>, Labels)> {
    let agent = view.map_or(&[][..], |view| &view.state.labels);
    let mut stretches: Vec<(Window, Option<String>, Labels)> = Vec::new();
    for (range, labels) in figures.topology.intervals(shown, window.start()..window.end(), agent) {
        // The labels in force where a slot begins hold for all of it.
        let border = |at: Utc| if at.slot().start() == at { at.slot() } else { at.slot().next() };
        let from = border(range.start).max(stretches.last().map_or(window.first(), |(before, ..)| before.until()));
        let span = Window::of_slots(from, border(range.end).min(window.until()));
        if !span.is_empty() {
            let chassis = figures.topology.chassis_at(shown, range.start).map(|chassis| chassis.name.to_string());
            stretches.push((span, chassis, Labels::clone(&labels)));
        }
    }
    stretches
}

/// What is known of an account besides its cells.
#[derive(Clone, Default)]
struct Tally {
    cell: Cell,
    billed: u64,
}

/// Every account with what it counted in the window.
fn accounts(
    shown: &Owner,
    views: &[&OwnerView],
    window: Window,
    figures: &Figures<'_>,
) -> Result<Vec<AccountStory>, Problem> {
    let all = || views.iter().flat_map(|view| view.state.keys.iter().zip(&view.state.accounts).map(|of| (*view, of)));
    let mut tallies = vec![Tally::default(); all().count()];
    let boundary = own_boundary(shown, views, figures);
    let mut surveyed = Billed::default();
    let read = each_slot(figures, views, window, |_, cells| {
        for (tally, cell) in tallies.iter_mut().zip(cells) {
            tally.cell.add(cell);
        }
        if let Some(boundary) = &boundary {
            boundary.survey(cells, SLOT_NS as u64, &mut surveyed);
            for account in boundary.metering(cells, &surveyed) {
                tallies[account].billed += 1;
            }
        }
    });
    read.map_err(|error| Problem::internal("read the history", &error))?;
    let has_meter = boundary.is_some();
    Ok(all().zip(&tallies).map(|((view, of), tally)| story(view, of, tally, window, has_meter)).collect())
}

/// The boundary of a host that shares its chassis with nobody: then a slot's meter is found by its accounts alone.
fn own_boundary(shown: &Owner, views: &[&OwnerView], figures: &Figures<'_>) -> Option<Boundary> {
    let is_shared = |view: &&OwnerView| figures.topology.hosts_of(&view.state.owner).is_some_and(|of| of.len() > 1);
    match views {
        [own] if own.state.owner == *shown => Some(Boundary::new(&own.state.keys, &[])),
        [chassis] if !is_shared(chassis) => Some(Boundary::new(&[], &chassis.state.keys)),
        [own, chassis]
            if own.state.owner == *shown && chassis.state.owner.kind != shown.kind && !is_shared(chassis) =>
        {
            Some(Boundary::new(&own.state.keys, &chassis.state.keys))
        }
        _ => None,
    }
}

fn story(
    view: &OwnerView,
    (key, account): (&AccountKey, &Account),
    tally: &Tally,
    window: Window,
    has_meter: bool,
) -> AccountStory {
    let role = match key.scope {
        Scope::Pdu | Scope::Facility => Role::Reference,
        Scope::Chassis => Role::Meter,
        _ => Role::Component,
    };
    let rare = account.rare();
    let holes = rare.map_or(&[][..], |rare| &rare.holes).iter();
    let holes = holes.filter(|hole| hole.end.at > window.start() && hole.start.at < window.end());
    AccountStory {
        owner_kind: view.state.owner.kind.word().to_owned(),
        owner: view.state.owner.name.to_string(),
        scope: key.scope.word().to_owned(),
        device: key.device.to_string(),
        role,
        first_reading: rfc3339(account.first.at),
        last_reading: rfc3339(account.frontier.at),
        lifetime: kinds(&account.lifetime),
        window: kinds(&tally.cell.energy),
        covered_seconds: seconds(tally.cell.covered_ns),
        billed_slots: (has_meter && role == Role::Meter).then_some(tally.billed),
        holes: holes.map(hole).collect(),
        final_holes: rare.map_or(0, |rare| rare.final_holes),
        flags: flags([account]).into_iter().map(str::to_owned).collect(),
    }
}

fn kinds(energy: &ByQuality) -> Kinds {
    let uj = |quality| energy[quality].microjoules();
    Kinds {
        counter_uj: uj(Quality::Counter),
        integrated_uj: uj(Quality::Integrated),
        estimated_uj: uj(Quality::Estimated),
    }
}

fn hole(hole: &Hole) -> HoleStory {
    let booked = hole.estimate.map_or(Energy::ZERO, |line| {
        Profile::line(&line, line.to.since(line.from)).between(hole.start.at, hole.end.at)
    });
    HoleStory { from: edge(&hole.start), until: edge(&hole.end), estimated_uj: booked.microjoules() }
}

fn edge(edge: &Edge) -> EdgeStory {
    EdgeStory {
        at: rfc3339(edge.at),
        watts: edge.power.map(|power| power.watts().normalize()),
        counter_uj: edge.counter.map(|count| count.value.0),
    }
}

/// What is billed, from the rollup by component.
fn boundary(lines: &[Row], total: &Row) -> BoundaryStory {
    let line = |row: &Row| LineStory {
        scope: row.value("scope").to_owned(),
        device: row.value("device").to_owned(),
        energy_uj: row.energy_uj,
    };
    let rest = lines.iter().filter(|row| row.value("scope") == UNATTRIBUTED);
    BoundaryStory {
        methods: total.methods.iter().map(ToString::to_string).collect(),
        lines: lines.iter().map(line).collect(),
        unattributed_uj: rest.map(|row| row.energy_uj).sum(),
    }
}
