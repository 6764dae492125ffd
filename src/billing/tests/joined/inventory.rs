//! Inventory files: what they say, and everything that can be wrong with them.

use std::sync::Arc;

use billing::hardware::Hardware;
use billing::inventory::read::inventory;
use billing::inventory::{Fault, Inventory};
use billing::topology::Topology;
use energy::LabelsSince;
use meter::{Owner, OwnerKind, Utc};

use crate::host;

fn read(text: &str) -> Inventory {
    inventory("f", text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

fn faults(text: &str) -> Vec<(u64, String)> {
    let error = inventory("f.csv", text.as_bytes()).expect_err("a fault");
    error.faults.into_iter().map(|Fault { line, column, .. }| (line, column)).collect()
}

fn at(text: &str) -> Utc {
    cost::window::read_instant(text).expect("an instant")
}

fn team(inventory: &Inventory, name: &str, when: &str, agent: &[LabelsSince]) -> String {
    inventory.labels(&host(name), at(when), agent).get("team").cloned().unwrap_or_default()
}

fn since(from: &str, pairs: &[(&str, &str)]) -> LabelsSince {
    let labels = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    LabelsSince { from: at(from), labels: Arc::new(labels) }
}

#[test]
fn a_pattern_stands_for_many_hosts() {
    let inventory = read("host,team,rack\n\"node[001-128]\",nlp,r1\n\"gpu[1,3]\",cv,\n");
    assert_eq!(inventory.entries().count(), 130);
    assert_eq!(team(&inventory, "node128", "2026-10-01T00:00:00Z", &[]), "nlp");
    assert_eq!(team(&inventory, "gpu3", "2026-10-01T00:00:00Z", &[]), "cv");
    assert_eq!(team(&inventory, "node129", "2026-10-01T00:00:00Z", &[]), "");
}

#[test]
fn labels_hold_from_their_first_day_up_to_their_last_exclusive() {
    let inventory =
        read("host,valid_from,valid_to,team\nn1,,2026-10-05,a\nn1,2026-10-05,2026-11-01T12:00:00+01:00,b\n");
    for (when, expected) in [
        ("1990-01-01T00:00:00Z", "a"),
        ("2026-10-04T23:59:59Z", "a"),
        ("2026-10-05T00:00:00Z", "b"),
        ("2026-11-01T10:59:59Z", "b"),
        ("2026-11-01T11:00:00Z", ""),
    ] {
        assert_eq!(team(&inventory, "n1", when, &[]), expected, "{when}");
    }
}

#[test]
fn per_key_the_inventory_wins_over_the_agent() {
    let inventory = Arc::new(read("host,valid_from,team\nn1,2026-10-05,sure\n"));
    let agent = [
        since("2026-10-03T00:00:00Z", &[("team", "claimed"), ("rack", "r1")]),
        since("2026-10-06T00:00:00Z", &[("rack", "r2")]),
    ];
    let labels = |when: &str| inventory.labels(&host("n1"), at(when), &agent);
    assert_eq!(labels("2026-10-01T00:00:00Z")["team"], "claimed", "the first labels hold from the beginning");
    assert_eq!(
        (labels("2026-10-05T00:00:00Z")["team"].as_str(), labels("2026-10-05T00:00:00Z")["rack"].as_str()),
        ("sure", "r1")
    );
    assert_eq!(labels("2026-10-06T00:00:00Z")["rack"], "r2");

    // The intervals are what look-ups at single instants say, and they tile the range.
    let range = at("2026-10-01T00:00:00Z")..at("2026-10-10T00:00:00Z");
    let intervals =
        Topology::new(Arc::clone(&inventory), Hardware::default()).intervals(&host("n1"), range.clone(), &agent);
    let starts: Vec<String> = intervals.iter().map(|(range, _)| cost::window::stamp(range.start)).collect();
    assert_eq!(starts, ["2026-10-01T00:00:00Z", "2026-10-05T00:00:00Z", "2026-10-06T00:00:00Z"]);
    assert!(intervals.windows(2).all(|pair| pair[0].0.end == pair[1].0.start) && intervals[2].0.end == range.end);
    for (range, labels) in intervals {
        for when in [range.start, Utc(range.end.0 - 1)] {
            assert_eq!(inventory.labels(&host("n1"), when, &agent), labels);
        }
    }
}

#[test]
fn topology_dates_and_aliases_are_read() {
    let inventory =
        read("host,chassis,in_service,retired,alias_of\nn1,enc-1,2026-01-01,2026-12-31,\nold,,,,n1\n,enc-2,,,\n");
    let chassis = |name| Owner::new("default", OwnerKind::Chassis, name).expect("a name");
    let inventory = Arc::new(inventory);
    let topology = Topology::new(Arc::clone(&inventory), Hardware::default());
    assert_eq!(topology.chassis_at(&host("n1"), at("2026-10-01T00:00:00Z")), Some(&chassis("enc-1")));
    assert_eq!(topology.hosts_of(&chassis("enc-1")).expect("a host").iter().collect::<Vec<_>>(), [&host("n1")]);
    assert!(inventory.entry(&chassis("enc-2")).is_some() && topology.hosts_of(&chassis("enc-2")).is_none());
    let entry = inventory.entry(&host("n1")).expect("an entry");
    assert_eq!((entry.in_service, entry.retired), (Some(at("2026-01-01T00:00:00Z")), Some(at("2026-12-31T00:00:00Z"))));
    assert_eq!(inventory.canonical(&host("old")), &host("n1"));
}

#[test]
fn every_fault_is_told_with_its_line_and_column() {
    for (text, expected) in [
        ("team\nnlp\n", vec![(1, "")]),
        ("host,team,team\nn1,a,b\n", vec![(1, "team")]),
        ("host,team\nn1,a,b\nn2,ok\nn 3,x\n", vec![(2, ""), (4, "host")]),
        (
            "host,valid_from\nn1,yesterday\nn2,20261001\nn3,2026-13-01\n",
            vec![(2, "valid_from"), (3, "valid_from"), (4, "valid_from")],
        ),
        ("host,valid_from,valid_to\nn1,2026-10-02,2026-10-02\n", vec![(2, "valid_to")]),
        ("host,in_service,retired\nn1,2026-10-02,2026-10-01\n", vec![(2, "retired")]),
        ("host\nn1\n\"n[1-3]\"\n", vec![(3, "host")]),
        ("host,valid_to\nn1,2026-10-05\nn1,2026-10-06\n", vec![(3, "host")]),
        (
            "host,valid_to,valid_from,retired\nn1,2026-10-05,,2026-11-01\nn1,,2026-10-05,2026-11-02\n",
            vec![(3, "retired")],
        ),
        ("host,alias_of\na,b\nb,c\nc,c\n", vec![(2, "alias_of"), (3, "alias_of"), (4, "alias_of")]),
        ("host,chassis,meter\nn1,,m1\n,c1,m1\n,,\n", vec![(2, "meter"), (3, "meter"), (4, "host")]),
        ("host,device\nn1,x\n", vec![(2, "device")]),
        ("host,te am\nn1,x\n", vec![(2, "te am")]),
        ("host\nn[3-1]\nn[1-\n", vec![(2, "host"), (3, "host")]),
    ] {
        let expected: Vec<(u64, String)> =
            expected.into_iter().map(|(line, column)| (line, column.to_owned())).collect();
        assert_eq!(faults(text), expected, "{text}");
    }
}

#[test]
fn hostile_cells_are_values_or_faults_and_never_anything_else() {
    let inventory = read("host,team,note\nn1,\"=cmd|'/c calc'!A1\",\"<script>alert(1)</script>, \"\"quoted\"\"\"\n");
    let labels = inventory.labels(&host("n1"), Utc(0), &[]);
    assert_eq!(labels["note"], "<script>alert(1)</script>, \"quoted\"");
    assert_eq!(labels["team"], "=cmd|'/c calc'!A1");
    for (text, place) in [
        ("host\n../../etc/passwd\n", (2, "host")),
        ("host\n=cmd()\n", (2, "host")),
        ("host\n\"a\nb\"\n", (2, "host")),
        ("host,team\nn1,\"a\nb\"\n", (2, "team")),
        ("host,team\nn1,a\u{7}b\n", (2, "team")),
    ] {
        assert_eq!(faults(text), [(place.0, place.1.to_owned())], "{text:?}");
    }
    let long = format!("host,team\nn1,{}\n", "x".repeat(257));
    assert_eq!(faults(&long), [(2, "team".to_owned())]);
    let not_text = inventory_bytes(b"host,team\nn1,\xff\n");
    assert_eq!(not_text, [(2, String::new())]);
}

fn inventory_bytes(bytes: &[u8]) -> Vec<(u64, String)> {
    let error = inventory("f", bytes).expect_err("a fault");
    error.faults.into_iter().map(|fault| (fault.line, fault.column)).collect()
}

#[test]
fn a_spreadsheets_habits_are_taken() {
    // A byte-order mark, CRLF, blanks around cells, a comment, an empty line.
    let inventory = read("\u{feff}host , team\r\n# a comment\r\n n1 , nlp \r\n\r\n\"n2\", cv\r\n");
    assert_eq!(team(&inventory, "n1", "2026-10-01T00:00:00Z", &[]), "nlp");
    assert_eq!(team(&inventory, "n2", "2026-10-01T00:00:00Z", &[]), "cv");
}

#[test]
fn file_sd_is_an_inventory_too() {
    let text = r#"[
        {"targets": ["node-1:9100", "node[2-3]"], "labels": {"team": "nlp", "__meta_x": "y", "cluster": "c1"}},
        {"targets": ["http://node-9:9100/metrics"], "labels": {"team": "cv", "retired": "2026-01-01"}}
    ]"#;
    let inventory = read(text);
    let owner = |cluster, name| Owner::new(cluster, OwnerKind::Host, name).expect("a name");
    for name in ["node-1", "node2", "node3"] {
        let labels = inventory.labels(&owner("c1", name), Utc(0), &[]);
        assert_eq!(
            labels.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(),
            [("team", "nlp")],
            "{name}"
        );
    }
    assert!(inventory.entry(&owner("default", "node-9")).expect("an entry").retired.is_some());

    assert_eq!(
        faults("[{\"targets\": [\"a\"]},\n {\"targets\": [\"b\", \"a b\"]},\n {\"targets\": 7}]"),
        [(2, "host".to_owned()), (3, String::new())]
    );
    assert_eq!(faults("[\n{\n"), [(3, String::new())]);
}

#[test]
fn the_inventory_that_is_shipped_is_good() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/inventory.csv");
    let inventory = billing::inventory::read::inventory_file(path.as_ref()).unwrap_or_else(|error| panic!("{error}"));
    assert!(inventory.label_keys().contains("team"));
}

#[test]
fn a_file_that_was_emptied_is_a_fault_and_one_without_rows_is_not() {
    assert_eq!(faults(""), [(0, String::new())]);
    assert_eq!(faults(" \n\n"), [(0, String::new())]);
    assert_eq!(faults("# only a comment\n"), [(1, String::new())], "no column names an owner");
    for text in ["host,site\n", "# none yet\nhost,site\n", "[]"] {
        assert_eq!(read(text).entries().count(), 0, "{text:?}");
    }
}
