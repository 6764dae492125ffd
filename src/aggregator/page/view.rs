//! What the dashboard is asked for: the view, as its address carries it.
//!
//! `/?range=7d&by=rack&where=site=par1&sort=power&state=silent&page=2`. Every link on the page is such an address, so
//! that views can be bookmarked and shared, and the browser's own buttons work.

use std::fmt::Write as _;

use crate::asked::{Asked, Range};
use crate::http::problem::Problem;
use crate::query::Params;
use crate::vitals::HostState;

/// The parameters of a view.
pub const PARAMETERS: [&str; 6] = ["range", "by", "where", "sort", "state", "page"];
/// Longest filter, in bytes: addresses are not for more.
const FILTER_MAX: usize = 2000;
/// Last page that can be asked for.
const PAGE_MAX: usize = 100_000;

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// What used most.
    Energy,
    /// What draws most now.
    Power,
    /// By name.
    Name,
}

impl Sort {
    /// Every order.
    pub const ALL: [Self; 3] = [Self::Energy, Self::Power, Self::Name];

    /// As the address says it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        ["energy", "power", "name"][self as usize]
    }
}

/// A view of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Over which time.
    pub range: Range,
    /// What rows are, one key; empty for what people group by if nothing is said.
    pub by: String,
    /// What counts.
    pub filter: String,
    /// What comes first.
    pub sort: Sort,
    /// Only hosts that are so.
    pub state: Option<HostState>,
    /// Which page of rows, from 1.
    pub page: usize,
}

impl Default for View {
    fn default() -> Self {
        let (by, filter) = (String::new(), String::new());
        Self { range: Range::Day, by, filter, sort: Sort::Energy, state: None, page: 1 }
    }
}

impl View {
    /// Reads a view.
    ///
    /// # Errors
    /// A 400 problem that names the parameter and what would be right.
    pub fn read(query: &str) -> Result<Self, Problem> {
        let params = Params::read(query, &PARAMETERS)?;
        let sort = params.one_of("sort", &Sort::ALL.map(Sort::word))?;
        let states: Vec<&str> = std::iter::once("").chain(HostState::ALL.map(HostState::word)).collect();
        let state = params.one_of("state", &states)?;
        let filter = params.get("where").unwrap_or_default();
        if filter.len() > FILTER_MAX {
            let detail = format!("where is longer than {FILTER_MAX} bytes");
            return Err(Problem::bad_request("bad-parameter", detail));
        }
        let by = params.get("by").unwrap_or_default();
        if by.contains(',') {
            let detail = "by: the dashboard groups by one key at a time; /api/v1/rollup takes several";
            return Err(Problem::bad_request("bad-parameter", detail));
        }
        Ok(Self {
            range: Range::read(&params)?,
            by: by.to_owned(),
            filter: filter.to_owned(),
            sort: Sort::ALL.into_iter().find(|one| one.word() == sort).unwrap_or(Sort::Energy),
            state: HostState::ALL.into_iter().find(|one| one.word() == state),
            page: params.number("page", 1, 1..=PAGE_MAX)?,
        })
    }

    /// Its address.
    #[must_use]
    pub fn href(&self) -> String {
        let mut query = String::new();
        let mut add = |name: &str, value: &str| {
            let _ = write!(query, "{}{name}={}", if query.is_empty() { '?' } else { '&' }, encoded(value));
        };
        if self.range != Range::Day {
            add("range", self.range.word());
        }
        for (name, value) in [("by", &self.by), ("where", &self.filter)].into_iter().filter(|(_, v)| !v.is_empty()) {
            add(name, value);
        }
        if self.sort != Sort::Energy {
            add("sort", self.sort.word());
        }
        if let Some(state) = self.state {
            add("state", state.word());
        }
        if self.page > 1 {
            add("page", &self.page.to_string());
        }
        format!("/{query}")
    }

    /// The same over another time.
    #[must_use]
    pub fn over(&self, range: Range) -> Self {
        Self { range, ..self.clone() }
    }

    /// The same in rows of another key, from the first page on.
    #[must_use]
    pub fn rows_of(&self, by: &str) -> Self {
        Self { by: by.to_owned(), page: 1, ..self.clone() }
    }

    /// The same in another order, from the first page on.
    #[must_use]
    pub fn sorted(&self, sort: Sort) -> Self {
        Self { sort, page: 1, ..self.clone() }
    }

