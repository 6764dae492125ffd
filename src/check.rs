//! `wattledger check`: everything that is wrong with configuration files, with file, line and key. It
//! needs no aggregator and changes nothing.

use std::path::{Path, PathBuf};

use aggregator::rates::card_of;
use aggregator::watched::Files;
use billing::inventory::InventoryError;
use billing::inventory::read::inventory_file;
use clap::{Args, ValueEnum};
use console::Format;
use cost::{CostError, Figure, RateCard};
use serde_json::{Value, json};

use crate::offline::say;
use crate::{Failure, check_settings};

/// Most faults of a file that are told one by one.
const TOLD_MAX: usize = 100;

/// What to check.
#[derive(Args)]
pub(crate) struct CheckArgs {
    /// Configuration files: aggregator.toml, agent.toml, rates.toml, budgets.toml, inventory.csv or .json
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What they are; by name and content if not given
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// How to print it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Kinds of configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The aggregator's settings
    Aggregator,
    /// The agent's settings
    Agent,
    /// A rate card, with the files it names
    Rates,
    /// Budgets
    Budgets,
    /// The inventory, CSV or Prometheus file_sd JSON
    Inventory,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The file, where that is another than the one that was given.
    pub(crate) file: Option<String>,
    /// From 1; 0 where it is not known.
    pub(crate) line: u64,
    pub(crate) key: String,
    pub(crate) problem: String,
}

/// A file that was checked: what it is if it is good, or what is wrong with it.
struct Checked {
    file: String,
    kind: Kind,
    found: Result<String, Vec<Fault>>,
}

impl CheckArgs {
    /// An inventory.
    pub(crate) fn inventory(file: &Path, format: Format) -> Self {
        Self { files: vec![file.to_owned()], kind: Some(Kind::Inventory), format }
    }
}

/// Checks and prints; fails as a fault of configuration if anything is wrong.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    let checked: Vec<Checked> = args.files.iter().map(|path| Checked::of(path, args.kind)).collect();
    match args.format {
        Format::Json => {
            say(&format!("{:#}", json!({ "files": checked.iter().map(Checked::json).collect::<Vec<_>>() })))
        }
        Format::Table => checked.iter().for_each(Checked::tell),
    }
    let bad: Vec<usize> = checked.iter().filter_map(|one| one.found.as_ref().err().map(Vec::len)).collect();
    if bad.is_empty() {
        return Ok(());
    }
    let (faults, files, all) = (bad.iter().sum::<usize>(), bad.len(), checked.len());
    Err(Failure { code: 2, told: format!("{} in {files} of {}", counted(faults, "fault"), counted(all, "file")) })
}

impl Checked {
    fn of(path: &Path, kind: Option<Kind>) -> Self {
        let file = path.display().to_string();
        let kind = kind.unwrap_or_else(|| Kind::of(path));
        let found = match kind {
            Kind::Aggregator => check_settings::aggregator(path),
            Kind::Agent => check_settings::agent(path),
            Kind::Rates => rates(path),
            Kind::Budgets => budgets(path),
            Kind::Inventory => inventory(path),
        };
        Self { file, kind, found }
    }

    fn tell(&self) {
        match &self.found {
            Ok(summary) => say(&format!("{}: {summary}: no faults", self.file)),
            Err(faults) => {
                faults.iter().take(TOLD_MAX).for_each(|fault| say(&fault.line_of(&self.file)));
                let more = faults.len().saturating_sub(TOLD_MAX);
                if more > 0 {
                    say(&format!("{}: and {more} more; --format json has them all", self.file));
                }
            }
        }
    }

    fn json(&self) -> Value {
        let kind = self.kind.to_possible_value().map(|kind| kind.get_name().to_owned());
        let faults = self.found.as_ref().err().map_or(&[][..], Vec::as_slice);
        let faults: Vec<Value> = faults.iter().map(|fault| fault.json(&self.file)).collect();
        json!({ "file": self.file, "kind": kind, "summary": self.found.as_ref().ok(), "faults": faults })
    }
}

