//! From and to what the ledger computes with.

use std::sync::Arc;

use energy::{
    Account, BootDate, Count, CrossCheck, Edge, Hole, HourBlock, HourCell, KnownContext, KnownDevice, LabelsSince,
    Line, OpenSlot, OwnerState, Rare, RefusedCount, StoredAnswer, Stream, Tally,
};
use meter::{
    AccountKey, ByQuality, Clock, Energy, Microjoules, Milliwatts, Owner, Position, Refusal, Scope, Slot, Utc,
};

use super::RecordError;
use super::cells::CellsV1;
use super::v1::{
    AccountV1, AnswerV1, BootV1, ContextV1, DeviceV1, EdgeV1, HoleV1, HourV1, KeyV1, RareV1, RefusedV1, ResolvedV1,
    RowV1, StreamV1,
};

impl From<&HourBlock> for HourV1 {
    fn from(block: &HourBlock) -> Self {
        Self {
            accounts: block.cells.iter().map(|cell| cell.account).collect(),
            cells: CellsV1::pack(block.cells.iter().map(|cell| (&cell.cell, cell.quarter))),
        }
    }
}

impl HourV1 {
    pub(super) fn into_block(self, hour: i32) -> Result<HourBlock, RecordError> {
        let cells = self.cells.unpack()?;
        if cells.len() != self.accounts.len() {
            return Err(RecordError::Content("as many cells as accounts it has not"));
        }
        let cells = cells.into_iter().zip(self.accounts);
        let cells = cells.map(|((cell, quarter), account)| HourCell { quarter, account, cell }).collect();
        Ok(HourBlock { hour, cells, cuts: Vec::new() })
    }
}

impl<'a> From<&'a OwnerState> for RowV1<'a> {
    fn from(state: &'a OwnerState) -> Self {
        let labels = |since: &'a LabelsSince| {
            (since.from.0, since.labels.iter().map(|(key, value)| (&key[..], &value[..])).collect())
        };
        Self {
            fingerprint: state.fingerprint,
            labels: state.labels.iter().map(labels).collect(),
            keys: state.keys.iter().map(key_v1).collect(),
            accounts: state.accounts.iter().map(AccountV1::from).collect(),
            open: state.open.iter().map(|o| (o.slot.0, CellsV1::pack(o.cells.iter().map(|cell| (cell, 0))))).collect(),
            streams: state.streams.iter().map(StreamV1::from).collect(),
            boots: state.boots.iter().map(BootV1::from).collect(),
            contexts: state.contexts.iter().map(ContextV1::from).collect(),
            readings: state.readings,
            refused: state.refused.iter().map(|(reason, count)| (*reason as u8, *count)).collect(),
            last_seen: state.last_seen.0,
        }
    }
}

impl RowV1<'_> {
    pub(super) fn into_state(self, owner: Owner) -> Result<OwnerState, RecordError> {
        if self.keys.len() != self.accounts.len() {
            return Err(RecordError::Content("as many keys as accounts it has not"));
        }
        let labels = |(from, labels): (i64, Vec<(&str, &str)>)| LabelsSince {
            from: Utc(from),
            labels: Arc::new(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect()),
        };
        let open = |(slot, cells): (i32, CellsV1)| {
            let cells = cells.unpack()?.into_iter().map(|(cell, _)| cell).collect();
            Ok(OpenSlot { slot: Slot(slot), cells, cuts: Vec::new() })
        };
        Ok(OwnerState {
            owner,
            fingerprint: self.fingerprint,
            labels: self.labels.into_iter().map(labels).collect(),
            keys: Arc::new(self.keys.into_iter().map(key).collect::<Result<_, _>>()?),
            accounts: self.accounts.into_iter().map(AccountV1::into_account).collect(),
            open: self.open.into_iter().map(open).collect::<Result<_, _>>()?,
            streams: self.streams.into_iter().map(StreamV1::into_stream).collect::<Result<_, _>>()?,
            boots: self.boots.into_iter().map(BootV1::into_boot).collect(),
            contexts: Arc::new(self.contexts.into_iter().map(ContextV1::into_context).collect::<Result<_, _>>()?),
            readings: self.readings,
            refused: self.refused.into_iter().map(|(r, count)| Ok((refusal(r)?, count))).collect::<Result<_, _>>()?,
            last_seen: Utc(self.last_seen),
            holds: Vec::new(),
            ended: Vec::new(),
            cuts: Vec::new(),
            told: Vec::new(),
        })
    }
}

