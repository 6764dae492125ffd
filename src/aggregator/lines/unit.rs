//! One billed owner while its slots are added up.

use std::collections::VecDeque;
use std::ops::Range;

use cost::{CostError, DeviceId, HostId, HostSlot, HostTime, Line, Rollup, Window};
use energy::boundary::{History, JOIN_NS, Ratio, part_of};
use energy::{Account, Billed, Boundary, Cell, HourBlock, Missed};
use meter::{AccountKey, ByQuality, Doubt, DoubtCounts, Energy, Method, Methods, SLOT_NS, Scope, Slot, Utc};

use super::Figures;
use super::elsewhere::{self, Contest};
use super::ground::{Ground, Seat, Stretch, Weight, overlap};
use super::missed::{self, Meters};
use super::waiting::Waiting;
use crate::published::OwnerView;

/// The length of a slot in nanoseconds.
const SLOT: u64 = SLOT_NS as u64;

/// A billed owner: its cells that wait, and the sum that is not handed over yet.
pub(super) struct Unit<'a> {
    seat: Seat<'a>,
    view: Option<&'a OwnerView>,
    chassis: Option<&'a OwnerView>,
    /// The owner's accounts, then the chassis', or one for its share of a shared chassis.
    boundary: Boundary,
    meters: Meters,
    /// What its meter usually shows; kept of units whose meter missed something.
    history: Option<History>,
    factor: Ratio,
    contests: Vec<Contest<'a>>,
    /// Shares of chassis in the slots that wait: how they were split, and what comes on top of its own meter.
    shared: VecDeque<(Slot, Method, Option<ByQuality>)>,
    /// Where each account's line is in `lines`.
    line_of: Vec<usize>,
    /// From when on each line is shown even where nothing was read.
    shown_from: Vec<Option<Utc>>,
    expected: Range<Utc>,
    /// Slots before this one are only looked at, for the ratio.
    first: Slot,
    stretches: std::iter::Peekable<std::vec::IntoIter<Stretch>>,
    waiting: Waiting,
    billed: Billed,
    sum: Option<Sum>,
    lines: Vec<Line>,
    touched: Vec<bool>,
}

/// Where the running sum lies.
struct Sum {
    host: Option<HostId>,
    from: Slot,
    until: Slot,
    time: HostTime,
    methods: Methods,
    doubts: DoubtCounts,
}

impl<'a> Unit<'a> {
    /// An owner, with the chassis that is its alone.
    pub(super) fn new(
        figures: &Figures<'a>,
        window: Window,
        ground: Ground<'a>,
        chassis: Option<&'a OwnerView>,
        rollup: &mut Rollup<'_>,
    ) -> Self {
        let keys = |view: Option<&'a OwnerView>| view.map_or(&[][..], |view| &view.state.keys);
        let boundary = Boundary::new(keys(ground.view), keys(chassis));
        let states = || ground.view.into_iter().chain(chassis).map(|view| &view.state);
        let accounts: Vec<&Account> = states().flat_map(|state| &state.accounts).collect();
        let keys: Vec<&AccountKey> = states().flat_map(|state| state.keys.iter()).collect();
        let meters = Meters::of(&boundary, &accounts, window, figures.now);
        let mut unit = Self::with(figures, window, ground, chassis, boundary);
        unit.meters = meters;
        unit.make_lines(&keys, &accounts, rollup);
        if meters.missed_from.is_some() {
            unit.remember();
        }
        unit
    }

    /// An owner that gets shares of chassis.
    pub(super) fn sharing(
        figures: &Figures<'a>,
        window: Window,
        ground: Ground<'a>,
        meters: Meters,
        rollup: &mut Rollup<'_>,
    ) -> Self {
        let share = AccountKey { scope: Scope::Chassis, device: "".into() };
        let own = ground.view.map_or(&[][..], |view| &view.state.keys);
        let boundary = Boundary::new(own, std::slice::from_ref(&share));
        let accounts: Vec<&Account> = ground.view.into_iter().flat_map(|view| &view.state.accounts).collect();
        let keys: Vec<&AccountKey> = own.iter().chain([&share]).collect();
        let mut unit = Self::with(figures, window, ground, None, boundary);
        unit.meters = meters;
        unit.make_lines(&keys, &accounts, rollup);
        unit
    }

