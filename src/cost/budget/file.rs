//! The budgets' TOML: every fault is found, with its line and key.

use std::collections::BTreeSet;
use std::ops::Range;

use rust_decimal::Decimal;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{BUDGETS_MAX, Budget, KWH_UJ, Limit, Secret, THRESHOLDS, THRESHOLDS_MAX, Webhook, filter, knows_zone};
use crate::currency::Currency;
use crate::error::{Fault, shortened};

const KEYS: &str = "name, where, kwh, amount, currency, thresholds, timezone, webhook, secret_file, secret_env, \
                    notify_forecast";
/// What is said of a file in which nothing is.
const EMPTY: &str = "the file is empty: to have no budgets write a comment (#) into it, or leave budgets.file empty";
/// Longest name: it stands in tables and in labels of metrics.
const NAME_MAX: usize = 100;
/// Most of a unit: beyond the largest fleet's, and far from overflow.
const LIMIT_MAX: i64 = 1_000_000_000_000;
/// The highest threshold, in percent.
const THRESHOLD_MAX: i64 = 1000;
/// Longest address.
const URL_MAX: usize = 2000;

type Entry<'a, 'i> = (&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>);

/// The budgets of a file, or all its faults.
pub(super) fn read(text: &str) -> Result<Vec<Budget>, Vec<Fault>> {
    let mut reader = Reader { text, faults: Vec::new() };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        reader.fault(error.span().unwrap_or(0..0), "", error.message());
    }
    // Budgets may all be commented out; a file that was emptied, or cut off by a full disk, says nothing at all.
    if text.trim().is_empty() {
        reader.faults.push(Fault { file: None, line: 0, key: String::new(), problem: EMPTY.into() });
    }
    let mut budgets = Vec::new();
    if reader.faults.is_empty() {
        for entry in document.get_ref() {
            reader.top(entry, &mut budgets);
        }
        reader.refuse_doubles(&budgets);
    }
    reader.faults.sort_by_key(|fault| fault.line);
    if reader.faults.is_empty() { Ok(budgets) } else { Err(reader.faults) }
}

struct Reader<'t> {
    text: &'t str,
    faults: Vec<Fault>,
}

