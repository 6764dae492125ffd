//! Works budgets out and sends their messages, for as long as the process runs.

use std::time::Duration;

use actix_web::web;

use super::{EVERY, named};
use crate::app::App;

/// How often it is looked whether anything is due.
const TICK: Duration = Duration::from_secs(1);

/// Works out standings and sends messages for ever.
pub async fn follow(app: web::Data<App>) {
    loop {
        tokio::time::sleep(TICK).await;
        if app.budgets.file.load().0.is_empty() {
            continue;
        }
        let this = app.clone();
        match web::block(move || this.budgets.standings(&this.books, EVERY)).await {
            Ok(Ok(_)) => {}
            Ok(Err(problem)) => tracing::warn!("budgets stand still: {problem}"),
            Err(error) => tracing::error!("working out budgets panicked: {error}"),
        }
        send_due(&app).await;
    }
}

/// Sends every message that is due.
async fn send_due(app: &web::Data<App>) {
    let this = app.clone();
    // Whoever works standings out holds the lock for as long as that takes.
    let due = web::block(move || this.budgets.due((this.books.now)())).await.unwrap_or_default();
    for (month, crossing) in due {
        let book = app.budgets.file.load();
        let next = app.budgets.messenger.send(named(&book, &crossing.budget), crossing, app.books.now).await;
        let this = app.clone();
        let kept = web::block(move || this.budgets.lock().crossings.update(&month, next, &this.books)).await;
        if !matches!(kept, Ok(Ok(()))) {
            // What became of it is not on disk: it may be sent again, with the same id.
            tracing::warn!("what became of a budget's message could not be kept");
        }
    }
}
