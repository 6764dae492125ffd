//! What agents and aggregators say to each other, as bytes.
//!
//! Three encodings, all frozen at version 1:
//! - a **post** and its **answer**: a version byte, then bincode (`standard`, limited to 1 MiB). The
//!   records of an append travel as one delta-coded byte string inside it, because they are nearly
//!   all of the traffic and bincode has no two-byte number.
//! - a **record** and a **context** by themselves, in canonical bytes: what the spool keeps and what
//!   the digest of a stream is taken over. One value has exactly one encoding.
//! - the **digest chain** over canonical records, which lets two ends find out in 16 bytes whether
//!   they speak of the same prefix.
//!
//! Bytes come from strangers: every decoder is bounded in what it allocates, rejects what is left
//! over, and never panics. No clock, no socket, no file.

mod digest;
mod leb;
mod mark;
mod message;
mod pack;
mod record;
mod summary;
mod v1;

pub use digest::{advance, chain};
pub use message::{Answer, Append, AppendAnswer, Hello, Post, RefusedCount, SentAt, WireError};
pub use record::{
    context_id, decode_context, decode_record, encode_context, encode_record, encode_record_into, weight,
};
pub use v1::{decode_answer, decode_post, encode_answer, encode_post};

/// The version of the wire that this crate speaks: the first byte of every post and answer.
pub const VERSION: u8 = 1;

/// Most bytes of one post or answer: bounds what one request can hold in memory.
pub const BODY_MAX: usize = 1 << 20;

/// The media type of posts and answers.
pub const CONTENT_TYPE: &str = "application/vnd.wattledger.v1+bincode";

/// Most appends in one post: one agent reports for at most about as many BMCs.
pub const APPENDS_MAX: usize = 1024;

/// Most records in one append: 18 hours at one per second.
pub const RECORDS_MAX: usize = 65_536;

/// Most samples in one post. A sample may cost a single byte, so this and not the body's size
/// bounds what a post becomes in memory (10 MiB).
pub const SAMPLES_MAX: usize = 1 << 18;

/// Most devices of a context, and so most samples of a record: eight times a full GPU node.
pub const DEVICES_MAX: usize = 512;

/// Most spans, and most refusal counts, of one summary: eight holes for each of the most devices.
pub const SPANS_MAX: usize = 4096;

/// Most records that show the present beside records of the past: one per source.
pub const LIVE_MAX: usize = 64;

/// Most contexts in one hello, and in use within one append.
pub const CONTEXTS_MAX: usize = 64;

/// Longest name of a sending program in bytes, such as `wattledger-agent/0.1.0`.
pub const AGENT_MAX: usize = 64;

/// Longest text in an answer in bytes; a longer one is cut when encoded.
pub const TEXT_MAX: usize = 1024;

/// Most refusal counts in one append's answer.
pub const REFUSED_MAX: usize = 8192;
