//! What the view shows and how keys and news change it. It knows no clock, no terminal and no network.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use super::answers::{Bill, Detail, Key, Power};
use super::rows::{Id, Row, Sort, Sources, rows, shown};
use super::session::Session;
use super::text::Rates;

/// Longest filter, in characters.
const FILTER_MAX: usize = 64;
/// Figures of a view that asks every few seconds are old after this long, even if no question failed.
const OLD_AFTER: SignedDuration = SignedDuration::from_secs(30);
/// For how long a toast stays.
const TOAST: SignedDuration = SignedDuration::from_secs(4);
/// Lines that the head, the selected row and the foot take.
pub(super) const AROUND: u16 = 8;

/// What was heard of the aggregator. The number of a session tells answers of the one before apart.
#[derive(Debug)]
pub(super) enum News {
    Power(Power),
    Begun(u64, Bill),
    Billed(u64, Bill),
    /// Hosts that are not read: how they are; and whether that is all of them.
    States(BTreeMap<Key, String>, bool),
    Rates(Rates),
    Detail(Id, Detail),
    /// A question that was not answered, and why.
    Failed(&'static str, String),
}

/// What a key asks of the world outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Nothing,
    Reset,
    Quit,
}

/// A key, as far as the view knows keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Press {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Clear,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
    Interrupt,
}

/// What has the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Rows,
    Filter,
    Help,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct State {
    pub(super) server: String,
    /// Figures older than this are said to be old.
    pub(super) old_after: SignedDuration,
    pub(super) is_coloured: bool,
    pub(super) mode: Mode,
    /// Whether hosts are shown by energy, not chassis.
    pub(super) is_top: bool,
    pub(super) filter: String,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) total_watts: Option<f64>,
    /// Groups that are read now; more than there are rows if the answer was cut.
    pub(super) groups: usize,
    /// The moment of the power, by the aggregator's clock.
    pub(super) as_of: Option<Timestamp>,
    /// When power was last heard of, by ours.
    pub(super) heard: Option<Timestamp>,
    /// Questions that were not answered since, and why.
    pub(super) failures: BTreeMap<&'static str, String>,
    pub(super) session: Option<Session>,
    pub(super) session_number: u64,
    pub(super) is_cost_hidden: bool,
    /// Hosts that are simulated or replayed.
    pub(super) made_up_hosts: u64,
    pub(super) rates: Rates,
    pub(super) detail: Option<(Id, Detail)>,
    pub(super) states: BTreeMap<Key, String>,
    pub(super) are_states_all: bool,
    pub(super) rows: Vec<Row>,
    pub(super) shown: Vec<usize>,
    pub(super) place: usize,
    pub(super) offset: usize,
    pub(super) page: usize,
    pub(super) toast: Option<(String, Timestamp)>,
    watts: HashMap<Key, f64>,
    selected: Option<Id>,
}

impl State {
    pub(super) fn new(server: &str, is_coloured: bool) -> Self {
        Self {
            server: server.to_owned(),
            old_after: OLD_AFTER,
            is_coloured,
            mode: Mode::Rows,
            is_top: false,
            filter: String::new(),
            sort: Sort::Power,
            is_reversed: false,
            total_watts: None,
            groups: 0,
            as_of: None,
            heard: None,
            failures: BTreeMap::new(),
            session: None,
            session_number: 0,
            is_cost_hidden: false,
            made_up_hosts: 0,
            rates: Rates::default(),
            detail: None,
            states: BTreeMap::new(),
            are_states_all: true,
            rows: Vec::new(),
            shown: Vec::new(),
            place: 0,
            offset: 0,
            page: 1,
            toast: None,
            watts: HashMap::new(),
            selected: None,
        }
    }

    /// The row under the cursor.
    pub(super) fn selected(&self) -> Option<&Row> {
        self.shown.get(self.place).and_then(|index| self.rows.get(*index))
    }

    /// Whom to ask about more: the row under the cursor.
    pub(super) fn wanted(&self) -> Option<Id> {
        self.selected().map(|row| row.id.clone())
    }

    /// Takes what was heard, at this moment of our clock.
    pub(super) fn hear(&mut self, news: News, now: Timestamp) {
        match news {
            News::Power(power) => {
                self.total_watts = (power.groups > 0).then_some(power.total_watts);
                (self.as_of, self.heard, self.groups) = (Some(power.as_of), Some(now), power.groups);
                self.watts = power.rows.into_iter().map(|row| (row.by, row.watts)).collect();
                self.failures.remove("power");
                self.rebuild();
            }
            News::Begun(number, bill) if number == self.session_number => {
                self.session = Some(Session::begin(&bill));
                self.billed(&bill);
            }
            News::Billed(number, bill) if number == self.session_number => {
                if let Some(session) = &mut self.session {
                    session.hear(&bill);
                }
                self.billed(&bill);
            }
            News::Begun(..) | News::Billed(..) => {}
            News::States(states, are_all) => {
                (self.states, self.are_states_all) = (states, are_all);
                self.rebuild();
            }
            News::Rates(rates) => self.rates = rates,
            News::Detail(id, detail) => self.detail = Some((id, detail)),
            News::Failed(what, why) => {
                self.failures.insert(what, why);
            }
        }
    }

