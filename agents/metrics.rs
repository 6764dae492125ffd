//! The agent's own `/metrics` and `/healthz`: how its sources fare, and how its readings get on.
//!
//! Few connections, one request each, with limits to headers and time. Joules are not here: the ledger's are
//! the aggregator's to show.

mod jobs;
pub mod page;
mod process;
pub mod settings;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::health::Registry;
use crate::jobs::tally::Tally;
use crate::spool_actor::{SpoolActor, TakeStock};
use crate::uplink::Progress;
use page::Page;
use settings::MetricsSettings;

/// Connections at once; more are closed unheard.
const CONNECTIONS_MAX: usize = 16;
/// How long a request may take to arrive, and altogether.
const HEADER_TIME: Duration = Duration::from_secs(5);
const WHOLE_TIME: Duration = Duration::from_secs(10);
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// How long to wait for the spool, which may be at work on a slow disk.
const STOCK_TIME: Duration = Duration::from_secs(1);

/// What the page is made of.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The sources.
    pub registry: Registry,
    /// The streams.
    pub spool: Addr<SpoolActor>,
    /// The way to the aggregator.
    pub progress: Arc<Progress>,
    /// What was heard of jobs.
    pub jobs: Arc<Tally>,
}

/// Listens as the settings say. If that is impossible the agent goes on without.
pub async fn serve(settings: MetricsSettings, desk: Desk) {
    if settings.listen.is_empty() {
        return;
    }
    let listener = match TcpListener::bind(&settings.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::warn!(listen = settings.listen, %error, "the agent's own metrics are not served; metrics.listen names another address, or \"\" for none");
            return;
        }
    };
    if let Ok(address) = listener.local_addr() {
        tracing::info!("metrics on http://{address}/metrics");
    }
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(_) => {
                // Out of files, or the caller is gone again: neither is cured by haste.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
        let desk = desk.clone();
        actix_rt::spawn(async move {
            // Whatever goes wrong here is the caller's.
            let _ = tokio::time::timeout(WHOLE_TIME, answer_one(stream, desk)).await;
            drop(permit);
        });
    }
}

async fn answer_one(stream: TcpStream, desk: Desk) -> Result<(), hyper::Error> {
    let service = service_fn(move |request| {
        let desk = desk.clone();
        async move { Ok::<_, Infallible>(answer(&request, &desk).await) }
    });
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await
}

async fn answer(request: &Request<Incoming>, desk: &Desk) -> Response<Full<Bytes>> {
    let text = |status, text: String| {
        let mut response = Response::new(Full::new(Bytes::from(text)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page::CONTENT_TYPE));
        response
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => text(StatusCode::OK, metrics(desk).await),
        (&Method::GET, "/healthz") => text(StatusCode::OK, "ok\n".into()),
        (_, "/metrics" | "/healthz") => {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n".into());
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            response
        }
        _ => text(StatusCode::NOT_FOUND, "there are /metrics and /healthz\n".into()),
    }
}

async fn metrics(desk: &Desk) -> String {
    let stock = tokio::time::timeout(STOCK_TIME, desk.spool.send(TakeStock)).await;
    let mut page = Page::default();
    page.build();
    page.sources(&desk.registry.list(), crate::clock::boot_ns());
    if let Ok(Ok(stock)) = stock {
        page.stock(&stock);
    }
    page.uplink(&desk.progress);
    jobs::write(&desk.jobs, &mut page);
    process::write(&mut page);
    page.text()
}
