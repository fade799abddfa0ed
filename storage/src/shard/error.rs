//! What can be wrong with shards.

use crate::chunk::{ChunkId, Shape};
use crate::layout::Layout;
use crate::shard::ShardId;

/// A stored segment of a shard whose bytes are not those that its CRC names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The shard.
    pub shard: u8,
    /// The segment in it.
    pub row: u32,
}

/// Shards could not be made or rebuilt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// No chunk has this shape.
    #[error("a chunk of {} segments, the last of {} bytes, cannot be", .0.segments, .0.last)]
    Shape(Shape),
    /// The layout has no shard of this number, or it holds nothing in this chunk.
    #[error("{layout} has nothing in shard {number} of this chunk")]
    Number {
        /// The layout.
        layout: Layout,
        /// The number.
        number: u8,
    },
    /// Segments or rows that are not there.
    #[error("{start}..{end} is not within {count} segments")]
    Range {
        /// First.
        start: u32,
        /// Behind the last.
        end: u32,
        /// How many there are.
        count: u32,
    },
    /// Other buffers for parity than the spread names, in number or size.
    #[error("parity needs {buffers} buffers of {bytes} bytes")]
    Buffers {
        /// How many.
        buffers: u8,
        /// Bytes of each, at least.
        bytes: usize,
    },
    /// A shard of another chunk.
    #[error("shard {shard} is none of chunk {chunk}")]
    Foreign {
        /// The shard.
        shard: ShardId,
        /// The chunk that is rebuilt.
        chunk: ChunkId,
    },
    /// A shard of another shape than the spread gives it.
    #[error("shard {shard} has another shape")]
    Unlike {
        /// The shard.
        shard: u8,
    },
    /// The same shard twice, or one that is to be rebuilt from itself.
    #[error("shard {0} is named twice")]
    Twice(u8),
    /// Bytes of the wrong length.
    #[error("{expected} bytes of shard {shard} are needed, here are {length}")]
    Length {
        /// The shard.
        shard: u8,
        /// Bytes of its rows.
        expected: usize,
        /// Bytes given.
        length: usize,
    },
    /// Not one CRC for each row.
    #[error("{expected} CRCs of shard {shard} are needed, here are {count}")]
    Crcs {
        /// The shard.
        shard: u8,
        /// Rows.
        expected: usize,
        /// CRCs given.
        count: usize,
    },
    /// Too much is lost or damaged.
    #[error("row {row} needs {needed} shards, and {sound} are sound")]
    TooFew {
        /// The row.
        row: u32,
        /// Shards that are needed.
        needed: u8,
        /// Shards that are there and sound, those that hold zeros too.
        sound: u8,
        /// What was found damaged on the way.
        damaged: Vec<Damage>,
    },
    /// What was rebuilt is not what was stored: one of the shards is of another write, CRCs and all.
    #[error("segment {row} of shard {shard} was rebuilt into other bytes than were stored")]
    Mismatch {
        /// The shard.
        shard: u8,
        /// The segment in it.
        row: u32,
    },
    /// The library of the code refused what was checked before.
    #[error("the code refused: {0}")]
    Code(String),
}

impl ShardError {
    /// Whether the same call may succeed later, with the same shards: never.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Shape(_)
            | Self::Number { .. }
            | Self::Range { .. }
            | Self::Buffers { .. }
            | Self::Foreign { .. }
            | Self::Unlike { .. }
            | Self::Twice(_)
            | Self::Length { .. }
            | Self::Crcs { .. }
            | Self::TooFew { .. }
            | Self::Mismatch { .. }
            | Self::Code(_) => false,
        }
    }
}
