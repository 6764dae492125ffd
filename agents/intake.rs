//! Everything read, sorted by owner: each owner has one stream, whoever feeds it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use meter::{Clock, Context, Labels, Mark, Owner, Record, reading};
use wire::SentAt;

use crate::claims::{Claims, FeederId};
use crate::health::Health;
use crate::home::Home;
use crate::outbox::{Lane, Outbox};
use crate::spool::SpoolError;

/// All owners of this agent, with their streams.
#[derive(Debug)]
pub struct Intake {
    outbox: Outbox,
    home: Home,
    places: BTreeMap<Owner, usize>,
    /// As the streams of the outbox, in their order.
    owners: Vec<OwnerDesk>,
    feeders: BTreeMap<FeederId, Feeder>,
    left_behind: Vec<(Owner, Labels)>,
    /// What marks refer to: this machine's clock, and no device.
    marks: Option<Arc<Context>>,
}

/// Who feeds one owner's stream.
#[derive(Debug, Default)]
struct OwnerDesk {
    claims: Claims,
    /// Labels that are the owner's whoever feeds it.
    labels: Labels,
    told: BTreeMap<FeederId, Labels>,
}

#[derive(Debug)]
struct Feeder {
    place: usize,
    in_band: bool,
    health: Arc<Health>,
}

/// What some streams hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// How many streams.
    pub streams: u64,
    /// Bytes in their spools.
    pub bytes: u64,
    /// Records in their spools.
    pub records: u64,
    /// Records that the ledger is not known to have on disk.
    pub undelivered: u64,
    /// Spools in memory that should be on disk.
    pub in_memory: u64,
    /// Streams that the ledger does not accept.
    pub rejected: u64,
    /// Records dropped before they were delivered.
    pub dropped: u64,
    /// Readings booked.
    pub booked: u64,
    /// Readings for time that was covered already.
    pub fenced: u64,
}

/// What a source says when it begins to feed an owner's stream, or when that changed.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Whose readings.
    pub owner: Owner,
    /// What the hardware says of itself.
    pub labels: Labels,
    /// Whether the readings come from the machine itself.
    pub in_band: bool,
    /// The source's condition.
    pub health: Arc<Health>,
}

