//! The aggregator's life: build, spawn, serve, and tear down in the reverse order.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter};
use actix_web::dev::ServerHandle;
use actix_web::web;
use billing::daybook::DayBook;
use billing::inventory::read::inventory_file;
use billing::inventory::{Inventory, Retirements};
use billing::published::{Published, Snapshot};
use billing::topology::Topologies;
use cost::RateCard;
use energy::Ledger;
use meter::{SECOND_NS, Utc};
use store::{How, Opened, Store};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use crate::AggregatorError;
use crate::acts::Acts;
use crate::answers::Answers;
use crate::app::{App, Stats, wall_clock};
use crate::billed::BilledCounters;
use crate::board::Boards;
use crate::books::Books;
use crate::budgets::{self, Budgets, follow_budgets};
use crate::day_keeper;
use crate::door::LedgerDoor;
use crate::events::Events;
use crate::exports::{Exporter, Exports};
use crate::first::First;
use crate::health::Health;
use crate::jobs;
use crate::ledger_actor::{Drain, LedgerActor, Links};
use crate::live;
use crate::persist::{self, LoadError};
use crate::query::rfc3339;
use crate::rates::rate_card;
use crate::ready;
use crate::recent::RecentPower;
use crate::refused::RefusedMachines;
use crate::settings::Settings;
use crate::shutdown::{self, DeathWatch};
use crate::skews::Skews;
use crate::statements::late::Late;
use crate::statements::{self, Statements};
use crate::store_actor::{Export, StoreActor};
use crate::summary::Summaries;
use crate::watched::Watched;
use crate::whereabouts;

mod serving;

use serving::serve;

/// Exports kept in the data directory.
const EXPORTS_KEPT: usize = 3;
/// Clocks without a battery begin at 1970, 1980 or 2000; before 2010 no clock was set that runs this program.
const CLOCK_MIN_S: i64 = 1_262_304_000;
/// What a shutdown may take, together less than 5 s: for requests under way…
const CLOSE_MAX: Duration = Duration::from_secs(2);
/// …for the last commit…
const DRAIN_MAX: Duration = Duration::from_millis(1500);
/// …for the last export (one that is cut off leaves the one before it in place)…
const EXPORT_MAX: Duration = Duration::from_millis(800);
/// …and for the threads of the actors to end.
const JOIN_MAX: Duration = Duration::from_millis(200);

