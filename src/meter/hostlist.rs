//! Host lists and patterns: `node[01-20]`, `rack[1-3,7]`, `gpu*`, `node-?`.
//!
//! Brackets are Slurm's: numbers keep the width of the range's first one, so `[01-10]` is 01, 02 … 10
//! and `[8-12]` is 8, 9, 10, 11, 12. `*` stands for any run of characters, `?` for one.

/// Most names one list may expand to: a hundred times the largest machine.
pub const NAMES_MAX: usize = 100_000;
/// Longest pattern in bytes.
pub const PATTERN_MAX: usize = 1024;

/// A host list or pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host list {pattern:?} {why}")]
pub struct HostListError {
    /// The pattern; of a long one the beginning.
    pub pattern: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// A pattern that names match or not; it is never expanded for that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Text(String),
    AnyRun,
    AnyOne,
    OneOf(Vec<Item>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Word(String),
    Numbers { low: u64, high: u64, width: usize },
}

/// The names of a host list, in its order.
///
/// # Errors
/// [`HostListError`] if it cannot be read, holds `*` or `?`, or names more than [`NAMES_MAX`].
pub fn expand(pattern: &str) -> Result<Vec<String>, HostListError> {
    let bad = |why| HostListError { pattern: shortened(pattern), why };
    let parsed = Pattern::parse(pattern)?;
    let mut sizes = parsed.segments.iter().map(Segment::size);
    let size = sizes.try_fold(1_u64, |product, size| product.checked_mul(size?));
    match size {
        None => return Err(bad("cannot be listed: * and ? name no one in particular, or it is too long")),
        Some(size) if size > NAMES_MAX as u64 => return Err(bad("names more than 100000 hosts")),
        Some(_) => {}
    }
    let mut names = vec![String::new()];
    for segment in &parsed.segments {
        names = segment.append_to(&names);
    }
    Ok(names)
}

/// The beginning of a text that came from outside, for a message.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`HostListError`] if a bracket is not closed, a range runs backwards, or it is too long.
    pub fn parse(pattern: &str) -> Result<Self, HostListError> {
        let bad = |why| HostListError { pattern: shortened(pattern), why };
        if pattern.len() > PATTERN_MAX {
            return Err(bad("is longer than 1024 bytes"));
        }
        let mut segments = Vec::new();
        let mut rest = pattern;
        while let Some(next) = rest.chars().next() {
            let length = match next {
                '*' => {
                    segments.push(Segment::AnyRun);
                    1
                }
                '?' => {
                    segments.push(Segment::AnyOne);
                    1
                }
                '[' => {
                    let close = rest.find(']').ok_or_else(|| bad("has a [ without its ]"))?;
                    segments.push(Segment::OneOf(items(&rest[1..close]).map_err(bad)?));
                    close + 1
                }
                ']' => return Err(bad("has a ] without its [")),
                _ => {
                    let end = rest.find(['*', '?', '[', ']']).unwrap_or(rest.len());
                    segments.push(Segment::Text(rest[..end].into()));
                    end
                }
            };
            rest = &rest[length..];
        }
        Ok(Self { segments })
    }

    /// A pattern that only this text matches.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self { segments: vec![Segment::Text(text.into())] }
    }

    /// The one name that matches, if the pattern is that name itself.
    #[must_use]
    pub fn as_literal(&self) -> Option<&str> {
        match &*self.segments {
            [] => Some(""),
            [Segment::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Whether the whole name matches.
    ///
    /// Time grows with segments × length of the name squared at worst, whatever the pattern: the
    /// positions that can be reached are kept as a set, nothing is tried twice.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if let [Segment::Text(text)] = self.segments.as_slice() {
            return text == name;
        }
        let mut here = vec![false; name.len() + 1];
        here[0] = true;
        for segment in &self.segments {
            let mut next = vec![false; name.len() + 1];
            for from in (0..=name.len()).filter(|&at| here[at]) {
                segment.advance(name, from, &mut next);
            }
            here = next;
        }
        here[name.len()]
    }
}

impl Segment {
    /// Marks in `reached` where a match that begins at `from` can end.
    fn advance(&self, name: &str, from: usize, reached: &mut [bool]) {
        let rest = &name[from..];
        match self {
            Self::Text(text) => {
                if rest.starts_with(text.as_str()) {
                    reached[from + text.len()] = true;
                }
            }
            Self::AnyOne => {
                if let Some(one) = rest.chars().next() {
                    reached[from + one.len_utf8()] = true;
                }
            }
            Self::AnyRun => {
                for (offset, _) in rest.char_indices() {
                    reached[from + offset] = true;
                }
                reached[name.len()] = true;
            }
            Self::OneOf(items) => {
                for item in items {
                    item.advance(rest, from, reached);
                }
            }
        }
    }

    /// How many names this segment makes of one; nothing if that is not known.
    fn size(&self) -> Option<u64> {
        match self {
            Self::Text(_) => Some(1),
            Self::AnyRun | Self::AnyOne => None,
            Self::OneOf(items) => items.iter().try_fold(0_u64, |sum, item| sum.checked_add(item.size())),
        }
    }

