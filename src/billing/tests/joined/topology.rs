//! Who belongs to whom, worked out by hand.

use std::sync::Arc;

use billing::inventory::Inventory;
use billing::inventory::read::inventory;
use billing::published::Snapshot;
use billing::topology::unmatched::Reason;
use billing::topology::{By, Topologies, Topology};
use energy::{LabelsSince, OwnerState};
use meter::{AccountKey, Labels, Owner, OwnerKind, Scope, Utc, machine};

use crate::host;

/// A board's UUID as its system prints it, and as its BMC does: the first three fields turned round.
const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
const TURNED: &str = "33221100-5544-7766-8899-AABBCCDDEEFF";

fn chassis(name: &str) -> Owner {
    Owner::new("default", OwnerKind::Chassis, name).expect("a name")
}

/// Rows of hosts and chassis, of which only the labels matter.
struct Rows(Snapshot);

impl Rows {
    fn new() -> Self {
        Self(Snapshot::empty(1, Utc(0)))
    }

    fn put(&mut self, state: OwnerState) -> &mut Self {
        self.0.put(Arc::new(state), 1);
        self
    }

    fn says(&mut self, owner: &Owner, labels: &[(&str, &str)]) -> &mut Self {
        self.put(said(owner, &[(0, labels)]))
    }

    /// A chassis with an outer meter of its own.
    fn meters(&mut self, owner: &Owner, labels: &[(&str, &str)]) -> &mut Self {
        let mut state = said(owner, &[(0, labels)]);
        state.keys = Arc::new(vec![AccountKey::new(Scope::Chassis, "bmc").expect("a device")]);
        self.put(state)
    }

    fn topology(&self, csv: &str) -> Topology {
        Topology::new(fleet_of(csv), self.0.hardware())
    }
}

fn said(owner: &Owner, sets: &[(i64, &[(&str, &str)])]) -> OwnerState {
    let mut state = OwnerState::new(owner.clone());
    for (from, labels) in sets {
        let labels: Labels = labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        state.labels.push(LabelsSince { from: Utc(*from), labels: Arc::new(labels) });
    }
    state
}

fn fleet_of(csv: &str) -> Arc<Inventory> {
    Arc::new(if csv.is_empty() {
        Inventory::default()
    } else {
        inventory("f.csv", csv.as_bytes()).expect("an inventory")
    })
}

/// The chassis of a host and by what they are joined.
fn join(topology: &Topology, name: &str, at: i64) -> Option<(String, By)> {
    topology.link_at(&host(name), Utc(at)).map(|link| (link.chassis.name.to_string(), link.by))
}

/// What is joined to nothing: owner, reason, candidates.
fn missing(topology: &Topology, at: i64) -> Vec<(String, Reason, Vec<String>)> {
    let words = |owner: Owner| owner.name.to_string();
    let all = topology.unmatched(Utc(at)).into_iter();
    all.map(|one| (words(one.owner), one.reason, one.candidates.into_iter().map(words).collect())).collect()
}

#[test]
fn a_bmc_is_known_by_uuid_in_either_byte_order_or_by_serial_number() {
    let mut rows = Rows::new();
    rows.says(&host("a"), &[("hw.uuid", UUID)]).says(&host("b"), &[("hw.uuid", TURNED)]);
    rows.says(&host("c"), &[("hw.serial", "7QB3X42"), ("hw.uuid", "11112222-3333-4444-5555-666677778888")]);
    rows.says(&chassis("bmc-c"), &[("hw.serial", "7qb3x42"), ("hw.uuid", "03000200-0400-0500-0006-000700080009")]);
    rows.says(&chassis("bmc-d"), &[("hw.uuid", "9e8d7c6b-0000-1111-2222-333344445555")]);
    let topology = rows.topology("");
    assert_eq!(join(&topology, "c", 0), Some(("bmc-c".into(), By::Serial)));
    assert_eq!(
        missing(&topology, 0),
        [
            ("a".into(), Reason::NoBmc, vec![]),
            ("b".into(), Reason::NoBmc, vec![]),
            ("bmc-d".into(), Reason::NoHost, vec![]),
        ]
    );
    let mut rows = Rows::new();
    rows.says(&host("a"), &[("hw.uuid", UUID)]).says(&chassis("bmc-a"), &[("hw.uuid", TURNED)]);
    let topology = rows.topology("");
    assert_eq!(join(&topology, "a", 0), Some(("bmc-a".into(), By::Uuid)));
    assert_eq!(topology.hosts_of(&chassis("bmc-a")).expect("a host").iter().collect::<Vec<_>>(), [&host("a")]);
    assert!(missing(&topology, 0).is_empty());
}

