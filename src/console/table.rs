//! The cost table.
//!
//! One line per row, never wrapped: a number broken over two lines is misread. What does not fit the
//! width gives way in a fixed order (long names, quality, share) and is said to have done so.

use comfy_table::presets::NOTHING as PLAIN;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};
use cost::{Answer, Row, Status};
use rust_decimal::Decimal;

use crate::figures::{NOTHING, duration, grouped, instant, kwh, mass, percent, plain, shares};

/// What stands for a label that a host lacks.
const NO_LABEL: &str = "(none)";

/// How short names may become before figures give way.
const NAME_COMFORT: usize = 20;
/// How short names may become at all.
const NAME_MIN: usize = 6;

/// Below this coverage a figure deserves a second look.
const COVERAGE_LOW: f64 = 0.99;
/// Above this share of estimates a figure deserves a second look.
const ESTIMATED_HIGH: f64 = 0.05;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tone {
    Normal,
    Faint,
    Warn,
    Negative,
}

/// A cell's text and its tone.
type Text = (String, Tone);

struct Column {
    title: String,
    cells: Vec<Text>,
    total: Text,
    /// Names lean left and may be shortened, figures lean right.
    is_name: bool,
    /// Who gives way first when the width does not do; zero never does.
    gives_way: u8,
}

