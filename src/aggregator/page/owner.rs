//! The page of a host or a chassis: what it is, what it draws and used, component by component and device by device;
//! and of a chassis the hosts that sit in it.

use std::collections::BTreeMap;

use askama::Template;
use billing::published::Snapshot;
use billing::topology::Topology;
use cost::Row;
use energy::OwnerState;
use meter::{Owner, OwnerKind};

use super::about::{self, Fact};
use super::booked::Booked;
use super::components::{self, Part};
use super::devices::Devices;
use super::frame::{Frame, Link};
use super::sitting::Sitting;
use super::stack::{self, Stack};
use super::tiles::{Coverage, Tile};
use super::view::{View, encoded};
use super::words::{self, Figure};
use super::{ago, called, downloads, owner_href, power, ranges};
use crate::answers::ViewAnswer;
use crate::app::App;
use crate::asked::{Asked, Range};
use crate::hosts_view::{DeviceView, device_views, host_view};
use crate::http::problem::Problem;
use crate::summary::Summary;
use crate::vitals::HostState;
use crate::whole::{Fleet, Whole};

/// The page at `/hosts/{id}` and `/chassis/{id}`.
#[derive(Template)]
#[template(path = "owner.html")]
pub struct OwnerPage {
    frame: Frame,
    /// `host` or `chassis`.
    kind: &'static str,
    name: String,
    state: HostState,
    seen: String,
    is_priced: bool,
    power: Option<Figure>,
    used: Tile,
    /// Nothing where nothing was ever read: that is not zero.
    lifetime: Option<Figure>,
    coverage: Coverage,
    ranges: Vec<Link>,
    range: Range,
    trail: Vec<Link>,
    stack: Option<Stack>,
    parts: Vec<Part>,
    /// Of a chassis, who sits in it.
    sitting: Option<Sitting>,
    devices: Devices,
    facts: Vec<Fact>,
    labels: Vec<Link>,
    flags: Vec<&'static str>,
    downloads: Vec<Link>,
    api: String,
}

/// The moment of a page.
struct Moment<'a> {
    app: &'a App,
    snapshot: &'a Snapshot,
    topology: &'a Topology,
    summary: &'a Summary,
    now: meter::Utc,
    range: Range,
}

impl OwnerPage {
    /// What there is to see of a host or chassis now. Blocks while the store is read.
    ///
    /// # Errors
    /// A problem if the store failed.
    pub fn new(app: &App, owner: &Owner, range: Range) -> Result<Self, Problem> {
        let (snapshot, topology, now) = app.books.moment();
        let (board, summary) = (app.boards.of(&app.books)?, app.summaries.lately(&app.books)?);
        let moment = Moment { app, snapshot: &snapshot, topology: &topology, summary: &summary, now, range };
        let filter = filter(owner, &topology);
        let asked = Asked { range, by: "scope,device".into(), filter: filter.clone(), along: "scope" };
        let answer = app.answers.of(&app.books, &app.statements, &asked)?;
        let whole = Fleet::new(&snapshot, &topology, now).whole(owner);
        let doubts = summary.flags_of(owner, &topology, now);
        let view = host_view(&whole, &topology, now).with_refused(app.refused.of(owner)).with_doubts(&doubts);
        let money = !app.books.hides_money();
        let is_priced = money && !answer.rows.total.cost.is_empty();
        let sitting = if topology.hosts_of(owner).is_some() {
            let asked = Asked { range, by: "cluster,host".into(), filter: filter.clone(), along: "" };
            Some(Sitting::of(
                owner,
                &board,
                &app.answers.of(&app.books, &app.statements, &asked)?.rows,
                is_priced,
                range,
            ))
        } else {
            None
        };
        // A chassis that nothing reads of itself draws what its hosts do.
        let of_hosts = sitting.as_ref().and_then(|sitting| sitting.watts).filter(|_| whole.newest().is_none());
        let report = View { by: "scope,device".into(), filter, range, ..View::default() };
        let by = if sitting.is_some() { "cluster,host,scope,device" } else { &report.by };
        Ok(Self {
            frame: Frame::new(app, &board, &summary),
            kind: owner.kind.word(),
            name: called(&owner.cluster, &owner.name),
            state: view.state,
            seen: match (whole.newest(), of_hosts) {
                (Some(at), _) => format!("newest reading {}", ago(at, now)),
                (None, Some(_)) => "of its hosts; itself never read".into(),
                (None, None) => "never read".into(),
            },
            is_priced,
            power: whole.watts().or(of_hosts).map(power),
            used: Tile::new(&answer.rows.total, money),
            lifetime: whole.newest().map(|_| words::energy(whole.lifetime().total().kwh())),
            coverage: Coverage::of(&answer.rows.total),
            ranges: ranges(range, |range| owner_href(owner, range)),
            range,
            trail: about::trail(&view, owner.kind, range),
            stack: stack::of(&answer, range, &summary.zone, now),
            parts: components::parts(&answer, is_priced),
            sitting,
            devices: moment.devices(&whole, &answer, &doubts)?,
            facts: about::facts(&view, &summary, range),
            labels: about::labels(&view, range),
            flags: view.flags.clone(),
            downloads: downloads(&report, by, money),
            api: api(owner),
        })
    }
}

/// The filter that keeps what is billed of an owner: under the name that a host has now, in the chassis.
pub(super) fn filter(owner: &Owner, topology: &Topology) -> String {
    let shown = topology.inventory.canonical(owner);
    format!("cluster=\"{}\",{}=\"{}\"", shown.cluster, shown.kind, shown.name)
}

/// The address of the same in the API.
fn api(owner: &Owner) -> String {
    let kind = if owner.kind == OwnerKind::Chassis { "chassis" } else { "hosts" };
    format!("/api/v1/{kind}/{}/{}", encoded(&owner.cluster), encoded(&owner.name))
}

impl Moment<'_> {
    /// Of a host its devices and those of its chassis, as they are billed; of a chassis its own, as they were read:
    /// hosts within may have devices of the same name, and the bill is theirs.
    fn devices(&self, whole: &Whole<'_>, answer: &ViewAnswer, doubts: &[&'static str]) -> Result<Devices, Problem> {
        let owner = whole.owner;
        let views = |state: &OwnerState| -> Vec<DeviceView> {
            device_views(state, self.now).map(|view| view.with_doubts(doubts)).collect()
        };
        let key = |scope: &str, device: &str| (scope.to_owned(), device.to_owned());
        if owner.kind == OwnerKind::Host {
            let billed: BTreeMap<(String, String), &Row> =
                answer.rows.rows.iter().map(|row| (key(row.value("scope"), row.value("device")), row)).collect();
            let all: Vec<DeviceView> = whole.own.into_iter().chain(whole.chassis).flat_map(views).collect();
            let used = |view: &DeviceView| billed.get(&key(view.scope, &view.device)).and_then(|row| words::used(row));
            return Ok(Devices::of(owner, &all, used, self.range));
        }
        let Some(row) = self.snapshot.owner(owner) else { return Ok(Devices::of(owner, &[], |_| None, self.range)) };
        let figures = self.app.books.figures(self.snapshot, self.topology, self.now);
        let booked = Booked::of(&figures, row, (self.range, &self.summary.zone), None)?;
        let keys = row.state.keys.iter().map(|account| key(account.scope.word(), &account.device));
        let used: BTreeMap<(String, String), Row> = keys.zip(booked.totals).collect();
        let used = |view: &DeviceView| used.get(&key(view.scope, &view.device)).and_then(words::used);
        Ok(Devices::of(owner, &views(&row.state), used, self.range))
    }
}
