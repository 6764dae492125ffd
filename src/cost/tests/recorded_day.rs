//! A recorded day of 32 machines priced by real tariffs, against the cost that another program computed.
//!
//! The recording lies in the folder that `WATTLEDGER_TEST_DATA` names; without it the test says that
//! it did not run.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stderr,
    reason = "the crate is pure; its test reads the recording from a file and says when it cannot"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cost::step::intervals;
use cost::{By, HostInfo, HostSlot, HostTime, Line, RateCard, Rollup, Row, Step, Where, Window, zone};
use meter::{ByQuality, Energy, Labels, Milliwatts, Quality, SLOT_NS, Scope, Slot, Utc};

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("WATTLEDGER_TEST_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("SKIPPED: WATTLEDGER_TEST_DATA is not set, the recorded day was not priced");
    }
    folder
}

/// Valid samples per host: instant and power.
fn samples(folder: &Path) -> BTreeMap<String, Vec<(Utc, Milliwatts)>> {
    let file = std::fs::File::open(folder.join("fleet-32xHaswell-24h/samples.csv.gz")).expect("the recording");
    let mut sheet = csv::Reader::from_reader(flate2::read::GzDecoder::new(file));
    let mut hosts: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for row in sheet.records() {
        let row = row.expect("a row");
        if !row[3].is_empty() {
            let at = Utc::from_ms(row[0].parse().expect("milliseconds")).expect("an instant");
            let power = Milliwatts::from_watts_text(&row[3]).expect("watts");
            hosts.entry(row[1].to_owned()).or_default().push((at, power));
        }
    }
    hosts
}

/// Energy per slot by trapezoids that are split exactly at slot borders, in rational arithmetic of
/// the test's own: the energy from `a` to any instant is a whole number of ½ pJ over the span.
fn per_slot(samples: &[(Utc, Milliwatts)]) -> BTreeMap<Slot, i128> {
    let mut slots = BTreeMap::new();
    for pair in samples.windows(2) {
        let ((a, from), (b, to)) = (pair[0], pair[1]);
        let span = i128::from(b.0 - a.0);
        let until = |at: i64| {
            let dt = i128::from(at - a.0);
            let (p, q) = (i128::from(from.0), i128::from(to.0));
            2 * p * dt + (q - p) * dt * dt / span
        };
        let mut here = a.0;
        while here < b.0 {
            let border = (here.div_euclid(SLOT_NS) + 1) * SLOT_NS;
            let next = border.min(b.0);
            *slots.entry(Utc(here).slot()).or_insert(0) += until(next) - until(here);
            here = next;
        }
    }
    slots
}

/// The day, rolled up by host and hour. Hosts that no rate has labels for need none.
struct Day {
    hosts: BTreeMap<String, BTreeMap<Slot, i128>>,
    window: Window,
    reference: serde_json::Value,
}

impl Day {
    fn read(folder: &Path) -> Self {
        let text = std::fs::read_to_string(folder.join("tariffs/cost_reference.json")).expect("the reference");
        let reference: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let samples = samples(folder);
        let edges = |pick: fn(&[(Utc, Milliwatts)]) -> Utc| samples.values().map(move |samples| pick(samples));
        let start = edges(|samples| samples[0].0).min().expect("samples");
        let end = edges(|samples| samples[samples.len() - 1].0).max().expect("samples");
        let hosts = samples.iter().map(|(name, samples)| (name.clone(), per_slot(samples))).collect();
        let window = Window::around(start, end).expect("a window");
        Self { hosts, window, reference: reference["open/fleet-32xHaswell-24h"].clone() }
    }

    fn figure(&self, name: &str) -> f64 {
        self.reference[name].as_f64().expect("a figure")
    }

