//! What a Redfish service answers, read leniently: a field that is wrong spoils only itself.
//!
//! Numbers stay the text they were sent as until they become integers: a double would lose the last
//! digits of an energy counter.

use std::collections::BTreeMap;

use meter::{Microjoules, Milliwatts, Refusal};
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde_json::value::RawValue;

/// Most members of one collection that are looked at: more would keep a BMC busy for minutes.
pub(super) const MEMBERS_MAX: usize = 64;

/// A JSON value whose syntax is right and whose parts are only looked at when they are asked for, so that
/// nothing recurses however deep it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Document<'a>(&'a RawValue);

impl<'a> Document<'a> {
    /// A document of its text.
    pub(super) fn parse(text: &'a str) -> Result<Self, String> {
        // Some firmware begins its answers with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        serde_json::from_str(text).map(Self).map_err(|error| format!("no JSON: {error}"))
    }

    /// A field of an object; nothing if this is none, or has no such field.
    pub(super) fn field(self, name: &str) -> Option<Self> {
        let fields: BTreeMap<&'a str, &'a RawValue> = match serde_json::from_str(self.0.get()) {
            Ok(fields) => fields,
            // A key that is written with escapes cannot be borrowed.
            Err(_) => return self.escaped_field(name),
        };
        fields.get(name).copied().map(Self)
    }

    fn escaped_field(self, name: &str) -> Option<Self> {
        let mut fields: BTreeMap<String, &'a RawValue> = serde_json::from_str(self.0.get()).ok()?;
        fields.remove(name).map(Self)
    }

    /// A field of a field of an object.
    pub(super) fn path(self, names: &[&str]) -> Option<Self> {
        names.iter().try_fold(self, |document, name| document.field(name))
    }

    /// The items of a list, at most [`MEMBERS_MAX`]; none if this is no list.
    pub(super) fn items(self) -> Vec<Self> {
        let items: Vec<&'a RawValue> = serde_json::from_str(self.0.get()).unwrap_or_default();
        items.into_iter().take(MEMBERS_MAX).map(Self).collect()
    }

    /// The items of a field that is a list.
    pub(super) fn list(self, name: &str) -> Vec<Self> {
        self.field(name).map(Self::items).unwrap_or_default()
    }

    /// The text of a field, without blanks around it; nothing if it is empty or no text.
    pub(super) fn text(self, name: &str) -> Option<String> {
        let text: String = serde_json::from_str(self.field(name)?.0.get()).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The name of a field that may be text or a number, as `MemberId` is.
    pub(super) fn name(self, name: &str) -> Option<String> {
        self.text(name).or_else(|| {
            let number = self.field(name)?.0.get();
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.to_owned())
        })
    }

    /// Where a field refers to: its `@odata.id`.
    pub(super) fn link(self, name: &str) -> Option<String> {
        self.field(name)?.reference()
    }

    /// Where the items of a list refer to.
    pub(super) fn links(self, name: &str) -> Vec<String> {
        self.list(name).into_iter().filter_map(Self::reference).collect()
    }

    /// Where this document is, or refers to.
    pub(super) fn reference(self) -> Option<String> {
        self.text("@odata.id").filter(|path| is_path(path))
    }

    /// A number, exactly; nothing if this is none.
    pub(super) fn number(self) -> Option<Decimal> {
        decimal(self.0.get())
    }

    /// A power in watts.
    pub(super) fn watts(self) -> Result<Milliwatts, Refusal> {
        self.digits(Refusal::PowerNotFinite).and_then(Milliwatts::from_watts_text)
    }

    /// An energy counter in kilowatt hours.
    pub(super) fn kwh(self) -> Result<Microjoules, Refusal> {
        kwh(self.digits(Refusal::CounterNotFinite)?)
    }

    /// Digits behind the point, as far as the text shows them.
    pub(super) fn decimals(self) -> u32 {
        self.number().map_or(0, |number| number.scale())
    }

    /// The text of a number. What is `null` is no value, and text in quotes is none either, whatever it says.
    fn digits(self, junk: Refusal) -> Result<&'a str, Refusal> {
        let text = self.0.get().trim();
        match text.bytes().next() {
            Some(b'-' | b'0'..=b'9') => Ok(text),
            Some(b'n') => Err(Refusal::NoValue),
            _ => Err(junk),
        }
    }
}

/// A path on the service that answered, and nowhere else: a BMC must not send us, with our credentials,
/// to another machine.
pub(super) fn is_path(path: &str) -> bool {
    let printable = path.bytes().all(|byte| byte.is_ascii_graphic());
    path.starts_with('/') && !path.starts_with("//") && printable && !path.contains('\\') && path.len() <= 512
}

/// Microjoules in a kilowatt hour: 1000 W for 3600 s.
const KWH: i64 = 3_600_000_000_000;

