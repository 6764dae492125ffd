//! Version 1 of posts and answers, frozen: these structs mirror the bytes and never change. A new
//! version is a new file beside this one.

use std::borrow::Cow;

use bincode::{BorrowDecode, Encode};
use meter::{Id, Labels, Owner, OwnerKind, Position, Refusal, reading};

use crate::message::{Answer, Append, AppendAnswer, Hello, Post, RefusedCount, SentAt, WireError};
use crate::pack::{pack, unpack};
use crate::record::{decode_context, encode_context, scope};
use crate::{AGENT_MAX, APPENDS_MAX, BODY_MAX, CONTEXTS_MAX, REFUSED_MAX, SAMPLES_MAX, TEXT_MAX, VERSION};

#[derive(Encode, BorrowDecode)]
struct PostV1<'a> {
    sent: Option<SentAtV1>,
    appends: Vec<AppendV1<'a>>,
}

#[derive(Encode, BorrowDecode)]
struct SentAtV1 {
    boot: Id,
    boot_ns: u64,
    wall_ns: i64,
}

#[derive(Encode, BorrowDecode)]
struct AppendV1<'a> {
    stream: Id,
    cluster: Cow<'a, str>,
    kind: u8,
    name: Cow<'a, str>,
    hello: Option<HelloV1<'a>>,
    base_seq: u64,
    base_digest: [u8; 16],
    import: bool,
    records: Cow<'a, [u8]>,
}

#[derive(Encode, BorrowDecode)]
struct HelloV1<'a> {
    fingerprint: Option<Id>,
    labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    agent: Cow<'a, str>,
    contexts: Vec<Cow<'a, [u8]>>,
}

#[derive(Encode, BorrowDecode)]
struct AnswerV1<'a> {
    ledger: Id,
    generation: u64,
    answers: Vec<AppendAnswerV1<'a>>,
}

#[derive(Encode, BorrowDecode)]
enum AppendAnswerV1<'a> {
    Durable { seq: u64, digest: [u8; 16], booked: u64, fenced: u64, refused: Vec<RefusedCountV1<'a>> },
    Stands { seq: u64, digest: [u8; 16] },
    SayHello,
    Rejected { code: Cow<'a, str>, detail: Cow<'a, str> },
}

#[derive(Encode, BorrowDecode)]
struct RefusedCountV1<'a> {
    scope: u8,
    device: Cow<'a, str>,
    reason: u8,
    count: u64,
}

/// The bytes of a post.
///
/// # Errors
/// [`WireError`] if the post breaks a limit that the other end would refuse it for.
pub fn encode_post(post: &Post) -> Result<Vec<u8>, WireError> {
    WireError::cap("appends of a post", post.appends.len(), APPENDS_MAX)?;
    let samples = post.appends.iter().flat_map(|append| &append.records).map(crate::weight).sum();
    WireError::cap("samples of a post", samples, SAMPLES_MAX)?;
    let sent = post.sent.map(|at| SentAtV1 { boot: at.boot, boot_ns: at.boot_ns, wall_ns: at.wall_ns });
    let appends = post.appends.iter().map(AppendV1::new).collect::<Result<_, _>>()?;
    to_bytes(&PostV1 { sent, appends })
}

/// Reads a post; names, labels and all limits are checked.
///
/// # Errors
/// [`WireError`] that says what is wrong with the bytes.
pub fn decode_post(bytes: &[u8]) -> Result<Post, WireError> {
    let post: PostV1<'_> = from_bytes(bytes)?;
    WireError::cap("appends of a post", post.appends.len(), APPENDS_MAX)?;
    let mut budget = SAMPLES_MAX;
    let sent = post.sent.map(|at| SentAt { boot: at.boot, boot_ns: at.boot_ns, wall_ns: at.wall_ns });
    let appends = post.appends.into_iter().map(|append| append.read(&mut budget)).collect::<Result<_, _>>()?;
    Ok(Post { sent, appends })
}

