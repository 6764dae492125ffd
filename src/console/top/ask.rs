//! Asks the aggregator again and again, and tells the view what it heard. One task for each kind of question, so that a
//! slow answer holds up no other.
//!
//! A question is asked again after the interval, but no sooner than [`REST`] times as long as its answer took: an
//! aggregator of ten thousand hosts is not kept busy by those who look on.

use std::collections::BTreeMap;
use std::time::Duration;

use cost::rates::outlook::Outlook;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::answers::{Bill, Detail, Hosts, KEYS, Key, Moment, One, Power};
use super::rows::Id;
use super::state::News;
use super::text::Rates;
use crate::client;
use crate::error::ConsoleError;

/// Longest wait for an answer: a rollup of a large fleet over days takes seconds.
const ANSWER: Duration = Duration::from_secs(60);
/// How many times as long as the answer took is waited before the next question.
const REST: u32 = 5;
/// What was not answered is asked again after this long at most.
const SOON: Duration = Duration::from_secs(5);
/// What changes slowly is asked for this often at most.
const SLOWLY: Duration = Duration::from_secs(15);
/// The row under the cursor is looked at this often at most.
const CLOSELY: Duration = Duration::from_secs(4);
/// Most rows of power, most hosts that are not read, and most prices.
const ROWS_MAX: &str = "10000";
/// The state of what nothing was ever read of.
const NEVER_SEEN: &str = "never_seen";
/// Seconds of a slot: the grain of a rollup's window.
const SLOT_S: i64 = 900;
/// Seconds after now at which the window of a session ends: readings may be dated ahead a little.
const AHEAD_S: i64 = 3600;

/// Whom to ask, how often, and whom to tell.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) server: String,
    pub(super) interval: Duration,
    pub(super) news: Sender<News>,
}

impl Asker {
    async fn ask<T: DeserializeOwned>(&self, path: &str, query: &[(&str, &str)]) -> Result<T, String> {
        let answer = tokio::time::timeout(ANSWER, client::get(&self.server, path, query)).await;
        let body =
            answer.map_err(|_| format!("nothing within {} s", ANSWER.as_secs()))?.map_err(|error| short(&error))?;
        serde_json::from_str(&body).map_err(|why| format!("not the answer of this version ({why})"))
    }

    /// Tells the view; false if nobody looks any more.
    async fn tell(&self, what: &'static str, news: Result<News, String>) -> bool {
        self.news.send(news.unwrap_or_else(|why| News::Failed(what, why))).await.is_ok()
    }

    /// Waits until it is time for the next question. One that was not answered is asked again soon: how long that took
    /// says nothing of what an answer takes.
    async fn rest(&self, since: Instant, interval: Duration, is_answered: bool) {
        let rest = if is_answered { since.elapsed() * REST } else { self.interval.min(SOON) };
        tokio::time::sleep_until((since + interval).max(Instant::now() + rest)).await;
    }

    /// Power now.
    pub(super) async fn power(self) {
        loop {
            let since = Instant::now();
            let power = self.ask::<Power>("/api/v1/top", &[("by", KEYS), ("limit", ROWS_MAX)]).await;
            let is_answered = power.is_ok();
            if !self.tell("power", power.map(News::Power)).await {
                return;
            }
            self.rest(since, self.interval, is_answered).await;
        }
    }

    /// The bill of the session of this number, the newest one; a new number begins a new one at once.
    pub(super) async fn session(self, mut number: Receiver<u64>) {
        loop {
            let wanted = *number.borrow_and_update();
            tokio::select! {
                changed = number.changed() => if changed.is_err() { return },
                () = self.bills(wanted) => return,
            }
        }
    }

    /// Ends when nobody looks any more.
    async fn bills(&self, number: u64) {
        let mut from = None;
        loop {
            let since = Instant::now();
            let bill = self.bill(&mut from).await;
            let is_answered = bill.is_ok();
            let news = bill.map(
                |(is_first, bill)| {
                    if is_first { News::Begun(number, bill) } else { News::Billed(number, bill) }
                },
            );
            if !self.tell("energy", news).await {
                return;
            }
            self.rest(since, self.interval, is_answered).await;
        }
    }

