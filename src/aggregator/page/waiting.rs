//! The page that is shown while a large ledger is added up for the first time since the start.

use std::time::Instant;

use askama::Template;

use super::frame::Frame;
use super::words::{self, Figure};
use super::{hosts_line, power};
use crate::app::App;
use crate::http::problem::Problem;

/// What is known at once, and that the rest will come.
#[derive(Template)]
#[template(path = "waiting.html")]
pub struct WaitingPage {
    frame: Frame,
    power: Option<Figure>,
    hosts_line: String,
    hosts: String,
    waited: String,
}

impl WaitingPage {
    /// What there is to see of a ledger that is being added up since then.
    ///
    /// # Errors
    /// None of its own: power is in memory.
    pub fn new(app: &App, since: Instant) -> Result<Self, Problem> {
        let board = app.boards.of(&app.books)?;
        Ok(Self {
            frame: Frame::before_sums(app, &board),
            power: board.watts.map(power),
            hosts_line: hosts_line(board.states),
            hosts: match board.hosts.len() {
                1 => "one host".into(),
                hosts => format!("{} hosts", words::grouped(&hosts.to_string())),
            },
            waited: words::ago(since.elapsed().as_secs()),
        })
    }
}
