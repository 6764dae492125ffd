//! Reconciliation of a window: reference meters, what is billed, and its components, site by site.
//!
//! What hosts are billed comes from the same rollup as `/api/v1/rollup`, a row per slot; reference meters from
//! their accounts ([`billing::lines::references`]). How levels are compared is [`cost::reconcile`]'s matter.

use std::collections::{BTreeMap, BTreeSet};

use billing::Figures;
use billing::lines::references::{References, expected_slots, references};
use cost::closing::Sum;
use cost::reconcile::{
    Common, Invoice, Level, Ours, Place, Pue, Reconciliation, Site, Step, Verdict, common, energy_of, ratio,
};
use cost::statement::{Edges, Status};
use cost::{By, RateCard, Row, Step as Every, Where, Window};
use meter::{ByQuality, Quality, Slot};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::json;

use crate::http::problem::Problem;
use crate::query::{CostQuery, HeldQuery, Zone, cost_problem, label_keys, rfc3339};
use crate::statements::Statements;
use crate::statements::beside::Whose;

/// Longest window in slots: 400 days, a year of accounts with its neighbours.
const SLOTS_MAX: usize = 400 * 96;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// The window, moved outward to slot borders.
    pub window: Window,
    /// One site; every site with a reference meter if none is named, the whole fleet if there is none.
    pub site: Option<String>,
    /// The zone of the window.
    pub zone: Zone,
    /// How far a ratio may be off, as a share.
    pub tolerance: Decimal,
    /// A supplier's invoice.
    pub invoice: Option<Invoice>,
}

/// What the hosts of a site were billed.
struct Billed {
    level: Level,
    /// Energy and energy times PUE by slot, in whole microjoules.
    slots: BTreeMap<Slot, (i128, i128)>,
    total: Sum,
    notes: Vec<String>,
}

/// Components beside their hosts' meters.
struct Inside {
    /// All that components showed.
    level: Level,
    step: Option<Step>,
}

/// Answers the question. Blocks while the store is read.
///
/// # Errors
/// A problem that names the parameter at fault, or if the store fails.
pub fn reconcile(
    question: &Question,
    figures: &Figures<'_>,
    card: &RateCard,
    statements: &Statements,
) -> Result<Reconciliation, Problem> {
    let window = question.window;
    if window.len() > SLOTS_MAX {
        let detail = "the window has more than 400 days: reconcile them a year at a time";
        return Err(Problem::bad_request("bad-window", detail).with("parameter", json!("window")));
    }
    let mut meters = references(figures, window).map_err(|error| Problem::internal("read the history", &error))?;
    // A label that only ever stood before or after the window names no site in it.
    meters.retain(|_, of| !of.facility.is_empty() || !of.pdu.is_empty());
    let named: Vec<Option<String>> = match &question.site {
        Some(site) => vec![Some(site.clone())],
        None if meters.is_empty() => vec![None],
        None => meters.keys().map(|site| Some(site.clone()).filter(|site| !site.is_empty())).collect(),
    };
    if question.invoice.is_some() && named.len() > 1 {
        let detail = "reference meters stand at several sites: say with site= which one the invoice is for";
        return Err(Problem::bad_request("missing-parameter", detail).with("parameter", json!("site")));
    }
    let sites = named.into_iter().map(|site| {
        let references = meters.remove(site.as_deref().unwrap_or_default()).unwrap_or_default();
        question.site(site, &references, figures, card, statements)
    });
    let sites: Vec<Site> = sites.collect::<Result<_, _>>()?;
    let is_closed =
        !sites.is_empty() && sites.iter().all(|site| site.closed.as_ref().is_some_and(|closed| closed.is_closed));
    Ok(Reconciliation {
        window: Edges { start: window.start(), end: window.end() },
        as_of: rfc3339(figures.snapshot.as_of),
        status: if is_closed { Status::Closed } else { Status::Provisional },
        tz: question.zone.name.clone(),
        tolerance: question.tolerance,
        verdict: Verdict::of(sites.iter().map(|site| site.verdict)),
        sites,
        cost_hidden: false,
    })
}