/// What an aggregator is built from. [`start`] fills it in; tests bring their own store and clock.
pub struct Parts {
    /// The configuration.
    pub settings: Settings,
    /// The store.
    pub store: Arc<dyn Store>,
    /// How exports are written, for stores that need them.
    pub exporter: Option<Exporter>,
    /// The clock.
    pub now: fn() -> Utc,
    /// What happens if an actor dies.
    pub on_death: fn(&'static str),
}

/// An aggregator that serves. Dropping it abandons it; [`Running::stop`] ends it in good order.
pub struct Running {
    /// Where it listens.
    pub addr: SocketAddr,
    /// What its requests share.
    pub app: web::Data<App>,
    server: ServerHandle,
    serving: JoinHandle<std::io::Result<()>>,
    followers: Vec<JoinHandle<()>>,
    actors: Actors,
}

struct Actors {
    ledger: Addr<LedgerActor>,
    store: Addr<StoreActor>,
    arbiters: Vec<Arbiter>,
}

/// Serves until SIGTERM or SIGINT; prints one line on stdout once it is ready.
///
/// # Errors
/// [`AggregatorError`] if it cannot start.
pub async fn run(settings: Settings) -> Result<(), AggregatorError> {
    // Before anybody is told that it runs: who stops it at once wants a good end as well.
    let signals = shutdown::Signals::new().map_err(AggregatorError::Signals)?;
    let running = start(settings).await?;
    announce(running.addr)?;
    let signal = signals.any().await;
    tracing::info!("{signal}: shutting down");
    running.stop().await;
    Ok(())
}

#[expect(clippy::print_stdout, reason = "scripts wait for this line")]
fn announce(addr: SocketAddr) -> Result<(), AggregatorError> {
    println!("listening on http://{addr}");
    std::io::Write::flush(&mut std::io::stdout()).map_err(AggregatorError::Signals)
}

/// Starts an aggregator on the embedded store, inside a running actix `System`.
///
/// # Errors
/// [`AggregatorError`] if the settings, the clock, the store or the files cannot be used or the address is taken.
pub async fn start(settings: Settings) -> Result<Running, AggregatorError> {
    // Before the store is touched: a bad address or one that is taken must neither make a ledger nor cost a restore.
    drop(listen(&settings)?);
    require_clock(wall_clock())?;
    let data = settings.data_dir();
    let exports = data.join("exports");
    let now_ms = u64::try_from(wall_clock().0 / 1_000_000).unwrap_or(0);
    let opened = store::open_or_restore(&data, &exports, now_ms)?;
    tell(&opened, &data);
    let exporter = move |store: &dyn Store| store::export_to(store, &exports, EXPORTS_KEPT).map(drop);
    let running = start_on(Parts {
        settings,
        store: Arc::new(opened.store),
        exporter: Some(Box::new(exporter)),
        now: wall_clock,
        on_death: shutdown::exit,
    })?;
    whereabouts::leave(&data, running.addr);
    Ok(running.with_day_book(&data.join("days")))
}

/// Whoever is first heard of is dated by this clock until its next boot: one that was never set (a board
/// without a battery) would date a whole fleet in 1970.
fn require_clock(now: Utc) -> Result<(), AggregatorError> {
    if now.0 < CLOCK_MIN_S * SECOND_NS { Err(AggregatorError::Clock(rfc3339(now))) } else { Ok(()) }
}

fn tell(opened: &Opened, data: &Path) {
    let data = data.display();
    match &opened.how {
        How::Fresh => tracing::info!("a new ledger in {data}"),
        How::Existing => tracing::info!("the ledger in {data}"),
        How::Restored { from, quarantined, why } => {
            for why in why {
                tracing::warn!("{why}");
            }
            if let Some(aside) = quarantined {
                tracing::warn!("the damaged database was set aside as {}", aside.display());
            }
            match from {
                Some(export) => tracing::warn!("restored from {}; agents send what is newer", export.display()),
                None => tracing::warn!("no good export was found: the ledger begins empty; agents send what they keep"),
            }
        }
    }
}

/// Starts an aggregator from its parts, inside a running actix `System`.
///
/// # Errors
/// As [`start`].
pub fn start_on(parts: Parts) -> Result<Running, AggregatorError> {
    let (ledger, snapshot) = load(&*parts.store, &parts.settings, (parts.now)())?;
    let acts = Acts::load(Arc::clone(&parts.store))?;
    let statements = Statements::load(Arc::clone(&parts.store))?;
    let inventory = Arc::new(follow_inventory(&parts.settings, acts.retirements())?);
    let rates = Arc::new(follow_rates(&parts.settings)?);
    let budgets = Arc::new(follow_budgets(&parts.settings).map_err(AggregatorError::Configuration)?);
    let listener = listen(&parts.settings)?;
    let addr = listener.local_addr().map_err(|source| cannot_listen(&parts.settings, source))?;

    let shared = Shared {
        published: Arc::new(Published::new(snapshot)),
        stats: Arc::default(),
        health: Arc::default(),
        recent: Arc::new(RecentPower::new(parts.settings.recent.hosts)),
        late: Arc::clone(&statements.late),
    };
    let (store, settings, now) = (Arc::clone(&parts.store), parts.settings.clone(), parts.now);
    let actors = spawn(ledger, parts, &shared);
    let books = Books {
        published: shared.published,
        identity: store.identity(),
        store,
        inventory: Arc::clone(&inventory),
        topologies: Topologies::default(),
        rates: Arc::clone(&rates),
        now,
        days: OnceLock::new(),
        settings,
    };
    let app = web::Data::new(App {
        ledger: LedgerDoor::new(books.settings.limits.in_flight_bytes, actors.ledger.clone().recipient()),
        books,
        stats: shared.stats,
        health: shared.health,
        recent: shared.recent,
        summaries: Summaries::default(),
        boards: Boards::default(),
        answers: Answers::default(),
        first: First::default(),
        events: Events::default(),
        billed: BilledCounters::default(),
        budgets: Budgets::new(Arc::clone(&budgets)),
        acts,
        statements,
        refused: RefusedMachines::default(),
        skews: Skews::default(),
        backups: Arc::new(Semaphore::new(1)),
    });
    let followers = vec![
        actix_rt::spawn(inventory.follow()),
        actix_rt::spawn(rates.follow()),
        actix_rt::spawn(statements::auto::follow(app.clone())),
        actix_rt::spawn(budgets.follow()),
        actix_rt::spawn(budgets::following::follow(app.clone())),
        actix_rt::spawn(jobs::following::follow(app.clone())),
        actix_rt::spawn(ready::follow(app.clone())),
        actix_rt::spawn(live::follow(app.clone())),
    ];
    let (server, serving) = serve(listener, app.clone())?;
    Ok(Running { addr, app, server, serving, followers, actors })
}

/// Every row of the store, into the ledger and the first snapshot.
fn load(store: &dyn Store, settings: &Settings, now: Utc) -> Result<(Ledger, Snapshot), AggregatorError> {
    let start = Instant::now();
    let (ledger, snapshot) = persist::open(store, settings.policy(), now).map_err(|error| match error {
        LoadError::Store(error) => AggregatorError::Store(error),
        LoadError::Row(owner, why) => AggregatorError::Row { owner: owner.to_string(), why },
    })?;
    let owners = snapshot.owners().count();
    let accounts = snapshot.owners().map(|view| view.state.keys.len()).sum::<usize>();
    tracing::info!("{owners} owners with {accounts} accounts loaded in {:.1} s", start.elapsed().as_secs_f64());
    Ok((ledger, snapshot))
}

fn follow_inventory(settings: &Settings, retirements: Arc<Retirements>) -> Result<Watched<Inventory>, AggregatorError> {
    let with = move |inventory: Inventory| inventory.with_retirements(Arc::clone(&retirements));
    match settings.files.inventory.as_str() {
        "" => Ok(Watched::fixed(with(Inventory::default()))),
        path => {
            let read = move |path: &Path| inventory_file(path).map(&with).map_err(|error| error.to_string());
            Watched::open(path, read).map_err(AggregatorError::Configuration)
        }
    }
}

fn follow_rates(settings: &Settings) -> Result<Watched<RateCard>, AggregatorError> {
    match settings.files.rates.as_str() {
        "" => Ok(Watched::fixed(RateCard::default())),
        path => Watched::open_with(path, rate_card).map_err(AggregatorError::Configuration),
    }
}

fn listen(settings: &Settings) -> Result<TcpListener, AggregatorError> {
    let addresses = settings.addresses()?;
    let listener = TcpListener::bind(&*addresses).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|source| cannot_listen(settings, source))
}