impl<'a> AppendV1<'a> {
    fn new(append: &'a Append) -> Result<Self, WireError> {
        let mut records = Vec::new();
        pack(&append.records, &append.live, &mut records)?;
        Ok(Self {
            stream: append.stream,
            cluster: Cow::Borrowed(&append.owner.cluster),
            kind: append.owner.kind as u8,
            name: Cow::Borrowed(&append.owner.name),
            hello: append.hello.as_ref().map(HelloV1::new).transpose()?,
            base_seq: append.base.seq,
            base_digest: append.base.digest,
            import: append.import,
            records: Cow::Owned(records),
        })
    }

    fn read(self, budget: &mut usize) -> Result<Append, WireError> {
        let kind = OwnerKind::ALL.get(usize::from(self.kind)).copied();
        let kind = kind.ok_or(WireError::Malformed("an unknown kind of owner"))?;
        let (records, live) = unpack(&self.records, budget)?;
        Ok(Append {
            stream: self.stream,
            owner: Owner::new(&self.cluster, kind, &self.name)?,
            hello: self.hello.map(HelloV1::read).transpose()?,
            base: Position { seq: self.base_seq, digest: self.base_digest },
            import: self.import,
            records,
            live,
        })
    }
}

impl<'a> HelloV1<'a> {
    fn new(hello: &'a Hello) -> Result<Self, WireError> {
        WireError::cap("contexts of a hello", hello.contexts.len(), CONTEXTS_MAX)?;
        WireError::cap("labels of an owner", hello.labels.len(), reading::LABELS_MAX)?;
        WireError::cap("bytes of the agent's name", hello.agent.len(), AGENT_MAX)?;
        let text = |text: &'a String| Cow::Borrowed(text.as_str());
        Ok(Self {
            fingerprint: hello.fingerprint,
            labels: hello.labels.iter().map(|(key, value)| (text(key), text(value))).collect(),
            agent: text(&hello.agent),
            contexts: hello.contexts.iter().map(|context| Cow::Owned(encode_context(context))).collect(),
        })
    }

    fn read(self) -> Result<Hello, WireError> {
        WireError::cap("contexts of a hello", self.contexts.len(), CONTEXTS_MAX)?;
        WireError::cap("labels of an owner", self.labels.len(), reading::LABELS_MAX)?;
        WireError::cap("bytes of the agent's name", self.agent.len(), AGENT_MAX)?;
        if self.agent.chars().any(char::is_control) {
            return Err(WireError::Malformed("control characters in the agent's name"));
        }
        let mut labels = Labels::new();
        for (key, value) in self.labels {
            if !reading::label_key_is_valid(&key) || !reading::label_value_is_valid(&value) {
                return Err(WireError::Malformed("a label that cannot be one"));
            }
            if labels.insert(key.into_owned(), value.into_owned()).is_some() {
                return Err(WireError::Malformed("a label twice"));
            }
        }
        let contexts = self.contexts.iter().map(|bytes| decode_context(bytes)).collect::<Result<_, _>>()?;
        Ok(Hello { fingerprint: self.fingerprint, labels, agent: self.agent.into_owned(), contexts })
    }
}

/// The bytes of an answer. Texts for people are cut to [`TEXT_MAX`].
///
/// # Errors
/// [`WireError`] if the answer breaks a limit that the other end would refuse it for.
pub fn encode_answer(answer: &Answer) -> Result<Vec<u8>, WireError> {
    WireError::cap("answers", answer.answers.len(), APPENDS_MAX)?;
    let answers = answer.answers.iter().map(AppendAnswerV1::new).collect::<Result<_, _>>()?;
    to_bytes(&AnswerV1 { ledger: answer.ledger, generation: answer.generation, answers })
}

/// Reads an answer.
///
/// # Errors
/// [`WireError`] that says what is wrong with the bytes.
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, WireError> {
    let answer: AnswerV1<'_> = from_bytes(bytes)?;
    WireError::cap("answers", answer.answers.len(), APPENDS_MAX)?;
    let answers = answer.answers.into_iter().map(AppendAnswerV1::read).collect::<Result<_, _>>()?;
    Ok(Answer { ledger: answer.ledger, generation: answer.generation, answers })
}

