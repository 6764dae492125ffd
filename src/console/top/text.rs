//! Figures in words: power, energy, money, and the line of a session.

use std::collections::BTreeMap;

use cost::Currency;
use cost::rates::outlook::{Outlook, Terms};
use rust_decimal::Decimal;

use super::session::Figures;
use crate::figures::{NOTHING, grouped};

/// Microjoules in a kWh.
const KWH_UJ: i128 = 3_600_000_000_000;

/// Least amount, in minor units, that a rate is worked out from: below it the rounding would show.
const RATE_FROM: i64 = 10;

/// What a kWh costs now, by currency: everywhere, and at each site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    all: BTreeMap<Currency, Rate>,
    sites: BTreeMap<String, BTreeMap<Currency, Rate>>,
}

/// What a kWh costs at the sites of one currency, with all that goes with energy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rate {
    least: Decimal,
    most: Decimal,
    /// Whether it is one price, with nothing on top, that does not change.
    is_flat: bool,
}

impl Rates {
    /// From what applies now.
    pub(super) fn of(outlook: &Outlook) -> Self {
        let mut rates = Self::default();
        for price in &outlook.prices {
            let Some((terms, all)) = price.now.as_ref().and_then(|terms| Some((terms, all_in(terms)?))) else {
                continue;
            };
            let is_flat = price.until.is_none() && price.next.is_empty() && Some(all) == terms.price_per_kwh;
            let new = Rate { least: all, most: all, is_flat };
            let site = price.labels.get("site").map(|site| rates.sites.entry(site.clone()).or_default());
            for rates in site.into_iter().chain([&mut rates.all]) {
                rates.entry(terms.currency).and_modify(|rate| rate.join(&new)).or_insert_with(|| new.clone());
            }
        }
        rates
    }

    /// At one site, where that is known.
    pub(super) fn at(&self, site: Option<&String>) -> Self {
        let rates = site.and_then(|site| self.sites.get(site));
        Self { all: rates.unwrap_or(&self.all).clone(), sites: BTreeMap::new() }
    }

    /// What a kWh costs, in brackets.
    fn told(&self, currency: Currency, (uj, amount): (i128, Decimal)) -> String {
        let unit = Decimal::new(1, currency.minor_digits());
        let kwh = Decimal::try_from_i128_with_scale(uj / (KWH_UJ / 1_000_000_000), 9).unwrap_or_default();
        let rate = self.all.get(&currency);
        // A card that was changed meanwhile is another one than the session was priced by.
        let fits = |rate: &&Rate| {
            let expected = kwh * rate.least;
            rate.least == rate.most
                && (expected - amount).abs() <= unit * Decimal::TWO + amount.abs() / Decimal::ONE_THOUSAND
        };
        if let Some(rate) = rate.filter(fits) {
            let word = if rate.is_flat { "at" } else { "effective" };
            return format!(" ({word} {}/kWh)", price(currency, rate.least));
        }
        if amount >= unit * Decimal::from(RATE_FROM) && kwh > Decimal::ZERO {
            let places = if amount >= unit * Decimal::ONE_THOUSAND { 4 } else { 2 };
            return format!(" (effective {}/kWh)", price(currency, (amount / kwh).round_dp(places)));
        }
        rate.map_or_else(String::new, |rate| {
            format!(" (now {} to {}/kWh)", price(currency, rate.least), price(currency, rate.most))
        })
    }
}

impl Rate {
    fn join(&mut self, other: &Self) {
        (self.least, self.most) = (self.least.min(other.least), self.most.max(other.most));
        self.is_flat &= other.is_flat && self.least == self.most;
    }
}

/// The price of a kWh with PUE and surcharge.
fn all_in(terms: &Terms) -> Option<Decimal> {
    let share = Decimal::ONE + terms.overhead_share.unwrap_or_default();
    terms.price_per_kwh?.checked_mul(terms.pue)?.checked_mul(share).map(|all| all.normalize())
}

/// Watts, with three digits or more.
pub(super) fn power(watts: Option<f64>) -> String {
    let Some(watts) = watts else { return NOTHING.to_owned() };
    match watts.abs() {
        999_500.0.. => format!("{:.2} MW", watts / 1e6),
        999.95.. => format!("{:.2} kW", watts / 1e3),
        100.0.. => format!("{watts:.0} W"),
        _ => format!("{watts:.1} W"),
    }
}

