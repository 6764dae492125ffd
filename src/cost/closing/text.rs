//! Exact sums as they are kept: whole numbers as text, nothing rounded, zeros left out.

use std::collections::BTreeMap;

use meter::{ByQuality, DoubtCounts, Energy, Methods};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fact, Key};
use crate::cells::Coverage;
use crate::currency::Currency;
use crate::money::Amount;
use crate::rows::{Parts, Sums};
use crate::tenant::Class;

/// A whole number as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Int(i128);

impl Int {
    const fn is_zero(&self) -> bool {
        self.0 == 0
    }
}

impl Serialize for Int {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        text.parse().map(Self).map_err(|_| serde::de::Error::custom(format!("{text:?} is no whole number")))
    }
}

/// A fact as it is kept. Energies in ½ pJ, times in nanoseconds.
#[derive(Serialize, Deserialize)]
struct FactText {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    key: Key,
    /// Whose it is, if it is no job's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    line: Option<String>,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    counter: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    integrated: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    estimated: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    metered: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    apportioned: Int,
    /// Energy times PUE, in millionths of ½ pJ.
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    facility: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    unpriced: Int,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    cost: Vec<CostText>,
    /// In tonnes, as amounts are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    carbon: Option<[Int; 2]>,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    without_carbon_factor: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    covered_ns: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    metered_ns: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    ratio_ns: Int,
    #[serde(default, skip_serializing_if = "Int::is_zero")]
    expected_ns: Int,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    methods: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    flags: BTreeMap<String, u64>,
}

/// Amounts as whole 10⁻¹⁵ of the currency, and 1/7.2·10¹⁸ of one above them.
#[derive(Serialize, Deserialize)]
struct CostText {
    currency: Currency,
    priced: Int,
    parts: BTreeMap<String, [Int; 2]>,
}

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        FactText::of(&self.key, &self.sums).serialize(out)
    }
}

impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = FactText::deserialize(input)?;
        let sums = text.sums().map_err(serde::de::Error::custom)?;
        Ok(Self { key: text.key, sums })
    }
}

impl FactText {
    fn of(key: &Key, sums: &Sums) -> Self {
        let [counter, integrated, estimated] = sums.energy.0.map(|energy| Int(energy.0));
        let time = |ns: u128| Int(i128::try_from(ns).unwrap_or(i128::MAX));
        Self {
            key: key.clone(),
            line: sums.class.word().map(str::to_owned),
            counter,
            integrated,
            estimated,
            metered: Int(sums.metered.0),
            apportioned: Int(sums.apportioned.0),
            facility: Int(sums.facility),
            unpriced: Int(sums.unpriced.0),
            cost: sums.costs.iter().map(|(&currency, parts)| CostText::of(currency, parts)).collect(),
            carbon: sums.carbon.map(kept),
            without_carbon_factor: Int(sums.without_factor.0),
            covered_ns: time(sums.coverage.covered_ns),
            metered_ns: time(sums.coverage.metered_ns),
            ratio_ns: time(sums.coverage.ratio_ns),
            expected_ns: time(sums.coverage.expected_ns),
            methods: sums.methods.codes().map(str::to_owned).collect(),
            flags: sums.doubts.counts().map(|(code, slots)| (code.to_owned(), slots)).collect(),
        }
    }

    fn sums(&self) -> Result<Sums, String> {
        let time = |int: Int| u128::try_from(int.0).map_err(|_| format!("{} is no time", int.0));
        let energy = |int: Int| Energy(int.0);
        let mut doubts = DoubtCounts::default();
        for (count, doubt) in doubts.0.iter_mut().zip(meter::Doubt::ALL) {
            *count = self.flags.get(doubt.code()).copied().unwrap_or(0);
        }
        let mut methods = Methods::NONE;
        let named =
            meter::Method::ALL.into_iter().filter(|method| self.methods.iter().any(|code| code == method.code()));
        named.for_each(|method| methods.insert(method));
        let classes = [Class::Held, Class::Idle, Class::Shared];
        Ok(Sums {
            class: classes.into_iter().find(|class| class.word() == self.line.as_deref()).unwrap_or_default(),
            energy: ByQuality([self.counter, self.integrated, self.estimated].map(energy)),
            metered: energy(self.metered),
            apportioned: energy(self.apportioned),
            coverage: Coverage {
                covered_ns: time(self.covered_ns)?,
                metered_ns: time(self.metered_ns)?,
                ratio_ns: time(self.ratio_ns)?,
                expected_ns: time(self.expected_ns)?,
            },
            methods,
            doubts,
            facility: self.facility.0,
            unpriced: energy(self.unpriced),
            costs: self.cost.iter().map(CostText::parts).collect::<Result<_, _>>()?,
            carbon: self.carbon.map(amount).transpose()?,
            without_factor: energy(self.without_carbon_factor),
        })
    }
}

impl CostText {
    fn of(currency: Currency, parts: &Parts) -> Self {
        let part = |(name, amount): (&str, Amount)| (name.to_owned(), kept(amount));
        let some = parts.named().into_iter().filter(|(_, amount)| *amount != Amount::default());
        Self { currency, priced: Int(parts.priced.0), parts: some.map(part).collect() }
    }

    fn parts(&self) -> Result<(Currency, Parts), String> {
        let mut parts = Parts { priced: Energy(self.priced.0), ..Parts::default() };
        for (name, kept) in &self.parts {
            let amount = amount(*kept)?;
            *parts.part_mut(name).ok_or_else(|| format!("a cost has no part {name:?}"))? = amount;
        }
        Ok((self.currency, parts))
    }
}

fn kept(amount: Amount) -> [Int; 2] {
    let (femto, rest) = amount.into_parts();
    [Int(femto), Int(rest)]
}

fn amount([femto, rest]: [Int; 2]) -> Result<Amount, String> {
    Amount::from_parts(femto.0, rest.0).ok_or_else(|| format!("{} is no rest of an amount", rest.0))
}