/// An id for one source's readings of one owner.
#[must_use]
pub fn new_feeder() -> FeederId {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    FeederId(NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Stock {
    fn add(&mut self, lane: &Lane) {
        let (spool, tally) = (lane.spool(), lane.tally());
        self.streams += 1;
        self.bytes += spool.bytes();
        self.records += spool.head().seq - spool.start().seq;
        self.undelivered += spool.head().seq - lane.durable().clamp(spool.start().seq, spool.head().seq);
        self.in_memory += u64::from(spool.degraded());
        self.rejected += u64::from(lane.rejected().is_some());
        self.dropped += spool.dropped();
        self.booked += tally.booked;
        self.fenced += tally.fenced;
    }
}

impl Intake {
    /// An intake with this machine's own stream, which is the first.
    #[must_use]
    pub fn new(own: Lane, home: Home) -> Self {
        let (left_behind, unnamed) = home.left_behind(own.owner());
        if unnamed > 0 {
            tracing::warn!(
                spools = unnamed,
                "there are spools of another name of this machine, or of none: what is left in them is not delivered"
            );
        }
        if !left_behind.is_empty() {
            tracing::info!(owners = left_behind.len(), "what a run before left behind for other owners is delivered");
        }
        let places = BTreeMap::from([(own.owner().clone(), 0)]);
        let desk = OwnerDesk { labels: own.labels().clone(), ..OwnerDesk::default() };
        let outbox = Outbox::new(vec![own]);
        Self { outbox, home, places, owners: vec![desk], feeders: BTreeMap::new(), left_behind, marks: None }
    }

    /// The streams.
    #[must_use]
    pub const fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The streams, to be sent.
    pub const fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Lets a source feed an owner.
    pub fn introduce(&mut self, feeder: FeederId, who: Introduction) {
        let place = match self.place(&who.owner, &who.labels) {
            Ok(place) => place,
            Err(error) => {
                tracing::error!(owner = %who.owner, %error, "no stream can be made: this owner's readings are lost");
                return;
            }
        };
        if self.feeders.get(&feeder).is_some_and(|known| known.place != place) {
            self.leave(feeder);
        }
        self.feeders.insert(feeder, Feeder { place, in_band: who.in_band, health: who.health });
        self.owners[place].told.insert(feeder, who.labels);
        self.label(place);
    }

    /// Ends a source's feeding.
    pub fn leave(&mut self, feeder: FeederId) {
        if let Some(gone) = self.feeders.remove(&feeder) {
            let desk = &mut self.owners[gone.place];
            desk.told.remove(&feeder);
            desk.claims.leave(feeder);
        }
    }

    /// Takes a record; how many bytes the spool has grown by.
    pub fn take(&mut self, feeder: FeederId, context: &Arc<Context>, record: Record) -> u64 {
        let Some(Feeder { place, in_band, health }) = self.feeders.get(&feeder) else { return 0 };
        let sifted = self.owners[*place].claims.sift(feeder, *in_band, context, record);
        health.counts.duplicates.fetch_add(sifted.duplicates, Ordering::Relaxed);
        let Some(lane) = self.outbox.lane(*place) else { return 0 };
        let before = lane.spool().bytes();
        sifted.records.iter().for_each(|record| lane.append(context, record));
        lane.spool().bytes().saturating_sub(before)
    }

    /// Puts a word about this machine's jobs into its own stream: a record of its own, stamped by the clocks
    /// `now` and behind everything that was read before. How many bytes the spool has grown by.
    pub fn mark(&mut self, mark: Mark, now: &SentAt) -> u64 {
        let clock = Clock::Boot(now.boot);
        let Some(lane) = self.outbox.lane(0) else { return 0 };
        let read = lane.spool().newest().filter(|(_, context)| context.clock == clock).map(|(record, _)| record.at);
        let at = read.max().map_or(now.boot_ns, |read| read.max(now.boot_ns));
        self.mark_at(mark, at, now)
    }

    /// The same of a word that tells of an earlier instant of this boot's clock, which the ledger may have passed.
    pub fn mark_at(&mut self, mark: Mark, at: u64, now: &SentAt) -> u64 {
        let clock = Clock::Boot(now.boot);
        let wall_offset_ns = now.wall_ns.saturating_sub_unsigned(now.boot_ns);
        let known = self.marks.take().filter(|context| context.clock == clock);
        // The first one's offset stays, or each mark would be of another context.
        let context = known.unwrap_or_else(|| Arc::new(Context { clock, wall_offset_ns, devices: Vec::new() }));
        self.marks = Some(Arc::clone(&context));
        let Some(lane) = self.outbox.lane(0) else { return 0 };
        let record =
            Record { context: wire::context_id(&context), at, mark: Some(Box::new(mark)), ..Record::default() };
        let before = lane.spool().bytes();
        lane.append(&context, &record);
        lane.spool().bytes().saturating_sub(before)
    }

    /// What the streams hold: this machine's own, and all others together.
    #[must_use]
    pub fn stock(&self) -> [(&'static str, Stock); 2] {
        let mut stock = [("self", Stock::default()), ("others", Stock::default())];
        for (place, lane) in self.outbox.lanes().iter().enumerate() {
            stock[place.min(1)].1.add(lane);
        }
        stock
    }

    /// Opens one more of the streams that a run before left behind; whether there was one.
    pub fn reopen_one(&mut self) -> bool {
        let Some((owner, labels)) = self.left_behind.pop() else { return false };
        if let Err(error) = self.place(&owner, &labels) {
            tracing::error!(%owner, %error, "what a run before left behind cannot be delivered");
        }
        true
    }

    /// The place of an owner's stream, which is made if there is none.
    fn place(&mut self, owner: &Owner, labels: &Labels) -> Result<usize, SpoolError> {
        if let Some(place) = self.places.get(owner) {
            return Ok(*place);
        }
        let place = self.outbox.push(self.home.on_behalf(owner, labels.clone())?);
        self.owners.push(OwnerDesk::default());
        self.places.insert(owner.clone(), place);
        Ok(place)
    }

    /// Gives the stream all labels that are known: the owner's own first, then those of whoever came first.
    fn label(&mut self, place: usize) {
        let (Some(desk), Some(lane)) = (self.owners.get(place), self.outbox.lane(place)) else { return };
        let mut labels = desk.labels.clone();
        for (key, value) in desk.told.values().flatten() {
            let is_valid = reading::label_key_is_valid(key) && reading::label_value_is_valid(value);
            if is_valid && labels.len() < reading::LABELS_MAX {
                labels.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        if *lane.labels() != labels {
            if place > 0 {
                self.home.note(lane.owner(), &labels);
            }
            lane.set_labels(labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use meter::{AccountKey, DeviceDecl, Milliwatts, OwnerKind, Sample, Scope};

    use super::*;
    use crate::config::Settings;

    fn intake(state: &std::path::Path) -> Intake {
        let mut settings = Settings::default();
        settings.agent.state_dir = state.into();
        let home = Home::new(&settings, [1; 16]);
        let own = Owner::host("n1").expect("a good name");
        let labels = Labels::from([("team".into(), "nlp".into())]);
        Intake::new(home.own(&own, labels).expect("opens"), home)
    }

    fn introduce(intake: &mut Intake, feeder: u64, owner: &Owner, in_band: bool, labels: &[(&str, &str)]) {
        let introduction = Introduction {
            owner: owner.clone(),
            labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            in_band,
            health: Arc::new(Health::new("test", None, 1_000_000_000)),
        };
        intake.introduce(FeederId(feeder), introduction);
    }

    fn look(intake: &mut Intake, feeder: u64, device: &str, at: u64) {
        let key = AccountKey::new(Scope::Gpu, device).expect("a good name");
        let decl = DeviceDecl { key, period_ns: 1_000_000_000, limit: Milliwatts(0), modulus: None, epoch: feeder };
        let context = Context { clock: Clock::Boot([1; 16]), wall_offset_ns: 0, devices: vec![decl] };
        let sample = Sample { power: Some(Milliwatts(5)), ..Sample::default() };
        let record = Record { context: wire::context_id(&context), at, samples: vec![sample], ..Record::default() };
        intake.take(FeederId(feeder), &Arc::new(context), record);
    }

    fn heads(intake: &Intake) -> Vec<(String, u64)> {
        let head = |lane: &Lane| (lane.owner().canonical(), lane.spool().head().seq);
        intake.outbox().lanes().iter().map(head).collect()
    }

    #[test]
    fn each_owner_has_one_stream_whoever_feeds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut intake = intake(folder.path());
        let (own, other) = (
            Owner::host("n1").expect("a good name"),
            Owner::new("default", OwnerKind::Chassis, "bmc-1").expect("a good name"),
        );
        introduce(&mut intake, 1, &own, true, &[]);
        introduce(&mut intake, 2, &own, false, &[("hw.uuid", "u"), ("team", "other")]);
        introduce(&mut intake, 3, &other, false, &[("rack", "r1"), ("bad key", "x"), ("row", "a\nb")]);
        introduce(&mut intake, 4, &other, false, &[("rack", "r2"), ("row", "1")]);
        look(&mut intake, 1, "GPU-1", 1_000_000_000);
        look(&mut intake, 2, "GPU-1", 1_100_000_000);
        look(&mut intake, 2, "GPU-2", 1_200_000_000);
        look(&mut intake, 3, "GPU-1", 1_300_000_000);
        look(&mut intake, 9, "GPU-1", 1_400_000_000);
        assert_eq!(heads(&intake), [("default/host/n1".into(), 2), ("default/chassis/bmc-1".into(), 1)]);
        let labels = |place: usize| intake.outbox().lanes()[place].labels().clone();
        assert_eq!(labels(0), Labels::from([("hw.uuid".into(), "u".into()), ("team".into(), "nlp".into())]));
        assert_eq!(labels(1), Labels::from([("rack".into(), "r1".into()), ("row".into(), "1".into())]));
    }

    #[test]
    fn a_mark_goes_into_the_own_stream_behind_what_was_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut intake = intake(folder.path());
        let own = Owner::host("n1").expect("a good name");
        introduce(&mut intake, 1, &own, true, &[]);
        look(&mut intake, 1, "GPU-1", 1_000_000_000);
        let now = |boot: u8, boot_ns| SentAt { boot: [boot; 16], boot_ns, wall_ns: 5_000_000_000 };
        // A little behind the reading's date, which was rounded up; then later; then under another boot id.
        assert!(intake.mark(Mark::Stop("1".into()), &now(1, 999_999_000)) > 0);
        intake.mark(Mark::Cut, &now(1, 2_000_000_007));
        intake.mark(Mark::Cut, &now(2, 5));
        let outbox = intake.outbox_mut();
        let post = outbox.next_post(0, Some(now(2, 6))).expect("encodes").expect("something waits");
        let append = wire::decode_post(&post.body).expect("a post").appends.remove(0);
        let told = |record: &Record| (record.at, record.mark.as_deref().cloned(), record.samples.len());
        assert_eq!(
            append.records.iter().map(told).collect::<Vec<_>>(),
            [
                (1_000_000_000, None, 1),
                (1_000_000_000, Some(Mark::Stop("1".into())), 0),
                (2_000_000_007, Some(Mark::Cut), 0),
                (5, Some(Mark::Cut), 0)
            ]
        );
        let contexts = append.hello.expect("a hello").contexts;
        let clocks: Vec<_> = contexts.iter().filter(|context| context.devices.is_empty()).map(|c| c.clock).collect();
        assert_eq!(clocks.len(), 2, "one context per boot, however many marks: {clocks:?}");
        assert!(append.live.iter().all(|record| record.mark.is_none()), "nothing of the present to be shown");
    }

    #[test]
    fn what_a_run_before_left_is_offered_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let other = Owner::new("default", OwnerKind::Chassis, "bmc-1").expect("a good name");
        let mut first = intake(folder.path());
        introduce(&mut first, 3, &other, false, &[("rack", "r1")]);
        look(&mut first, 3, "GPU-1", 1_300_000_000);
        drop(first);
        let mut second = intake(folder.path());
        assert_eq!(heads(&second).len(), 1);
        assert!(second.reopen_one() && !second.reopen_one());
        assert_eq!(heads(&second)[1], ("default/chassis/bmc-1".into(), 1));
        assert_eq!(second.outbox().lanes()[1].labels()["rack"], "r1");
        assert!(!second.outbox().lanes()[1].is_delivered());
    }
}