    fn with(
        figures: &Figures<'a>,
        window: Window,
        ground: Ground<'a>,
        chassis: Option<&'a OwnerView>,
        boundary: Boundary,
    ) -> Self {
        let mut waiting = Waiting::default();
        let own = ground.view.map_or(0, |view| view.state.keys.len());
        for (view, offset) in [(ground.view, 0), (chassis, own)] {
            view.into_iter().for_each(|view| waiting.take_open(view, offset));
        }
        Self {
            seat: Seat::of(ground.owner, figures.topology),
            view: ground.view,
            chassis,
            boundary,
            meters: Meters::default(),
            history: None,
            factor: figures.factor,
            contests: ground.contests,
            shared: VecDeque::new(),
            line_of: Vec::new(),
            shown_from: Vec::new(),
            expected: ground.expected,
            first: window.first(),
            stretches: ground.stretches.into_iter().peekable(),
            waiting,
            billed: Billed::default(),
            sum: None,
            lines: Vec::new(),
            touched: Vec::new(),
        }
    }

    /// Keeps what its meter usually shows: seconds that it missed will be asked for.
    pub(super) fn remember(&mut self) {
        self.history = Some(History::new(self.factor));
    }

    /// Whether what its meter usually shows is kept.
    pub(super) fn remembers(&self) -> bool {
        self.history.is_some()
    }

    /// From where on its history decides on the ratio, if it is needed at all.
    pub(super) fn looks_back_to(&self) -> Option<Slot> {
        self.meters.missed_from.map(missed::look_back)
    }

