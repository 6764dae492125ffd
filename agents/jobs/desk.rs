//! Where every word about a job ends: it is checked, its devices are found, and the mark is handed to the spool.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use meter::{Allocation, Mark, hash};
use tokio::sync::Mutex;

use super::message::Word;
use super::refused::Refused;
use super::roll::{JOBS_MAX, Roll, Told};
use super::tally::{Tally, Way};
use super::{Needs, devices};
use crate::clock;
use crate::sampler::LookNow;
use crate::spool_actor::{Care, PutMark};

/// A word that says when, and comes within this, is dated at its receipt, which no reading can have passed already.
const PROMPT_NS: i64 = 100_000_000;
/// How far ahead an instant may be: whoever wrote it looked at the same clock.
const AHEAD_NS: i64 = 1_000_000_000;
/// The first instant of a boot that a mark can have.
const BOOT_BEGAN_NS: u64 = 1_000;

/// The desk.
#[derive(Debug)]
pub struct Desk {
    needs: Needs,
    cores_of: u32,
    roll: RefCell<Roll>,
    tally: Arc<Tally>,
    /// Marks are put one after the other, so that the roll says what the stream says.
    turn: Mutex<()>,
}

/// A word that can be put into the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    mark: Mark,
    /// On the boot's clock; nothing for now.
    at: Option<u64>,
}

impl Desk {
    /// A desk of a machine with so many cores.
    #[must_use]
    pub const fn new(needs: Needs, cores_of: u32, roll: Roll, tally: Arc<Tally>) -> Self {
        Self { needs, cores_of, roll: RefCell::new(roll), tally, turn: Mutex::const_new(()) }
    }

    /// How many cores the machine has.
    #[must_use]
    pub const fn cores_of(&self) -> u32 {
        self.cores_of
    }

    /// What was heard so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Checks a word and finds its devices; nothing is put anywhere yet.
    ///
    /// # Errors
    /// [`Refused`] says why it cannot be put into the stream.
    pub fn check(&self, word: &Word) -> Result<Ready, Refused> {
        let at = word.at.map(|at| on_boot_clock(at, clock::wall_offset_ns(), clock::boot_ns())).transpose()?.flatten();
        let mark = match &word.mark {
            Mark::Start(allocation) => {
                let mut allocation = Allocation::clone(allocation);
                allocation.devices = devices::accounts(&self.needs.registry, &self.needs.owner, &allocation.devices)?;
                // Of a job that names no cores nobody says how many there are: it may have the machine to itself.
                if allocation.cores > 0 && allocation.cores_of == 0 {
                    allocation.cores_of = self.cores_of;
                }
                let allocation = allocation.checked()?;
                if !self.roll.borrow().has_room_for(&allocation.id) {
                    return Err(Refused::TooMany(JOBS_MAX));
                }
                Mark::Start(Arc::new(allocation))
            }
            other => other.clone(),
        };
        Ok(Ready { mark, at })
    }

    /// Puts a checked word into the stream; the instant that the mark was dated at, by the machine's wall clock. The
    /// sensors are read at once, so that the registers' values at the mark are known as near as can be.
    ///
    /// # Errors
    /// [`Refused::Spool`].
    pub async fn put(&self, ready: Ready, way: Way) -> Result<i64, Refused> {
        let turn = self.turn.lock().await;
        let put = self.needs.spool.send(PutMark { mark: ready.mark.clone(), at: ready.at }).await;
        let at = put.map_err(|error| Refused::Spool(error.to_string()))?;
        if ready.at.is_none() {
            // A sensor that is too busy to hear it is read at its own time.
            self.needs.sensors.iter().for_each(|sensor| _ = sensor.try_send(LookNow));
        }
        self.tally.heard(&ready.mark, way);
        self.note(&ready.mark, way);
        drop(turn);
        Ok(clock::wall_offset_ns().saturating_add_unsigned(at))
    }

    /// Checks and puts a word; what is refused is counted.
    ///
    /// # Errors
    /// As [`Desk::check`] and [`Desk::put`].
    pub async fn hear(&self, word: &Word, way: Way) -> Result<i64, Refused> {
        let done = match self.check(word) {
            Ok(ready) => self.put(ready, way).await,
            Err(refused) => Err(refused),
        };
        done.inspect_err(|refused| self.tally.refuse(refused))
    }

