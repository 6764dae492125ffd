//! What somebody may say of a job: one line of JSON.
//!
//! ```text
//! {"start": {"id": "4711", "user": "alice", "account": "nlp", "labels": {"partition": "gpu"},
//!            "devices": ["GPU-5a1c…", "1"], "cores": 16, "cores_of": 64}}
//! {"stop": "4711"}
//! {"cut": true}
//! ```
//! Each may also carry `"at"`, an instant (RFC 3339) in the past.

use std::sync::Arc;

use meter::job::check_job_name;
use meter::{Allocation, Mark};
use serde::{Deserialize, Serialize};

use super::refused::Refused;

/// Longest line in bytes: an allocation with as many devices and labels as it may have is half of it.
pub const LINE_MAX: usize = 128 << 10;

/// One message as it is written.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Message {
    /// A job begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<Allocation>,
    /// The job of this id ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Arc<str>>,
    /// What is booked is cut here; only true makes sense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<bool>,
    /// When, if not now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<jiff::Timestamp>,
}

/// One message, understood: a mark, and when it was if not now. Its devices are not known to be this machine's yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// What happens.
    pub mark: Mark,
    /// Nanoseconds since the Unix epoch by the machine's clock; nothing for now.
    pub at: Option<i64>,
}

/// Reads one line.
///
/// # Errors
/// [`Refused`] that says what is wrong with it.
pub fn read(line: &str) -> Result<Word, Refused> {
    let malformed = |why: String| Refused::Malformed(why);
    let message: Message = serde_json::from_str(line).map_err(|error| malformed(error.to_string()))?;
    let mark = match (message.start, message.stop, message.cut) {
        (Some(allocation), None, None) => Mark::Start(Arc::new(allocation)),
        (None, Some(id), None) => {
            check_job_name("id", &id, 1)?;
            Mark::Stop(id)
        }
        (None, None, Some(true)) => Mark::Cut,
        _ => return Err(malformed("a message holds one of start, stop and cut: true".into())),
    };
    let at = message.at.map(|at| i64::try_from(at.as_nanosecond())).transpose();
    let at = at.map_err(|_| Refused::Instant("before 1678 or after 2261".into()))?;
    Ok(Word { mark, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_messages_are_read() {
        let text = r#"{"start":{"id":"4711","user":"alice","account":"nlp","labels":{"partition":"gpu"},"devices":["GPU-1","0"],"cores":16,"cores_of":64}}"#;
        let Word { mark: Mark::Start(start), at: None } = read(text).expect("a start") else { panic!("no start") };
        assert_eq!((&*start.id, &*start.user, &*start.account), ("4711", "alice", "nlp"));
        assert_eq!((start.labels["partition"].as_str(), start.cores, start.cores_of), ("gpu", 16, 64));
        assert_eq!(start.devices, ["GPU-1", "0"].map(Arc::from), "in the order given until they are known");
        let stop = read(r#"{"stop":"4711","at":"1970-01-01T00:00:01.5Z"}"#).expect("a stop");
        assert_eq!(stop, Word { mark: Mark::Stop("4711".into()), at: Some(1_500_000_000) });
        assert_eq!(read(r#"{"cut":true}"#).expect("a cut").mark, Mark::Cut);
    }

    #[test]
    fn what_is_no_message_is_refused_with_a_reason() {
        for (line, word) in [
            ("", "EOF"),
            ("{}", "one of start, stop and cut"),
            (r#"{"stop":"1","cut":true}"#, "one of start"),
            (r#"{"cut":false}"#, "one of start"),
            (r#"{"stop":""}"#, "id"),
            (r#"{"stop":"(idle)"}"#, "id"),
            (r#"{"start":{}}"#, "id"),
            (r#"{"start":{"id":"1","gpus":2}}"#, "unknown field `gpus`"),
            (r#"{"stopp":"1"}"#, "unknown field `stopp`"),
            (r#"{"stop":"1","at":"yesterday"}"#, "year"),
            (r#"{"stop":"1","at":"9000-01-01T00:00:00Z"}"#, "2261"),
        ] {
            let told = read(line).expect_err(line).to_string();
            assert!(told.contains(word), "{line}: {told}");
        }
    }
}
