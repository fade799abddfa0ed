//! Slots: a chunk's id gives its slot for good, and only the stores of a slot ever change.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chunk::ChunkId;

/// A slot of a pool, numbered from 0. Two bytes of a chunk's key in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// Its number.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many slots a pool has: 2^n, at most 65,536. It never changes, because chunks' keys begin with their slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "u32")]
pub struct SlotCount(u8);

/// A number that no pool has of slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pool has 2^n slots, 65,536 at most, not {0}")]
pub struct SlotCountError(u32);

impl SlotCount {
    /// 4,096: small pools, and that of one machine.
    pub const SMALL: Self = Self(12);
    /// 65,536: large pools.
    pub const LARGE: Self = Self(16);

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        1 << self.0
    }

    /// The slot of a chunk: the first two bytes of the BLAKE3 hash of its body's id and its number (big-endian), as a
    /// number, modulo the number of slots.
    #[must_use]
    pub fn slot(self, chunk: ChunkId) -> Slot {
        let mut hash = blake3::Hasher::new();
        hash.update(chunk.body.as_bytes()).update(&chunk.number.to_be_bytes());
        let [a, b, ..] = *hash.finalize().as_bytes();
        Slot(u16::from_be_bytes([a, b]) & self.last())
    }

    /// The slot of a number, if there are so many.
    #[must_use]
    pub fn numbered(self, number: u16) -> Option<Slot> {
        (number <= self.last()).then_some(Slot(number))
    }

    /// Every slot, in order.
    pub fn slots(self) -> impl Iterator<Item = Slot> {
        (0..=self.last()).map(Slot)
    }

    fn last(self) -> u16 {
        u16::try_from(self.get() - 1).unwrap_or(u16::MAX)
    }
}

impl TryFrom<u32> for SlotCount {
    type Error = SlotCountError;

    fn try_from(count: u32) -> Result<Self, SlotCountError> {
        match u8::try_from(count.trailing_zeros()) {
            Ok(power @ 0..=16) if count.is_power_of_two() => Ok(Self(power)),
            _ => Err(SlotCountError(count)),
        }
    }
}

impl From<SlotCount> for u32 {
    fn from(count: SlotCount) -> Self {
        count.get()
    }
}

#[cfg(test)]
mod tests {
    use policy::id::BodyId;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_count_is_a_power_of_two() {
        for power in 0..=16 {
            let count = SlotCount::try_from(1 << power).unwrap();
            assert_eq!(count.get(), 1 << power);
            assert_eq!(count.slots().count(), 1 << power);
            assert_eq!(u32::from(count.slots().last().unwrap().number()), count.get() - 1);
        }
        for bad in [0, 3, 4095, 65_535, 131_072, u32::MAX] {
            assert_eq!(SlotCount::try_from(bad), Err(SlotCountError(bad)));
        }
        assert_eq!((SlotCount::SMALL.get(), SlotCount::LARGE.get()), (4096, 65_536));
        assert_eq!(SlotCount::SMALL.numbered(4096), None);
    }

    #[test]
    fn slots_of_chunks_stay_what_they_are() {
        let chunk = |byte, number| ChunkId { body: BodyId::from_bytes([byte; 16]), number };
        for (byte, number, small, large) in GOLDEN {
            assert_eq!(SlotCount::SMALL.slot(chunk(byte, number)).number(), small, "{byte} {number}");
            assert_eq!(SlotCount::LARGE.slot(chunk(byte, number)).number(), large, "{byte} {number}");
        }
    }

    /// By another implementation of BLAKE3.
    const GOLDEN: [(u8, u32, u16, u16); 4] =
        [(0, 0, 123, 24_699), (1, 0, 548, 61_988), (1, 1, 1422, 42_382), (255, u32::MAX, 3582, 44_542)];

    proptest! {
        #[test]
        fn a_slot_of_fewer_is_a_part_of_one_of_more(body: [u8; 16], number: u32) {
            let chunk = ChunkId { body: BodyId::from_bytes(body), number };
            prop_assert_eq!(SlotCount::SMALL.slot(chunk).number(), SlotCount::LARGE.slot(chunk).number() % 4096);
        }
    }
}
