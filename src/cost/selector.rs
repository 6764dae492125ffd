//! Which hosts and lines (`where`), and grouped by what (`by`).

use std::collections::BTreeSet;
use std::sync::Arc;

use meter::Scope;
use meter::hostlist::Pattern;

use crate::error::{CostError, shortened};
use crate::usage::HostInfo;

/// What the scope of energy is called that the outermost meter saw and no component explains.
pub const UNATTRIBUTED: &str = "unattributed";

/// Most keys in `by` and terms in `where`: as many as a person can read.
const TERMS_MAX: usize = 16;

/// A key that rows can be grouped and selected by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// The cluster.
    Cluster,
    /// The host's name.
    Host,
    /// The chassis the host sits in.
    Chassis,
    /// The component, or [`UNATTRIBUTED`].
    Scope,
    /// The device.
    Device,
    /// A label of the host.
    Label(Arc<str>),
}

impl Dimension {
    const FIXED: [Self; 5] = [Self::Cluster, Self::Host, Self::Chassis, Self::Scope, Self::Device];

    fn read(parameter: &'static str, key: &str, labels: &BTreeSet<String>) -> Result<Self, CostError> {
        let fixed = Self::FIXED.into_iter().find(|dimension| dimension.name() == key);
        let label = || labels.contains(key).then(|| Self::Label(key.into()));
        fixed.or_else(label).ok_or_else(|| {
            let fixed = Self::FIXED.iter().map(Self::name);
            let known: Vec<_> = fixed.chain(labels.iter().map(String::as_str)).collect();
            CostError::UnknownKey { parameter, key: shortened(key), known: known.join(", ") }
        })
    }

    /// The key as it is written.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Cluster => "cluster",
            Self::Host => "host",
            Self::Chassis => "chassis",
            Self::Scope => "scope",
            Self::Device => "device",
            Self::Label(key) => key,
        }
    }

    /// Whether lines of one host differ in it.
    #[must_use]
    pub const fn is_of_line(&self) -> bool {
        matches!(self, Self::Scope | Self::Device)
    }

    /// The host's value; empty where it has none, and for the line's own dimensions.
    #[must_use]
    pub fn of_host<'a>(&self, host: &HostInfo<'a>) -> &'a str {
        match self {
            Self::Cluster => host.cluster,
            Self::Host => host.name,
            Self::Chassis => host.chassis.unwrap_or(""),
            Self::Scope | Self::Device => "",
            Self::Label(key) => host.labels.get(&**key).map_or("", String::as_str),
        }
    }
}

/// The scope's word, [`UNATTRIBUTED`] for none.
#[must_use]
pub fn scope_word(scope: Option<Scope>) -> &'static str {
    scope.map_or(UNATTRIBUTED, Scope::word)
}

/// What rows are grouped by, in the order asked for; empty for one group of all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct By(Vec<Dimension>);

impl By {
    /// Reads a comma list of keys. `labels` are the label keys there are.
    ///
    /// # Errors
    /// [`CostError::UnknownKey`], which lists the known ones.
    pub fn parse(text: &str, labels: &BTreeSet<String>) -> Result<Self, CostError> {
        let mut all = Vec::new();
        for key in text.split(',').map(str::trim).filter(|key| !key.is_empty()) {
            let dimension = Dimension::read("by", key, labels)?;
            if !all.contains(&dimension) {
                all.push(dimension);
            }
        }
        if all.len() > TERMS_MAX {
            let known = format!("at most {TERMS_MAX} at a time");
            return Err(CostError::UnknownKey { parameter: "by", key: shortened(text), known });
        }
        Ok(Self(all))
    }

    /// The dimensions.
    #[must_use]
    pub fn dimensions(&self) -> &[Dimension] {
        &self.0
    }

    /// The keys as they are written.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.0.iter().map(|dimension| dimension.name().to_owned()).collect()
    }

    /// Whether lines of one host can fall in different groups.
    #[must_use]
    pub fn splits_hosts(&self) -> bool {
        self.0.iter().any(Dimension::is_of_line)
    }
}

/// Which usage counts: all terms must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Where {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    dimension: Dimension,
    negated: bool,
    any_of: Vec<Pattern>,
}

impl Where {
    /// Reads `key=value,key!=value,key=a|b` with globs and host lists as values; a value in double
    /// quotes is taken as it is. `key=` selects what lacks the label.
    ///
    /// # Errors
    /// [`CostError::UnknownKey`] lists the known keys; [`CostError::Where`] and
    /// [`CostError::HostList`] name the term that cannot be read.
    pub fn parse(text: &str, labels: &BTreeSet<String>) -> Result<Self, CostError> {
        let bad = |term: &str, why: &str| CostError::Where { term: shortened(term), why: why.into() };
        let mut terms = Vec::new();
        for term in outside(text, ',').map(str::trim).filter(|term| !term.is_empty()) {
            let (key, value) = term.split_once('=').ok_or_else(|| bad(term, "is not key=value or key!=value"))?;
            let (key, negated) = key.strip_suffix('!').map_or((key, false), |key| (key, true));
            let dimension = Dimension::read("where", key.trim(), labels)?;
            let any_of = outside(value.trim(), '|').map(pattern).collect::<Result<_, _>>()?;
            terms.push(Term { dimension, negated, any_of });
        }
        if terms.len() > TERMS_MAX {
            return Err(bad(text, "has more than 16 terms"));
        }
        Ok(Self { terms })
    }