impl From<&Account> for AccountV1 {
    fn from(account: &Account) -> Self {
        Self {
            lifetime: account.lifetime.0.map(|energy| energy.0),
            covered_ns: account.covered_ns,
            first: EdgeV1::from(&account.first),
            frontier: EdgeV1::from(&account.frontier),
            shown: account.shown.map(|(at, power)| (at.0, power.0)),
            rare: account.rare.as_deref().map(RareV1::from),
        }
    }
}

impl AccountV1 {
    fn into_account(self) -> Account {
        Account {
            lifetime: ByQuality(self.lifetime.map(Energy)),
            covered_ns: self.covered_ns,
            first: self.first.into_edge(),
            frontier: self.frontier.into_edge(),
            shown: self.shown.map(|(at, power)| (Utc(at), Milliwatts(power))),
            rare: self.rare.map(|rare| Box::new(rare.into_rare())),
        }
    }
}

impl From<&Edge> for EdgeV1 {
    fn from(edge: &Edge) -> Self {
        Self {
            at: edge.at.0,
            mono: edge.mono,
            boot: edge.boot,
            power: edge.power.map(|power| power.0),
            counter: edge.counter.map(|count| (count.value.0, count.epoch)),
        }
    }
}

impl EdgeV1 {
    fn into_edge(self) -> Edge {
        let count = |(value, epoch)| Count { value: Microjoules(value), epoch };
        Edge {
            at: Utc(self.at),
            mono: self.mono,
            boot: self.boot,
            power: self.power.map(Milliwatts),
            counter: self.counter.map(count),
        }
    }
}

impl From<&Rare> for RareV1 {
    fn from(rare: &Rare) -> Self {
        Self {
            holes: rare.holes.iter().map(HoleV1::from).collect(),
            final_holes: rare.final_holes,
            reversed: rare.reversed.0,
            fenced: rare.fenced.0,
            fence: rare.fence.as_ref().map(EdgeV1::from),
            suspect: rare.suspect.as_ref().map(EdgeV1::from),
            check: (rare.check.slot.0, rare.check.counter.0, rare.check.power.0),
            flags: rare.flags,
        }
    }
}

impl RareV1 {
    fn into_rare(self) -> Rare {
        let (slot, counter, power) = self.check;
        Rare {
            holes: self.holes.into_iter().map(HoleV1::into_hole).collect(),
            final_holes: self.final_holes,
            reversed: Energy(self.reversed),
            fenced: Energy(self.fenced),
            fence: self.fence.map(EdgeV1::into_edge),
            suspect: self.suspect.map(EdgeV1::into_edge),
            check: CrossCheck { slot: Slot(slot), counter: Energy(counter), power: Energy(power) },
            flags: self.flags,
        }
    }
}

impl From<&Hole> for HoleV1 {
    fn from(hole: &Hole) -> Self {
        Self {
            start: EdgeV1::from(&hole.start),
            end: EdgeV1::from(&hole.end),
            estimate: hole.estimate.map(|line| (line.from.0, line.to.0, line.start.0, line.end.0)),
        }
    }
}

impl HoleV1 {
    fn into_hole(self) -> Hole {
        let line = |(from, to, start, end)| Line {
            from: Utc(from),
            to: Utc(to),
            start: Milliwatts(start),
            end: Milliwatts(end),
        };
        Hole { start: self.start.into_edge(), end: self.end.into_edge(), estimate: self.estimate.map(line) }
    }
}

impl<'a> From<&'a Stream> for StreamV1<'a> {
    fn from(stream: &'a Stream) -> Self {
        let Position { seq, digest } = stream.position;
        let answers = stream.answers.iter().map(AnswerV1::from).collect();
        Self { id: stream.id, seq, digest, last_seen: stream.last_seen.0, answers }
    }
}

