//! What a page comes to: accounts, each with a power and a counter of now, and what was refused.

use std::collections::{BTreeMap, BTreeSet};

use meter::{AccountKey, OwnerKind, Refusal, Scope};

use super::exporters::{Counts, Exporter, Known, Several, Spot};
use super::hwmon;
use super::page::Page;
use super::text::Series;
use super::value::Value;

/// Most accounts of one page.
const ACCOUNTS_MAX: usize = 1024;

/// An account of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) key: AccountKey,
    /// Its power, or why it is none; nothing if the page has none for it.
    pub(super) power: Option<Value>,
    /// Its counter, or why it is none; nothing if the page has none for it.
    pub(super) counter: Option<Value>,
    /// What its counter counts from; zero if there is none.
    pub(super) epoch: u64,
    /// Whether its counter is a register of the kernel's powercap zones, which wraps.
    pub(super) is_rapl: bool,
    /// How often its values are new, in nanoseconds; zero for at every request.
    pub(super) renews_ns: u64,
    /// Who shows it, for people.
    pub(super) about: String,
}

/// Everything that a page says.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Sorted by account.
    pub(super) accounts: Vec<Account>,
    /// What was refused and belongs to no account of the list.
    pub(super) refused: BTreeMap<Refusal, u64>,
    /// What was left out, in words for people.
    pub(super) remarks: BTreeSet<&'static str>,
}

/// A value that may be an account's.
struct Candidate<'a> {
    known: Known,
    series: &'a Series<'a>,
    value: Value,
}

/// The candidates of an account: powers and counters.
#[derive(Default)]
struct Both<'a> {
    powers: Vec<Candidate<'a>>,
    counters: Vec<Candidate<'a>>,
}

/// Sorts a page's series into accounts.
pub(super) fn accounts(page: &Page<'_>) -> Content {
    let mut content = Content { refused: page.refused.clone(), ..Content::default() };
    let mut found: BTreeMap<AccountKey, Both<'_>> = BTreeMap::new();
    for (known, series) in &page.series {
        let Some(value) = known.metric.unit.read(series.value) else { continue };
        match placed(*known, series, page) {
            Spot::Account(key) if found.len() == ACCOUNTS_MAX && !found.contains_key(&key) => {
                content.refuse(Refusal::OwnerAccountCap);
            }
            Spot::Account(key) => {
                let both = found.entry(key).or_default();
                let list = if matches!(value, Value::Power(_)) { &mut both.powers } else { &mut both.counters };
                list.push(Candidate { known: *known, series, value });
            }
            Spot::Left(why) => _ = content.remarks.insert(why),
            Spot::Nameless => {
                content.refuse(Refusal::BadName);
                content.remarks.insert("series whose labels do not name their device (a GPU goes by its UUID)");
            }
        }
    }
    content.remarks.remove("");
    for (key, both) in found {
        let power = content.settle(both.powers);
        let counter = content.settle(both.counters);
        let Some(shown) = power.or(counter) else { continue };
        content.accounts.push(Account {
            key,
            power: power.map(|chosen| chosen.value),
            counter: counter.map(|chosen| chosen.value),
            epoch: counter.map_or(0, |chosen| epoch(chosen.known, page)),
            is_rapl: counter.is_some_and(|chosen| is_rapl(chosen.known)),
            renews_ns: chosen_period(&[power, counter], page),
            about: about(shown.known.exporter, power, counter),
        });
    }
    content
}

/// Where a series belongs. PDUs are reference meters, and nothing else is one.
fn placed(known: Known, series: &Series<'_>, page: &Page<'_>) -> Spot {
    match (known.metric.place)(series, page) {
        Spot::Account(key) if (key.scope == Scope::Pdu) != (page.kind == OwnerKind::Meter) => Spot::Left(
            "PDUs belong to a target that is configured as `meter`, machines to one that is `hosts` or `chassis`",
        ),
        spot => spot,
    }
}

/// What was read of an account, and where.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    known: Known,
    series: &'a Series<'a>,
    value: Value,
}

impl Content {
    fn refuse(&mut self, reason: Refusal) {
        *self.refused.entry(reason).or_default() += 1;
    }

    /// Of the candidates the best that is a value; else the best that is none, so that its reason is told.
    /// The reasons of others are counted.
    fn settle<'a>(&mut self, mut candidates: Vec<Candidate<'a>>) -> Option<Chosen<'a>> {
        candidates.sort_by_key(|candidate| candidate.known.order);
        let mut chosen: Option<Chosen<'a>> = None;
        let mut others = Vec::new();
        for group in candidates.chunk_by(|a, b| a.known.order == b.known.order) {
            let Some(value) = self.of_group(group) else { continue };
            let this = Chosen { known: group[0].known, series: group[0].series, value };
            let replaced = match chosen {
                Some(before) if before.value.refusal().is_none() || value.refusal().is_some() => {
                    others.extend(value.refusal());
                    continue;
                }
                before => before,
            };
            others.extend(replaced.and_then(|before| before.value.refusal()));
            chosen = Some(this);
        }
        for reason in others {
            self.refuse(reason);
        }
        chosen
    }

    /// The one value of candidates of the same rank; nothing if they have none in common.
    fn of_group(&mut self, group: &[Candidate<'_>]) -> Option<Value> {
        let first = group.first()?;
        let mut values = group.iter().map(|candidate| candidate.value);
        match first.known.metric.several {
            Several::Same => values.find(|value| value.refusal().is_none()).or(Some(first.value)),
            Several::Latest => group.iter().max_by_key(|one| one.series.at_ms).map(|one| one.value),
            Several::Parts(pieces) if group.len() == pieces => values.reduce(Value::plus),
            Several::Parts(_) => {
                self.remarks.insert("sums of which a part is missing");
                None
            }
            Several::Unclear if group.len() == 1 => Some(first.value),
            Several::Unclear => {
                self.remarks.insert("several values for the same, of which it is not known which one is meant");
                None
            }
        }
    }
}

/// What a counter counts from: another metric or another exporter may stand elsewhere, and one that an
/// exporter keeps itself begins with its process. For a register nothing says when it began: a fall tells.
fn epoch(known: Known, page: &Page<'_>) -> u64 {
    let start = match known.exporter.counts {
        Counts::Itself => page.start.as_str(),
        Counts::Register => "",
    };
    meter::hash::epoch(&format!("{}/{}/{start}", known.exporter.name, known.order.1))
}

/// Whether a counter is a powercap zone's register as it stands.
fn is_rapl(known: Known) -> bool {
    let name = known.metric.name;
    known.exporter.counts == Counts::Register && (name.contains("_rapl_") || name.starts_with("scaph_"))
}

/// How often an account's values are new: as its exporter renews them, or as its sensor averages.
fn chosen_period(chosen: &[Option<Chosen<'_>>], page: &Page<'_>) -> u64 {
    let period = |one: &Chosen<'_>| {
        let renews = one.known.exporter.renews_s.saturating_mul(1_000_000_000);
        renews.max(hwmon::interval_ns(one.series, page))
    };
    chosen.iter().flatten().map(period).max().unwrap_or(0)
}

fn about(exporter: &Exporter, power: Option<Chosen<'_>>, counter: Option<Chosen<'_>>) -> String {
    let names: Vec<&str> = [counter, power].iter().flatten().map(|chosen| chosen.series.name).collect();
    format!("{}: {}", exporter.name, names.join(", "))
}
