//! Who holds what of one machine, and how a line of its energy is shared among them.
//!
//! A slot is cut into *parts* where an allocation begins or ends. Within a part, of a line
//! - whose device allocations name: they share it evenly (one, as a rule). A name is that of the account's device,
//!   of what that is a part of (`x` of `x/…`), or of a part of it: a MIG instance of the board;
//! - that is another GPU or accelerator: those share it that hold GPUs by number only, each its number of those
//!   that nobody names. Else it is idle;
//! - of another scope of which a device is named: it is idle;
//! - that is anything else (CPU, memory, storage, what no component explains): by `cores / cores_of`. Where these
//!   come to more than one they are scaled down to one. What they leave is idle.
//!
//! An allocation that is alone on a machine and of which nobody knows how many cores the machine has holds all of
//! it: an exclusive node, but for GPUs where it names some. Beside others it holds no cores, because nothing
//! is guessed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use meter::{Scope, Utc};

use crate::usage::TenantId;

/// The label of a job that holds so many GPUs of each of its machines, of which nobody said which.
pub const GPUS_LABEL: &str = "gpus";

/// Common denominators beyond this are rounded: cores of several sizes on one machine.
const WHOLE_MAX: u64 = 1 << 40;
/// What a share is rounded to then.
const GRID: u64 = 1 << 32;

/// What one job holds on one machine for some time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// From here on.
    pub from: Utc,
    /// Up to here, exclusive.
    pub until: Utc,
    /// Whose it is, as the rollup knows them.
    pub tenant: TenantId,
    /// The job, such that two words about one job count once.
    pub job: u64,
    /// The devices, by name.
    pub devices: Arc<[Arc<str>]>,
    /// Cores.
    pub cores: u32,
    /// Cores of the machine; zero if nobody said.
    pub cores_of: u32,
    /// GPUs, where nobody said which.
    pub gpus: u32,
}

/// Who has how much of a line in one part: weights that add up to `whole`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// The tenants, each once, with their weights; none of them zero.
    pub of: Vec<(TenantId, u64)>,
    /// The sum of the weights.
    pub whole: u64,
    /// Whether it is by number: which device it is nobody said.
    pub by_number: bool,
}

/// Accounts by number, with how often they are named.
type Names = Arc<[(usize, u64)]>;

/// An account of the machine.
#[derive(Clone, Debug)]
struct Account {
    scope: Scope,
    device: Arc<str>,
    /// Whether it is a device by itself, not a part of one.
    is_whole: bool,
}

/// The allocations of one machine; slots are asked for in order.
#[derive(Clone, Debug, Default)]
pub struct Tenancy {
    held: Vec<Held>,
    accounts: Vec<Account>,
    /// Which accounts each allocation names, and how often.
    names: Vec<Names>,
    /// The first that has not begun yet.
    next: usize,
    live: Vec<usize>,
    /// Grows whenever who holds what changes.
    epoch: u64,
}

/// One span of time, cut into parts.
#[derive(Debug)]
pub struct Parts<'a> {
    epoch: u64,
    parts: Vec<Part<'a>>,
}

#[derive(Debug)]
struct Part<'a> {
    until: Utc,
    /// Who names which account, and how often.
    named: Vec<(usize, TenantId, u64)>,
    /// One bit for each scope of which a device is named.
    scopes: u16,
    /// Of GPUs, and of accelerators, that nobody names.
    by_number: [Shares; 2],
    rest: Shares,
    tenancy: &'a Tenancy,
}

impl Shares {
    /// All for one.
    #[must_use]
    pub fn all(tenant: TenantId) -> Self {
        Self { of: vec![(tenant, 1)], whole: 1, by_number: false }
    }

    /// By weights of a whole; what they leave is idle.
    fn by(weights: impl Iterator<Item = (TenantId, u64)>, whole: u64, by_number: bool) -> Self {
        let mut of: Vec<(TenantId, u64)> = Vec::new();
        let mut sum = 0;
        for (tenant, weight) in weights.filter(|(_, weight)| *weight > 0) {
            sum += weight;
            match of.iter_mut().find(|(known, _)| *known == tenant) {
                Some(known) => known.1 += weight,
                None => of.push((tenant, weight)),
            }
        }
        let whole = whole.max(sum);
        if whole > sum || of.is_empty() {
            of.push((TenantId::IDLE, (whole - sum).max(1)));
        }
        match of.as_slice() {
            [(tenant, _)] => Self { by_number, ..Self::all(*tenant) },
            _ => Self { of, whole, by_number },
        }
    }

