//! A thousand machines of ten devices in one post: what a round of posts every ten seconds comes to.

use std::time::Duration;

use meter::{AccountKey, Clock, Context, DeviceDecl, Id, Milliwatts, Owner, Position, Record, Sample, Scope};
use reqwest::blocking::Client;
use wire::{Append, AppendAnswer, Hello, Post};

pub(crate) const HOSTS: u64 = 1000;
pub(crate) const DEVICES: u16 = 10;
/// Between two readings of an account.
pub(crate) const STEP_S: u64 = 10;

/// One machine's stream.
struct Machine {
    owner: Owner,
    stream: Id,
    stands: Position,
}

/// All machines; their readings are recorded ones, with stamps of their own.
pub(crate) struct Fleet {
    machines: Vec<Machine>,
    context: Context,
    context_id: u64,
    start_ns: u64,
    client: Client,
    rounds: u64,
}

impl Fleet {
    pub(crate) fn new(start_ms: i64) -> Self {
        let device = |number| DeviceDecl {
            key: AccountKey::new(Scope::Gpu, &format!("GPU-{number}")).expect("a good name"),
            period_ns: STEP_S * 1_000_000_000,
            limit: Milliwatts(0),
            modulus: None,
            epoch: 0,
        };
        let context = Context { clock: Clock::Utc, wall_offset_ns: 0, devices: (0..DEVICES).map(device).collect() };
        let machine = |number: u64| Machine {
            owner: Owner::host(&format!("node-{number:04}")).expect("a good name"),
            stream: u128::from(number + 1).to_be_bytes(),
            stands: Position::default(),
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            machines: (0..HOSTS).map(machine).collect(),
            context_id: wire::context_id(&context),
            context,
            start_ns: u64::try_from(start_ms).expect("after 1970") * 1_000_000,
            client: Client::builder().timeout(Duration::from_secs(60)).no_proxy().build().expect("an HTTP client"),
            rounds: 0,
        }
    }

    /// Milliwatts of a device at a round: different for each, and never the same for long.
    fn milliwatts(machine: u64, device: u16, round: u64) -> u64 {
        200_000 + (machine * 131 + u64::from(device) * 17_011 + round * round * 7) % 450_000
    }

    fn record(&self, machine: u64) -> Record {
        let power = |device| Some(Milliwatts(Self::milliwatts(machine, device, self.rounds)));
        let samples = (0..DEVICES).map(|device| Sample { device, power: power(device), ..Sample::default() }).collect();
        let at = self.start_ns + self.rounds * STEP_S * 1_000_000_000;
        Record { context: self.context_id, at, samples, ..Record::default() }
    }

    /// The next reading of every device, in one post; whether it is on disk. If nobody answers, the same
    /// post comes again, as the next one or when the ledger says that it lacks it.
    pub(crate) fn post(&mut self, url: &str) -> bool {
        let append = |(number, machine): (u64, &Machine)| {
            let hello = Hello { agent: "bounds".into(), contexts: vec![self.context.clone()], ..Hello::default() };
            Append {
                stream: machine.stream,
                owner: machine.owner.clone(),
                hello: (self.rounds == 0).then_some(hello),
                base: machine.stands,
                import: true,
                records: vec![self.record(number)],
                live: Vec::new(),
            }
        };
        let post = Post { sent: None, appends: (0..).zip(&self.machines).map(append).collect() };
        let body = wire::encode_post(&post).expect("fits a post");
        let request = self.client.post(format!("{url}/api/v1/ingest")).header("content-type", wire::CONTENT_TYPE);
        let Ok(answer) = request.body(body).send() else { return false };
        assert_eq!(answer.status(), 200);
        let Ok(answer) = answer.bytes() else { return false };
        let answer = wire::decode_answer(&answer).expect("an answer of ours");
        for ((machine, answer), append) in self.machines.iter_mut().zip(&answer.answers).zip(&post.appends) {
            match answer {
                AppendAnswer::Durable { at, .. } => assert_eq!(*at, append.end(), "{}", machine.owner),
                // Sent before, and never answered.
                AppendAnswer::Stands(at) => assert_eq!(*at, append.end(), "{}", machine.owner),
                answer => panic!("{}: {answer:?}", machine.owner),
            }
            machine.stands = append.end();
        }
        self.rounds += 1;
        true
    }

    /// The ledger lost rounds and told how many it holds: the next post begins there.
    pub(crate) fn go_back_to(&mut self, rounds: u64) {
        self.rounds = 0;
        self.machines.iter_mut().for_each(|machine| machine.stands = Position::default());
        while self.rounds < rounds {
            let records: Vec<Record> = (0..HOSTS).map(|number| self.record(number)).collect();
            for (machine, record) in self.machines.iter_mut().zip(records) {
                machine.stands = wire::advance(machine.stands, &[record]);
            }
            self.rounds += 1;
        }
    }

    /// How many rounds are on disk.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// What all accounts drew so far, in µJ: trapezoids between neighbours. 1 mW · 1 ms = 1 µJ.
    pub(crate) fn energy_uj(&self) -> i128 {
        Self::energy_after(self.rounds)
    }

    /// The same after so many rounds.
    pub(crate) fn energy_after(rounds: u64) -> i128 {
        let at = |machine, device, round| i128::from(Self::milliwatts(machine, device, round));
        let accounts = (0..HOSTS).flat_map(|machine| (0..DEVICES).map(move |device| (machine, device)));
        let twice = |(machine, device)| -> i128 {
            (1..rounds).map(|round| at(machine, device, round - 1) + at(machine, device, round)).sum()
        };
        let twice: i128 = accounts.map(twice).sum::<i128>() * i128::from(STEP_S) * 1000;
        twice / 2
    }
}
