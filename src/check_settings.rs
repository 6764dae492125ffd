//! Settings held against what there is: sections and keys in their lines, then the values.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use aggregator::{Flags, Settings, SettingsError};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use crate::check::Fault;

/// Largest file of settings.
const FILE_MAX: u64 = 4 << 20;

/// Most values that are told one by one.
const TOLD_MAX: usize = 50;

/// Where each dotted key stands, with its value.
type Places = BTreeMap<String, Range<usize>>;

/// The aggregator's settings.
pub(crate) fn aggregator(path: &Path) -> Result<String, Vec<Fault>> {
    let known = serde_json::to_value(Settings::default()).unwrap_or_default();
    let refused = |path: &Path| match Settings::load(Some(path), [], &Flags::default()) {
        Ok(settings) => unusable(&settings),
        Err(error) => Some(error.to_string()),
    };
    checked(path, &known, refused).map(|()| "settings of an aggregator".into())
}

/// What an aggregator would find out when it starts: an address that is none, a file that is not there.
fn unusable(settings: &Settings) -> Option<String> {
    // That an address needs consent is no fault of a file: the consent may be a flag.
    if let Err(error @ SettingsError::Value { .. }) = settings.addresses() {
        return Some(error.to_string());
    }
    let files = [
        ("files.inventory", &settings.files.inventory),
        ("files.rates", &settings.files.rates),
        ("budgets.file", &settings.budgets.file),
    ];
    let missing = |(key, file): (&str, &String)| match std::fs::File::open(file) {
        Err(why) if !file.is_empty() => Some(format!("{key} = {file:?}: {why}")),
        _ => None,
    };
    files.into_iter().find_map(missing)
}

/// The agent's settings.
pub(crate) fn agent(path: &Path) -> Result<String, Vec<Fault>> {
    let known = serde_json::to_value(agents::config::Settings::default()).unwrap_or_default();
    let refused = |path: &Path| Some(agents::config::Settings::load(Some(path), &[]).err()?.to_string());
    checked(path, &known, refused).map(|()| "settings of an agent".into())
}

/// The sections of a TOML text.
pub(crate) fn sections(text: &str) -> Vec<String> {
    let (document, _) = DeTable::parse_recoverable(text);
    document.get_ref().keys().map(|key| key.get_ref().to_string()).collect()
}

