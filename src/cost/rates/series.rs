//! Figures from a file of slots, such as the prices of a day-ahead market.
//!
//! CSV with a header; lines that begin with `#` are comments. A row holds for one step (15 min, 30 min or 1 h), from the instant in its first
//! column on: RFC 3339 with an offset, Unix seconds, or a local time of a stated zone. On the local
//! clock an hour that is skipped in spring must have no figure, and an hour that comes twice in autumn
//! needs its rows twice, in their order.

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use meter::time::SLOT_NS;
use meter::{Slot, Utc};

use crate::error::{Fault, shortened};
use crate::window::{Window, read_instant, stamp};

/// Most rows of a file: 28 years of quarters of an hour.
const ROWS_MAX: usize = 1_000_000;
/// Most faults and gaps that are told one by one.
const TOLD_MAX: usize = 20;

/// Figures by slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Series {
    /// The file it was read from, as the card names it.
    file: String,
    first: Slot,
    /// Slots of a row.
    step: i32,
    values: Vec<Option<i64>>,
}

/// How a file of slots is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Format<'a> {
    /// The file, as the card names it.
    pub(crate) file: &'a str,
    /// The column with the start of each row.
    pub(crate) start: &'a str,
    /// The column with the figure, where the card names one.
    pub(crate) value: Option<&'a str>,
    /// The columns that are taken for it, and how many units of ours each of theirs is worth.
    pub(crate) known: &'a [(&'a str, i64)],
    /// The units of the named column; nothing where the header says it.
    pub(crate) scale: Option<i64>,
    /// The zone of local times.
    pub(crate) tz: Option<&'a TimeZone>,
    /// Slots of a row, where the card says so.
    pub(crate) step: Option<i32>,
    /// Whether slots without a figure are taken as they are.
    pub(crate) with_gaps: bool,
    /// The least and the largest figure, in theirs per unit of the first known column.
    pub(crate) bounds: (i64, i64),
}

/// A row: its line and figure.
type Rows = BTreeMap<Slot, (usize, Option<i64>)>;

impl Series {
    /// Reads a file.
    ///
    /// # Errors
    /// Every fault with its line; a gap is one that names it.
    pub(crate) fn read(text: &str, format: &Format<'_>) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader { format, faults: Vec::new(), folds: BTreeMap::new() };
        let rows = reader.rows(text);
        let series = if reader.faults.is_empty() { reader.series(&rows) } else { None };
        match series {
            Some(series) if reader.faults.is_empty() => Ok(series),
            _ => Err(reader.faults),
        }
    }

    /// The same with so much added to each figure.
    pub(crate) fn plus(mut self, more: i64) -> Self {
        self.values.iter_mut().flatten().for_each(|value| *value += more);
        self
    }

    /// The file it was read from, as the card names it.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The slots between its first and its last row.
    #[must_use]
    pub fn span(&self) -> Window {
        let len = i32::try_from(self.values.len()).unwrap_or(i32::MAX);
        Window::of_slots(self.first, Slot(self.first.0.saturating_add(len.saturating_mul(self.step))))
    }

    /// The slots inside it that have no figure.
    #[must_use]
    pub fn gaps(&self) -> Vec<Window> {
        let mut gaps: Vec<Window> = Vec::new();
        for (index, _) in self.values.iter().enumerate().filter(|(_, value)| value.is_none()) {
            let from = self.start_of(index);
            let until = Slot(from.0 + self.step);
            match gaps.last_mut() {
                Some(gap) if gap.until() == from => *gap = Window::of_slots(gap.first(), until),
                _ => gaps.push(Window::of_slots(from, until)),
            }
        }
        gaps
    }

    fn start_of(&self, index: usize) -> Slot {
        Slot(self.first.0 + i32::try_from(index).unwrap_or(i32::MAX).saturating_mul(self.step))
    }

    /// The figure of a slot.
    pub(crate) fn at(&self, slot: Slot) -> Option<i64> {
        let index = usize::try_from((i64::from(slot.0) - i64::from(self.first.0)).div_euclid(i64::from(self.step)));
        *self.values.get(index.ok()?)?
    }

