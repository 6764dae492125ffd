//! Windows and steps, also on the days when clocks change.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use cost::step::intervals;
use cost::window::{read_instant, stamp};
use cost::{CostError, Step, Window, zone};
use meter::Utc;

fn at(text: &str) -> Utc {
    read_instant(text).expect(text)
}

/// Thursday, 15 October 2026, 14:07:31 in Berlin.
fn now() -> Utc {
    at("2026-10-15T12:07:31Z")
}

fn window(text: &str, tz: &str) -> Window {
    Window::parse(text, now(), &zone(tz).expect(tz)).expect(text)
}

#[test]
fn a_word_means_what_a_person_means_by_it() {
    for (text, tz, start, end) in [
        ("1h", "UTC", "2026-10-15T11:00:00Z", "2026-10-15T12:15:00Z"),
        ("24h", "UTC", "2026-10-14T12:00:00Z", "2026-10-15T12:15:00Z"),
        ("7d", "Europe/Berlin", "2026-10-08T12:00:00Z", "2026-10-15T12:15:00Z"),
        ("30d", "UTC", "2026-09-15T12:00:00Z", "2026-10-15T12:15:00Z"),
        ("today", "UTC", "2026-10-15T00:00:00Z", "2026-10-15T12:15:00Z"),
        ("today", "Europe/Berlin", "2026-10-14T22:00:00Z", "2026-10-15T12:15:00Z"),
        ("yesterday", "Europe/Berlin", "2026-10-13T22:00:00Z", "2026-10-14T22:00:00Z"),
        ("week", "UTC", "2026-10-12T00:00:00Z", "2026-10-15T12:15:00Z"),
        ("lastweek", "UTC", "2026-10-05T00:00:00Z", "2026-10-12T00:00:00Z"),
        ("month", "America/New_York", "2026-10-01T04:00:00Z", "2026-10-15T12:15:00Z"),
        ("lastmonth", "UTC", "2026-09-01T00:00:00Z", "2026-10-01T00:00:00Z"),
        ("2026-10", "UTC", "2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z"),
        // Berlin leaves summer time in October: two offsets in one month.
        ("2026-10", "Europe/Berlin", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z"),
        ("2026-12", "Asia/Kathmandu", "2026-11-30T18:15:00Z", "2026-12-31T18:15:00Z"),
        ("2026-03-29", "Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
    ] {
        let window = window(text, tz);
        assert_eq!((stamp(window.start()).as_str(), stamp(window.end()).as_str()), (start, end), "{text} {tz}");
    }
}

#[test]
fn edges_move_outward_to_the_border_of_their_slot() {
    for (text, start, end) in [
        ("2026-10-01T00:00:00Z,2026-10-01T00:15:00Z", "2026-10-01T00:00:00Z", "2026-10-01T00:15:00Z"),
        ("2026-10-01T00:14:59Z,2026-10-01T00:15:01Z", "2026-10-01T00:00:00Z", "2026-10-01T00:30:00Z"),
        ("2026-10-01T02:00:00+02:00,2026-10-01T03:00:00+02:00", "2026-10-01T00:00:00Z", "2026-10-01T01:00:00Z"),
        // A plus sign that the client did not encode.
        ("2026-10-01T02:00:00 02:00,2026-10-01T03:00:00 02:00", "2026-10-01T00:00:00Z", "2026-10-01T01:00:00Z"),
        ("1793491200,1793491200.5", "2026-11-01T00:00:00Z", "2026-11-01T00:15:00Z"),
        ("2026-10-01,2026-10-02", "2026-10-01T00:00:00Z", "2026-10-02T00:00:00Z"),
    ] {
        let window = window(text, "UTC");
        assert_eq!((stamp(window.start()).as_str(), stamp(window.end()).as_str()), (start, end), "{text}");
    }
}

#[test]
fn what_is_no_window_says_what_would_be() {
    let tz = zone("UTC").expect("UTC");
    for bad in ["", "soon", "0h", "-1h", "1y", "2026-13", "2026-1", "5,5", "9,5", "1,", ",", "99999999999999999h"] {
        let error = Window::parse(bad, now(), &tz).expect_err(bad);
        assert_eq!((error.code(), error.parameter()), ("bad-window", Some("window")), "{bad}");
    }
    for far in ["-99999999999,0", "0,99999999999", "9999-12-31T00:00:00Z,9999-12-31T01:00:00Z"] {
        assert!(Window::parse(far, now(), &tz).is_err(), "{far}");
    }
    assert!(matches!(zone("Europe/Atlantis"), Err(CostError::Zone(_))));
}

#[test]
fn a_day_has_the_slots_that_its_clock_shows() {
    let berlin = zone("Europe/Berlin").expect("a zone");
    for (day, slots) in [("2026-03-29", 92), ("2026-10-25", 100), ("2026-06-01", 96)] {
        assert_eq!(window(day, "Europe/Berlin").len(), slots, "{day}");
    }
    for (month, slots) in [("2026-03", 31 * 96 - 4), ("2026-10", 31 * 96 + 4)] {
        let month = window(month, "Europe/Berlin");
        assert_eq!(month.len(), slots);
        let days = intervals(month, Some(Step::Day), &berlin).expect("days");
        assert_eq!(days.len(), 31);
        assert_eq!(days.iter().filter(|day| day.len() != 96).count(), 1);
    }
    let short = window("2026-03-29", "Europe/Berlin");
    let hours = |window| intervals(window, Some(Step::Hour), &berlin).expect("hours").len();
    assert_eq!((hours(short), hours(window("2026-10-25", "Europe/Berlin"))), (23, 25));
}

#[test]
fn steps_tile_the_window_in_every_zone() {
    for tz in ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"] {
        let zone = zone(tz).expect(tz);
        for text in ["2026-04-03T10:20:00Z,2026-04-07T11:31:00Z", "2011-12-20,2012-01-10", "2017-10-10,2018-03-01"] {
            let window = window(text, tz);
            for step in [None, Some(Step::Quarter), Some(Step::Hour), Some(Step::Day), Some(Step::Month)] {
                let parts = intervals(window, step, &zone).expect("intervals");
                assert_eq!((parts[0].first(), parts[parts.len() - 1].until()), (window.first(), window.until()));
                assert!(parts.windows(2).all(|pair| pair[0].until() == pair[1].first()), "{tz} {step:?}");
                assert_eq!(parts.iter().map(Window::len).sum::<usize>(), window.len(), "{tz} {step:?}");
                assert!(parts.iter().all(|part| !part.is_empty()));
            }
        }
    }
}

#[test]
fn samoa_skipped_a_day_and_lord_howe_moves_by_half_an_hour() {
    let days = |text, tz: &str| {
        let parts = intervals(window(text, tz), Some(Step::Day), &zone(tz).expect(tz)).expect("days");
        parts.iter().map(Window::len).collect::<Vec<_>>()
    };
    // 30 December 2011 did not take place in Apia.
    assert_eq!(days("2011-12-29,2012-01-01", "Pacific/Apia"), [96, 96]);
    assert_eq!(days("2026-04-04,2026-04-06", "Australia/Lord_Howe"), [96, 98]);
}

#[test]
fn months_are_those_of_the_zone() {
    let tz = zone("Europe/Berlin").expect("a zone");
    let window = window("2026-09-30T21:00:00Z,2026-10-31T23:00:00Z", "UTC");
    assert_eq!(window.months(&tz), ["2026-09", "2026-10"]);
    assert_eq!(window.months(&zone("UTC").expect("UTC")), ["2026-09", "2026-10"]);
}

#[test]
fn intervals_are_cut_where_a_month_begins_in_any_zone() {
    let edge = |text| cost::window::read_instant(text).expect(text).slot();
    let window = Window::of_slots(edge("2026-10-31T00:00:00Z"), edge("2026-11-02T00:00:00Z"));
    let zones = ["Europe/Paris", "America/New_York"].map(|name| zone(name).expect(name));
    let days = intervals(window, Some(Step::Day), &zone("UTC").expect("a zone")).expect("intervals");
    let cut = cost::step::cut_at_months(&days, &zones).expect("intervals");
    let starts: Vec<String> = cut.iter().map(|one| cost::window::stamp(one.start())).collect();
    assert_eq!(
        starts,
        ["2026-10-31T00:00:00Z", "2026-10-31T23:00:00Z", "2026-11-01T00:00:00Z", "2026-11-01T04:00:00Z"]
    );
    assert!(cut.windows(2).all(|pair| pair[0].until() == pair[1].first()), "they tile");
    assert_eq!(cut.last().map(Window::until), Some(window.until()));
}