    fn roll(&self, card: &RateCard, step: Option<Step>) -> (Vec<Row>, Row) {
        let intervals = intervals(self.window, step, &zone("UTC").expect("UTC")).expect("hours");
        let by = By::parse("host", &std::collections::BTreeSet::new()).expect("a key");
        let mut rollup = Rollup::new(card, by, Where::default(), intervals);
        let device = rollup.device("");
        let labels = Labels::new();
        for (name, slots) in &self.hosts {
            let info = HostInfo { cluster: "default", name, chassis: None, labels: &labels };
            let host = rollup.host(&info).expect("a host");
            for (&slot, &energy) in slots {
                let energy = ByQuality::of(Quality::Integrated, Energy(energy));
                let scope = Some(Scope::Cpu);
                let line = Line { scope, device, energy, metered: Energy::ZERO, covered_ns: 0, metered_ns: 0 };
                rollup.add(&HostSlot::new(host, slot, HostTime::new(0, 0), &[line])).expect("added");
            }
        }
        rollup.finish()
    }

    /// The cost by host and in all, of a card that is in millionths of its currency, so that eight decimals are
    /// printed.
    fn cost(&self, card: &str, files: &BTreeMap<&str, String>) -> (BTreeMap<String, f64>, f64) {
        let mut read = |name: &str| files.get(name).cloned().ok_or_else(|| "no such file".to_owned());
        let card = RateCard::read(card, &mut read).expect("a card");
        let (rows, total) = self.roll(&card, None);
        let amount = |row: &Row| row.cost[0].amount.to_string().parse::<f64>().expect("a number") / 1e6;
        assert!(rows.iter().all(|row| row.unpriced_kwh == 0.0 && row.cost.len() == 1));
        (rows.iter().map(|row| (row.value("host").to_owned(), amount(row))).collect(), amount(&total))
    }
}

/// Whether two figures agree to six digits.
fn agree(ours: f64, theirs: f64, what: &str) {
    assert!((ours / theirs - 1.0).abs() < 5e-7, "{what}: {ours}, the reference says {theirs}");
}

#[test]
fn the_recorded_day_costs_what_the_reference_says() {
    let Some(folder) = data() else { return };
    let day = Day::read(&folder);
    let card = RateCard::parse("[[rate]]\ncurrency = \"USD\"\nprice_per_kwh = \"0.12\"").expect("a card");
    assert_eq!(day.hosts.len(), 32);
    let (rows, total) = day.roll(&card, Some(Step::Hour));
    assert!(rows.len() > 32 * 23);

    let kwh = day.figure("energy_kWh");
    assert!((total.energy_kwh / kwh - 1.0).abs() < 1e-8, "{} {kwh}", total.energy_kwh);
    let usd = day.figure("flat_0_12_usd");
    assert_eq!(total.cost[0].amount.to_string(), format!("{usd:.2}"));
    let cents: rust_decimal::Decimal = rows.iter().map(|row| row.cost[0].amount).sum();
    assert_eq!(cents, total.cost[0].amount);
    eprintln!("recorded day: {:.6} kWh (reference {kwh:.6}), {} USD (reference {usd:.6})", total.energy_kwh, cents);
}

/// A URDB tariff as a card of ours, a rule for each hour of each month; prices in millionths.
fn urdb(folder: &Path, zone: &str, with_adjustment: bool) -> String {
    let text = std::fs::read_to_string(folder.join("tariffs/urdb-virginia-dominion.json")).expect("the tariff");
    let tariff: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let tariff = &tariff["items"][0];
    let mut card = format!("[[rate]]\ncurrency = \"USD\"\ntimezone = \"{zone}\"\n");
    for (kind, weekdays) in [("energyweekdayschedule", "mon-fri"), ("energyweekendschedule", "sat-sun")] {
        for (month, hours) in tariff[kind].as_array().expect("months").iter().enumerate() {
            for (hour, period) in hours.as_array().expect("hours").iter().enumerate() {
                let tier = &tariff["energyratestructure"][period.as_u64().expect("a period") as usize][0];
                let part = |name: &str| (tier[name].as_f64().expect("a price") * 1e6).round();
                let price = part("rate") + if with_adjustment { part("adj") } else { 0.0 };
                card += &format!(
                    "[[rate.period]]\nmonths = {}\nweekdays = \"{weekdays}\"\nhours = \"{hour}-{}\"\nprice_per_kwh = \"{price}\"\n",
                    month + 1,
                    hour + 1
                );
            }
        }
    }
    card
}

