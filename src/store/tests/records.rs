//! The frozen bytes of rows and postings.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

use std::sync::Arc;

use energy::{
    Account, BootDate, Cell, Count, CrossCheck, Cut, CutCells, Edge, Hole, HourBlock, HourCell, HourCut, KnownContext,
    KnownDevice, LabelsSince, Line, OpenSlot, OwnerState, Rare, RefusedCount, StoredAnswer, Stream, Tally,
};
use meter::{
    AccountKey, Allocation, ByQuality, Clock, Energy, Hold, Microjoules, Milliwatts, Owner, Position, Quality, Refusal,
    Scope, Slot, Utc,
};
use proptest::prelude::*;
use store::records::{RecordError, decode_hour, decode_row, encode_hour, encode_row};

fn owner() -> Owner {
    Owner::host("n1").expect("a good name")
}

fn key(scope: Scope, device: &str) -> AccountKey {
    AccountKey::new(scope, device).expect("a good device")
}

fn edge(n: i64) -> Edge {
    Edge {
        at: Utc(n),
        mono: 2,
        boot: 3,
        power: Some(Milliwatts(4)),
        counter: Some(Count { value: Microjoules(5), epoch: 6 }),
    }
}

fn rare() -> Rare {
    let line = Line { from: Utc(1), to: Utc(2), start: Milliwatts(3), end: Milliwatts(4) };
    Rare {
        holes: vec![Hole { start: edge(7), end: edge(8), estimate: Some(line) }],
        final_holes: 9,
        reversed: Energy(10),
        fenced: Energy(11),
        fence: Some(edge(12)),
        suspect: Some(edge(13)),
        check: CrossCheck { slot: Slot(14), counter: Energy(15), power: Energy(16) },
        flags: 17,
    }
}

/// A second after the beginning of slot 20.
const CUT: Utc = Utc(20 * 900_000_000_000 + 1_000_000_000);

fn job() -> Allocation {
    let labels = [("k".to_owned(), "v".to_owned())].into();
    let devices = vec!["GPU-1".into()];
    Allocation { id: "7".into(), user: "u".into(), account: "a".into(), labels, devices, cores: 44, cores_of: 45 }
}

/// A state in which every field has a value of its own.
fn full_state() -> OwnerState {
    let plain = Edge { at: Utc(-1), ..Edge::default() };
    let cell = |energy, covered_ns| Cell { energy, covered_ns };
    let refused = RefusedCount { scope: "gpu".into(), device: "x".into(), reason: Refusal::Sentinel, count: 21 };
    let device = |account| KnownDevice {
        account,
        period_ns: 22,
        limit: Milliwatts(23),
        modulus: Some(Microjoules(24)),
        epoch: 25,
    };
    OwnerState {
        owner: owner(),
        fingerprint: Some([0xAA; 16]),
        labels: vec![LabelsSince { from: Utc(1), labels: Arc::new([("team".into(), "nlp".into())].into()) }],
        keys: Arc::new(vec![key(Scope::Gpu, "GPU-1"), key(Scope::Chassis, "")]),
        accounts: vec![
            Account {
                lifetime: ByQuality([Energy(300), Energy(1 << 70), Energy(-1)]),
                covered_ns: 39,
                first: edge(1),
                frontier: edge(2),
                shown: Some((Utc(18), Milliwatts(19))),
                rare: Some(Box::new(rare())),
            },
            Account {
                lifetime: ByQuality::default(),
                covered_ns: 0,
                first: plain,
                frontier: plain,
                shown: None,
                rare: None,
            },
        ],
        open: vec![OpenSlot {
            slot: Slot(20),
            cells: vec![
                cell(ByQuality::of(Quality::Integrated, Energy(100)), 900_000_000_000),
                cell(ByQuality([Energy(1), Energy(0), Energy(-2)]), 70_000),
            ],
            cuts: vec![CutCells {
                at: CUT,
                cells: vec![None, Some(cell(ByQuality::of(Quality::Counter, Energy(1)), 60_000))],
            }],
        }],
        streams: vec![Stream {
            id: [0xBB; 16],
            position: Position { seq: 26, digest: [0xCC; 16] },
            last_seen: Utc(27),
            answers: vec![StoredAnswer {
                seq: 28,
                body: [0xDD; 16],
                tally: Tally { booked: 29, fenced: 30, refused: vec![refused] },
            }],
        }],
        boots: vec![BootDate { boot: [0xEE; 16], mono: 31, utc: Utc(32), own: true }],
        contexts: Arc::new(vec![KnownContext {
            id: 33,
            clock: Clock::Boot([0xFF; 16]),
            wall_offset_ns: 34,
            devices: vec![device(Ok(35)), device(Err(Box::new((key(Scope::Other, "y"), Refusal::Malformed))))],
        }]),
        readings: 36,
        refused: vec![(Refusal::AboveCeiling, 37)],
        last_seen: Utc(38),
        holds: vec![Hold { from: Utc(40), until: None, allocation: Arc::new(job()) }],
        ended: vec![],
        cuts: vec![Cut { at: CUT, late: vec![0, 300] }],
        told: vec![42],
    }
}

