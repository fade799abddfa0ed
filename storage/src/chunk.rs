//! Chunks: up to 64 sealed segments of one body, and the digests that name their bytes.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use policy::id::BodyId;
use serde::{Deserialize, Serialize};

use crate::buffer::PooledBuffer;
use crate::crc::crc32c;
use crate::geometry::{BLOCK, SEGMENT_SEALED, STRIDE, TAG};

/// A chunk of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkId {
    /// The body.
    pub body: BodyId,
    /// Its number in the body, from 0.
    pub number: u32,
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.body, self.number)
    }
}

/// How many segments a chunk has and how long the last one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Segments, 1 to 64.
    pub segments: u32,
    /// Sealed bytes of the last segment.
    pub last: u32,
}

impl Shape {
    /// Where the sealed bytes of a segment lie, from the start of the chunk.
    #[must_use]
    pub fn segment(self, number: u32) -> Range<usize> {
        let start = usize::try_from(number).unwrap_or(0) * STRIDE;
        let length = if number + 1 == self.segments { usize::try_from(self.last).unwrap_or(0) } else { SEGMENT_SEALED };
        start..start + length
    }

    /// Stored bytes: up to the end of the last segment.
    #[must_use]
    pub fn stored(self) -> usize {
        self.segment(self.segments.saturating_sub(1)).end
    }

    /// Bytes that it takes in a segment file: whole blocks.
    #[must_use]
    pub fn footprint(self) -> u64 {
        u64::try_from(self.stored().next_multiple_of(BLOCK)).unwrap_or(u64::MAX)
    }
}

/// Sealed segments at their strides, ready to be kept. Only the sealing pipeline makes one.
#[derive(Debug)]
pub struct SealedChunk {
    id: ChunkId,
    buffer: PooledBuffer,
    shape: Shape,
}

/// How a chunk's root is made; its id stands beside each root, so that another may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "u8", try_from = "u8")]
pub enum RootAlgorithm {
    /// BLAKE3 over domain, chunk id (of a shard: layout and number too) and the BLAKE3 hash of each segment.
    Blake3 = 1,
}

impl From<RootAlgorithm> for u8 {
    fn from(algorithm: RootAlgorithm) -> Self {
        match algorithm {
            RootAlgorithm::Blake3 => 1,
        }
    }
}

impl TryFrom<u8> for RootAlgorithm {
    type Error = &'static str;

    fn try_from(id: u8) -> Result<Self, Self::Error> {
        match id {
            1 => Ok(Self::Blake3),
            _ => Err("unknown algorithm of a chunk's root"),
        }
    }
}

/// CRC32C of each segment, and a root over the hashes of all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// CRC32C (RFC 3720) of each segment's sealed bytes.
    pub crcs: Vec<u32>,
    /// How the root is made.
    pub algorithm: RootAlgorithm,
    /// The root.
    pub root: [u8; 32],
}

impl SealedChunk {
    /// Takes over a buffer whose segments lie sealed at their strides. `last` is the sealed length
    /// of the last one. What an earlier chunk left between and behind them is overwritten: zeros
    /// between, and noise behind, so that a store looks random to its last block.
    #[must_use]
    pub fn from_sealed(id: ChunkId, mut buffer: PooledBuffer, segments: u32, last: u32) -> Self {
        let shape = Shape { segments, last };
        for number in 1..segments {
            let before = shape.segment(number - 1).end;
            if let Some(padding) = buffer.get_mut(before..shape.segment(number).start) {
                padding.fill(0);
            }
        }
        let end = usize::try_from(shape.footprint()).unwrap_or(0);
        if let Some(padding) = buffer.get_mut(shape.stored()..end) {
            let mut noise = blake3::Hasher::new();
            noise.update(b"gotgan-padding-1").update(id.body.as_bytes()).update(&id.number.to_be_bytes());
            noise.finalize_xof().fill(padding);
        }
        Self { id, buffer, shape }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ChunkId {
        self.id
    }

    /// Its shape.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Whole blocks, for direct I/O.
    #[must_use]
    pub fn blocks(&self) -> &[u8] {
        self.buffer.get(..usize::try_from(self.shape.footprint()).unwrap_or(0)).unwrap_or_default()
    }

    /// Its sums.
    #[must_use]
    pub fn sums(&self) -> Sums {
        sums(self.id, self.shape, &self.buffer)
    }

    /// Its stored bytes, to be shared out; the buffer goes back to its pool with the last of them.
    pub(crate) fn into_bytes(self) -> Bytes {
        let bytes = Bytes::from_owner(self.buffer);
        let end = self.shape.stored().min(bytes.len());
        bytes.slice(..end)
    }
}

/// Sums of stored bytes.
pub(crate) fn sums(id: ChunkId, shape: Shape, stored: &[u8]) -> Sums {
    let mut root = blake3::Hasher::new();
    root.update(b"gotgan-chunk-1").update(id.body.as_bytes()).update(&id.number.to_be_bytes());
    sums_under(root, shape, stored)
}

/// Sums of a shard; `place` is data shards and parity shards of its layout, and its number.
pub(crate) fn shard_sums(id: ChunkId, place: [u8; 3], shape: Shape, stored: &[u8]) -> Sums {
    let mut root = blake3::Hasher::new();
    root.update(b"gotgan-shard-1").update(id.body.as_bytes()).update(&id.number.to_be_bytes()).update(&place);
    sums_under(root, shape, stored)
}

fn sums_under(mut root: blake3::Hasher, shape: Shape, stored: &[u8]) -> Sums {
    let mut crcs = Vec::new();
    for number in 0..shape.segments {
        let sealed = stored.get(shape.segment(number)).unwrap_or_default();
        crcs.push(crc32c(sealed));
        root.update(blake3::hash(sealed).as_bytes());
    }
    Sums { crcs, algorithm: RootAlgorithm::Blake3, root: *root.finalize().as_bytes() }
}

const _: () = assert!(TAG == 16);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BufferPool;

    #[tokio::test]
    async fn padding_is_wiped_and_sums_name_the_chunk() {
        let pool = BufferPool::new(1);
        let mut buffer = pool.chunk(2).await.unwrap();
        buffer.fill(7);
        let id = ChunkId { body: BodyId::from_bytes([1; 16]), number: 3 };
        let chunk = SealedChunk::from_sealed(id, buffer, 2, 100);
        assert_eq!(chunk.shape().stored(), STRIDE + 100);
        assert_eq!(chunk.blocks().len() % BLOCK, 0);
        assert!(chunk.blocks()[SEGMENT_SEALED..STRIDE].iter().all(|b| *b == 0));
        assert!(chunk.blocks()[STRIDE + 100..].iter().any(|b| *b != 7), "what was there before is gone");
        let other = ChunkId { number: 4, ..id };
        assert_ne!(chunk.sums().root, sums(other, chunk.shape(), chunk.blocks()).root);
        assert_eq!(chunk.sums().crcs, sums(other, chunk.shape(), chunk.blocks()).crcs);
    }
}
