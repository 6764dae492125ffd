//! Sessions, certificates, refusals, and BMCs in a bad mood.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use agents::sources::PollError;
use meter::Milliwatts;
use serde_json::{Value, json};

use crate::bmc::{Bmc, Mood, PASSWORD, USER};
use crate::{METRICS, UUID, absent, failure, four_hundred, probed, read, server, target, targets};

#[actix_rt::test]
async fn a_server_is_found_and_read_over_one_session_and_one_connection() {
    let watts = four_hundred();
    let bmc = server(&watts);
    let mut target = target(&bmc);
    let devices = probed(&mut target).await;
    assert_eq!(devices[0][0].decl.key.to_string(), "chassis:bmc");
    assert_eq!(devices[0][0].now.and_then(|sample| sample.power), Some(Milliwatts(400_000)));
    let outlet = target.outlets()[0].clone();
    assert_eq!(outlet.owner.to_string(), "default/chassis/bmc-1");
    let labels: Vec<(&str, &str)> = outlet.labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let uuid = UUID.to_lowercase();
    let expected = [
        ("hw.model", "C-1U"),
        ("hw.power", "on"),
        ("hw.serial", "S1"),
        ("hw.uuid", uuid.as_str()),
        ("hw.vendor", "Contoso"),
        ("rack", "R12"),
        ("row", "C"),
    ];
    assert_eq!(labels, expected);
    let before = bmc.seen().requests.len();
    for power in [401, 402, 403] {
        watts.store(power, Ordering::Relaxed);
        let samples = read(&mut target).await.expect("a reading");
        assert_eq!(samples[0][0].power, Some(Milliwatts(power * 1000)));
    }
    let seen = bmc.seen();
    assert_eq!(seen.requests[before..], [format!("GET {METRICS}"), format!("GET {METRICS}"), format!("GET {METRICS}")]);
    assert_eq!((seen.logins, seen.connections, seen.at_once, bmc.sessions()), (1, 1, 1, 1));
    target.close().await;
    assert_eq!((bmc.seen().deleted, bmc.sessions()), (1, 0));
}

#[actix_rt::test]
async fn a_session_that_expired_is_replaced_without_losing_a_reading() {
    let bmc = server(&four_hundred());
    let mut target = target(&bmc);
    probed(&mut target).await;
    bmc.forget_sessions();
    assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(400_000)));
    assert_eq!((bmc.seen().logins, bmc.sessions()), (2, 1));
}

#[actix_rt::test]
async fn two_refusals_pause_a_profile_for_all_its_bmcs() {
    let (first, second) = (server(&four_hundred()), server(&four_hundred()));
    let places: Vec<Value> =
        [&first, &second].map(|bmc| json!({ "address": bmc.url(), "pin": bmc.fingerprint() })).into();
    let wrong = json!({ "ops": { "user": USER, "password_command": ["echo", "wrong-password"] } });
    let places: Vec<Value> = places
        .into_iter()
        .enumerate()
        .map(|(place, mut one)| {
            one["name"] = format!("bmc-{place}").into();
            one
        })
        .collect();
    let mut all = targets(json!({ "profiles": wrong, "targets": places })).expect("targets");
    for round in 0..4 {
        for target in &mut all {
            let why = absent(target).await;
            assert!(!why.contains("wrong-password") && why.contains(target.address()), "{round}: {why}");
        }
        // The target's own back-off.
        tokio::time::sleep(Duration::from_millis(350)).await;
    }
    let why = absent(&mut all[1]).await;
    assert!(why.contains("profile ops") && why.contains("15 min"), "{why}");
    assert_eq!(first.seen().refused + second.seen().refused, 2, "nobody knocks a third time");
}

#[actix_rt::test]
async fn basic_authentication_by_choice() {
    let bmc = server(&four_hundred());
    let basic = json!({ "ops": { "user": USER, "password_command": ["echo", PASSWORD], "basic": true } });
    let place = json!([{ "address": bmc.url(), "pin": bmc.fingerprint() }]);
    let mut target = targets(json!({ "profiles": basic, "targets": place })).expect("a target").remove(0);
    probed(&mut target).await;
    assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(400_000)));
    assert_eq!((bmc.seen().logins, bmc.sessions(), bmc.seen().refused), (0, 0, 0));
}

