//! The frozen names and bytes of allocations that ended.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;

use meter::hash::stable_hash;
use meter::{Allocation, Hold, Owner, Utc};
use store::records::{RecordError, decode_hold, encode_hold, hold_names};

const HOUR: i64 = 3_600_000_000_000;

fn owner() -> Owner {
    Owner::host("n1").expect("a good name")
}

fn hold(until: Option<i64>) -> Hold {
    let allocation = Allocation {
        id: "4711".into(),
        user: "ann".into(),
        account: "ml".into(),
        labels: [("p".to_owned(), "q".to_owned())].into(),
        devices: vec!["GPU-1".into()],
        cores: 300,
        cores_of: 1000,
    };
    Hold { from: Utc(100), until: until.map(Utc), allocation: Arc::new(allocation) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn name_and_bytes_are_frozen() {
    let (name, bytes) = encode_hold(&owner(), &hold(Some(498_193 * HOUR + 5))).expect("it ended");
    let which = stable_hash(&[&100_i64.to_le_bytes()[..], b"4711"].concat());
    assert_eq!(name, format!("hold/00498193/{:016x}{which:016x}", stable_hash(b"default/host/n1")));
    // Version; owner; 100 and the end in zigzag; id, user, account; one label; one device; cores as two-byte
    // varints.
    let until = 2 * (498_193_u64 * HOUR as u64 + 5);
    let golden = [
        "01 0f 64656661756c742f686f73742f6e31 c8",
        &format!("fd {}", hex(&until.to_le_bytes())),
        "04 34373131 03 616e6e 02 6d6c 01 01 70 01 71 01 05 4750552d31 fb 2c01 fb e803",
    ];
    assert_eq!(hex(&bytes), golden.join("").replace(' ', ""));
    assert_eq!(decode_hold(&bytes), Ok((owner(), hold(Some(498_193 * HOUR + 5)))));
}

#[test]
fn what_runs_has_no_document_and_what_ended_is_found_by_its_hour() {
    assert_eq!(encode_hold(&owner(), &hold(None)), None);
    let (name, _) = encode_hold(&owner(), &hold(Some(7 * HOUR))).expect("it ended");
    for (hours, found) in [(7..8, true), (0..7, false), (8..i32::MAX, false), (0..i32::MAX, true)] {
        assert_eq!(hold_names(hours.clone()).contains(&name), found, "{hours:?}");
    }
}

#[test]
fn damaged_bytes_are_an_error_and_never_a_panic() {
    let (_, bytes) = encode_hold(&owner(), &hold(Some(1))).expect("it ended");
    for cut in 0..bytes.len() {
        assert!(decode_hold(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert_eq!(decode_hold(&[9, 1]), Err(RecordError::Version(9)));
    let nobody = [&bytes[..2], b"default/what/n1", &bytes[17..]].concat();
    assert!(matches!(decode_hold(&nobody), Err(RecordError::Content(_))));
}
