//! An exporter's page: the series of it that are known, and what could not be read.
//!
//! A page may have thousands of lines, of which a dozen are of interest: the rest is passed over after a
//! look at its name.

use std::collections::BTreeMap;

use meter::{OwnerKind, Refusal};

use super::exporters::{Known, known};
use super::text::{Series, name_of};

/// Most series of one page that are kept: a node of 16 GPUs with seven MIG instances each, in ten metrics,
/// has a thousand.
const SERIES_MAX: usize = 4096;
/// A stamped value older than this is no reading of now: what Prometheus itself calls stale.
const STALE_MS: i64 = 5 * 60 * 1000;

/// The metric that says when the exporter's process began.
pub(super) const PROCESS_START: &str = "process_start_time_seconds";

/// How to read the pages of one target.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// What kind of owner the target is for.
    pub(super) kind: OwnerKind,
    /// What every metric's name begins with on this page, and is to be taken away.
    pub(super) prefix: String,
    /// Labels and values that a series must have, where a page holds several machines.
    pub(super) only: BTreeMap<String, String>,
    /// Where registers of powercap zones wrap, in µJ, by the zone's name: the configuration's word.
    pub(super) ranges: BTreeMap<String, u64>,
}

/// The known series of a page, in the order of its lines.
#[derive(Debug)]
pub(super) struct Page<'a> {
    /// What kind of owner it is read for.
    pub(super) kind: OwnerKind,
    /// When the exporter's process began, as the page has it; empty if it does not say.
    pub(super) start: String,
    pub(super) series: Vec<(Known, Series<'a>)>,
    /// Lines that name a known metric and are none, or too many, or of another time.
    pub(super) refused: BTreeMap<Refusal, u64>,
}

impl<'a> Page<'a> {
    /// Reads a page; `now_ms` is the present in milliseconds since the Unix epoch.
    pub(super) fn read(body: &'a [u8], selection: &Selection, now_ms: i64) -> Self {
        let (kind, start) = (selection.kind, String::new());
        let mut page = Self { kind, start, series: Vec::new(), refused: BTreeMap::new() };
        for line in body.split(|byte| *byte == b'\n') {
            let Some(known) = name_of(line).and_then(|name| known(name.strip_prefix(selection.prefix.as_bytes())?))
            else {
                continue;
            };
            match Series::parse(line) {
                Ok(series) if !selection.wants(known, &series) => {}
                Ok(series) if known.metric.name == PROCESS_START => page.start = series.value.into(),
                Ok(series) if series.at_ms.is_some_and(|at| now_ms.saturating_sub(at) > STALE_MS) => {
                    page.refuse(Refusal::TooOld);
                }
                Ok(_) if page.series.len() == SERIES_MAX => page.refuse(Refusal::OwnerAccountCap),
                Ok(series) => page.series.push((known, series)),
                Err(_) => page.refuse(Refusal::Malformed),
            }
        }
        page
    }

    /// Counts something that was refused.
    pub(super) fn refuse(&mut self, reason: Refusal) {
        *self.refused.entry(reason).or_default() += 1;
    }

    /// The series of a metric, by the name in the tables.
    pub(super) fn of<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s Series<'a>> {
        self.series.iter().filter(move |(known, _)| known.metric.name == name).map(|(_, series)| series)
    }

    /// Takes the process for the one known before if it says that it began within ten seconds of that one, or
    /// says nothing now. Exporters work the instant out of the boot's, which moves when the clock is set.
    pub(super) fn keep_start(&mut self, before: &str) {
        let seconds = |text: &str| text.parse::<f64>().ok();
        let is_same = match (seconds(before), seconds(&self.start)) {
            (Some(before), Some(now)) => (now - before).abs() <= 10.0,
            (Some(_), None) => true,
            (None, _) => false,
        };
        if is_same {
            self.start = before.into();
        }
    }
}