    /// Whether the terms about hosts hold.
    #[must_use]
    pub fn selects_host(&self, host: &HostInfo<'_>) -> bool {
        let mut terms = self.terms.iter().filter(|term| !term.dimension.is_of_line());
        terms.all(|term| term.holds(term.dimension.of_host(host)))
    }

    /// Whether the terms about scope and device hold.
    #[must_use]
    pub fn selects_line(&self, scope: Option<Scope>, device: &str) -> bool {
        self.terms.iter().all(|term| match term.dimension {
            Dimension::Scope => term.holds(scope_word(scope)),
            Dimension::Device => term.holds(device),
            _ => true,
        })
    }

    /// Whether some lines of a host may be selected and others not.
    #[must_use]
    pub fn splits_hosts(&self) -> bool {
        self.terms.iter().any(|term| term.dimension.is_of_line())
    }
}

impl Term {
    fn holds(&self, value: &str) -> bool {
        self.any_of.iter().any(|pattern| pattern.matches(value)) != self.negated
    }
}

fn pattern(value: &str) -> Result<Pattern, CostError> {
    let value = value.trim();
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    Ok(quoted.map_or_else(|| Pattern::parse(value), |text| Ok(Pattern::literal(text)))?)
}

/// The parts between separators that stand outside brackets and quotes.
fn outside(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut in_brackets, mut in_quotes) = (false, false);
    text.split(move |c| {
        match c {
            '"' => in_quotes = !in_quotes,
            '[' if !in_quotes => in_brackets = true,
            ']' if !in_quotes => in_brackets = false,
            _ => {}
        }
        c == separator && !in_brackets && !in_quotes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> BTreeSet<String> {
        ["team", "rack", "site"].map(str::to_owned).into()
    }

    fn selects(text: &str, name: &str, team: &str, rack: &str) -> bool {
        let given = [("team", team), ("rack", rack)].into_iter().filter(|(_, value)| !value.is_empty());
        let labels = given.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let host = HostInfo { cluster: "default", name, chassis: Some("c7"), labels: &labels };
        Where::parse(text, &self::labels()).expect(text).selects_host(&host)
    }

    #[test]
    fn terms_select_hosts() {
        for (text, selected) in [
            ("", true),
            ("team=nlp", true),
            ("team!=nlp", false),
            ("team=cv|nlp", true),
            ("team=cv|vision", false),
            ("host=node[01-20],rack=rack[1-3,7]", true),
            ("host=node[01-16]", false),
            ("host=node*,chassis=c?", true),
            ("team=n*|x, rack!=rack[4-9]", false),
            ("site=", true),
            ("site!=", false),
            ("team=\"n*\"", false),
            ("scope=gpu", true),
        ] {
            assert_eq!(selects(text, "node17", "nlp", "rack7"), selected, "{text}");
        }
        assert!(selects("team=\"a,b|c\"", "n", "a,b|c", ""));
    }

    #[test]
    fn terms_about_lines_leave_hosts_alone() {
        let filter = Where::parse("scope=gpu|unattributed,device!=GPU-1", &labels()).expect("a filter");
        assert!(filter.splits_hosts());
        assert!(filter.selects_line(Some(Scope::Gpu), "GPU-2") && filter.selects_line(None, ""));
        assert!(!filter.selects_line(Some(Scope::Gpu), "GPU-1") && !filter.selects_line(Some(Scope::Cpu), "0"));
    }

    #[test]
    fn an_unknown_key_lists_the_known_ones() {
        for error in [By::parse("team,room", &labels()).err(), Where::parse("room=1", &labels()).err()] {
            let text = error.expect("room is no key").to_string();
            assert!(text.contains("\"room\"") && text.contains("device, rack, site, team"), "{text}");
        }
    }

    #[test]
    fn what_is_no_term_is_refused() {
        for bad in ["team", "team=[1-", "=x", "host=n[2-1]"] {
            assert!(Where::parse(bad, &labels()).is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_keep_their_order_and_count_once() {
        let by = By::parse("team, host,team", &labels()).expect("keys");
        assert_eq!(by.names(), ["team", "host"]);
        assert!(!by.splits_hosts() && By::parse("device", &labels()).expect("a key").splits_hosts());
    }
}
