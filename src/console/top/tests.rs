//! What a person sees, and what keys do.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use serde_json::{Value, json};

use super::answers::Key;
use super::draw::draw;
use super::rows::Id;
use super::state::{Mode, News, Order, Press, State};

fn at(text: &str) -> Timestamp {
    format!("2026-11-01T{text}Z").parse().expect("an instant")
}

fn seen(state: &State, width: u16, height: u16, now: Timestamp) -> Terminal<TestBackend> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal.draw(|frame| draw(frame, state, now, &TimeZone::UTC)).expect("drawn");
    terminal
}

fn lines(state: &mut State, width: u16, height: u16, now: Timestamp) -> Vec<String> {
    state.resize(height);
    let terminal = seen(state, width, height, now);
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect()
}

fn by(chassis: &str, host: &str) -> Value {
    json!({"cluster": "c", "chassis": chassis, "host": host})
}

fn power(rows: &[(&str, &str, f64)]) -> News {
    let total: f64 = rows.iter().map(|row| row.2).sum();
    let all: Vec<Value> = rows.iter().map(|row| json!({"by": by(row.0, row.1), "watts": row.2, "hosts": 1})).collect();
    let answer = json!({"as_of": "2026-11-01T10:07:00Z", "rows": all, "groups": all.len(), "total_watts": total});
    News::Power(serde_json::from_value(answer).expect("power"))
}

/// A bill of watt hours at 0.12 $/kWh.
fn bill(rows: &[(&str, &str, i64)], minute: u8) -> super::answers::Bill {
    let billed = |wh: i64| {
        let uj = (wh * 3_600_000_000).to_string();
        let cents = wh * 12 / 1000;
        let amount = format!("{}.{:02}", cents / 100, cents % 100);
        let parts = json!({"energy": amount, "pue_overhead": "0.00", "demand": "0.00", "fixed": "0.00"});
        json!({"energy_uj": uj, "cost": [{"currency": "USD", "energy_uj": uj, "amount": amount, "parts": parts}]})
    };
    let row = |row: &(&str, &str, i64)| {
        let mut billed = billed(row.2);
        billed["by"] = by(row.0, row.1);
        billed
    };
    let all: Vec<Value> = rows.iter().map(row).collect();
    let total = billed(rows.iter().map(|row| row.2).sum());
    let bill = json!({"as_of": format!("2026-11-01T10:{minute:02}:00Z"), "rows": all, "total": total});
    serde_json::from_value(bill).expect("a bill")
}

fn flat() -> News {
    let outlook = json!({"as_of": "2026-11-01T00:00:00Z", "series": [], "prices": [{"labels": {}, "until": null, "next": [],
        "now": {"rate": null, "version": null, "line": 2, "currency": "USD", "price_per_kwh": "0.12", "period": null, "pue": "1",
            "carbon_g_per_kwh": null, "demand_per_kw": null, "fixed_per_month": null, "overhead_share": null, "timezone": "UTC"}}]});
    News::Rates(super::text::Rates::of(&serde_json::from_value(outlook).expect("an outlook")))
}

/// An enclosure with two hosts, one of them silent, and a host without; 3,210 Wh in the session.
fn fleet() -> State {
    let mut state = State::new("http://127.0.0.1:9810", true);
    let now = at("10:07:01");
    state.hear(flat(), now);
    state.hear(power(&[("enc", "n1", 1500.0), ("", "n3", 642.0)]), now);
    state.hear(News::Begun(0, bill(&[("enc", "n1", 1000), ("enc", "n2", 500), ("", "n3", 0)], 2)), now);
    state.hear(News::Billed(0, bill(&[("enc", "n1", 3000), ("enc", "n2", 1000), ("", "n3", 710)], 7)), now);
    let silent = Key { cluster: "c".into(), chassis: "enc".into(), host: "n2".into() };
    state.hear(News::States(BTreeMap::from([(silent, "silent".into())]), true), now);
    let detail = json!({"state": "live", "lifetime": {"uj": "72000000000000"}, "labels": {"team": "nlp"}, "flags": []});
    let id = Id { cluster: "c".into(), name: "enc".into(), is_chassis: true };
    state.hear(News::Detail(id, serde_json::from_value(detail).expect("a detail")), now);
    state
}

#[test]
fn the_whole_of_it_at_80_by_24() {
    let seen = lines(&mut fleet(), 80, 24, at("10:07:02"));
    let expected = [
        "wattledger top  http://127.0.0.1:9810                             as of 10:07:00",
        "Fleet 2.14 kW  2 hosts are read now, 1 silent      session since 10:02:00, 5 min",
        "Energy session: 3.21 kWh | $0.38 (at $0.12/kWh)",
        "",
        "CHASSIS OR HOST           HOSTS      POWER  SESSION kWh          COST STATE",
        "> enc                    1 of 2    1.50 kW         2.50         $0.30 silent",
        "  n3                          1      642 W         0.71         $0.08 live",
    ];
    assert_eq!(seen[..7], expected, "\n{}", seen.join("\n"));
    assert_eq!(seen[21], "chassis c/enc  live, lifetime 20.00 kWh  team=nlp");
    assert_eq!(seen[22], "Energy session: 2.50 kWh | $0.30 (at $0.12/kWh)");
    assert!(seen[23].contains("? help") && seen[23].contains("R reset"), "{}", seen[23]);
    assert!(seen.iter().all(|line| line.chars().count() <= 80));
}

