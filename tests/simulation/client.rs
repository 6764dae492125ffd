//! A client that posts numbered JSON, as a script would: it repeats a post until it is answered.

use aggregator::http::ingest_json;
use energy::{NumberedPost, PostOutcome};
use meter::{AccountKey, Id, Owner, Scope};

use crate::oracle::{Device, Look};
use crate::plan::S;
use crate::world::{BEGIN_UTC, Event, From, World};

/// How long it waits for an answer before it asks again.
const PATIENCE: u64 = 8 * S;
/// Readings of one post.
const BATCH: usize = 5;
const PERIOD: u64 = 10 * S;

/// The client and what it has not seen answered.
pub(crate) struct Client {
    pub(crate) owner: Owner,
    host: String,
    account: usize,
    stream: String,
    seq: u64,
    /// Readings not sent yet: milliseconds of UTC and milliwatts.
    fresh: Vec<(u64, u64)>,
    /// Readings of the post under way.
    under_way: Vec<(u64, u64)>,
    request: u64,
}

impl World {
    pub(crate) fn hire(&mut self, number: u8) {
        let host = format!("script-{number}");
        let owner = Owner::host(&host).expect("a good name");
        let key = AccountKey::new(Scope::Gpu, "0").expect("a good name");
        let device = Device { join_ns: 3 * PERIOD, ceiling_mw: 3_000_000, modulus_uj: None };
        let account = self.truth.open(&owner, &key, device);
        let stream = format!("{:032x}", u128::from_le_bytes(self.rng.id()));
        let (fresh, under_way) = (Vec::new(), Vec::new());
        self.clients.push(Client { owner, host, account, stream, seq: 1, fresh, under_way, request: 0 });
        self.after(S, Event::ClientTick(number));
    }

    /// It reads once; with enough in hand it posts.
    pub(crate) fn client_tick(&mut self, number: u8) {
        if self.is_quiet {
            return self.client_post(number);
        }
        let mw = self.rng.between(100_000, 101_000);
        let client = &mut self.clients[usize::from(number)];
        let at_ms = (BEGIN_UTC as u64 + self.now) / 1_000_000;
        client.fresh.push((at_ms, mw));
        let look = Look { clock: 0, at: at_ms * 1_000_000, mw: Some(mw), counter: None };
        self.truth.read(client.account, Id::default(), look, false);
        let is_full = client.fresh.len() >= BATCH;
        if is_full {
            self.client_post(number);
        }
        self.after(PERIOD, Event::ClientTick(number));
    }

    /// Posts what it has in hand, unless an answer is awaited.
    fn client_post(&mut self, number: u8) {
        let client = &mut self.clients[usize::from(number)];
        if !client.under_way.is_empty() || client.fresh.is_empty() {
            return;
        }
        client.under_way = std::mem::take(&mut client.fresh);
        self.client_send(number);
    }

    fn client_send(&mut self, number: u8) {
        let client = &mut self.clients[usize::from(number)];
        client.request += 1;
        let readings = client.under_way.iter().map(|(at_ms, mw)| {
            let watts = format!("{}.{:03}", mw / 1000, mw % 1000);
            format!(r#"{{"scope":"gpu","device":"0","at_ms":{at_ms},"watts":{watts},"period_ms":10000}}"#)
        });
        let readings = readings.collect::<Vec<_>>().join(",");
        let body = format!(
            r#"{{"stream":"{}","seq":{},"host":"{}","readings":[{readings}]}}"#,
            client.stream, client.seq, client.host
        );
        let instants: Vec<u64> = client.under_way.iter().map(|(at_ms, _)| at_ms * 1_000_000).collect();
        let (request, seq, account) = (client.request, client.seq, client.account);
        let Ok(post) = ingest_json::decode(body.as_bytes()) else {
            return self.violation("a good body is refused".into());
        };
        self.truth.sent_numbered(post.stream, seq, account, &instants);
        self.say(|| format!("client {number} posts number {seq}"));
        self.send(From::Client(number, request), body.into_bytes());
        self.after(PATIENCE, Event::ClientAgain(number, request));
    }

    /// No answer came: the same once more.
    pub(crate) fn client_again(&mut self, number: u8, request: u64) {
        let client = &self.clients[usize::from(number)];
        if client.request == request && !client.under_way.is_empty() {
            self.client_send(number);
        }
    }

    pub(crate) fn client_reply(&mut self, number: u8, request: u64, outcome: Option<&PostOutcome>) {
        let client = &mut self.clients[usize::from(number)];
        if client.request != request || client.under_way.is_empty() {
            return;
        }
        match outcome {
            // It waits, and repeats.
            None => {}
            Some(PostOutcome::Applied { .. } | PostOutcome::Repeated { .. }) => {
                client.seq += 1;
                client.under_way.clear();
                self.client_post(number);
            }
            // The ledger stands elsewhere: a new stream, as the answer asks for.
            Some(_) => {
                client.stream = format!("{:032x}", u128::from_le_bytes(self.rng.id()));
                client.seq = 1;
                self.client_send(number);
            }
        }
    }

    pub(crate) fn numbered(&self, body: &[u8]) -> Option<NumberedPost> {
        ingest_json::decode(body).ok()
    }

    pub(crate) fn is_client_done(&self, number: u8) -> bool {
        let client = &self.clients[usize::from(number)];
        client.under_way.is_empty() && client.fresh.is_empty()
    }
}
