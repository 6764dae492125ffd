//! Whose energy it is: jobs, idle and what runs no jobs, under every policy, down to the half picojoule.
#![expect(clippy::expect_used, reason = "a test that cannot go on panics")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use cost::{
    Axis, Before, By, Held, Holder, HostInfo, HostSlot, HostTime, Line, Policies, Policy, RateCard, Rollup, Row,
    Tenancy, TenantId, Where, Window, divide,
};
use meter::{Allocation, ByQuality, Energy, Labels, Scope, Slot, Utc};
use proptest::prelude::*;

const MICROJOULE: i128 = 2_000_000;

fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn keys() -> BTreeSet<String> {
    ["team", "account", "job.partition"].map(str::to_owned).into()
}

fn axes() -> Vec<Arc<Axis>> {
    vec![Arc::new(Axis::new("team", &["job.account".to_owned(), "team".to_owned()]).expect("an axis"))]
}

fn job(id: &str, user: &str, account: &str) -> Allocation {
    let labels = labels(&[("partition", if id == "1" { "gpu" } else { "" })]);
    Allocation { id: id.into(), user: user.into(), account: account.into(), labels, ..Allocation::default() }
}

/// Two hosts that run jobs and one that does not, each with energy in two slots, in microjoules.
fn ask(by: &str, select: &str, policies: Policies) -> (BTreeMap<String, i128>, Vec<Row>, Row) {
    let card = RateCard::default();
    let by = By::parse(by, &keys()).expect("keys").with_axes(&axes());
    let select = Where::parse(select, &keys()).expect("terms").with_axes(&axes());
    let window = Window::of_slots(Slot(0), Slot(2));
    let mut rollup = Rollup::new(&card, by, select, vec![window]).with_policies(policies);
    let jobs = [job("1", "ann", "phys"), job("2", "bob", "phys"), job("3", "ann", "")];
    let names = [
        ("a", labels(&[("team", "nlp"), ("account", "ops")])),
        ("b", labels(&[("team", "cv")])),
        ("disks", labels(&[("team", "storage")])),
    ];
    for (name, labels) in &names {
        let Some(host) = rollup.host(&HostInfo { cluster: "c", name, chassis: None, labels }) else { continue };
        let tenants = jobs.each_ref().map(|job| rollup.tenant(job));
        let shares: &[(TenantId, i128)] = match *name {
            "a" => &[(tenants[0], 600), (tenants[1], 300), (TenantId::IDLE, 100)],
            "b" => &[(tenants[2], 50), (TenantId::IDLE, 450)],
            _ => &[(TenantId::SHARED, 40)],
        };
        let unnamed = rollup.device("");
        for slot in 0..2 {
            let line = |uj: i128| Line {
                scope: None,
                device: unnamed,
                energy: ByQuality([Energy(uj * MICROJOULE), Energy::ZERO, Energy::ZERO]),
                metered: Energy::ZERO,
                covered_ns: 0,
                metered_ns: 0,
            };
            let lines: Vec<Line> = shares.iter().map(|(_, uj)| line(*uj)).collect();
            let holders: Vec<Holder> =
                shares.iter().map(|&(tenant, _)| Holder { tenant, apportioned: Energy(MICROJOULE) }).collect();
            let usage = HostSlot::new(host, Slot(slot), HostTime::new(0, 0), &lines);
            rollup.add_held(&usage, &holders).expect("added");
        }
    }
    let (rows, total) = rollup.finish();
    let named = rows.iter().map(|row| {
        let by = row.by.as_ref().expect("keys");
        (by.values().map(String::as_str).collect::<Vec<_>>().join(" "), row.energy_uj)
    });
    (named.collect(), rows, total)
}

fn policies(idle: Policy, shared: Policy) -> Policies {
    Policies { idle, shared }
}

fn told(by: &str, select: &str, idle: Policy, shared: Policy) -> String {
    let (rows, ..) = ask(by, select, policies(idle, shared));
    rows.iter().map(|(name, uj)| format!("{name}={uj}")).collect::<Vec<_>>().join(", ")
}

