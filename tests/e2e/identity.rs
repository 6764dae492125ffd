//! Two machines that report under one name.

use std::time::Duration;

use crate::harness::{
    Home, Node, can_unshare, counter, free_address, now_ms, rollup, slots_around, wait_for, wattledger,
};

#[test]
fn a_second_machine_under_a_name_is_refused_keeps_its_readings_and_delivers_them_once_the_name_is_its_own() {
    if !can_unshare(&["--mount"], "two machines under one name") {
        return;
    }
    let (home, address, begin) = (Home::new(), free_address(), now_ms());
    let server = home.start_with(&address, &[]);
    let machine = |name: &str, id: &str| {
        let file = home.write(&format!("{name}.machine-id"), format!("{id}\n"));
        let script = format!("mount --bind '{}' /etc/machine-id && exec \"$0\" \"$@\"", file.display());
        Node::start(&home, name, &address, &["unshare", "--mount", "sh", "-c", &script])
    };
    let readings = || counter(&server.url, "wattledger_readings_total", "");
    let started = now_ms();
    let first = machine("first", "0123456789abcdef0123456789abcdef");
    wait_for("the first machine's readings", Duration::from_secs(30), || (readings() >= 10.0).then_some(()));
    let read = now_ms();

    let second = machine("second", "fedcba9876543210fedcba9876543210");
    second.wait_for_log("host-bound-elsewhere");
    second.wait_for_log("wattledger host rebind made-up");
    let before = readings();
    wait_for("more of the first machine", Duration::from_secs(30), || (readings() >= before + 20.0).then_some(()));
    first.stop();
    let told = second.logged();
    let is_fingerprint = |word: &&str| word.len() == 32 && word.chars().all(|c| c.is_ascii_hexdigit());
    let named: std::collections::BTreeSet<_> =
        told.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_fingerprint).collect();
    assert_eq!(named.len(), 2, "both machines are named: {told}");

    // Nothing of the second was booked yet.
    let (row, now) = (rollup(&server.url, &slots_around(begin, now_ms()), "host=made-up"), now_ms());
    assert!(row.covered_seconds > 1.0 && row.covered_seconds <= (now - begin) as f64 / 1e3, "{row:?}");

    // Nothing of it is gone either: once the name is its own it delivers what it kept.
    wattledger(&home, &["host", "rebind", "made-up", "--server", &server.url]).ok();
    let refused = now_ms();
    second.stop();
    let second = machine("second", "fedcba9876543210fedcba9876543210");
    let before = readings();
    wait_for("the second machine's readings", Duration::from_secs(30), || (readings() >= before + 20.0).then_some(()));
    // What the first start and the last end take on a busy machine need not be read.
    let least = (now_ms() - read) as f64 / 1e3;
    second.stop();
    let after = rollup(&server.url, &slots_around(begin, now_ms()), "host=made-up");
    let lived = (now_ms() - started) as f64 / 1e3;
    println!(
        "{} s covered of {lived} s, {} s of which the second was refused",
        after.covered_seconds,
        (refused - begin) as f64 / 1e3
    );
    // Both read the same made-up devices: each instant is booked once, from the first's start to the second's end.
    assert!(after.covered_seconds >= least - 2.0, "{after:?} in {least} s");
    assert!(after.covered_seconds <= lived, "{after:?} in {lived} s");
    assert!(after.energy_uj > row.energy_uj);
}
