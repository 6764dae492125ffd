//! Months of which energy has no price: nobody freezes a bill at no cost unseen.

use actix_web::http::StatusCode;
use cost::closing::Head;
use serde_json::json;

use crate::http::problem::Problem;

/// What is to be known of a month that closes with energy without a price; nothing if all of it has one.
#[must_use]
pub fn notice(head: &Head) -> Option<String> {
    let (all, unpriced) = (head.total.energy_kwh, head.total.unpriced_kwh);
    (unpriced != 0.0).then(|| {
        format!(
            "{} at {}: of {all:.3} kWh {unpriced:.3} kWh have no price: no rate was in force for them",
            head.period,
            site(head)
        )
    })
}

/// Refuses sites where nothing at all has a price although there is a rate card.
pub(super) fn require_prices<'a>(heads: impl Iterator<Item = &'a Head>, has_card: bool) -> Result<(), Problem> {
    let is_free = |head: &&Head| head.total.unpriced_kwh > 0.0 && head.total.unpriced_kwh >= head.total.energy_kwh;
    let free: Vec<&Head> = heads.filter(is_free).collect();
    if !has_card || free.is_empty() {
        return Ok(());
    }
    let named: Vec<String> =
        free.iter().map(|head| format!("{} ({:.3} kWh)", site(head), head.total.unpriced_kwh)).collect();
    let detail = format!(
        "no rate of the card was in force for anything in {} at {}: it would be billed at no cost. Correct the rate card \
         (`wattledger rates show`), or close it with `allow_incomplete` (--allow-incomplete)",
        free[0].period,
        named.join(", ")
    );
    let sites: Vec<&str> = free.iter().map(|head| head.site.as_str()).collect();
    Err(Problem::new(StatusCode::CONFLICT, "unpriced", detail).with("sites", json!(sites)))
}

fn site(head: &Head) -> &str {
    if head.site.is_empty() { "hosts without a site" } else { &head.site }
}

#[cfg(test)]
mod tests {
    use cost::closing::{Coverage, Sum};
    use cost::statement::Edges;
    use meter::Utc;

    use super::*;

    fn head(energy_kwh: f64, unpriced_kwh: f64) -> Head {
        Head {
            id: "1".into(),
            period: "2026-10".into(),
            site: "par1".into(),
            version: 1,
            window: Edges { start: Utc(0), end: Utc(1) },
            tz: "UTC".into(),
            closed_at: Utc(2),
            closed_by: String::new(),
            coverage: Coverage::default(),
            total: Sum { energy_kwh, unpriced_kwh, ..Sum::default() },
            adjustments_total: Sum::default(),
            bill: Sum::default(),
        }
    }

    #[test]
    fn a_part_without_a_price_is_told_and_a_whole_month_without_one_is_refused() {
        let (priced, part, free, empty) = (head(45.6, 0.0), head(45.6, 12.3), head(45.6, 45.6), head(0.0, 0.0));
        assert_eq!(notice(&priced), None);
        let told = notice(&part).expect("a notice");
        assert!(told.contains("of 45.600 kWh 12.300 kWh have no price") && told.contains("par1"), "{told}");
        assert!(require_prices([&priced, &part, &empty].into_iter(), true).is_ok());
        let refused = require_prices([&priced, &free].into_iter(), true).expect_err("refused").document();
        assert_eq!((&refused["code"], &refused["sites"]), (&json!("unpriced"), &json!(["par1"])));
        assert!(require_prices([&free].into_iter(), false).is_ok(), "without a card nobody wants prices");
    }
}