#[test]
fn hosts_that_are_no_machines_are_said_to_be_none_unless_there_is_trouble() {
    let (mut state, now) = (fleet(), at("10:07:02"));
    let mut newer = bill(&[("enc", "n1", 3000)], 7);
    newer.made_up_hosts = 16;
    state.hear(News::Billed(0, newer), now);
    let told = "made up: 16 hosts are simulated or replayed, no live machines";
    assert_eq!(lines(&mut state, 80, 24, now)[3], told);
    state.hear(News::Failed("power", "connection refused".into()), now);
    assert!(lines(&mut state, 80, 24, now)[3].starts_with("No answer since"));
}

#[test]
fn reset_forgets_the_session_and_nothing_else() {
    let (mut state, now) = (fleet(), at("10:08:00"));
    assert_eq!(state.press(Press::Char('R'), now), Order::Reset);
    let told = lines(&mut state, 80, 24, now);
    assert_eq!(told[2], "Energy session: not known yet");
    assert!(told[23].contains("Session reset") && told[23].contains("Lifetime figures are untouched"), "{}", told[23]);
    assert!(told[21].contains("lifetime 20.00 kWh"), "{}", told[21]);
    assert!(told[5].contains("1.50 kW") && told[5].contains('–'), "power stays, energy is not known: {}", told[5]);
    // An answer to a question of the session before changes nothing.
    state.hear(News::Billed(0, bill(&[("", "n3", 9000)], 8)), now);
    assert_eq!(lines(&mut state, 80, 24, now)[2], "Energy session: not known yet");
    state.hear(News::Begun(1, bill(&[("", "n3", 1000)], 8)), now);
    state.hear(News::Billed(1, bill(&[("", "n3", 2000)], 9)), now);
    let told = lines(&mut state, 80, 24, at("10:08:10"));
    assert_eq!(told[2], "Energy session: 1.00 kWh | $0.12 (at $0.12/kWh)");
    assert!(!told[23].contains("Session reset"), "the toast is gone");
}

#[test]
fn the_top_consumers_come_by_energy_with_their_share() {
    let mut state = fleet();
    state.press(Press::Char('E'), at("10:07:02"));
    let told = lines(&mut state, 80, 24, at("10:07:02"));
    assert!(told[4].starts_with("TOP CONSUMERS"), "{}", told[4]);
    let words = |line: &String| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(&told[5]), [">", "n1", "enc", "1.50", "kW", "2.00", "$0.24", "62.3", "%"]);
    assert_eq!(words(&told[6]), ["n3", "–", "642", "W", "0.71", "$0.08", "22.1", "%"]);
    assert_eq!(words(&told[7]), ["n2", "enc", "–", "0.50", "$0.06", "15.6", "%"]);
    state.press(Press::Char('E'), at("10:07:02"));
    assert!(lines(&mut state, 80, 24, at("10:07:02"))[5].starts_with("> enc"));
}

#[test]
fn where_money_is_hidden_there_is_none() {
    let mut state = fleet();
    let mut hidden = bill(&[("enc", "n1", 3000), ("enc", "n2", 1000), ("", "n3", 710)], 8);
    hidden.cost_hidden = true;
    state.hear(News::Billed(0, hidden), at("10:07:02"));
    for keys in ["", "E", "?"] {
        keys.chars().for_each(|key| {
            state.press(Press::Char(key), at("10:07:02"));
        });
        let all = lines(&mut state, 100, 30, at("10:07:02")).join("\n");
        for money in ["$", "COST", "price", "/kWh"] {
            assert!(!all.contains(money), "{money} after {keys:?}\n{all}");
        }
    }
    state.press(Press::Escape, at("10:07:02"));
    state.press(Press::Char('c'), at("10:07:02"));
    assert_ne!(state.sort, super::rows::Sort::Cost);
}

#[test]
fn figures_say_since_when_they_are_old() {
    let mut state = State::new("http://h:1", false);
    state.hear(News::Failed("power", "Connection refused".into()), at("10:00:00"));
    let told = lines(&mut state, 80, 24, at("10:00:00"));
    assert_eq!(told[3], "No answer yet (Connection refused); trying again");
    assert_eq!(told[1], "Fleet –  waiting for the aggregator");
    let mut state = fleet();
    state.hear(News::Failed("power", "Connection refused".into()), at("10:09:00"));
    let told = lines(&mut state, 80, 24, at("10:09:00"));
    assert_eq!(told[3], "No answer since 10:07:01 (Connection refused); figures are of then");
    assert!(told[5].contains("1.50 kW") && told[2].contains("3.21 kWh"), "figures stay");
    state.hear(power(&[("enc", "n1", 1700.0)]), at("10:10:00"));
    let told = lines(&mut state, 80, 24, at("10:10:00"));
    assert_eq!(told[3], "");
    assert!(lines(&mut state, 80, 24, at("10:12:00"))[3].starts_with("Figures are 2 min old"));
}

