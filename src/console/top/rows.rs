//! Rows of the view: chassis and hosts that sit in none, or the biggest consumers; filtered and sorted.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use super::answers::Key;
use super::session::Figures;

/// What a row is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id {
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) is_chassis: bool,
}

/// A row. What was not read is not there, and never zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub(super) id: Id,
    /// The chassis of a host, where hosts are shown.
    pub(super) chassis: String,
    /// Hosts that are known to be in it, at least one.
    pub(super) hosts: usize,
    /// Those of them that are read now.
    pub(super) read: usize,
    /// The power of those that are read now.
    pub(super) watts: Option<f64>,
    /// What was billed in the session.
    pub(super) session: Option<Figures>,
    /// How the hosts are that are not read.
    pub(super) state: String,
    /// Names of its hosts in one text: what a filter looks through.
    names: String,
}

/// By what rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Power,
    Energy,
    Cost,
    Name,
}

/// What rows are made of.
pub(super) struct Sources<'a> {
    pub(super) watts: &'a HashMap<Key, f64>,
    pub(super) session: Option<&'a BTreeMap<Key, Figures>>,
    pub(super) states: &'a BTreeMap<Key, String>,
}

impl Sort {
    pub(super) const ALL: [Self; 4] = [Self::Power, Self::Energy, Self::Cost, Self::Name];

    pub(super) const fn word(self) -> &'static str {
        ["power", "energy", "cost", "name"][self as usize]
    }

    /// The next one; money is passed over where it is hidden.
    pub(super) fn next(self, is_cost_hidden: bool) -> Self {
        let next = Self::ALL[(self as usize + 1) % Self::ALL.len()];
        if is_cost_hidden && next == Self::Cost { next.next(true) } else { next }
    }

    /// The greatest first, but names from A to Z; what is not known comes last.
    fn order(self, a: &Row, b: &Row) -> Ordering {
        let known = |of: fn(&Row) -> Option<i128>| of(b).cmp(&of(a));
        match self {
            Self::Power => b.watts.unwrap_or(-1.0).total_cmp(&a.watts.unwrap_or(-1.0)),
            Self::Energy => known(|row| row.session.as_ref().map(|figures| figures.uj)),
            Self::Cost => dearest(a, b),
            Self::Name => Ordering::Equal,
        }
        .then_with(|| (&a.id.name, &a.id).cmp(&(&b.id.name, &b.id)))
    }
}

/// By cost, the dearest first; each currency for itself, as amounts of two cannot be compared.
fn dearest(a: &Row, b: &Row) -> Ordering {
    let costs = |row: &Row| {
        let costs = row.session.iter().flat_map(|figures| &figures.costs);
        costs.map(|(currency, (_, amount))| (*currency, *amount)).next()
    };
    match (costs(a), costs(b)) {
        (Some(a), Some(b)) => a.0.cmp(&b.0).then_with(|| b.1.cmp(&a.1)),
        (a, b) => b.is_some().cmp(&a.is_some()),
    }
}

/// One row for each chassis and for each host without one; for each host, if `by_host`.
pub(super) fn rows(of: &Sources<'_>, by_host: bool) -> Vec<Row> {
    // A host that moved has energy in two places, and power in one.
    let mut keys: BTreeMap<&Key, ()> = of.watts.keys().map(|key| (key, ())).collect();
    keys.extend(of.session.iter().flat_map(|rows| rows.keys()).map(|key| (key, ())));
    keys.extend(of.states.keys().map(|key| (key, ())));
    let mut rows: BTreeMap<Id, Row> = BTreeMap::new();
    for key in keys.into_keys() {
        let is_chassis = !key.chassis.is_empty() && (!by_host || key.chassis == key.host);
        let name = if is_chassis { &key.chassis } else { &key.host };
        let id = Id { cluster: key.cluster.clone(), name: name.clone(), is_chassis };
        let row = rows.entry(id.clone()).or_insert_with(|| Row::new(id));
        row.take(key, of);
    }
    rows.into_values().collect()
}

impl Row {
    fn new(id: Id) -> Self {
        let (chassis, state, names) = (String::new(), String::new(), String::new());
        Self { id, chassis, hosts: 0, read: 0, watts: None, session: None, state, names }
    }

    fn take(&mut self, key: &Key, of: &Sources<'_>) {
        self.hosts += 1;
        if !self.id.is_chassis {
            self.chassis.clone_from(&key.chassis);
        }
        if let Some(watts) = of.watts.get(key) {
            self.read += 1;
            *self.watts.get_or_insert(0.0) += watts;
        }
        if let Some(figures) = of.session.and_then(|rows| rows.get(key)) {
            self.session.get_or_insert_default().add(figures);
        }
        if let Some(state) = of.states.get(key)
            && !self.state.contains(state.as_str())
        {
            let comma = if self.state.is_empty() { "" } else { ", " };
            self.state = format!("{}{comma}{state}", self.state);
        }
        self.names.push_str(&key.host.to_lowercase());
        self.names.push('\n');
    }

