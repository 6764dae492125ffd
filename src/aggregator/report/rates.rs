//! Which prices were in force.

use std::collections::BTreeMap;

use cost::closing::RateLine;
use cost::rates::Rate;
use cost::{RateCard, Tariff, Window};
use rust_decimal::Decimal;

use super::when::Zone;

/// The prices in force at these sites within a window; `tz` names the zone of its dates.
#[must_use]
pub fn in_force(card: &RateCard, sites: &[String], window: Window, tz: &str) -> Vec<RateLine> {
    let zone = Zone::of(tz);
    let mut lines = Vec::new();
    for site in sites {
        let labels = Some(site).filter(|site| !site.is_empty()).map(|site| ("site".to_owned(), site.clone()));
        let mut rates: BTreeMap<u32, Figures> = BTreeMap::new();
        for (_, tariff) in card.tariffs(&labels.into_iter().collect(), window) {
            tariff.iter().for_each(|tariff| rates.entry(tariff.rate).or_default().note(tariff));
        }
        for (index, figures) in rates {
            let Some(rate) = card.rates().get(index as usize) else { continue };
            let price = figures.price.map_or_else(|| "no price".to_owned(), |price| price.text(9));
            let carbon = figures
                .carbon
                .map_or_else(|| "no carbon factor".to_owned(), |grams| format!("{} g CO₂e per kWh", grams.text(3)));
            let pue = figures.pue.map_or_else(String::new, |pue| format!("PUE {}, ", pue.text(6)));
            lines.push(RateLine {
                site: site.clone(),
                price: format!("{price} {} per kWh", rate.currency),
                more: format!("{}{pue}{carbon}", charges(rate)),
                since: rate
                    .since()
                    .map_or_else(|| "always".to_owned(), |at| format!("since {}", zone.text(at, "%e %B %Y"))),
            });
        }
    }
    lines
}

/// What is due besides the price of energy, so that a bill can be worked out from what stands beside it.
fn charges(rate: &Rate) -> String {
    let decimal = |figure: i64, decimals: u32| Decimal::new(figure, decimals).normalize();
    let currency = rate.currency;
    let demand = (rate.demand_nano != 0).then(|| {
        format!("{} {currency} a month per kW of the site's peak quarter-hour, ", decimal(rate.demand_nano, 9))
    });
    let fixed = (rate.fixed_nano != 0).then(|| format!("{} {currency} a month, ", decimal(rate.fixed_nano, 9)));
    let overhead =
        (rate.overhead_micro != 0).then(|| format!("{} % on what energy costs, ", decimal(rate.overhead_micro, 4)));
    [demand, fixed, overhead].into_iter().flatten().collect()
}

/// What a rate's figures were within a window.
#[derive(Clone, Copy, Default)]
struct Figures {
    price: Option<Span>,
    pue: Option<Span>,
    carbon: Option<Span>,
}

/// The least and the most.
#[derive(Clone, Copy)]
struct Span(i64, i64);

impl Figures {
    fn note(&mut self, tariff: &Tariff) {
        let figures = [tariff.price_nano, Some(tariff.pue_micro), tariff.carbon_milligrams];
        for (known, figure) in [&mut self.price, &mut self.pue, &mut self.carbon].into_iter().zip(figures) {
            let Some(figure) = figure else { continue };
            *known = Some(known.map_or(Span(figure, figure), |known| Span(known.0.min(figure), known.1.max(figure))));
        }
    }
}

impl Span {
    fn text(self, decimals: u32) -> String {
        let [least, most] = [self.0, self.1].map(|figure| Decimal::new(figure, decimals).normalize());
        if least == most { least.to_string() } else { format!("{least} to {most}") }
    }
}

#[cfg(test)]
mod tests {
    use meter::Slot;

    use super::*;

    #[test]
    fn everything_that_a_bill_is_made_of_is_told() {
        let mut none = |_: &str| Err("no file".to_owned());
        let card = RateCard::read(
            "[[rate]]\ncurrency = \"EUR\"\nprice_per_kwh = \"0.20\"\npue = \"1.5\"\ndemand_per_kw = \"12.5\"\n\
             fixed_per_month = \"250\"\noverhead_share = \"0.075\"\n",
            &mut none,
        )
        .expect("a card");
        let lines = in_force(&card, &["par1".to_owned()], Window::of_slots(Slot(0), Slot(96)), "UTC");
        assert_eq!(lines[0].price, "0.2 EUR per kWh");
        let more = "12.5 EUR a month per kW of the site's peak quarter-hour, 250 EUR a month, 7.5 % on what energy costs, \
                    PUE 1.5, no carbon factor";
        assert_eq!(lines[0].more, more);
    }
}