/// What was known before there were jobs.
fn state_v1() -> OwnerState {
    let mut state = full_state();
    (state.holds, state.cuts, state.told) = (vec![], vec![], vec![]);
    state.open[0].cuts.clear();
    state
}

/// What version 2 has behind version 1: one hold, one cut with two late accounts, one mark, and one account's
/// cell before the cut (a head of counter, the amount 1, 60,000 ns).
const GOLDEN_MARKS: &str = "01 50 01 37 01 75 01 61 01 01 6b 01 76 01 05 4750552d31 2c 2d \
    01 fd 00d46b5ebe200000 02 00 fb 2c01 01 2a 01 fd 00d46b5ebe200000 01 01 01 01 01 02 01 fb 60ea";

fn golden_row() -> String {
    format!("02{}{}", &golden_v1()[2..], GOLDEN_MARKS.replace(' ', ""))
}

/// The bytes of version 1 of [`full_state`], written down by hand from bincode's rules: unsigned numbers below 251
/// are one byte, longer ones a mark (251, 252, 253, 254) and 2, 4, 8, 16 bytes little-endian; signed
/// ones are zigzag (n as 2n, -n as 2n - 1); sequences begin with their length, options with 0 or 1.
fn golden_v1() -> String {
    let edge = |at: &str| format!("{at} 02 03 01 04 01 05 06");
    let hole = format!("{} {} 01 02 04 03 04", edge("0e"), edge("10"));
    let rare = format!("01 {hole} 09 14 16 01 {} 01 {} 1c 1e 20 11", edge("18"), edge("1a"),);
    let plain = "01 00 00 00 00";
    let device = "16 17 01 18 19";
    [
        "01",
        &format!("01 {}", "aa".repeat(16)),
        "01 02 01 04 7465616d 03 6e6c70",
        "02 03 05 4750552d31 00 00",
        "02",
        // 300 is 600 in zigzag; 2^70 is 2^71.
        "fb 5802 fe 00000000000000008000000000000000 01 27",
        &edge("02"),
        &edge("04"),
        "01 24 13",
        &format!("01 {rare}"),
        &format!("00 00 00 00 {plain} {plain} 00 00"),
        // One open slot: two heads (integrated and whole; counter and estimated), amounts, covered.
        "01 28 02 0a 05 03 c8 02 03 01 fc 70110100",
        &format!(
            "01 {} 1a {} 36 01 1c {} 1d 1e 01 03 677075 01 78 02 15",
            "bb".repeat(16),
            "cc".repeat(16),
            "dd".repeat(16)
        ),
        &format!("01 {} 1f 40 01", "ee".repeat(16)),
        &format!("01 21 01 {} 44 02 00 23 {device} 01 09 01 79 0d {device}", "ff".repeat(16)),
        "24",
        "01 03 25",
        "4c",
    ]
    .join("")
    .replace(' ', "")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn block() -> HourBlock {
    let cell = |quarter, account, energy, covered_ns| HourCell { quarter, account, cell: Cell { energy, covered_ns } };
    let cut = |since: i64, account, cell| HourCut { at: Utc(-5 * 3_600_000_000_000 + since), account, cell };
    HourBlock {
        hour: -5,
        cells: vec![
            cell(0, 0, ByQuality::of(Quality::Counter, Energy(1)), 900_000_000_000),
            cell(3, 300, ByQuality([Energy(0), Energy(2), Energy(-3)]), 0),
        ],
        cuts: vec![
            cut(1, 0, Cell::default()),
            cut(1, 300, Cell { energy: ByQuality::of(Quality::Integrated, Energy(3)), covered_ns: 5 }),
            cut(3_599_999_999_999, 0, Cell::default()),
        ],
    }
}

#[test]
fn the_bytes_of_a_row_are_frozen() {
    assert_eq!(hex(&encode_row(&full_state())), golden_row());
}

#[test]
fn the_first_version_is_still_read() {
    assert_eq!(decode_row(&owner(), &bytes(&golden_v1())), Ok(state_v1()));
    let without = HourBlock { cuts: vec![], ..block() };
    assert_eq!(decode_hour(-5, &bytes(&GOLDEN_HOUR.replace(' ', ""))), Ok(without));
}

/// Bytes in hexadecimal.
fn bytes(text: &str) -> Vec<u8> {
    let byte = |i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex");
    (0..text.len() / 2).map(byte).collect()
}

/// Version 1 of [`block`].
const GOLDEN_HOUR: &str = "01 02 00 fb2c01 02 09 36 03 02 04 05 01 00";

#[test]
fn the_bytes_of_a_posting_are_frozen() {
    // Version; accounts 0 and 300; heads: counter and whole, quarter 3 with integrated and estimated;
    // amounts 1, 2, -3 in zigzag; covered 0. Behind it two cuts: 1 ns after the hour began, with accounts 0 (a
    // cell of zero) and 300, and at its end.
    let before = "02 01 02 00 fb2c01 02 00 02 01 06 02 00 05 fd ff9fb83046030000 01 00 01 00 00 01 00";
    let golden = format!("02{}{before}", &GOLDEN_HOUR[2..]);
    assert_eq!(hex(&encode_hour(&block())), golden.replace(' ', ""));
}

#[test]
fn a_row_and_a_posting_read_back() {
    assert_eq!(decode_row(&owner(), &encode_row(&full_state())), Ok(full_state()));
    assert_eq!(decode_hour(-5, &encode_hour(&block())), Ok(block()));
    let new = OwnerState::new(owner());
    assert_eq!(decode_row(&owner(), &encode_row(&new)), Ok(new));
}

#[test]
fn a_cut_or_lengthened_record_is_refused() {
    let row = encode_row(&full_state());
    for cut in 0..row.len() {
        assert!(decode_row(&owner(), &row[..cut]).is_err(), "cut at {cut}");
    }
    let hour = encode_hour(&block());
    for cut in 0..hour.len() {
        assert!(decode_hour(0, &hour[..cut]).is_err(), "cut at {cut}");
    }
    assert!(decode_row(&owner(), &[&row[..], &[0]].concat()).is_err());
    assert!(decode_hour(0, &[&hour[..], &[0]].concat()).is_err());
}

#[test]
fn a_record_of_another_version_is_told_from_a_damaged_one() {
    assert_eq!(decode_row(&owner(), &[3, 0]), Err(RecordError::Version(3)));
    assert_eq!(decode_hour(0, &[0]), Err(RecordError::Version(0)));
    assert_eq!(decode_hour(0, &[]), Err(RecordError::Empty));
}

#[test]
fn a_length_that_no_memory_holds_is_refused() {
    // No fingerprint, then 2^60 labels; 2^60 accounts of a posting.
    let huge = [&[253][..], &(1_u64 << 60).to_le_bytes()].concat();
    assert!(matches!(decode_row(&owner(), &[&[1, 0][..], &huge].concat()), Err(RecordError::Malformed(_))));
    assert!(matches!(decode_hour(0, &[&[1][..], &huge].concat()), Err(RecordError::Malformed(_))));
}

#[test]
fn values_that_no_writer_writes_are_refused() {
    // A scope number 10 and a key with no account; reason 200 in the tally.
    let row = bytes;
    let bad_scope = golden_row().replace("0203054750552d310000", "020a054750552d310000");
    let bad_reason = golden_row().replace("24010325", "2401c825");
    for bad in [bad_scope, bad_reason] {
        assert_ne!(bad, golden_row());
        assert!(matches!(decode_row(&owner(), &row(&bad)), Err(RecordError::Content(_))));
    }
    // More amounts than heads ask for, and fewer.
    for cells in ["0100010902020400", "010001090000"] {
        assert!(matches!(decode_hour(0, &row(&format!("01{cells}"))), Err(RecordError::Content(_))), "{cells}");
    }
}

#[test]
fn a_fully_covered_cell_of_one_quality_takes_eleven_bytes() {
    // 700 W for 15 minutes is 1.26e18 half picojoules: 9 bytes; a head and an account are 2 more.
    let cell = Cell {
        energy: ByQuality::of(Quality::Counter, Energy(1_260_000_000_000_000_000)),
        covered_ns: 900_000_000_000,
    };
    let cells = (0..40).map(|n| HourCell { quarter: (n / 10) as u8, account: n % 10, cell }).collect();
    let bytes = encode_hour(&HourBlock { hour: 0, cells, cuts: vec![] });
    assert_eq!(bytes.len(), 6 + 40 * 11);
}

proptest! {
    #[test]
    fn any_posting_reads_back(
        hour in any::<i32>(),
        cells in prop::collection::vec((0..4_u8, any::<u16>(), any::<[i64; 3]>(), any::<[bool; 3]>(), any::<u64>()), 0..80),
    ) {
        let cells = cells.into_iter().map(|(quarter, account, amounts, present, covered_ns)| {
            let amount = |n: usize| Energy(if present[n] { i128::from(amounts[n]) << 40 } else { 0 });
            HourCell { quarter, account, cell: Cell { energy: ByQuality([amount(0), amount(1), amount(2)]), covered_ns } }
        });
        let cells: Vec<HourCell> = cells.collect();
        let begun = i64::from(hour).checked_mul(3_600_000_000_000).map(Utc);
        // One instant per cell, ascending; hours beyond ±292 years have none.
        let cut = |(number, cell): (i64, &HourCell)| Some(HourCut { at: Utc(begun?.0.checked_add(number)?), account: cell.account, cell: cell.cell });
        let cuts = (0..).zip(&cells).filter_map(cut).collect();
        let block = HourBlock { hour, cells, cuts };
        prop_assert_eq!(decode_hour(hour, &encode_hour(&block)), Ok(block));
    }

    #[test]
    fn any_account_reads_back(
        amounts in any::<[i128; 3]>(),
        (at, mono, boot) in any::<(i64, u64, u64)>(),
        power in any::<Option<u64>>(),
        counter in any::<Option<(u64, u64)>>(),
        device in "[A-Za-z0-9._:@+/-]{0,128}",
        scope in 0..10_usize,
    ) {
        let counter = counter.map(|(value, epoch)| Count { value: Microjoules(value), epoch });
        let edge = Edge { at: Utc(at), mono, boot, power: power.map(Milliwatts), counter };
        let rare = counter.map(|_| Box::new(Rare { fence: Some(edge), fenced: Energy(amounts[0]), ..Rare::default() }));
        let lifetime = ByQuality(amounts.map(Energy));
        let shown = power.map(|power| (Utc(at), Milliwatts(power)));
        let account = Account { lifetime, covered_ns: mono, first: edge, frontier: edge, shown, rare };
        let mut state = OwnerState::new(owner());
        state.keys = Arc::new(vec![key(Scope::ALL[scope], &device)]);
        state.accounts = vec![account];
        prop_assert_eq!(decode_row(&owner(), &encode_row(&state)), Ok(state));
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..600), flip in any::<(u16, u8)>()) {
        for version in [1, 2] {
            let versioned = [&[version], &bytes[..]].concat();
            let _ = (decode_row(&owner(), &versioned), decode_hour(0, &versioned));
        }
        // Nearly right bytes get further than random ones.
        let mut row = encode_row(&full_state());
        let place = usize::from(flip.0) % row.len();
        row[place] ^= flip.1;
        let _ = decode_row(&owner(), &row);
    }
}