#[test]
fn the_inventory_goes_before_the_configuration_and_that_before_the_hardware() {
    let mut rows = Rows::new();
    rows.says(&host("a"), &[("hw.uuid", UUID)]).says(&host("b"), &[("hw.serial", "B")]);
    rows.says(&chassis("bmc-1"), &[("hw.uuid", UUID), ("hw.host", "B.example.org")]);
    let topology = rows.topology("");
    assert_eq!(join(&topology, "b", 0), Some(("bmc-1".into(), By::Configuration)), "by its short name");
    assert_eq!(join(&topology, "a", 0), None);

    let topology = rows.topology("host,chassis\na,bmc-1\n");
    assert_eq!((join(&topology, "a", 0), join(&topology, "b", 0)), (Some(("bmc-1".into(), By::Inventory)), None));
    // A second BMC that says it is b's, more weakly, is told apart from one that is nobody's.
    rows.says(&chassis("bmc-2"), &[("hw.host", "c")]).says(&host("c"), &[("hw.uuid", UUID)]);
    rows.says(&chassis("bmc-3"), &[("hw.uuid", TURNED)]).says(&host("a"), &[]);
    let topology = rows.topology("");
    assert_eq!(join(&topology, "c", 0), Some(("bmc-2".into(), By::Configuration)));
    let taken = ("bmc-3".to_owned(), Reason::HostTaken, vec!["bmc-2".to_owned()]);
    assert!(missing(&topology, 0).contains(&taken), "{:?}", missing(&topology, 0));
}

#[test]
fn what_matches_several_joins_nothing_and_says_so() {
    let mut rows = Rows::new();
    rows.says(&host("a"), &[("hw.uuid", UUID), ("hw.serial", "AAA1")]);
    rows.says(&host("b"), &[("hw.uuid", TURNED), ("hw.serial", "BBB1")]);
    rows.says(&chassis("bmc"), &[("hw.uuid", UUID)]);
    let topology = rows.topology("");
    assert_eq!((join(&topology, "a", 0), join(&topology, "b", 0)), (None, None));
    assert!(topology.hosts_of(&chassis("bmc")).is_none(), "it is billed by itself");
    assert_eq!(
        missing(&topology, 0),
        [
            ("a".into(), Reason::NoBmc, vec!["bmc".into()]),
            ("b".into(), Reason::NoBmc, vec!["bmc".into()]),
            ("bmc".into(), Reason::SeveralHosts, vec!["a".into(), "b".into()]),
        ]
    );
    // The serial number decides among them; an inventory that retires one does, too.
    rows.says(&chassis("bmc"), &[("hw.uuid", UUID), ("hw.serial", "bbb1")]);
    assert_eq!(join(&rows.topology(""), "b", 0), Some(("bmc".into(), By::Serial)));
    rows.says(&chassis("bmc"), &[("hw.uuid", UUID)]);
    let retired = rows.topology("host,retired\nb,1970-01-01T00:00:05Z\n");
    assert_eq!((join(&retired, "a", 0), join(&retired, "a", 5_000_000_000)), (None, Some(("bmc".into(), By::Uuid))));
    // Two BMCs of one host.
    rows.says(&host("b"), &[]).says(&chassis("bmc-2"), &[("hw.uuid", UUID)]);
    let topology = rows.topology("");
    assert_eq!(join(&topology, "a", 0), None);
    let both = |topology: &Topology| {
        missing(topology, 0).into_iter().filter(|(_, reason, _)| *reason == Reason::SeveralChassis).count()
    };
    assert_eq!(both(&topology), 2);
    // Placeholders match nobody, however many have them in common.
    let mut rows = Rows::new();
    let nothing = [("hw.uuid", "03000200-0400-0500-0006-000700080009"), ("hw.serial", "To be filled by O.E.M.")];
    rows.says(&host("a"), &nothing).says(&chassis("bmc"), &nothing).says(&chassis("wall"), &[("rack", "r1")]);
    let reasons: Vec<Reason> = missing(&rows.topology(""), 0).into_iter().map(|(_, reason, _)| reason).collect();
    assert_eq!(reasons, [Reason::NoBmc, Reason::Placeholder, Reason::NoIdentity]);
}