    /// The figures over a window.
    pub(crate) fn pieces(&self, window: Window) -> Vec<(Slot, Option<i64>)> {
        let span = self.span();
        let mut pieces = vec![(window.first(), self.at(window.first()))];
        let mut push = |slot, value| {
            if window.holds(slot) && pieces.last().is_none_or(|(_, before)| *before != value) {
                pieces.push((slot, value));
            }
        };
        let skip = (window.first().0.saturating_sub(self.first.0)).max(0) / self.step;
        let skip = usize::try_from(skip).unwrap_or(0);
        let rows = self.values.iter().enumerate().skip(skip);
        for (index, &value) in rows.take_while(|(index, _)| self.start_of(*index) < window.until()) {
            push(self.start_of(index), value);
        }
        push(span.until(), None);
        pieces
    }
}

struct Reader<'f> {
    format: &'f Format<'f>,
    faults: Vec<Fault>,
    /// How often each local time that comes twice was met.
    folds: BTreeMap<DateTime, usize>,
}

impl Reader<'_> {
    fn fault(&mut self, line: usize, key: &str, problem: impl Into<String>) {
        if self.faults.len() < TOLD_MAX {
            let file = Some(self.format.file.to_owned());
            self.faults.push(Fault { file, line, key: key.to_owned(), problem: problem.into() });
        }
    }

    fn rows(&mut self, text: &str) -> Rows {
        let mut rows = Rows::new();
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut sheet = csv::ReaderBuilder::new().comment(Some(b'#')).trim(csv::Trim::All).from_reader(text.as_bytes());
        let Some((start, (value, scale))) = sheet.headers().ok().cloned().and_then(|header| self.columns(&header))
        else {
            return rows;
        };
        let (value_name, start_name) = (self.format.value.unwrap_or("price").to_owned(), self.format.start.to_owned());
        for row in sheet.records() {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    let line = error.position().map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
                    self.fault(line, "", format!("is no row of this file: {error}"));
                    return rows;
                }
            };
            let line = row.position().map_or(0, |at| usize::try_from(at.line()).unwrap_or(0));
            if rows.len() >= ROWS_MAX {
                self.fault(line, "", format!("more than {ROWS_MAX} rows"));
                return rows;
            }
            let (at, cell) = (row.get(start).unwrap_or(""), row.get(value).unwrap_or(""));
            let figure = if cell.is_empty() { Ok(None) } else { self.figure(cell, scale).map(Some) };
            let figure = figure.map_err(|problem| self.fault(line, &value_name, problem)).ok();
            let slot = self.slot(at, cell.is_empty()).map_err(|problem| self.fault(line, &start_name, problem));
            let (Ok(Some(slot)), Some(figure)) = (slot, figure) else { continue };
            if let Some((before, _)) = rows.insert(slot, (line, figure)) {
                self.fault(line, &start_name, format!("{} is given at line {before} already", stamp(slot.start())));
            }
        }
        rows
    }

    /// The places of the two columns, and the units of the second.
    fn columns(&mut self, header: &csv::StringRecord) -> Option<(usize, (usize, i64))> {
        let place = |name: &str| header.iter().position(|cell| cell.eq_ignore_ascii_case(name));
        let format = self.format;
        let there = || header.iter().map(shortened).collect::<Vec<_>>().join(", ");
        let Some(start) = place(format.start) else {
            let problem = format!("there is no such column in the header ({}): it tells when each row begins", there());
            self.fault(1, format.start, problem);
            return None;
        };
        let known = || format.known.iter().map(|known| known.0).collect::<Vec<_>>().join(" or ");
        let value = match format.value {
            Some(name) => {
                let scale = format.scale.or_else(|| format.known.iter().find(|known| known.0 == name).map(|k| k.1));
                place(name).zip(scale)
            }
            None => format.known.iter().find_map(|(name, scale)| Some((place(name)?, *scale))),
        };
        if value.is_none() {
            let name = format.value.unwrap_or("");
            let problem = if place(name).is_some() {
                format!("its unit is not stated: call the column {} or say `per` in the card", known())
            } else {
                format!(
                    "there is no column {} in the header ({})",
                    if name.is_empty() { known() } else { name.into() },
                    there()
                )
            };
            self.fault(1, name, problem);
        }
        Some((start, value?))
    }

    fn figure(&self, cell: &str, scale: i64) -> Result<i64, String> {
        let largest = self.format.known.first().map_or(1, |known| known.1);
        let (low, high) = self.format.bounds;
        let times = largest / scale.max(1);
        super::values::exact(cell, scale, low.saturating_mul(times), high.saturating_mul(times))
    }

    /// The slot a row begins with; nothing for an hour that the clock skips, if it has no figure.
    fn slot(&mut self, text: &str, is_empty: bool) -> Result<Option<Slot>, String> {
        let at = match read_instant(text) {
            Some(at) => at,
            None => match self.local(text, is_empty)? {
                Some(at) => at,
                None => return Ok(None),
            },
        };
        if at.0.rem_euclid(SLOT_NS) != 0 {
            return Err(format!("{text} is not on a quarter of an hour"));
        }
        Ok(Some(at.slot()))
    }

    fn local(&mut self, text: &str, is_empty: bool) -> Result<Option<Utc>, String> {
        let local: DateTime = text.parse().map_err(|_| {
            format!(
                "{:?} is no instant such as 2026-10-25T00:00Z and no local time such as 2026-10-25T02:00",
                shortened(text)
            )
        })?;
        let tz = self.format.tz.ok_or_else(|| {
            format!(
                "{} is a local time, but no zone is stated: say `timezone` in the card, or write an offset",
                shortened(text)
            )
        })?;
        let offset = match tz.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Gap { .. } if is_empty => return Ok(None),
            AmbiguousOffset::Gap { .. } => {
                return Err(format!("{text} does not exist: the clock skips it, so it can have no figure"));
            }
            AmbiguousOffset::Fold { before, after } => {
                let met = self.folds.entry(local).or_insert(0);
                *met += 1;
                if *met == 1 { before } else { after }
            }
        };
        let at = offset.to_timestamp(local).map_err(|_| format!("{text} lies too far from today"))?;
        Ok(i64::try_from(at.as_nanosecond()).ok().map(Utc))
    }

    fn series(&mut self, rows: &Rows) -> Option<Series> {
        let (Some((&first, _)), Some((&last, _))) = (rows.first_key_value(), rows.last_key_value()) else {
            self.fault(1, "", "has no rows");
            return None;
        };
        let nearest = rows.keys().zip(rows.keys().skip(1)).map(|(a, b)| b.0 - a.0).min();
        let step = self.format.step.or(nearest).unwrap_or(4);
        if ![1, 2, 4].contains(&step) {
            let minutes = i64::from(step) * 15;
            self.fault(1, self.format.start, format!("its rows are {minutes} min apart; they must be 15, 30 or 60"));
            return None;
        }
        let len = usize::try_from((last.0 - first.0) / step).ok()? + 1;
        if len > 4 * ROWS_MAX {
            self.fault(1, self.format.start, "its first and its last row are too far apart");
            return None;
        }
        let mut series = Series { file: self.format.file.to_owned(), first, step, values: vec![None; len] };
        for (slot, (line, value)) in rows {
            let from_first = slot.0 - first.0;
            let place = usize::try_from(from_first / step).ok().filter(|_| from_first % step == 0);
            match place.and_then(|place| series.values.get_mut(place)) {
                Some(place) => *place = *value,
                None => {
                    let minutes = step * 15;
                    self.fault(*line, self.format.start, format!("is not on the file's step of {minutes} min"));
                }
            }
        }
        let gaps = if self.format.with_gaps { Vec::new() } else { series.gaps() };
        for gap in gaps {
            // The line of the row before it: a missing row has none.
            let line = rows.range(..gap.first()).next_back().map_or(0, |row| row.1.0);
            let missing = gap.len() / usize::try_from(step).unwrap_or(1);
            let problem = format!(
                "there is no figure from {} to {} ({missing} of {} min each): add the rows, or say gaps = \"unpriced\" in the card",
                stamp(gap.start()),
                stamp(gap.end()),
                step * 15
            );
            self.fault(line, self.format.value.unwrap_or(""), problem);
        }
        Some(series)
    }
}
