//! One device, one source: which of several sources of this agent feeds an account.
//!
//! The same GPU may be read by its driver's library and scraped from an exporter, and four sleds may report
//! the enclosure they share. An account is fed by the best source that is heard: one with a hardware counter
//! before one with power alone, then the machine's own sensors before what is scraped, then the one that
//! feeds it already. A source is heard for three of its periods, at least ten seconds. Until that is over the
//! readings of the others are set aside, so that whoever takes over goes on where the last one stopped.

use std::collections::BTreeMap;

use meter::{AccountKey, Context, Record, Sample};

/// How long a source is heard after a reading, in periods of the device…
const HEARD_PERIODS: u64 = 3;
/// …and at least, in nanoseconds.
const HEARD_MIN_NS: u64 = 10_000_000_000;
/// Most readings of a device that are set aside for one source.
const ASIDE_MAX: usize = 64;
/// From how many accounts on those that fell silent are forgotten.
const SWEEP_FROM: usize = 1024;

/// One source's readings of one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeederId(pub u64);

/// Who feeds the accounts of one owner.
#[derive(Debug, Default)]
pub struct Claims {
    accounts: BTreeMap<AccountKey, Account>,
}

/// What of a record is to be booked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Sifted {
    /// Records for the ledger, in order; of the same context as the one that came.
    pub records: Vec<Record>,
    /// Readings that a better source made superfluous.
    pub duplicates: u64,
}

#[derive(Debug, Default)]
struct Account {
    holder: Option<FeederId>,
    /// The instant of the last reading that was booked.
    booked: u64,
    claims: Vec<Claim>,
}

/// One source's claim to an account.
#[derive(Debug)]
struct Claim {
    feeder: FeederId,
    in_band: bool,
    heard_ns: u64,
    at: Option<u64>,
    counter_at: Option<u64>,
    aside: Vec<Aside>,
}

/// A reading set aside.
#[derive(Clone, Copy, Debug)]
struct Aside {
    at: u64,
    context: u64,
    sample: Sample,
}

impl Claim {
    fn is_heard(&self, now: u64) -> bool {
        self.at.is_some_and(|at| now.saturating_sub(at) <= self.heard_ns)
    }

    /// The greater the better.
    fn rank(&self, now: u64) -> (bool, bool) {
        let counts = self.counter_at.is_some_and(|at| now.saturating_sub(at) <= self.heard_ns);
        (counts, self.in_band)
    }
}

impl Account {
    fn claim(&mut self, feeder: FeederId, in_band: bool, period_ns: u64) -> &mut Claim {
        let place = self.claims.iter().position(|claim| claim.feeder == feeder).unwrap_or_else(|| {
            self.claims.push(Claim { feeder, in_band, heard_ns: 0, at: None, counter_at: None, aside: Vec::new() });
            self.claims.len() - 1
        });
        let claim = &mut self.claims[place];
        claim.heard_ns = period_ns.saturating_mul(HEARD_PERIODS).max(HEARD_MIN_NS);
        claim
    }

    /// The best source heard at this instant; of equal ones whoever holds the account, else who speaks.
    fn best(&mut self, speaker: FeederId, now: u64) -> Option<FeederId> {
        self.claims.retain(|claim| claim.is_heard(now) || !claim.aside.is_empty());
        let heard = self.claims.iter().filter(|claim| claim.is_heard(now));
        let order = |claim: &&Claim| (claim.rank(now), self.holder == Some(claim.feeder), claim.feeder == speaker);
        heard.max_by_key(order).map(|claim| claim.feeder)
    }

    /// Makes a source the one that feeds the account; what of it was set aside and is still missing.
    fn hand_over(&mut self, feeder: FeederId, context: u64, until: u64) -> Vec<(u64, Sample)> {
        if self.holder.replace(feeder) == Some(feeder) {
            return Vec::new();
        }
        let claim = self.claims.iter_mut().find(|claim| claim.feeder == feeder);
        let aside = claim.map(|claim| std::mem::take(&mut claim.aside)).unwrap_or_default();
        let is_missing = |one: &Aside| one.context == context && one.at > self.booked && one.at < until;
        aside.into_iter().filter(is_missing).map(|one| (one.at, one.sample)).collect()
    }

