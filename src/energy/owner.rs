//! One owner's row: streams by compare-and-append, contexts, accounts, labels.

use std::sync::Arc;

use meter::{AccountKey, Clock, Context, Id, Labels, OwnerKind, Position, Record, Refusal, Sample, Utc, machine};

use crate::account::{Applied, Desk};
use crate::batch::{Batch, LIVE_NS, RunDesk};
use crate::dating::Dates;
use crate::policy::{Policy, Rules};
use crate::precedence::Readers;
use crate::{
    Account, Append, Count, Edge, Flag, Hello, KnownContext, KnownDevice, LabelsSince, OwnerState, RefusedCount,
    Rejection, Stream, Tally,
};

/// Label changes remembered per owner from its agent; the inventory holds the history that matters.
const LABELS_KEPT: usize = 16;

impl OwnerState {
    /// Binds a host's name to the first machine that reports itself under it.
    pub(crate) fn bind(&mut self, fingerprint: Option<Id>) -> Result<(), Rejection> {
        let (OwnerKind::Host, Some(theirs)) = (self.owner.kind, fingerprint) else { return Ok(()) };
        let bound = self.fingerprint.unwrap_or(theirs);
        if !machine::same_machine(&bound, &theirs) {
            return Err(Rejection::BoundElsewhere { owner: Box::new(self.owner.clone()), bound, theirs });
        }
        self.fingerprint = Some(machine::learn(&bound, &theirs));
        Ok(())
    }

    /// Gives the name to another machine, or frees it; returns the one it was bound to. The new one's
    /// boots do not follow those of the one before: both may have been running at once.
    pub(crate) fn rebind(&mut self, to: Option<Id>) -> Option<Id> {
        self.end_all(self.last_own().unwrap_or(self.last_seen));
        self.boots.iter_mut().for_each(|boot| boot.own = false);
        std::mem::replace(&mut self.fingerprint, to)
    }

    /// Where a stream stands; zero if it is not known.
    pub(crate) fn position(&self, stream: Id) -> Position {
        self.streams.iter().find(|known| known.id == stream).map_or_else(Position::default, |known| known.position)
    }

    /// Whether another stream has spoken since this one last did, and not long ago.
    pub(crate) fn is_rivalled(&self, stream: Id, now: Utc) -> bool {
        let Some(own) = self.streams.iter().find(|known| known.id == stream) else { return false };
        let is_rival = |other: &Stream| {
            other.id != stream && other.last_seen > own.last_seen && now.since(other.last_seen) < LIVE_NS
        };
        self.streams.iter().any(is_rival)
    }

    /// The stream, made if it is new; over the limit the longest silent is forgotten.
    pub(crate) fn stream_mut(&mut self, stream: Id, now: Utc, limit: usize) -> &mut Stream {
        let index = self.streams.iter().position(|known| known.id == stream).unwrap_or_else(|| {
            if self.streams.len() >= limit.max(1) {
                let silent = self.streams.iter().enumerate().min_by_key(|(_, known)| known.last_seen);
                let silent = silent.map_or(0, |(index, _)| index);
                self.streams.remove(silent);
            }
            self.streams.push(Stream {
                id: stream,
                position: Position::default(),
                last_seen: now,
                answers: Vec::new(),
            });
            self.streams.len() - 1
        });
        let known = &mut self.streams[index];
        known.last_seen = now;
        known
    }

    /// Whether every record's context is known; and without a hello, which says whose boot it is, its boot too.
    pub(crate) fn knows_contexts_of(&self, append: &Append) -> bool {
        let is_told = append.hello.is_some();
        let is_heard = |clock: Clock| match clock {
            Clock::Boot(boot) => is_told || self.boots.iter().any(|known| known.boot == boot),
            Clock::Utc => true,
        };
        let heard = self.contexts.iter().filter(|context| is_heard(context.clock)).map(|context| context.id);
        let told = append.hello.iter().flat_map(|hello| &hello.contexts).map(|(id, _)| *id);
        let mut known: Vec<u64> = heard.chain(told).collect();
        known.sort_unstable();
        append.records.iter().all(|record| known.binary_search(&record.context).is_ok())
    }

    /// Takes in labels and contexts.
    pub(crate) fn greet(&mut self, hello: &Hello, from: Utc) {
        if hello.fingerprint.is_some() {
            self.label(&hello.labels, from);
        } else {
            self.label_for(&hello.labels, from);
        }
        for (id, context) in &hello.contexts {
            let known = self.resolve(*id, context);
            self.remember(known);
        }
    }

    /// Labels that somebody else gives, a scraper or a collector: they hold for as long as the machine has
    /// not spoken for itself.
    pub(crate) fn label_for(&mut self, labels: &Labels, from: Utc) {
        if self.fingerprint.is_none() {
            self.label(labels, from);
        }
    }