#[test]
fn a_machine_that_took_another_name_keeps_its_bmc() {
    let mut rows = Rows::new();
    let fingerprint = |hardware, system| Some(machine::fingerprint([hardware; 8], [system; 8]));
    for (name, from, id) in [("old", 100, fingerprint(1, 1)), ("new", 200, fingerprint(1, 2))] {
        rows.put(OwnerState { fingerprint: id, ..said(&host(name), &[(from, &[("hw.uuid", UUID)])]) });
    }
    rows.says(&chassis("bmc"), &[("hw.uuid", UUID)]);
    let topology = rows.topology("");
    let names: Vec<_> = [0, 150, 199, 200, 300].into_iter().map(|at| join(&topology, "old", at).is_some()).collect();
    assert_eq!(names, [true, true, true, false, false]);
    assert_eq!(join(&topology, "new", 200), Some(("bmc".into(), By::Uuid)));
    // Two machines whose maker gave them one UUID are two.
    rows.put(OwnerState { fingerprint: fingerprint(2, 2), ..said(&host("new"), &[(200, &[("hw.uuid", UUID)])]) });
    assert_eq!(missing(&rows.topology(""), 300).len(), 3);
    // An alias is the host that it is shown as.
    assert_eq!(join(&rows.topology("host,alias_of\nold,new\n"), "new", 0), Some(("bmc".into(), By::Uuid)));
}

#[test]
fn a_join_holds_for_as_long_as_both_say_so() {
    let mut rows = Rows::new();
    let other = "9e8d7c6b-0000-1111-2222-333344445555";
    rows.put(said(&host("a"), &[(10, &[("hw.uuid", UUID)]), (50, &[("hw.uuid", other)])]));
    rows.put(said(&host("b"), &[(20, &[("hw.uuid", other)]), (70, &[("hw.uuid", UUID)])]));
    rows.says(&chassis("bmc"), &[("hw.uuid", TURNED)]);
    let topology = rows.topology("");
    let who = |at| ["a", "b"].into_iter().filter(|name| join(&topology, name, at).is_some()).collect::<String>();
    // Before their first labels those hold; between 50 and 70 the board is in neither.
    assert_eq!([0, 10, 49, 50, 69, 70, 1000].map(who), ["a", "a", "a", "", "", "b", "b"]);
    assert_eq!(topology.hosts_of(&chassis("bmc")).map(|hosts| hosts.len()), Some(2));
}

#[test]
fn machines_share_the_enclosure_that_their_bmcs_name() {
    let mut rows = Rows::new();
    for n in ["1", "2", "3", "4"] {
        rows.says(&chassis(&format!("sled-{n}")), &[("hw.host", &format!("n{n}")), ("hw.enclosure", "enc")]);
    }
    let topology = rows.topology("");
    assert_eq!(join(&topology, "n1", 0).map(|(chassis, _)| chassis), Some("sled-1".into()));
    let unknown = missing(&topology, 0);
    assert!(
        unknown.len() == 4 && unknown.iter().all(|(_, reason, _)| *reason == Reason::UnknownEnclosure),
        "{unknown:?}"
    );

    rows.meters(&chassis("enc"), &[("hw.serial", "ENC77")]);
    let topology = rows.topology("");
    for n in ["n1", "n2", "n3", "n4"] {
        assert_eq!(join(&topology, n, 0), Some(("enc".into(), By::Configuration)), "{n}");
    }
    assert_eq!(topology.bmc_at(&host("n3"), Utc(0)), Some(&chassis("sled-3")));
    assert_eq!(topology.hosts_of(&chassis("enc")).map(|hosts| hosts.len()), Some(4));
    assert!(topology.hosts_of(&chassis("sled-3")).is_some() && missing(&topology, 0).is_empty());

    // One sled measures itself, the others do not: what those use is known from the enclosure alone.
    let own = |n: &str| [("hw.host".to_owned(), format!("n{n}")), ("hw.enclosure".to_owned(), "enc".to_owned())];
    let meters = |rows: &mut Rows, n: &str| {
        let own = own(n);
        let labels: Vec<(&str, &str)> = own.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        rows.meters(&chassis(&format!("sled-{n}")), &labels);
    };
    meters(&mut rows, "1");
    assert_eq!(join(&rows.topology(""), "n1", 0).map(|(chassis, _)| chassis), Some("enc".into()));
    // All of them do: their meters bill, and the enclosure measures the same once more.
    ["2", "3", "4"].into_iter().for_each(|n| meters(&mut rows, n));
    let topology = rows.topology("");
    assert_eq!(join(&topology, "n1", 0).map(|(chassis, _)| chassis), Some("sled-1".into()));
    assert!(topology.hosts_of(&chassis("enc")).is_some(), "it is not billed besides");
}