    /// Sets a reading aside; how many others are superfluous by now.
    fn set_aside(&mut self, feeder: FeederId, reading: Aside) -> u64 {
        let booked = self.booked;
        let Some(claim) = self.claims.iter_mut().find(|claim| claim.feeder == feeder) else { return 1 };
        let before = claim.aside.len();
        claim.aside.retain(|one| one.at > booked);
        if claim.aside.len() >= ASIDE_MAX {
            claim.aside.remove(0);
        }
        let superfluous = before - claim.aside.len();
        claim.aside.push(reading);
        superfluous as u64
    }
}

impl Claims {
    /// Takes a source's record; gives what of it, and of what was set aside before, is to be booked.
    pub fn sift(&mut self, feeder: FeederId, in_band: bool, context: &Context, record: Record) -> Sifted {
        let now = record.at;
        let mut sifted = Sifted::default();
        let mut late: BTreeMap<u64, Vec<Sample>> = BTreeMap::new();
        let mut booked = Vec::with_capacity(record.samples.len());
        for sample in &record.samples {
            // A sampler gives none of undeclared devices.
            let Some(decl) = context.devices.get(usize::from(sample.device)) else { continue };
            let account = self.account(&decl.key, now);
            let has_value = sample.power.is_some() || sample.counter.is_some();
            let claim = account.claim(feeder, in_band, decl.period_ns);
            if has_value {
                claim.at = claim.at.max(Some(now));
                claim.counter_at = sample.counter.map(|_| now).or(claim.counter_at);
            }
            let best = account.best(feeder, now);
            if best.is_none_or(|best| best == feeder) {
                if has_value {
                    for (at, sample) in account.hand_over(feeder, record.context, now) {
                        late.entry(at).or_default().push(sample);
                    }
                    account.booked = account.booked.max(now);
                }
                booked.push(*sample);
            } else {
                let reading = Aside { at: now, context: record.context, sample: *sample };
                sifted.duplicates += if has_value { account.set_aside(feeder, reading) } else { 1 };
            }
        }
        let context = record.context;
        let records = late.into_iter().map(|(at, samples)| Record { context, at, samples, ..Record::default() });
        sifted.records.extend(records);
        if !booked.is_empty() || record.samples.is_empty() {
            sifted.records.push(Record { samples: booked, ..record });
        }
        sifted
    }

    /// Forgets a source that is not read any more: whoever is left takes over with the next reading.
    pub fn leave(&mut self, feeder: FeederId) {
        for account in self.accounts.values_mut() {
            account.claims.retain(|claim| claim.feeder != feeder);
            account.holder = account.holder.filter(|holder| *holder != feeder);
        }
        self.accounts.retain(|_, account| !account.claims.is_empty());
    }