impl Question {
    fn site(
        &self,
        site: Option<String>,
        references: &References,
        figures: &Figures<'_>,
        card: &RateCard,
        statements: &Statements,
    ) -> Result<Site, Problem> {
        let select = self.select(site.as_deref(), figures)?;
        let billed = self.billed(&select, figures, card)?;
        let inside = self.inside(&select, figures, card)?;
        let outer = [(Place::Facility, &references.facility), (Place::Pdu, &references.pdu)];
        let levels = outer.into_iter().chain([(Place::Chassis, &billed.level)]);
        let levels: Vec<(Place, &Level)> = levels.filter(|(_, level)| !level.is_empty()).collect();
        let mut steps: Vec<Step> = levels.windows(2).map(|pair| self.step(&pair[0], &pair[1], &billed)).collect();
        let mut figures: Vec<_> = levels.iter().map(|(place, level)| level.figures(*place)).collect();
        let mut notes = billed.notes.clone();
        if let Some(inside) = inside {
            figures.push(inside.level.figures(Place::Components));
            steps.extend(inside.step);
        } else {
            notes.push("components are left out: the site has more accounts than one answer may hold".into());
        }
        figures.retain(|level| level.energy_uj != 0 || level.covered_seconds > 0.0);
        let invoice = self.invoice.as_ref().map(|invoice| {
            let ours = ours(references, &billed, self.window);
            invoice.check(&ours, self.tolerance).map_err(|why| {
                Problem::bad_request("bad-parameter", format!("invoice: {why}")).with("parameter", json!("invoice"))
            })
        });
        let invoice = invoice.transpose()?;
        let verdicts = steps.iter().map(|step| step.verdict);
        let verdict = Verdict::of(verdicts.chain(invoice.iter().map(cost::reconcile::InvoiceCheck::verdict)));
        let pue = pue(&references.facility, &billed, self.tolerance);
        let whose = Whose { sites: site.clone().map(|site| BTreeSet::from([site])), host: None };
        let closed = statements.beside(self.window, &whose, &billed.total)?;
        Ok(Site { site, verdict, levels: figures, steps, pue, invoice, closed, notes })
    }

    /// The hosts that stand behind the meters of a site.
    fn select(&self, site: Option<&str>, figures: &Figures<'_>) -> Result<Where, Problem> {
        let Some(site) = site else { return Ok(Where::default()) };
        let mut labels = label_keys(figures.snapshot, &figures.topology.inventory);
        labels.insert("site".into());
        Where::parse(&format!("site=\"{site}\""), &labels).map_err(|error| cost_problem(&error))
    }

    fn query(&self, select: &Where, by: By, step: Option<Every>) -> CostQuery {
        CostQuery {
            window: self.window,
            by,
            select: select.clone(),
            step,
            zone: self.zone.clone(),
            held: HeldQuery::default(),
        }
    }

    /// What the hosts are billed, slot by slot.
    fn billed(&self, select: &Where, figures: &Figures<'_>, card: &RateCard) -> Result<Billed, Problem> {
        let answer = self.query(select, By::default(), Some(Every::Quarter)).answer(figures, card)?;
        let (mut level, mut slots) = (Level::default(), BTreeMap::new());
        for row in &answer.rows {
            let quality = &row.quality;
            // What was billed from components while the meter was missing is no hole.
            level.add(row.start.slot(), by_quality(row), ns(quality.covered_seconds + quality.ratio_seconds));
            let overhead = micro((row.facility_kwh - row.energy_kwh) * 3.6e6);
            slots.insert(row.start.slot(), (row.energy_uj, row.energy_uj + overhead));
        }
        self.count_hosts(select, figures, &mut level);
        let quality = &answer.total.quality;
        let mut notes = Vec::new();
        if quality.summed_joules > 0.0 {
            let share = quality.summed_joules / (quality.summed_joules + quality.metered_joules) * 100.0;
            notes.push(format!(
                "{share:.1} % of what is billed is summed from components: what has no sensor is missing from it"
            ));
        }
        Ok(Billed { level, slots, total: Sum::of(&answer.total), notes })
    }

    /// Counts how many hosts there should be readings of in each slot.
    fn count_hosts(&self, select: &Where, figures: &Figures<'_>, level: &mut Level) {
        let place = |slot: Slot| usize::try_from(slot.0 - self.window.first().0).unwrap_or(0).min(self.window.len());
        // How many more there are in a slot than in the one before.
        let mut changes = vec![0_i64; self.window.len() + 1];
        expected_slots(figures, self.window, select, |slots| {
            if slots.start < slots.end {
                changes[place(slots.start)] += 1;
                changes[place(slots.end)] -= 1;
            }
        });
        let mut hosts = 0;
        for (slot, change) in (self.window.first().0..self.window.until().0).map(Slot).zip(changes) {
            hosts += change;
            level.count_members(slot..slot.next(), u64::try_from(hosts).unwrap_or(0));
        }
    }

    /// Components beside the meters that they sit behind, host by host: only hosts that were billed at a meter for
    /// all of it, and whose components were read for as long. Nothing if there are too many lines.
    fn inside(&self, select: &Where, figures: &Figures<'_>, card: &RateCard) -> Result<Option<Inside>, Problem> {
        let labels = label_keys(figures.snapshot, &figures.topology.inventory);
        let by = By::parse("cluster,host,scope,device", &labels).map_err(|error| cost_problem(&error))?;
        let answer = match self.query(select, by, None).answer(figures, card) {
            Err(problem) if problem.code() == "too-many-rows" => return Ok(None),
            answer => answer?,
        };
        let mut hosts: BTreeMap<(&str, &str), Host> = BTreeMap::new();
        let mut level = Level::default();
        for row in &answer.rows {
            let host = hosts.entry((row.value("cluster"), row.value("host"))).or_default();
            host.add(row);
            if row.value("scope") != cost::UNATTRIBUTED {
                level.add(self.window.first(), by_quality(row), 0);
            }
        }
        let with_components = || hosts.values().filter(|host| host.components_s > 0.0 && host.meter_s > 0.0);
        let (compared, left_out): (Vec<&Host>, Vec<&Host>) =
            with_components().partition(|host| host.is_comparable(self.tolerance));
        let sum = |of: fn(&Host) -> i128| compared.iter().map(|host| of(host)).sum::<i128>();
        let (whole, components) = (sum(|host| host.whole_uj), sum(|host| host.components_uj));
        let mut step = Step::new(Place::Chassis, Place::Components, whole, components);
        step.hosts = Some((compared.len() as u64, left_out.len() as u64));
        if !compared.is_empty() {
            step = step.judge_components(self.tolerance);
        } else {
            step.why = "no host's components were read for as long as its meter".into();
        }
        let has_any = with_components().next().is_some();
        Ok(Some(Inside { level, step: has_any.then_some(step) }))
    }

