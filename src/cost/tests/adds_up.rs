//! Every grouping and step of one window adds up to the same energy and the same money.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use std::collections::BTreeMap;

use cost::money::KWH;
use cost::statement::Question;
use cost::step::intervals;
use cost::window::read_instant;
use cost::{
    Answer, By, HostInfo, HostSlot, HostTime, Line, RateCard, Rollup, Row, Status, Step, Where, Window, to_csv, zone,
};
use meter::{ByQuality, Energy, Labels, Scope, Slot, Utc};
use proptest::prelude::*;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

const CARD: &str = r#"
[[rate]]
currency = "EUR"
price_per_kwh = "0.187654321"
pue = "1.234567"
carbon_g_per_kwh = "55"
valid_from = "2026-03-29T06:00:00Z"

[[rate]]
site = "tyo1"
currency = "JPY"
price_per_kwh = "31.7"

[[rate]]
site = "va1"
currency = "USD"
price_per_kwh = "0.12"
pue = "1.35"
"#;

/// One billed line as a test knows it.
#[derive(Clone, Debug)]
struct Billed {
    host: usize,
    slot: Slot,
    scope: Option<Scope>,
    device: String,
    energy: [i128; 3],
    metered: i128,
}

#[derive(Clone, Debug)]
struct Fleet {
    /// Name, site, team; empty for none.
    hosts: Vec<(String, &'static str, &'static str)>,
    lines: Vec<Billed>,
}

fn window() -> Window {
    let edge = |text| read_instant(text).expect(text).slot();
    // The day on which Berlin's clocks go forward: 92 slots.
    Window::of_slots(edge("2026-03-28T23:00:00Z"), edge("2026-03-29T22:00:00Z"))
}

fn fleet() -> impl Strategy<Value = Fleet> {
    let site = prop::sample::select(vec!["", "par1", "tyo1", "va1"]);
    let team = prop::sample::select(vec!["", "nlp", "vision", "=cmd|'/c calc'!A1"]);
    let hosts = prop::collection::vec((site, team), 1..6);
    hosts.prop_flat_map(|labels| {
        let count = labels.len();
        let energy = prop::array::uniform3(-40_000_000_i128..KWH / 50);
        let scopes = vec![None, Some(Scope::Gpu), Some(Scope::Cpu), Some(Scope::Dram)];
        let line = (0..count, 0..92_i32, prop::sample::select(scopes), 0..3_u8, energy, any::<bool>());
        let lines = prop::collection::vec(line, 0..120);
        let hosts: Vec<_> =
            labels.into_iter().enumerate().map(|(i, (site, team))| (format!("node{i}"), site, team)).collect();
        lines.prop_map(move |lines| {
            let mut all: BTreeMap<_, Billed> = BTreeMap::new();
            for (host, slot, scope, device, energy, metered) in lines {
                let slot = Slot(window().first().0 + slot);
                let device = if scope.is_some() { format!("dev-{device}") } else { String::new() };
                let metered = if metered { energy.iter().sum() } else { 0 };
                all.insert((slot, host, scope, device.clone()), Billed { host, slot, scope, device, energy, metered });
            }
            Fleet { hosts: hosts.clone(), lines: all.into_values().collect() }
        })
    })
}

