//! A supplier's invoice beside what was measured.

use std::str::FromStr;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Place, Verdict, judged, ratio};
use crate::currency::Currency;
use crate::error::shortened;

/// Below this coverage a window is not what the invoice is about.
const COMPLETE: f64 = 0.99;

/// What a supplier bills: kWh, money, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Invoice {
    /// The energy.
    pub kwh: Option<Decimal>,
    /// The amount.
    pub amount: Option<Decimal>,
    /// Its currency; if there is none, the only one that the rate cards have.
    pub currency: Option<Currency>,
}

impl Invoice {
    /// Whether it speaks of money.
    #[must_use]
    pub const fn has_amount(&self) -> bool {
        self.amount.is_some() || self.currency.is_some()
    }
}

/// What an invoice is held against.
#[derive(Clone, Debug)]
pub struct Ours {
    /// Whose energy: the facility's meter, or what is billed times its PUE.
    pub basis: Place,
    /// The energy, in whole microjoules.
    pub energy_uj: i128,
    /// How much of the window it was measured for, as a share.
    pub coverage: f64,
    /// What is charged for it, per currency.
    pub costs: Vec<(Currency, Decimal)>,
}

/// An invoice beside what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct InvoiceCheck {
    /// What it is held against: `facility`, or `chassis` for what is billed times the PUE.
    pub basis: Place,
    /// How much of the window that was measured for, as a share.
    pub coverage: f64,
    /// Whether that is all of it, to 1 %. If not, a difference may be what nobody measured.
    pub complete: bool,
    /// The energy in kWh.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kwh: Option<Compared>,
    /// The money.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub amount: Option<Compared>,
    /// Its currency.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub currency: Option<Currency>,
}

/// A figure of the invoice beside ours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Compared {
    /// The invoice's.
    pub invoice: Decimal,
    /// Ours.
    pub ours: Decimal,
    /// The invoice's less ours.
    pub difference: Decimal,
    /// The invoice's ÷ ours, to a millionth.
    pub ratio: Option<Decimal>,
    /// Whether they agree.
    pub verdict: Verdict,
    /// That in words.
    pub why: String,
}

impl FromStr for Invoice {
    type Err = String;

    /// Reads `kwh=…,amount=…,currency=…`; one of the first two is needed.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut invoice = Self::default();
        for term in text.split(',').map(str::trim).filter(|term| !term.is_empty()) {
            let (key, value) = term.split_once('=').unwrap_or((term, ""));
            let decimal = || {
                let number = Decimal::from_str_exact(value.trim()).ok().filter(|number| number.scale() <= 9);
                let number = number.filter(|number| number.abs() <= Decimal::from(1_000_000_000_000_i64));
                number.ok_or_else(|| format!("{:?} needs a number such as {key}=1234.56", shortened(term)))
            };
            let is_again = match key.trim() {
                "kwh" => {
                    // An amount may be a credit; energy that was delivered is no less than none.
                    let kwh = Some(decimal()?).filter(|kwh| !kwh.is_sign_negative());
                    let kwh = kwh.ok_or_else(|| format!("{:?} is less than no energy", shortened(term)))?;
                    invoice.kwh.replace(kwh).is_some()
                }
                "amount" => invoice.amount.replace(decimal()?).is_some(),
                "currency" => {
                    let code = Currency::new(value.trim());
                    let code = code.ok_or_else(|| format!("{:?} is no ISO 4217 code", shortened(value)))?;
                    invoice.currency.replace(code).is_some()
                }
                other => return Err(format!("{:?} is none of kwh, amount, currency", shortened(other))),
            };
            if is_again {
                return Err(format!("{} is given twice", key.trim()));
            }
        }
        if invoice.kwh.is_none() && invoice.amount.is_none() {
            return Err("say what is billed, such as kwh=1234.5 or amount=456.78,currency=EUR".into());
        }
        Ok(invoice)
    }
}

impl Invoice {
    /// Which of our amounts the invoice is about.
    ///
    /// # Errors
    /// A sentence if it names no currency and there are several.
    fn amount_of(&self, ours: &Ours) -> Result<Option<(Currency, Decimal)>, String> {
        match (self.currency, &ours.costs[..]) {
            (Some(currency), costs) => Ok(costs.iter().find(|(code, _)| *code == currency).copied()),
            (None, [one]) => Ok(Some(*one)),
            (None, []) => Ok(None),
            (None, several) => {
                let codes: Vec<&str> = several.iter().map(|(code, _)| code.code()).collect();
                Err(format!("name its currency: the rate cards have {}", codes.join(", ")))
            }
        }
    }

    /// The invoice beside what was measured.
    ///
    /// # Errors
    /// A sentence if it does not say which currency it is about.
    pub fn check(&self, ours: &Ours, tolerance: Decimal) -> Result<InvoiceCheck, String> {
        let kwh = self.kwh.map(|kwh| Compared::new(kwh, of_uj(ours.energy_uj), tolerance));
        let mut currency = self.currency;
        let amount = match self.amount {
            None => None,
            Some(amount) => Some(match self.amount_of(ours)? {
                Some((code, charged)) => {
                    currency = Some(code);
                    Compared::new(amount, charged, tolerance)
                }
                None => Compared::without_price(amount),
            }),
        };
        let complete = ours.coverage >= COMPLETE;
        Ok(InvoiceCheck { basis: ours.basis, coverage: ours.coverage, complete, kwh, amount, currency })
    }
}

impl InvoiceCheck {
    /// The worse of its verdicts.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::of(self.kwh.iter().chain(&self.amount).map(|compared| compared.verdict))
    }
}

impl Compared {
    fn new(invoice: Decimal, ours: Decimal, tolerance: Decimal) -> Self {
        // Both in whole billionths.
        let nano = |value: Decimal| (value * Decimal::from(1_000_000_000)).round().mantissa();
        let (mine, theirs) = (nano(ours), nano(invoice));
        let (verdict, why) = judged(theirs, mine, tolerance);
        let difference = (invoice - ours).normalize();
        Self { invoice, ours, difference, ratio: ratio(theirs, mine), verdict, why }
    }

    fn without_price(invoice: Decimal) -> Self {
        let why = "no rate card has a price in that currency here".to_owned();
        let ours = Decimal::ZERO;
        Self { invoice, ours, difference: invoice, ratio: None, verdict: Verdict::Unknown, why }
    }
}

/// Microjoules as kWh, to a millionth.
fn of_uj(uj: i128) -> Decimal {
    let micro = (uj + 1_800_000).div_euclid(3_600_000);
    Decimal::try_from_i128_with_scale(micro, 6).unwrap_or(Decimal::MAX).normalize()
}
