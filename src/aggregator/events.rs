//! The fleet's power as a stream: worked out once a second for everybody who listens, and not at all for nobody.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::board::Board;
use crate::hosts_view::watts;
use crate::page::words;
use crate::query::rfc3339;
use crate::vitals::HostState;

/// Most listeners at a time: each holds a connection and no more than one message.
pub const LISTENERS_MAX: usize = 256;
/// How often there is news.
pub const EVERY: Duration = Duration::from_secs(1);

/// What listeners see.
#[derive(Clone, Debug)]
pub enum News {
    /// Nothing yet.
    None,
    /// The fleet's power, as JSON.
    Power(Arc<str>),
    /// The aggregator ends.
    End,
}

/// Where listeners come and news goes out.
#[derive(Debug)]
pub struct Events {
    news: watch::Sender<News>,
    seats: Arc<Semaphore>,
}

impl Default for Events {
    fn default() -> Self {
        Self { news: watch::Sender::new(News::None), seats: Arc::new(Semaphore::new(LISTENERS_MAX)) }
    }
}

impl Events {
    /// A seat, for as long as the permit is held; nothing if all are taken.
    #[must_use]
    pub fn listen(&self) -> Option<(watch::Receiver<News>, OwnedSemaphorePermit)> {
        let permit = Arc::clone(&self.seats).try_acquire_owned().ok()?;
        Some((self.news.subscribe(), permit))
    }

    /// Ends every stream.
    pub fn end(&self) {
        self.news.send_replace(News::End);
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.news.receiver_count() > 0
    }

    /// Tells what the fleet draws.
    pub fn tell_power(&self, board: &Board) {
        self.tell(News::Power(message(board).into()));
    }

    /// After the end there is no news.
    fn tell(&self, news: News) {
        self.news.send_if_modified(|now| {
            let goes_on = !matches!(now, News::End);
            if goes_on {
                *now = news;
            }
            goes_on
        });
    }
}

/// The fleet's power in watts, as people read it too, and how many hosts are how; null where nothing fresh is known.
fn message(board: &Board) -> String {
    let power = board.watts.map(watts);
    let shown = power.map(words::power);
    let hosts: serde_json::Map<_, _> = HostState::ALL
        .into_iter()
        .zip(board.states)
        .map(|(state, count)| (state.word().into(), count.into()))
        .collect();
    json!({
        "as_of": rfc3339(board.as_of), "watts": power, "hosts": hosts,
        "shown": shown.map(|figure| json!({ "number": figure.number, "unit": figure.unit })),
    })
    .to_string()
}
