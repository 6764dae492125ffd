//! Tariffs of the Utility Rate Database as rate cards.
#![expect(clippy::expect_used, reason = "a test may stop at what it did not expect")]

use cost::RateCard;
use cost::urdb::{Converted, Options, convert};
use cost::window::read_instant;
use meter::Labels;

/// A tariff with a summer (June to September) in which weekdays from 12 to 18 are of period 1; the rest is period 0.
fn tariff(more: &str) -> String {
    let plain = format!("[{}]", vec!["0"; 24].join(","));
    let peak: Vec<&str> = (0..24).map(|hour| if (12..18).contains(&hour) { "1" } else { "0" }).collect();
    let peak = format!("[{}]", peak.join(","));
    let months = |summer: &str| {
        (1..=12)
            .map(|m| if (6..=9).contains(&m) { summer.to_owned() } else { plain.clone() })
            .collect::<Vec<_>>()
            .join(",")
    };
    format!(
        r#"{{"items":[{{"label":"l1","name":"Say \"hi\"","utility":"U","startdate":1390636800,"enddate":1451545200,
        "energyweekdayschedule":[{}],"energyweekendschedule":[{}],
        "energyratestructure":[[{{"rate":0.1,"adj":-0.015}}],[{{"rate":0.3,"max":1000,"unit":"kWh"}},{{"rate":0.5}}]]{more}}}]}}"#,
        months(&peak),
        months(&plain)
    )
}

fn converted(more: &str, options: &Options<'_>) -> Converted {
    convert(&tariff(more), options).expect("a tariff")
}

const NEW_YORK: Options<'_> =
    Options { timezone: Some("America/New_York"), site: Some("va"), item: None, dated: false };

#[test]
fn hours_have_the_prices_of_their_periods() {
    let Converted { toml, notes } = converted("", &NEW_YORK);
    let card = RateCard::parse(&toml).expect("a card");
    let labels: Labels = [("site".to_owned(), "va".to_owned())].into();
    let price = |at: &str| {
        let tariff = card.tariff_at(&labels, read_instant(at).expect("an instant").slot());
        tariff.and_then(|tariff| tariff.price_nano).expect("a price") / 1_000_000
    };
    // Wednesday, 15 July 2026: 12:00 in New York is 16:00 UTC.
    assert_eq!([price("2026-07-15T15:45:00Z"), price("2026-07-15T16:00:00Z")], [85, 300]);
    assert_eq!([price("2026-07-15T21:45:00Z"), price("2026-07-15T22:00:00Z")], [300, 85]);
    assert_eq!(price("2026-07-18T16:00:00Z"), 85, "a Saturday");
    assert_eq!(price("2026-10-14T16:00:00Z"), 85, "not in October");
    assert_eq!(toml.matches("[[rate.period]]").count(), 4, "few rules, not one for each hour: {toml}");
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(notes[0].contains("2014-01-25 to 2015-12-31") && notes[1].contains("up to 1000 kWh"), "{notes:?}");
    assert_eq!(card.rates()[0].name.as_deref(), Some("Say \"hi\""));
    let dated = converted("", &Options { dated: true, ..NEW_YORK });
    let dated = RateCard::parse(&dated.toml).expect("a card");
    assert!(dated.tariff_at(&labels, read_instant("2020-01-01T00:00Z").expect("an instant").slot()).is_none());
}

#[test]
fn what_is_due_each_month_is_taken_over_where_a_rate_can_say_it() {
    let flat = r#","fixedchargefirstmeter":12.5,"fixedchargeunits":"$/month",
        "flatdemandstructure":[[{"rate":7,"adj":0.25}]],"flatdemandmonths":[0,0,0,0,0,0,0,0,0,0,0,0],"flatdemandunit":"kW""#;
    let Converted { toml, notes } = converted(flat, &NEW_YORK);
    assert!(toml.contains("demand_per_kw = \"7.25\"") && toml.contains("fixed_per_month = \"12.5\""), "{toml}");
    assert_eq!(notes.len(), 2, "{notes:?}");

    let other = r#","fixedchargefirstmeter":0.4,"fixedchargeunits":"$/day","mincharge":5,
        "flatdemandstructure":[[{"rate":7}],[{"rate":9}]],"flatdemandmonths":[0,0,0,0,0,1,1,1,1,0,0,0],
        "demandratestructure":[[{"rate":1}],[{"rate":2}]],"demandratchetpercentage":[0,0]"#;
    let Converted { toml, notes } = converted(other, &NEW_YORK);
    assert!(!toml.contains("demand_per_kw") && !toml.contains("fixed_per_month"), "{toml}");
    for key in ["flatdemandstructure", "demandratestructure", "fixedchargefirstmeter", "mincharge"] {
        assert!(notes.iter().any(|note| note.starts_with(key)), "{key} is not told: {notes:?}");
    }
    assert!(!notes.iter().any(|note| note.contains("ratchet")), "zeros say nothing: {notes:?}");
}

#[test]
fn a_zone_that_nobody_named_is_said_and_what_is_no_tariff_is_refused() {
    let Converted { toml, notes } = converted("", &Options::default());
    assert!(toml.contains("timezone = \"UTC\"") && notes.iter().any(|note| note.contains("--timezone")), "{notes:?}");
    let refused = |text: &str, options: &Options<'_>| convert(text, options).expect_err(text).to_string();
    assert!(refused("[]", &NEW_YORK).contains("no JSON object"));
    assert!(refused("{}", &NEW_YORK).contains("energyratestructure"));
    assert!(refused("{", &NEW_YORK).contains("no JSON"));
    assert!(refused(&tariff(""), &Options { timezone: Some("Mars/Olympus"), ..NEW_YORK }).contains("Mars/Olympus"));
    let two = tariff("").replace("]}]}", "]},{\"name\":\"other\"}]}");
    assert!(refused(&two, &NEW_YORK).contains("--item"), "{two}");
    assert!(convert(&two, &Options { item: Some(1), ..NEW_YORK }).is_ok());
    let short = tariff("").replacen("energyweekdayschedule\":[", "energyweekdayschedule\":[[1],", 1);
    assert!(refused(&short, &NEW_YORK).contains("12 months"));
}
