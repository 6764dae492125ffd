//! One exporter that is scraped for one owner.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use meter::{AccountKey, DeviceDecl, Labels, Milliwatts, Owner, Refusal, Sample};
use reqwest::Url;

use super::accounts::{Account, Content, accounts};
use super::client::Scraper;
use super::page::{Page, Selection};
use super::rapl;
use super::value::Value;
use crate::clock::wall_ns;
use crate::sources::target::{Outlet, Reach, Target};
use crate::sources::{FoundDevice, PollError};

/// An exporter's page that is read for one owner.
pub(super) struct Scrape {
    pub(super) url: Url,
    /// The address as it is shown.
    pub(super) address: String,
    pub(super) owner: Owner,
    pub(super) labels: Labels,
    pub(super) selection: Selection,
    pub(super) period_ns: u64,
    pub(super) scraper: Scraper,
    /// When the exporter's process began, as it said last.
    start: String,
    /// The owner with its devices, once there was a page.
    outlet: Option<Outlet>,
    /// Where each account lies in the outlet's devices.
    places: BTreeMap<AccountKey, u16>,
    refused: BTreeMap<Refusal, u64>,
}

impl Scrape {
    /// Nothing is asked for yet.
    pub(super) fn new(
        url: Url,
        owner: Owner,
        labels: Labels,
        selection: Selection,
        period_ns: u64,
        scraper: Scraper,
    ) -> Self {
        let mut address = url.to_string();
        for (label, value) in &selection.only {
            // Two machines of one page are two targets.
            address.push_str(&format!(" {label}={value}"));
        }
        let (start, outlet, places, refused) = (String::new(), None, BTreeMap::new(), BTreeMap::new());
        Self { url, address, owner, labels, selection, period_ns, scraper, start, outlet, places, refused }
    }

    /// What the exporter shows now.
    async fn look(&mut self) -> Result<Content, String> {
        let body = self.scraper.page(&self.url).await?;
        Ok(self.content(&body, wall_ns() / 1_000_000))
    }

    /// What a page of an instant says, in milliseconds since the Unix epoch.
    fn content(&mut self, body: &[u8], at_ms: i64) -> Content {
        let mut page = Page::read(body, &self.selection, at_ms);
        page.keep_start(&self.start);
        self.start.clone_from(&page.start);
        accounts(&page)
    }

    /// The samples of a page that the exporter showed at an instant.
    pub(super) fn shown(&mut self, body: &[u8], at_ms: i64) -> Vec<Sample> {
        let content = self.content(body, at_ms);
        self.samples(&content)
    }

    /// The devices so far, to which samples refer; nothing before there was a page.
    pub(super) fn devices(&self) -> Option<&[DeviceDecl]> {
        self.outlet.as_ref().map(|outlet| &*outlet.devices)
    }

    /// What was refused and is no device's, since that was asked last.
    pub(super) fn refusals(&mut self) -> Vec<(Refusal, u64)> {
        std::mem::take(&mut self.refused).into_iter().collect()
    }

    fn count(&mut self, refused: &BTreeMap<Refusal, u64>) {
        for (reason, times) in refused {
            *self.refused.entry(*reason).or_default() += times;
        }
    }

    fn declare(&self, account: &Account) -> DeviceDecl {
        DeviceDecl {
            key: account.key.clone(),
            period_ns: self.period_ns.max(account.renews_ns),
            limit: Milliwatts(0),
            modulus: account.is_rapl.then(|| rapl::range(&account.key, &self.selection.ranges)).flatten(),
            epoch: account.epoch,
        }
    }

