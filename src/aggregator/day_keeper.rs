//! Keeps the day book: pages of days that are over, made in the background with a small share of one core.

use std::time::{Duration, Instant};

use actix_web::web;
use billing::keeping::make_one;
use billing::{BillingError, Figures, rests};

use crate::app::App;

/// Between two looks at all days.
const EVERY: Duration = Duration::from_secs(300);
/// Looks at all days now and then, and makes the pages of those that have none that hold. Never returns.
pub async fn keep_up(app: web::Data<App>) {
    loop {
        let mut until = None;
        loop {
            let (begun, app) = (Instant::now(), app.clone());
            // Off the threads that answer; the figures are those of the moment, each time.
            let looked = web::block(move || look(&app, until)).await;
            tokio::time::sleep(rests(Duration::ZERO, begun.elapsed())).await;
            match looked {
                Ok(Ok(Some(next))) => until = Some(next),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => {
                    tracing::warn!("the day book stands still: {error}");
                    break;
                }
                // The process ends.
                Err(_) => return,
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Looks at the days before `until`; makes the newest that needs it. Tells before which day to go on.
fn look(app: &App, until: Option<i32>) -> Result<Option<i32>, BillingError> {
    let Some(book) = app.books.days.get() else { return Ok(None) };
    let (snapshot, topology, now) = app.books.moment();
    let figures = Figures { days: None, ..app.books.figures(&snapshot, &topology, now) };
    make_one(book, &figures, until, &|| !app.health.is_draining())
}
