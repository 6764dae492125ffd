//! The real source `rapl` on a made tree whose register is a known function of time, into the real ledger:
//! 400 W against a register that holds 65.5 kJ.
//!
//! Exact over any number of wraps as long as two between readings are impossible, and nothing at all where
//! they are not. For contrast: who takes a wrap for a reset, as a rate over these counters does, loses half
//! a reading per wrap, 4.6 % here at one reading in 15 s; who drops the reading loses 9.2 %.
#![expect(clippy::expect_used, reason = "a test stops where it cannot go on")]

use std::path::PathBuf;

use agents::sources::rapl::Rapl;
use agents::sources::{Probe, RaplSettings, Roots, Source};
use energy::{Append, AppendOutcome, Edge, Hello, Ledger, OwnerState, Policy, Register, Rules};
use meter::{Clock, Context, Energy, Owner, Position, Quality, Record, Utc};

const S: u64 = 1_000_000_000;
/// A slot border: 2026-11-01T00:00:00Z.
const T0: u64 = 1_793_491_200 * S;
/// AMD EPYC as Linux shows it: a unit of 2⁻¹⁶ J in whole nanojoules, and 2³² − 1 of them.
const UNIT_NJ: u128 = 15_258;
const RANGE_UJ: &str = "65532610987";
const WATTS: u128 = 400;

/// Units that the package has drawn at an instant since it was made; the register keeps 32 bits of them.
fn units(at: u64) -> u128 {
    // Watts times nanoseconds are nanojoules. It starts near the end of the register, off the beat.
    (WATTS * u128::from(at) + 61_234_567_890_123) / UNIT_NJ
}

/// A machine with one package, read at instants of our choice.
struct Machine {
    tree: tempfile::TempDir,
    source: Rapl,
    ledger: Ledger,
    owner: Owner,
    position: Position,
}

impl Machine {
    fn new(files: &[(&str, &str)]) -> Self {
        let tree = tempfile::tempdir().expect("a folder");
        let roots = Roots { sys: tree.path().join("sys"), proc: tree.path().join("proc") };
        let source = Rapl::new(&RaplSettings { period_ms: 15_000, ..RaplSettings::default() }, &roots);
        let (ledger, owner) = (Ledger::new(Policy::default()), Owner::host("node-1").expect("a good name"));
        let mut machine = Self { tree, source, ledger, owner, position: Position::default() };
        for (file, content) in [("name", "package-0"), ("max_energy_range_uj", RANGE_UJ)].iter().chain(files) {
            machine.write(file, content);
        }
        machine.write("../../../../proc/sys/kernel/random/boot_id", "7f3e0000-0000-4000-8000-000000000001");
        machine.set(0);
        assert!(matches!(machine.source.probe(), Probe::Found { note: None, .. }));
        machine
    }

    fn zone(&self) -> PathBuf {
        self.tree.path().join("sys/class/powercap/intel-rapl:0")
    }

    fn write(&self, file: &str, content: &str) {
        std::fs::create_dir_all(self.zone()).expect("a folder");
        let path = self.zone().join(file);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, content).expect("written");
    }

    /// What the kernel shows at an instant: the register times its unit, in whole microjoules.
    fn set(&self, at: u64) {
        self.write("energy_uj", &format!("{}\n", (units(at) % (1 << 32)) * UNIT_NJ / 1000));
    }

    /// Reads at these instants and appends what was read, as an agent would.
    fn read(&mut self, instants: &[u64]) -> Vec<Record> {
        let mut records = Vec::new();
        for at in instants {
            self.set(*at);
            let mut record = Record { context: 1, at: T0 + at, ..Record::default() };
            self.source.read(&mut record.samples).expect("a reading");
            records.push(record);
        }
        for batch in records.chunks(40) {
            self.append(batch);
        }
        records
    }

    fn context(&self) -> Context {
        Context { clock: Clock::Utc, wall_offset_ns: 0, devices: self.source.devices().to_vec() }
    }

    fn append(&mut self, records: &[Record]) {
        let seq = self.position.seq + records.len() as u64;
        let append = Append {
            stream: [1; 16],
            owner: self.owner.clone(),
            hello: Some(Hello { contexts: vec![(1, self.context())], ..Hello::default() }),
            base: self.position,
            end: Position { seq, digest: [seq as u8; 16] },
            import: true,
            sent: None,
            records: records.to_vec(),
            live: Vec::new(),
        };
        match self.ledger.append(&append, Utc((T0 + 400 * 86_400 * S) as i64)) {
            AppendOutcome::Applied { at, .. } => self.position = at,
            other => panic!("not applied: {other:?}"),
        }
    }

    fn state(&self) -> &OwnerState {
        self.ledger.state(&self.owner).expect("a known owner")
    }
}

/// What is booked less what the register went through, in nanojoules; and how often it wrapped.
fn error_nj(booked: Energy, pieces: &[(u64, u64)]) -> (i128, i128) {
    let between = |f: fn(u128) -> u128| -> i128 {
        pieces.iter().map(|&(from, to)| (f(units(to)) - f(units(from))) as i128).sum()
    };
    // An energy is a whole number of half picojoules.
    (booked.0 / 2000 - between(|units| units * UNIT_NJ), between(|units| units >> 32))
}

