//! `GET /api/v1/rates`: what applies now at each site, until when, and what comes next.

use std::collections::{BTreeMap, BTreeSet};

use actix_web::{HttpRequest, HttpResponse, web};
use cost::rates::outlook::{Outlook, SitePrice, labels};
use meter::{Labels, OwnerKind};

use super::listing::Page;
use super::openapi::parameters::PageParameters;
use super::openapi::problems::{Hidden, Refused};
use super::problem::Problem;
use super::respond::{json, off_thread};
use crate::app::App;
use crate::query::Params;

/// Answers the request.
///
/// # Errors
/// A problem that names the parameter at fault.
#[utoipa::path(
    get, path = "/api/v1/rates", tag = "billing", summary = "What applies now at each site, until when, and what comes next",
    params(PageParameters),
    responses((status = 200, description = "A page of the prices in force; every file of slots.", body = Outlook), Refused, Hidden),
)]
pub async fn rates(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = Page::read(&Params::read(request.query_string(), &["limit", "cursor"])?)?;
    if app.books.hides_money() {
        return Err(Problem::cost_hidden("rates are prices"));
    }
    let outlook = off_thread(move || {
        let ((snapshot, topology, now), card) = (app.books.moment(), app.books.rates.load());
        let hosts = snapshot.owners().filter(|view| view.state.owner.kind == OwnerKind::Host);
        let sites: BTreeSet<String> = hosts
            .map(|view| {
                let labels = topology.inventory.labels(&view.state.owner, now, &view.state.labels);
                labels.get("site").cloned().unwrap_or_default()
            })
            .collect();
        let keyed: BTreeMap<String, Labels> =
            labels(&card, sites).into_iter().map(|labels| (price_key(&labels), labels)).collect();
        let paged = page.of(keyed, |labels| Some(SitePrice::of(&card, labels, now.slot())));
        let file = app.books.rates.path().map(|path| path.display().to_string());
        let failure = app.books.rates.failure().map(|why| why.to_string());
        let (prices, next_cursor) = (paged.items, paged.next_cursor);
        Ok(Outlook { file, failure, prices, next_cursor, ..Outlook::of(&card, now) })
    });
    outlook.await.map(|outlook| json(&outlook))
}

/// The key that prices are listed by: those for every other host first.
fn price_key(labels: &Labels) -> String {
    labels.iter().map(|(key, value)| format!("{key}\0{value}\0")).collect()
}
