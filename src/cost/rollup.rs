//! The rollup: usage in, slot by slot; groups and intervals out.
//!
//! Streaming: a line costs a few additions. What depends on a host (selected or not, its groups, its
//! prices) is worked out once, when the host is announced, and what depends on a line when it is
//! first seen; neither is hashed again, and no line allocates.

use std::collections::{BTreeMap, HashMap};

use meter::{ByQuality, DoubtCounts, Energy, Methods, Slot};

use crate::error::CostError;
use crate::rates::{RateCard, Tariff};
use crate::selector::{By, Dimension, Where, scope_word};
use crate::step::position;
use crate::symbols::Symbols;
use crate::usage::{DeviceId, HostId, HostInfo, HostSlot, HostTime, Line};
use crate::window::Window;

/// Most rows of one answer unless the caller says otherwise: a month of days for 6,000 hosts, 140 MB of JSON.
pub const ROWS_MAX: usize = 200_000;

/// Sums usage by group and interval.
#[derive(Debug)]
pub struct Rollup<'a> {
    pub(crate) card: &'a RateCard,
    pub(crate) by: By,
    pub(crate) intervals: Vec<Window>,
    pub(crate) symbols: Symbols,
    pub(crate) groups: Vec<Group>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) total: Total,
    pub(crate) doubted: BTreeMap<(u32, u32), DoubtCounts>,
    select: Where,
    window: Window,
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
    latest: (u32, u32),
}

/// Host-seconds (device-seconds where grouped by device), in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) covered_ns: u128,
    pub(crate) metered_ns: u128,
    pub(crate) ratio_ns: u128,
    pub(crate) expected_ns: u128,
}

/// What does not depend on the grouping.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Total {
    pub(crate) coverage: Coverage,
    pub(crate) methods: Methods,
    pub(crate) doubts: DoubtCounts,
}

/// One group in one interval.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) group: u32,
    pub(crate) interval: u32,
    pub(crate) energy: ByQuality,
    pub(crate) metered: Energy,
    pub(crate) coverage: Coverage,
    pub(crate) methods: Methods,
    pub(crate) doubts: DoubtCounts,
    pub(crate) priced: Vec<(Option<Tariff>, Energy)>,
    turn: u64,
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
    prices: Vec<(Slot, Option<Tariff>)>,
}

const NO_CELL: (u32, u32) = (u32::MAX, u32::MAX);

impl<'a> Rollup<'a> {
    /// A rollup over the intervals of a window (see [`intervals`](crate::step::intervals)).
    #[must_use]
    pub fn new(card: &'a RateCard, by: By, select: Where, intervals: Vec<Window>) -> Self {
        let edges = (intervals.first().map(Window::first), intervals.last().map(Window::until));
        let window = Window::of_slots(edges.0.unwrap_or_default(), edges.1.unwrap_or_default());
        let mut symbols = Symbols::default();
        let unnamed = DeviceId(symbols.number(""));
        Self {
            card,
            by,
            intervals,
            symbols,
            groups: Vec::new(),
            cells: Vec::new(),
            total: Total::default(),
            doubted: BTreeMap::new(),
            select,
            window,
            rows_max: ROWS_MAX,
            hosts: Vec::new(),
            group_of: HashMap::new(),
            cell_of: HashMap::new(),
            turn: 0,
            unnamed,
        }
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
        self.by.dimensions().contains(&Dimension::Device) || self.select.splits_hosts()
    }

    /// Whether the answer needs lines by scope. If not, one line may stand for the whole host.
    #[must_use]
    pub fn needs_scopes(&self) -> bool {
        self.by.splits_hosts() || self.select.splits_hosts()
    }

    /// Announces a host with the labels in force for some span of time, or nothing if `where` leaves
    /// it out. Announce it again, as another, when its labels change.
    pub fn host(&mut self, info: &HostInfo<'_>) -> Option<HostId> {
        if !self.select.selects_host(info) {
            return None;
        }
        let values: Vec<&str> = self.by.dimensions().iter().map(|dimension| dimension.of_host(info)).collect();
        let key: Box<[u32]> = values.into_iter().map(|value| self.symbols.number(value)).collect();
        let group = (!self.by.splits_hosts()).then(|| self.group(key.clone()));
        let site = info.labels.get("site").map_or("", String::as_str);
        let prices = self.card.tariffs(site, self.window);
        let id = HostId(u32::try_from(self.hosts.len()).unwrap_or(u32::MAX));
        let name = (self.symbols.number(info.cluster), self.symbols.number(info.name));
        self.hosts.push(Host { name, key, group, routes: Vec::new(), prices });
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
        let Some(host) = self.hosts.get(host.0 as usize) else { return slot.next() };
        let change = host.prices.iter().map(|price| price.0).find(|&from| from > slot);
        change.map_or(interval, |change| change.min(interval))
    }