    fn append_to(&self, names: &[String]) -> Vec<String> {
        match self {
            Self::Text(text) => names.iter().map(|name| format!("{name}{text}")).collect(),
            Self::AnyRun | Self::AnyOne => Vec::new(),
            Self::OneOf(items) => {
                names.iter().flat_map(|name| items.iter().flat_map(move |item| item.append_to(name))).collect()
            }
        }
    }
}

impl Item {
    fn advance(&self, rest: &str, from: usize, reached: &mut [bool]) {
        match self {
            Self::Word(word) => {
                if rest.starts_with(word.as_str()) {
                    reached[from + word.len()] = true;
                }
            }
            Self::Numbers { low, high, width } => {
                let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
                for length in 1..=digits.min(DIGITS_MAX) {
                    let text = &rest[..length];
                    let fits = text.parse().is_ok_and(|n: u64| {
                        (*low..=*high).contains(&n) && (length == *width || length > *width && !text.starts_with('0'))
                    });
                    if fits {
                        reached[from + length] = true;
                    }
                }
            }
        }
    }

    fn size(&self) -> u64 {
        match self {
            Self::Word(_) => 1,
            Self::Numbers { low, high, .. } => high - low + 1,
        }
    }

    fn append_to(&self, name: &str) -> Vec<String> {
        match self {
            Self::Word(word) => vec![format!("{name}{word}")],
            Self::Numbers { low, high, width } => (*low..=*high).map(|n| format!("{name}{n:0width$}")).collect(),
        }
    }
}

/// Most digits of a number in brackets: more would not fit 64 bits.
const DIGITS_MAX: usize = 18;

fn items(text: &str) -> Result<Vec<Item>, &'static str> {
    text.split(',').map(|item| one_item(item.trim())).collect()
}

fn one_item(text: &str) -> Result<Item, &'static str> {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    if text.is_empty() {
        return Err("has an empty item between brackets");
    }
    if !is_number(first) || !is_number(last) {
        let is_word = text.chars().all(|c| c.is_alphanumeric() || "_.".contains(c));
        return if is_word { Ok(Item::Word(text.into())) } else { Err("has a range that is not NUMBER-NUMBER") };
    }
    if first.len() > DIGITS_MAX || last.len() > DIGITS_MAX {
        return Err("has a number of more than 18 digits");
    }
    let number = |text: &str| text.parse::<u64>().map_err(|_| "has a number that is none");
    let (low, high) = (number(first)?, number(last)?);
    if low > high {
        Err("has a range that runs backwards")
    } else {
        Ok(Item::Numbers { low, high, width: first.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_expand_as_slurm_expands_them() {
        // What `scontrol show hostnames` prints for these.
        for (pattern, names) in [
            ("node[01-03]", "node01 node02 node03"),
            ("rack[1-3,7]", "rack1 rack2 rack3 rack7"),
            ("n[8-11]", "n8 n9 n10 n11"),
            ("n[098-101]", "n098 n099 n100 n101"),
            ("r[1-2]n[01-02]-ib", "r1n01-ib r1n02-ib r2n01-ib r2n02-ib"),
            ("node7", "node7"),
        ] {
            assert_eq!(expand(pattern).expect(pattern).join(" "), names, "{pattern}");
        }
    }

    #[test]
    fn what_cannot_be_listed_is_refused() {
        for bad in ["n[1-", "n1-3]", "n[3-1]", "n[]", "n[1,,2]", "n[a-c]", "n*", "n?", "n[1-100001]"] {
            assert!(expand(bad).is_err(), "{bad}");
        }
        assert!(expand("a[0-9][0-9][0-9][0-9][0-9][0-9]").is_err(), "a million");
        assert!(expand("a[0-999999999999999999][0-999999999999999999][0-999999999999999999]").is_err());
        assert_eq!(expand("n[00001-99999]").expect("within the limit").len(), 99_999);
    }

    #[test]
    fn a_list_matches_exactly_the_names_it_expands_to() {
        for pattern in ["node[01-20]", "rack[1-3,7]", "n[098-101]", "r[1-2]n[01-02]-ib", "n[1-12]5"] {
            let names = expand(pattern).expect(pattern);
            let list = Pattern::parse(pattern).expect(pattern);
            assert!(names.iter().all(|name| list.matches(name)), "{pattern}");
            for other in
                ["node1", "node021", "node21", "rack4", "rack07", "n98", "n0100", "r3n01-ib", "n05", "n135", ""]
            {
                assert_eq!(list.matches(other), names.iter().any(|name| name == other), "{pattern} {other}");
            }
        }
    }

    #[test]
    fn globs_match_whole_names() {
        for (pattern, name, matches) in [
            ("gpu*", "gpu-node-1", true),
            ("gpu*", "my-gpu", false),
            ("*-ib", "n1-ib", true),
            ("n?", "n1", true),
            ("n?", "n12", false),
            ("*", "", true),
            ("?", "ü", true),
            ("a*b*c", "axxbyyc", true),
            ("a*[1-3]", "a-22", true),
        ] {
            assert_eq!(Pattern::parse(pattern).expect(pattern).matches(name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn a_hostile_pattern_is_quick() {
        let pattern = Pattern::parse(&"*a".repeat(400)).expect("a pattern");
        assert!(!pattern.matches(&"a".repeat(255)));
    }
}
