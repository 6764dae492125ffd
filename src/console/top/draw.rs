//! Draws the state: a pure function, so that what a person sees can be tested without a terminal.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Table};

use super::rows::Row;
use super::session::Session;
use super::state::{Mode, State};
use super::{help, text};
use crate::figures::{NOTHING, duration, plain};
use crate::footnotes::made_up;

/// Least columns and lines that the view needs.
const LEAST: (u16, u16) = (40, 10);

/// Labels of the selected row that are shown, in this order.
const SHOWN_LABELS: [&str; 5] = ["simulated", "replayed", "team", "site", "rack"];

/// What a piece of text is, and so how it looks; without colour by weight alone.
#[derive(Clone, Copy)]
enum Tone {
    Strong,
    Faint,
    Good,
    Warn,
}

impl Tone {
    fn style(self, is_coloured: bool) -> Style {
        let plain = Style::default();
        match (self, is_coloured) {
            (Self::Strong, _) => plain.add_modifier(Modifier::BOLD),
            (Self::Faint, true) => plain.add_modifier(Modifier::DIM),
            (Self::Good, true) => plain.fg(Color::Green),
            (Self::Warn, true) => plain.fg(Color::Yellow).add_modifier(Modifier::BOLD),
            (Self::Warn, false) => plain.add_modifier(Modifier::BOLD),
            (Self::Faint | Self::Good, false) => plain,
        }
    }
}

/// Draws all of it; times of day are shown in this zone.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: Timestamp, zone: &TimeZone) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let told = format!("too small: {}x{} at least", LEAST.0, LEAST.1);
        return frame.render_widget(Paragraph::new(told), area);
    }
    if state.mode == Mode::Help {
        return frame.render_widget(Paragraph::new(help::lines(state.is_cost_hidden)), area);
    }
    let [head, body, below, foot] =
        Layout::vertical([Constraint::Length(4), Constraint::Min(1), Constraint::Length(2), Constraint::Length(1)])
            .areas(area);
    frame.render_widget(Paragraph::new(head_lines(state, now, zone, usize::from(area.width))), head);
    rows(frame, state, body);
    frame.render_widget(Paragraph::new(selected_lines(state)), below);
    frame.render_widget(Paragraph::new(foot_line(state, now)), foot);
}

fn head_lines(state: &State, now: Timestamp, zone: &TimeZone, width: usize) -> Vec<Line<'static>> {
    let title = format!("wattledger top  {}", plain(&state.server));
    let as_of = state.as_of.map_or_else(|| "no figures yet".to_owned(), |at| format!("as of {}", clock(at, zone)));
    let space = width.saturating_sub(title.chars().count() + as_of.chars().count()).max(2);
    let title = Span::styled(title, Tone::Strong.style(state.is_coloured));
    vec![
        Line::from(vec![title, Span::raw(" ".repeat(space)), Span::raw(as_of)]),
        fleet_line(state, zone, width),
        session_line(state),
        trouble_line(state, now, zone),
    ]
}

fn fleet_line(state: &State, zone: &TimeZone, width: usize) -> Line<'static> {
    let read = match state.groups {
        1 => "1 host is read now".to_owned(),
        hosts => format!("{hosts} hosts are read now"),
    };
    let mut text = vec![read];
    for word in ["silent", "off", "never_seen"] {
        let count = state.states.values().filter(|state| *state == word).count();
        if count > 0 {
            let more = if state.are_states_all { "" } else { " or more" };
            text.push(format!("{count}{more} {}", word.replace('_', " ")));
        }
    }
    let power = Span::styled(text::power(state.total_watts), Tone::Strong.style(state.is_coloured));
    let text = if state.as_of.is_none() { "waiting for the aggregator".to_owned() } else { text.join(", ") };
    let since = state.session.as_ref().map_or_else(String::new, |session| {
        let long = duration(session.as_of.duration_since(session.since).as_secs_f64());
        format!("session since {}, {long}", clock(session.since, zone))
    });
    let used = "Fleet ".len() + power.content.chars().count() + 2 + text.chars().count();
    let space = width.saturating_sub(used + since.chars().count()).max(2);
    Line::from(vec![Span::raw("Fleet "), power, Span::raw(format!("  {text}{}{since}", " ".repeat(space)))])
}

