//! What can be wrong with members, tables and rows.

use policy::id::StoreId;

use super::codec::RowName;
use super::rule::Level;
use super::slot::Slot;
use super::table::Epoch;

/// No table can be made of these members.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// A node is said to stand in two places.
    #[error("node `{0}` is said to stand in two places")]
    Astray(String),
    /// What was made contradicts itself: a fault of this program.
    #[error("the table that was made is none: {0}")]
    Inconsistent(#[from] Inconsistent),
    /// There is no epoch behind the table's.
    #[error("the table's epoch is the last that there is")]
    LastEpoch,
    /// There are not enough failure domains for the stores of a slot.
    #[error("each slot needs stores on {needed} distinct {level}s, and the stores that may keep it are on {there}")]
    TooFewDomains {
        /// The level that the pool demands.
        level: Level,
        /// Domains needed: one for each copy.
        needed: u8,
        /// Domains there are, of stores that are admitted and stay.
        there: usize,
    },
    /// More stores than a table can number.
    #[error("a pool has 65,535 stores at most, not {0}")]
    TooManyStores(usize),
    /// Two members say that they are the same store.
    #[error("store {0} is there twice")]
    Twice(StoreId),
}

/// Parts of a table contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Inconsistent {
    /// The slots' lists are not as many or as long as the rule says.
    #[error("the lists of slots are not as many or as long as the pool's rule says")]
    Lists,
    /// Members are not in order, or one is there twice, or the rule cannot be kept with them.
    #[error("the members are none of a pool of this rule")]
    Members,
    /// What a slot that moves says of its old stores is impossible.
    #[error("slot {0} names old stores that it cannot have")]
    Moving(Slot),
    /// A slot names a store that is no member or takes nothing new, or stores that may not keep it together.
    #[error("slot {0} names stores that may not keep it together")]
    Slot(Slot),
}

/// A table was followed by one that is not newer, or of another pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table of epoch {offered} does not follow that of epoch {held} of the same pool")]
pub struct StaleTable {
    /// Epoch of the table in hand.
    pub held: Epoch,
    /// Epoch of the one that was to follow.
    pub offered: Epoch,
}

/// A slot cannot be called settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// What was verified was verified under a table that has since moved the slot again.
    #[error("slot {slot} moved again in epoch {since}, behind what was verified in epoch {verified}")]
    MovedAgain {
        /// The slot.
        slot: Slot,
        /// The epoch that moved it last.
        since: Epoch,
        /// The epoch under which its copy was verified.
        verified: Epoch,
    },
    /// The table in hand is older than the one under which the copy was verified.
    #[error("the table in hand is of epoch {held}, older than epoch {verified}")]
    Stale {
        /// The table's epoch.
        held: Epoch,
        /// The epoch under which the slot's copy was verified.
        verified: Epoch,
    },
}

/// Rows that are no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The rows contradict each other.
    #[error("the rows contradict each other: {0}")]
    Inconsistent(#[from] Inconsistent),
    /// A row is not one of this format, or cannot be written.
    #[error("{0}: not a row of a table")]
    Malformed(RowName),
    /// A row is missing.
    #[error("{0} is missing")]
    Missing(RowName),
    /// A row belongs to another epoch than the head.
    #[error("{0} belongs to another epoch than the table's head")]
    OtherEpoch(RowName),
    /// A row that the table does not have, or has once.
    #[error("{0} is none of this table's rows, or is there twice")]
    Unexpected(RowName),
}