    /// What every bill says besides the figures of the session.
    fn billed(&mut self, bill: &Bill) {
        (self.is_cost_hidden, self.made_up_hosts) = (bill.cost_hidden, bill.made_up_hosts);
        self.failures.remove("energy");
        self.rebuild();
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: Press, now: Timestamp) -> Order {
        if key == Press::Interrupt {
            return Order::Quit;
        }
        match self.mode {
            Mode::Help => self.mode = Mode::Rows,
            Mode::Filter => self.edit(key),
            Mode::Rows => return self.command(key, now),
        }
        Order::Nothing
    }

    fn edit(&mut self, key: Press) {
        match key {
            Press::Char(letter) if self.filter.chars().count() < FILTER_MAX && !letter.is_control() => {
                self.filter.push(letter);
            }
            Press::Backspace => drop(self.filter.pop()),
            Press::Clear => self.filter.clear(),
            Press::Enter => self.mode = Mode::Rows,
            Press::Escape => {
                self.filter.clear();
                self.mode = Mode::Rows;
            }
            key => return self.go(key),
        }
        self.rebuild();
    }

    fn command(&mut self, key: Press, now: Timestamp) -> Order {
        match key {
            Press::Char('q') => return Order::Quit,
            Press::Char('R') => {
                (self.session, self.session_number) = (None, self.session_number + 1);
                self.toast =
                    Some(("Session reset: it begins anew. Lifetime figures are untouched.".into(), now + TOAST));
                self.rebuild();
                return Order::Reset;
            }
            Press::Char('E') => {
                self.is_top = !self.is_top;
                self.sort = if self.is_top { Sort::Energy } else { Sort::Power };
                (self.is_reversed, self.selected, self.place) = (false, None, 0);
                self.rebuild();
            }
            Press::Char('/') => self.mode = Mode::Filter,
            Press::Char('?' | 'h') => self.mode = Mode::Help,
            Press::Char('s') => self.sort_by(self.sort.next(self.is_cost_hidden)),
            Press::Char('p') => self.sort_by(Sort::Power),
            Press::Char('e') => self.sort_by(Sort::Energy),
            Press::Char('c') if !self.is_cost_hidden => self.sort_by(Sort::Cost),
            Press::Char('n') => self.sort_by(Sort::Name),
            Press::Char('o') => {
                self.is_reversed = !self.is_reversed;
                self.rebuild();
            }
            Press::Escape => {
                self.filter.clear();
                self.rebuild();
            }
            Press::Char('k') => self.go(Press::Up),
            Press::Char('j') => self.go(Press::Down),
            Press::Char('g') => self.go(Press::Home),
            Press::Char('G') => self.go(Press::End),
            key => self.go(key),
        }
        Order::Nothing
    }

    fn sort_by(&mut self, sort: Sort) {
        (self.sort, self.is_reversed) = (sort, false);
        self.rebuild();
    }

    /// Moves the cursor.
    fn go(&mut self, key: Press) {
        let last = self.shown.len().saturating_sub(1);
        let place = match key {
            Press::Up => self.place.saturating_sub(1),
            Press::Down => self.place.saturating_add(1),
            Press::PageUp => self.place.saturating_sub(self.page),
            Press::PageDown => self.place.saturating_add(self.page),
            Press::Home => 0,
            Press::End => last,
            _ => return,
        };
        self.place = place.min(last);
        // At the top it stays with the place: there one looks at whoever comes first.
        self.selected = if self.place == 0 { None } else { self.wanted() };
        self.scroll();
    }

    /// Takes the size of the terminal.
    pub(super) fn resize(&mut self, height: u16) {
        self.page = usize::from(height.saturating_sub(AROUND)).max(1);
        self.scroll();
    }

    fn scroll(&mut self) {
        self.offset = self.offset.min(self.place).max((self.place + 1).saturating_sub(self.page));
        self.offset = self.offset.min(self.shown.len().saturating_sub(self.page));
    }

    /// Makes the rows anew; the cursor stays with its row.
    fn rebuild(&mut self) {
        let session = self.session.as_ref().map(Session::rows);
        let sources = Sources { watts: &self.watts, session, states: &self.states };
        self.rows = rows(&sources, self.is_top);
        self.shown = shown(&self.rows, &self.filter, self.sort, self.is_reversed);
        let is_selected = |index: &usize| Some(&self.rows[*index].id) == self.selected.as_ref();
        let found = self.shown.iter().position(is_selected);
        self.place = found.unwrap_or(self.place).min(self.shown.len().saturating_sub(1));
        self.scroll();
    }
}
