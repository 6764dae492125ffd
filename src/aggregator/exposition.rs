//! `/metrics`: the ledger for Prometheus and its kin.
//!
//! Written family by family, partition by partition, as the connection takes it: memory holds one
//! partition's lines of one family, and the work grows with the number of series only. All figures of
//! one scrape are of one snapshot, so they are durable, and a counter never steps back within one
//! value of its label `gen`. What was retired or vanished keeps its series.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::web::Bytes;
use billing::published::{OwnerView, Snapshot};
use billing::topology::Topology;
use billing::topology::unmatched::{Kind as UnmatchedKind, counts};
use energy::Flag;
use meter::{OwnerKind, Refusal, Utc};

use crate::summary::Summary;
use crate::vitals::{HostState, fenced};
use crate::whole::Fleet;

pub mod families;
pub mod process;
pub mod text;

use families::PER_OWNER;
use text::{Family, Format, Kind};

/// What one scrape is made of.
pub struct Scrape {
    /// The figures.
    pub snapshot: Arc<Snapshot>,
    /// Labels, links, and who is retired.
    pub topology: Arc<Topology>,
    /// Today's bill, for what is doubtful about it.
    pub summary: Option<Arc<Summary>>,
    /// The clock.
    pub now: Utc,
    /// Under which name each label key is exposed: the same on every host; see [`text::label_names`].
    pub label_names: HashMap<String, String>,
    /// The format asked for.
    pub format: Format,
    /// Which share of the owners, counted from 0, and of how many.
    pub shard: (u8, u8),
    /// Whether there is a series per account.
    pub per_account: bool,
    /// Whether counters are also shown under the names of all-smi.
    pub all_smi_names: bool,
    /// The most accounts there may be.
    pub accounts_max: usize,
}

/// The chunks of one exposition, in order.
pub struct Chunks {
    scrape: Scrape,
    /// What stands before the families of owners: process and fleet, written by the caller.
    before: Option<String>,
    family: usize,
    part: usize,
    has_head: bool,
    done: bool,
}

impl Scrape {
    /// The chunks: `before`, then the families of owners.
    #[must_use]
    pub fn chunks(self, before: String) -> Chunks {
        Chunks { scrape: self, before: Some(before), family: 0, part: 0, has_head: false, done: false }
    }