fn session_line(state: &State) -> Line<'static> {
    let session = state.session.as_ref();
    let line = text::session(session.map(Session::total), &state.rates, state.is_cost_hidden);
    let mut spans = vec![Span::styled(line, Tone::Good.style(state.is_coloured))];
    if let Some(uj) = session.and_then(Session::corrected) {
        let told = format!("  (corrected in the ledger: {} kWh)", text::energy(uj));
        spans.push(Span::styled(told, Tone::Warn.style(state.is_coloured)));
    }
    Line::from(spans)
}

/// Since when figures are old, and why; else what else must be known of them.
fn trouble_line(state: &State, now: Timestamp, zone: &TimeZone) -> Line<'static> {
    let warn = Tone::Warn.style(state.is_coloured);
    let age = state.heard.map(|heard| now.duration_since(heard));
    if let Some(why) = state.failures.get("power") {
        let since = state.heard.map_or_else(|| "yet".to_owned(), |at| format!("since {}", clock(at, zone)));
        let old = if state.heard.is_some() { "; figures are of then" } else { "; trying again" };
        return Line::styled(format!("No answer {since} ({}){old}", plain(why)), warn);
    }
    if let Some(age) = age.filter(|age| *age > state.old_after) {
        return Line::styled(format!("Figures are {} old; waiting for an answer", duration(age.as_secs_f64())), warn);
    }
    match state.failures.iter().next() {
        Some((what, why)) => Line::styled(format!("No answer about {what} ({}); trying again", plain(why)), warn),
        None if state.made_up_hosts > 0 => Line::styled(made_up(state.made_up_hosts), warn),
        None => Line::default(),
    }
}

/// A column: its title, its width, whether it leans right.
type Column = (&'static str, u16, bool);

/// The columns that this width has room for, after the name.
fn columns(state: &State, width: u16) -> Vec<Column> {
    let wide = width >= 76;
    let mut columns = vec![("POWER", 10, true), ("SESSION kWh", 12, true)];
    if !state.is_cost_hidden && width >= 54 {
        columns.push(("COST", 13, true));
    }
    if wide {
        columns.insert(0, if state.is_top { ("CHASSIS", 14, false) } else { ("HOSTS", 9, true) });
        columns.push(if state.is_top { ("SHARE", 7, true) } else { ("STATE", 10, false) });
    }
    columns
}

fn rows(frame: &mut Frame<'_>, state: &State, area: Rect) {
    let columns = columns(state, area.width);
    let first = if state.is_top { "TOP CONSUMERS" } else { "CHASSIS OR HOST" };
    let widths = [Constraint::Fill(1)].into_iter().chain(columns.iter().map(|column| Constraint::Length(column.1)));
    let title = |(title, _, right): &Column| aligned((*title).to_owned(), *right);
    let header = [Cell::from(first)].into_iter().chain(columns.iter().map(title));
    let page = usize::from(area.height.saturating_sub(1));
    let shown = state.shown.iter().enumerate().skip(state.offset).take(page);
    let rows = shown.map(|(place, index)| {
        let row = &state.rows[*index];
        let is_selected = place == state.place;
        let name = format!("{}{}", if is_selected { "> " } else { "  " }, plain(&row.id.name));
        let cells = columns.iter().map(|column| aligned(cell(state, row, column.0), column.2));
        let style = match (is_selected, row.watts) {
            (true, _) => Style::default().add_modifier(Modifier::REVERSED),
            (_, None) => Tone::Faint.style(state.is_coloured),
            _ => Style::default(),
        };
        ratatui::widgets::Row::new([Cell::from(name)].into_iter().chain(cells)).style(style)
    });
    let header = ratatui::widgets::Row::new(header).style(Tone::Strong.style(state.is_coloured));
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1), area);
    if state.shown.is_empty() && area.height > 1 {
        let told = match (state.filter.is_empty(), state.as_of) {
            (false, _) => "  no row matches the filter; Esc clears it",
            (true, None) => "  no figures yet",
            (true, Some(_)) => "  no host has been read yet",
        };
        frame.render_widget(Paragraph::new(told), Rect { y: area.y + 1, height: 1, ..area });
    }
}

