//! What was crossed, and what became of the message about it: a document of the store for each month.
//!
//! A crossing is noted, with the message, before the message is sent. So one that was noted is sent after a restart,
//! and one that arrived is never sent again. Whoever is told may still get a message twice, if this process dies
//! between their answer and the note of it: the message's `id` is the same then.

use std::collections::BTreeMap;

use cost::budget::Budget;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::crossing::{Crossing, What};
use super::standing::{Month, MonthFigures};
use crate::books::Books;
use crate::http::problem::Problem;
use crate::query::rfc3339;

/// What the documents' names begin with; the month follows.
const PREFIX: &str = "budgets/";
/// The version of the documents' form.
const VERSION: u8 = 1;
/// Months that are held in memory; zones differ in when one begins.
const MONTHS_HELD: usize = 3;

/// A month's document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u8,
    crossings: Vec<Crossing>,
}

/// The crossings of the months at hand.
#[derive(Default)]
pub(super) struct Crossings {
    months: BTreeMap<String, BTreeMap<String, Vec<Crossing>>>,
    has_looked_back: bool,
}

impl Crossings {
    /// The crossings of a budget in a month; after [`Crossings::note`].
    pub(super) fn of(&self, budget: &Budget, month: &Month) -> &[Crossing] {
        let of_month = self.months.get(&month.name);
        of_month.and_then(|budgets| budgets.get(&budget.name)).map_or(&[], Vec::as_slice)
    }

    /// Notes what is crossed and was not before, in the store first.
    pub(super) fn note(
        &mut self,
        budget: &Budget,
        month: &Month,
        figures: &MonthFigures,
        books: &Books,
    ) -> Result<(), Problem> {
        self.load(&month.name, books)?;
        let known = self.of(budget, month);
        let all = budget.thresholds.iter().map(|&percent| What::Used(percent)).chain([What::Forecast]);
        let is_new = |what: &What| known.iter().all(|crossing| crossing.what != *what);
        let new: Vec<What> = all.filter(|what| figures.is_reached(budget, *what)).filter(is_new).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut next = self.months.get(&month.name).cloned().unwrap_or_default();
        let noted = next.entry(budget.name.clone()).or_default();
        noted.extend(new.into_iter().map(|what| crossing(budget, month, figures, what)));
        self.keep(&month.name, next, books)
    }

    /// The messages that somebody is to be told, with the months they are about.
    pub(super) fn pending(&self) -> impl Iterator<Item = (&String, &Crossing)> {
        let months = self.months.iter();
        let all = months.flat_map(|(month, budgets)| budgets.values().flatten().map(move |crossing| (month, crossing)));
        all.filter(|(_, crossing)| crossing.is_pending())
    }

    /// Puts a crossing in place of the one before, in the store first.
    pub(super) fn update(&mut self, month: &str, crossing: Crossing, books: &Books) -> Result<(), Problem> {
        let mut next = self.months.get(month).cloned().unwrap_or_default();
        let noted = next.entry(crossing.budget.clone()).or_default();
        match noted.iter_mut().find(|known| known.what == crossing.what) {
            Some(known) => *known = crossing,
            None => noted.push(crossing),
        }
        self.keep(month, next, books)
    }

    fn keep(&mut self, month: &str, next: BTreeMap<String, Vec<Crossing>>, books: &Books) -> Result<(), Problem> {
        let told = |error: &dyn std::fmt::Display| Problem::internal("keep what budgets crossed", error);
        let document = Document { version: VERSION, crossings: next.values().flatten().cloned().collect() };
        let bytes = serde_json::to_vec(&document).map_err(|error| told(&error))?;
        books.store.put_document(&name(month), &bytes).map_err(|error| told(&error))?;
        self.months.insert(month.to_owned(), next);
        Ok(())
    }

    /// Reads a month's document, if it is not at hand; at first also those of the months before it, of which
    /// somebody may still have to be told.
    fn load(&mut self, month: &str, books: &Books) -> Result<(), Problem> {
        let told = |error: &dyn std::fmt::Display| Problem::internal("read what budgets crossed", error);
        if !self.has_looked_back {
            let mut documents = Vec::new();
            let read = books.store.documents(&name(""), &name(month), &mut |name, bytes| documents.push((name, bytes)));
            read.map_err(|error| told(&error))?;
            for (name, bytes) in documents {
                let before = name.trim_start_matches(PREFIX).to_owned();
                self.months.insert(before, parse(&bytes).map_err(|why| told(&why))?);
            }
            self.has_looked_back = true;
        }
        if self.months.contains_key(month) {
            return Ok(());
        }
        let bytes = books.store.document(&name(month)).map_err(|error| told(&error))?;
        // What cannot be read must not be told again to everybody.
        let budgets = bytes.map(|bytes| parse(&bytes)).transpose().map_err(|why| told(&why))?;
        self.months.insert(month.to_owned(), budgets.unwrap_or_default());
        while self.months.len() > MONTHS_HELD {
            self.months.pop_first();
        }
        Ok(())
    }
}

fn name(month: &str) -> String {
    format!("{PREFIX}{month}")
}

/// The crossings of a document, by budget.
fn parse(bytes: &[u8]) -> Result<BTreeMap<String, Vec<Crossing>>, String> {
    let document: Document = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if document.version != VERSION {
        return Err(format!("it has version {}, this program reads {VERSION}", document.version));
    }
    let mut budgets: BTreeMap<String, Vec<Crossing>> = BTreeMap::new();
    for crossing in document.crossings {
        budgets.entry(crossing.budget.clone()).or_default().push(crossing);
    }
    Ok(budgets)
}

fn crossing(budget: &Budget, month: &Month, figures: &MonthFigures, what: What) -> Crossing {
    let is_wanted = match (&budget.webhook, what) {
        (Some(webhook), What::Forecast) => webhook.tells_forecast,
        (webhook, _) => webhook.is_some(),
    };
    let at = rfc3339(month.now);
    Crossing {
        budget: budget.name.clone(),
        what,
        message: is_wanted.then(|| message(budget, month, figures, what, &at)),
        at,
        attempts: 0,
        tried_ns: 0,
        delivered_at: None,
        given_up: false,
        problem: None,
    }
}

/// What somebody is told.
fn message(budget: &Budget, month: &Month, figures: &MonthFigures, what: What, at: &str) -> Value {
    let standing = figures.standing(budget, month, &[]);
    let (kind, percent) = match what {
        What::Used(percent) => ("used", percent),
        What::Forecast => ("forecast", 100),
    };
    let id = blake3::hash(format!("{}\0{}\0{kind}\0{percent}", budget.name, month.name).as_bytes());
    json!({
        "version": 1,
        "type": "budget.threshold",
        "id": &id.to_hex().as_str()[..32],
        "at": at,
        "budget": standing.name,
        "where": standing.filter,
        "month": standing.month,
        "tz": standing.tz,
        "kind": kind,
        "threshold_percent": percent,
        "unit": standing.unit,
        "limit": standing.limit,
        "used": standing.used,
        "used_share": standing.used_share,
        "forecast": standing.forecast,
        "forecast_share": standing.forecast_share,
        "covered_seconds": standing.covered_seconds,
        "expected_seconds": standing.expected_seconds,
    })
}
