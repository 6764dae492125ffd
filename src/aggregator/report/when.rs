//! Instants as the report prints them, in its zone.

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use meter::Utc;

/// The report's zone.
pub(super) struct Zone {
    tz: TimeZone,
    name: String,
}

impl Zone {
    pub(super) fn of(name: &str) -> Self {
        Self { tz: cost::zone(name).unwrap_or(TimeZone::UTC), name: name.to_owned() }
    }

    pub(super) fn local(&self, at: Utc) -> Zoned {
        Timestamp::from_nanosecond(i128::from(at.0)).unwrap_or_default().to_zoned(self.tz.clone())
    }

    /// The instant as this strftime format says.
    pub(super) fn text(&self, at: Utc, format: &str) -> String {
        self.local(at).strftime(format).to_string().trim().to_owned()
    }

    /// `3 Nov 2026, 14:07 (Europe/Paris)`.
    pub(super) fn minute(&self, at: Utc) -> String {
        format!("{} ({})", self.text(at, "%e %b %Y, %H:%M"), self.name)
    }

    /// Start and end in words; whole days by their first and last day.
    pub(super) fn span(&self, start: Utc, end: Utc) -> String {
        let (from, until) = (self.local(start), self.local(end));
        let is_midnight = |at: &Zoned| at.start_of_day().is_ok_and(|day| day == *at);
        if !is_midnight(&from) || !is_midnight(&until) {
            let format = "%e %b %Y, %H:%M";
            return format!("{} – {} ({})", self.text(start, format), self.text(end, format), self.name);
        }
        let last = until.yesterday().unwrap_or_else(|_| until.clone());
        let day = |at: &Zoned, format: &str| at.strftime(format).to_string().trim().to_owned();
        if from.date() == last.date() {
            return format!("{} ({})", day(&from, "%e %B %Y"), self.name);
        }
        let from = if from.year() == last.year() { day(&from, "%e %B") } else { day(&from, "%e %B %Y") };
        format!("{from} – {} ({})", day(&last, "%e %B %Y"), self.name)
    }

    /// `October 2026`, if the span is a calendar month.
    pub(super) fn whole_month(&self, start: Utc, end: Utc) -> Option<String> {
        let from = self.local(start);
        let first = from.date().first_of_month();
        let next = first.checked_add(jiff::Span::new().months(1)).ok()?;
        let edge = |date: jiff::civil::Date| date.to_zoned(self.tz.clone()).ok();
        let is_whole = edge(first)? == from && edge(next)? == self.local(end);
        is_whole.then(|| from.strftime("%B %Y").to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_well() {
        let at = |text: &str| Utc(text.parse::<Timestamp>().expect(text).as_nanosecond() as i64);
        let paris = Zone::of("Europe/Paris");
        let (start, end) = (at("2026-09-30T22:00:00Z"), at("2026-10-31T23:00:00Z"));
        assert_eq!(paris.span(start, end), "1 October – 31 October 2026 (Europe/Paris)");
        assert_eq!(paris.whole_month(start, end).as_deref(), Some("October 2026"));
        assert_eq!(paris.whole_month(start, at("2026-10-31T22:00:00Z")), None);
        assert_eq!(paris.span(start, at("2026-10-01T22:00:00Z")), "1 October 2026 (Europe/Paris)");
        let hour = paris.span(start, at("2026-09-30T23:00:00Z"));
        assert_eq!(hour, "1 Oct 2026, 00:00 – 1 Oct 2026, 01:00 (Europe/Paris)");
    }
}