    fn note(&self, mark: &Mark, way: Way) {
        let mut roll = self.roll.borrow_mut();
        match mark {
            Mark::Start(allocation) => {
                let told = Told { pod: way == Way::Kubernetes, hash: hash_of(allocation) };
                roll.add(Arc::clone(&allocation.id), told);
            }
            Mark::Stop(id) => roll.strike(id),
            Mark::Cut => return,
        }
        self.tally.running.store(roll.len() as u64, Relaxed);
    }

    /// Whether exactly this allocation runs already.
    #[must_use]
    pub fn is_running(&self, ready: &Ready) -> bool {
        let Mark::Start(allocation) = &ready.mark else { return false };
        let hash = hash_of(allocation);
        self.roll.borrow().told(&allocation.id).is_some_and(|told| told.hash == hash)
    }

    /// The pods that run as far as was told.
    #[must_use]
    pub fn pods(&self) -> Vec<Arc<str>> {
        self.roll.borrow().pods()
    }

    /// Ends, at the beginning of this boot, what ran when an earlier one ended.
    pub async fn end_what_ended_with_the_boot(&self) {
        let left = self.roll.borrow().left().to_vec();
        if !left.is_empty() {
            tracing::info!(jobs = left.len(), "jobs that ran when the machine went down end with it");
        }
        for id in left {
            let ready = Ready { mark: Mark::Stop(id), at: Some(BOOT_BEGAN_NS) };
            if let Err(refused) = self.put(ready, Way::Boot).await {
                tracing::error!(why = %refused, "a job's end cannot be noted");
            }
        }
        self.tally.running.store(self.roll.borrow().len() as u64, Relaxed);
    }

    /// Sees to it that what was put survives a power failure.
    pub async fn save(&self) {
        // A spool that is gone has nothing to save.
        let _ = self.needs.spool.send(Care::Sync).await;
    }
}

/// An allocation's hash: the same for the same one, over restarts.
fn hash_of(allocation: &Allocation) -> u64 {
    hash::stable_hash(&serde_json::to_vec(allocation).unwrap_or_default())
}

/// An instant by the wall clock on the boot's clock, which a mark is dated by; nothing if it is as good as now.
fn on_boot_clock(at: i64, wall_offset_ns: i64, now: u64) -> Result<Option<u64>, Refused> {
    let wall_now = wall_offset_ns.saturating_add_unsigned(now);
    if at.saturating_sub(wall_now) > AHEAD_NS {
        return Err(Refused::Instant("it lies ahead of this machine's clock".into()));
    }
    if wall_now.saturating_sub(at) <= PROMPT_NS {
        return Ok(None);
    }
    match u64::try_from(at.saturating_sub(wall_offset_ns)) {
        Ok(boot) if boot >= BOOT_BEGAN_NS => Ok(Some(boot)),
        _ => {
            Err(Refused::Instant("it lies before the machine started; `wattledger jobs import` takes past jobs".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn an_instant_by_the_wall_clock_is_dated_by_the_boots() {
        let (offset, now) = (1_000_000 * SECOND, 500 * SECOND as u64);
        let dated = |seconds_ago: i64| on_boot_clock(offset + (500 - seconds_ago) * SECOND, offset, now);
        assert_eq!(dated(10).expect("a good instant"), Some(490 * SECOND as u64));
        assert_eq!(dated(0).expect("now"), None);
        assert_eq!(on_boot_clock(offset + 500 * SECOND - PROMPT_NS, offset, now).expect("prompt"), None);
        assert!(dated(-1).expect("a clock looked at a moment later").is_none());
        assert!(dated(-2).expect_err("ahead").to_string().contains("ahead"));
        assert!(dated(500).expect_err("before the boot").to_string().contains("jobs import"));
        assert!(on_boot_clock(i64::MIN, offset, now).is_err() && on_boot_clock(i64::MAX, offset, now).is_err());
    }
}