    /// The tenant that has all of it, if one does.
    #[must_use]
    pub fn only(&self) -> Option<TenantId> {
        match self.of.as_slice() {
            [(tenant, _)] => Some(*tenant),
            _ => None,
        }
    }
}

impl Tenancy {
    /// The allocations of a machine, in any order, and the machine's accounts.
    #[must_use]
    pub fn new(mut held: Vec<Held>, accounts: Vec<(Scope, Arc<str>)>) -> Self {
        held.retain(|held| held.from < held.until);
        held.sort_by(|a, b| (a.from, a.until, a.job, &a.devices).cmp(&(b.from, b.until, b.job, &b.devices)));
        let mut tenancy = Self { held, ..Self::default() };
        tenancy.know(accounts);
        tenancy
    }

    /// Tells it the machine's accounts: lines are asked for by their numbers.
    pub fn know(&mut self, accounts: Vec<(Scope, Arc<str>)>) {
        let account = |(scope, device): (Scope, Arc<str>)| {
            let is_part = device.contains('/') || device.starts_with("MIG-");
            let is_whole = !is_part && !matches!(scope, Scope::Chassis | Scope::Pdu | Scope::Facility);
            Account { scope, device, is_whole }
        };
        self.accounts = accounts.into_iter().map(account).collect();
        // Most allocations name the same few devices.
        let mut known: HashMap<Arc<[Arc<str>]>, Names> = HashMap::new();
        let names = |held: &Held| {
            let found = known.entry(Arc::clone(&held.devices)).or_insert_with(|| {
                let times = |account: &Account| times_named(&held.devices, &account.device);
                let all = self.accounts.iter().map(times).enumerate();
                all.filter(|(_, times)| *times > 0).collect()
            });
            Arc::clone(found)
        };
        self.names = self.held.iter().map(names).collect();
    }

    /// A span of time, cut into parts where an allocation begins or ends, and at `also`. Spans come in order.
    pub fn parts(&mut self, span: &Range<Utc>, also: &[Utc]) -> Parts<'_> {
        let before = self.live.len();
        self.live.retain(|&index| self.held[index].until > span.start);
        let mut is_changed = self.live.len() < before;
        while let Some(held) = self.held.get(self.next).filter(|held| held.from < span.end) {
            if held.until > span.start {
                self.live.push(self.next);
                is_changed = true;
            }
            self.next += 1;
        }
        let live: Vec<&Held> = self.live.iter().map(|&index| &self.held[index]).collect();
        let edges = live.iter().flat_map(|held| [held.from, held.until]).chain(also.iter().copied());
        let mut borders: Vec<Utc> = edges.filter(|at| *at > span.start && *at < span.end).chain([span.end]).collect();
        borders.sort_unstable();
        borders.dedup();
        self.epoch += u64::from(is_changed || borders.len() > 1);
        let starts = [span.start].into_iter().chain(borders.iter().copied());
        let parts = starts.zip(&borders).map(|(start, &until)| Part::new(until, self.active(start), self));
        Parts { parts: parts.collect(), epoch: self.epoch }
    }

    /// Who holds something at an instant, each job once.
    fn active(&self, at: Utc) -> Vec<usize> {
        let mut active: Vec<usize> = Vec::new();
        let mut places: HashMap<u64, usize> = HashMap::new();
        let is_there = |index: &usize| self.held[*index].from <= at && at < self.held[*index].until;
        for index in self.live.iter().copied().filter(is_there) {
            match places.entry(self.held[index].job) {
                Entry::Occupied(place) => {
                    // Told twice, such as by an agent and by an import: who names devices knows more.
                    let known = &mut active[*place.get()];
                    if self.held[*known].devices.is_empty() && !self.held[index].devices.is_empty() {
                        *known = index;
                    }
                }
                Entry::Vacant(place) => {
                    place.insert(active.len());
                    active.push(index);
                }
            }
        }
        active
    }
}

impl Parts<'_> {
    /// A number that stays the same for as long as nobody begins or ends.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether nobody begins or ends here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.parts.len() == 1
    }

    /// Who has how much of an account's line, part by part, each with its end; of what no component explains if no
    /// account is named.
    pub fn shares(&self, account: Option<usize>) -> impl Iterator<Item = (Utc, Shares)> {
        self.parts.iter().map(move |part| (part.until, part.shares(account)))
    }
}

