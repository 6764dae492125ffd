//! The first thing a newcomer runs.

use crate::harness::{Home, wattledger};

#[test]
fn the_demo_ends_with_a_cost_table_by_team_and_says_what_is_simulated() {
    let home = Home::new();
    let data = home.data();
    let data = data.to_str().expect("a plain path");
    let done =
        wattledger(&home, &["demo", "--for", "6s", "--hosts", "6", "--listen", "127.0.0.1:0", "--data-dir", data]).ok();
    let all = format!("{}{}", done.out, done.err);
    assert!(all.contains("http://127.0.0.1:"), "the address of the page:\n{all}");
    assert!(all.to_lowercase().contains("simulated"), "what is simulated says so:\n{all}");
    let table = done.out.to_lowercase();
    assert!(table.contains("team") && table.contains("kwh"), "a table by team:\n{}", done.out);
    assert!(table.contains("total"), "with totals:\n{}", done.out);
    assert!(["eur", "usd", "€", "$"].iter().any(|currency| table.contains(currency)), "with costs:\n{}", done.out);
    assert!(done.out.lines().filter(|line| line.chars().any(|c| c.is_ascii_digit())).count() >= 3, "{}", done.out);
}
