//! What a Prometheus server remembers of exporters: the scrapes that it took, read like our own.
//!
//! All values of one scrape have one stamp. So they are put together by stamp, each such page is read as if the
//! exporter had shown it then, and what comes of it is dated by the stamp: raw samples, nothing interpolated and
//! nothing aligned. The server is asked for the metrics that are known here and no others, a few hours at a time.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Range;

use meter::{Clock, Context, Labels, Owner, Record, Refusal, Sample};
use reqwest::Url;
use serde::Deserialize;

use super::client::{PageError, Scraper};
use super::exporters;
use super::scrape::Scrape;
use crate::sources::replay::RecordedOwner;

/// Labels that the server gives to every series; what an exporter called so is `exported_…`.
const SERVERS_OWN: [&str; 3] = ["__name__", "instance", "job"];
/// Before the name of a label of the exporter's that the server has one of the same name for.
const EXPORTED: &str = "exported_";
/// Shortest span that is asked for where a longer one has too many samples, in milliseconds.
const SPAN_MIN_MS: i64 = 60_000;

/// A Prometheus server, or what answers as one: Thanos, Mimir, VictoriaMetrics.
pub struct History {
    url: Url,
    scraper: Scraper,
    /// Which series are a target's, with `{instance}` and `{host}`.
    matcher: String,
}