/// Microjoules in kWh: two decimals, more where that would be little or nothing.
pub(super) fn energy(uj: i128) -> String {
    energy_beside(uj, uj)
}

/// Microjoules in kWh with the decimals of a figure beside it, so that they stand under each other.
pub(super) fn energy_beside(uj: i128, other: i128) -> String {
    let decimals = match other.abs() {
        KWH_UJ.. => 2,
        36_000_000_000.. => 4,
        _ => 6,
    };
    let unit = KWH_UJ / 10_i128.pow(decimals);
    let units = (uj + unit / 2).div_euclid(unit);
    grouped(Decimal::try_from_i128_with_scale(units, decimals).unwrap_or_default())
}

/// An amount with the sign of its currency.
pub(super) fn money(currency: Currency, amount: Decimal) -> String {
    let mut amount = amount;
    amount.rescale(currency.minor_digits());
    signed(currency, &grouped(amount))
}

/// A price: at least the digits of the currency, at most four.
fn price(currency: Currency, price: Decimal) -> String {
    let mut price = price.round_dp(currency.minor_digits().max(4)).normalize();
    if price.scale() < currency.minor_digits() {
        price.rescale(currency.minor_digits());
    }
    signed(currency, &grouped(price))
}

fn signed(currency: Currency, text: &str) -> String {
    match currency.code() {
        "USD" => format!("${text}"),
        "EUR" => format!("€{text}"),
        "GBP" => format!("£{text}"),
        "JPY" => format!("¥{text}"),
        code => format!("{text} {code}"),
    }
}

/// What figures cost, in one cell: a dash where nothing is known, never nothing for what has no price.
pub(super) fn costs(figures: &Figures) -> String {
    let costs = figures.costs.iter().map(|(currency, (_, amount))| money(*currency, *amount));
    let unpriced = (figures.unpriced_uj() > 0).then(|| "unpriced".to_owned());
    let all: Vec<String> = costs.chain(unpriced).collect();
    if all.is_empty() { NOTHING.to_owned() } else { all.join(" + ") }
}