use Policy::{Owner, Proportional, Separate};

#[test]
fn keys_of_jobs_group_and_select() {
    let is = |by: &str, select: &str| told(by, select, Separate, Separate);
    assert_eq!(is("job.id", ""), "(idle)=1100, (unattributed)=80, 1=1200, 2=600, 3=100");
    assert_eq!(is("job.account", ""), "=100, (idle)=1100, (unattributed)=80, phys=1800");
    assert_eq!(
        is("job.user,host", ""),
        "a (idle)=200, a ann=1200, a bob=600, b (idle)=900, b ann=100, disks (unattributed)=80"
    );
    assert_eq!(is("job.partition", ""), "=700, (idle)=1100, (unattributed)=80, gpu=1200");
    assert_eq!(is("host", "job.user=ann"), "a=1200, b=100");
    assert_eq!(is("job.id", "job.account!=phys,host=a|b"), "(idle)=1100, 3=100");
    assert_eq!(is("host", "job.id=\"(idle)\""), "a=200, b=900");
}

#[test]
fn an_axis_is_the_first_that_is_there() {
    assert_eq!(told("team", "", Separate, Separate), "(idle)=1100, (unattributed)=80, cv=100, phys=1800");
    assert_eq!(told("team", "", Owner, Owner), "cv=1000, nlp=200, phys=1800, storage=80");
    assert_eq!(told("host", "team=phys|cv", Separate, Separate), "a=1800, b=100");
}

#[test]
fn policies_move_energy_and_lose_none() {
    // Idle by the label of the last name: `account` of host a; b has none and stays apart.
    assert_eq!(told("job.account", "", Owner, Separate), "=100, (idle)=900, (unattributed)=80, ops=200, phys=1800");
    // 1100 over 1200, 600 and 100: 1894.74, 947.37 and 157.89, rounded so that they add up.
    assert_eq!(told("job.id", "", Proportional, Separate), "(unattributed)=80, 1=1895, 2=947, 3=158");
    // By host each bears its own.
    assert_eq!(told("host,job.id", "", Proportional, Separate), "a 1=1333, a 2=667, b 3=1000, disks (unattributed)=80");
    // Nobody is there to bear what the disks used.
    assert_eq!(told("host,job.id", "host=disks", Proportional, Proportional), "disks (unattributed)=80");
    for by in ["job.id", "team", "host,job.user", "scope,job.account", "host"] {
        for idle in [Separate, Owner, Proportional] {
            for shared in [Separate, Owner, Proportional] {
                let (_, rows, total) = ask(by, "", policies(idle, shared));
                assert_eq!(total.energy_uj, 3080, "{by}");
                assert_eq!(rows.iter().map(|row| row.energy_uj).sum::<i128>(), 3080, "{by}");
                let apportioned = rows.iter().map(|row| row.quality.apportioned_joules).sum::<f64>();
                assert!((apportioned - 12e-6).abs() < 2e-6, "{by} {apportioned}");
            }
        }
    }
}

#[test]
fn rows_that_are_no_jobs_say_so() {
    let (_, rows, total) = ask("job.user", "", Policies::default());
    let lines: Vec<_> = rows.iter().map(|row| (row.value("job.user"), row.line.as_deref())).collect();
    let expected = [("(idle)", Some("idle")), ("(unattributed)", Some("unattributed")), ("ann", None), ("bob", None)];
    assert_eq!(lines, expected);
    assert_eq!(total.line, None);
}

#[test]
fn an_unknown_key_of_jobs_lists_the_known_ones() {
    let told = By::parse("job.qos", &keys()).expect_err("no job has it").to_string();
    assert!(told.contains("job.partition, team, job.id, job.user, job.account"), "{told}");
}

/// A hold by its span, devices, cores and number of GPUs.
type Random = (i64, i64, Vec<usize>, u32, u32);