#[actix_rt::test]
async fn certificates_are_trusted_by_pin_by_file_by_explicit_choice_and_else_not() {
    let bmc = server(&four_hundred());
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, bmc.pem()).expect("written");
    let with = |key: &str, value: Value| {
        let mut place = json!({ "address": bmc.url() });
        place[key] = value;
        targets(json!({ "targets": [place] })).expect("a target").remove(0)
    };
    for (key, value) in [("pin", json!(bmc.fingerprint())), ("ca_file", json!(file)), ("insecure", json!(true))] {
        probed(&mut with(key, value)).await;
    }
    let logins = bmc.seen().logins;
    let other = format!("sha256:{}", "00".repeat(32));
    for (key, value) in [("pin", json!(other)), ("insecure", json!(false))] {
        let why = absent(&mut with(key, value)).await;
        assert!(why.contains(bmc.fingerprint()) && why.contains("set pin"), "{why}");
    }
    assert_eq!(bmc.seen().logins, logins, "the password went nowhere");
}

#[actix_rt::test]
async fn a_bmc_in_a_bad_mood_costs_readings_and_nothing_else() {
    for (mood, part) in [
        (Mood::Busy(7), "503"),
        (Mood::Garbage, "no JSON"),
        (Mood::Truncated, "cannot be reached"),
        (Mood::Endless, "larger than 1 MiB"),
        (Mood::Redirects, "not followed"),
        (Mood::Hangs, "no answer in time"),
    ] {
        let bmc = server(&four_hundred());
        let mut target = target(&bmc);
        probed(&mut target).await;
        bmc.be(mood);
        let why = failure(&mut target).await;
        assert!(why.contains(part) && why.contains(&bmc.url()), "{mood:?}: {why}");
        bmc.be(Mood::Well);
        if mood == Mood::Busy(7) {
            let asked = bmc.asked(METRICS);
            assert!(failure(&mut target).await.contains("left alone for 7 s"));
            assert_eq!(bmc.asked(METRICS), asked, "it asked for seven seconds");
        } else {
            let since = Instant::now();
            // The second failure in a row would wait; the first does not.
            assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(400_000)), "{mood:?}");
            assert!(since.elapsed() < Duration::from_secs(2));
        }
    }
}

#[actix_rt::test]
async fn what_keeps_failing_is_left_alone_for_longer_and_looked_for_anew() {
    let bmc = server(&four_hundred());
    let mut target = target(&bmc);
    probed(&mut target).await;
    bmc.be(Mood::Busy(0));
    let asked = bmc.asked(METRICS);
    let mut gone = None;
    let since = Instant::now();
    while gone.is_none() && since.elapsed() < Duration::from_secs(10) {
        match read(&mut target).await.expect_err("it is busy") {
            PollError::Gone(why) => gone = Some(why),
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    assert!(gone.expect("gone after a while").contains("503"));
    assert_eq!(bmc.asked(METRICS) - asked, 3);
    bmc.be(Mood::Well);
    tokio::time::sleep(Duration::from_millis(350)).await;
    probed(&mut target).await;
    assert_eq!(read(&mut target).await.expect("a reading")[0][0].power, Some(Milliwatts(400_000)));
}

#[actix_rt::test]
async fn of_fifty_one_that_hangs_delays_no_other() {
    let bmcs: Vec<Bmc> = (0..50).map(|_| server(&four_hundred())).collect();
    let places: Vec<Value> = bmcs
        .iter()
        .enumerate()
        .map(|(place, bmc)| json!({ "address": bmc.url(), "insecure": true, "name": format!("bmc-{place}") }))
        .collect();
    let mut all = targets(json!({ "targets": places, "timeout_ms": 30_000 })).expect("targets");
    for target in &mut all {
        probed(target).await;
    }
    bmcs[7].be(Mood::Hangs);
    let mut hanging = all.remove(7);
    let others = async {
        let since = Instant::now();
        let reads = all.iter_mut().map(read);
        let samples = futures_util::future::join_all(reads).await;
        assert!(samples.iter().all(|samples| samples.as_ref().is_ok_and(|all| all[0].len() == 1)));
        since.elapsed()
    };
    tokio::select! {
        _ = read(&mut hanging) => panic!("it answered"),
        took = others => assert!(took < Duration::from_secs(10), "{took:?}"),
    }
}