/// The values of one `[[budget]]` as they are found.
#[derive(Default)]
struct Draft {
    name: Option<String>,
    filter: String,
    energy: Option<i128>,
    money: Option<i128>,
    currency: Option<Currency>,
    thresholds: Option<Vec<u32>>,
    timezone: Option<String>,
    url: Option<String>,
    secret: Option<Secret>,
    tells_forecast: bool,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|&&byte| byte == b'\n').count() + 1
    }

    fn fault(&mut self, at: Range<usize>, key: &str, problem: impl Into<String>) {
        let line = self.line(at.start);
        self.faults.push(Fault { file: None, line, key: key.into(), problem: problem.into() });
    }

    fn top(&mut self, (key, value): Entry<'_, '_>, budgets: &mut Vec<Budget>) {
        let name = key.get_ref().as_ref();
        let Some(tables) = value.get_ref().as_array().filter(|_| name == "budget") else {
            let hint = match name {
                "budget" => "write [[budget]], one block per budget",
                _ => "unknown key; known is [[budget]]",
            };
            return self.fault(key.span(), name, hint);
        };
        if tables.len() > BUDGETS_MAX {
            self.fault(key.span(), name, format!("more than {BUDGETS_MAX} budgets"));
        }
        for table in tables.iter() {
            match table.get_ref().as_table() {
                Some(entries) => budgets.extend(self.budget(table.span(), entries)),
                None => self.fault(table.span(), "budget", "write [[budget]], one block per budget"),
            }
        }
    }

    fn budget(&mut self, at: Range<usize>, entries: &DeTable<'_>) -> Option<Budget> {
        let before = self.faults.len();
        let mut draft = Draft::default();
        for entry in entries {
            self.entry(entry, &mut draft);
        }
        let given = |key: &str| entries.iter().any(|(name, _)| name.get_ref() == key);
        if !given("name") {
            self.fault(at.clone(), "name", "is missing in this [[budget]]");
        }
        match (given("kwh"), given("amount")) {
            (false, false) => self.fault(at.clone(), "kwh", "say how much: kwh, or amount and currency"),
            (true, true) => self.fault(at.clone(), "amount", "a budget is in kwh or in money, not both: make two"),
            (false, true) if !given("currency") => self.fault(at.clone(), "currency", "is missing beside amount"),
            (true, false) if given("currency") => self.fault(at.clone(), "currency", "belongs to amount, not to kwh"),
            _ => {}
        }
        if given("secret_file") && given("secret_env") {
            self.fault(at.clone(), "secret_env", "a secret comes from secret_file or secret_env, not both");
        }
        for key in ["secret_file", "secret_env", "notify_forecast"] {
            if given(key) && !given("webhook") {
                self.fault(at.clone(), key, "is of no use without webhook");
            }
        }
        if self.faults.len() > before {
            return None;
        }
        let limit = match (draft.energy, draft.money, draft.currency) {
            (Some(uj), ..) => Limit::Energy(uj),
            (_, Some(micro), Some(currency)) => Limit::Money(micro, currency),
            _ => return None,
        };
        let (secret, tells_forecast) = (draft.secret, draft.tells_forecast);
        Some(Budget {
            name: draft.name?,
            filter: draft.filter,
            limit,
            thresholds: draft.thresholds.unwrap_or_else(|| THRESHOLDS.to_vec()),
            timezone: draft.timezone,
            webhook: draft.url.map(|url| Webhook { url, secret, tells_forecast }),
            line: self.line(at.start),
        })
    }

    fn entry(&mut self, (key, value): Entry<'_, '_>, draft: &mut Draft) {
        let name = key.get_ref().as_ref();
        match name {
            "name" => draft.name = self.checked(name, value, named),
            "where" => draft.filter = self.checked(name, value, selects).unwrap_or_default(),
            "kwh" => draft.energy = self.decimal(name, value, KWH_UJ),
            "amount" => draft.money = self.decimal(name, value, 1_000_000),
            "currency" => {
                let known = |code: &str| Currency::new(code).map(drop).ok_or_else(|| no_currency(code));
                draft.currency = self.checked(name, value, known).and_then(|code| Currency::new(&code));
            }
            "thresholds" => draft.thresholds = self.thresholds(value),
            "timezone" => draft.timezone = self.checked(name, value, is_zone),
            "webhook" => draft.url = self.checked(name, value, is_address),
            "secret_file" => draft.secret = self.checked(name, value, not_empty).map(Secret::File),
            "secret_env" => draft.secret = self.checked(name, value, is_variable).map(Secret::Variable),
            "notify_forecast" => match value.get_ref().as_bool() {
                Some(yes) => draft.tells_forecast = yes,
                None => self.fault(value.span(), name, "must be true or false"),
            },
            _ => self.fault(key.span(), name, format!("unknown key; known are {KEYS}")),
        }
    }

    /// Text that `check` finds nothing wrong with.
    fn checked(
        &mut self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<String> {
        let Some(text) = value.get_ref().as_str() else {
            self.fault(value.span(), key, format!("must be text in quotes, not {}", value.get_ref().type_str()));
            return None;
        };
        match check(text) {
            Ok(()) => Some(text.to_owned()),
            Err(problem) => {
                self.fault(value.span(), key, problem);
                None
            }
        }
    }

    /// A decimal above zero in whole `1/scale`s.
    fn decimal(&mut self, key: &str, value: &Spanned<DeValue<'_>>, scale: i128) -> Option<i128> {
        let text = match value.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            DeValue::Integer(whole) => Ok(whole.as_str().to_owned()),
            other => Err(format!("must be a decimal number in quotes, not {}", other.type_str())),
        };
        text.and_then(|text| exact(&text, scale)).map_err(|problem| self.fault(value.span(), key, problem)).ok()
    }

    fn thresholds(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Vec<u32>> {
        let read = |value: &DeValue<'_>| -> Option<BTreeSet<u32>> {
            let all = value.as_array()?.iter();
            let percent = |one: &Spanned<DeValue<'_>>| {
                let whole: i64 = one.get_ref().as_integer()?.as_str().parse().ok()?;
                u32::try_from(whole).ok().filter(|_| (1..=THRESHOLD_MAX).contains(&whole))
            };
            all.map(percent).collect()
        };
        let known = read(value.get_ref()).filter(|known| (1..=THRESHOLDS_MAX).contains(&known.len()));
        if known.is_none() {
            let problem = format!(
                "must be a list of 1 to {THRESHOLDS_MAX} whole percentages up to {THRESHOLD_MAX}, such as [50, 80, 100]"
            );
            self.fault(value.span(), "thresholds", problem);
        }
        known.map(|known| known.into_iter().collect())
    }

    fn refuse_doubles(&mut self, budgets: &[Budget]) {
        for (index, budget) in budgets.iter().enumerate() {
            if let Some(twin) = budgets[..index].iter().find(|other| other.name == budget.name) {
                let problem = format!("{:?} is the name of the budget at line {}, too", budget.name, twin.line);
                self.faults.push(Fault { file: None, line: budget.line, key: "name".into(), problem });
            }
        }
    }
}

fn exact(text: &str, scale: i128) -> Result<i128, String> {
    let value = Decimal::from_str_exact(text.trim())
        .map_err(|_| format!("{:?} is no decimal number such as \"2500.00\"", shortened(text)))?;
    if value <= Decimal::ZERO || value > Decimal::from(LIMIT_MAX) {
        return Err(format!("{value} is not above 0 and up to {LIMIT_MAX}"));
    }
    if value.scale() > 6 {
        return Err(format!("{value} has more than 6 decimals"));
    }
    Ok(value.mantissa() * scale / 10_i128.pow(value.scale()))
}

fn named(text: &str) -> Result<(), String> {
    let is_good = !text.trim().is_empty() && text.len() <= NAME_MAX && !text.chars().any(char::is_control);
    if is_good {
        Ok(())
    } else {
        Err(format!("must have 1 to {NAME_MAX} characters, none of them a control character"))
    }
}