fn random_hold() -> impl Strategy<Value = Random> {
    (
        -500..1500_i64,
        1..900_i64,
        prop::collection::vec(0..4_usize, 0..3),
        0..9_u32,
        prop_oneof![Just(0_u32), Just(8), Just(12)],
    )
}

fn tenancy(holds: &[Random]) -> Tenancy {
    let held = holds.iter().enumerate().map(|(number, (from, length, devices, cores, cores_of))| {
        let tenant = tenant(number);
        Held {
            from: Utc(*from),
            until: Utc(from + length),
            tenant,
            job: number as u64,
            devices: devices.iter().map(|n| Arc::from(format!("GPU-{n}"))).collect(),
            cores: (*cores).min(*cores_of),
            cores_of: *cores_of,
            gpus: if devices.is_empty() { cores % 3 } else { 0 },
        }
    });
    let gpus = (0..4).map(|n| (Scope::Gpu, format!("GPU-{n}").into())).chain([(Scope::Cpu, "package-0".into())]);
    Tenancy::new(held.collect(), gpus.collect())
}

/// The tenant of a number, made by a rollup as everywhere.
fn tenant(number: usize) -> TenantId {
    let card = RateCard::default();
    let by = By::parse("job.id", &keys()).expect("a key");
    let mut rollup = Rollup::new(&card, by, Where::default(), Vec::new());
    (0..=number).map(|n| rollup.tenant(&job(&n.to_string(), "", ""))).last().expect("at least one")
}

/// Who gets what of a line of constant power 7 per nanosecond in 1000 ns, cut exactly.
fn divided(holds: &[Random], span: &Range<Utc>, account: Option<usize>) -> BTreeMap<TenantId, i128> {
    let mut got = BTreeMap::new();
    let mut tenancy = tenancy(holds);
    let parts = tenancy.parts(span, &[]);
    let line = |ns: i64| ByQuality([Energy(i128::from(ns) * 7), Energy::ZERO, Energy(-i128::from(ns))]);
    let before = |at: Utc| Before { energy: line(at.0 - span.start.0), is_exact: true };
    let shares = parts.shares(account).map(|(until, shares)| (until, Some(shares)));
    divide(&line(span.end.0 - span.start.0), shares, before, |piece| {
        *got.entry(piece.tenant).or_insert(0) += piece.energy.total().0;
    });
    got
}

proptest! {
    #[test]
    fn what_is_divided_adds_up(holds in prop::collection::vec(random_hold(), 0..12)) {
        let span = Utc(0)..Utc(1000);
        for account in [Some(1), Some(3), Some(4), None] {
            let got = divided(&holds, &span, account);
            prop_assert_eq!(got.values().sum::<i128>(), 6000);
            prop_assert!(got.values().all(|energy| *energy >= 0));
        }
    }

    /// The rule once more, nanosecond by nanosecond, in fractions.
    #[test]
    fn a_line_goes_to_whom_the_rule_says(holds in prop::collection::vec(random_hold(), 0..6)) {
        let span = Utc(0)..Utc(1000);
        let mut by_rule: BTreeMap<usize, f64> = BTreeMap::new();
        for at in 0..1000 {
            let here: Vec<usize> = (0..holds.len()).filter(|&n| (holds[n].0..holds[n].0 + holds[n].1).contains(&at)).collect();
            if let [only] = here[..] && holds[only].4 == 0 {
                *by_rule.entry(only).or_default() += 6.0;
                continue;
            }
            let share = |n: usize| if holds[n].4 == 0 { 0.0 } else { f64::from(holds[n].3.min(holds[n].4)) / f64::from(holds[n].4) };
            let sum: f64 = here.iter().map(|&n| share(n)).sum();
            here.iter().for_each(|&n| *by_rule.entry(n).or_default() += 6.0 * share(n) / sum.max(1.0));
        }
        let got = divided(&holds, &span, Some(4));
        for (number, expected) in by_rule {
            let got = got.get(&tenant(number)).copied().unwrap_or(0) as f64;
            // A part may round down once.
            prop_assert!((got - expected).abs() <= 14.0, "{} {} {}", number, got, expected);
        }
    }
}
