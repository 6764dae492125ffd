//! What everybody sees first, kept ready from the start on.

use std::time::{Duration, Instant};

use actix_web::web;

use crate::app::App;
use crate::asked::Asked;
use crate::page::view::View;
use crate::query::label_keys;
use crate::report::gather::default_grouping;

/// How often it is looked whether anything is to be made anew.
const TICK: Duration = Duration::from_secs(1);
/// How often who waits for the first figures looks for them.
const LOOK: Duration = Duration::from_millis(20);

/// What everybody sees first.
fn first_view(app: &App) -> Asked {
    let (snapshot, topology, _) = app.books.moment();
    View::default().asked(&default_grouping(&label_keys(&snapshot, &topology.inventory)))
}

/// Keeps ready what everybody sees first, for ever.
pub async fn follow(app: web::Data<App>) {
    loop {
        // Nothing is worth keeping of a ledger without owners, and it is to be seen at once when they come.
        if !is_empty(&app) {
            let app = app.clone();
            let _ = web::block(move || keep_ready(&app)).await;
        }
        tokio::time::sleep(TICK).await;
    }
}

/// Waits until what everybody sees first was made for the first time since the start, for at most so long: of a
/// large fleet it takes many seconds. If it was not, since when it is being made.
pub async fn ready(app: &web::Data<App>, patience: Duration) -> Result<(), Instant> {
    if app.first.is_made() || is_empty(app) {
        return Ok(());
    }
    if app.first.begin() {
        let app = app.clone();
        actix_web::rt::spawn(web::block(move || keep_ready(&app)));
    }
    let begin = Instant::now();
    while !app.first.is_made() {
        if begin.elapsed() >= patience {
            return Err(app.first.since());
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

fn keep_ready(app: &App) {
    app.first.begin();
    app.boards.keep_up(&app.books);
    app.summaries.keep_up(&app.books);
    app.answers.keep_up(&app.books, &app.statements, &first_view(app));
    // Also if it failed: who asks for it is then told why.
    app.first.end();
}

fn is_empty(app: &App) -> bool {
    app.books.published.load().owners().next().is_none()
}
