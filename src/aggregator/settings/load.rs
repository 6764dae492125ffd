//! Layers the settings: defaults, file, environment, flags. What matches nothing is refused by name.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{Config, FileFormat};
use cost::Axis;
use energy::boundary::Ratio;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::Value;

use super::{Settings, SettingsError};

/// What flags may override.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--listen`.
    pub listen: Option<String>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--inventory`.
    pub inventory: Option<PathBuf>,
    /// `--rates`.
    pub rates: Option<PathBuf>,
    /// `--budgets`.
    pub budgets: Option<PathBuf>,
    /// `--insecure`.
    pub insecure: bool,
}

/// The prefix of our environment variables.
const PREFIX: &str = "WATTLEDGER__";
/// Variables that look like ours and are read by somebody else: the logs, the tests, the console.
const OTHERS: [&str; 3] = ["WATTLEDGER_LOG", "WATTLEDGER_TEST_DATA", "WATTLEDGER_URL"];
const AGENT: &str = "WATTLEDGER_AGENT__";

impl Settings {
    /// What a meter shows over the components where a host's own readings do not tell.
    #[must_use]
    pub fn meter_factor(&self) -> Ratio {
        self.factor_in_millionths().map_or_else(|_| Ratio::default(), Ratio::from_millionths)
    }

    /// The axes of attribution; none where a setting is none, which [`Settings::load`] refuses.
    #[must_use]
    pub fn axes(&self) -> Vec<Arc<Axis>> {
        self.read_axes().unwrap_or_default()
    }

    fn read_axes(&self) -> Result<Vec<Arc<Axis>>, SettingsError> {
        let axis = |(name, keys): (&String, &Vec<String>)| {
            Axis::new(name, keys).map(Arc::new).map_err(|error| SettingsError::Value {
                key: "attribution",
                value: format!("{name} = {keys:?}"),
                why: error.to_string(),
            })
        };
        self.attribution.iter().map(axis).collect()
    }

    fn factor_in_millionths(&self) -> Result<u64, SettingsError> {
        let text = &self.ledger.meter_factor;
        let number =
            text.parse::<Decimal>().ok().filter(|number| (Decimal::new(1, 1)..=Decimal::ONE_HUNDRED).contains(number));
        let millionths = number.and_then(|number| (number * Decimal::from(1_000_000)).round().to_u64());
        millionths.ok_or_else(|| SettingsError::Value {
            key: "ledger.meter_factor",
            value: text.clone(),
            why: "it must be a number between 0.1 and 100, such as \"1.25\"".into(),
        })
    }

    /// The settings from all layers, checked.
    ///
    /// # Errors
    /// [`SettingsError`], which names the file, variable or key.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, SettingsError> {
        let defaults = Self::default();
        let known = serde_json::to_value(&defaults).map_err(|error| broken("defaults", &error))?;
        let mut layers =
            Config::builder().add_source(Config::try_from(&defaults).map_err(|error| broken("defaults", &error))?);
        if let Some(path) = file {
            layers = layers.add_source(read(path, &known)?);
        }
        for (name, value) in environment {
            if let Some((key, value)) = variable(&name, &value, &known)? {
                layers = layers.set_override(key, value).map_err(|error| broken(&name, &error))?;
            }
        }
        let settings = layers.build().and_then(Config::try_deserialize::<Self>);
        let mut settings = settings.map_err(|error| broken("settings", &error))?;
        if let Some(listen) = &flags.listen {
            settings.server.listen.clone_from(listen);
        }
        let paths = [
            (&flags.data_dir, &mut settings.server.data_dir),
            (&flags.inventory, &mut settings.files.inventory),
            (&flags.rates, &mut settings.files.rates),
            (&flags.budgets, &mut settings.budgets.file),
        ];
        for (path, setting) in paths.into_iter().filter_map(|(path, setting)| Some((path.as_ref()?, setting))) {
            *setting = path.to_string_lossy().into_owned();
        }
        settings.server.insecure |= flags.insecure;
        settings.check()?;
        Ok(settings)
    }

    /// Whether every value is within its bounds.
    fn check(&self) -> Result<(), SettingsError> {
        let within = |key, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            let why = format!("it must lie between {low} and {high}");
            Err(SettingsError::Value { key, value: value.to_string(), why })
        };
        // Room for one full body and what it becomes in memory; permits are counted in 32 bits.
        within("limits.in_flight_bytes", self.limits.in_flight_bytes as u64, 32 << 20, u64::from(u32::MAX))?;
        within("limits.body_deadline_s", self.limits.body_deadline_s, 1, 600)?;
        within("limits.keep_alive_s", self.limits.keep_alive_s, 1, 3600)?;
        within("limits.connections", self.limits.connections as u64, 1, 1_000_000)?;
        within("server.workers", self.server.workers as u64, 0, 1024)?;
        within("ledger.estimate_max_s", self.ledger.estimate_max_s, 0, 86_400)?;
        within("ledger.clock_skew_s", self.ledger.clock_skew_s, 0, 86_400)?;
        within("ledger.live_age_max_days", self.ledger.live_age_max_days, 1, 3650)?;
        self.factor_in_millionths()?;
        self.read_axes()?;
        within("ledger.max_accounts", self.ledger.max_accounts as u64, 1, 1 << 32)?;
        // A record names its account in 16 bits.
        within("ledger.max_accounts_per_owner", self.ledger.max_accounts_per_owner as u64, 1, 65_535)?;
        within("store.export_every_s", self.store.export_every_s, 1, 86_400)?;
        within("recent.hosts", self.recent.hosts as u64, 0, 1_000_000)?;
        within("statements.close_after_day", self.statements.close_after_day.into(), 0, 28)?;
        within("statements.coverage_min_percent", self.statements.coverage_min_percent.into(), 0, 100)?;
        within("statements.adjust_months", self.statements.adjust_months.into(), 0, 120)?;
        let zone = &self.server.timezone;
        if !zone.is_empty() {
            jiff::tz::TimeZone::get(zone).map_err(|error| SettingsError::Value {
                key: "server.timezone",
                value: zone.clone(),
                why: error.to_string(),
            })?;
        }
        Ok(())
    }
}

fn broken(origin: &str, why: &dyn std::fmt::Display) -> SettingsError {
    SettingsError::File { file: origin.into(), why: why.to_string() }
}

/// Reads a file and holds it against what is known. The crate `config` would quietly turn 80.7 into
/// 81 and `true` into 1, so kinds are compared here.
fn read(path: &Path, known: &Value) -> Result<Config, SettingsError> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| broken(&origin, &error))?;
    let layer = Config::builder().add_source(config::File::from_str(&text, FileFormat::Toml)).build();
    let layer = layer.map_err(|error| broken(&origin, &error))?;
    let values: Value = layer.clone().try_deserialize().map_err(|error| broken(&origin, &error))?;
    compare(&origin, "", &values, known)?;
    Ok(layer)
}

/// The section whose keys are the user's own.
const FREE: &str = "attribution";

fn compare(origin: &str, path: &str, given: &Value, known: &Value) -> Result<(), SettingsError> {
    if let Some(key) = path.strip_prefix(FREE).and_then(|rest| rest.strip_prefix('.')) {
        let is_list = given.as_array().is_some_and(|keys| keys.iter().all(Value::is_string));
        let (origin, key, found) = (origin.into(), format!("{FREE}.{key}"), given.to_string());
        let expected = "a list of keys such as [\"job.account\", \"team\"]";
        return if is_list { Ok(()) } else { Err(SettingsError::WrongKind { origin, key, expected, found }) };
    }
    let (Value::Object(given), Value::Object(known)) = (given, known) else {
        if std::mem::discriminant(given) == std::mem::discriminant(known) && !given.is_f64() {
            return Ok(());
        }
        let (origin, key, found) = (origin.into(), path.into(), given.to_string());
        return Err(SettingsError::WrongKind { origin, key, expected: kind(known), found });
    };
    for (key, value) in given {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let is_free = path.strip_prefix(FREE).is_some_and(|rest| rest.starts_with('.'));
        let Some(known) = known.get(key).or_else(|| is_free.then_some(&Value::Null)) else {
            let known = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(SettingsError::UnknownKey { origin: origin.into(), key: path, known });
        };
        compare(origin, &path, value, known)?;
    }
    Ok(())
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a whole number",
        Value::String(_) => "a text in quotes",
        Value::Object(_) => "a section",
        Value::Array(_) => "a list",
        Value::Null => "absent",
    }
}

/// The setting that an environment variable overrides, with its value; nothing if it is not ours.
fn variable(name: &str, text: &str, known: &Value) -> Result<Option<(String, config::Value)>, SettingsError> {
    if !name.starts_with("WATTLEDGER_") || name.starts_with(AGENT) || OTHERS.contains(&name) {
        return Ok(None);
    }
    let unknown = || SettingsError::UnknownVariable(name.into());
    let path = name.strip_prefix(PREFIX).ok_or_else(unknown)?.to_ascii_lowercase();
    let known = known.pointer(&format!("/{}", path.replace("__", "/"))).ok_or_else(unknown)?;
    let wrong = || SettingsError::WrongKind {
        origin: name.into(),
        key: path.replace("__", "."),
        expected: kind(known),
        found: format!("{text:?}"),
    };
    let value = match known {
        Value::Bool(_) => config::Value::from(text.parse::<bool>().map_err(|_| wrong())?),
        Value::Number(_) => config::Value::from(text.parse::<i64>().map_err(|_| wrong())?),
        Value::String(_) => config::Value::from(text),
        _ => return Err(unknown()),
    };
    Ok(Some((path.replace("__", "."), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Settings, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("aggregator.toml");
        std::fs::write(&path, toml).expect("a file");
        let environment = environment.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        Settings::load(Some(&path), environment, flags).map_err(|error| error.to_string())
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let file = "[server]\nlisten = \"127.0.0.1:1\"\ndata_dir = \"/file\"\n[ledger]\ngap = \"none\"";
        let environment = [("WATTLEDGER__SERVER__LISTEN", "127.0.0.1:2"), ("WATTLEDGER__SERVER__DATA_DIR", "/env")];
        let path = |name: &str| Some(PathBuf::from(name));
        let (inventory, rates, budgets) = (path("hosts.csv"), path("card.toml"), path("limits.toml"));
        let flags = Flags { listen: Some("127.0.0.1:3".into()), inventory, rates, budgets, ..Flags::default() };
        let settings = load(file, &environment, &flags).expect("good settings");
        let files = [&settings.files.inventory, &settings.files.rates, &settings.budgets.file];
        assert_eq!(files, ["hosts.csv", "card.toml", "limits.toml"]);
        assert_eq!(settings.server.listen, "127.0.0.1:3");
        assert_eq!(settings.server.data_dir, "/env");
        assert_eq!(settings.ledger.gap, super::super::Gap::None);
        assert_eq!(settings.ledger.max_accounts, 1_000_000);
    }

    #[test]
    fn a_key_that_nobody_reads_is_refused_by_name() {
        for (file, name) in [
            ("[ledger]\nmax_account = 3", "ledger.max_account"),
            ("[leger]\ngap = \"none\"", "leger"),
            ("[ledger.ceiling_watts]\ngpus = 3", "ledger.ceiling_watts.gpus"),
            ("listen = \"127.0.0.1:1\"", "listen"),
        ] {
            let told = load(file, &[], &Flags::default()).expect_err(file);
            assert!(told.contains(name) && told.contains("aggregator.toml"), "{told}");
        }
    }

    #[test]
    fn a_variable_that_looks_like_ours_and_matches_nothing_is_refused_by_name() {
        for name in [
            "WATTLEDGER__LEDGER__MAX_ACCOUNT",
            "WATTLEDGER_LEDGER__MAX_ACCOUNTS",
            "WATTLEDGER__LEDGER",
            "WATTLEDGER_LISTEN",
        ] {
            let told = load("", &[(name, "1")], &Flags::default()).expect_err(name);
            assert!(told.contains(name), "{told}");
        }
        let others = [("WATTLEDGER_AGENT__X__Y", "1"), ("WATTLEDGER_LOG", "debug"), ("WATTLEDGER_TEST_DATA", "/x")];
        load("", &others, &Flags::default()).expect("not ours");
    }

    #[test]
    fn values_are_never_bent_into_another_kind() {
        for file in [
            "[store]\nexport_every_s = 80.7",
            "[store]\nexport_every_s = true",
            "[store]\nexport_every_s = \"5\"",
            "[server]\nlisten = 9810",
            "[server]\ninsecure = 1",
            "[server]\ninsecure = \"yes\"",
            "server = 3",
        ] {
            let told = load(file, &[], &Flags::default()).expect_err(file);
            assert!(told.contains("must be"), "{told}");
        }
        for (name, value) in [("WATTLEDGER__STORE__EXPORT_EVERY_S", "true"), ("WATTLEDGER__SERVER__INSECURE", "1")] {
            let told = load("", &[(name, value)], &Flags::default()).expect_err(name);
            assert!(told.contains(name) && told.contains("must be"), "{told}");
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_key() {
        for (file, key) in [
            ("[store]\nexport_every_s = 0", "store.export_every_s"),
            ("[limits]\nin_flight_bytes = 1000", "limits.in_flight_bytes"),
            ("[server]\ntimezone = \"Mars/Olympus\"", "server.timezone"),
            ("[ledger]\ngap = \"guess\"", "gap"),
            ("[ledger]\nestimate_max_s = -1", "estimate_max_s"),
        ] {
            let told = load(file, &[], &Flags::default()).expect_err(file);
            assert!(told.contains(key), "{told}");
        }
    }

    #[test]
    fn axes_of_attribution_have_names_of_their_own_and_are_checked() {
        let settings = load("[attribution]\nteam = [\"job.account\", \"team\"]", &[], &Flags::default());
        let axes = settings.expect("an axis").axes();
        assert_eq!(axes.iter().map(|axis| axis.name()).collect::<Vec<_>>(), ["team"]);
        for bad in ["team = \"x\"", "team = []", "host = [\"team\"]", "team = [\"device\"]", "team = [3]"] {
            let told = load(&format!("[attribution]\n{bad}"), &[], &Flags::default()).expect_err(bad);
            assert!(told.contains("attribution"), "{told}");
        }
    }

    #[test]
    fn the_shipped_file_lists_every_key_with_its_default() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs/aggregator.toml");
        let text = std::fs::read_to_string(path).expect("the shipped file");
        let shipped = Config::builder().add_source(config::File::from_str(&text, FileFormat::Toml)).build();
        let shipped: Value = shipped.and_then(Config::try_deserialize).expect("TOML");
        assert_eq!(shipped, serde_json::to_value(Settings::default()).expect("JSON"));
    }

    #[test]
    fn an_address_that_others_can_reach_needs_a_word_of_consent() {
        let mut settings = Settings::default();
        for (listen, open) in [("127.0.0.1:0", false), ("[::1]:0", false), ("0.0.0.0:9810", true), ("[::]:1", true)] {
            settings.server.listen = listen.into();
            settings.server.insecure = false;
            assert_eq!(matches!(settings.addresses(), Err(SettingsError::Exposed(_))), open, "{listen}");
            settings.server.insecure = true;
            assert!(settings.addresses().is_ok(), "{listen}");
        }
        settings.server.listen = "nowhere".into();
        assert!(matches!(settings.addresses(), Err(SettingsError::Value { .. })));
    }
}