impl<'a> AppendAnswerV1<'a> {
    fn new(answer: &'a AppendAnswer) -> Result<Self, WireError> {
        Ok(match answer {
            AppendAnswer::Durable { at, booked, fenced, refused } => {
                WireError::cap("refusal counts of an answer", refused.len(), REFUSED_MAX)?;
                let refused = refused.iter().map(RefusedCountV1::new).collect();
                Self::Durable { seq: at.seq, digest: at.digest, booked: *booked, fenced: *fenced, refused }
            }
            AppendAnswer::Stands(at) => Self::Stands { seq: at.seq, digest: at.digest },
            AppendAnswer::SayHello => Self::SayHello,
            AppendAnswer::Rejected { code, detail } => Self::Rejected { code: cut(code), detail: cut(detail) },
        })
    }

    fn read(self) -> Result<AppendAnswer, WireError> {
        Ok(match self {
            Self::Durable { seq, digest, booked, fenced, refused } => {
                WireError::cap("refusal counts of an answer", refused.len(), REFUSED_MAX)?;
                let refused = refused.into_iter().map(RefusedCountV1::read).collect::<Result<_, _>>()?;
                AppendAnswer::Durable { at: Position { seq, digest }, booked, fenced, refused }
            }
            Self::Stands { seq, digest } => AppendAnswer::Stands(Position { seq, digest }),
            Self::SayHello => AppendAnswer::SayHello,
            Self::Rejected { code, detail } => {
                WireError::cap("bytes of a text", code.len().max(detail.len()), TEXT_MAX)?;
                AppendAnswer::Rejected { code: code.into_owned(), detail: detail.into_owned() }
            }
        })
    }
}

impl<'a> RefusedCountV1<'a> {
    fn new(refused: &'a RefusedCount) -> Self {
        Self {
            scope: refused.scope as u8,
            device: cut(&refused.device),
            reason: refused.reason as u8,
            count: refused.count,
        }
    }

    fn read(self) -> Result<RefusedCount, WireError> {
        WireError::cap("bytes of a text", self.device.len(), TEXT_MAX)?;
        Ok(RefusedCount {
            scope: scope(self.scope)?,
            device: self.device.into_owned(),
            reason: Refusal::from_number(self.reason).ok_or(WireError::Malformed("an unknown refusal"))?,
            count: self.count,
        })
    }
}

/// As much of a text as an answer may hold, cut between characters.
fn cut(text: &str) -> Cow<'_, str> {
    Cow::Borrowed(&text[..text.floor_char_boundary(TEXT_MAX)])
}

fn to_bytes(message: &impl Encode) -> Result<Vec<u8>, WireError> {
    let mut bytes = vec![VERSION];
    bincode::encode_into_std_write(message, &mut bytes, bincode::config::standard())
        .map_err(|error| WireError::Envelope(error.to_string()))?;
    WireError::cap("bytes of a message", bytes.len(), BODY_MAX)?;
    Ok(bytes)
}

fn from_bytes<'a, T: BorrowDecode<'a, ()>>(bytes: &'a [u8]) -> Result<T, WireError> {
    use bincode::error::DecodeError;
    WireError::cap("bytes of a message", bytes.len(), BODY_MAX)?;
    let (&version, body) = bytes.split_first().ok_or(WireError::Truncated)?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let limited = bincode::config::standard().with_limit::<BODY_MAX>();
    let (message, used) = bincode::borrow_decode_from_slice(body, limited).map_err(|error| match error {
        DecodeError::UnexpectedEnd { .. } => WireError::Truncated,
        other => WireError::Envelope(other.to_string()),
    })?;
    if used == body.len() { Ok(message) } else { Err(WireError::LeftOver(body.len() - used)) }
}
