//! Live power: the board of now, told once a second for as long as anybody listens.

use actix_web::web;
use tokio::time::MissedTickBehavior;

use crate::app::App;
use crate::events::EVERY;

/// Tells the news for ever.
pub async fn follow(app: web::Data<App>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if !app.events.is_heard() {
            continue;
        }
        let asked = app.clone();
        if let Ok(Ok(board)) = web::block(move || asked.boards.of(&asked.books)).await {
            app.events.tell_power(&board);
        }
    }
}