impl Selection {
    fn wants(&self, known: Known, series: &Series<'_>) -> bool {
        // Of the page's process there is one, whichever machine is meant.
        known.metric.name == PROCESS_START
            || self.only.iter().all(|(label, wanted)| {
                // EAR writes the job into the node's label: node="n1, jobid=5, stepid=0".
                series.label(label).split(", jobid=").next() == Some(wanted)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(only: &[(&str, &str)]) -> Selection {
        let only = only.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        Selection { kind: OwnerKind::Host, prefix: String::new(), only, ranges: BTreeMap::new() }
    }

    #[test]
    fn a_line_that_is_none_stops_nothing_and_is_counted() {
        let page = "# HELP DCGM_FI_DEV_POWER_USAGE Power draw (in W).\r\n# TYPE DCGM_FI_DEV_POWER_USAGE gauge\r\n\
            # HELP DCGM_FI_DEV_POWER_USAGE again\nDCGM_FI_DEV_POWER_USAGE{UUID=\"GPU-1 12\n<html>\n\u{fffd}\n\n\
            DCGM_FI_DEV_POWER_USAGE{UUID=\"GPU-1\"} 12\r\nDCGM_FI_DEV_POWER_USAGE\nnode_load1 garbage line\n\
            DCGM_FI_DEV_POWER_USAGE{UUID=\"GPU-2\"} 13";
        let page = Page::read(page.as_bytes(), &selection(&[]), 0);
        let values: Vec<&str> = page.series.iter().map(|(_, series)| series.value).collect();
        assert_eq!(values, ["12", "13"]);
        assert_eq!(page.refused, BTreeMap::from([(Refusal::Malformed, 2)]));
    }

    #[test]
    fn no_byte_of_a_line_spoils_another_line() {
        let lines = [
            r#"dcgm_power_usage{uuid="1",a="x\\\"y"} 1.5e3 1000000000000 # {t="v"} 1"#,
            r#"dcgm_power_usage{uuid="2", } 2"#,
            "# EOF",
        ];
        let text = lines.join("\n");
        let values = |bytes: &[u8]| {
            let page = Page::read(bytes, &selection(&[]), 1_000_000_000_000);
            page.series.iter().map(|(_, series)| series.value.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(values(text.as_bytes()), ["1.5e3", "2"]);
        for at in 0..text.len() {
            for byte in [b'"', b'\\', b'{', b'}', b'=', b',', b' ', b'#', b'\r', b'-', b'e', 0, 0xff, 0xc3] {
                let mut bytes = text.clone().into_bytes();
                if std::mem::replace(&mut bytes[at], byte) == b'\n' {
                    continue;
                }
                let (kept, found) = (if at < lines[0].len() { "2" } else { "1.5e3" }, values(&bytes));
                assert!(found.iter().any(|value| value == kept), "byte {at} is {byte}: {found:?}");
            }
        }
    }

    #[test]
    fn a_value_of_another_time_is_refused() {
        let page = "dcgm_power_usage{uuid=\"1\"} 1 1000000000000\ndcgm_power_usage{uuid=\"2\"} 2 1000000240000";
        let page = Page::read(page.as_bytes(), &selection(&[]), 1_000_000_300_001);
        assert_eq!(page.series.len(), 1);
        assert_eq!(page.refused, BTreeMap::from([(Refusal::TooOld, 1)]));
    }

    #[test]
    fn a_page_keeps_so_many_series_and_no_more() {
        let line = |n: usize| format!("dcgm_power_usage{{uuid=\"{n}\"}} 1\n");
        let text: String = (0..SERIES_MAX + 3).map(line).collect();
        let page = Page::read(text.as_bytes(), &selection(&[]), 0);
        assert_eq!(page.series.len(), SERIES_MAX);
        assert_eq!(page.refused, BTreeMap::from([(Refusal::OwnerAccountCap, 3)]));
    }

    #[test]
    fn a_selector_chooses_one_machine_of_a_page_and_a_prefix_is_taken_away() {
        let text = "x_dcgm_power_usage{node=\"n1, jobid=5, stepid=0\"} 1\nx_dcgm_power_usage{node=\"n10\"} 2\n\
            x_dcgm_power_usage{node=\"n1\"} 3\ndcgm_power_usage{node=\"n1\"} 4\nx_process_start_time_seconds 5";
        let selection = Selection { prefix: "x_".into(), ..selection(&[("node", "n1")]) };
        let page = Page::read(text.as_bytes(), &selection, 0);
        assert_eq!(page.of("dcgm_power_usage").map(|series| series.value).collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(page.start, "5");
    }

    #[test]
    fn a_process_is_the_same_if_it_began_within_seconds_of_before() {
        let kept = |before: &str, now: &str| {
            let text = format!("process_start_time_seconds {now}\n");
            let mut page = Page::read(text.as_bytes(), &selection(&[]), 0);
            page.keep_start(before);
            page.start
        };
        assert_eq!(kept("1.76e+09", "1.760000003e+09"), "1.76e+09", "the clock was set");
        assert_eq!(kept("1.76e+09", "1.760000011e+09"), "1.760000011e+09", "it was restarted");
        assert_eq!(kept("", "1.76e+09"), "1.76e+09");
        assert_eq!(kept("1.76e+09", "NaN"), "NaN");
        let mut silent = Page::read(b"", &selection(&[]), 0);
        silent.keep_start("1.76e+09");
        assert_eq!(silent.start, "1.76e+09");
    }
}
