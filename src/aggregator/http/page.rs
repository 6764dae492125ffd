//! `GET /`: the page, with headers that let nothing but itself in.

use std::fmt::Write as _;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template as _;

use super::problem::Problem;
use super::read::off_thread;
use crate::app::App;
use crate::page::PageView;

/// Renders the page.
///
/// # Errors
/// A problem if the store fails.
pub async fn page(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let server = {
        let connection = request.connection_info();
        format!("{}://{}", connection.scheme(), connection.host())
    };
    let nonce = nonce()?;
    let style = format!("'nonce-{nonce}'");
    let html = off_thread(move || {
        let summary = app.summaries.of(&app)?;
        let view = PageView::new(&app, &summary, server, nonce);
        view.render().map_err(|error| Problem::internal("render the page", &error))
    })
    .await?;
    let policy = format!(
        "default-src 'self'; style-src {style}; img-src 'self' data:; script-src 'none'; object-src 'none'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", policy))
        .insert_header(("x-content-type-options", "nosniff"))
        .insert_header(("referrer-policy", "no-referrer"))
        .insert_header(("cache-control", "no-store"))
        .body(html))
}

/// A number used once, so that the page's own style is the only one that counts.
fn nonce() -> Result<String, Problem> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| Problem::internal("draw a random number", &error))?;
    Ok(bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}
