//! The rule of a pool: what it demands of the stores of every slot. It stays as it is as long as the pool does.

use std::fmt;

use policy::residency::Residency;
use serde::{Deserialize, Serialize};

use super::slot::SlotCount;
use crate::placement::PoolId;

/// How many distinct stores each slot has: replicas, or data and parity shards together. From 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub struct Copies(u8);

/// A number that no slot has of stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a slot has 1 to 64 stores, not {0}")]
pub struct CopiesError(u8);

impl Copies {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Copies {
    type Error = CopiesError;

    fn try_from(copies: u8) -> Result<Self, CopiesError> {
        if (1..=64).contains(&copies) { Ok(Self(copies)) } else { Err(CopiesError(copies)) }
    }
}

impl From<Copies> for u8 {
    fn from(copies: Copies) -> Self {
        copies.0
    }
}

/// Levels of failure domains, the widest first: what fails together when something at that level fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// A building.
    Site,
    /// A rack in a building.
    Rack,
    /// A machine.
    Node,
    /// A disk: the store itself.
    Disk,
}

impl Level {
    /// All of them, the widest first.
    pub const ALL: [Self; 4] = [Self::Site, Self::Rack, Self::Node, Self::Disk];
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Site => "site",
            Self::Rack => "rack",
            Self::Node => "node",
            Self::Disk => "disk",
        })
    }
}

/// What a pool demands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRule {
    /// The pool.
    pub pool: PoolId,
    /// Distinct stores of each slot.
    pub copies: Copies,
    /// How many slots.
    pub slots: SlotCount,
    /// Where its data may rest.
    pub residency: Residency,
    /// Stores of a slot always lie in distinct domains of this level: [`Level::Node`], but [`Level::Disk`] where all
    /// there is is one machine. They lie in distinct domains of a wider level as soon as there are enough of those.
    pub distinct: Level,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_checked() {
        assert_eq!(Copies::try_from(0), Err(CopiesError(0)));
        assert_eq!(Copies::try_from(65), Err(CopiesError(65)));
        assert_eq!((Copies::try_from(1).unwrap().get(), Copies::try_from(64).unwrap().get()), (1, 64));
    }
}
