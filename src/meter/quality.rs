//! How a figure came to be known.

use std::ops::{AddAssign, Index, IndexMut, SubAssign};

use serde::{Deserialize, Serialize};

use crate::Energy;

/// Where booked energy comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// The difference of a hardware energy register.
    Counter,
    /// Power joined between neighbouring readings.
    Integrated,
    /// A gap filled by a stated rule.
    Estimated,
}

impl Quality {
    /// Every quality, in storage order.
    pub const ALL: [Self; 3] = [Self::Counter, Self::Integrated, Self::Estimated];
}

/// Energy split by quality. The total is always the sum of the three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ByQuality(pub [Energy; 3]);

impl ByQuality {
    /// `energy` of one quality.
    #[must_use]
    pub fn of(quality: Quality, energy: Energy) -> Self {
        let mut all = Self::default();
        all[quality] = energy;
        all
    }

    /// The sum over the qualities.
    #[must_use]
    pub fn total(&self) -> Energy {
        self.0.iter().copied().sum()
    }

    /// What was measured: counter and integrated.
    #[must_use]
    pub fn measured(&self) -> Energy {
        self[Quality::Counter] + self[Quality::Integrated]
    }
}

impl Index<Quality> for ByQuality {
    type Output = Energy;
    fn index(&self, quality: Quality) -> &Energy {
        &self.0[quality as usize]
    }
}

impl IndexMut<Quality> for ByQuality {
    fn index_mut(&mut self, quality: Quality) -> &mut Energy {
        &mut self.0[quality as usize]
    }
}

impl AddAssign for ByQuality {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

impl SubAssign for ByQuality {
    fn sub_assign(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine -= theirs;
        }
    }
}
