//! A machine's boot clock set back under its agent, as by the restore of a snapshot.

use std::time::Duration;

use crate::harness::{
    Home, Node, Row, Server, can_unshare, counter, free_address, now_ms, rollup, slots_around, wait_for,
};

fn wait_for_readings(server: &Server, more: f64) {
    let before = counter(&server.url, "wattledger_readings_total", "");
    wait_for(&format!("{more} more readings"), Duration::from_secs(30), || {
        (counter(&server.url, "wattledger_readings_total", "") >= before + more).then_some(())
    });
}

fn row(server: &Server, begin: i64) -> Row {
    rollup(&server.url, &slots_around(begin, now_ms()), "host=made-up")
}

#[test]
fn a_boot_clock_set_back_by_hours_loses_nothing_but_the_moment_until_it_is_noticed() {
    if !can_unshare(&["--time", "--boottime", "100000"], "the boot clock set back") {
        return;
    }
    let (home, address, begin) = (Home::new(), free_address(), now_ms());
    let server = home.start_with(&address, &[]);
    // The same boot id throughout: only the boot clock is another one.
    let node = Node::start(&home, "node", &address, &["unshare", "--time", "--boottime", "100000"]);
    wait_for_readings(&server, 20.0);
    node.stop();
    let before = row(&server, begin);

    let restored = now_ms();
    let node = Node::start(&home, "node", &address, &["unshare", "--time", "--boottime", "50000"]);
    node.wait_for_log("boot clock was set back");
    let noticed = now_ms();
    wait_for_readings(&server, 60.0);
    // On a busy machine its end takes a while, of which not all is read.
    let since_noticed = || (now_ms() - noticed) as f64 / 1e3;
    let until_its_end = since_noticed();
    node.stop();
    let lived = since_noticed();
    let after = row(&server, begin);

    let covered = after.covered_seconds - before.covered_seconds;
    let unnoticed = (noticed - restored) as f64 / 1e3;
    println!("{covered} s covered of {lived} s after it was noticed, and {unnoticed} s before");
    assert!(covered >= until_its_end - 2.0, "{covered} s covered of {until_its_end} s: {after:?}");
    assert!(covered <= lived + unnoticed + 0.5, "{covered} s covered of {lived} s and {unnoticed} s");
    assert!(unnoticed < 15.0, "{unnoticed} s are more than a post's interval and a start on a busy machine");
    assert!(after.energy_uj > before.energy_uj);
}
