//! A device's page: what it draws and what was read of it over time, what its readings are, how sure they are.

use std::sync::Arc;

use askama::Template;
use billing::published::OwnerView;
use cost::Row;
use energy::{Account, KnownDevice};
use meter::{OwnerKind, SECOND_NS};

use super::about::{self, Fact};
use super::booked::Booked;
use super::devices::{self, href};
use super::frame::{Frame, Link};
use super::graph::{self, Graph};
use super::tiles::Coverage;
use super::view::encoded;
use super::words::{self, Figure};
use super::{ago, called, cost_of, owner_href, ranges};
use crate::app::App;
use crate::asked::{Asked, Range};
use crate::hosts_view::{DeviceView, host_view, watts};
use crate::http::problem::Problem;
use crate::summary::Summary;
use crate::whole::Fleet;

/// The page at `/devices/{id}`.
#[derive(Template)]
#[template(path = "device.html")]
pub struct DevicePage {
    frame: Frame,
    name: String,
    scope: &'static str,
    flags: Vec<&'static str>,
    trail: Vec<Link>,
    power: Option<Figure>,
    seen: String,
    energy: Option<Figure>,
    lifetime: Figure,
    since: String,
    coverage: Coverage,
    ranges: Vec<Link>,
    range: Range,
    graph: Option<Graph>,
    facts: Vec<Fact>,
    api: String,
}

/// An account with all that its owner's row knows of it.
struct Known<'a> {
    row: &'a OwnerView,
    index: usize,
    account: &'a Account,
    /// As the agent declared it last.
    declared: Option<&'a KnownDevice>,
    view: DeviceView,
}

impl DevicePage {
    /// What there is to see of a device now: of the account with this view, of this row. Blocks while the store is read.
    ///
    /// # Errors
    /// A problem if the store failed.
    pub fn new(app: &App, row: &Arc<OwnerView>, view: DeviceView, range: Range) -> Result<Self, Problem> {
        let (snapshot, topology, now) = app.books.moment();
        let (board, summary) = (app.boards.of(&app.books)?, app.summaries.lately(&app.books)?);
        let owner = &row.state.owner;
        let view = view.with_doubts(&summary.flags_of(owner, &topology, now));
        let known = Known::of(row, view)?;
        let figures = app.books.figures(&snapshot, &topology, now);
        let booked = Booked::of(&figures, row, (range, &summary.zone), Some(known.index))?;
        let total = booked.totals.get(known.index).cloned().unwrap_or_default();
        let of_owner = host_view(&Fleet::new(&snapshot, &topology, now).whole(owner), &topology, now);
        let mut trail = about::trail(&of_owner, owner.kind, range);
        if owner.kind != OwnerKind::Meter {
            let name = format!("{} {}", owner.kind, called(&owner.cluster, &owner.name));
            trail.push(Link::to(name, owner_href(owner, range)));
        }
        let read = known.account.first.at..known.account.frontier.at.min(now);
        let mut facts = known.facts(&total, &summary, range);
        facts.extend(billed(app, &known, range)?);
        Ok(Self {
            frame: Frame::new(app, &board, &summary),
            name: devices::name(&known.view),
            scope: known.view.scope,
            flags: known.view.flags.clone(),
            trail,
            power: known.view.watts.map(words::power),
            seen: ago(known.account.frontier.at, now),
            energy: words::used(&total),
            lifetime: words::energy(known.account.lifetime.total().kwh()),
            since: about::instant(&known.view.first_reading, &summary.zone).unwrap_or_default(),
            coverage: Coverage::of_device(&total),
            ranges: ranges(range, |range| href(&known.view.id, range)),
            range,
            graph: graph::of_rows(&booked.steps, &read, range, &summary.zone, now),
            facts,
            api: format!("/api/v1/devices/{}", known.view.id.split('/').map(encoded).collect::<Vec<_>>().join("/")),
        })
    }
}

impl<'a> Known<'a> {
    fn of(row: &'a OwnerView, view: DeviceView) -> Result<Self, Problem> {
        let state = &row.state;
        let index = state.keys.iter().position(|key| key.scope.word() == view.scope && *key.device == *view.device);
        let found = index.and_then(|index| Some((index, state.accounts.get(index)?)));
        let (index, account) = found.ok_or_else(|| Problem::internal("show the device", &"its account is gone"))?;
        let mut all = state.contexts.iter().flat_map(|context| &context.devices);
        let is_it = |device: &&KnownDevice| device.account.as_ref().is_ok_and(|known| usize::from(*known) == index);
        Ok(Self { row, index, account, declared: all.rfind(is_it), view })
    }