    /// How it is, in a word.
    pub(super) fn state(&self) -> &str {
        match (self.state.as_str(), self.watts) {
            ("", Some(_)) => "live",
            ("", None) => "no reading",
            (state, _) => state,
        }
    }

    /// Whether every word of a filter, in lower case, is in its name, its chassis', its cluster's or one of its hosts'.
    pub(super) fn matches(&self, filter: &str) -> bool {
        let own = [&self.id.name, &self.chassis, &self.id.cluster].map(|text| text.to_lowercase());
        let is_in = |word: &str| {
            self.names.contains(word) || own.iter().any(|text| text.contains(word)) || self.state().contains(word)
        };
        filter.split_whitespace().all(is_in)
    }
}

/// Which rows are shown, in their order.
pub(super) fn shown(rows: &[Row], filter: &str, sort: Sort, is_reversed: bool) -> Vec<usize> {
    let filter = filter.to_lowercase();
    let mut shown: Vec<usize> = (0..rows.len()).filter(|index| rows[*index].matches(&filter)).collect();
    shown.sort_by(|a, b| sort.order(&rows[*a], &rows[*b]));
    if is_reversed {
        shown.reverse();
    }
    shown
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn key(chassis: &str, host: &str) -> Key {
        Key { cluster: "c".into(), chassis: chassis.into(), host: host.into() }
    }

    fn of(uj: i128) -> Figures {
        Figures { uj, ..Figures::default() }
    }

    fn fleet() -> (HashMap<Key, f64>, BTreeMap<Key, Figures>, BTreeMap<Key, String>) {
        let watts = [(key("enc", "n1"), 100.0), (key("enc", "n2"), 50.0), (key("", "n4"), 120.0)];
        let energy = [(key("enc", "n1"), of(10)), (key("enc", "n3"), of(5)), (key("", "n4"), of(70))];
        let states = [(key("enc", "n3"), "silent".to_owned()), (key("", "n5"), "never_seen".to_owned())];
        (watts.into(), energy.into(), states.into())
    }

    #[test]
    fn a_chassis_has_the_power_and_energy_of_its_hosts_once() {
        let (watts, energy, states) = fleet();
        let of = Sources { watts: &watts, session: Some(&energy), states: &states };
        let by_chassis = rows(&of, false);
        let told =
            |row: &Row| (row.id.name.clone(), row.read, row.hosts, row.watts, row.session.as_ref().map(|f| f.uj));
        assert_eq!(
            by_chassis.iter().map(told).collect::<Vec<_>>(),
            [
                ("enc".into(), 2, 3, Some(150.0), Some(15)),
                ("n4".into(), 1, 1, Some(120.0), Some(70)),
                ("n5".into(), 0, 1, None, None)
            ]
        );
        assert_eq!(by_chassis[0].state(), "silent");
        let by_host = rows(&of, true);
        assert_eq!(by_host.len(), 5);
        for all in [&by_chassis, &by_host] {
            let watts: f64 = all.iter().filter_map(|row| row.watts).sum();
            assert!((watts - 270.0).abs() < 1e-9, "{watts}");
            assert_eq!(all.iter().filter_map(|row| row.session.as_ref()).map(|f| f.uj).sum::<i128>(), 85);
        }
    }

    #[test]
    fn a_chassis_without_hosts_is_one_row_in_both_views() {
        let watts = HashMap::from([(key("enc", "enc"), 5.0)]);
        let of = Sources { watts: &watts, session: None, states: &BTreeMap::new() };
        for by_host in [false, true] {
            let all = rows(&of, by_host);
            assert_eq!((all.len(), all[0].id.is_chassis, all[0].watts), (1, true, Some(5.0)));
        }
    }

    #[test]
    fn rows_are_sorted_and_filtered() {
        let (watts, energy, states) = fleet();
        let of = Sources { watts: &watts, session: Some(&energy), states: &states };
        let all = rows(&of, false);
        let names = |filter: &str, sort: Sort, back: bool| -> Vec<&str> {
            shown(&all, filter, sort, back).into_iter().map(|index| all[index].id.name.as_str()).collect()
        };
        assert_eq!(names("", Sort::Power, false), ["enc", "n4", "n5"]);
        assert_eq!(names("", Sort::Energy, false), ["n4", "enc", "n5"]);
        assert_eq!(names("", Sort::Name, true), ["n5", "n4", "enc"]);
        assert_eq!(names("N2", Sort::Name, false), ["enc"], "a host leads to its chassis");
        assert_eq!(names("n silent", Sort::Name, false), ["enc"], "every word counts");
        assert!(names("nobody", Sort::Name, false).is_empty());
        assert_eq!(Sort::Energy.next(true), Sort::Name);
    }
}
