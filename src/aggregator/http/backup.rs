//! `GET /api/v1/backup`: the store's whole image of one commit, while commits go on.
//!
//! Limits: one backup at a time, because the store rewrites nothing while one is read; two megabytes of
//! it in memory; a reader that takes nothing for a minute is cut off. Whether it arrived whole is
//! for its checksum to say: an answer that was begun cannot become an error.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use actix_web::web::{self, Bytes};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream;
use tokio::sync::mpsc::{self, error::TrySendError};

use super::acts::caller;
use super::head;
use super::openapi::problems::{ComeAgain, Elsewhere, Refused};
use super::problem::Problem;
use crate::app::App;
use crate::query::Params;

/// Bytes handed over at once…
const CHUNK: usize = 256 << 10;
/// …and how often, before the reader has taken any.
const CHUNKS: usize = 8;
/// After this long a reader that takes nothing is gone.
const STALLED: Duration = Duration::from_secs(60);
/// How soon to look again whether it has.
const AGAIN: Duration = Duration::from_millis(20);

type Piece = Result<Bytes, io::Error>;

pub(crate) fn configure(cfg: &mut web::ServiceConfig) {
    cfg.service(web::resource("/api/v1/backup").route(web::get().to(backup)));
}

/// Sends an image of the store.
#[utoipa::path(
    get, path = "/api/v1/backup", tag = "administration", summary = "A consistent image of the store, while commits go on",
    description = "Whether it arrived whole is for its checksum to say: `wattledger backup` looks.",
    responses(
        (status = 200, description = "The image.", content_type = "application/octet-stream", body = String),
        Refused, Elsewhere, ComeAgain,
    ),
)]
pub(super) async fn backup(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let from = caller(&request)?;
    Params::read(request.query_string(), &[])?;
    let Ok(only) = app.backups.clone().try_acquire_owned() else {
        return Err(Problem::come_again("backup-running", "another backup is being read; come again when it is done"));
    };
    let mut response = HttpResponse::Ok();
    response.content_type("application/octet-stream");
    response.insert_header((CACHE_CONTROL, "no-store"));
    response.insert_header((CONTENT_DISPOSITION, "attachment; filename=\"backup.image\""));
    if head::only(&request) {
        return Ok(response.streaming(stream::empty::<Piece>()));
    }
    let (send, mut pieces) = mpsc::channel::<Piece>(CHUNKS);
    let store = app.books.store.clone();
    let read = move || {
        let _only = only;
        let mut out = Pipe { send, piece: Vec::with_capacity(CHUNK), sent: 0 };
        let written = store::write_image(&*store, &mut out);
        match written {
            Ok(commit) => tracing::info!(%from, commit, bytes = out.sent, "a backup was read"),
            Err(error) => {
                tracing::error!(%from, "a backup broke off: {error}");
                // The connection ends in the middle, which no reader takes for the end.
                let _ = out.send.try_send(Err(io::Error::other("the image could not be read")));
            }
        }
    };
    // A thread of its own: it may take minutes, and the pool's are for questions.
    let spawned = std::thread::Builder::new().name("backup".into()).spawn(read);
    spawned.map_err(|error| Problem::internal("begin a backup", &error))?;
    Ok(response.streaming(stream::poll_fn(move |context| pieces.poll_recv(context))))
}

/// Writes into the answer's body, as fast as the reader takes it.
struct Pipe {
    send: mpsc::Sender<Piece>,
    piece: Vec<u8>,
    sent: u64,
}

impl Pipe {
    fn hand_over(&mut self) -> io::Result<()> {
        let full = std::mem::replace(&mut self.piece, Vec::with_capacity(CHUNK));
        let len = full.len() as u64;
        let (mut piece, since) = (Ok(Bytes::from(full)), Instant::now());
        loop {
            match self.send.try_send(piece) {
                Ok(()) => {
                    self.sent += len;
                    return Ok(());
                }
                Err(TrySendError::Closed(_)) => return Err(io::Error::other("the reader is gone")),
                Err(TrySendError::Full(_)) if since.elapsed() > STALLED => {
                    return Err(io::Error::other("the reader took nothing for a minute"));
                }
                Err(TrySendError::Full(same)) => piece = same,
            }
            std::thread::sleep(AGAIN);
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let take = bytes.len().min(CHUNK - self.piece.len());
        self.piece.extend_from_slice(&bytes[..take]);
        if self.piece.len() >= CHUNK {
            self.hand_over()?;
        }
        Ok(take)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() { Ok(()) } else { self.hand_over() }
    }
}