    /// Whether this shard carries what is not about one owner: only the first does, so that a sum over
    /// all shards is right.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.shard.0 == 0
    }

    /// Writes the fleet's own families.
    pub fn fleet(&self, out: &mut String) {
        let (format, snapshot) = (self.format, &self.snapshot);
        let generation = snapshot.generation.to_string();
        let owners = || snapshot.owners().map(|view| &view.state);

        let readings = Family {
            name: "wattledger_readings_total",
            kind: Kind::Counter,
            help: "Readings seen: booked, fenced and refused ones.",
        };
        format.head(out, &readings);
        text::series(out, readings.name, [("gen", generation.as_str())]);
        text::value(out, owners().map(|state| state.readings).sum::<u64>());

        let refused = Family {
            name: "wattledger_readings_refused_total",
            kind: Kind::Counter,
            help: "Readings that were not booked, by reason.",
        };
        format.head(out, &refused);
        let mut counts = [0_u64; Refusal::ALL.len()];
        for (reason, count) in owners().flat_map(|state| &state.refused) {
            counts[*reason as usize] += count;
        }
        for (reason, count) in Refusal::ALL.into_iter().zip(counts).filter(|(reason, _)| reason.is_fault()) {
            text::series(out, refused.name, [("reason", reason.code()), ("gen", generation.as_str())]);
            text::value(out, count);
        }

        let unknown = Family {
            name: "wattledger_unknown_job_stops_total",
            kind: Kind::Counter,
            help: "Ends of jobs that nobody told the beginning of, or that had ended: no fault, and no reading.",
        };
        format.head(out, &unknown);
        text::series(out, unknown.name, [("gen", generation.as_str())]);
        text::value(out, counts[Refusal::UnknownJob as usize]);

        let fence = Family {
            name: "wattledger_fenced_joules_total",
            kind: Kind::Counter,
            help: "Energy reported for time that was covered already, and therefore not booked.",
        };
        format.head(out, &fence);
        text::series(out, fence.name, [("gen", generation.as_str())]);
        text::joules(out, owners().map(|state| fenced(state)).sum());
        self.counts(out);
    }

    /// Accounts, hosts by state, and what people should look at.
    fn counts(&self, out: &mut String) {
        let gauge = |name, help| Family { name, kind: Kind::Gauge, help };
        let accounts = gauge("wattledger_accounts", "Accounts in the ledger.");
        self.format.head(out, &accounts);
        text::series(out, accounts.name, []);
        text::value(out, self.snapshot.owners().map(|view| view.state.accounts.len()).sum::<usize>());

        let most = gauge("wattledger_accounts_max", "Accounts that the ledger may have.");
        self.format.head(out, &most);
        text::series(out, most.name, []);
        text::value(out, self.accounts_max);

        let hosts = gauge("wattledger_hosts", "Hosts, by state.");
        self.format.head(out, &hosts);
        let states = host_counts(&self.snapshot, &self.topology, self.now);
        for (state, count) in HostState::ALL.into_iter().zip(states) {
            text::series(out, hosts.name, [("state", state.word())]);
            text::value(out, count);
        }

        let unmatched = gauge(
            "wattledger_unmatched",
            "Owners without counterpart: BMCs without host, hosts without BMC, what matches several, links to nobody.",
        );
        self.format.head(out, &unmatched);
        for (kind, count) in UnmatchedKind::ALL.into_iter().zip(counts(&self.topology.unmatched(self.now))) {
            text::series(out, unmatched.name, [("kind", kind.word())]);
            text::value(out, count);
        }

        let flagged = gauge("wattledger_flagged_accounts", "Accounts that people should look at, by flag.");
        self.format.head(out, &flagged);
        let accounts = || self.snapshot.owners().flat_map(|view| &view.state.accounts);
        for flag in Flag::ALL {
            text::series(out, flagged.name, [("flag", flag.code())]);
            text::value(out, accounts().filter(|account| account.is_flagged(flag)).count());
        }
    }

    /// The owners of a partition, if it belongs to this shard.
    fn owners(&self, part: usize) -> impl Iterator<Item = &OwnerView> {
        let is_ours = part % usize::from(self.shard.1.max(1)) == usize::from(self.shard.0);
        let part = self.snapshot.parts.get(part).filter(|_| is_ours);
        part.into_iter().flat_map(|part| part.owners.values().map(|view| &**view))
    }
}

/// How many hosts there are in each state, in the order of [`HostState::ALL`].
#[must_use]
pub fn host_counts(snapshot: &Snapshot, topology: &Topology, now: Utc) -> [usize; 5] {
    let mut counts = [0; 5];
    for whole in Fleet::new(snapshot, topology, now).all().filter(|whole| whole.owner.kind == OwnerKind::Host) {
        counts[whole.state() as usize] += 1;
    }
    counts
}

impl Iterator for Chunks {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(before) = self.before.take() {
            return Some(before.into());
        }
        while let Some(family) = PER_OWNER.get(self.family) {
            if !family.is_wanted(&self.scrape) {
                self.family += 1;
                continue;
            }
            let mut chunk = String::new();
            // The head goes out with the first series, so that no family stands there empty.
            if !self.has_head {
                self.scrape.format.head(&mut chunk, &family.head);
            }
            let head = chunk.len();
            while self.part < self.scrape.snapshot.parts.len() && chunk.len() < CHUNK {
                for view in self.scrape.owners(self.part) {
                    (family.write)(&self.scrape, view, family.head.name, &mut chunk);
                }
                self.part += 1;
            }
            let has_series = chunk.len() > head;
            self.has_head |= has_series;
            if self.part >= self.scrape.snapshot.parts.len() {
                (self.family, self.part, self.has_head) = (self.family + 1, 0, false);
            }
            if has_series {
                return Some(chunk.into());
            }
        }
        if self.done {
            return None;
        }
        self.done = true;
        let mut end = String::new();
        self.scrape.format.end(&mut end);
        (!end.is_empty()).then(|| end.into())
    }
}

/// A chunk is handed over once it has this many bytes: large enough that sending costs little.
const CHUNK: usize = 64 << 10;
