//! The rollup: usage in, slot by slot; groups and intervals out.
//!
//! Streaming: a line costs a few additions. What depends on a host (selected or not, its groups, its
//! prices) is worked out once, when the host is announced, and what depends on a line when it is
//! first seen; neither is hashed again, and no line allocates.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use meter::{ByQuality, DoubtCounts, Energy, Slot};

use crate::cells::{Cell, Total};
use crate::charges::{Charges, Loads};
use crate::error::CostError;
use crate::priced::{Course, Piece, Prices};
use crate::rates::RateCard;
use crate::selector::{By, Dimension, Where, scope_word};
use crate::step::position;
use crate::symbols::Symbols;
use crate::tenant::Class;
use crate::tenants::Tenants;
use crate::usage::{DeviceId, Holder, HostId, HostInfo, HostSlot, Line};
use crate::window::Window;

/// Most rows of one answer unless the caller says otherwise: a month of days for 6,000 hosts, 140 MB of JSON.
pub const ROWS_MAX: usize = 200_000;

/// Sums usage by group and interval.
#[derive(Debug)]
pub struct Rollup<'a> {
    pub(crate) prices: Prices<'a>,
    pub(crate) by: By,
    pub(crate) intervals: Vec<Window>,
    pub(crate) symbols: Symbols,
    pub(crate) groups: Vec<Group>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) total: Total,
    pub(crate) doubted: BTreeMap<(u32, u32), DoubtCounts>,
    pub(crate) select: Where,
    pub(crate) tenants: Tenants,
    window: Window,
    /// The load of sites, where only that is asked for.
    loads: Option<Loads>,
    rows_max: usize,
    hosts: Vec<Host>,
    group_of: HashMap<Box<[u32]>, u32>,
    cell_of: HashMap<(u32, u32), u32>,
    /// The number of the current host and slot, so that a cell counts its time once.
    turn: u64,
    unnamed: DeviceId,
}

/// A group: its key, and where its latest interval is summed.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) key: Box<[u32]>,
    pub(crate) class: Class,
    latest: (u32, u32),
}

#[derive(Debug)]
struct Host {
    /// Cluster and name.
    name: (u32, u32),
    key: Box<[u32]>,
    /// The group of all its lines, if they share one.
    group: Option<u32>,
    /// The groups of the lines seen so far; nothing for a line that is not selected.
    routes: Vec<(Option<meter::Scope>, DeviceId, Option<u32>)>,
    course: Course,
}

const NO_CELL: (u32, u32) = (u32::MAX, u32::MAX);

impl<'a> Rollup<'a> {
    /// A rollup over the intervals of a window (see [`intervals`](crate::step::intervals)).
    #[must_use]
    pub fn new(card: &'a RateCard, by: By, select: Where, intervals: Vec<Window>) -> Self {
        let edges = (intervals.first().map(Window::first), intervals.last().map(Window::until));
        let window = Window::of_slots(edges.0.unwrap_or_default(), edges.1.unwrap_or_default());
        let tenants = Tenants::asked_by(&by, &select);
        let mut symbols = Symbols::default();
        let unnamed = DeviceId(symbols.number(""));
        Self {
            prices: Prices::new(card),
            by,
            intervals,
            symbols,
            groups: Vec::new(),
            cells: Vec::new(),
            total: Total::default(),
            doubted: BTreeMap::new(),
            select,
            tenants,
            window,
            loads: None,
            rows_max: ROWS_MAX,
            hosts: Vec::new(),
            group_of: HashMap::new(),
            cell_of: HashMap::new(),
            turn: 0,
            unnamed,
        }
    }

    /// A rollup that only sums the load of sites over a window, for [`Rollup::charges`]: of all hosts, whatever is
    /// asked about.
    #[must_use]
    pub fn of_loads(card: &'a RateCard, window: Window) -> Self {
        let rollup = Self::new(card, By::default(), Where::default(), vec![window]);
        Self { loads: Some(Loads::default()), ..rollup }
    }

    /// What is due each month for the load that was added.
    #[must_use]
    pub fn charges(&self) -> Charges {
        self.loads.as_ref().map(|loads| loads.charges(&self.prices.bills, self.prices.card)).unwrap_or_default()
    }

    /// With what is due each month over [`RateCard::charged_window`]; call it before hosts are announced.
    #[must_use]
    pub fn with_charges(mut self, charges: Arc<Charges>) -> Self {
        self.prices.charge(charges);
        self
    }

    /// With another limit to the rows.
    #[must_use]
    pub fn with_rows_max(mut self, rows_max: usize) -> Self {
        self.rows_max = rows_max;
        self
    }

    /// Whether the answer needs lines by device. If not, the lines of a host and slot may be summed
    /// into one per scope (see [`Rollup::needs_scopes`]) before they are added.
    #[must_use]
    pub fn needs_devices(&self) -> bool {
        self.by.dimensions().contains(&Dimension::Device) || self.select_asks_components()
    }

