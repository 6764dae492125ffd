//! Spans of time as people type them.

use std::time::Duration;

/// A span such as `20s`, `2m` or `1h 30m`; a plain number is seconds.
///
/// # Errors
/// What would be right.
pub fn span(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let span: jiff::SignedDuration = text.parse().map_err(|_| "a time such as 30s, 5m or 1h".to_owned())?;
    Duration::try_from(span).map_err(|_| "a time that is not negative".to_owned())
}

/// The same, of an hour at most.
///
/// # Errors
/// As [`span`].
pub(crate) fn short_span(text: &str) -> Result<Duration, String> {
    span(text)
        .and_then(|span| if span <= Duration::from_hours(1) { Ok(span) } else { Err("at most an hour: 1h".to_owned()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_type_them() {
        for (text, seconds) in [("20s", 20), ("2m", 120), ("1h 30m", 5400), ("30", 30), ("0", 0), ("0s", 0)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(span("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "soon", "-20s", "-5", "20 parsecs"] {
            assert!(span(text).is_err(), "{text}");
        }
        assert_eq!(short_span("1h"), Ok(Duration::from_secs(3600)));
        assert!(short_span("61m").is_err() && short_span("3601").is_err());
    }
}