impl Fault {
    pub(crate) fn whole(problem: impl Into<String>) -> Self {
        Self { file: None, line: 0, key: String::new(), problem: problem.into() }
    }

    /// `rates.toml:12: price_per_kwh: …`, as compilers print it.
    fn line_of(&self, given: &str) -> String {
        let file = self.file.as_deref().unwrap_or(given);
        let line = if self.line > 0 { format!(":{}", self.line) } else { String::new() };
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        format!("{file}{line}: {key}{}", self.problem)
    }

    fn json(&self, given: &str) -> Value {
        let line = (self.line > 0).then_some(self.line);
        json!({ "file": self.file.as_deref().unwrap_or(given), "line": line, "key": self.key, "problem": self.problem })
    }
}

impl Kind {
    /// What a file is, by its sections, else by its name.
    fn of(path: &Path) -> Self {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        if Path::new(&name).extension().is_some_and(|end| end == "csv" || end == "json") {
            return Self::Inventory;
        }
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let sections = check_settings::sections(&text);
        let has = |names: &[&str]| sections.iter().any(|section| names.contains(&section.as_str()));
        if has(&["rate"]) {
            Self::Rates
        } else if has(&["budget"]) {
            Self::Budgets
        } else if has(&["agent", "uplink", "spool", "sources"]) {
            Self::Agent
        } else if has(&["server", "ledger", "store", "files", "limits", "recent"]) {
            Self::Aggregator
        } else if name.contains("rate") {
            Self::Rates
        } else if name.contains("budget") {
            Self::Budgets
        } else if name.contains("agent") {
            Self::Agent
        } else if name.contains("inventory") {
            Self::Inventory
        } else {
            Self::Aggregator
        }
    }
}

fn rates(path: &Path) -> Result<String, Vec<Fault>> {
    let mut files = Files::default();
    let text = files.text(path).map_err(|why| vec![Fault::whole(why)])?;
    match card_of(path, &text, &mut files) {
        Ok(card) => Ok(summary(&card)),
        Err(CostError::Rates(faults)) => Err(faults.into_iter().map(Fault::from).collect()),
        Err(error) => Err(vec![Fault::whole(error.to_string())]),
    }
}

/// So many of something, in words.
fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn summary(card: &RateCard) -> String {
    let count = |figure: Option<&Figure>| match figure {
        Some(Figure::Series(series)) => (1, series.gaps().len()),
        _ => (0, 0),
    };
    let figures = card.rates().iter().flat_map(|rate| [Some(&rate.price), rate.carbon.as_ref()]);
    let (series, gaps) = figures.map(count).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    let unpriced = if gaps > 0 { format!(" with {gaps} gaps, whose energy is unpriced") } else { String::new() };
    format!("a rate card of {} and {series} series{unpriced}", counted(card.rates().len(), "rate"))
}

fn budgets(path: &Path) -> Result<String, Vec<Fault>> {
    let text = std::fs::read_to_string(path).map_err(|why| vec![Fault::whole(why.to_string())])?;
    match cost::budget::Budgets::parse(&text) {
        Ok(budgets) => Ok(format!("{} budgets", budgets.0.len())),
        Err(faults) => Err(faults.into_iter().map(Fault::from).collect()),
    }
}

fn inventory(path: &Path) -> Result<String, Vec<Fault>> {
    let inventory = inventory_file(path).map_err(|InventoryError { faults, .. }| {
        let fault = |fault: billing::inventory::Fault| Fault {
            file: None,
            line: fault.line,
            key: fault.column,
            problem: fault.what,
        };
        faults.into_iter().map(fault).collect::<Vec<_>>()
    })?;
    Ok(format!("an inventory of {} owners", inventory.entries().count()))
}

impl From<cost::Fault> for Fault {
    fn from(fault: cost::Fault) -> Self {
        let line = u64::try_from(fault.line).unwrap_or(0);
        Self { file: fault.file, line, key: fault.key, problem: fault.problem }
    }
}
