//! Shards of a chunk (STORAGE.md rule 11): what each store of a part's layout keeps. Pure: no I/O.
//!
//! A replica is the whole chunk. In `ec-k-m` shards 0 to k - 1 hold the chunk's segments as they are, in order and
//! in whole segments, and shards k to k + m - 1 hold parity. So a healthy range read asks one store, and a degraded
//! one decodes the same rows of k shards and nothing else. This is a disk format:
//!
//! | what | value |
//! |---|---|
//! | segments of data shard i, of n in all | n / k, and one more if i < n mod k; in order. Fewer segments than k leave shards that hold nothing and are not stored |
//! | row | segment j of a shard; rows = segments of shard 0 |
//! | segment j of parity shard p | for each byte, the sum over i of c(p, i) times that byte of segment j of data shard i |
//! | c(p, i) | 1 / ((k + p) xor i), in GF(2^8) modulo x^8 + x^4 + x^3 + x^2 + 1 (0x11D): the Cauchy matrix of Intel's ISA-L (`gf_gen_cauchy1_matrix`) |
//! | its length | that of the longest segment of the row; a shorter or missing one counts as zeros behind its end |
//! | bytes of a shard | its segments at a stride of 65,600 bytes, zeros between, up to the end of the last |
//! | CRC | CRC32C of each segment's bytes, parity too |
//!
//! A code of bytes keeps what is short short: the parity of a last chunk of 100 bytes is 100 bytes, and zeros are
//! never stored. It also splits anywhere, so segments are coded where they lie, without being padded.
//!
//! `spread` says where segments lie, `encode` makes shards of a chunk, `rebuild` makes lost ones of what is left.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::chunk::ChunkId;

mod code;
mod encode;
mod error;
mod rebuild;
mod spread;
#[cfg(test)]
mod tests;

pub use encode::{Shard, Shards, encode};
pub use error::{Damage, ShardError};
pub use rebuild::{Lost, Piece, rebuild};
pub use spread::{Located, Spread};

/// A shard of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its number in the layout, from 0: data shards first, then parity; of replicas, which copy.
    pub number: u8,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.chunk, self.number)
    }
}