fn selects(text: &str) -> Result<(), String> {
    let problem = filter(text, &BTreeSet::new()).map(drop).map_err(|error| error.to_string());
    // The key stands before it already.
    problem.map_err(|problem| problem.strip_prefix("where: ").unwrap_or(&problem).to_owned())
}

fn no_currency(code: &str) -> String {
    format!("{:?} is no ISO 4217 code: three capital letters such as EUR", shortened(code))
}

fn is_zone(text: &str) -> Result<(), String> {
    let no_zone = || format!("{:?} is no IANA time zone such as Europe/Paris", shortened(text));
    knows_zone(text).map(drop).ok_or_else(no_zone)
}

fn is_address(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or("");
    let has_host = rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
    // What is wrong with it is said without it: an address may be a secret.
    if has_host && text.len() <= URL_MAX && !text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        Ok(())
    } else {
        Err("is no address such as https://hooks.example.org/energy".into())
    }
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("is empty".into()) } else { Ok(()) }
}

fn is_variable(text: &str) -> Result<(), String> {
    let is_name = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if is_name && !text.starts_with("WATTLEDGER") {
        Ok(())
    } else {
        Err("must be the name of an environment variable that does not begin with WATTLEDGER".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_read() {
        let text = "[[budget]]\nname = \"nlp\"\nwhere = \"team=nlp,site!=x\"\nkwh = \"1.5\"\n\n[[budget]]\n\
                    name = \"all\"\namount = 2500\ncurrency = \"EUR\"\nthresholds = [100, 80, 80]\n\
                    webhook = \"https://h.example/x\"\nsecret_env = \"HOOK\"\nnotify_forecast = true\n";
        let budgets = read(text).expect("good budgets");
        assert_eq!(
            (budgets[0].limit, budgets[0].thresholds.as_slice()),
            (Limit::Energy(5_400_000_000_000), &[50, 80, 100][..])
        );
        let eur = Currency::new("EUR").expect("a code");
        assert_eq!((budgets[1].limit, budgets[1].line), (Limit::Money(2_500_000_000, eur), 6));
        assert_eq!(budgets[1].thresholds, [80, 100]);
        let webhook = budgets[1].webhook.as_ref().expect("a webhook");
        assert_eq!((webhook.secret.clone(), webhook.tells_forecast), (Some(Secret::Variable("HOOK".into())), true));
    }

    #[test]
    fn every_fault_is_named_with_line_and_key() {
        for (text, line, key) in [
            ("[[budget]]\nkwh = \"1\"", 1, "name"),
            ("[[budget]]\nname = \"a\"", 1, "kwh"),
            ("[[budget]]\nname = \"a\"\nkwh = 1\namount = 2", 1, "amount"),
            ("[[budget]]\nname = \"a\"\namount = \"2\"", 1, "currency"),
            ("[[budget]]\nname = \"a\"\nkwh = 1.5", 3, "kwh"),
            ("[[budget]]\nname = \"a\"\nkwh = \"0\"", 3, "kwh"),
            ("[[budget]]\nname = \"a\"\nkwh = \"1\"\nwhere = \"team\"", 4, "where"),
            ("[[budget]]\nname = \"a\"\nkwh = \"1\"\nthresholds = [0]", 4, "thresholds"),
            ("[[budget]]\nname = \"a\"\nkwh = \"1\"\nthreshold = [50]", 4, "threshold"),
            ("[[budget]]\nname = \"a\"\nkwh = \"1\"\nwebhook = \"ftp://x\"", 4, "webhook"),
            ("[[budget]]\nname = \"a\"\nkwh = \"1\"\nsecret_env = \"X\"", 1, "secret_env"),
            ("[[budget]]\nname = \"a\"\nkwh = \"1\"\ntimezone = \"Mars\"", 4, "timezone"),
            ("[[budget]]\nname = \"a\"\nkwh = \"1\"\n[[budget]]\nname = \"a\"\nkwh = \"1\"", 4, "name"),
            ("budget = 3", 1, "budget"),
            ("[[budgets]]", 1, "budgets"),
        ] {
            let faults = read(text).expect_err(text);
            assert!(faults.iter().any(|fault| (fault.line, fault.key.as_str()) == (line, key)), "{text}: {faults:?}");
        }
    }

    #[test]
    fn a_file_that_was_emptied_is_a_fault_and_one_with_comments_only_is_not() {
        for text in ["", " \n\n"] {
            let faults = read(text).expect_err("a fault");
            assert!(faults.len() == 1 && faults[0].problem.contains("budgets.file"), "{faults:?}");
        }
        assert_eq!(read("# none yet\n"), Ok(Vec::new()));
    }

    #[test]
    fn a_label_that_nobody_has_yet_is_a_label() {
        assert!(filter("team=nlp,room=7", &BTreeSet::new()).is_ok());
        assert!(filter("team=nlp,=7", &BTreeSet::new()).is_err());
    }

    #[test]
    fn the_shipped_file_is_good() {
        let text = include_str!("../../../configs/budgets.toml");
        assert_eq!(read(text).expect("good budgets").len(), 2);
    }
}