    fn step(&self, upper: &(Place, &Level), lower: &(Place, &Level), billed: &Billed) -> Step {
        let common = common(upper.1, lower.1, self.tolerance);
        let factor = if upper.0 == Place::Facility { billed.pue(&common.slots) } else { Decimal::ONE };
        common.step((upper.0, lower.0), factor, self.tolerance)
    }
}

impl Billed {
    /// The PUE that is billed over these slots.
    fn pue(&self, slots: &[Slot]) -> Decimal {
        let of = slots.iter().filter_map(|slot| self.slots.get(slot));
        let (energy, facility) = of.fold((0, 0), |sum, slot| (sum.0 + slot.0, sum.1 + slot.1));
        ratio(facility, energy).filter(|ratio| *ratio >= Decimal::ONE).unwrap_or(Decimal::ONE)
    }
}

/// One host's meter and components.
#[derive(Default)]
struct Host {
    whole_uj: i128,
    components_uj: i128,
    meter_s: f64,
    components_s: f64,
    is_summed: bool,
}

impl Host {
    fn add(&mut self, row: &Row) {
        self.whole_uj += row.energy_uj;
        self.is_summed |= row.quality.summed_seconds > 0.0;
        if row.value("scope") == cost::UNATTRIBUTED {
            self.meter_s = row.quality.covered_seconds;
        } else {
            self.components_uj += row.energy_uj;
            self.components_s = self.components_s.max(row.quality.covered_seconds);
        }
    }

    fn is_comparable(&self, tolerance: Decimal) -> bool {
        let slack = tolerance.to_f64().unwrap_or(0.0).clamp(0.0, 0.1) * self.meter_s;
        !self.is_summed && self.components_s + slack.max(10.0) >= self.meter_s
    }
}

/// What an invoice is held against: the facility's meter, unless it missed more than what is billed did.
fn ours(references: &References, billed: &Billed, window: Window) -> Ours {
    let facility = references.facility.figures(Place::Facility);
    let hosts = billed.level.figures(Place::Chassis);
    // Of the whole window: an invoice is about the days before the first reading, too.
    let whole = |covered: f64, members: u64| {
        let all = f64::from(u32::try_from(window.len()).unwrap_or(u32::MAX)) * 900.0 * members.max(1) as f64;
        (covered / all).min(1.0)
    };
    let (outside, inside) =
        (whole(facility.covered_seconds, facility.members), whole(hosts.covered_seconds, hosts.members));
    let costs = billed.total.cost.iter().map(|cost| (cost.currency, cost.amount)).collect();
    if !references.facility.is_empty() && outside + 0.01 >= inside {
        return Ours { basis: Place::Facility, energy_uj: facility.energy_uj, coverage: outside, costs };
    }
    let energy_uj = billed.slots.values().map(|slot| slot.1).sum();
    Ours { basis: Place::Chassis, energy_uj, coverage: inside, costs }
}

/// Facility ÷ what is billed, over the slots that both cover.
fn pue(facility: &Level, billed: &Billed, tolerance: Decimal) -> Option<Pue> {
    let both: Common = common(facility, &billed.level, tolerance);
    let implied = both.step((Place::Facility, Place::Chassis), Decimal::ONE, tolerance).ratio?;
    Some(Pue { implied, billed: billed.pue(&both.slots), slots: both.slots.len() as u64 })
}

/// A row's energy; its three parts are whole microjoules.
fn by_quality(row: &Row) -> ByQuality {
    let quality = &row.quality;
    let (integrated, estimated) = (micro(quality.integrated_joules), micro(quality.estimated_joules));
    let mut energy = ByQuality::default();
    energy[Quality::Integrated] = energy_of(integrated);
    energy[Quality::Estimated] = energy_of(estimated);
    // What is left, so that the sum is exact whatever the floats were.
    energy[Quality::Counter] = energy_of(row.energy_uj - integrated - estimated);
    energy
}

/// Joules as printed for people, in whole microjoules.
fn micro(joules: f64) -> i128 {
    (joules * 1e6).round() as i128
}

/// Seconds as printed for people, in nanoseconds.
#[expect(clippy::cast_sign_loss, reason = "below zero becomes zero")]
fn ns(seconds: f64) -> u64 {
    (seconds * 1e9).round() as u64
}