    /// What its readings are, how sure the figures of the range are, whose it is.
    fn facts(&self, total: &Row, summary: &Summary, range: Range) -> Vec<Fact> {
        let owner = &self.row.state.owner;
        let at = |text: &str| about::instant(text, &summary.zone);
        let whose = Fact {
            what: if owner.kind == OwnerKind::Meter { "Reference meter" } else { "Device of" },
            value: format!("{} {}", owner.kind, called(&owner.cluster, &owner.name)),
            href: (owner.kind != OwnerKind::Meter).then(|| owner_href(owner, range)),
        };
        let period = self.declared.map(|device| device.period_ns).filter(|period| *period > 0);
        let energy = |joules: f64| graph::joined(&words::energy(joules / 3.6e6));
        let plain = [
            ("Id", Some(self.view.id.clone())),
            ("Component", Some(self.view.scope.to_owned())),
            ("Its readings are", Some(self.readings().to_owned())),
            ("A new one every", period.map(every)),
            (
                "The counter wraps at",
                self.declared.and_then(|device| device.modulus).map(|modulus| energy(modulus.0 as f64 / 1e6)),
            ),
            (
                "Draws at most",
                self.declared
                    .map(|device| watts(device.limit))
                    .filter(|limit| *limit > 0.0)
                    .map(|limit| graph::joined(&words::power(limit))),
            ),
            ("How sure", sure(total)),
            ("First reading", at(&self.view.first_reading)),
            ("Newest reading", at(&self.view.last_reading)),
            ("Without readings", Some(self.gaps())),
            ("Estimates replaced", Some(self.view.reversed_joules).filter(|joules| *joules != 0.0).map(energy)),
            (
                "Reported twice",
                Some(self.view.fenced_joules)
                    .filter(|joules| *joules != 0.0)
                    .map(|joules| format!("{}, booked once", energy(joules))),
            ),
        ];
        let plain = plain.into_iter().filter_map(|(what, value)| Some(Fact::new(what, value?)));
        std::iter::once(whose).chain(plain).collect()
    }

    /// What its readings are.
    fn readings(&self) -> &'static str {
        let newest = &self.account.frontier;
        match (newest.counter.is_some(), newest.power.is_some()) {
            (true, true) => "an energy counter, and power beside it",
            (true, false) => "an energy counter",
            (false, true) => "power, joined between neighbouring readings",
            (false, false) => "neither counter nor power yet",
        }
    }

    /// Time between the first and the newest reading for which there were none.
    fn gaps(&self) -> String {
        let view = &self.view;
        if view.uncovered_seconds < 1.0 {
            return "no time between the first and the newest".into();
        }
        let gaps = match (view.holes as u64, view.final_holes) {
            (0, 0) => String::new(),
            (open, closed) => {
                format!(", in {} gaps of which {} may still be filled", words::count(open + closed), words::count(open))
            }
        };
        format!("{} since the first{gaps}", words::ago(view.uncovered_seconds as u64))
    }
}

/// How often, in words.
fn every(period_ns: u64) -> String {
    let second = SECOND_NS.unsigned_abs();
    if period_ns.is_multiple_of(second) {
        words::ago(period_ns / second)
    } else {
        format!("{}\u{202f}ms", period_ns / 1_000_000)
    }
}

/// By what the energy of a row is known.
fn sure(total: &Row) -> Option<String> {
    let quality = &total.quality;
    let kinds = [
        (quality.counter_joules, "by its counter"),
        (quality.integrated_joules, "joined from power"),
        (quality.estimated_joules, "estimated"),
    ];
    let words = kinds.iter().filter(|(joules, _)| *joules > 0.0);
    let words: Vec<String> =
        words.map(|(joules, how)| format!("{} {how}", words::percent(*joules, total.energy_joules))).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

/// What is billed of it by itself; of a device of a host only.
fn billed(app: &App, known: &Known<'_>, range: Range) -> Result<Option<Fact>, Problem> {
    let owner = &known.row.state.owner;
    if owner.kind != OwnerKind::Host {
        return Ok(None);
    }
    let (_, topology, _) = app.books.moment();
    let filter = super::owner::filter(owner, &topology);
    let asked = Asked { range, by: "scope,device".into(), filter, along: "scope" };
    let answer = app.answers.of(&app.books, &app.statements, &asked)?;
    let is_it = |row: &&Row| row.value("scope") == known.view.scope && row.value("device") == known.view.device;
    let row = answer.rows.rows.iter().find(is_it).and_then(|row| Some((row, words::used(row)?)));
    let value = row.map_or_else(
        || "not by itself: what stands around it is measured as a whole".to_owned(),
        |(row, energy)| {
            let money = !app.books.hides_money() && !answer.rows.total.cost.is_empty();
            let cost = if money { format!(", {}", cost_of(row)) } else { String::new() };
            format!("{}{cost}", graph::joined(&energy))
        },
    );
    Ok(Some(Fact::new("Billed of it", value)))
}
