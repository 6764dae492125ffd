//! `wattledger top`: the fleet in a terminal, live.
//!
//! `state` is what is shown and how keys and news change it, `draw` shows it, `ask` asks the aggregator, `screen` has
//! the terminal. Memory is bounded by the rows that the aggregator answers with, at most 10,000 groups of power.

mod answers;
mod ask;
mod draw;
mod help;
mod rows;
mod screen;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod text;

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use crate::client::{self, DEFAULT_SERVER};
use crate::error::ConsoleError;
use crate::terminal::look;

/// What to show, and how.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// The aggregator
    #[arg(long, value_name = "URL", env = "WATTLEDGER_URL", default_value = DEFAULT_SERVER)]
    pub server: String,
    /// Seconds between questions; a slow aggregator is asked less often
    #[arg(long, value_name = "SECONDS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub interval: u16,
    /// Without colour; so is it where NO_COLOR is set
    #[arg(long)]
    pub no_color: bool,
}

/// Shows the fleet until somebody quits. The terminal is as before then, also after a panic or a signal.
///
/// # Errors
/// [`ConsoleError`] if there is no terminal that can show it, or it goes away.
pub async fn top(args: &TopArgs) -> Result<(), ConsoleError> {
    client::check(&args.server)?;
    if !std::io::stdout().is_terminal() {
        let told = "top needs a terminal to show the fleet in; for a file or a pipe use `wattledger report`";
        return Err(ConsoleError::Usage(told.into()));
    }
    if std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb") {
        let told = "top needs a terminal that can move its cursor, and TERM says that this one cannot; \
                    set TERM, or use `wattledger report`";
        return Err(ConsoleError::Usage(told.into()));
    }
    let is_coloured = !args.no_color && look().color;
    let interval = Duration::from_secs(args.interval.into());
    screen::show(&args.server, interval, is_coloured).await.map_err(ConsoleError::Terminal)
}