    fn account(&mut self, key: &AccountKey, now: u64) -> &mut Account {
        if !self.accounts.contains_key(key) {
            if self.accounts.len() >= SWEEP_FROM && self.accounts.len().is_power_of_two() {
                self.accounts.retain(|_, account| account.claims.iter().any(|claim| claim.is_heard(now)));
            }
            self.accounts.insert(key.clone(), Account::default());
        }
        self.accounts.entry(key.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use meter::{Clock, DeviceDecl, Microjoules, Milliwatts, Refusal, Scope};

    use super::*;

    const NVML: (FeederId, bool) = (FeederId(1), true);
    const DCGM: (FeederId, bool) = (FeederId(2), false);
    const SECOND: u64 = 1_000_000_000;

    fn context(period_s: u64, devices: &[&str]) -> Context {
        let decl = |name: &&str| DeviceDecl {
            key: AccountKey::new(Scope::Gpu, name).expect("a good name"),
            period_ns: period_s * SECOND,
            limit: Milliwatts(0),
            modulus: None,
            epoch: 0,
        };
        Context { clock: Clock::Boot([1; 16]), wall_offset_ns: 0, devices: devices.iter().map(decl).collect() }
    }

    fn power(device: u16) -> Sample {
        Sample { device, power: Some(Milliwatts(100_000)), ..Sample::default() }
    }

    fn counter(device: u16) -> Sample {
        Sample { counter: Some(Microjoules(5)), ..power(device) }
    }

    /// The instants and devices that are booked of a record at a tenth of a second.
    fn sift(
        claims: &mut Claims,
        who: (FeederId, bool),
        tenth: u64,
        context: &Context,
        samples: &[Sample],
    ) -> Vec<(u64, u16)> {
        let record =
            Record { context: who.0.0, at: tenth * SECOND / 10, samples: samples.to_vec(), ..Record::default() };
        let sifted = claims.sift(who.0, who.1, context, record);
        let pairs =
            |record: &Record| record.samples.iter().map(|s| (record.at * 10 / SECOND, s.device)).collect::<Vec<_>>();
        sifted.records.iter().flat_map(pairs).collect()
    }

    #[test]
    fn the_better_source_feeds_and_the_other_takes_over_without_a_gap() {
        let (mut claims, context) = (Claims::default(), context(1, &["GPU-1"]));
        assert_eq!(sift(&mut claims, DCGM, 1, &context, &[counter(0)]), [(1, 0)], "nobody else yet");
        for tenth in (2..100).step_by(10) {
            assert_eq!(sift(&mut claims, NVML, tenth, &context, &[counter(0)]), [(tenth, 0)]);
            assert_eq!(sift(&mut claims, DCGM, tenth + 5, &context, &[counter(0)]), []);
        }
        // The last of nvml was at 9.2 s; it is heard up to 19.2 s.
        for tenth in (107..192).step_by(10) {
            assert_eq!(sift(&mut claims, DCGM, tenth, &context, &[counter(0)]), []);
        }
        let since: Vec<(u64, u16)> = (97..198).step_by(10).map(|tenth| (tenth, 0)).collect();
        assert_eq!(sift(&mut claims, DCGM, 197, &context, &[counter(0)]), since, "all that nvml missed");
        assert_eq!(sift(&mut claims, DCGM, 207, &context, &[counter(0)]), [(207, 0)]);
        assert_eq!(sift(&mut claims, NVML, 212, &context, &[counter(0)]), [(212, 0)], "it is back");
        assert_eq!(sift(&mut claims, DCGM, 217, &context, &[counter(0)]), []);
    }

    #[test]
    fn a_counter_comes_before_power_also_if_it_is_scraped() {
        let (mut claims, context) = (Claims::default(), context(1, &["GPU-1"]));
        assert_eq!(sift(&mut claims, NVML, 1, &context, &[power(0)]), [(1, 0)]);
        assert_eq!(sift(&mut claims, DCGM, 2, &context, &[counter(0)]), [(2, 0)]);
        assert_eq!(sift(&mut claims, NVML, 11, &context, &[power(0)]), []);
        // One reading without the counter is no reason to change.
        assert_eq!(sift(&mut claims, DCGM, 12, &context, &[power(0)]), [(12, 0)]);
        assert_eq!(sift(&mut claims, NVML, 21, &context, &[power(0)]), []);
        for tenth in (22..=102).step_by(10) {
            assert_eq!(sift(&mut claims, DCGM, tenth, &context, &[power(0)]), [(tenth, 0)]);
        }
        // Its counter was last heard at 0.2 s.
        assert_eq!(sift(&mut claims, NVML, 105, &context, &[power(0)]), [(105, 0)], "in band comes first again");
    }

    #[test]
    fn sources_of_different_devices_do_not_mind_each_other() {
        let mut claims = Claims::default();
        let (one, both) = (context(1, &["GPU-1"]), context(1, &["GPU-2", "GPU-1"]));
        assert_eq!(sift(&mut claims, NVML, 1, &one, &[counter(0)]), [(1, 0)]);
        assert_eq!(sift(&mut claims, DCGM, 2, &both, &[counter(0), counter(1)]), [(2, 0)]);
    }

    #[test]
    fn of_four_sleds_one_reports_the_enclosure_until_it_falls_silent() {
        let (mut claims, context) = (Claims::default(), context(30, &["bmc"]));
        let sled = |number| (FeederId(number), false);
        let fed = |claims: &mut Claims, sleds: std::ops::Range<u64>, round: u64| -> Vec<u64> {
            let at = |number| round * 300 + number * 70;
            let booked = |number: &u64| !sift(claims, sled(*number), at(*number), &context, &[power(0)]).is_empty();
            sleds.filter(booked).collect()
        };
        for round in 1..=4 {
            assert_eq!(fed(&mut claims, 0..4, round), [0], "round {round}");
        }
        // The first is silent from here on; its claim ends after 90 s.
        assert_eq!(fed(&mut claims, 1..4, 5), [0_u64; 0]);
        assert_eq!(fed(&mut claims, 1..4, 6), [0_u64; 0]);
        assert_eq!(fed(&mut claims, 1..4, 7), [1]);
        assert_eq!(fed(&mut claims, 1..4, 8), [1]);
    }

    #[test]
    fn a_source_that_gives_nothing_but_refusals_keeps_no_account() {
        let (mut claims, context) = (Claims::default(), context(1, &["GPU-1"]));
        let none = Sample { refused: Some(Refusal::Sentinel), ..Sample::default() };
        assert_eq!(sift(&mut claims, NVML, 1, &context, &[none]), [(1, 0)], "the ledger counts it");
        assert_eq!(sift(&mut claims, DCGM, 2, &context, &[power(0)]), [(2, 0)]);
        assert_eq!(sift(&mut claims, NVML, 11, &context, &[none]), []);
        assert_eq!(sift(&mut claims, DCGM, 12, &context, &[power(0)]), [(12, 0)]);
    }

    #[test]
    fn duplicates_are_counted_once_it_is_sure_that_they_are_none_too_few() {
        let (mut claims, context) = (Claims::default(), context(1, &["GPU-1"]));
        let mut duplicates = |who: (FeederId, bool), tenth: u64| {
            let record =
                Record { context: who.0.0, at: tenth * SECOND / 10, samples: vec![power(0)], ..Record::default() };
            claims.sift(who.0, who.1, &context, record).duplicates
        };
        assert_eq!((duplicates(NVML, 1), duplicates(DCGM, 2)), (0, 0));
        assert_eq!((duplicates(NVML, 11), duplicates(DCGM, 12)), (0, 1));
        assert_eq!((duplicates(NVML, 21), duplicates(DCGM, 22)), (0, 1));
    }

    #[test]
    fn who_leaves_is_replaced_at_once() {
        let (mut claims, context) = (Claims::default(), context(1, &["GPU-1"]));
        assert_eq!(sift(&mut claims, NVML, 1, &context, &[power(0)]), [(1, 0)]);
        assert_eq!(sift(&mut claims, DCGM, 2, &context, &[power(0)]), []);
        claims.leave(NVML.0);
        assert_eq!(sift(&mut claims, DCGM, 12, &context, &[power(0)]), [(2, 0), (12, 0)]);
    }

    #[test]
    fn an_empty_record_makes_an_owner_known() {
        let (mut claims, context) = (Claims::default(), context(1, &[]));
        let sifted = claims.sift(NVML.0, true, &context, Record::default());
        assert_eq!(sifted.records, [Record::default()]);
    }
}
