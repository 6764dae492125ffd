//! The fleet at one moment: every host with its state, its power and who it belongs to, and how far the data can be
//! trusted. Made from the newest snapshot, in memory; kept for a second, or longer for fleets that take long.

use std::sync::Arc;
use std::time::Duration;

use billing::published::Snapshot;
use billing::topology::Topology;
use cost::HostInfo;
use energy::Flag;
use meter::{Energy, Labels, Milliwatts, Owner, OwnerKind, Refusal, Utc};

use crate::books::Books;
use crate::hosts_view::host_flags;
use crate::http::problem::Problem;
use crate::kept::{Kept, Patience};
use crate::vitals::{HostState, fenced, is_made_up};
use crate::whole::{Fleet, Whole};

/// Power is of the last seconds; of a large fleet it may be as old as its agents' posts.
const PATIENCE: Patience =
    Patience { fresh: Duration::from_millis(900), serves: Duration::from_secs(15), unasked: Duration::from_secs(10) };

/// The fleet at one moment.
#[derive(Debug)]
pub struct Board {
    /// Until when everything that was acknowledged is in it.
    pub as_of: Utc,
    /// When it was made.
    pub now: Utc,
    /// Everything that has a bill of its own, what draws most first.
    pub hosts: Vec<BoardHost>,
    /// What all of them draw, where anything is known of it.
    pub watts: Option<Milliwatts>,
    /// Hosts by state, in the order of [`HostState::ALL`].
    pub states: [usize; 5],
    /// Whether the ledger has no owner at all.
    pub is_empty: bool,
    /// What is to be known of the readings.
    pub facts: Facts,
}

/// One host, or a chassis that measures none.
#[derive(Debug)]
pub struct BoardHost {
    /// Whose.
    pub owner: Owner,
    /// Under which name it is billed.
    pub shown: Owner,
    /// How it is.
    pub state: HostState,
    /// Its labels now.
    pub labels: Arc<Labels>,
    /// The chassis it sits in.
    pub chassis: Option<Owner>,
    /// What it draws, while readings are fresh.
    pub watts: Option<Milliwatts>,
    /// Its newest reading.
    pub newest: Option<Utc>,
    /// What people should look at.
    pub flags: Vec<&'static str>,
}

/// What is to be known of the readings of all owners.
#[derive(Debug, Default)]
pub struct Facts {
    /// Readings refused, by reason; only reasons that occurred, the most frequent first.
    pub refused: Vec<(&'static str, u64)>,
    /// Energy reported for time that was covered already.
    pub fenced: Energy,
    /// Accounts with any flag.
    pub flagged: usize,
    /// Accounts by flag; only flags that are up.
    pub flags: Vec<(&'static str, usize)>,
}

/// The newest board.
#[derive(Debug)]
pub struct Boards(Kept<Board>);

impl Default for Boards {
    fn default() -> Self {
        Self(Kept::new(PATIENCE))
    }
}

impl Boards {
    /// A board that serves now. Blocks while one is made.
    ///
    /// # Errors
    /// None of its own: making one reads memory only.
    pub fn of(&self, books: &Books) -> Result<Arc<Board>, Problem> {
        self.0.of(|| Ok(Board::new(books)))
    }

    /// Makes one if that is due.
    pub fn keep_up(&self, books: &Books) {
        self.0.keep_up(|| Ok(Board::new(books)));
    }
}

impl Board {
    /// The fleet now.
    #[must_use]
    pub fn new(books: &Books) -> Self {
        let (snapshot, topology, now) = books.moment();
        let mut hosts: Vec<BoardHost> =
            Fleet::new(&snapshot, &topology, now).all().map(|whole| BoardHost::new(&whole, &topology, now)).collect();
        hosts.sort_by(|a, b| b.watts.cmp(&a.watts).then_with(|| a.owner.cmp(&b.owner)));
        let mut states = [0; 5];
        hosts
            .iter()
            .filter(|host| host.owner.kind == OwnerKind::Host)
            .for_each(|host| states[host.state as usize] += 1);
        let powers = hosts.iter().filter_map(|host| host.watts).map(|power| power.0);
        Self {
            as_of: snapshot.as_of,
            now,
            watts: powers.reduce(u64::saturating_add).map(Milliwatts),
            states,
            hosts,
            is_empty: snapshot.owners().next().is_none(),
            facts: Facts::of(&snapshot),
        }
    }

    /// How many say that they are no live machines.
    #[must_use]
    pub fn simulated(&self) -> usize {
        self.hosts.iter().filter(|host| is_made_up(&host.labels)).count()
    }
}

impl BoardHost {
    fn new(whole: &Whole<'_>, topology: &Topology, now: Utc) -> Self {
        let shown = topology.inventory.canonical(whole.owner);
        Self {
            owner: whole.owner.clone(),
            shown: shown.clone(),
            state: whole.state(),
            labels: topology.labels(whole.owner, now, whole.own.map_or(&[], |state| &state.labels)),
            chassis: if shown.kind == OwnerKind::Chassis { Some(shown) } else { topology.chassis_at(shown, now) }
                .cloned(),
            watts: whole.watts(),
            newest: whole.newest(),
            flags: host_flags(whole, topology),
        }
    }

    /// What rows are grouped and selected by.
    #[must_use]
    pub fn info(&self) -> HostInfo<'_> {
        let chassis = self.chassis.as_ref().map(|chassis| &*chassis.name);
        HostInfo { cluster: &self.shown.cluster, name: &self.shown.name, chassis, labels: &self.labels }
    }
}

impl Facts {
    fn of(snapshot: &Snapshot) -> Self {
        let mut refused = [0_u64; Refusal::ALL.len()];
        let mut flags = [0_usize; Flag::ALL.len()];
        let mut facts = Self::default();
        for view in snapshot.owners() {
            for (reason, count) in &view.state.refused {
                refused[*reason as usize] += count;
            }
            facts.fenced += fenced(&view.state);
            for account in view.state.accounts.iter().filter(|a| a.rare().is_some_and(|rare| rare.flags != 0)) {
                facts.flagged += 1;
                for (flag, count) in Flag::ALL.into_iter().zip(&mut flags) {
                    *count += usize::from(account.is_flagged(flag));
                }
            }
        }
        let counted = Refusal::ALL.into_iter().zip(refused).filter(|(reason, count)| reason.is_fault() && *count > 0);
        facts.refused = counted.map(|(reason, count)| (reason.code(), count)).collect();
        facts.refused.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        facts.flags = Flag::ALL.into_iter().map(Flag::code).zip(flags).filter(|(_, n)| *n > 0).collect();
        facts
    }
}