fn cannot_listen(settings: &Settings, source: std::io::Error) -> AggregatorError {
    AggregatorError::Listen { address: settings.server.listen.clone(), source }
}

/// What actors and requests share.
struct Shared {
    published: Arc<Published>,
    stats: Arc<Stats>,
    health: Arc<Health>,
    recent: Arc<RecentPower>,
    late: Arc<Late>,
}

/// The two actors, each on a thread of its own.
fn spawn(ledger: Ledger, parts: Parts, shared: &Shared) -> Actors {
    let arbiters = vec![Arbiter::new(), Arbiter::new()];
    let watch = |actor| DeathWatch { actor, health: Arc::clone(&shared.health), on_death: parts.on_death };
    let exports =
        parts.exporter.map(|exporter| Exports::new(Arc::clone(&parts.store), exporter, Arc::clone(&shared.stats)));
    let store = StoreActor {
        store: parts.store,
        stats: Arc::clone(&shared.stats),
        exports: exports.map(Arc::new),
        export_every: Duration::from_secs(parts.settings.store.export_every_s),
        watch: watch("store"),
    };
    let store = StoreActor::start_in_arbiter(&arbiters[0].handle(), |_| store);
    let links = Links {
        store: store.clone().recipient(),
        reload: store.clone().recipient(),
        published: Arc::clone(&shared.published),
        recent: Arc::clone(&shared.recent),
        late: Arc::clone(&shared.late),
        stats: Arc::clone(&shared.stats),
        health: Arc::clone(&shared.health),
        now: parts.now,
        watch: watch("ledger"),
    };
    let mailbox = LedgerDoor::mailbox(parts.settings.limits.in_flight_bytes);
    let actor = LedgerActor::new(ledger, links, mailbox);
    let ledger = LedgerActor::start_in_arbiter(&arbiters[1].handle(), |_| actor);
    Actors { ledger, store, arbiters }
}