impl<'a> Part<'a> {
    /// The part up to `until`, in which these hold something.
    fn new(until: Utc, active: Vec<usize>, tenancy: &'a Tenancy) -> Self {
        let holds: Vec<&Held> = active.iter().map(|&index| &tenancy.held[index]).collect();
        let of_each = active.iter().zip(&holds).flat_map(|(&index, held)| {
            tenancy.names[index].iter().map(|&(account, times)| (account, held.tenant, times))
        });
        let named: Vec<(usize, TenantId, u64)> = of_each.collect();
        let is_named = |account: usize| named.iter().any(|(known, ..)| *known == account);
        let mut scopes = 0;
        let mut unnamed = [0, 0];
        for (number, account) in tenancy.accounts.iter().enumerate().filter(|(_, account)| account.is_whole) {
            if is_named(number) {
                scopes |= bit(account.scope);
            } else if let Some(kind) = kind(account.scope) {
                unnamed[kind] += 1;
            }
        }
        let by_number = unnamed.map(|unnamed| by_number(&holds, unnamed));
        Self { until, named, scopes, by_number, rest: by_cores(&holds), tenancy }
    }

    fn shares(&self, account: Option<usize>) -> Shares {
        let Some((number, account)) = account.and_then(|number| Some((number, self.tenancy.accounts.get(number)?)))
        else {
            return self.rest.clone();
        };
        let mut named = self.named.iter().filter(|(known, ..)| *known == number).peekable();
        if named.peek().is_some() && !account.device.is_empty() {
            return Shares::by(named.map(|&(_, tenant, times)| (tenant, times)), 0, false);
        }
        match kind(account.scope) {
            Some(kind) => self.by_number[kind].clone(),
            None if self.scopes & bit(account.scope) != 0 => Shares::all(TenantId::IDLE),
            None => self.rest.clone(),
        }
    }
}

const fn bit(scope: Scope) -> u16 {
    1 << scope as u16
}

/// The scopes that are never shared by cores.
const fn kind(scope: Scope) -> Option<usize> {
    match scope {
        Scope::Gpu => Some(0),
        Scope::Accelerator => Some(1),
        _ => None,
    }
}

/// Of a GPU that nobody names, one of so many.
fn by_number(holds: &[&Held], unnamed: u64) -> Shares {
    if let [only] = holds
        && only.cores_of == 0
        && only.gpus == 0
        && only.devices.is_empty()
    {
        return Shares::all(only.tenant);
    }
    let number = |held: &Held| if held.devices.is_empty() { u64::from(held.gpus) } else { 0 };
    let numbers = || holds.iter().map(|held| (held.tenant, number(held))).filter(|(_, number)| *number > 0);
    let (holders, sum) = (numbers().count(), numbers().map(|(_, number)| number).sum::<u64>());
    let is_known = holders == 0 || holders == 1 && sum >= unnamed;
    Shares::by(numbers(), unnamed.max(1), !is_known)
}

/// Whether an allocation that names `name` holds something of the account with this device.
#[must_use]
pub fn names_device(name: &Arc<str>, device: &str) -> bool {
    times_named(std::slice::from_ref(name), device) > 0
}

/// How often an allocation names a device: once, or each of its parts.
fn times_named(names: &[Arc<str>], device: &str) -> u64 {
    let whole = device.split_once('/').map_or(device, |(whole, _)| whole);
    let is_part = |name: &str| {
        let instance = name.strip_prefix("MIG-").unwrap_or(name);
        instance.strip_prefix(device).is_some_and(|rest| rest.starts_with('/'))
    };
    if names.iter().any(|name| **name == *device || **name == *whole) {
        return 1;
    }
    names.iter().filter(|name| is_part(name)).count() as u64
}

/// Everything that is not shared by device.
fn by_cores(holds: &[&Held]) -> Shares {
    if let [only] = holds
        && only.cores_of == 0
    {
        return Shares::all(only.tenant);
    }
    let known = || holds.iter().filter(|held| held.cores_of > 0);
    let whole = known().fold(1, |whole, held| lcm(whole, u64::from(held.cores_of)));
    let whole = if whole > WHOLE_MAX { GRID } else { whole };
    let weight = |held: &&Held| u64::from(held.cores) * whole / u64::from(held.cores_of);
    Shares::by(known().map(|held| (held.tenant, weight(held))), whole, false)
}

fn lcm(a: u64, b: u64) -> u64 {
    let (mut one, mut other) = (a, b);
    while other > 0 {
        (one, other) = (other, one % other);
    }
    (a / one.max(1)).saturating_mul(b)
}

#[cfg(test)]
mod tests;
