//! A reader of FOCUS 1.2 files that was written from the specification, not from the writer: which
//! columns there must be, of which type, what may be null and what must agree with what.
//! <https://focus.finops.org/focus-specification/v1-2/>

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde_json::Value;

/// One row: what is null is absent.
pub(crate) type Record = BTreeMap<String, String>;

/// Columns with the feature level "Mandatory".
const MANDATORY: [&str; 21] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
];

/// Further columns that the specification knows: recommended or conditional.
const OTHERS: [&str; 37] = [
    "AvailabilityZone",
    "BillingAccountType",
    "CapacityReservationId",
    "CapacityReservationStatus",
    "ChargeFrequency",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountQuantity",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "CommitmentDiscountUnit",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedUnitPrice",
    "InvoiceId",
    "ListUnitPrice",
    "PricingCategory",
    "PricingCurrency",
    "PricingCurrencyContractedUnitPrice",
    "PricingCurrencyEffectiveCost",
    "PricingCurrencyListUnitPrice",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "SubAccountType",
    "Tags",
    "PricingCurrencyUnit",
];

/// Columns whose "Allows nulls" is false.
const NOT_NULL: [&str; 16] = [
    "BilledCost",
    "BillingAccountId",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
];

const DECIMALS: [&str; 8] = [
    "BilledCost",
    "ConsumedQuantity",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "ListCost",
    "ListUnitPrice",
    "PricingQuantity",
];

const INSTANTS: [&str; 4] = ["BillingPeriodEnd", "BillingPeriodStart", "ChargePeriodEnd", "ChargePeriodStart"];

/// Columns of "Allowed values", with those.
const ALLOWED: [(&str, &[&str]); 5] = [
    ("ChargeCategory", &["Usage", "Purchase", "Tax", "Credit", "Adjustment"]),
    ("ChargeClass", &["Correction"]),
    ("ChargeFrequency", &["One-Time", "Recurring", "Usage-Based"]),
    ("PricingCategory", &["Standard", "Dynamic", "Committed", "Other"]),
    (
        "ServiceCategory",
        &[
            "AI and Machine Learning",
            "Analytics",
            "Business Applications",
            "Compute",
            "Databases",
            "Developer Tools",
            "Multicloud",
            "Identity",
            "Integration",
            "Internet of Things",
            "Management and Governance",
            "Media",
            "Migration",
            "Mobile",
            "Networking",
            "Security",
            "Storage",
            "Web",
            "Other",
        ],
    ),
];

/// The rows of a file that keeps every rule; else all that is wrong with it.
pub(crate) fn read(text: &str) -> Result<Vec<Record>, Vec<String>> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().map_err(|why| vec![why.to_string()])?.iter().map(Into::into).collect();
    let mut faults = columns(&header);
    let mut records = Vec::new();
    for (number, row) in reader.records().enumerate() {
        let row = row.map_err(|why| vec![format!("row {number}: {why}")])?;
        let cells = header.iter().zip(row.iter()).filter(|(_, cell)| !cell.is_empty());
        let record: Record = cells.map(|(name, cell)| (name.clone(), cell.to_owned())).collect();
        faults.extend(faults_of(&record).into_iter().map(|fault| format!("row {number}: {fault}: {record:?}")));
        records.push(record);
    }
    if faults.is_empty() { Ok(records) } else { Err(faults) }
}

fn columns(header: &[String]) -> Vec<String> {
    let mut faults = Vec::new();
    let unique: BTreeSet<&String> = header.iter().collect();
    if unique.len() != header.len() {
        faults.push("a column comes twice".to_owned());
    }
    for name in MANDATORY.iter().filter(|name| !header.iter().any(|one| one == *name)) {
        faults.push(format!("the mandatory column {name} is missing"));
    }
    for name in header {
        let own = name.strip_prefix("x_").unwrap_or(name);
        let is_pascal = own.starts_with(|c: char| c.is_ascii_uppercase()) && own.chars().all(char::is_alphanumeric);
        if !is_pascal || name.len() > 50 {
            faults.push(format!("{name:?} is not in Pascal case, alphanumeric, of at most 50 characters"));
        }
        let is_known = MANDATORY.contains(&name.as_str()) || OTHERS.contains(&name.as_str());
        if is_known == name.starts_with("x_") || (!is_known && !name.starts_with("x_")) {
            faults.push(format!("{name} is neither of FOCUS nor prefixed by x_"));
        }
    }
    let first_own = header.iter().position(|name| name.starts_with("x_")).unwrap_or(header.len());
    if header[first_own..].iter().any(|name| !name.starts_with("x_")) {
        faults.push("own columns stand among those of FOCUS".to_owned());
    }
    faults
}

