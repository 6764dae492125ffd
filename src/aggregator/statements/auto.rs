//! Months close by themselves, a few days after their end, if enough is known of them.

use std::time::Duration;

use actix_web::web;
use cost::closing::Head;
use meter::Utc;

use super::close::Order;
use crate::app::App;
use crate::http::problem::Problem;
use crate::query::Params;
use crate::query::Zone;
use crate::statements::desk::Desk;
use crate::statements::unpriced::notice;

/// How long after the start the first look is taken: agents send what they kept first.
const FIRST: Duration = Duration::from_secs(900);
/// How often a look is taken.
const EVERY: Duration = Duration::from_secs(3600);

/// Who closed it, where nobody did.
const ITSELF: &str = "wattledger";

/// Closes months for ever.
pub async fn follow(app: web::Data<App>) {
    tokio::time::sleep(FIRST).await;
    loop {
        let looking = app.clone();
        if web::block(move || look(&looking)).await.is_err() {
            tracing::error!("closing a month panicked; it stays open");
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Closes every site of last month that is due, has enough coverage and is still open. Blocks while the
/// store is read.
pub fn look(app: &App) {
    let settings = &app.books.settings;
    let zone = Zone::of(&settings.server.timezone);
    let period = zone.ok().and_then(|zone| due(settings.statements.close_after_day, (app.books.now)(), &zone));
    let Some(period) = period else { return };
    for site in open_sites(app, &period) {
        let order = Order { period: period.clone(), site: Some(site.clone()), by: ITSELF.into(), ..Order::default() };
        let closed = desk(app).and_then(|desk| desk.close(order, &app.acts, "itself"));
        match closed {
            Ok(heads) => {
                heads.iter().for_each(|head: &Head| tracing::info!("closed {period} at {site:?}: {}", head.id));
                heads.iter().filter_map(notice).for_each(|told| tracing::warn!("closed with energy unpriced: {told}"));
            }
            Err(problem) => tracing::warn!("{period} at {site:?} stays open: {problem}"),
        }
    }
}

fn desk(app: &App) -> Result<Desk<'_>, Problem> {
    Desk::new(&app.books, &app.statements, &Params::default())
}

/// Last month in a zone, once its day to close has come; never if that is 0.
fn due(day: u32, now: Utc, zone: &Zone) -> Option<String> {
    let now = jiff::Timestamp::from_nanosecond(i128::from(now.0)).ok()?.to_zoned(zone.tz.clone());
    if day == 0 || u32::try_from(now.day()).ok()? < day {
        return None;
    }
    let last = now.date().first_of_month().yesterday().ok()?;
    Some(last.strftime("%Y-%m").to_string())
}

/// The sites of a month that are not closed.
fn open_sites(app: &App, period: &str) -> Vec<String> {
    let list = app.statements.list();
    let is_closed = |site: &String| list.iter().any(|entry| entry.head.period == period && entry.head.site == *site);
    let mut sites = desk(app).and_then(|desk| desk.sites_of(period)).unwrap_or_else(|problem| {
        tracing::warn!("the sites of {period} are not known: {problem}");
        Vec::new()
    });
    sites.retain(|site| !is_closed(site));
    sites
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_month_is_due_from_its_day_on() {
        let at = |text: &str| cost::window::read_instant(text).expect(text);
        let (utc, paris) = (Zone::of("UTC").expect("a zone"), Zone::of("Europe/Paris").expect("a zone"));
        assert_eq!(due(5, at("2026-11-04T23:59:59Z"), &utc), None);
        assert_eq!(due(5, at("2026-11-05T00:00:00Z"), &utc).as_deref(), Some("2026-10"));
        assert_eq!(due(5, at("2026-11-04T23:00:00Z"), &paris).as_deref(), Some("2026-10"), "it is the fifth there");
        assert_eq!(due(1, at("2027-01-01T00:00:00Z"), &utc).as_deref(), Some("2026-12"));
        assert_eq!(due(0, at("2026-11-28T00:00:00Z"), &utc), None, "switched off");
    }
}