    /// Whether the answer needs lines by scope. If not, one line may stand for the whole host.
    #[must_use]
    pub fn needs_scopes(&self) -> bool {
        self.by.dimensions().iter().any(Dimension::is_of_component) || self.select_asks_components()
    }

    fn select_asks_components(&self) -> bool {
        self.select.dimensions().any(Dimension::is_of_component)
    }

    /// Announces a host with the labels in force for some span of time, or nothing if `where` leaves
    /// it out. Announce it again, as another, when its labels change.
    pub fn host(&mut self, info: &HostInfo<'_>) -> Option<HostId> {
        if !self.select.selects_host(info) {
            return None;
        }
        let values: Vec<&str> = self.by.dimensions().iter().map(|dimension| dimension.of_host(info)).collect();
        let key: Box<[u32]> = values.into_iter().map(|value| self.symbols.number(value)).collect();
        let group = (!self.by.splits_hosts()).then(|| self.group(key.clone(), Class::Held));
        self.tenants.announce(info);
        let course = self.prices.course(info.labels, self.window);
        let id = HostId(u32::try_from(self.hosts.len()).unwrap_or(u32::MAX));
        let name = (self.symbols.number(info.cluster), self.symbols.number(info.name));
        self.hosts.push(Host { name, key, group, routes: Vec::new(), course });
        Some(id)
    }

    /// The number of a device's name.
    pub fn device(&mut self, name: &str) -> DeviceId {
        DeviceId(self.symbols.number(name))
    }

    /// Up to which slot (exclusive) nothing changes for this host that matters here: neither the
    /// interval nor its price. Usage up to there may be summed and added as one [`HostSlot`].
    #[must_use]
    pub fn same_until(&self, host: HostId, slot: Slot) -> Slot {
        let interval = position(&self.intervals, slot).map_or(slot.next(), |index| self.intervals[index].until());
        let Some(host) = self.hosts.get(host.0 as usize).filter(|_| self.loads.is_none()) else { return slot.next() };
        host.course.change_after(slot).map_or(interval, |change| change.min(interval))
    }

    /// Adds the usage of one host and slot.
    ///
    /// # Errors
    /// [`CostError::OutsideWindow`] if the slot is not in the window, [`CostError::TooManyRows`] if
    /// the answer grows beyond its limit. What was added before stays added.
    pub fn add(&mut self, usage: &HostSlot<'_>) -> Result<(), CostError> {
        self.add_held(usage, &[])
    }

    /// Adds the usage of one host and slot, with who holds each of its lines; lines beyond the end of `holders`
    /// are those of what runs no jobs.
    ///
    /// # Errors
    /// As [`Rollup::add`].
    pub fn add_held(&mut self, usage: &HostSlot<'_>, holders: &[Holder]) -> Result<(), CostError> {
        let outside = CostError::OutsideWindow(usage.slot.0);
        let Some(interval) = self.interval(usage.slot) else { return Err(outside) };
        let Some(host) = self.hosts.get_mut(usage.host.0 as usize) else { return Err(outside) };
        let piece = host.course.at(usage.slot);
        let group = host.group;
        if self.loads.is_some() {
            self.add_load(&piece, usage);
            return Ok(());
        }
        self.turn += 1;
        let is_selected = match group {
            Some(group) => self.add_host(group, interval, &piece, usage, holders)?,
            None => self.add_lines(interval, &piece, usage, holders)?,
        };
        if is_selected {
            self.total.coverage.add(&usage.time);
            self.total.methods.extend(usage.methods);
            self.note_doubts(usage);
        }
        Ok(())
    }

    fn add_load(&mut self, piece: &Piece, usage: &HostSlot<'_>) {
        let Some(terms) = self.prices.terms(piece.terms) else { return };
        let bill = terms.bill.and_then(|number| Some((number, self.prices.bills.get(number as usize)?)));
        let energy = usage.lines.iter().map(|line| line.energy.total()).sum();
        if let Some((loads, (number, bill))) = self.loads.as_mut().zip(bill) {
            loads.add(number, bill, usage.slot, energy, terms.pue_micro);
        }
    }

    fn note_doubts(&mut self, usage: &HostSlot<'_>) {
        let Some(host) = self.hosts.get(usage.host.0 as usize).filter(|_| !usage.doubts.is_empty()) else { return };
        self.total.doubts.add(&usage.doubts);
        self.doubted.entry(host.name).or_default().add(&usage.doubts);
    }

    /// All lines of the host are of one group. Tells whether any is selected: a host without a GPU has
    /// no time that `scope=gpu` could ask about.
    fn add_host(
        &mut self,
        group: u32,
        interval: u32,
        piece: &Piece,
        usage: &HostSlot<'_>,
        holders: &[Holder],
    ) -> Result<bool, CostError> {
        let (mut energy, mut metered, mut apportioned) = (ByQuality::default(), Energy::ZERO, Energy::ZERO);
        let split = self.select.splits_hosts();
        let mut is_selected = !split;
        for (index, line) in usage.lines.iter().enumerate() {
            let holder = holders.get(index).copied().unwrap_or_default();
            if !split || self.route(usage.host, index, line, holder).is_some() {
                is_selected = true;
                energy += line.energy;
                metered += line.metered;
                apportioned += holder.apportioned;
            }
        }
        if !is_selected {
            return Ok(false);
        }
        let turn = self.turn;
        let cell = self.cell(group, interval)?;
        cell.add(energy, metered, piece);
        cell.apportioned += apportioned;
        cell.cover_once(turn, usage);
        Ok(true)
    }

