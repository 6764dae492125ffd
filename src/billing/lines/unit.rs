//! One billed owner while its slots are added up.

mod sharing;

use std::collections::VecDeque;
use std::ops::Range;

use cost::{CostError, DeviceId, HostId, HostSlot, HostTime, Line, Rollup, Window};
use energy::boundary::{History, JOIN_NS, Ratio};
use energy::{Account, Billed, Boundary, Cell, HourBlock, Missed};
use meter::{
    AccountKey, ByQuality, Doubt, DoubtCounts, Energy, Method, Methods, SLOT_NS, Scope, Slot, Utc, overlap_ns,
};

use super::cuts::{Life, Sliced};
use super::elsewhere::{self, Contest};
use super::ground::{Ground, Seat, Stretch};
use super::held::{Counted, Tenants};
use super::missed::{self, Meters};
use super::waiting::Waiting;
use crate::figures::Figures;
use crate::published::OwnerView;

mod basis;
mod replay;

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
    tenants: Tenants,
    /// When each account was read first and last; where somebody holds something.
    lives: Vec<Life>,
    /// What the day book needs of it.
    copying: replay::Copying,
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

    fn with(
        figures: &Figures<'a>,
        window: Window,
        ground: Ground<'a>,
        chassis: Option<&'a OwnerView>,
        boundary: Boundary,
    ) -> Self {
        let mut waiting = Waiting::default();
        let own = ground.view.map_or(0, |view| view.state.keys.len());
        if ground.tenants.holding.is_some() {
            waiting.keep_cuts();
        }
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
            tenants: ground.tenants,
            lives: Vec::new(),
            copying: replay::Copying::default(),
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
        if let Some(holding) = &mut self.tenants.holding {
            holding.know(keys);
            let life = |account: &&Account| Life { first: account.first.at, last: account.frontier.at };
            self.lives = accounts.iter().map(life).collect();
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
            self.copying.see(version, view);
            self.waiting.take(view, 0, version, block);
        }
    }

    /// A posting of its chassis' history.
    pub(super) fn take_chassis(&mut self, version: u64, block: &HourBlock) {
        let own = self.own();
        if let Some(chassis) = self.chassis {
            self.copying.see(version, chassis);
            self.waiting.take(chassis, own, version, block);
        }
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
        self.write_down(slot);
        self.place(slot, cells, rollup)
    }

    /// Adds what is billed in a slot to the sum that it belongs to.
    fn place(&mut self, slot: Slot, cells: &[Cell], rollup: &mut Rollup<'_>) -> Result<(), CostError> {
        if self.tenants.holding.as_mut().is_some_and(|holding| holding.begin(slot)) {
            self.end_before(slot);
        }
        while self.sum.as_ref().is_none_or(|sum| sum.until <= slot) {
            if !self.advance(rollup)? {
                return Ok(());
            }
        }
        self.add(slot, cells);
        Ok(())
    }

    /// Lets the running sum end here: others hold the lines from now on.
    fn end_before(&mut self, slot: Slot) {
        if let Some(sum) = self.sum.as_mut().filter(|sum| sum.from < slot) {
            sum.until = sum.until.min(slot);
        }
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

    /// Adds a slot's bill to the running sum.
    fn add(&mut self, slot: Slot, cells: &[Cell]) {
        let cuts = self.waiting.take_cuts(slot);
        let Some(sum) = self.sum.as_mut().filter(|sum| sum.from <= slot && sum.host.is_some()) else { return };
        let billed = &self.billed;
        let sliced = Sliced { slot, cells, cuts: &cuts, lives: &self.lives };
        // Readings after retirement, or before the date of service, are energy but no coverage: the
        // share of time that is covered never exceeds all of it.
        let holding = self.tenants.holding.as_ref();
        let Counted { covered_ns, expected_ns } = holding.map_or_else(
            || Counted {
                covered_ns: billed.covered_ns,
                expected_ns: overlap_ns(&self.expected, &(slot.start()..slot.end())),
            },
            |holding| holding.counted(&sliced, billed, &self.boundary, &self.expected),
        );
        let metered = |ns: u64| if billed.metered { ns } else { 0 };
        let covered_ns = covered_ns.min(expected_ns);
        sum.time.covered_ns += covered_ns;
        sum.time.metered_ns += metered(covered_ns);
        sum.time.ratio_ns += billed.ratio_ns.min(expected_ns - covered_ns);
        sum.methods.extend(billed.methods);
        sum.doubts.count(billed.doubts);
        if let Some(holding) = &mut self.tenants.holding {
            holding.take(&sliced, billed, &self.boundary, &self.line_of, expected_ns);
            return;
        }
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
        let span = self.tenants.within(sum.from.start()..end);
        let expected_ns = overlap_ns(&self.expected, &span);
        let expects = |from: &Option<Utc>| expected_ns > 0 && from.is_some_and(|from| from < end);
        let is_told = self.touched.iter().zip(&self.shown_from).map(|(&touched, from)| touched || expects(from));
        let told = || is_told.clone().enumerate().filter(|(_, told)| *told).map(|(index, _)| index);
        let (lines, holders) = match &mut self.tenants.holding {
            Some(holding) => holding.hand_over(&self.lines, told().collect()),
            None => {
                let lines: Vec<Line> = told().map(|index| self.lines[index]).collect();
                let holders = self.tenants.of_nobody(lines.len());
                (lines, holders)
            }
        };
        if !lines.is_empty() || expected_ns > 0 {
            let time = HostTime { expected_ns, ..sum.time };
            let (slot, methods, doubts) = (sum.from, sum.methods, sum.doubts);
            rollup.add_held(&HostSlot { host, slot, time, methods, doubts, lines: &lines }, &holders)?;
        }
        for line in &mut self.lines {
            let energy = ByQuality::default();
            *line = Line { energy, metered: Energy::ZERO, covered_ns: 0, metered_ns: 0, ..*line };
        }
        self.touched.fill(false);
        Ok(())
    }
}
