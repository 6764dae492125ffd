//! What every page has around it, and the page that says what is wrong.

use std::sync::LazyLock;

use actix_web::ResponseError as _;
use askama::Template;
use jiff::tz::TimeZone;
use meter::Utc;

use crate::app::App;
use crate::board::Board;
use crate::http::problem::Problem;
use crate::summary::Summary;

/// The style of all pages.
pub const STYLE: &str = include_str!("../templates/page.css");
/// The script of all pages.
pub const SCRIPT: &str = include_str!("../templates/live.js");

/// Style and script change their address with their content, so that they can be kept for ever.
pub static ASSETS: LazyLock<String> = LazyLock::new(|| {
    let hash = blake3::hash([STYLE, SCRIPT].concat().as_bytes());
    hash.to_hex().as_str().chars().take(12).collect()
});

/// What stands around a page.
pub struct Frame {
    pub(super) version: &'static str,
    pub(super) assets: &'static str,
    pub(super) as_of: String,
    pub(super) zone: String,
    pub(super) banners: Vec<String>,
}

/// A link, and whether it leads to where one is.
pub struct Link {
    pub(super) name: String,
    pub(super) href: String,
    pub(super) is_here: bool,
}

/// A page that says what is wrong with a request.
#[derive(Template)]
#[template(path = "problem.html")]
pub struct ProblemView {
    frame: Frame,
    title: &'static str,
    detail: String,
    code: &'static str,
    /// What to do, and where.
    hint: Option<(&'static str, &'static str)>,
}

impl Link {
    pub(super) const fn to(name: String, href: String) -> Self {
        Self { name, href, is_here: false }
    }
}

impl Frame {
    pub(super) fn new(app: &App, board: &Board, summary: &Summary) -> Self {
        Self {
            as_of: local_time(board.as_of, &summary.zone.tz, "%Y-%m-%d %H:%M:%S"),
            zone: summary.zone.name.clone(),
            banners: banners(app, board),
            ..Self::bare()
        }
    }

    /// What stands around a page that has no sums yet.
    pub(super) fn before_sums(app: &App, board: &Board) -> Self {
        Self { banners: banners(app, board), ..Self::bare() }
    }

    fn bare() -> Self {
        let (as_of, zone, banners) = (String::new(), String::new(), Vec::new());
        Self { version: env!("CARGO_PKG_VERSION"), assets: ASSETS.as_str(), as_of, zone, banners }
    }
}

impl ProblemView {
    /// The page of a problem.
    #[must_use]
    pub fn new(problem: &Problem) -> Self {
        let title = match problem.status_code().as_u16() {
            404 => "There is no such page",
            409 => "Which one?",
            status if status < 500 => "This view cannot be shown",
            _ => "The aggregator could not answer",
        };
        let (detail, code) = (problem.detail().to_owned(), problem.code());
        Self { frame: Frame::bare(), title, detail, code, hint: hint(code) }
    }
}

/// What to do about what is not there.
fn hint(code: &str) -> Option<(&'static str, &'static str)> {
    match code {
        "no-such-owner" => Some(("Look for its name in the list of all hosts", "/?by=host&sort=name")),
        "no-such-device" => Some(("Look for it on its host's page: all hosts", "/?by=host&sort=name")),
        _ => None,
    }
}

fn banners(app: &App, board: &Board) -> Vec<String> {
    let mut banners = Vec::new();
    let (simulated, of) = (board.simulated(), board.hosts.len());
    if simulated > 0 {
        banners.push(format!("Simulated or replayed data: {simulated} of {of} hosts are not live machines."));
    }
    let files = [
        ("inventory", app.books.inventory.path(), app.books.inventory.failure()),
        ("rates", app.books.rates.path(), app.books.rates.failure()),
        ("budgets", app.budgets.file.path(), app.budgets.file.failure()),
    ];
    for (what, path, failure) in files {
        if let Some((path, why)) = path.zip(failure) {
            let path = path.display();
            banners.push(format!(
                "The {what} file {path} changed and cannot be used, so the one before stays in force. {why}"
            ));
        }
    }
    let reasons = app.health.reasons();
    if !reasons.is_empty() {
        banners.push(format!(
            "Readings cannot be booked now: {}. Agents keep them and send them later.",
            reasons.join("; ")
        ));
    }
    banners
}

/// The instant in a zone.
pub(super) fn local_time(at: Utc, tz: &TimeZone, format: &str) -> String {
    let timestamp = jiff::Timestamp::from_nanosecond(i128::from(at.0));
    timestamp
        .map_or_else(|_| String::new(), |at| at.to_zoned(tz.clone()).strftime(format).to_string().trim().to_owned())
}