    pub(super) fn view(&self) -> Option<&'a OwnerView> {
        self.view
    }

    pub(super) fn chassis(&self) -> Option<&'a OwnerView> {
        self.chassis
    }

    /// One line per account, per scope or for all, whatever the answer needs. The first line is
    /// for what no component explains.
    fn make_lines(&mut self, keys: &[&AccountKey], accounts: &[&Account], rollup: &mut Rollup<'_>) {
        let (devices, scopes) = (rollup.needs_devices(), rollup.needs_scopes());
        let unnamed = rollup.device("");
        let mut place: Vec<(Option<Scope>, DeviceId)> = vec![(None, unnamed)];
        for key in keys {
            let scope = scopes.then_some(key.scope);
            let name = if devices { rollup.device(&key.device) } else { unnamed };
            let wanted = (scope, name);
            let index = place.iter().position(|known| *known == wanted).unwrap_or_else(|| {
                place.push(wanted);
                place.len() - 1
            });
            self.line_of.push(index);
        }
        let empty = |&(scope, device): &(Option<Scope>, DeviceId)| Line {
            scope,
            device,
            energy: Default::default(),
            metered: Energy::ZERO,
            covered_ns: 0,
            metered_ns: 0,
        };
        self.lines = place.iter().map(empty).collect();
        self.touched = vec![false; place.len()];
        self.shown_from = vec![None; place.len()];
        // A device that is billed when it is read is shown also while it is silent.
        let lifetimes: Vec<Cell> =
            accounts.iter().map(|account| Cell { energy: account.lifetime, covered_ns: account.covered_ns }).collect();
        self.boundary.bill(&lifetimes, &mut self.billed);
        for account in self.billed.lines.iter().filter_map(|line| line.account).map(usize::from) {
            let Some((&line, account)) = self.line_of.get(account).zip(accounts.get(account)) else { continue };
            let known = &mut self.shown_from[line];
            *known = Some(known.map_or(account.first.at, |known| known.min(account.first.at)));
        }
    }

    /// How many accounts are the owner's own.
    fn own(&self) -> usize {
        self.view.map_or(0, |view| view.state.keys.len())
    }

    /// A posting of the owner's own history.
    pub(super) fn take(&mut self, version: u64, block: &HourBlock) {
        if let Some(view) = self.view {
            self.waiting.take(view, 0, version, block);
        }
    }

    /// A posting of its chassis' history.
    pub(super) fn take_chassis(&mut self, version: u64, block: &HourBlock) {
        let own = self.own();
        if let Some(chassis) = self.chassis {
            self.waiting.take(chassis, own, version, block);
        }
    }

    /// What a slot that waits says of its share of a chassis that covers so much of it.
    pub(super) fn weigh(&mut self, slot: Slot, chassis_ns: u64) -> Weight {
        let own = self.own();
        let cells = self.waiting.get_mut(slot);
        elsewhere::leave_out(&self.contests, slot, cells);
        let own = own.min(cells.len());
        self.boundary.survey(&cells[..own], SLOT, &mut self.billed);
        let meter = self.billed.survey.meter;
        // As the boundary decides between two meters: the owner's own counts if it covers nearly as much.
        if meter.is_some_and(|meter| meter.covered_ns > 0 && meter.covered_ns.saturating_add(JOIN_NS) >= chassis_ns) {
            let missed = self.missed(slot);
            self.billed.settle(&missed);
            // For the seconds that the chassis saw.
            let own_ns = self.billed.covered_ns;
            let seen_ns = if chassis_ns.saturating_add(JOIN_NS) >= own_ns { own_ns } else { chassis_ns };
            return Weight::Meter(part_of(&self.billed.energy(), seen_ns, own_ns));
        }
        Weight::Components(self.billed.survey.components.total())
    }

    /// Its share of a chassis in one slot; `on_top` of its own meter, or in place of one.
    pub(super) fn put_share(&mut self, slot: Slot, share: Cell, method: Method, on_top: bool) {
        if !on_top {
            self.waiting.put(slot, self.own(), &share);
        }
        self.shared.push_back((slot, method, on_top.then_some(share.energy)));
    }

    /// Bills every waiting slot before `border`.
    pub(super) fn bill_until(&mut self, border: Slot, rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        while let Some((slot, mut cells)) = self.waiting.pop_before(border) {
            self.bill(slot, &mut cells, rollup)?;
            self.waiting.give_back(cells);
        }
        Ok(())
    }

    /// Bills what waits and hands over what is left, to the end of the window.
    pub(super) fn finish(&mut self, rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        self.bill_until(Slot(i32::MAX), rollup)?;
        while self.advance(rollup)? {}
        Ok(())
    }

    fn bill(&mut self, slot: Slot, cells: &mut [Cell], rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        if slot < self.first && self.history.is_none() {
            return Ok(());
        }
        let is_doubled = elsewhere::leave_out(&self.contests, slot, cells);
        self.boundary.survey(cells, SLOT, &mut self.billed);
        let missed = self.missed(slot);
        self.billed.settle(&missed);
        self.note(slot);
        self.take_share(slot);
        if slot < self.first {
            return Ok(());
        }
        if is_doubled {
            self.billed.doubts.insert(Doubt::SameDeviceElsewhere);
        }
        while self.sum.as_ref().is_none_or(|sum| sum.until <= slot) {
            if !self.advance(rollup)? {
                return Ok(());
            }
        }
        self.add(slot);
        Ok(())
    }

    /// What is known of seconds that the meter misses in a slot, after its survey.
    fn missed(&mut self, slot: Slot) -> Missed {
        let survey = &self.billed.survey;
        let pending_ns = self.meters.pending_ns(slot);
        let misses = survey.meter.is_none_or(|meter| survey.components_ns > meter.covered_ns.saturating_add(JOIN_NS));
        let Some(history) = self.history.as_ref().filter(|_| misses && survey.components_ns > 0) else {
            return Missed { ratio: self.factor, pending_ns, expects_meter: false };
        };
        let expects_meter = pending_ns == 0 && history.expects_meter(slot, self.seat.at(slot));
        Missed { ratio: history.ratio(slot, survey.scopes), pending_ns, expects_meter }
    }

    /// Remembers what a slot showed.
    fn note(&mut self, slot: Slot) {
        let Some(history) = &mut self.history else { return };
        let is_linked = self.billed.survey.meter.is_some_and(|meter| meter.linked);
        let place = if is_linked { self.seat.at(slot) } else { None };
        history.note(slot, &self.billed.survey, place);
    }

    /// Adds what comes on top of its own meter, and names the way in which a chassis was shared out.
    fn take_share(&mut self, slot: Slot) {
        while let Some((of, method, on_top)) = self.shared.pop_front_if(|(shared, ..)| *shared <= slot) {
            let is_linked = self.billed.survey.meter.is_some_and(|meter| meter.linked);
            if of < slot {
                // Before the window, and not billed.
            } else if let Some(rest) = on_top {
                self.billed.lines.iter_mut().filter(|line| line.account.is_none()).for_each(|line| line.energy += rest);
                self.billed.methods.insert(method);
            } else if is_linked {
                self.billed.methods.remove(Method::Meter);
                self.billed.methods.insert(method);
            }
        }
    }

    /// Adds a slot's bill to the running sum.
    fn add(&mut self, slot: Slot) {
        let Some(sum) = self.sum.as_mut().filter(|sum| sum.from <= slot && sum.host.is_some()) else { return };
        let billed = &self.billed;
        // Readings after retirement, or before the date of service, are energy but no coverage: the
        // share of time that is covered never exceeds all of it.
        let expected_ns = overlap(&self.expected, slot.start()..slot.end());
        let metered = |ns: u64| if billed.metered { ns } else { 0 };
        let covered_ns = billed.covered_ns.min(expected_ns);
        sum.time.covered_ns += covered_ns;
        sum.time.metered_ns += metered(covered_ns);
        sum.time.ratio_ns += billed.ratio_ns.min(expected_ns - covered_ns);
        sum.methods.extend(billed.methods);
        sum.doubts.count(billed.doubts);
        for billed_line in &billed.lines {
            let account = billed_line.account.map(usize::from);
            let index = account.and_then(|account| self.line_of.get(account)).copied().unwrap_or(0);
            let line = &mut self.lines[index];
            line.energy += billed_line.energy;
            if billed.metered {
                line.metered += billed_line.energy.total();
            }
            line.covered_ns += billed_line.covered_ns.min(expected_ns);
            line.metered_ns += metered(billed_line.covered_ns.min(expected_ns));
            self.touched[index] = true;
        }
    }

    /// Hands the running sum over and begins the next; false at the end of the window.
    fn advance(&mut self, rollup: &mut Rollup<'_>) -> Result<bool, CostError> {
        if let Some(sum) = self.sum.take() {
            self.hand_over(&sum, rollup)?;
            if let Some(stretch) = self.stretches.peek_mut() {
                stretch.from = stretch.from.max(sum.until);
            }
        }
        self.stretches.next_if(|stretch| stretch.from >= stretch.until);
        let Some(stretch) = self.stretches.peek() else { return Ok(false) };
        let same = stretch.host.map_or(stretch.until, |host| rollup.same_until(host, stretch.from));
        let until = same.clamp(stretch.from.next(), stretch.until);
        self.sum = Some(Sum {
            host: stretch.host,
            from: stretch.from,
            until,
            time: HostTime::default(),
            methods: Methods::NONE,
            doubts: DoubtCounts::default(),
        });
        Ok(true)
    }

    fn hand_over(&mut self, sum: &Sum, rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        let Some(host) = sum.host else { return Ok(()) };
        let end = sum.until.start();
        let expected_ns = overlap(&self.expected, sum.from.start()..end);
        let expects = |from: &Option<Utc>| expected_ns > 0 && from.is_some_and(|from| from < end);
        let is_told = self.touched.iter().zip(&self.shown_from).map(|(&touched, from)| touched || expects(from));
        let lines: Vec<Line> =
            self.lines.iter().zip(is_told).filter(|(_, told)| *told).map(|(line, _)| *line).collect();
        if !lines.is_empty() || expected_ns > 0 {
            let time = HostTime { expected_ns, ..sum.time };
            let (slot, methods, doubts) = (sum.from, sum.methods, sum.doubts);
            rollup.add(&HostSlot { host, slot, time, methods, doubts, lines: &lines })?;
        }
        for line in &mut self.lines {
            let energy = ByQuality::default();
            *line = Line { energy, metered: Energy::ZERO, covered_ns: 0, metered_ns: 0, ..*line };
        }
        self.touched.fill(false);
        Ok(())
    }
}