fn aligned(text: String, right: bool) -> Cell<'static> {
    let line = Line::from(text);
    Cell::from(if right { line.right_aligned() } else { line })
}

fn cell(state: &State, row: &Row, title: &str) -> String {
    let session = row.session.as_ref();
    let total = state.session.as_ref().map_or(0, |session| session.total().uj);
    match title {
        "POWER" => text::power(row.watts),
        "SESSION kWh" => session.map_or_else(|| NOTHING.to_owned(), |figures| text::energy_beside(figures.uj, total)),
        "COST" => session.map_or_else(|| NOTHING.to_owned(), text::costs),
        // Before power was heard of, nobody is known to be read or not.
        "HOSTS" if state.as_of.is_none() => row.hosts.to_string(),
        "HOSTS" if row.read == row.hosts => row.hosts.to_string(),
        "HOSTS" => format!("{} of {}", row.read, row.hosts),
        "CHASSIS" => if row.chassis.is_empty() { NOTHING } else { &row.chassis }.to_owned(),
        "SHARE" => session
            .filter(|_| total > 0)
            .map_or_else(|| NOTHING.to_owned(), |figures| format!("{:.1} %", figures.uj as f64 / total as f64 * 100.0)),
        _ if state.as_of.is_none() => NOTHING.to_owned(),
        _ => row.state().replace('_', " "),
    }
}

fn selected_lines(state: &State) -> Vec<Line<'static>> {
    let Some(row) = state.selected() else { return Vec::new() };
    let kind = if row.id.is_chassis { "chassis" } else { "host" };
    let mut text = format!("{kind} {}/{}", plain(&row.id.cluster), plain(&row.id.name));
    let detail = state.detail.as_ref().filter(|(id, _)| *id == row.id).map(|(_, detail)| detail);
    match detail {
        Some(detail) => {
            let lifetime = text::energy(detail.lifetime.energy_uj);
            text.push_str(&format!("  {}, lifetime {lifetime} kWh", plain(&detail.state).replace('_', " ")));
            let labels = SHOWN_LABELS.into_iter().filter_map(|key| Some((key, detail.labels.get(key)?)));
            labels.for_each(|(key, value)| text.push_str(&format!("  {key}={}", plain(value))));
            if !detail.flags.is_empty() {
                text.push_str(&format!("  flags: {}", plain(&detail.flags.join(", "))));
            }
        }
        None => text.push_str(&format!("  {}", row.state().replace('_', " "))),
    }
    let rates = state.rates.at(detail.and_then(|detail| detail.labels.get("site")));
    let session = text::session(row.session.as_ref(), &rates, state.is_cost_hidden);
    vec![Line::styled(text, Tone::Strong.style(state.is_coloured)), Line::from(session)]
}

fn foot_line(state: &State, now: Timestamp) -> Line<'static> {
    let strong = Tone::Strong.style(state.is_coloured);
    if let Some((toast, _)) = state.toast.as_ref().filter(|(_, until)| now < *until) {
        return Line::styled(toast.clone(), Style::default().add_modifier(Modifier::REVERSED));
    }
    if state.mode == Mode::Filter {
        return Line::styled(format!("/{}_  Enter keeps the filter, Esc clears it", state.filter), strong);
    }
    let rows = if state.shown.len() == 1 { "1 row".to_owned() } else { format!("{} rows", state.shown.len()) };
    let mut text = format!("{rows} by {}", state.sort.word());
    if !state.filter.is_empty() {
        text = format!("{text}, filter /{}", state.filter);
    }
    let view = if state.is_top { "E chassis" } else { "E top" };
    Line::from(format!("{text}   ? help  q quit  R reset  {view}  / filter  s sort"))
}

/// The time of day.
fn clock(at: Timestamp, zone: &TimeZone) -> String {
    at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string()
}
