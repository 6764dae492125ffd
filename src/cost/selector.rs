//! Which hosts and lines (`where`), and grouped by what (`by`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use meter::Scope;
use meter::hostlist::Pattern;

use crate::error::{CostError, shortened};
use crate::tenant::{Axis, JobKey};
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
    /// A key of the job that holds it.
    Job(JobKey),
    /// A key made of several by first match.
    Axis(Arc<Axis>),
    /// A label of the host.
    Label(Arc<str>),
}

impl Dimension {
    const FIXED: [Self; 5] = [Self::Cluster, Self::Host, Self::Chassis, Self::Scope, Self::Device];

    fn read(parameter: &'static str, key: &str, labels: &BTreeSet<String>) -> Result<Self, CostError> {
        let fixed = Self::FIXED.into_iter().find(|dimension| dimension.name() == key);
        let job = || JobKey::read(key, |known| labels.contains(known)).map(Self::Job);
        let label = || labels.contains(key).then(|| Self::Label(key.into()));
        fixed.or_else(job).or_else(label).ok_or_else(|| {
            let (fixed, jobs) = (Self::FIXED.iter().map(Self::name), JobKey::FIXED.iter().map(JobKey::name));
            let known: Vec<_> = fixed.chain(labels.iter().map(String::as_str)).chain(jobs).collect();
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
            Self::Job(key) => key.name(),
            Self::Axis(axis) => axis.name(),
            Self::Label(key) => key,
        }
    }

    /// Whether lines of one host differ in it.
    #[must_use]
    pub const fn is_of_line(&self) -> bool {
        self.is_of_component() || self.is_of_tenant()
    }

    /// Whether it tells components of a host apart.
    #[must_use]
    pub const fn is_of_component(&self) -> bool {
        matches!(self, Self::Scope | Self::Device)
    }

    /// Whether it depends on the job that holds the energy.
    #[must_use]
    pub const fn is_of_tenant(&self) -> bool {
        matches!(self, Self::Job(_) | Self::Axis(_))
    }

    /// The axis that stands in place of a label, if one of these has its name.
    fn by_axis(self, axes: &[Arc<Axis>]) -> Self {
        let axis = axes.iter().find(|axis| matches!(&self, Self::Label(key) if **key == *axis.name()));
        axis.map_or(self, |axis| Self::Axis(Arc::clone(axis)))
    }

    /// The host's value; empty where it has none, and for the line's own dimensions.
    #[must_use]
    pub fn of_host<'a>(&self, host: &HostInfo<'a>) -> &'a str {
        match self {
            Self::Cluster => host.cluster,
            Self::Host => host.name,
            Self::Chassis => host.chassis.unwrap_or(""),
            Self::Scope | Self::Device | Self::Job(_) | Self::Axis(_) => "",
            Self::Label(key) => host.labels.get(&**key).map_or("", String::as_str),
        }
    }
}

/// Whether a key of `by` is a label of hosts, rather than one of the keys that every answer knows.
#[must_use]
pub fn is_label(key: &str) -> bool {
    !key.starts_with("job.") && Dimension::FIXED.iter().all(|dimension| dimension.name() != key)
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

    /// The finest grain there is without jobs: every label, the host and where it sits, scope and device.
    #[must_use]
    pub fn grain(labels: &BTreeSet<String>) -> Self {
        let fixed = [Dimension::Cluster, Dimension::Host, Dimension::Chassis];
        let labels = labels.iter().map(|key| Dimension::Label(key.as_str().into()));
        Self(fixed.into_iter().chain(labels).chain([Dimension::Scope, Dimension::Device]).collect())
    }

    /// Without these keys.
    #[must_use]
    pub fn without(mut self, keys: &[&str]) -> Self {
        self.0.retain(|dimension| !keys.contains(&dimension.name()));
        self
    }

    /// The same with one more key, unless it is there or nothing has it.
    #[must_use]
    pub fn and(mut self, key: &str, labels: &BTreeSet<String>) -> Self {
        let more = Dimension::read("by", key, labels).ok().filter(|dimension| !self.0.contains(dimension));
        self.0.extend(more);
        self
    }

    /// With these axes in place of the labels of their names.
    #[must_use]
    pub fn with_axes(self, axes: &[Arc<Axis>]) -> Self {
        Self(self.0.into_iter().map(|dimension| dimension.by_axis(axes)).collect())
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

    /// With these axes in place of the labels of their names.
    #[must_use]
    pub fn with_axes(self, axes: &[Arc<Axis>]) -> Self {
        let term = |term: Term| Term { dimension: term.dimension.by_axis(axes), ..term };
        Self { terms: self.terms.into_iter().map(term).collect() }
    }

    /// Whether a term is about jobs: only figures of energy can tell those apart.
    #[must_use]
    pub fn asks_jobs(&self) -> bool {
        self.dimensions().any(Dimension::is_of_tenant)
    }

    /// What it asks for, as often as it does.
    pub(crate) fn dimensions(&self) -> impl Iterator<Item = &Dimension> {
        self.terms.iter().map(|term| &term.dimension)
    }

    /// Whether all terms hold, by the values of keys; what is not among them is empty.
    #[must_use]
    pub fn selects_key(&self, key: &BTreeMap<String, String>) -> bool {
        self.terms.iter().all(|term| term.holds(key.get(term.dimension.name()).map_or("", String::as_str)))
    }

    /// Whether everything is selected.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.terms.is_empty()
    }

    /// The site, if the only term asks for exactly one: `site=par1`.
    #[must_use]
    pub fn only_site(&self) -> Option<&str> {
        let [Term { dimension: Dimension::Label(key), negated: false, any_of }] = &*self.terms else { return None };
        let [pattern] = &**any_of else { return None };
        pattern.as_literal().filter(|_| &**key == "site")
    }

    /// What stands at exactly this site.
    #[must_use]
    pub fn site(site: &str) -> Self {
        let dimension = Dimension::Label("site".into());
        Self { terms: vec![Term { dimension, negated: false, any_of: vec![Pattern::literal(site)] }] }
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

    /// Whether the terms about jobs hold, by the value of a dimension.
    pub(crate) fn selects_tenant<'a>(&'a self, value: impl Fn(&'a Dimension) -> &'a str) -> bool {
        let mut terms = self.terms.iter().filter(|term| term.dimension.is_of_tenant());
        terms.all(|term| term.holds(value(&term.dimension)))
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