    /// The lines of the host may be of different groups. Tells whether any is selected.
    fn add_lines(
        &mut self,
        interval: u32,
        piece: &Piece,
        usage: &HostSlot<'_>,
        holders: &[Holder],
    ) -> Result<bool, CostError> {
        let mut is_selected = false;
        let by_device = self.by.dimensions().contains(&Dimension::Device);
        let turn = self.turn;
        for (index, line) in usage.lines.iter().enumerate() {
            let holder = holders.get(index).copied().unwrap_or_default();
            let Some(group) = self.route(usage.host, index, line, holder) else { continue };
            is_selected = true;
            let cell = self.cell(group, interval)?;
            cell.add(line.energy, line.metered, piece);
            cell.apportioned += holder.apportioned;
            if by_device {
                cell.coverage.add(&line.time(usage));
                cell.explain_once(turn, usage);
            } else {
                cell.cover_once(turn, usage);
            }
        }
        if usage.lines.is_empty() && usage.time.expected_ns > 0 {
            // Nothing is known of this host and slot: its time must show somewhere.
            let (device, energy) = (self.unnamed, ByQuality::default());
            let line = Line { scope: None, device, energy, metered: Energy::ZERO, covered_ns: 0, metered_ns: 0 };
            let holder = holders.first().copied().unwrap_or_default();
            if let Some(group) = self.route(usage.host, 0, &line, holder) {
                is_selected = true;
                self.cell(group, interval)?.cover_once(turn, usage);
            }
        }
        Ok(is_selected)
    }

    fn interval(&self, slot: Slot) -> Option<u32> {
        match self.intervals.as_slice() {
            [only] => only.holds(slot).then_some(0),
            several => position(several, slot).and_then(|index| u32::try_from(index).ok()),
        }
    }

    /// The group of a line. `index` is where it was found last time, as a rule.
    fn route(&mut self, host: HostId, index: usize, line: &Line, holder: Holder) -> Option<u32> {
        if self.tenants.are_asked() {
            return self.tenant_route(host, line, holder.tenant);
        }
        let routes = &self.hosts[host.0 as usize].routes;
        let is_it = |route: &&(_, _, _)| route.0 == line.scope && route.1 == line.device;
        if let Some(route) = routes.get(index).filter(is_it).or_else(|| routes.iter().find(is_it)) {
            return route.2;
        }
        let device = self.symbols.text(line.device.0);
        let group = self.select.selects_line(line.scope, device).then(|| self.line_group(host, line));
        self.hosts[host.0 as usize].routes.push((line.scope, line.device, group));
        group
    }

    fn line_group(&mut self, host: HostId, line: &Line) -> u32 {
        let key = self.line_key(host, line);
        self.group(key, Class::Held)
    }

    /// The key of a line's group, but for whose it is.
    pub(crate) fn line_key(&mut self, host: HostId, line: &Line) -> Box<[u32]> {
        let mut key = self.hosts[host.0 as usize].key.clone();
        for (value, dimension) in key.iter_mut().zip(self.by.dimensions()) {
            match dimension {
                Dimension::Scope => *value = self.symbols.number(scope_word(line.scope)),
                Dimension::Device => *value = line.device.0,
                _ => {}
            }
        }
        key
    }

    pub(crate) fn group(&mut self, key: Box<[u32]>, class: Class) -> u32 {
        if let Some(&group) = self.group_of.get(&key) {
            return group;
        }
        let group = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.groups.push(Group { key: key.clone(), class, latest: NO_CELL });
        self.group_of.insert(key, group);
        group
    }

    fn cell(&mut self, group: u32, interval: u32) -> Result<&mut Cell, CostError> {
        let mut latest = self.groups[group as usize].latest;
        if latest.0 != interval {
            let index = match self.cell_of.get(&(group, interval)) {
                Some(&index) => index,
                None => self.new_cell(group, interval)?,
            };
            latest = (interval, index);
            self.groups[group as usize].latest = latest;
        }
        Ok(&mut self.cells[latest.1 as usize])
    }

    fn new_cell(&mut self, group: u32, interval: u32) -> Result<u32, CostError> {
        if self.cells.len() >= self.rows_max {
            return Err(CostError::TooManyRows(self.rows_max));
        }
        let index = u32::try_from(self.cells.len()).map_err(|_| CostError::TooManyRows(self.rows_max))?;
        self.cells.push(Cell::new(group, interval));
        self.cell_of.insert((group, interval), index);
        Ok(index)
    }
}
