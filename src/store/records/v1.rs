//! Version 1. Frozen: golden bytes in the tests hold it. What the ledger computes with is beside it, in
//! `live`. Text is borrowed, both ways: a row is encoded with each commit.

use bincode::{BorrowDecode, Decode, Encode};

use super::cells::CellsV1;

/// Energy by quality in half picojoules.
pub(super) type EnergiesV1 = [i128; 3];
/// Scope, by its number in storage order, and device.
pub(super) type KeyV1<'a> = (u8, &'a str);

#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct RowV1<'a> {
    pub(super) fingerprint: Option<[u8; 16]>,
    pub(super) labels: Vec<(i64, Vec<(&'a str, &'a str)>)>,
    pub(super) keys: Vec<KeyV1<'a>>,
    pub(super) accounts: Vec<AccountV1>,
    pub(super) open: Vec<(i32, CellsV1)>,
    pub(super) streams: Vec<StreamV1<'a>>,
    pub(super) boots: Vec<BootV1>,
    pub(super) contexts: Vec<ContextV1<'a>>,
    pub(super) readings: u64,
    pub(super) refused: Vec<(u8, u64)>,
    pub(super) last_seen: i64,
}

#[derive(Debug, Encode, Decode)]
pub(super) struct AccountV1 {
    pub(super) lifetime: EnergiesV1,
    pub(super) covered_ns: u64,
    pub(super) first: EdgeV1,
    pub(super) frontier: EdgeV1,
    pub(super) shown: Option<(i64, u64)>,
    pub(super) rare: Option<RareV1>,
}

#[derive(Debug, Encode, Decode)]
pub(super) struct EdgeV1 {
    pub(super) at: i64,
    pub(super) mono: u64,
    pub(super) boot: u64,
    pub(super) power: Option<u64>,
    /// Value and epoch.
    pub(super) counter: Option<(u64, u64)>,
}

#[derive(Debug, Encode, Decode)]
pub(super) struct RareV1 {
    pub(super) holes: Vec<HoleV1>,
    pub(super) final_holes: u64,
    pub(super) reversed: i128,
    pub(super) fenced: i128,
    pub(super) fence: Option<EdgeV1>,
    pub(super) suspect: Option<EdgeV1>,
    /// Slot, counter, power.
    pub(super) check: (i32, i128, i128),
    pub(super) flags: u8,
}

#[derive(Debug, Encode, Decode)]
pub(super) struct HoleV1 {
    pub(super) start: EdgeV1,
    pub(super) end: EdgeV1,
    /// From, to, power at the beginning, power at the end.
    pub(super) estimate: Option<(i64, i64, u64, u64)>,
}

#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct StreamV1<'a> {
    pub(super) id: [u8; 16],
    pub(super) seq: u64,
    pub(super) digest: [u8; 16],
    pub(super) last_seen: i64,
    pub(super) answers: Vec<AnswerV1<'a>>,
}

#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct AnswerV1<'a> {
    pub(super) seq: u64,
    pub(super) body: [u8; 16],
    pub(super) booked: u64,
    pub(super) fenced: u64,
    pub(super) refused: Vec<RefusedV1<'a>>,
}

#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct RefusedV1<'a> {
    pub(super) scope: &'a str,
    pub(super) device: &'a str,
    pub(super) reason: u8,
    pub(super) count: u64,
}

#[derive(Debug, Encode, Decode)]
pub(super) struct BootV1 {
    pub(super) boot: [u8; 16],
    pub(super) mono: u64,
    pub(super) utc: i64,
    pub(super) own: bool,
}

#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct ContextV1<'a> {
    pub(super) id: u64,
    /// The boot; nothing for UTC.
    pub(super) clock: Option<[u8; 16]>,
    pub(super) wall_offset_ns: i64,
    pub(super) devices: Vec<DeviceV1<'a>>,
}

#[derive(Debug, Encode, BorrowDecode)]
pub(super) struct DeviceV1<'a> {
    pub(super) account: ResolvedV1<'a>,
    pub(super) period_ns: u64,
    pub(super) limit: u64,
    pub(super) modulus: Option<u64>,
    pub(super) epoch: u64,
}

#[derive(Debug, Encode, BorrowDecode)]
pub(super) enum ResolvedV1<'a> {
    Account(u16),
    Refused(KeyV1<'a>, u8),
}

/// A posting: quarter in the cells' spare bits, account indices beside them.
#[derive(Debug, Encode, Decode)]
pub(super) struct HourV1 {
    pub(super) accounts: Vec<u16>,
    pub(super) cells: CellsV1,
}