#[test]
fn nothing_is_coloured_where_colour_is_not_welcome() {
    let is_coloured = |state: &State| {
        let terminal = seen(state, 80, 24, at("10:20:00"));
        terminal.backend().buffer().content().iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset)
    };
    let mut state = fleet();
    state.hear(News::Failed("power", "down".into()), at("10:19:00"));
    assert!(is_coloured(&state));
    state.is_coloured = false;
    assert!(!is_coloured(&state));
}

#[test]
fn a_filter_is_typed_and_kept() {
    let (mut state, now) = (fleet(), at("10:07:02"));
    for key in [Press::Char('/'), Press::Char('q'), Press::Backspace, Press::Char('n'), Press::Char('3')] {
        assert_eq!(state.press(key, now), Order::Nothing);
    }
    let told = lines(&mut state, 80, 24, now);
    assert!(told[23].starts_with("/n3_") && told[5].starts_with("> n3") && told[6].is_empty(), "{told:?}");
    state.press(Press::Enter, now);
    assert!(lines(&mut state, 80, 24, now)[23].starts_with("1 row by power, filter /n3"));
    state.press(Press::Escape, now);
    assert_eq!((state.mode, state.shown.len()), (Mode::Rows, 2));
    (0..200).for_each(|_| {
        state.press(Press::Char('/'), now);
    });
    assert!(state.filter.chars().count() <= 64);
    state.press(Press::Clear, now);
    state.press(Press::Char('~'), now);
    assert!(lines(&mut state, 80, 24, now)[5].contains("no row matches"));
    assert_eq!(state.press(Press::Interrupt, now), Order::Quit);
}

#[test]
fn every_size_is_drawn_and_help_and_quitting_work() {
    let mut state = fleet();
    for (width, height) in [(1, 1), (39, 24), (40, 10), (53, 12), (80, 9), (80, 24), (200, 60), (u16::from(u8::MAX), 3)]
    {
        let all = lines(&mut state, width, height, at("10:07:02")).join("\n");
        assert_eq!(all.contains("3.21 kWh"), width >= 40 && height >= 10, "{width}x{height}\n{all}");
    }
    state.press(Press::Char('?'), at("10:07:02"));
    let help = lines(&mut state, 80, 24, at("10:07:02")).join("\n");
    assert!(
        help.contains("reset the session") && help.contains("never goes back") && help.contains("Currencies"),
        "{help}"
    );
    state.press(Press::Char('q'), at("10:07:02"));
    assert_eq!(state.mode, Mode::Rows, "any key closes the help");
    assert_eq!(state.press(Press::Char('q'), at("10:07:02")), Order::Quit);
}

#[test]
fn the_cursor_stays_with_its_row_among_ten_thousand() {
    let mut state = State::new("s", false);
    let names: Vec<String> = (0..10_000).map(|n| format!("n{n:05}")).collect();
    let all = |shift: usize| -> News {
        let watts = |n: usize| ((n * 7919 + shift * 31) % 10_007) as f64;
        power(&names.iter().enumerate().map(|(n, name)| ("", name.as_str(), watts(n))).collect::<Vec<_>>())
    };
    state.hear(all(0), at("10:00:00"));
    state.resize(24);
    state.press(Press::Char('n'), at("10:00:00"));
    (0..3).for_each(|_| {
        state.press(Press::PageDown, at("10:00:00"));
    });
    assert_eq!(state.selected().map(|row| row.id.name.as_str()), Some("n00048"));
    state.press(Press::Char('p'), at("10:00:00"));
    for shift in 1..4 {
        state.hear(all(shift), at("10:00:02"));
        assert_eq!(state.selected().map(|row| row.id.name.as_str()), Some("n00048"));
        assert!((state.offset..state.offset + state.page).contains(&state.place));
    }
    state.press(Press::End, at("10:00:03"));
    assert_eq!((state.place, state.offset), (9999, 9999 + 1 - state.page));
    state.press(Press::Home, at("10:00:03"));
    state.hear(all(9), at("10:00:04"));
    assert_eq!(state.place, 0, "at the top one looks at whoever comes first");
}

#[test]
fn a_terminal_gets_no_orders_from_a_name() {
    let mut state = State::new("s", false);
    state.hear(power(&[("", "a\u{1b}[2Jb", 1.0)]), at("10:00:00"));
    let told = lines(&mut state, 80, 24, at("10:00:00"));
    assert!(told[5].contains("a\u{fffd}[2Jb"), "{}", told[5]);
}