fn faults_of(record: &Record) -> Vec<String> {
    let get = |name: &str| record.get(name).map(String::as_str);
    let mut faults: Vec<String> = Vec::new();
    let mut check = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    for name in NOT_NULL {
        check(get(name).is_some(), &format!("{name} is null"));
    }
    for name in DECIMALS {
        check(get(name).is_none_or(is_numeric), &format!("{name} is no number"));
    }
    for name in INSTANTS {
        check(get(name).is_none_or(is_instant), &format!("{name} is no instant"));
    }
    for (name, allowed) in ALLOWED {
        check(get(name).is_none_or(|value| allowed.contains(&value)), &format!("{name} has no allowed value"));
    }
    let currency = get("BillingCurrency").unwrap_or_default();
    check(
        currency.len() == 3 && currency.chars().all(|c| c.is_ascii_uppercase()),
        "BillingCurrency is no ISO 4217 code",
    );
    let in_order = |start: &str, end: &str| get(start).zip(get(end)).is_some_and(|(start, end)| start < end);
    check(in_order("BillingPeriodStart", "BillingPeriodEnd"), "the billing period is empty");
    check(in_order("ChargePeriodStart", "ChargePeriodEnd"), "the charge period is empty");
    let is_correction = get("ChargeClass") == Some("Correction");
    let is_used = matches!(get("ChargeCategory"), Some("Usage" | "Purchase"));
    if is_used && !is_correction {
        check(get("PricingQuantity").is_some(), "PricingQuantity is null");
        check(get("PricingUnit").is_some(), "PricingUnit is null");
        check(get("PricingCategory").is_some(), "PricingCategory is null");
        let within =
            get("BillingPeriodStart") <= get("ChargePeriodStart") && get("ChargePeriodEnd") <= get("BillingPeriodEnd");
        check(within, "the charge period of usage leaves its billing period");
    }
    if get("ChargeCategory") == Some("Usage") && !is_correction {
        check(get("ConsumedQuantity").is_some(), "ConsumedQuantity is null");
    }
    check(get("ChargeCategory") == Some("Usage") || get("ConsumedQuantity").is_none(), "ConsumedQuantity is not null");
    for (quantity, unit) in [("PricingQuantity", "PricingUnit"), ("ConsumedQuantity", "ConsumedUnit")] {
        check(get(quantity).is_some() == get(unit).is_some(), &format!("{quantity} and {unit} do not go together"));
    }
    let id_and_kind = |id: &str, kind: &str| get(id).is_some() == get(kind).is_some();
    check(id_and_kind("SubAccountId", "SubAccountType"), "SubAccountId and SubAccountType do not go together");
    check(id_and_kind("ResourceId", "ResourceType"), "ResourceId and ResourceType do not go together");
    check(get("RegionName").is_none() || get("RegionId").is_some(), "RegionName without RegionId");
    for (price, cost) in [("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")] {
        check(get(price).is_none() || is_correction || is_product(record, price, cost), &format!("{price} × quantity"));
    }
    check(get("Tags").is_none_or(is_key_value), "Tags is no JSON object of scalars");
    let sub = get("ServiceSubcategory").unwrap_or("Other (Compute)");
    check(
        sub == "Other (Compute)" && get("ServiceCategory") == Some("Compute"),
        "the subcategory is of another category",
    );
    faults
}

/// Digits with at most one point and a sign only for what is negative.
fn is_numeric(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits.chars().all(|c| c.is_ascii_digit() || c == '.') && digits.matches('.').count() <= 1;
    plain && digits.starts_with(|c: char| c.is_ascii_digit()) && digits.ends_with(|c: char| c.is_ascii_digit())
}

/// `YYYY-MM-DDTHH:mm:ssZ`, in UTC.
fn is_instant(text: &str) -> bool {
    text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T' && text.parse::<Timestamp>().is_ok()
}

fn is_product(record: &Record, price: &str, cost: &str) -> bool {
    let decimal = |name: &str| record.get(name).and_then(|text| text.parse::<Decimal>().ok());
    let product = decimal(price).zip(decimal("PricingQuantity")).map(|(price, quantity)| price * quantity);
    product.zip(decimal(cost)).is_some_and(|(product, cost)| (product - cost).abs() <= Decimal::new(5, 3))
}

fn is_key_value(text: &str) -> bool {
    let Ok(Value::Object(all)) = serde_json::from_str::<Value>(text) else { return false };
    all.values().all(|value| value.is_string() || value.is_number() || value.is_boolean() || value.is_null())
}

/// The sum of a column, of the rows that match.
pub(crate) fn sum(records: &[Record], column: &str, matches: impl Fn(&Record) -> bool) -> Decimal {
    let cells = records.iter().filter(|record| matches(record)).filter_map(|record| record.get(column));
    cells.map(|cell| cell.parse::<Decimal>().expect("a number")).sum()
}

#[test]
fn the_rules_are_noticed_when_they_are_broken() {
    let good = "BilledCost,BillingAccountId,BillingAccountName,BillingCurrency,BillingPeriodEnd,BillingPeriodStart,\
        ChargeCategory,ChargeClass,ChargeDescription,ChargePeriodEnd,ChargePeriodStart,ContractedCost,EffectiveCost,\
        InvoiceIssuerName,ListCost,PricingQuantity,PricingUnit,ProviderName,PublisherName,ServiceCategory,ServiceName,\
        PricingCategory,ConsumedQuantity,ConsumedUnit,x_More\n\
        1.50,a,,EUR,2026-11-01T00:00:00Z,2026-10-01T00:00:00Z,Usage,,,2026-10-02T00:00:00Z,2026-10-01T00:00:00Z,\
        1.50,1.50,i,1.50,3,kWh,p,q,Compute,s,Standard,3,kWh,\n";
    read(good).expect("a good file");
    for (from, to) in [
        ("1.50,a", ",a"),
        ("1.50,a", "1e3,a"),
        ("1.50,a", "+1.50,a"),
        ("EUR", "euro"),
        ("Usage,,,", "Use,,,"),
        ("Usage,,,", "Usage,Correct,,"),
        ("2026-10-02T00:00:00Z", "2026-10-02 00:00"),
        ("2026-10-02T00:00:00Z", "2026-11-02T00:00:00Z"),
        ("PricingUnit", "PriceUnit"),
        ("x_More", "more"),
        ("x_More", "ChargeClass"),
        ("Standard,3", "Standard,"),
        ("Compute", "Power"),
    ] {
        read(&good.replacen(from, to, 1)).expect_err(&format!("{from} -> {to}"));
    }
}