impl StreamV1<'_> {
    fn into_stream(self) -> Result<Stream, RecordError> {
        Ok(Stream {
            id: self.id,
            position: Position { seq: self.seq, digest: self.digest },
            last_seen: Utc(self.last_seen),
            answers: self.answers.into_iter().map(AnswerV1::into_answer).collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> From<&'a StoredAnswer> for AnswerV1<'a> {
    fn from(answer: &'a StoredAnswer) -> Self {
        let refused = |r: &'a RefusedCount| RefusedV1 {
            scope: &r.scope,
            device: &r.device,
            reason: r.reason as u8,
            count: r.count,
        };
        let Tally { booked, fenced, .. } = answer.tally;
        let refused = answer.tally.refused.iter().map(refused).collect();
        Self { seq: answer.seq, body: answer.body, booked, fenced, refused }
    }
}

impl AnswerV1<'_> {
    fn into_answer(self) -> Result<StoredAnswer, RecordError> {
        let counted = |r: RefusedV1| {
            Ok(RefusedCount {
                scope: r.scope.into(),
                device: r.device.into(),
                reason: refusal(r.reason)?,
                count: r.count,
            })
        };
        let refused = self.refused.into_iter().map(counted).collect::<Result<_, _>>()?;
        let tally = Tally { booked: self.booked, fenced: self.fenced, refused };
        Ok(StoredAnswer { seq: self.seq, body: self.body, tally })
    }
}

impl From<&BootDate> for BootV1 {
    fn from(date: &BootDate) -> Self {
        Self { boot: date.boot, mono: date.mono, utc: date.utc.0, own: date.own }
    }
}

impl BootV1 {
    fn into_boot(self) -> BootDate {
        BootDate { boot: self.boot, mono: self.mono, utc: Utc(self.utc), own: self.own }
    }
}

impl<'a> From<&'a KnownContext> for ContextV1<'a> {
    fn from(context: &'a KnownContext) -> Self {
        let clock = match context.clock {
            Clock::Utc => None,
            Clock::Boot(boot) => Some(boot),
        };
        let devices = context.devices.iter().map(DeviceV1::from).collect();
        Self { id: context.id, clock, wall_offset_ns: context.wall_offset_ns, devices }
    }
}

impl ContextV1<'_> {
    fn into_context(self) -> Result<KnownContext, RecordError> {
        Ok(KnownContext {
            id: self.id,
            clock: self.clock.map_or(Clock::Utc, Clock::Boot),
            wall_offset_ns: self.wall_offset_ns,
            devices: self.devices.into_iter().map(DeviceV1::into_device).collect::<Result<_, _>>()?,
        })
    }
}

impl<'a> From<&'a KnownDevice> for DeviceV1<'a> {
    fn from(device: &'a KnownDevice) -> Self {
        let account = match &device.account {
            Ok(account) => ResolvedV1::Account(*account),
            Err(refused) => ResolvedV1::Refused(key_v1(&refused.0), refused.1 as u8),
        };
        let modulus = device.modulus.map(|modulus| modulus.0);
        Self { account, period_ns: device.period_ns, limit: device.limit.0, modulus, epoch: device.epoch }
    }
}

impl DeviceV1<'_> {
    fn into_device(self) -> Result<KnownDevice, RecordError> {
        let account = match self.account {
            ResolvedV1::Account(account) => Ok(account),
            ResolvedV1::Refused(named, reason) => Err(Box::new((key(named)?, refusal(reason)?))),
        };
        Ok(KnownDevice {
            account,
            period_ns: self.period_ns,
            limit: Milliwatts(self.limit),
            modulus: self.modulus.map(Microjoules),
            epoch: self.epoch,
        })
    }
}

fn key_v1(key: &AccountKey) -> KeyV1<'_> {
    (key.scope as u8, &key.device)
}

fn key((scope, device): KeyV1<'_>) -> Result<AccountKey, RecordError> {
    let scope = Scope::ALL.get(usize::from(scope)).ok_or(RecordError::Content("a scope that does not exist"))?;
    AccountKey::new(*scope, device).map_err(|_| RecordError::Content("a device name that is none"))
}

fn refusal(number: u8) -> Result<Refusal, RecordError> {
    Refusal::from_number(number).ok_or(RecordError::Content("a reason that does not exist"))
}