fn every_15_s(from: u64, to: u64) -> Vec<u64> {
    (from..=to).step_by(15).map(|second| second * S).collect()
}

#[test]
fn six_hours_at_400_w_read_every_15_s_are_exact_over_132_wraps() {
    let mut machine = Machine::new(&[]);
    machine.read(&every_15_s(0, 6 * 3600));
    let account = &machine.state().accounts[0];
    let (error, wraps) = error_nj(account.lifetime[Quality::Counter], &[(0, 6 * 3600 * S)]);
    assert_eq!(wraps, 132);
    // The kernel cuts each value to whole microjoules, and so is the wrap: half of one each time at most.
    assert!(error.abs() <= 500 * wraps + 1000, "{error} nJ of 8.64 MJ");
    eprintln!("{error} nJ of 8.64 MJ over {wraps} wraps");
    assert_eq!(account.covered_ns, 6 * 3600 * S);
    assert_eq!(account.lifetime.total(), account.lifetime[Quality::Counter], "nothing else is booked");
    assert!(machine.state().refused.is_empty());
}

#[test]
fn readings_off_the_beat_and_now_and_then_missing_are_as_exact() {
    let mut machine = Machine::new(&[]);
    let mut instants = vec![0];
    while instants.last().is_some_and(|last| *last < 6 * 3600 * S) {
        let n = instants.len() as u64;
        // 14 to 16 s apart, every ninth reading missing.
        let step = 14_000 + n * 7919 % 2001 + if n.is_multiple_of(9) { 15_000 } else { 0 };
        instants.push(instants[instants.len() - 1] + step * 1_000_000);
    }
    machine.read(&instants);
    let end = instants[instants.len() - 1];
    let account = &machine.state().accounts[0];
    let (error, wraps) = error_nj(account.lifetime.total(), &[(0, end)]);
    assert!(wraps > 130 && error.abs() <= 500 * wraps + 1000, "{error} nJ, {wraps} wraps");
    assert_eq!(account.covered_ns, end);
}

#[test]
fn a_gap_in_which_two_wraps_are_possible_books_nothing_and_stays_open() {
    let mut machine = Machine::new(&[]);
    // 400 s hold two or three wraps: the difference of the register is short of 131 or 197 kJ.
    machine.read(&[every_15_s(0, 3600), every_15_s(4000, 7600)].concat());
    let account = &machine.state().accounts[0];
    let (error, wraps) = error_nj(account.lifetime.total(), &[(0, 3600 * S), (4000 * S, 7600 * S)]);
    assert!(error.abs() <= 500 * wraps + 1000, "{error} nJ");
    assert_eq!(account.covered_ns, 7200 * S);
    let holes = &account.rare.as_ref().expect("a hole").holes;
    let ends: Vec<_> = holes.iter().map(|hole| (hole.start.at.0 as u64 - T0, hole.end.at.0 as u64 - T0)).collect();
    assert_eq!(ends, [(3600 * S, 4000 * S)]);
    assert!(holes[0].estimate.is_none(), "nor is it estimated");
}

#[test]
fn a_declared_maximum_tells_how_long_a_gap_may_be() {
    // 400 W declared, 600 W believed: 65.5 kJ last for 109 s at least.
    let files = [("constraint_0_max_power_uw", "400000000")];
    for (gap, booked) in [(105, true), (120, false)] {
        let mut machine = Machine::new(&files);
        machine.read(&[every_15_s(0, 600), every_15_s(600 + gap, 1200 + gap)].concat());
        let account = &machine.state().accounts[0];
        assert_eq!(account.covered_ns == (1200 + gap) * S, booked, "a gap of {gap} s");
        if booked {
            let (error, wraps) = error_nj(account.lifetime.total(), &[(0, (1200 + gap) * S)]);
            assert!(error.abs() <= 500 * wraps + 1000, "{error} nJ");
        }
    }
}

#[test]
fn an_agent_that_coalesces_guesses_as_little() {
    let mut machine = Machine::new(&[]);
    let records = machine.read(&[every_15_s(0, 3600), every_15_s(4000, 7600)].concat());
    let decl = &machine.source.devices()[0];
    let rules: Rules = Policy::default().rules(decl.key.scope, decl.period_ns, decl.limit, decl.modulus);
    let edge = |record: &Record| Edge {
        at: Utc(record.at as i64),
        mono: record.at,
        counter: record.samples[0].counter.map(|value| energy::Count { value, epoch: decl.epoch }),
        ..Edge::default()
    };
    let mut runs: Vec<Register> = Vec::new();
    for next in records.iter().map(|record| Register::open(edge(record))) {
        if !runs.last_mut().is_some_and(|run| run.extend(&next, &rules)) {
            runs.push(next);
        }
    }
    assert_eq!(runs.len(), 2, "the gap is in no run");
    let booked: Energy = runs.iter().map(|run| run.energy.total()).sum();
    assert_eq!(booked, machine.state().accounts[0].lifetime.total(), "the same to the half picojoule");
}
