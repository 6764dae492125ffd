//! How a bill came about: by which methods, and what people should look at before they believe it.

use serde::{Deserialize, Serialize};

/// A rule by which billed energy came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Method {
    /// An outermost meter's own figure.
    Meter = 1,
    /// The sum of components that do not overlap.
    ComponentSum = 2,
    /// Seconds that the meter missed: components, times what the meter usually shows over them.
    ComponentRatio = 4,
    /// A share of a chassis with several hosts, by the energy of their components.
    SharedByComponents = 8,
    /// An even share of a chassis with several hosts, of which none has component readings.
    SharedEvenly = 16,
}

/// The methods behind a figure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Methods(u8);

/// What people should look at before they believe a bill. Nothing is rewritten because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Doubt {
    /// The outermost meter shows less than the components inside it.
    MeterBelowComponents = 1,
    /// A domain shows less than what it contains, such as a superchip module less than its GPU and CPU.
    ContainerBelowContents = 2,
    /// A device of this owner was read at another owner too; one of the two is billed.
    SameDeviceElsewhere = 4,
}

/// The doubts about one slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Doubts(u8);

/// In how many slots each doubt arose, in the order of [`Doubt::ALL`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DoubtCounts(pub [u64; 3]);

impl Method {
    /// Every method.
    pub const ALL: [Self; 5] =
        [Self::Meter, Self::ComponentSum, Self::ComponentRatio, Self::SharedByComponents, Self::SharedEvenly];

    /// The stable word for answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Meter => "meter",
            Self::ComponentSum => "component-sum",
            Self::ComponentRatio => "component-ratio",
            Self::SharedByComponents => "shared-chassis/component-energy",
            Self::SharedEvenly => "shared-chassis/even",
        }
    }
}

impl Methods {
    /// None.
    pub const NONE: Self = Self(0);

    /// Adds a method.
    pub const fn insert(&mut self, method: Method) {
        self.0 |= method as u8;
    }

    /// Takes a method out.
    pub const fn remove(&mut self, method: Method) {
        self.0 &= !(method as u8);
    }

    /// Adds all of another set.
    pub const fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether a method is one of them.
    #[must_use]
    pub const fn contains(self, method: Method) -> bool {
        self.0 & method as u8 != 0
    }

    /// As bits: those of [`Method`].
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From bits. Bits of no method are dropped.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Method::ALL.into_iter().fold(0, |all, method| all | method as u8))
    }

    /// The stable words, in the order of [`Method::ALL`].
    pub fn codes(self) -> impl Iterator<Item = &'static str> {
        Method::ALL.into_iter().filter(move |&method| self.contains(method)).map(Method::code)
    }
}

impl Doubt {
    /// Every doubt.
    pub const ALL: [Self; 3] = [Self::MeterBelowComponents, Self::ContainerBelowContents, Self::SameDeviceElsewhere];

    /// The stable word for answers.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MeterBelowComponents => "meter-below-components",
            Self::ContainerBelowContents => "container-below-contents",
            Self::SameDeviceElsewhere => "same-device-elsewhere",
        }
    }
}

impl Doubts {
    /// None.
    pub const NONE: Self = Self(0);

    /// Adds a doubt.
    pub const fn insert(&mut self, doubt: Doubt) {
        self.0 |= doubt as u8;
    }

    /// As bits: those of [`Doubt`].
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// From bits. Bits of no doubt are dropped.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & Doubt::ALL.into_iter().fold(0, |all, doubt| all | doubt as u8))
    }

    /// Whether a doubt is one of them.
    #[must_use]
    pub const fn contains(self, doubt: Doubt) -> bool {
        self.0 & doubt as u8 != 0
    }
}

impl DoubtCounts {
    /// Whether nothing is to be looked at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 3]
    }

    /// Counts one slot.
    pub fn count(&mut self, doubts: Doubts) {
        for (count, doubt) in self.0.iter_mut().zip(Doubt::ALL) {
            *count += u64::from(doubts.contains(doubt));
        }
    }

    /// Adds the counts of other slots.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The doubts that arose, with the number of their slots.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Doubt::ALL.into_iter().map(Doubt::code).zip(self.0).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_hold_what_was_put_in() {
        let mut methods = Methods::NONE;
        methods.insert(Method::ComponentRatio);
        methods.insert(Method::Meter);
        let mut more = Methods::NONE;
        more.insert(Method::SharedEvenly);
        methods.extend(more);
        assert_eq!(methods.codes().collect::<Vec<_>>(), ["meter", "component-ratio", "shared-chassis/even"]);

        let mut counts = DoubtCounts::default();
        assert!(counts.is_empty());
        let mut doubts = Doubts::NONE;
        doubts.insert(Doubt::SameDeviceElsewhere);
        counts.count(doubts);
        doubts.insert(Doubt::MeterBelowComponents);
        counts.count(doubts);
        counts.add(&counts.clone());
        let expected = [("meter-below-components", 2), ("same-device-elsewhere", 4)];
        assert_eq!(counts.counts().collect::<Vec<_>>(), expected);
    }
}