    /// Another page of it.
    #[must_use]
    pub fn at(&self, page: usize) -> Self {
        Self { page, ..self.clone() }
    }

    /// What has this value of a key, in rows of another; nothing if the value cannot be written.
    #[must_use]
    pub fn inside(&self, key: &str, value: &str, by: &str) -> Option<Self> {
        let term = term(key, value)?;
        let filter = if self.filter.is_empty() { term } else { format!("{},{term}", self.filter) };
        Some(Self { filter, by: by.to_owned(), page: 1, ..self.clone() })
    }

    /// The terms of the filter, each with the view without it.
    #[must_use]
    pub fn terms(&self) -> Vec<(String, Self)> {
        let terms: Vec<&str> = split(&self.filter);
        let without = |number: usize| {
            let rest = terms.iter().enumerate().filter(|(at, _)| *at != number).map(|(_, term)| *term);
            Self { filter: rest.collect::<Vec<_>>().join(","), page: 1, ..self.clone() }
        };
        terms.iter().enumerate().map(|(number, term)| ((*term).to_owned(), without(number))).collect()
    }

    /// The question behind it; hosts are told apart by their cluster too.
    #[must_use]
    pub fn asked(&self, key: &str) -> Asked {
        let by = if key == "host" { "cluster,host" } else { key };
        Asked { range: self.range, by: by.to_owned(), filter: self.filter.clone(), along: "" }
    }

    /// Where the same figures are had as a file.
    #[must_use]
    pub fn report(&self, by: &str, format: &str) -> String {
        let (window, by, filter) = (self.range.word(), encoded(by), encoded(&self.filter));
        let filter = if filter.is_empty() { String::new() } else { format!("&where={filter}") };
        format!("/api/v1/report?window={window}&by={by}{filter}&format={format}")
    }
}

/// A term of a filter; nothing if it cannot be written, since a value cannot hold a double quote.
#[must_use]
pub fn term(key: &str, value: &str) -> Option<String> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    match value {
        value if value.contains('"') => None,
        value if is_plain => Some(format!("{key}={value}")),
        value => Some(format!("{key}=\"{value}\"")),
    }
}

/// The terms of a filter: between commas outside of quotes and brackets.
fn split(filter: &str) -> Vec<&str> {
    let (mut in_quotes, mut in_brackets) = (false, false);
    let terms = filter.split(|c| {
        match c {
            '"' => in_quotes = !in_quotes,
            '[' if !in_quotes => in_brackets = true,
            ']' if !in_quotes => in_brackets = false,
            _ => {}
        }
        c == ',' && !in_quotes && !in_brackets
    });
    terms.map(str::trim).filter(|term| !term.is_empty()).collect()
}

/// As part of an address.
#[must_use]
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_read_as_its_address_says_it() {
        let view = View {
            range: Range::Week,
            by: "rack".into(),
            filter: "site=par1,team=\"a&b, c\"".into(),
            sort: Sort::Power,
            state: Some(HostState::NeverSeen),
            page: 3,
        };
        let address = view.href();
        assert_eq!(
            address,
            "/?range=7d&by=rack&where=site%3Dpar1%2Cteam%3D%22a%26b%2C%20c%22&sort=power&state=never_seen&page=3"
        );
        assert_eq!(View::read(&address[2..]).expect("a view"), view);
        assert_eq!(View::default().href(), "/");
        assert_eq!(View::read("").expect("a view"), View::default());
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for bad in
            ["range=2h", "sort=cost", "state=dead", "page=0", "page=x", "colour=red", "by=site,team", "by=a&by=b"]
        {
            assert!(View::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn filters_are_narrowed_and_widened_term_by_term() {
        let view = View::default().inside("site", "par1", "rack").and_then(|view| view.inside("rack", "r, 1", "host"));
        let view = view.expect("both can be written");
        assert_eq!((view.filter.as_str(), view.by.as_str()), ("site=par1,rack=\"r, 1\"", "host"));
        let without: Vec<String> = view.terms().into_iter().map(|(_, view)| view.filter).collect();
        assert_eq!(without, ["rack=\"r, 1\"", "site=par1"]);
        assert_eq!(View::default().inside("team", "a\"b", "host"), None);
    }
}