    /// Labels as the agent gives them, in force from an instant on.
    pub(crate) fn label(&mut self, labels: &Labels, from: Utc) {
        if self.labels.last().is_some_and(|last| *last.labels == *labels)
            || (self.labels.is_empty() && labels.is_empty())
        {
            return;
        }
        let index = self.labels.partition_point(|since| since.from <= from);
        if index > 0 && *self.labels[index - 1].labels == *labels {
            return;
        }
        self.labels.insert(index, LabelsSince { from, labels: Arc::new(labels.clone()) });
        if self.labels.len() > LABELS_KEPT {
            self.labels.remove(0);
        }
    }

    /// Resolves a context's devices to the accounts there are.
    pub(crate) fn resolve(&self, id: u64, context: &Context) -> KnownContext {
        let devices = context.devices.iter().map(|decl| KnownDevice {
            account: self.account_of(&decl.key).ok_or_else(|| Box::new((decl.key.clone(), Refusal::NoValue))),
            period_ns: decl.period_ns,
            limit: decl.limit,
            modulus: decl.modulus,
            epoch: decl.epoch,
        });
        let devices = devices.collect();
        KnownContext { id, clock: context.clock, wall_offset_ns: context.wall_offset_ns, devices }
    }

    fn account_of(&self, key: &AccountKey) -> Option<u16> {
        let index = self.keys.iter().position(|known| known == key)?;
        u16::try_from(index).ok()
    }

    /// The account of a device that had none when its context was told: opened by its first good
    /// reading, counted before it is inserted, per owner first.
    fn open_account(&mut self, key: &AccountKey, batch: &Batch<'_>, policy: &Policy) -> Result<u16, Refusal> {
        if let Some(index) = self.account_of(key) {
            return Ok(index);
        }
        if self.keys.len() >= policy.owner_accounts {
            return Err(Refusal::OwnerAccountCap);
        }
        if self.keys.len() >= batch.keys_max {
            return Err(Refusal::AccountCap);
        }
        let index = u16::try_from(self.keys.len()).map_err(|_| Refusal::OwnerAccountCap)?;
        Arc::make_mut(&mut self.keys).push(key.clone());
        self.accounts.push(Account::default());
        Ok(index)
    }

    fn remember(&mut self, known: KnownContext) {
        let contexts = Arc::make_mut(&mut self.contexts);
        contexts.retain(|other| other.id != known.id);
        contexts.push(known);
    }

    /// Forgets the contexts least recently told over the limit. Only once all records of an append
    /// are booked: they may refer to more contexts than are kept.
    pub(crate) fn limit_contexts(&mut self, limit: usize) {
        let surplus = self.contexts.len().saturating_sub(limit.max(1));
        if surplus > 0 {
            Arc::make_mut(&mut self.contexts).drain(..surplus);
        }
    }

    /// Books records by the contexts the row knows.
    pub(crate) fn book(&mut self, batch: &Batch<'_>, policy: &Policy, tally: &mut Tally) {
        let contexts = Arc::clone(&self.contexts);
        let mut new_boots = self.new_boots(&contexts);
        let dates = batch.date(&mut self.boots, &contexts, policy);
        let accounts = self.keys.len();
        let mut records = batch.records;
        while let Some(first) = records.first() {
            let run = records.iter().take_while(|record| record.context == first.context).count();
            let (these, rest) = records.split_at(run);
            if let Some(context) = contexts.iter().find(|context| context.id == first.context) {
                let dates = dates.iter().find(|(boot, _)| context.clock == Clock::Boot(*boot)).map(|(_, dates)| *dates);
                new_boots.retain(|boot| Clock::Boot(*boot) != context.clock || !self.has_rebooted(*boot, dates));
                self.book_run(context, dates, these, batch, policy, tally);
            }
            records = rest;
        }
        if self.keys.len() > accounts {
            self.resolve_again();
        }
    }

    /// Lets the known contexts point to accounts that were opened since they were told.
    fn resolve_again(&mut self) {
        let mut contexts = std::mem::take(&mut self.contexts);
        for device in Arc::make_mut(&mut contexts).iter_mut().flat_map(|context| &mut context.devices) {
            if let Err(unopened) = &device.account
                && let Some(index) = self.account_of(&unopened.0)
            {
                device.account = Ok(index);
            }
        }
        self.contexts = contexts;
    }

    /// Books a run of records of one context.
    pub(crate) fn book_run(
        &mut self,
        context: &KnownContext,
        dates: Option<Dates>,
        records: &[Record],
        batch: &Batch<'_>,
        policy: &Policy,
        tally: &mut Tally,
    ) {
        let rules: Vec<Rules> = context.devices.iter().map(|device| self.rules_of(device, policy)).collect();
        let readers = Readers::of(&self.boots, &self.contexts, context.clock, self.streams.len());
        let desk = RunDesk { context, dates, rules: &rules, readers: readers.as_ref(), batch, policy };
        for record in records {
            if let Some(summary) = &record.summary {
                self.book_summary(summary, &desk, tally);
                continue;
            }
            let edge = desk.edge_at(record.at);
            if let Some(mark) = &record.mark {
                self.book_mark(edge, mark);
                continue;
            }
            for sample in &record.samples {
                self.book_sample(edge, sample, &desk, tally);
            }
        }
    }