/// One target of the settings, with what is remembered of it so far.
pub struct Past {
    scrape: Scrape,
    contexts: Vec<Context>,
    records: Vec<Record>,
    /// Whether it is known how often it was scraped.
    is_paced: bool,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    data: Option<Data>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

impl History {
    /// The server at an address; `matcher` says which series are a target's, such as `instance="{instance}"`.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub(super) fn new(address: &str, scraper: Scraper, matcher: &str) -> Result<Self, String> {
        let wrong = || format!("{address:?} is no address of a Prometheus server: it looks like http://host:9090");
        let mut url = Url::parse(address).map_err(|_| wrong())?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "credentials do not belong in an address: use --user and --password-file, or --token-file".into()
            );
        }
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/api/v1/query"));
        Ok(Self { url, scraper, matcher: matcher.into() })
    }

    /// What is remembered of a span of time, in milliseconds since the Unix epoch. Where that is too much for one
    /// answer it is asked for in pieces.
    async fn series(&self, scrape: &Scrape, span: &Range<i64>) -> Result<Vec<Series>, String> {
        let mut pieces = vec![span.clone()];
        let mut all = Vec::new();
        while let Some(piece) = pieces.pop() {
            let query = self.query(scrape, &piece);
            // One stamp in milliseconds is exact in the fraction of a float, and in text.
            let time = format!("{}.{:03}", piece.end.div_euclid(1000), piece.end.rem_euclid(1000));
            let length = piece.end - piece.start;
            match self.scraper.post(&self.url, &[("query", &query), ("time", &time)]).await {
                Ok(body) => all.extend(read(&body)?),
                Err(PageError::TooLong(_)) if length >= 2 * SPAN_MIN_MS => {
                    let middle = piece.start + length / 2;
                    pieces.extend([piece.start..middle, middle..piece.end]);
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(all)
    }

    fn query(&self, scrape: &Scrape, span: &Range<i64>) -> String {
        let mut names: Vec<String> =
            exporters::patterns().map(|name| scrape.selection.prefix.clone() + &name).collect();
        names.sort_unstable();
        // A selector holds what lies behind its left end, which moved with version 3.
        format!("{{__name__=~\"{}\",{}}}[{}ms]", names.join("|"), self.matching(scrape), span.end - span.start + 1)
    }

    /// The matchers of a target.
    fn matching(&self, scrape: &Scrape) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let instance = instance(&scrape.url);
        self.matcher.replace("{instance}", &quoted(&instance)).replace("{host}", &quoted(&scrape.owner.name))
    }
}

/// A target's address as Prometheus calls it.
fn instance(url: &Url) -> String {
    let port = url.port_or_known_default().map_or_else(String::new, |port| format!(":{port}"));
    format!("{}{port}", url.host_str().unwrap_or_default())
}

fn read(body: &[u8]) -> Result<Vec<Series>, String> {
    let answer: Answer =
        serde_json::from_slice(body).map_err(|error| format!("not the answer of Prometheus: {error}"))?;
    match (answer.data, answer.error) {
        (Some(data), None) => Ok(data.result),
        (_, error) => Err(error.unwrap_or_else(|| "an answer without data".into())),
    }
}

impl Past {
    pub(super) fn of(scrape: Scrape) -> Self {
        Self { scrape, contexts: Vec::new(), records: Vec::new(), is_paced: false }
    }

    /// Whose readings these are.
    #[must_use]
    pub const fn owner(&self) -> &Owner {
        &self.scrape.owner
    }

    /// The owner's labels, as the settings give them.
    #[must_use]
    pub const fn labels(&self) -> &Labels {
        &self.scrape.labels
    }

    /// What the server was asked for, for people.
    #[must_use]
    pub fn asked(&self, history: &History) -> String {
        format!("{{{}}}", history.matching(&self.scrape))
    }

    /// Remembers what the server has of a span of time, in milliseconds since the Unix epoch; spans come in order.
    /// Gives how many scrapes that was.
    ///
    /// # Errors
    /// Why the server has none.
    pub async fn recall(&mut self, history: &History, span: Range<i64>) -> Result<usize, String> {
        let series = history.series(&self.scrape, &span).await?;
        let heads: Vec<Option<String>> = series.iter().map(|one| head(&one.metric)).collect();
        let mut stamps: BTreeMap<i64, Vec<(&str, &str)>> = BTreeMap::new();
        for (one, head) in series.iter().zip(&heads) {
            let Some(head) = head else { continue };
            for (at, value) in &one.values {
                let at = millis(*at);
                if span.contains(&at) {
                    stamps.entry(at).or_default().push((head, value));
                }
            }
        }
        self.pace(&stamps);
        let mut body = String::new();
        for (at, lines) in &stamps {
            body.clear();
            for (head, value) in lines {
                // Writing to a String cannot fail.
                let _ = writeln!(body, "{head} {value}");
            }
            let samples = self.scrape.shown(body.as_bytes(), *at);
            self.note(*at, samples);
        }
        Ok(stamps.len())
    }

    /// How often it was scraped: half of the steps are as long or shorter.
    fn pace(&mut self, stamps: &BTreeMap<i64, Vec<(&str, &str)>>) {
        let mut steps: Vec<i64> = stamps.keys().zip(stamps.keys().skip(1)).map(|(a, b)| b - a).collect();
        steps.sort_unstable();
        if let (false, Some(step)) = (self.is_paced, steps.get(steps.len() / 2)) {
            self.scrape.period_ns = u64::try_from(*step).unwrap_or(0).saturating_mul(1_000_000);
            self.is_paced = true;
        }
    }

    fn note(&mut self, at_ms: i64, samples: Vec<Sample>) {
        let (Ok(at), Some(devices)) = (u64::try_from(at_ms), self.scrape.devices()) else { return };
        if samples.is_empty() {
            return;
        }
        if self.contexts.last().is_none_or(|last| last.devices != devices) {
            self.contexts.push(Context { clock: Clock::Utc, wall_offset_ns: 0, devices: devices.to_vec() });
        }
        let context = self.contexts.last().map_or(0, wire::context_id);
        self.records.push(Record { context, at: at * 1_000_000, samples, ..Record::default() });
    }

    /// Records that were not taken yet.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// All that was remembered since it was taken last, and what was refused and is no device's.
    pub fn take(&mut self) -> (RecordedOwner, Vec<(Refusal, u64)>) {
        let records = std::mem::take(&mut self.records);
        let owner = RecordedOwner { owner: self.scrape.owner.clone(), contexts: self.contexts.clone(), records };
        (owner, self.scrape.refusals())
    }
}

/// The stamp in milliseconds.
#[expect(clippy::cast_possible_truncation, reason = "milliseconds of this age are exact in a float")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1000.0).round() as i64
}

/// A series as the exporter showed it: name and labels. Nothing if it has no name.
fn head(metric: &BTreeMap<String, String>) -> Option<String> {
    let mut text = metric.get("__name__")?.clone();
    let mut labels: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, value) in metric.iter().filter(|(name, _)| !SERVERS_OWN.contains(&name.as_str())) {
        match name.strip_prefix(EXPORTED) {
            // The exporter's own word, whatever the server has put in its place.
            Some(own) => _ = labels.insert(own, value),
            None => _ = labels.entry(name).or_insert(value),
        }
    }
    text.push('{');
    for (name, value) in labels {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = write!(text, "{name}=\"{value}\",");
    }
    Some(text + "}")
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