    /// The bill from the slot in which the session began, and whether it is the first one.
    async fn bill(&self, from: &mut Option<i64>) -> Result<(bool, Bill), String> {
        let moment: Moment = self.ask("/api/v1/top", &[("limit", "1")]).await?;
        let now = moment.as_of.as_second();
        let start = from.unwrap_or(now.div_euclid(SLOT_S) * SLOT_S);
        let window = format!("{start},{}", now.max(start) + AHEAD_S);
        let bill = self.ask("/api/v1/rollup", &[("window", &window), ("by", KEYS)]).await?;
        Ok((from.replace(start).is_none(), bill))
    }

    /// Hosts that are not read, and prices.
    pub(super) async fn slowly(self) {
        loop {
            let since = Instant::now();
            let states = self.states().await.map(|(states, are_all)| News::States(states, are_all));
            let rates = self.ask::<Outlook>("/api/v1/rates", &[("limit", ROWS_MAX)]).await;
            let rates = rates.map(|outlook| News::Rates(Rates::of(&outlook)));
            // Where money is hidden there are no rates, and asking sooner would not help.
            let is_answered = states.is_ok();
            // That nobody answers is told by who asks for power.
            for news in [states, rates].into_iter().flatten() {
                if self.news.send(news).await.is_err() {
                    return;
                }
            }
            self.rest(since, SLOWLY.max(self.interval), is_answered).await;
        }
    }

    async fn states(&self) -> Result<(BTreeMap<Key, String>, bool), String> {
        let (mut states, mut are_all) = (BTreeMap::new(), true);
        for state in ["silent", "off", "never_seen"] {
            let hosts: Hosts = self.ask("/api/v1/hosts", &[("state", state), ("limit", ROWS_MAX)]).await?;
            are_all &= hosts.next_cursor.is_none();
            states.extend(hosts.hosts.into_iter().map(|host| {
                let chassis = host.chassis.unwrap_or_default();
                (Key { cluster: host.cluster, chassis, host: host.host }, host.detail.state)
            }));
        }
        Ok((states, are_all))
    }

    /// More about the row under the cursor.
    pub(super) async fn detail(self, mut wanted: Receiver<Option<Id>>) {
        loop {
            let since = Instant::now();
            let id = wanted.borrow_and_update().clone();
            if let Some(id) = id
                && let Ok(detail) = self.about(&id).await
                && self.news.send(News::Detail(id, detail)).await.is_err()
            {
                return;
            }
            tokio::select! {
                changed = wanted.changed() => if changed.is_err() { return },
                () = self.rest(since, CLOSELY.max(self.interval), true) => {}
            }
        }
    }

    async fn about(&self, id: &Id) -> Result<Detail, String> {
        let kind = if id.is_chassis { "chassis" } else { "hosts" };
        let one = self.ask::<One>(&format!("/api/v1/{kind}/{}/{}", id.cluster, id.name), &[]).await?.host;
        if !id.is_chassis || one.state != NEVER_SEEN {
            return Ok(one);
        }
        // A chassis that only the inventory knows has no meter: what its hosts are billed by is its own.
        let select = format!("cluster={},chassis={}", id.cluster, id.name);
        let hosts: Hosts = self.ask("/api/v1/hosts", &[("where", &select), ("limit", ROWS_MAX)]).await?;
        Ok(Detail::of_all(hosts.hosts).unwrap_or(one))
    }
}

/// Why there is no answer, in few words: there is one line for it.
fn short(error: &ConsoleError) -> String {
    match error {
        // The number of the system's error helps nobody.
        ConsoleError::Unreachable { why, .. } => why.split(" (os error").next().unwrap_or_default().to_owned(),
        ConsoleError::NotUnderstood { why, .. } => format!("not the answer of an aggregator ({why})"),
        error => error.to_string(),
    }
}
