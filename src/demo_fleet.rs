//! The demonstration's fleet: simulated hosts of four teams at two sites, with prices, and one host that
//! plays the recording of a real GPU.

use std::time::Duration;

use agents::feed::{Declared, Feed};
use agents::sources::recorded::{RecordedGpu, RecordingError};
use agents::sources::simulated::SimulatedHost;
use meter::{Clock, Context, DeviceDecl, Labels, NameError, Owner, SECOND_NS, Sample, Utc};

/// Days of history.
pub(crate) const DAYS: u16 = 7;
/// Step of the history: a plain exporter's minute.
pub(crate) const HISTORY_STEP_NS: i64 = 60 * SECOND_NS;
/// Time between live readings.
pub(crate) const LIVE_STEP: Duration = Duration::from_nanos(LIVE_STEP_NS);
const LIVE_STEP_NS: u64 = 2_000_000_000;
/// Any number; the same fleet every time.
const SEED: u64 = 7;
const GPUS: u8 = 8;

/// Two sites with prices of their own. Made up, but of the size that such sites pay.
pub(crate) const RATES: &str = r#"# Example prices of the demonstration.
[[rate]]
site = "par1"
currency = "EUR"
price_per_kwh = "0.1824"
pue = "1.24"
carbon_g_per_kwh = "56"

[[rate]]
site = "sto1"
currency = "EUR"
price_per_kwh = "0.0971"
pue = "1.08"
carbon_g_per_kwh = "25"
"#;

/// The hosts and what their agents know.
pub(crate) struct Fleet {
    hosts: Vec<Host>,
}

/// Why there is no fleet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FleetError {
    /// A host cannot be named.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The recording is damaged.
    #[error(transparent)]
    Recording(#[from] RecordingError),
}

/// Where a host's readings come from.
enum Model {
    Simulated(SimulatedHost),
    Recorded(RecordedGpu),
}

struct Host {
    model: Model,
    owner: Owner,
    site: &'static str,
    labels: Labels,
    minutely: Declared,
    live: Declared,
}

impl Fleet {
    /// `count` simulated hosts, spread over sites, racks and teams, and the recorded one.
    pub(crate) fn new(count: u16) -> Result<Self, FleetError> {
        let simulated = (0..count).map(|number| Host::simulated(number, count));
        Ok(Self { hosts: simulated.chain([Host::recorded()]).collect::<Result<_, _>>()? })
    }

    /// How many hosts there are.
    pub(crate) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// What an operator knows of the fleet: sites, and what is simulated or replayed. Teams and racks come
    /// from the agents.
    pub(crate) fn inventory(&self) -> String {
        let row = |host: &Host| {
            let made = if matches!(host.model, Model::Simulated(_)) { "true," } else { ",true" };
            format!("{},{},{made}\n", host.owner.name, host.site)
        };
        ["host,site,simulated,replayed\n".to_owned()].into_iter().chain(self.hosts.iter().map(row)).collect()
    }

    /// Owners with the labels that their agents give; their order is their place in a feed.
    pub(crate) fn owners(&self) -> Vec<(Owner, Labels)> {
        self.hosts.iter().map(|host| (host.owner.clone(), host.labels.clone())).collect()
    }

    /// Appends what the hosts would have read from `from` to before `to`.
    pub(crate) fn history(&self, feed: &mut Feed, from: Utc, to: Utc) {
        let mut at = from;
        while at < to {
            self.read(feed, at, HISTORY_STEP_NS.unsigned_abs(), |host| &host.minutely);
            at = Utc(at.0 + HISTORY_STEP_NS);
        }
    }

    /// Appends the history's last reading, so that it reaches up to the first live one.
    pub(crate) fn last_of_history(&self, feed: &mut Feed, now: Utc) {
        self.read(feed, now, HISTORY_STEP_NS.unsigned_abs(), |host| &host.minutely);
    }

    /// Appends what the hosts read now.
    pub(crate) fn live(&self, feed: &mut Feed, now: Utc) {
        self.read(feed, now, LIVE_STEP_NS, |host| &host.live);
    }

    fn read(&self, feed: &mut Feed, at: Utc, period_ns: u64, declared: impl Fn(&Host) -> &Declared) {
        for (place, host) in self.hosts.iter().enumerate() {
            let mut samples = Vec::with_capacity(usize::from(GPUS) + 3);
            host.model.samples(at, period_ns, &mut samples);
            feed.append(place, declared(host), at, samples);
        }
    }
}

impl Model {
    fn devices(&self, period_ns: u64) -> Vec<DeviceDecl> {
        match self {
            Self::Simulated(host) => host.devices(period_ns),
            Self::Recorded(gpu) => vec![gpu.device(period_ns)],
        }
    }

    fn samples(&self, at: Utc, period_ns: u64, into: &mut Vec<Sample>) {
        match self {
            Self::Simulated(host) => host.samples(at, period_ns, into),
            Self::Recorded(gpu) => into.push(gpu.sample(0, at)),
        }
    }
}

impl Host {
    fn simulated(number: u16, count: u16) -> Result<Self, FleetError> {
        const TEAMS: [&str; 4] = ["nlp", "vision", "climate", "genomics"];
        // Two thirds in Paris, the rest in Stockholm, four hosts to a rack.
        let in_paris = u32::from(number) * 3 < u32::from(count) * 2;
        let (site, place, row) = if in_paris { ("par1", "par", 'P') } else { ("sto1", "sto", 'S') };
        let name = format!("{place}-{:03}", number + 1);
        let rack = format!("{row}{:02}", number / 4 + 1);
        let team = TEAMS[usize::from(number) * 7 / 3 % TEAMS.len()];
        let labels = [("team", team), ("rack", &*rack), ("simulated", "true")];
        let model = SimulatedHost::new(SEED, number.into(), GPUS)?;
        Self::new(&name, site, &labels, Model::Simulated(model))
    }

    /// A real H200, played again and again.
    fn recorded() -> Result<Self, FleetError> {
        let labels = [("team", "benchmark"), ("rack", "P00"), ("replayed", "true")];
        Self::new("replayed-h200", "par1", &labels, Model::Recorded(RecordedGpu::h200()?))
    }

    fn new(name: &str, site: &'static str, labels: &[(&str, &str)], model: Model) -> Result<Self, FleetError> {
        let declared = |period_ns| {
            Declared::new(Context { clock: Clock::Utc, wall_offset_ns: 0, devices: model.devices(period_ns) })
        };
        let (minutely, live) = (declared(HISTORY_STEP_NS.unsigned_abs()), declared(LIVE_STEP_NS));
        let labels = labels.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(Self { owner: Owner::host(name)?, site, labels, minutely, live, model })
    }
}