    /// Adds the usage of one host and slot.
    ///
    /// # Errors
    /// [`CostError::OutsideWindow`] if the slot is not in the window, [`CostError::TooManyRows`] if
    /// the answer grows beyond its limit. What was added before stays added.
    pub fn add(&mut self, usage: &HostSlot<'_>) -> Result<(), CostError> {
        let outside = CostError::OutsideWindow(usage.slot.0);
        let Some(interval) = self.interval(usage.slot) else { return Err(outside) };
        let Some(host) = self.hosts.get(usage.host.0 as usize) else { return Err(outside) };
        let after = host.prices.partition_point(|price| price.0 <= usage.slot);
        let tariff = after.checked_sub(1).and_then(|index| host.prices[index].1);
        let group = host.group;
        self.turn += 1;
        let is_selected = match group {
            Some(group) => self.add_host(group, interval, tariff, usage)?,
            None => self.add_lines(interval, tariff, usage)?,
        };
        if is_selected {
            self.total.coverage.add(&usage.time);
            self.total.methods.extend(usage.methods);
            self.note_doubts(usage);
        }
        Ok(())
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
        tariff: Option<Tariff>,
        usage: &HostSlot<'_>,
    ) -> Result<bool, CostError> {
        let (mut energy, mut metered) = (ByQuality::default(), Energy::ZERO);
        let split = self.select.splits_hosts();
        let mut is_selected = !split;
        for (index, line) in usage.lines.iter().enumerate() {
            if !split || self.route(usage.host, index, line).is_some() {
                is_selected = true;
                energy += line.energy;
                metered += line.metered;
            }
        }
        if !is_selected {
            return Ok(false);
        }
        let turn = self.turn;
        let cell = self.cell(group, interval)?;
        cell.add(energy, metered, tariff);
        cell.cover_once(turn, usage);
        Ok(true)
    }

    /// The lines of the host may be of different groups. Tells whether any is selected.
    fn add_lines(&mut self, interval: u32, tariff: Option<Tariff>, usage: &HostSlot<'_>) -> Result<bool, CostError> {
        let mut is_selected = false;
        let by_device = self.by.dimensions().contains(&Dimension::Device);
        let turn = self.turn;
        for (index, line) in usage.lines.iter().enumerate() {
            let Some(group) = self.route(usage.host, index, line) else { continue };
            is_selected = true;
            let cell = self.cell(group, interval)?;
            cell.add(line.energy, line.metered, tariff);
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
            if let Some(group) = self.route(usage.host, 0, &line) {
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
    fn route(&mut self, host: HostId, index: usize, line: &Line) -> Option<u32> {
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
        let mut key = self.hosts[host.0 as usize].key.clone();
        for (value, dimension) in key.iter_mut().zip(self.by.dimensions()) {
            match dimension {
                Dimension::Scope => *value = self.symbols.number(scope_word(line.scope)),
                Dimension::Device => *value = line.device.0,
                _ => {}
            }
        }
        self.group(key)
    }

    fn group(&mut self, key: Box<[u32]>) -> u32 {
        if let Some(&group) = self.group_of.get(&key) {
            return group;
        }
        let group = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        self.groups.push(Group { key: key.clone(), latest: NO_CELL });
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
        self.cells.push(Cell {
            group,
            interval,
            energy: ByQuality::default(),
            metered: Energy::ZERO,
            coverage: Coverage::default(),
            methods: Methods::NONE,
            doubts: DoubtCounts::default(),
            priced: Vec::new(),
            turn: 0,
        });
        self.cell_of.insert((group, interval), index);
        Ok(index)
    }
}

impl Cell {
    fn add(&mut self, energy: ByQuality, metered: Energy, tariff: Option<Tariff>) {
        self.energy += energy;
        self.metered += metered;
        match self.priced.iter_mut().rev().find(|priced| priced.0 == tariff) {
            Some(priced) => priced.1 += energy.total(),
            None => self.priced.push((tariff, energy.total())),
        }
    }

    /// Counts the host's time, once for each host and slot.
    fn cover_once(&mut self, turn: u64, usage: &HostSlot<'_>) {
        if self.turn != turn {
            self.coverage.add(&usage.time);
        }
        self.explain_once(turn, usage);
    }

    /// Notes how the host's energy came about, once for each host and slot.
    fn explain_once(&mut self, turn: u64, usage: &HostSlot<'_>) {
        if self.turn != turn {
            self.turn = turn;
            self.methods.extend(usage.methods);
            self.doubts.add(&usage.doubts);
        }
    }
}

impl Line {
    /// Its device's time, of what its host was expected to be read.
    fn time(&self, usage: &HostSlot<'_>) -> HostTime {
        let ratio_ns = if self.scope.is_none() { usage.time.ratio_ns } else { 0 };
        let expected_ns = usage.time.expected_ns;
        HostTime { covered_ns: self.covered_ns, metered_ns: self.metered_ns, ratio_ns, expected_ns }
    }
}

impl Coverage {
    fn add(&mut self, time: &HostTime) {
        self.covered_ns += u128::from(time.covered_ns);
        self.metered_ns += u128::from(time.metered_ns);
        self.ratio_ns += u128::from(time.ratio_ns);
        self.expected_ns += u128::from(time.expected_ns);
    }
}
