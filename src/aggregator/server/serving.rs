//! The HTTP server: its limits, and what each answer passes on its way out.

use std::net::TcpListener;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::middleware::{Compress, from_fn};
use actix_web::{HttpServer, web};
use tokio::task::JoinHandle;

use super::CLOSE_MAX;
use crate::app::App;
use crate::{AggregatorError, http};

/// How to stop, and what ends when it has.
type Serving = (ServerHandle, JoinHandle<std::io::Result<()>>);

/// Serves every route on a listener.
pub(super) fn serve(listener: TcpListener, app: web::Data<App>) -> Result<Serving, AggregatorError> {
    let limits = app.books.settings.limits.clone();
    let workers = match app.books.settings.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    };
    let shared = app.clone();
    let factory = move || {
        actix_web::App::new()
            .app_data(shared.clone())
            .wrap(from_fn(http::transfer::choose))
            .wrap(Compress::default())
            .wrap(http::problem::handlers())
            .wrap(from_fn(http::transfer::settle))
            .wrap(from_fn(http::head::as_get))
            .configure(http::configure)
    };
    let server = HttpServer::new(factory)
        .workers(workers)
        .max_connections(limits.connections)
        .keep_alive(Duration::from_secs(limits.keep_alive_s))
        .client_request_timeout(Duration::from_secs(limits.body_deadline_s))
        .shutdown_timeout(CLOSE_MAX.as_secs())
        // Its own handling of SIGTERM stops the actors before they have drained.
        .disable_signals()
        .listen(listener)
        .map_err(|source| AggregatorError::Listen { address: app.books.settings.server.listen.clone(), source })?
        .run();
    Ok((server.handle(), actix_rt::spawn(server)))
}
