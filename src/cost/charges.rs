//! What is due each month: for the highest load, and whatever is used.
//!
//! Both are due for a site, under one rate, in one month of the rate's zone. They become prices of
//! energy, so that they add up over any grouping and step: the demand charge a price of the peak slot's
//! energy, a fixed charge one of the month's. A window without the peak slot carries no demand charge.
//!
//! The load is that of all hosts of the site, whoever asks for what; so it is summed beforehand
//! ([`Rollup::of_loads`](crate::Rollup::of_loads)).

use std::collections::HashMap;

use meter::{Energy, Labels, Slot};

use crate::money::{KWH, MICRO};
use crate::rates::{Rate, RateCard};
use crate::window::{Window, month_around};

/// Least energy of a month that can bear a fixed charge: about half a joule. Below it a price per kWh would have
/// no bounds.
const BEARING_MIN: i128 = 1 << 40;
/// Quarter-hours of an hour: 1 kW is ¼ kWh in each.
pub(crate) const SLOTS_PER_HOUR: i64 = 4;

/// A site's months under one rate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BillKey {
    /// The label `site`; empty for hosts that name none.
    site: String,
    /// The index of the rate.
    rate: u32,
    /// The month's first slot.
    month: Slot,
}

/// What is due for a site in a month under one rate, as prices of energy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charge {
    /// The slot whose energy bears the demand charge.
    pub(crate) peak: Option<Slot>,
    /// A price per kWh and a factor, as [`Amount::of`](crate::money::Amount::of) takes them.
    pub(crate) fixed: Option<(i64, i64)>,
}

/// What is due, by site, rate and month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charges(HashMap<BillKey, Charge>);

/// A bill, while load is added up.
#[derive(Clone, Debug)]
pub(crate) struct Bill {
    pub(crate) key: BillKey,
    pub(crate) month: Window,
    /// For how many slots of the month its rate is in force.
    pub(crate) in_force: usize,
}

/// Load by bill and slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct Loads(HashMap<u32, Load>);

#[derive(Clone, Debug, Default)]
struct Load {
    energy: Energy,
    /// At the facility's meter, in millionths of ½ pJ, by the month's slots.
    facility: Vec<i128>,
}

impl Bill {
    /// The bill of a slot.
    pub(crate) fn of(rate: &Rate, index: u32, labels: &Labels, slot: Slot) -> Self {
        let site = labels.get("site").cloned().unwrap_or_default();
        let (start, end) = month_around(slot.start(), &rate.tz);
        // A month that begins inside a slot (zones of the 19th century) begins with it.
        let month = Window::of_slots(start.slot(), end.slot().max(slot.next()));
        Self { key: BillKey { site, rate: index, month: month.first() }, month, in_force: 0 }
    }
}

impl Rate {
    /// Whether anything is due each month.
    #[must_use]
    pub const fn has_charges(&self) -> bool {
        self.demand_nano > 0 || self.fixed_nano > 0
    }
}

impl RateCard {
    /// The months whose load decides what is due in a window; nothing where no rate in force has such charges.
    #[must_use]
    pub fn charged_window(&self, window: Window) -> Option<Window> {
        let overlaps = |rate: &&Rate| {
            rate.valid_from.is_none_or(|from| from < window.until())
                && rate.valid_to.is_none_or(|to| window.first() < to)
        };
        let last = Slot(window.until().0.saturating_sub(1)).max(window.first());
        let months = self.rates().iter().filter(|rate| rate.has_charges()).filter(overlaps).map(|rate| {
            let edge = |slot: Slot| month_around(slot.start(), &rate.tz);
            (edge(window.first()).0.slot(), edge(last).1.slot())
        });
        let hull = months.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))?;
        Some(Window::of_slots(hull.0.min(window.first()), hull.1.max(window.until())))
    }
}

impl Charges {
    pub(crate) fn of(&self, key: &BillKey) -> Charge {
        self.0.get(key).copied().unwrap_or_default()
    }
}

impl Loads {
    /// Adds energy of a slot.
    pub(crate) fn add(&mut self, number: u32, bill: &Bill, slot: Slot, energy: Energy, pue_micro: i64) {
        let load = self.0.entry(number).or_default();
        load.energy += energy;
        load.facility.resize(bill.month.len(), 0);
        let place = usize::try_from(slot.0 - bill.month.first().0).ok();
        if let Some(sum) = place.and_then(|place| load.facility.get_mut(place)) {
            *sum += energy.0 * i128::from(pue_micro);
        }
    }

    /// What is due.
    pub(crate) fn charges(&self, bills: &[Bill], card: &RateCard) -> Charges {
        let mut charges = HashMap::new();
        // Versions of a rate share the month's peak: it is billed once, at the price in force then.
        let mut peaks: HashMap<(&str, usize, Slot), (i128, Slot, &BillKey)> = HashMap::new();
        for (number, bill) in (0..).zip(bills) {
            let (Some(rate), Some(load)) = (card.rates().get(bill.key.rate as usize), self.0.get(&number)) else {
                continue;
            };
            let fixed = fixed_price(rate, bill, load.energy);
            charges.insert(bill.key.clone(), Charge { peak: None, fixed });
            let Some((most, slot)) = load.peak(bill).filter(|_| rate.demand_nano > 0) else { continue };
            let versions = card.rates().iter().position(|other| other.labels == rate.labels).unwrap_or(0);
            let known = peaks.entry((&bill.key.site, versions, bill.month.first())).or_insert((most, slot, &bill.key));
            if (most, std::cmp::Reverse(slot)) > (known.0, std::cmp::Reverse(known.1)) {
                *known = (most, slot, &bill.key);
            }
        }
        for (_, slot, key) in peaks.into_values() {
            charges.entry(key.clone()).or_default().peak = Some(slot);
        }
        Charges(charges)
    }
}

impl Load {
    /// The highest load and its slot, the first of several.
    fn peak(&self, bill: &Bill) -> Option<(i128, Slot)> {
        let slots = (bill.month.first().0..).map(Slot);
        let loads = self.facility.iter().copied().zip(slots).filter(|(load, _)| *load > 0);
        loads.max_by_key(|&(load, slot)| (load, std::cmp::Reverse(slot)))
    }
}

/// A fixed charge as a price per kWh of what was used: in full if the rate is in force all month, else by days.
fn fixed_price(rate: &Rate, bill: &Bill, Energy(energy): Energy) -> Option<(i64, i64)> {
    if rate.fixed_nano == 0 || energy < BEARING_MIN {
        return None;
    }
    let (part, whole) = (bill.in_force.min(bill.month.len()) as i128, (bill.month.len() as i128).max(1));
    let femto = i128::from(rate.fixed_nano) * i128::from(MICRO) * part / whole;
    // femto · KWH / energy, by a divisor of 62 bits, so that nothing overflows; 18 digits of it are right.
    let surplus = (i128::BITS - energy.leading_zeros()).saturating_sub(62);
    let divisor = energy >> surplus;
    let scaled = femto / divisor * KWH + femto % divisor * KWH / divisor;
    let half = if surplus > 0 { 1 << (surplus - 1) } else { 0 };
    let price = (scaled + half) >> surplus;
    match i64::try_from(price) {
        Ok(price) => Some((price, 1)),
        Err(_) => Some((i64::try_from(price / i128::from(MICRO)).unwrap_or(i64::MAX), MICRO)),
    }
}