#[test]
fn a_bmc_within_the_inventorys_chassis_measures_nothing_more() {
    let mut rows = Rows::new();
    rows.says(&host("a"), &[("hw.uuid", UUID)]).meters(&chassis("bmc-a"), &[("hw.uuid", TURNED)]);
    rows.meters(&chassis("rack-7"), &[]);
    let topology = rows.topology("host,chassis\na,rack-7\n");
    assert_eq!(join(&topology, "a", 0), Some(("rack-7".into(), By::Inventory)));
    assert_eq!(topology.bmc_at(&host("a"), Utc(0)), Some(&chassis("bmc-a")));
    assert!(topology.hosts_of(&chassis("bmc-a")).is_some(), "it is not billed besides");
    assert_eq!(missing(&topology, 0), [("bmc-a".into(), Reason::HostInInventory, vec!["rack-7".into()])]);
    // `-`: it sits in none, and then its BMC is billed by itself.
    let none = rows.topology("host,chassis\na,-\n");
    assert_eq!((join(&none, "a", 0), none.hosts_of(&chassis("bmc-a"))), (None, None));
    let names: Vec<_> = missing(&none, 0).into_iter().map(|(name, reason, _)| (name, reason)).collect();
    let expected = [("bmc-a", Reason::HostInInventory), ("rack-7", Reason::NoIdentity), ("a", Reason::NoBmc)];
    assert!(expected.iter().all(|(name, reason)| names.contains(&((*name).to_owned(), *reason))), "{names:?}");
    // Where the inventory's chassis is the host's by its own word, a second one with that UUID is another's.
    rows.meters(&chassis("rack-7"), &[("hw.uuid", UUID)]);
    let topology = rows.topology("host,chassis\na,rack-7\n");
    assert!(topology.hosts_of(&chassis("bmc-a")).is_none());
    // A link to a chassis that nobody reports.
    let topology = rows.topology("host,chassis\nz,enc-9\n");
    assert!(missing(&topology, 0).contains(&("z".into(), Reason::UnknownChassis, vec![])));
}

#[test]
fn a_host_stands_where_its_bmc_does_unless_somebody_knows_better() {
    let mut rows = Rows::new();
    rows.put(said(
        &chassis("bmc"),
        &[
            (0, &[("hw.host", "a"), ("rack", "r1"), ("row", "A"), ("team", "x")]),
            (60, &[("hw.host", "a"), ("rack", "r2")]),
        ],
    ));
    let labels = |csv: &str, at: i64, agent: &[LabelsSince]| {
        let all = rows.topology(csv).labels(&host("a"), Utc(at), agent);
        all.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((labels("", 5, &[]), labels("", 60, &[])), ("rack=r1 row=A".into(), "rack=r2".into()));
    let agent = said(&host("a"), &[(0, &[("row", "B")])]).labels;
    assert_eq!(labels("", 5, &agent), "rack=r1 row=B");
    assert_eq!(labels("host,rack\na,r9\n", 5, &agent), "rack=r9 row=B");
    let intervals = rows.topology("").intervals(&host("a"), Utc(0)..Utc(100), &[]);
    assert_eq!(
        intervals.iter().map(|(range, _)| (range.start.0, range.end.0)).collect::<Vec<_>>(),
        [(0, 60), (60, 100)]
    );
    // An enclosure tells where its sleds stand.
    rows.meters(&chassis("enc"), &[("rack", "r5")]).says(&chassis("bmc"), &[("hw.host", "a"), ("hw.enclosure", "enc")]);
    assert_eq!(rows.topology("").labels(&host("a"), Utc(0), &[])["rack"], "r5");
}

#[test]
fn it_is_made_anew_only_when_somebody_says_something_new() {
    let (mut rows, of, inventory) = (Rows::new(), Topologies::default(), fleet_of("host,retired\nz,\n"));
    rows.says(&host("a"), &[("hw.uuid", UUID), ("team", "nlp")])
        .says(&chassis("bmc"), &[("hw.uuid", UUID), ("hw.power", "on")]);
    let first = of.of(&rows.0, &inventory);
    assert_eq!(join(&first, "a", 0), Some(("bmc".into(), By::Uuid)));
    // Another row of the same owner, other labels that are no facts: the same topology.
    rows.put(OwnerState { readings: 9, ..said(&host("a"), &[(0, &[("hw.uuid", UUID), ("team", "cv")])]) });
    rows.put(said(
        &chassis("bmc"),
        &[(0, &[("hw.uuid", UUID), ("hw.power", "on")]), (5, &[("hw.uuid", UUID), ("hw.power", "off")])],
    ));
    assert!(Arc::ptr_eq(&first, &of.of(&rows.0, &inventory)));
    rows.says(&chassis("bmc"), &[("hw.host", "b")]);
    assert_eq!(join(&of.of(&rows.0, &inventory), "a", 0), None);
    rows.0.remove(&chassis("bmc"));
    assert_eq!(join(&of.of(&rows.0, &inventory), "b", 0), None);
}