    /// The integrator's rules for a device.
    fn rules_of(&self, device: &KnownDevice, policy: &Policy) -> Rules {
        let scope = match &device.account {
            Ok(index) => self.keys[usize::from(*index)].scope,
            Err(unopened) => unopened.0.scope,
        };
        policy.rules(scope, device.period_ns, device.limit, device.modulus)
    }

    fn book_sample(&mut self, edge: Result<Edge, Refusal>, sample: &Sample, desk: &RunDesk<'_>, tally: &mut Tally) {
        let place = usize::from(sample.device);
        let (Some(device), Some(rules)) = (desk.context.devices.get(place), desk.rules.get(place)) else {
            // The wire checks this; a context and record that do not match are nobody's reading.
            return count_refused(&mut self.refused, Refusal::Malformed, 1);
        };
        if sample.power.is_none() && sample.counter.is_none() && sample.refused.is_none() {
            return;
        }
        self.readings += 1;
        // A value that was none beside one that is: the one is counted, the other is booked.
        if let Some(reason) = sample.refused {
            self.refuse(device, reason, tally);
            if sample.power.is_none() && sample.counter.is_none() {
                return;
            }
        }
        let counter = sample.counter.map(|value| Count { value, epoch: device.epoch });
        let power = sample.power.filter(|power| *power <= rules.ceiling);
        if power.is_none() && sample.power.is_some() {
            self.refuse(device, Refusal::AboveCeiling, tally);
            if counter.is_none() {
                return;
            }
        }
        let applied = edge.and_then(|edge| self.apply(Edge { power, counter, ..edge }, device, rules, desk));
        match applied {
            Ok(Applied::Booked) => tally.booked += 1,
            Ok(Applied::Fenced) => tally.fenced += 1,
            Ok(Applied::Refused(reason)) | Err(reason) => self.refuse(device, reason, tally),
        }
    }

    /// Hands a reading to its account, which its first good reading opens.
    fn apply(
        &mut self,
        edge: Edge,
        device: &KnownDevice,
        rules: &Rules,
        run: &RunDesk<'_>,
    ) -> Result<Applied, Refusal> {
        self.with_account(edge, device, rules, run, |account, desk| account.apply(edge, desk))
    }

    /// Lets a device's account work on what ends with `edge`; the first good reading opens it.
    pub(crate) fn with_account(
        &mut self,
        edge: Edge,
        device: &KnownDevice,
        rules: &Rules,
        run: &RunDesk<'_>,
        work: impl FnOnce(&mut Account, &mut Desk<'_>) -> Applied,
    ) -> Result<Applied, Refusal> {
        let index = match &device.account {
            Ok(index) => *index,
            Err(unopened) => self.open_account(&unopened.0, run.batch, run.policy)?,
        };
        let readers = run.readers.filter(|_| run.is_fresh(&edge));
        let (open, cuts) = (&mut self.open, &self.cuts[..]);
        let mut desk = Desk { open, cuts, account: index, policy: run.policy, rules, readers };
        let account = &mut self.accounts[usize::from(index)];
        let applied = work(account, &mut desk);
        let is_rival = run.batch.rivalled && run.is_fresh(&edge) && !account.is_outranked(&edge, &desk);
        if applied == Applied::Fenced && is_rival {
            account.rare_mut().flags |= Flag::TwoStreams as u8;
        }
        Ok(applied)
    }

    fn refuse(&mut self, device: &KnownDevice, reason: Refusal, tally: &mut Tally) {
        self.refuse_many(device, reason, 1, tally);
    }

    pub(crate) fn refuse_many(&mut self, device: &KnownDevice, reason: Refusal, count: u64, tally: &mut Tally) {
        count_refused(&mut self.refused, reason, count);
        let key = match &device.account {
            Ok(index) => &self.keys[usize::from(*index)],
            Err(refused) => &refused.0,
        };
        let same = |known: &&mut RefusedCount| {
            known.reason == reason && known.device == *key.device && known.scope == key.scope.word()
        };
        match tally.refused.iter_mut().find(same) {
            Some(known) => known.count += count,
            None => tally.refused.push(RefusedCount {
                scope: key.scope.word().into(),
                device: (*key.device).into(),
                reason,
                count,
            }),
        }
    }

    /// Counts readings that were refused before they had an account to be refused by.
    pub(crate) fn refuse_unnamed(&mut self, unnamed: &[RefusedCount], tally: &mut Tally) {
        for refused in unnamed {
            self.readings += refused.count;
            count_refused(&mut self.refused, refused.reason, refused.count);
        }
        tally.refused.extend_from_slice(unnamed);
    }
}

pub(crate) fn count_refused(counts: &mut Vec<(Refusal, u64)>, reason: Refusal, count: u64) {
    match counts.binary_search_by_key(&reason, |(known, _)| *known) {
        Ok(index) => counts[index].1 += count,
        Err(index) => counts.insert(index, (reason, count)),
    }
}