#[test]
fn by_time_of_use_it_costs_what_the_reference_says_for_each_host_and_in_all() {
    let Some(folder) = data() else { return };
    let day = Day::read(&folder);
    let none = BTreeMap::new();
    let flat = "[[rate]]\ncurrency = \"USD\"\nprice_per_kwh = \"120000\"\n";
    for (card, name) in [
        (flat.to_owned(), "flat_0_12_usd"),
        (urdb(&folder, "UTC", true), "urdb_utc_usd"),
        (urdb(&folder, "America/New_York", true), "urdb_new_york_usd"),
        (urdb(&folder, "America/New_York", false), "urdb_new_york_rate_only_usd"),
    ] {
        let (hosts, total) = day.cost(&card, &none);
        agree(total, day.figure(name), name);
        eprintln!("{name}: {total:.8} (reference {:.8})", day.figure(name));
        if name == "urdb_new_york_usd" {
            let theirs = day.reference["urdb_new_york_per_host_usd"].as_object().expect("hosts");
            assert_eq!(hosts.len(), theirs.len());
            for (host, ours) in hosts {
                agree(ours, theirs[&host].as_f64().expect("a figure"), &host);
            }
        }
    }
}

#[test]
fn at_day_ahead_prices_it_costs_what_the_reference_says() {
    let Some(folder) = data() else { return };
    let day = Day::read(&folder);
    let text = std::fs::read_to_string(folder.join("tariffs/dayahead-2022-de-utc.json")).expect("the prices");
    let prices: BTreeMap<String, f64> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(prices.values().filter(|price| **price < 0.0).count(), 69);
    // The reference looks the month, day and hour of a sample up in 2022.
    let moved = prices.iter().filter(|(at, _)| at.starts_with("2022-12"));
    let rows = moved.map(|(at, price)| format!("{},{:.2}\n", at.replace("2022", "2020"), price * 1e6));
    let sheet = "start,price_per_mwh\n".to_owned() + &rows.collect::<String>();
    let card = "[[rate]]\ncurrency = \"EUR\"\nseries = \"de.csv\"\n";
    let (_, total) = day.cost(card, &[("de.csv", sheet)].into());
    agree(total, day.figure("dayahead_de_shifted_to_2022_eur"), "day-ahead");
    eprintln!("day-ahead: {total:.8} (reference {:.8})", day.figure("dayahead_de_shifted_to_2022_eur"));
}

#[test]
fn a_year_of_local_prices_is_the_same_as_its_instants() {
    let Some(folder) = data() else { return };
    let text = std::fs::read_to_string(folder.join("tariffs/dayahead-2022-de-utc.json")).expect("the prices");
    let utc: BTreeMap<String, f64> = serde_json::from_str(&text).expect("JSON");
    let sheet = folder.join("tariffs/dayahead-2022-hourly-fr-it-be-es-uk-de.csv");
    let mut sheet = csv::Reader::from_path(sheet).expect("the prices");
    let rows = sheet.records().map(|row| {
        let row = row.expect("a row");
        format!("{}T{},{}\n", row[0].replace('/', "-"), &row[1][..5], &row[7])
    });
    let rows: Vec<String> = rows.collect();
    assert!(rows.iter().any(|row| row == "2022-03-27T02:00,\n"), "the hour that the clock skips is blank");
    let text = "start,price_per_mwh\n".to_owned() + &rows.concat();
    let card = "[[rate]]\ncurrency = \"EUR\"\nseries = \"de.csv\"\ntimezone = \"Europe/Berlin\"\n";
    let read = |text: &str| RateCard::read(card, &mut |_| Ok(text.to_owned()));
    let card = read(&text).expect("a card");
    let none = Labels::new();
    for (at, price) in &utc {
        let slot = cost::window::read_instant(at).expect("an instant").slot();
        let nano = (price * 1e6).round() as i64;
        assert_eq!(card.tariff_at(&none, slot).and_then(|tariff| tariff.price_nano), Some(nano), "{at}");
    }
    // Without its second 02:00 in October an hour is missing, and named.
    let once = text.replacen("2022-10-30T02:00,99.92\n", "", 1);
    let error = read(&once).expect_err("an hour is missing").to_string();
    assert!(error.contains("from 2022-10-30T01:00:00Z to 2022-10-30T02:00:00Z"), "{error}");
}