fn ask(fleet: &Fleet, by: &str, filter: &str, step: Option<Step>) -> Answer {
    let known = ["site", "team"].map(str::to_owned).into();
    let card = RateCard::parse(CARD).expect("a card");
    let tz = zone("Europe/Berlin").expect("a zone");
    let by = By::parse(by, &known).expect(by);
    let filter = Where::parse(filter, &known).expect(filter);
    let mut rollup = Rollup::new(&card, by, filter, intervals(window(), step, &tz).expect("intervals"));
    let ids = fleet.hosts.iter().map(|(name, site, team)| {
        let labels: Labels = [("site", *site), ("team", *team)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        rollup.host(&HostInfo { cluster: "default", name, chassis: None, labels: &labels })
    });
    let ids: Vec<_> = ids.collect();
    for lines in fleet.lines.chunk_by(|a, b| (a.slot, a.host) == (b.slot, b.host)) {
        let Some(host) = ids[lines[0].host] else { continue };
        let billed: Vec<Line> = lines
            .iter()
            .map(|line| Line {
                scope: line.scope,
                device: rollup.device(&line.device),
                energy: ByQuality(line.energy.map(Energy)),
                metered: Energy(line.metered),
                covered_ns: 600_000_000_000,
                metered_ns: 0,
            })
            .collect();
        let (covered_ns, expected_ns) = (600_000_000_000, 900_000_000_000);
        rollup
            .add(&HostSlot::new(host, lines[0].slot, HostTime::new(covered_ns, expected_ns), &billed))
            .expect("added");
    }
    let as_of = Utc(1);
    let question = Question { window: window(), step, tz: "Europe/Berlin", as_of, status: Status::Provisional };
    Answer::new(&question, rollup)
}

/// The rate as the test reads the card: currency, minor digits, price (10⁻⁹), PUE (10⁻⁶).
fn rate(site: &str, slot: Slot) -> Option<(&'static str, u32, i128, i128)> {
    match site {
        "tyo1" => Some(("JPY", 0, 31_700_000_000, 1_000_000)),
        "va1" => Some(("USD", 2, 120_000_000, 1_350_000)),
        _ if slot >= read_instant("2026-03-29T06:00:00Z").expect("an instant").slot() => {
            Some(("EUR", 2, 187_654_321, 1_234_567))
        }
        _ => None,
    }
}

fn minor(amount: Decimal, digits: u32) -> i128 {
    assert_eq!(amount.scale(), digits, "{amount} has not the currency's digits");
    amount.mantissa()
}

/// What every answer must fulfil by itself.
fn check(answer: &Answer) -> Result<(), TestCaseError> {
    let total = &answer.total;
    prop_assert_eq!(answer.rows.iter().map(|row| row.energy_uj).sum::<i128>(), total.energy_uj);
    for row in answer.rows.iter().chain([total]) {
        let quality = &row.quality;
        let kinds = quality.counter_joules + quality.integrated_joules + quality.estimated_joules;
        prop_assert!((kinds - row.energy_joules).abs() < 1e-6, "{kinds} {}", row.energy_joules);
        let boundary = quality.metered_joules + quality.summed_joules;
        prop_assert!((boundary - row.energy_joules).abs() < 1e-6, "{boundary} {}", row.energy_joules);
        prop_assert!(quality.covered_seconds <= quality.expected_seconds);
        for cost in &row.cost {
            let parts = &cost.parts;
            prop_assert_eq!(parts.energy + parts.pue_overhead + parts.demand + parts.fixed, cost.amount);
        }
    }
    for all in &total.cost {
        let rows = || answer.rows.iter().filter_map(|row| row.cost_in(all.currency));
        prop_assert_eq!(rows().map(|cost| cost.amount).sum::<Decimal>(), all.amount);
        prop_assert_eq!(rows().map(|cost| cost.parts.energy).sum::<Decimal>(), all.parts.energy);
        prop_assert_eq!(rows().map(|cost| cost.parts.pue_overhead).sum::<Decimal>(), all.parts.pue_overhead);
    }
    let unpriced: f64 = answer.rows.iter().map(|row| row.unpriced_kwh).sum();
    prop_assert!((unpriced - total.unpriced_kwh).abs() < 1e-6);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_two_groupings_and_steps_agree_to_the_microjoule_and_the_cent(fleet in fleet()) {
        let exact: i128 = fleet.lines.iter().flat_map(|line| line.energy).sum();
        let mut costs: BTreeMap<&str, (u32, i128)> = BTreeMap::new();
        for line in &fleet.lines {
            if let Some((currency, digits, price, pue)) = rate(fleet.hosts[line.host].1, line.slot) {
                let entry = costs.entry(currency).or_insert((digits, 0));
                entry.1 += line.energy.iter().sum::<i128>() * price * pue;
            }
        }
        for by in ["", "host", "team", "site,team", "scope", "device", "scope,device,host", "cluster", "team,scope"] {
            for step in [None, Some(Step::Quarter), Some(Step::Hour), Some(Step::Day), Some(Step::Month)] {
                let answer = ask(&fleet, by, "", step);
                check(&answer)?;
                prop_assert_eq!(answer.total.energy_uj, exact.div_euclid(2_000_000), "{} {:?}", by, step);
                for cost in &answer.total.cost {
                    let (digits, sum) = costs[cost.currency.code()];
                    let unit = KWH * 10_i128.pow(15 - digits);
                    prop_assert_eq!(minor(cost.amount, digits), (sum + unit / 2).div_euclid(unit), "{}", by);
                }
                prop_assert_eq!(answer.total.cost.len(), costs.len());
            }
        }
    }

    #[test]
    fn a_row_is_the_sum_of_its_lines_to_one_unit(fleet in fleet()) {
        let answer = ask(&fleet, "team,scope", "", Some(Step::Hour));
        for row in &answer.rows {
            let lines = fleet.lines.iter().filter(|line| {
                (row.start.slot()..row.end.slot()).contains(&line.slot)
                    && fleet.hosts[line.host].2 == row.value("team")
                    && line.scope.map_or("unattributed", Scope::word) == row.value("scope")
            });
            let exact: i128 = lines.clone().flat_map(|line| line.energy).sum();
            prop_assert!((exact.div_euclid(2_000_000)..=exact.div_euclid(2_000_000) + 1).contains(&row.energy_uj));
            for cost in &row.cost {
                let priced = lines.clone().filter_map(|line| {
                    let rate = rate(fleet.hosts[line.host].1, line.slot).filter(|rate| rate.0 == cost.currency.code())?;
                    Some((rate.1, line.energy.iter().sum::<i128>() * rate.2 * rate.3))
                });
                let digits = cost.currency.minor_digits();
                let unit = KWH * 10_i128.pow(15 - digits);
                let floor = priced.map(|priced| priced.1).sum::<i128>().div_euclid(unit);
                prop_assert!((floor..=floor + 1).contains(&minor(cost.amount, digits)));
            }
        }
    }

    #[test]
    fn filters_part_the_whole(fleet in fleet()) {
        for (one, other) in [("team=nlp|vision", "team!=nlp|vision"), ("scope=gpu", "scope!=gpu"),
                             ("device=dev-[0-1]", "device!=dev-[0-1]"), ("host=node[0-2],site!=va1", "host!=node[0-2]")] {
            let sums = |filter| ask(&fleet, "host,team", filter, None).total.energy_uj;
            let rest = if one.contains("va1") { sums("host=node[0-2],site=va1") } else { 0 };
            let (whole, parts) = (sums(""), sums(one) + sums(other) + rest);
            prop_assert!((parts..=parts + 2).contains(&whole), "{} {}: {} {}", one, other, whole, parts);
        }
    }

    #[test]
    fn the_sheet_read_again_and_summed_is_the_total(fleet in fleet()) {
        let answer = ask(&fleet, "team,host", "", Some(Step::Day));
        let text = to_csv(&answer).expect("a sheet");
        let mut sheet = csv::Reader::from_reader(text.as_bytes());
        let header = sheet.headers().expect("a header").clone();
        let rows: Vec<csv::StringRecord> = sheet.records().collect::<Result<_, _>>().expect("rows");
        prop_assert_eq!(rows.len(), answer.rows.len());
        let column = |name: &str| {
            let index = header.iter().position(|cell| cell == name).expect(name);
            rows.iter().map(move |row| row[index].to_owned()).filter(|cell| !cell.is_empty())
        };
        let energy: i128 = column("energy_uj").map(|cell| cell.parse::<i128>().expect("a whole number")).sum();
        prop_assert_eq!(energy, answer.total.energy_uj);
        for cost in &answer.total.cost {
            let sum = |name: &str| column(name).map(|cell| cell.parse::<Decimal>().expect("money")).sum::<Decimal>();
            let name = format!("cost_{}", cost.currency);
            prop_assert_eq!(sum(&name), cost.amount);
            prop_assert_eq!(sum(&format!("{name}_energy")), cost.parts.energy);
            prop_assert_eq!(sum(&format!("{name}_pue_overhead")), cost.parts.pue_overhead);
        }
        prop_assert!(column("team").all(|cell| !cell.starts_with('=')));
    }

    #[test]
    fn slots_summed_beforehand_give_the_same_answer(fleet in fleet()) {
        let card = RateCard::parse(CARD).expect("a card");
        let by = By::parse("team", &["team".to_owned()].into()).expect("a key");
        let tz = zone("Europe/Berlin").expect("a zone");
        let whole = ask(&fleet, "team", "", Some(Step::Hour));
        let hours = intervals(window(), Some(Step::Hour), &tz).expect("hours");
        let mut rollup = Rollup::new(&card, by, Where::default(), hours);
        prop_assert!(!rollup.needs_scopes() && !rollup.needs_devices());
        let device = rollup.device("");
        for (index, (name, site, team)) in fleet.hosts.iter().enumerate() {
            let labels: Labels = [("site", *site), ("team", *team)].into_iter()
                .filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            let host = rollup.host(&HostInfo { cluster: "default", name, chassis: None, labels: &labels }).expect("a host");
            let mut slot = window().first();
            while slot < window().until() {
                let until = rollup.same_until(host, slot);
                let span = slot..until;
                let lines: Vec<_> = fleet.lines.iter().filter(|l| l.host == index && span.contains(&l.slot)).collect();
                let mut energy = ByQuality::default();
                lines.iter().for_each(|line| energy += ByQuality(line.energy.map(Energy)));
                let metered = Energy(lines.iter().map(|line| line.metered).sum());
                let slots: std::collections::BTreeSet<_> = lines.iter().map(|line| line.slot).collect();
                let (covered_ns, expected_ns) = (slots.len() as u64 * 600_000_000_000, slots.len() as u64 * 900_000_000_000);
                let line = Line { scope: None, device, energy, metered, covered_ns, metered_ns: 0 };
                if !lines.is_empty() {
                    rollup.add(&HostSlot::new(host, slot, HostTime::new(covered_ns, expected_ns), &[line])).expect("added");
                }
                slot = until;
            }
        }
        let (rows, total) = rollup.finish();
        prop_assert_eq!(rows, whole.rows);
        prop_assert_eq!(total, whole.total);
    }
}

fn by_hand(row: &Row) -> (f64, f64) {
    (row.quality.covered_seconds, row.quality.expected_seconds)
}

#[test]
fn host_seconds_count_once_per_host_and_device_seconds_per_device() {
    let line = |host, slot, scope, device: &str| {
        let slot = Slot(window().first().0 + slot);
        Billed { host, slot, scope: Some(scope), device: device.into(), energy: [0, KWH / 4, 0], metered: 0 }
    };
    let mut lines = Vec::new();
    for slot in 0..4 {
        for host in 0..2 {
            lines.extend(["dev-0", "dev-1"].map(|device| line(host, slot, Scope::Gpu, device)));
            lines.push(line(host, slot, Scope::Cpu, "package-0"));
        }
    }
    let fleet = Fleet { hosts: vec![("a".into(), "va1", "nlp"), ("b".into(), "va1", "")], lines };
    // Two hosts, four slots: 600 of 900 seconds each.
    let hosts = (2.0 * 4.0 * 600.0, 2.0 * 4.0 * 900.0);
    for by in ["", "site", "cluster"] {
        assert_eq!(by_hand(&ask(&fleet, by, "", None).rows[0]), hosts, "{by}");
    }
    let scopes = ask(&fleet, "scope", "", None);
    assert!(scopes.rows.iter().all(|row| by_hand(row) == hosts), "cpu and gpu each");
    assert_eq!(by_hand(&scopes.total), hosts, "and the total still once");
    let devices = ask(&fleet, "scope,device", "", None);
    assert!(devices.rows.iter().all(|row| by_hand(row) == hosts), "each of two machines has one of each");
    assert_eq!(by_hand(&ask(&fleet, "scope,device", "", Some(Step::Hour)).total), hosts);
    let gpus = ask(&fleet, "team,device", "scope=gpu", None);
    assert_eq!(gpus.rows.len(), 4);
    assert_eq!(gpus.total.energy_kwh.to_i64(), Some(4), "4 GPUs × 4 slots × ¼ kWh");
    // 4 kWh × 0.12 × 1.35 = 0.648: 0.48 for the machines, 0.168 for the plant.
    let cost = &gpus.total.cost[0];
    assert_eq!(cost.amount.to_string(), "0.65");
    assert_eq!((cost.parts.energy.to_string(), cost.parts.pue_overhead.to_string()), ("0.48".into(), "0.17".into()));
    assert!((gpus.total.facility_kwh - 5.4).abs() < 1e-9);
}

#[test]
fn time_that_nothing_is_known_of_shows() {
    let card = RateCard::default();
    let by = By::parse("scope", &std::collections::BTreeSet::new()).expect("a key");
    let mut rollup = Rollup::new(&card, by, Where::default(), vec![window()]);
    let labels = Labels::new();
    let host = rollup.host(&HostInfo { cluster: "c", name: "n", chassis: None, labels: &labels }).expect("selected");
    let slot = window().first();
    rollup.add(&HostSlot::new(host, slot, HostTime::new(0, 900_000_000_000), &[])).expect("added");
    let outside = HostSlot::new(host, window().until(), HostTime::new(0, 0), &[]);
    assert_eq!(rollup.add(&outside).expect_err("outside").code(), "internal");
    let (rows, total) = rollup.finish();
    assert_eq!((rows[0].value("scope"), by_hand(&rows[0]), rows[0].energy_uj), ("unattributed", (0.0, 900.0), 0));
    assert_eq!(by_hand(&total), (0.0, 900.0));
    assert_eq!((total.carbon.location_grams, total.cost.len()), (None, 0), "no rate: no price, not a price of zero");
}

#[test]
fn an_answer_reads_back_from_its_json() {
    let lines = vec![Billed {
        host: 0,
        slot: window().first(),
        scope: None,
        device: String::new(),
        energy: [KWH, 1, -2_000_000],
        metered: KWH,
    }];
    let fleet = Fleet { hosts: vec![("node0".into(), "va1", "")], lines };
    let answer = ask(&fleet, "team,scope", "", Some(Step::Day));
    let text = answer.to_json().expect("JSON");
    assert_eq!(serde_json::from_str::<Answer>(&text).expect("an answer"), answer);
    for piece in [
        r#""window":{"start":"2026-03-28T23:00:00Z","end":"2026-03-29T22:00:00Z"}"#,
        r#""status":"provisional""#,
        r#""step":"1d","tz":"Europe/Berlin""#,
        r#""by":{"scope":"unattributed","team":""}"#,
        r#""energy_uj":"3599999999999""#,
        r#""amount":"0.16","parts":{"energy":"0.12","pue_overhead":"0.04","demand":"0.00","fixed":"0.00"}"#,
    ] {
        assert!(text.contains(piece), "{piece} in {text}");
    }
}

#[test]
fn rows_have_a_limit() {
    let card = RateCard::default();
    let tz = zone("UTC").expect("UTC");
    let slots = intervals(window(), Some(Step::Quarter), &tz).expect("slots");
    let mut rollup = Rollup::new(&card, By::default(), Where::default(), slots).with_rows_max(3);
    let labels = Labels::new();
    let host = rollup.host(&HostInfo { cluster: "c", name: "n", chassis: None, labels: &labels }).expect("selected");
    let mut added = (0..5).map(|slot| {
        let slot = Slot(window().first().0 + slot);
        rollup.add(&HostSlot::new(host, slot, HostTime::new(0, 1), &[])).map_err(|error| error.code())
    });
    assert!((0..3).all(|_| added.next() == Some(Ok(()))));
    assert_eq!(added.next(), Some(Err("too-many-rows")));
}

#[test]
fn formulas_are_neutralised_and_numbers_stay() {
    for (cell, written) in [
        ("=1+1", "'=1+1"),
        ("+cmd", "'+cmd"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\tx", "'\tx"),
        ("\rx", "'\rx"),
        ("-inf", "'-inf"),
        ("-12.5", "-12.5"),
        ("nlp", "nlp"),
        ("", ""),
    ] {
        assert_eq!(cost::sheet::harmless(cell), written);
    }
}