/// Reads decimal text in kilowatt hours, rounded half-even to a microjoule.
fn kwh(text: &str) -> Result<Microjoules, Refusal> {
    // A register full of ones stands for no value in this unit too.
    Microjoules::from_joules_text(text)?;
    let value = decimal(text).ok_or(Refusal::CounterNotFinite)?;
    let microjoules = value.checked_mul(Decimal::from(KWH)).ok_or(Refusal::CounterNotFinite)?.round();
    microjoules.to_u64().map(Microjoules).ok_or(Refusal::CounterNotFinite)
}

fn decimal(text: &str) -> Option<Decimal> {
    let text = text.trim();
    text.parse().or_else(|_| Decimal::from_scientific(text)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str) -> Document<'_> {
        Document::parse(text).expect("JSON")
    }

    #[test]
    fn kilowatt_hours_become_exact_microjoules() {
        for (text, uj) in [
            ("0", 0),
            ("1", 3_600_000_000_000),
            ("325675", 1_172_430_000_000_000_000),
            // 0.001 kWh are 3600 J.
            ("12.346", 44_445_600_000_000),
            // 9 digits: 3.6 mJ each. 1234567.891234567 × 3.6e12.
            ("1234567.891234567", 4_444_444_408_444_441_200),
            ("1.5e3", 5_400_000_000_000_000),
        ] {
            assert_eq!(reading(text).kwh(), Ok(Microjoules(uj)), "{text}");
        }
        for (text, reason) in [
            ("null", Refusal::NoValue),
            ("\"12\"", Refusal::CounterNotFinite),
            ("-1", Refusal::CounterNegative),
            ("4294967295", Refusal::Sentinel),
            ("18446744073709551615", Refusal::Sentinel),
            ("99999999", Refusal::CounterNotFinite),
            ("1e300", Refusal::CounterNotFinite),
            ("true", Refusal::CounterNotFinite),
        ] {
            assert_eq!(reading(text).kwh(), Err(reason), "{text}");
        }
    }

    #[test]
    fn what_is_no_power_is_refused_by_reason() {
        for (text, reason) in [
            ("null", Refusal::NoValue),
            ("\"344\"", Refusal::PowerNotFinite),
            ("\"NaN\"", Refusal::PowerNotFinite),
            ("-1", Refusal::PowerNegative),
            ("4294967295", Refusal::Sentinel),
            ("{}", Refusal::PowerNotFinite),
            ("[344]", Refusal::PowerNotFinite),
            ("false", Refusal::PowerNotFinite),
        ] {
            assert_eq!(reading(text).watts(), Err(reason), "{text}");
        }
        assert_eq!(reading("0").watts(), Ok(Milliwatts(0)), "a supply in standby gives nothing, and says so");
        assert_eq!(reading("937.4").watts(), Ok(Milliwatts(937_400)));
    }

    #[test]
    fn a_field_of_the_wrong_kind_spoils_only_itself() {
        let text = "\u{feff}{\"MemberId\": 0, \"Name\": [7], \"M\\u0065tric\": {\"Reading\": 5}, \"Id\": \" a \", \"X\": \"\"}";
        let document = reading(text);
        assert_eq!(document.name("MemberId").as_deref(), Some("0"));
        assert_eq!(document.text("Name"), None);
        assert_eq!(document.text("Id").as_deref(), Some("a"));
        assert_eq!(document.text("X"), None);
        assert_eq!(document.path(&["Metric", "Reading"]).map(Document::watts), Some(Ok(Milliwatts(5000))));
        assert!(document.list("Id").is_empty() && document.path(&["Id", "deeper"]).is_none());
    }

    #[test]
    fn garbage_is_an_error_and_depth_is_harmless() {
        for bad in ["", "{", "<html>", "{\"a\": PS1 Status}", "{{}", "{} {}"] {
            assert!(Document::parse(bad).is_err(), "{bad:?}");
        }
        let deep = format!("{{\"a\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        if let Ok(document) = Document::parse(&deep) {
            assert!(document.text("a").is_none() && document.list("a").len() <= 1);
        }
        let long = format!("[{}0]", "0,".repeat(1000));
        assert_eq!(reading(&long).items().len(), MEMBERS_MAX);
    }

    #[test]
    fn links_never_lead_to_another_machine() {
        let document = |path: &str| format!("{{\"Power\": {{\"@odata.id\": {path:?}}}}}");
        assert_eq!(
            reading(&document("/redfish/v1/Chassis/1/Power")).link("Power").as_deref(),
            Some("/redfish/v1/Chassis/1/Power")
        );
        for bad in ["//evil/redfish", "https://evil/redfish/v1", "redfish", "/a b", "/\\evil", ""] {
            assert_eq!(reading(&document(bad)).link("Power"), None, "{bad}");
        }
    }
}