impl Running {
    /// Keeps a day book in a folder, unless the settings want none. Without it everything works, but slower.
    #[must_use]
    pub fn with_day_book(mut self, directory: &Path) -> Self {
        let max_bytes = self.app.books.settings.store.day_book_mib.saturating_mul(1 << 20);
        if max_bytes == 0 {
            return self;
        }
        match DayBook::open(directory, self.app.books.identity, max_bytes) {
            Ok(book) => {
                if self.app.books.days.set(book).is_ok() {
                    self.followers.push(actix_rt::spawn(day_keeper::keep_up(self.app.clone())));
                }
            }
            Err(error) => tracing::warn!("no day book is kept: {}: {error}", directory.display()),
        }
        self
    }

    /// Stops accepting, commits what was applied, exports, and ends; within 5 s even if clients keep
    /// their connections open.
    pub async fn stop(mut self) {
        self.app.budgets.end();
        self.app.events.end();
        for follower in self.followers.drain(..) {
            follower.abort();
        }
        // Idle connections are cut at the end of the time for requests under way.
        if tokio::time::timeout(CLOSE_MAX + Duration::from_millis(300), self.server.stop(true)).await.is_err() {
            drop(self.server.stop(false));
        }
        self.serving.abort();

        let (done, drained) = oneshot::channel();
        let sent = self.actors.ledger.try_send(Drain { done });
        if sent.is_err() || !matches!(tokio::time::timeout(DRAIN_MAX, drained).await, Ok(Ok(()))) {
            tracing::error!("the last commit did not end in time; agents send it again");
        }
        self.app.health.drain();
        if tokio::time::timeout(EXPORT_MAX, self.actors.store.send(Export)).await.is_err() {
            tracing::warn!("the last export did not end in time; the one before it stays");
        }
        // The store is closed when its thread has ended.
        let arbiters = std::mem::take(&mut self.actors.arbiters);
        let ended = web::block(move || {
            for arbiter in arbiters {
                arbiter.stop();
                let _ = arbiter.join();
            }
        });
        let _ = tokio::time::timeout(JOIN_MAX, ended).await;
        tracing::info!("stopped");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The actors end with whoever holds this: that is no death.
        self.app.health.drain();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_never_set_is_told_from_one_that_was() {
        for (seconds, shows) in [(0, "1970-01-01T00:00:00Z"), (CLOCK_MIN_S - 1, "2009-12-31T23:59:59Z")] {
            let error = require_clock(Utc(seconds * SECOND_NS)).expect_err("it is not set").to_string();
            assert!(error.contains(shows), "{error}");
        }
        require_clock(Utc(CLOCK_MIN_S * SECOND_NS)).expect("it is set");
        require_clock(wall_clock()).expect("so is that of whoever runs the tests");
    }
}