/// The answer as a table with its total, and below it what the figures rest on. It ends with a newline.
#[must_use]
pub fn render(answer: &Answer, width: u16, color: bool) -> String {
    let mut columns = names(answer);
    columns.extend(figures(answer));
    let left_out = fit(&mut columns, usize::from(width));
    let mut out = String::new();
    if answer.rows.is_empty() {
        out.push_str(" no host was in service in this window, or the filter leaves none\n");
    } else {
        draw(&columns, color, &mut out);
    }
    out.push('\n');
    for line in footer(answer, &left_out) {
        out.push(' ');
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn names(answer: &Answer) -> Vec<Column> {
    let mut columns = Vec::new();
    if let Some(step) = &answer.step {
        let format = match (step.as_str(), answer.tz.as_str()) {
            ("1mo", _) => "%Y-%m",
            ("1d", _) => "%Y-%m-%d",
            (_, "UTC") => "%Y-%m-%d %H:%M",
            // The offset tells the two hours of the night apart in which clocks go back.
            _ => "%Y-%m-%d %H:%M %:z",
        };
        let cells = answer.rows.iter().map(|row| (instant(row.start, &answer.tz, format), Tone::Normal)).collect();
        columns.push(Column::new("from", cells));
    }
    for key in &answer.by {
        let cell = |row: &Row| match row.value(key) {
            "" => (NO_LABEL.to_owned(), Tone::Faint),
            value => (plain(value).into_owned(), Tone::Normal),
        };
        columns.push(Column { is_name: true, ..Column::new(&plain(key), answer.rows.iter().map(cell).collect()) });
    }
    if columns.is_empty() {
        columns.push(Column::new("", answer.rows.iter().map(|_| ("all".to_owned(), Tone::Normal)).collect()));
    }
    columns[0].total = ("total".to_owned(), Tone::Normal);
    columns
}

fn figures(answer: &Answer) -> Vec<Column> {
    let (rows, total) = (&answer.rows, &answer.total);
    let energies: Vec<i128> = rows.iter().map(|row| row.energy_uj).collect();
    let (printed, printed_total) = kwh(&energies, total.energy_uj);
    let tones: Vec<Tone> = energies.iter().map(|&uj| if uj < 0 { Tone::Negative } else { Tone::Normal }).collect();
    let toned = |texts: Vec<String>| texts.into_iter().zip(tones.iter().copied()).collect();

    let mut columns = vec![
        Column::figure("kWh", toned(printed), (printed_total, Tone::Normal), 0),
        Column::figure("share", toned(shares(&energies, total.energy_uj)), ("100.0 %".into(), Tone::Normal), 2),
    ];
    if total.energy_uj <= 0 {
        columns[1].total = (NOTHING.into(), Tone::Faint);
    }
    for currency in answer.currencies() {
        let cell = |row: &Row| match row.cost_in(currency) {
            Some(cost) if cost.amount.is_sign_negative() => (grouped(cost.amount), Tone::Negative),
            Some(cost) => (grouped(cost.amount), Tone::Normal),
            None => (NOTHING.to_owned(), Tone::Faint),
        };
        columns.push(Column::figure(&format!("cost {currency}"), rows.iter().map(cell).collect(), cell(total), 0));
    }
    columns.push(Column::figure("coverage", rows.iter().map(coverage).collect(), coverage(total), 3));
    columns.push(Column::figure("estimated", rows.iter().map(estimated).collect(), estimated(total), 1));
    columns
}

fn coverage(row: &Row) -> Text {
    let quality = &row.quality;
    let is_low = quality.covered_seconds < COVERAGE_LOW * quality.expected_seconds;
    let tone = if is_low { Tone::Warn } else { Tone::Normal };
    (percent(quality.covered_seconds, quality.expected_seconds, false), tone)
}

fn estimated(row: &Row) -> Text {
    let (part, whole) = (row.quality.estimated_joules, row.energy_joules);
    let tone = if part > ESTIMATED_HIGH * whole { Tone::Warn } else { Tone::Normal };
    (percent(part, whole, true), tone)
}

impl Column {
    fn new(title: &str, cells: Vec<Text>) -> Self {
        let total = (String::new(), Tone::Normal);
        Self { title: title.into(), cells, total, is_name: false, gives_way: 0 }
    }

    fn figure(title: &str, cells: Vec<Text>, total: Text, gives_way: u8) -> Self {
        Self { total, gives_way, ..Self::new(title, cells) }
    }

    fn width(&self) -> usize {
        let texts = self.cells.iter().chain([&self.total]).map(|text| text.0.chars().count());
        texts.max().unwrap_or(0).max(self.title.chars().count())
    }

    fn shorten(&mut self, width: usize) {
        for text in self.cells.iter_mut().map(|cell| &mut cell.0).chain([&mut self.title]) {
            if text.chars().count() > width {
                *text = text.chars().take(width - 1).chain(['…']).collect();
            }
        }
    }
}

/// Shortens and drops columns until they fit; answers with the titles of what was dropped.
fn fit(columns: &mut Vec<Column>, width: usize) -> Vec<String> {
    let mut left_out = Vec::new();
    shorten_names(columns, width, NAME_COMFORT);
    for rank in 1..=3 {
        if needed(columns) > width {
            left_out.extend(columns.extract_if(.., |column| column.gives_way == rank).map(|column| column.title));
        }
    }
    shorten_names(columns, width, NAME_MIN);
    left_out
}

fn needed(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.width() + 2).sum()
}

/// Shortens the longest names until the table fits or none is longer than `shortest`.
fn shorten_names(columns: &mut [Column], width: usize, shortest: usize) {
    loop {
        let excess = needed(columns).saturating_sub(width);
        let widest = columns.iter_mut().filter(|column| column.is_name).max_by_key(|column| column.width());
        let Some(widest) = widest.filter(|column| excess > 0 && column.width() > shortest) else { return };
        // A step at a time, so that two long columns of names share the loss.
        widest.shorten(widest.width().saturating_sub(excess.min(4)).max(shortest));
    }
}

fn draw(columns: &[Column], color: bool, out: &mut String) {
    let mut table = Table::new();
    table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    if color {
        table.enforce_styling();
    }
    let align = |column: &Column| {
        let is_left = column.is_name || column.gives_way == 0 && column.total.0.is_empty() || column.total.0 == "total";
        if is_left { CellAlignment::Left } else { CellAlignment::Right }
    };
    let bold = |text: &str, column| Cell::new(text).set_alignment(align(column)).add_attribute(Attribute::Bold);
    table.set_header(columns.iter().map(|column| bold(&column.title, column)));
    for row in 0..columns.iter().map(|column| column.cells.len()).max().unwrap_or(0) {
        table.add_row(columns.iter().map(|column| styled(&column.cells[row]).set_alignment(align(column))));
    }
    table.add_row(columns.iter().map(|column| bold(&column.total.0, column)));
    let rule: String = "─".repeat(columns.iter().map(|column| column.width() + 2).sum());
    let lines: Vec<String> = table.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        if index == 1 || index + 1 == lines.len() {
            out.push_str(&rule);
            out.push('\n');
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn styled((text, tone): &Text) -> Cell {
    let cell = Cell::new(text);
    match tone {
        Tone::Normal => cell,
        Tone::Faint => cell.add_attribute(Attribute::Dim),
        Tone::Warn => cell.fg(Color::Yellow),
        Tone::Negative => cell.fg(Color::Red),
    }
}

fn footer(answer: &Answer, left_out: &[String]) -> Vec<String> {
    let total = &answer.total;
    let edge = |at| instant(at, &answer.tz, "%Y-%m-%d %H:%M");
    let status = match answer.status {
        Status::Provisional => "provisional",
        Status::Closed => "closed",
    };
    let mut lines = vec![format!(
        "{} to {} {} · as of {} · {status}",
        edge(answer.window.start),
        edge(answer.window.end),
        plain(&answer.tz),
        edge(answer.as_of),
    )];
    lines.extend(total.cost.iter().filter_map(crate::footnotes::parts));
    if total.unpriced_kwh.abs() > 0.0 {
        let kwh = Decimal::from_f64_retain(total.unpriced_kwh).unwrap_or_default().round_dp(3);
        lines.push(format!("not priced: {} kWh, for which there is no rate, or a gap in its file", grouped(kwh)));
    }
    if let Some(grams) = total.carbon.location_grams {
        let partly = if total.carbon.without_factor_kwh.abs() > 0.0 { ", where a factor is known" } else { "" };
        lines.push(format!("carbon: {} CO2e, location-based{partly}", mass(grams)));
    }
    let missing = total.quality.expected_seconds - total.quality.covered_seconds;
    if missing > 0.5 {
        lines.push(format!("not covered: {} of host time had no readings", duration(missing)));
    }
    lines.extend(crate::footnotes::overlapped(answer));
    lines.extend(crate::footnotes::adjustments(answer));
    lines.extend(crate::footnotes::methods(answer));
    lines.extend(crate::footnotes::flags(answer));
    if !left_out.is_empty() {
        lines.push(format!("left out for the terminal's width: {}", left_out.join(", ")));
    }
    lines
}
