//! Budgets: how much energy or money a selection may use in a month, and what it will have used at its end.

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use meter::MICROJOULE;
use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::error::{CostError, Fault};
use crate::money::KWH;
use crate::selector::Where;
use crate::statement::Row;

mod file;
mod forecast;
mod standing;

pub use forecast::{Ahead, Basis, COVERED, Day, Forecast, LOOK_BACK_DAYS, Method, forecast};
pub use standing::{Delivery, Standing, Standings, State, Threshold};

/// Most budgets of a file: each is a question about the whole month, asked again and again.
pub const BUDGETS_MAX: usize = 200;
/// Most thresholds of a budget.
pub const THRESHOLDS_MAX: usize = 10;
/// The thresholds of a budget that names none, in percent.
pub const THRESHOLDS: [u32; 3] = [50, 80, 100];

/// The grain of what is used: microjoules, or millionths of a currency.
pub const MICRO: u32 = 6;
/// Microjoules in a kilowatt hour.
const KWH_UJ: i128 = KWH / MICROJOULE;

/// One budget.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Its name, which nothing else in the file has.
    pub name: String,
    /// What counts, as it was written.
    pub filter: String,
    /// How much it may use in a month.
    pub limit: Limit,
    /// At which shares somebody is told, in percent; ascending.
    pub thresholds: Vec<u32>,
    /// The IANA zone that decides months; the server's if none is named.
    pub timezone: Option<String>,
    /// Who is told.
    pub webhook: Option<Webhook>,
    /// The line of the file it begins at.
    pub line: usize,
}

/// How much may be used in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Energy, in microjoules.
    Energy(i128),
    /// Money, in millionths of the currency.
    Money(i128, Currency),
}

/// An address that is told of crossings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The address. It may itself be a secret: it is never shown or logged.
    pub url: String,
    /// What proves to it who calls.
    pub secret: Option<Secret>,
    /// Whether it is also told when the forecast reaches all of the budget.
    pub tells_forecast: bool,
}

/// Where a secret is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// In a file.
    File(String),
    /// In an environment variable.
    Variable(String),
}

/// The budgets of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Budgets(pub Vec<Budget>);

impl Budgets {
    /// Reads budgets from TOML text.
    ///
    /// # Errors
    /// Every fault, with its line and key.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        file::read(text).map(Self)
    }
}

impl Budget {
    /// What counts. A label that no host has yet is empty everywhere.
    ///
    /// # Errors
    /// [`CostError`] if the text is no filter.
    pub fn select(&self, labels: &BTreeSet<String>) -> Result<Where, CostError> {
        filter(&self.filter, labels)
    }
}

/// Reads a filter whose labels need not be known to anybody yet.
fn filter(text: &str, labels: &BTreeSet<String>) -> Result<Where, CostError> {
    let mut labels = labels.clone();
    loop {
        match Where::parse(text, &labels) {
            // A key is added once; the filter has 16 at most.
            Err(CostError::UnknownKey { key, .. }) if is_label_key(&key) && labels.insert(key.clone()) => {}
            parsed => return parsed,
        }
    }
}

fn is_label_key(key: &str) -> bool {
    meter::reading::label_key_is_valid(key)
}

impl Limit {
    /// What is used of it by this row, in its grain.
    #[must_use]
    pub fn used(&self, row: &Row) -> i128 {
        match self {
            Self::Energy(_) => row.energy_uj,
            Self::Money(_, currency) => row.cost_in(*currency).map_or(0, |cost| micro(cost.amount)),
        }
    }

    /// All of it, in its grain.
    #[must_use]
    pub const fn whole(&self) -> i128 {
        match self {
            Self::Energy(limit) | Self::Money(limit, _) => *limit,
        }
    }

    /// The unit in words: `kWh` or the currency's code.
    #[must_use]
    pub fn unit(&self) -> String {
        match self {
            Self::Energy(_) => "kWh".into(),
            Self::Money(_, currency) => currency.to_string(),
        }
    }

    /// A figure in its grain as a decimal of its unit: kWh to a millionth, money to the minor unit; rounded down,
    /// so that nothing is shown as reached that is not.
    #[must_use]
    pub fn shown(&self, figure: i128) -> Decimal {
        let (figure, digits) = match self {
            Self::Energy(_) => (figure.div_euclid(KWH_UJ / 1_000_000), MICRO),
            Self::Money(_, currency) => {
                let digits = currency.minor_digits();
                (figure.div_euclid(10_i128.pow(MICRO - digits)), digits)
            }
        };
        Decimal::try_from_i128_with_scale(figure, digits).unwrap_or(Decimal::MAX)
    }

    /// Whether `used` has reached so many percent of it.
    #[must_use]
    pub const fn is_reached(&self, used: i128, percent: u32) -> bool {
        used * 100 >= self.whole() * percent as i128
    }

    /// The share that is used, to a millionth.
    #[must_use]
    pub fn share(&self, used: i128) -> Decimal {
        crate::reconcile::ratio(used, self.whole()).unwrap_or_default()
    }
}

/// An amount in millionths.
fn micro(amount: Decimal) -> i128 {
    let amount = amount.round_dp(MICRO);
    amount.mantissa() * 10_i128.pow(MICRO - amount.scale())
}

/// A zone by its name, for the file's reader.
fn knows_zone(name: &str) -> Option<TimeZone> {
    crate::window::zone(name).ok()
}