fn checked(path: &Path, known: &Value, refused: impl Fn(&Path) -> Option<String>) -> Result<(), Vec<Fault>> {
    let unreadable = |why: &dyn std::fmt::Display| vec![Fault::whole(format!("cannot be read: {why}"))];
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > FILE_MAX {
        return Err(unreadable(&format!("it has {size} bytes; {FILE_MAX} are the most")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    let (document, errors) = DeTable::parse_recoverable(&text);
    let mut walk =
        Walk { text: &text, faults: Vec::new(), places: Places::new(), faulty: Vec::new(), is_unclear: false };
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        walk.fault(at, "", error.message().to_owned());
    }
    if walk.faults.is_empty() {
        walk.table("", document.get_ref(), known);
        walk.values(path, refused).map_err(|error| unreadable(&error))?;
    }
    walk.faults.sort_by_key(|fault| fault.line);
    if walk.faults.is_empty() { Ok(()) } else { Err(walk.faults) }
}

struct Walk<'t> {
    text: &'t str,
    faults: Vec<Fault>,
    places: Places,
    /// What has a fault already: a program is asked about the rest.
    faulty: Vec<Range<usize>>,
    /// Whether a whole section has one, which cannot be left out.
    is_unclear: bool,
}

impl Walk<'_> {
    fn line(&self, at: usize) -> u64 {
        self.text.bytes().take(at).filter(|&byte| byte == b'\n').count() as u64 + 1
    }

    fn fault(&mut self, at: usize, key: &str, problem: String) {
        let line = self.line(at);
        self.faults.push(Fault { file: None, line, key: key.to_owned(), problem });
    }

    /// A program names the first value that it refuses. Each is taken out in turn, until it takes the rest.
    fn values(&mut self, path: &Path, refused: impl Fn(&Path) -> Option<String>) -> std::io::Result<()> {
        if self.is_unclear {
            return Ok(());
        }
        let file = format!("{}: ", path.display());
        let mut left = self.text.to_owned();
        self.faulty.iter().for_each(|place| blank(&mut left, place));
        let mut reason = self.reason(path, &left, &refused)?;
        while let Some(problem) = reason.take() {
            let words = problem.split([' ', ':', '"', '`', '=']);
            let key = words.map(str::to_owned).find(|word| word.contains('.') && self.places.contains_key(word));
            let place = key.as_ref().and_then(|key| self.places.remove(key));
            let line = place.as_ref().map_or(0, |place| self.line(place.start));
            let problem = problem.strip_prefix(&file).unwrap_or(&problem).to_owned();
            self.faults.push(Fault { file: None, line, key: key.unwrap_or_default(), problem });
            let Some(place) = place.filter(|_| self.faults.len() < TOLD_MAX) else { break };
            blank(&mut left, &place);
            reason = self.reason(path, &left, &refused)?;
        }
        Ok(())
    }

    /// What a program says of what is left of the file.
    fn reason(
        &self,
        path: &Path,
        left: &str,
        refused: impl Fn(&Path) -> Option<String>,
    ) -> std::io::Result<Option<String>> {
        if left == self.text {
            return Ok(refused(path));
        }
        let rest = tempfile::Builder::new().suffix(".toml").tempfile()?;
        std::fs::write(rest.path(), left)?;
        let named = (rest.path().display().to_string(), path.display().to_string());
        Ok(refused(rest.path()).map(|why| why.replace(&named.0, &named.1)))
    }

    fn table(&mut self, path: &str, given: &DeTable<'_>, known: &Value) {
        for (key, value) in given {
            let name = key.get_ref().as_ref();
            let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            self.places.insert(path.clone(), key.span().start..value.span().end);
            match known.get(name) {
                None => {
                    let there = known.as_object().into_iter().flatten().map(|(name, _)| name.as_str());
                    let there = there.collect::<Vec<_>>().join(", ");
                    self.fault(key.span().start, &path, format!("there is no such setting; there are {there}"));
                    self.leave_out(key.span().start..value.span().end, value.get_ref());
                }
                Some(known) => self.value(&path, key.span().start..value.span().end, value.get_ref(), known),
            }
        }
    }

    fn leave_out(&mut self, place: Range<usize>, value: &DeValue<'_>) {
        self.is_unclear |= matches!(value, DeValue::Table(_) | DeValue::Array(_));
        self.faulty.push(place);
    }

    fn value(&mut self, path: &str, place: Range<usize>, given: &DeValue<'_>, known: &Value) {
        let must = match (known, given) {
            // A section without keys of its own takes any, such as labels.
            (Value::Object(keys), DeValue::Table(table)) if keys.is_empty() => {
                for (key, value) in table {
                    let place = key.span().start..value.span().end;
                    self.places.insert(format!("{path}.{}", key.get_ref()), place);
                }
                return;
            }
            (Value::Object(_), DeValue::Table(table)) => return self.table(path, table, known),
            (Value::Bool(_), DeValue::Boolean(_))
            | (Value::Number(_), DeValue::Integer(_))
            | (Value::String(_), DeValue::String(_))
            | (Value::Array(_), DeValue::Array(_) | DeValue::String(_))
            | (Value::Null, _) => return,
            (Value::Object(_), _) => "a section",
            (Value::Bool(_), _) => "true or false",
            (Value::Number(_), _) => "a whole number",
            (Value::String(_), _) => "a text in quotes",
            (Value::Array(_), _) => "a list",
        };
        self.fault(place.start, path, format!("must be {must}, not {}", given.type_str()));
        self.leave_out(place, given);
    }
}

/// Takes a part of a text out; its lines stay.
fn blank(text: &mut String, place: &Range<usize>) {
    let blank: String = text[place.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(place.clone(), &blank);
}