    /// What a page comes to, as samples. A device that is new is added to the outlet's, one that begins to
    /// count anew gets its new epoch. A device that never had a value is none yet: its refusals belong to
    /// nobody.
    fn samples(&mut self, content: &Content) -> Vec<Sample> {
        self.count(&content.refused);
        let mut outlet = self.outlet.take().unwrap_or_else(|| self.empty_outlet());
        let mut samples = Vec::new();
        for account in &content.accounts {
            let mut sample = sample(account);
            let is_value = sample.power.is_some() || sample.counter.is_some();
            let place = match self.places.get(&account.key) {
                Some(place) => *place,
                None if is_value => {
                    let Ok(place) = u16::try_from(outlet.devices.len()) else { continue };
                    self.places.insert(account.key.clone(), place);
                    outlet.devices.push(self.declare(account));
                    place
                }
                None => {
                    for reason in [account.power, account.counter].iter().flatten().filter_map(Value::refusal) {
                        *self.refused.entry(reason).or_default() += 1;
                    }
                    continue;
                }
            };
            let decl = &mut outlet.devices[usize::from(place)];
            if account.epoch != 0 && decl.epoch != account.epoch {
                *decl = self.declare(account);
            }
            sample.device = place;
            samples.push(sample);
        }
        samples.sort_by_key(|sample| sample.device);
        self.outlet = Some(outlet);
        samples
    }

    fn empty_outlet(&self) -> Outlet {
        Outlet { owner: self.owner.clone(), labels: self.labels.clone(), devices: Vec::new() }
    }

    async fn first_look(&mut self) -> Reach {
        let content = match self.look().await {
            Ok(content) => content,
            Err(why) => return Reach::Absent { why: format!("{}: {why}", self.address) },
        };
        (self.outlet, self.places) = (None, BTreeMap::new());
        let samples = self.samples(&content);
        let remarks = remarks(&content);
        let Some(outlet) = self.outlet.as_ref().filter(|outlet| !outlet.devices.is_empty()) else {
            self.outlet = None;
            let why = format!("{}: no power or energy that is known", self.address);
            return Reach::Absent { why: remarks.map_or(why.clone(), |remarks| format!("{why}; {remarks}")) };
        };
        let about = |key: &AccountKey| content.accounts.iter().find(|account| account.key == *key);
        let found = |decl: &DeviceDecl| FoundDevice {
            decl: decl.clone(),
            about: about(&decl.key).map(|account| account.about.clone()).unwrap_or_default(),
            now: None,
        };
        let mut devices: Vec<FoundDevice> = outlet.devices.iter().map(found).collect();
        for sample in samples {
            devices[usize::from(sample.device)].now = Some(sample);
        }
        Reach::Found { devices: vec![devices], note: remarks }
    }

    async fn next_look(&mut self, into: &mut [Vec<Sample>]) -> Result<(), PollError> {
        let content = self.look().await.map_err(PollError::Retry)?;
        let samples = self.samples(&content);
        match into.first_mut() {
            Some(into) if !samples.is_empty() => into.extend(samples),
            _ => return Err(PollError::Retry("no power or energy that is known".into())),
        }
        Ok(())
    }
}

/// What was left out, on one line.
fn remarks(content: &Content) -> Option<String> {
    let all: Vec<&str> = content.remarks.iter().copied().collect();
    (!all.is_empty()).then(|| format!("left out: {}", all.join("; ")))
}

/// An account's values; a reason why one is none if so.
fn sample(account: &Account) -> Sample {
    let mut sample = Sample::default();
    for value in [account.counter, account.power].into_iter().flatten() {
        match value {
            Value::Power(power) => sample.power = power.ok(),
            Value::Counter(counter) => sample.counter = counter.ok(),
        }
        sample.refused = value.refusal().or(sample.refused);
    }
    sample
}

impl Target for Scrape {
    fn name(&self) -> &'static str {
        "prometheus"
    }

    fn address(&self) -> &str {
        &self.address
    }

    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn period_ns(&self) -> u64 {
        self.period_ns
    }

    fn probe(&mut self) -> BoxFuture<'_, Reach> {
        self.first_look().boxed()
    }

    fn outlets(&self) -> &[Outlet] {
        self.outlet.as_slice()
    }

    fn read<'a>(&'a mut self, into: &'a mut [Vec<Sample>]) -> BoxFuture<'a, Result<(), PollError>> {
        self.next_look(into).boxed()
    }

    fn take_refused(&mut self) -> Vec<(Refusal, u64)> {
        self.refusals()
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        std::future::ready(()).boxed()
    }
}

#[cfg(test)]
#[path = "scrape_tests.rs"]
mod tests;