/// `Energy session: 3.21 kWh | $0.39 (at $0.12/kWh)`; without what follows the bar where money is hidden.
pub(super) fn session(figures: Option<&Figures>, rates: &Rates, is_cost_hidden: bool) -> String {
    let Some(figures) = figures else { return "Energy session: not known yet".to_owned() };
    let energy_text = format!("Energy session: {} kWh", energy(figures.uj));
    if is_cost_hidden {
        return energy_text;
    }
    let cost = |(currency, cost): (&Currency, &(i128, Decimal))| {
        format!("{}{}", money(*currency, cost.1), rates.told(*currency, *cost))
    };
    let mut all: Vec<String> = figures.costs.iter().map(cost).collect();
    match (figures.unpriced_uj(), all.is_empty()) {
        (_, true) => all.push("no price".to_owned()),
        (uj @ 1.., false) => all.push(format!("{} kWh without a price", energy(uj))),
        _ => {}
    }
    format!("{energy_text} | {}", all.join(" + "))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn outlook(prices: &[(&str, &str, &str, Value)]) -> Rates {
        let one = |(currency, price, pue, until): &(&str, &str, &str, Value)| {
            json!({"labels": {}, "until": until, "next": [], "now": {"rate": null, "version": null, "line": 2,
                "currency": currency, "price_per_kwh": price, "period": null, "pue": pue, "carbon_g_per_kwh": null,
                "demand_per_kw": null, "fixed_per_month": null, "overhead_share": null, "timezone": "UTC"}})
        };
        let mut prices: Vec<Value> = prices.iter().map(one).collect();
        prices.iter_mut().zip(["a", "b"]).for_each(|(price, site)| price["labels"] = json!({ "site": site }));
        let outlook = json!({"as_of": "2026-11-01T00:00:00Z", "prices": prices, "series": []});
        Rates::of(&serde_json::from_value(outlook).expect("an outlook"))
    }

    fn figures(uj: i128, costs: &[(&str, i128, &str)]) -> Figures {
        let cost = |(code, uj, amount): &(&str, i128, &str)| {
            (Currency::new(code).expect("a currency"), (*uj, amount.parse().expect("an amount")))
        };
        Figures { uj, costs: costs.iter().map(cost).collect() }
    }

    #[test]
    fn the_line_of_a_session() {
        // 3.21 kWh × 0.12 = 0.3852.
        let uj = 321 * KWH_UJ / 100;
        let flat = outlook(&[("USD", "0.12", "1", Value::Null)]);
        let usd = figures(uj, &[("USD", uj, "0.39")]);
        assert_eq!(session(Some(&usd), &flat, false), "Energy session: 3.21 kWh | $0.39 (at $0.12/kWh)");
        assert_eq!(session(Some(&usd), &flat, true), "Energy session: 3.21 kWh");
        assert_eq!(session(None, &flat, false), "Energy session: not known yet");
        // With a PUE of 1.25 a kWh comes to 0.15: 3.21 × 0.15 = 0.4815.
        let pue = outlook(&[("USD", "0.12", "1.25", Value::Null)]);
        let usd = figures(uj, &[("USD", uj, "0.48")]);
        assert_eq!(session(Some(&usd), &pue, false), "Energy session: 3.21 kWh | $0.48 (effective $0.15/kWh)");
        assert_eq!(session(Some(&figures(uj, &[])), &pue, false), "Energy session: 3.21 kWh | no price");
    }

    #[test]
    fn prices_that_change_or_differ_show_what_they_came_to() {
        let uj = 400 * KWH_UJ;
        // Half at 0.10, half at 0.20: 60.00 for 400 kWh.
        let eur = figures(uj, &[("EUR", uj, "60.00")]);
        let two = outlook(&[("EUR", "0.10", "1", Value::Null), ("EUR", "0.20", "1", Value::Null)]);
        assert_eq!(session(Some(&eur), &two, false), "Energy session: 400.00 kWh | €60.00 (effective €0.15/kWh)");
        let half = figures(uj / 2, &[("EUR", uj / 2, "20.00")]);
        let at_a = two.at(Some(&"a".to_owned()));
        assert_eq!(session(Some(&half), &at_a, false), "Energy session: 200.00 kWh | €20.00 (at €0.10/kWh)");
        assert_eq!(two.at(Some(&"elsewhere".to_owned())).all, two.all);
        // The price of now is not what was paid for all of it.
        let peak = outlook(&[("EUR", "0.20", "1", json!("2026-11-01T20:00:00Z"))]);
        assert_eq!(session(Some(&eur), &peak, false), "Energy session: 400.00 kWh | €60.00 (effective €0.15/kWh)");
        let little = figures(KWH_UJ / 10, &[("EUR", KWH_UJ / 10, "0.02")]);
        assert_eq!(session(Some(&little), &two, false), "Energy session: 0.1000 kWh | €0.02 (now €0.10 to €0.20/kWh)");
        assert_eq!(session(Some(&little), &peak, false), "Energy session: 0.1000 kWh | €0.02 (effective €0.20/kWh)");
    }

    #[test]
    fn currencies_are_never_added_and_what_has_no_price_is_said() {
        let all = figures(3 * KWH_UJ, &[("USD", KWH_UJ, "0.12"), ("SEK", KWH_UJ, "1.50")]);
        let rates = outlook(&[("USD", "0.12", "1", Value::Null), ("SEK", "1.5", "1", Value::Null)]);
        assert_eq!(
            session(Some(&all), &rates, false),
            "Energy session: 3.00 kWh | 1.50 SEK (at 1.50 SEK/kWh) + $0.12 (at $0.12/kWh) + 1.00 kWh without a price"
        );
        assert_eq!(costs(&all), "1.50 SEK + $0.12 + unpriced");
        assert_eq!(costs(&Figures::default()), NOTHING);
    }

    #[test]
    fn figures_keep_their_digits() {
        assert_eq!([power(None), power(Some(0.0)), power(Some(412.4))], [NOTHING, "0.0 W", "412 W"]);
        assert_eq!([power(Some(999.97)), power(Some(52_778.2))], ["1.00 kW", "52.78 kW"]);
        assert_eq!([power(Some(4_000_000.0))], ["4.00 MW"]);
        assert_eq!([energy(0), energy(KWH_UJ / 8), energy(12_345 * KWH_UJ)], ["0.000000", "0.1250", "12,345.00"]);
    }
}
