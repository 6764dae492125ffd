//! A small world for the core's tests: owners, devices, appends with the right positions.

use energy::{Append, AppendOutcome, Hello, Ledger, OwnerState, Policy, Tally};
use meter::{
    AccountKey, Clock, Context, DeviceDecl, Energy, Id, Microjoules, Milliwatts, Owner, Position, Record, Sample,
    Scope, Utc,
};

pub(crate) const S: u64 = 1_000_000_000;
/// A slot border: 2026-11-01T00:00:00Z.
pub(crate) const T0: u64 = 1_793_491_200 * S;

pub(crate) fn gpu(device: &str, period_s: u64) -> DeviceDecl {
    DeviceDecl {
        key: AccountKey::new(Scope::Gpu, device).expect("a good device"),
        period_ns: period_s * S,
        limit: Milliwatts(0),
        modulus: None,
        epoch: 0,
    }
}

pub(crate) fn chassis(period_s: u64) -> DeviceDecl {
    DeviceDecl { key: AccountKey::new(Scope::Chassis, "wall").expect("a good device"), ..gpu("a", period_s) }
}

pub(crate) fn counter(device: &str, period_s: u64, epoch: u64, modulus: Option<u64>) -> DeviceDecl {
    DeviceDecl { epoch, modulus: modulus.map(Microjoules), ..gpu(device, period_s) }
}

pub(crate) fn recorded(devices: Vec<DeviceDecl>) -> Context {
    Context { clock: Clock::Utc, wall_offset_ns: 0, devices }
}

pub(crate) fn power(at: u64, device: u16, mw: u64) -> Record {
    Record {
        context: 1,
        at,
        samples: vec![Sample { device, power: Some(Milliwatts(mw)), ..Sample::default() }],
        ..Record::default()
    }
}

pub(crate) fn count(at: u64, device: u16, uj: u64) -> Record {
    Record {
        context: 1,
        at,
        samples: vec![Sample { device, counter: Some(Microjoules(uj)), ..Sample::default() }],
        ..Record::default()
    }
}

/// A stream that appends to a ledger as an agent would.
pub(crate) struct Agent {
    pub(crate) stream: Id,
    pub(crate) owner: Owner,
    pub(crate) context: Context,
    pub(crate) position: Position,
    pub(crate) import: bool,
}

impl Agent {
    pub(crate) fn new(stream: u8, host: &str, context: Context) -> Self {
        let owner = Owner::host(host).expect("a good name");
        Self { stream: [stream; 16], owner, context, position: Position::default(), import: true }
    }

    pub(crate) fn message(&self, records: &[Record]) -> Append {
        let end = Position {
            seq: self.position.seq + records.len() as u64,
            digest: [(self.position.seq as u8).wrapping_add(1); 16],
        };
        Append {
            stream: self.stream,
            owner: self.owner.clone(),
            hello: (self.position.seq == 0)
                .then(|| Hello { contexts: vec![(1, self.context.clone())], ..Hello::default() }),
            base: self.position,
            end,
            import: self.import,
            sent: None,
            records: records.to_vec(),
            live: vec![],
        }
    }

    pub(crate) fn send(&mut self, ledger: &mut Ledger, records: &[Record]) -> Tally {
        let append = self.message(records);
        match ledger.append(&append, Utc(T0 as i64 + 400 * 86_400 * S as i64)) {
            AppendOutcome::Applied { at, tally } => {
                self.position = at;
                tally
            }
            other => panic!("not applied: {other:?}"),
        }
    }

    pub(crate) fn state<'a>(&self, ledger: &'a Ledger) -> &'a OwnerState {
        ledger.state(&self.owner).expect("a known owner")
    }
}

/// Everything in order through one stream, in batches of `batch` records.
pub(crate) fn book(context: Context, records: &[Record], batch: usize) -> OwnerState {
    let mut ledger = Ledger::new(Policy::default());
    let mut agent = Agent::new(1, "node-1", context);
    for chunk in records.chunks(batch) {
        agent.send(&mut ledger, chunk);
    }
    agent.state(&ledger).clone()
}

/// What the row's slots and the postings taken out of it add up to.
pub(crate) fn slot_sums(state: &OwnerState) -> (Energy, u64) {
    let cells = state.open.iter().flat_map(|open| &open.cells);
    cells.fold((Energy::ZERO, 0), |(energy, covered), cell| (energy + cell.energy.total(), covered + cell.covered_ns))
}

pub(crate) fn joules(joules: u64) -> Energy {
    Energy::from_microjoules(joules * 1_000_000)
}
