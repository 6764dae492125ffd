//! `GET /metrics`: Prometheus text or OpenMetrics, by `Accept`.

use actix_web::http::header::{ACCEPT, CACHE_CONTROL};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream;
use meter::{Energy, MICROJOULE};

use super::openapi::problems::Refused;
use super::problem::Problem;
use super::respond::off_thread;
use crate::app::App;
use crate::exposition::text::{self, Family, Format, Kind};
use crate::exposition::{Scrape, process};
use crate::query::{Params, label_keys};

/// Answers the request. `shard=1&of=4` gives the first of four shares of the owners.
///
/// # Errors
/// A problem that names the parameter at fault.
#[utoipa::path(
    get, path = "/metrics", tag = "operation", summary = "Prometheus text, or OpenMetrics by `accept`",
    params(
        ("shard" = Option<u32>, Query, description = "Which share of the owners, from 1.", minimum = 1, maximum = 64),
        ("of" = Option<u32>, Query, description = "Of how many shares.", minimum = 1, maximum = 64),
    ),
    responses(
        (status = 200, description = "Every series.", content((String = "text/plain"), (String = "application/openmetrics-text"))),
        Refused,
    ),
)]
pub async fn metrics(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let params = Params::read(request.query_string(), &["shard", "of"])?;
    let of = params.number("of", 1, 1..=64)?;
    let shard = params.number("shard", 1, 1..=of)?;
    let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let chunks = off_thread(move || {
        let (snapshot, topology, now) = app.books.moment();
        let keys = label_keys(&snapshot, &topology.inventory);
        // What hardware says of itself serves to join it with its host; its power state would make new series.
        let is_shown = |key: &&String| !key.starts_with("hw.") || matches!(key.as_str(), "hw.model" | "hw.vendor");
        let names = text::label_names(keys.iter().filter(is_shown).map(String::as_str), &["cluster", "host", "kind"]);
        let scrape = Scrape {
            label_names: names.into_iter().map(|(key, name)| (key.to_owned(), name)).collect(),
            snapshot,
            topology,
            summary: app.summaries.of(&app.books).ok(),
            now,
            format,
            shard: (u8::try_from(shard - 1).unwrap_or(0), u8::try_from(of).unwrap_or(1)),
            per_account: app.books.settings.metrics.per_account,
            all_smi_names: app.books.settings.metrics.all_smi_names,
            accounts_max: app.books.settings.ledger.max_accounts,
        };
        let mut before = String::new();
        if scrape.is_first() {
            process::write(format, &mut before);
            server(&app, format, &mut before);
            scrape.fleet(&mut before);
            cost(&app, format, &mut before);
            super::budgets::metrics(&app, format, &mut before);
            billed(&app, &scrape, &mut before);
        }
        Ok(scrape.chunks(before))
    })
    .await?;
    let body = stream::iter(chunks.map(Ok::<_, std::convert::Infallible>));
    Ok(HttpResponse::Ok()
        .content_type(format.content_type())
        .insert_header((CACHE_CONTROL, "no-store"))
        .streaming(body))
}

/// What this process did, and whether its files are in force.
fn server(app: &App, format: Format, out: &mut String) {
    let build = Family { name: "wattledger_build_info", kind: Kind::Gauge, help: "The version that runs; always 1." };
    format.head(out, &build);
    text::series(out, build.name, [("version", env!("CARGO_PKG_VERSION"))]);
    text::value(out, 1);

    let failed = Family {
        name: "wattledger_file_reload_failed",
        kind: Kind::Gauge,
        help: "1 while a changed file cannot be used and what was in force before still is.",
    };
    let files = [
        (app.books.inventory.path(), app.books.inventory.failure().is_some()),
        (app.books.rates.path(), app.books.rates.failure().is_some()),
        (app.budgets.file.path(), app.budgets.file.failure().is_some()),
    ];
    if files.iter().any(|(path, _)| path.is_some()) {
        format.head(out, &failed);
    }
    for (path, has_failed) in files {
        if let Some(path) = path {
            text::series(out, failed.name, [("file", &*path.to_string_lossy())]);
            text::value(out, u8::from(has_failed));
        }
    }
    let skewed = Family {
        name: "wattledger_clock_skewed_senders",
        kind: Kind::Gauge,
        help: "Agents whose wall clock differs from this aggregator's by more than 30 s: one of them is wrong.",
    };
    format.head(out, &skewed);
    text::series(out, skewed.name, []);
    text::value(out, u64::try_from(app.skews.count()).unwrap_or(u64::MAX));
    for (name, help, value) in app.stats.counters() {
        // Prometheus wants seconds, the counter is in nanoseconds.
        let in_seconds =
            if name == "wattledger_commit_nanoseconds_total" { "wattledger_commit_seconds_total" } else { name };
        format.head(out, &Family { name: in_seconds, kind: Kind::Counter, help });
        text::series(out, in_seconds, []);
        if in_seconds == name {
            text::value(out, value);
        } else {
            text::seconds(out, i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

/// What every host was billed in settled slots: the one counter that is safe to sum.
fn billed(app: &App, scrape: &Scrape, out: &mut String) {
    let billed = match app.billed.of(&app.books) {
        Ok(billed) => billed,
        Err(problem) => return tracing::warn!("billed energy is left out of /metrics: {problem}"),
    };
    let family = Family {
        name: "wattledger_billed_energy_joules_total",
        kind: Kind::Counter,
        help: "Energy billed to a host, overlaps removed, estimates included: safe to sum. Advances by settled slots.",
    };
    scrape.format.head(out, &family);
    let generation = billed.generation(scrape.snapshot.generation);
    for ((cluster, host), uj) in &billed.hosts {
        text::series(out, family.name, [("cluster", &**cluster), ("host", host), ("gen", &generation)]);
        text::joules(out, Energy(uj * MICROJOULE));
    }
}

/// What this month has cost so far; worked out at most every half minute.
fn cost(app: &App, format: Format, out: &mut String) {
    if app.books.hides_money() {
        return;
    }
    let costs = match app.summaries.of(&app.books) {
        Ok(summary) => summary.month.total.cost.clone(),
        Err(problem) => return tracing::warn!("the cost of this month is left out of /metrics: {problem}"),
    };
    let family = Family {
        name: "wattledger_cost_month_to_date",
        kind: Kind::Gauge,
        help: "What the energy of this month costs so far, in the currency of the label; provisional.",
    };
    if !costs.is_empty() {
        format.head(out, &family);
    }
    for cost in costs {
        text::series(out, family.name, [("currency", &*cost.currency.to_string())]);
        text::value(out, cost.amount);
    }
}
