//! Making the shards of a chunk. In: a sealed chunk and empty buffers; out: what each store is to keep.

use std::ops::Range;

use bytes::Bytes;

use crate::buffer::PooledBuffer;
use crate::chunk::{ChunkId, SealedChunk, Shape, Sums, shard_sums, sums};
use crate::crc::crc32c;
use crate::layout::Layout;
use crate::shard::ShardId;
use crate::shard::code::{Code, zeros};
use crate::shard::error::ShardError;
use crate::shard::spread::Spread;

/// What one store keeps of a chunk. Cloning it copies no bytes.
#[derive(Debug, Clone)]
pub struct Shard {
    id: ShardId,
    layout: Layout,
    shape: Shape,
    bytes: Bytes,
    crcs: Vec<u32>,
}

impl Shard {
    /// Its id.
    #[must_use]
    pub const fn id(&self) -> ShardId {
        self.id
    }

    /// Its segments, laid out like those of a chunk.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Its bytes: segments at their strides, zeros between, up to the end of the last. Those of a data shard lie
    /// in the chunk's buffer and those of parity in their own; a buffer goes back to its pool with the last of them.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// CRC32C of each segment.
    #[must_use]
    pub fn crcs(&self) -> &[u32] {
        &self.crcs
    }

    /// CRCs and root, for what stores it and signs for it. The root costs a BLAKE3 of all bytes. It names chunk,
    /// layout and number, except of a replica, whose root is the chunk's.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let ShardId { chunk, number } = self.id;
        if self.layout.is_replicated() {
            return sums(chunk, self.shape, &self.bytes);
        }
        shard_sums(chunk, [self.layout.data(), self.layout.parity(), number], self.shape, &self.bytes)
    }
}

/// A chunk as its stores keep it.
#[derive(Debug, Clone)]
pub struct Shards {
    spread: Spread,
    shards: Vec<Shard>,
}

impl Shards {
    /// How the chunk is spread.
    #[must_use]
    pub const fn spread(&self) -> Spread {
        self.spread
    }

    /// The shards that hold something, by number.
    pub fn iter(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter()
    }

    /// One of them; none when it holds nothing.
    #[must_use]
    pub fn shard(&self, number: u8) -> Option<&Shard> {
        self.shards.iter().find(|shard| shard.id.number == number)
    }
}

/// Makes the shards of a chunk. `parity` are the buffers that [`Spread::parity_buffers`] names, of
/// [`crate::buffer::BufferPool::chunks`] for one; data shards stay where they were sealed.
///
/// # Errors
/// [`ShardError::Shape`] or [`ShardError::Length`] when chunk and shape do not fit, and [`ShardError::Buffers`].
pub fn encode(layout: Layout, chunk: SealedChunk, mut parity: Vec<PooledBuffer>) -> Result<Shards, ShardError> {
    let spread = Spread::new(layout, chunk.shape())?;
    let id = chunk.id();
    let bytes = chunk.into_bytes();
    if bytes.len() != spread.shape().stored() {
        return Err(ShardError::Length { shard: 0, expected: spread.shape().stored(), length: bytes.len() });
    }
    let (buffers, rows) = spread.parity_buffers();
    let room = spread.shard(layout.data()).map_or(0, Shape::stored);
    if parity.len() != usize::from(buffers) || (rows > 0 && parity.iter().any(|buffer| buffer.len() < room)) {
        return Err(ShardError::Buffers { buffers, bytes: room });
    }
    let crcs = if layout.is_replicated() {
        let whole: Vec<u32> = (0..spread.rows()).map(|row| crc32c(segment(spread, 0, row, &bytes))).collect();
        vec![whole; usize::from(layout.stores())]
    } else {
        rows_of_parity(spread, &bytes, &mut parity)?
    };
    Ok(Shards { spread, shards: gather(spread, id, &bytes, (parity, crcs)) })
}

/// Writes parity row by row, while the row's segments are in the cache; gives the CRCs of each shard.
fn rows_of_parity(spread: Spread, bytes: &[u8], parity: &mut [PooledBuffer]) -> Result<Vec<Vec<u32>>, ShardError> {
    let code = Code::new(spread.layout())?;
    let (data, stores) = (spread.layout().data(), spread.layout().stores());
    let mut crcs = vec![Vec::new(); usize::from(stores)];
    let shape = spread.shard(data).ok_or(ShardError::Number { layout: spread.layout(), number: data })?;
    for row in 0..spread.rows() {
        let held: Vec<&[u8]> = (0..data).map(|number| segment(spread, number, row, bytes)).collect();
        let place = shape.segment(row);
        for cut in spread.cuts(row) {
            let pieces: Vec<&[u8]> =
                held.iter().map(|held| held.get(cut.clone()).unwrap_or_else(|| zeros(cut.len()))).collect();
            let target = place.start + cut.start..place.start + cut.end;
            let mut out: Vec<&mut [u8]> =
                parity.iter_mut().filter_map(|buffer| buffer.get_mut(target.clone())).collect();
            code.parity(&pieces, &mut out)?;
        }
        for buffer in parity.iter_mut() {
            wipe(buffer, shape, row);
        }
        let made = parity.iter().map(|buffer| buffer.get(place.clone()).unwrap_or_default());
        for (crcs, sealed) in crcs.iter_mut().zip(held.into_iter().chain(made)) {
            if !sealed.is_empty() {
                crcs.push(crc32c(sealed));
            }
        }
    }
    Ok(crcs)
}

/// Zeros between a row and the one before, where an earlier chunk left its bytes.
fn wipe(buffer: &mut [u8], shape: Shape, row: u32) {
    if let Some(before) = row.checked_sub(1)
        && let Some(padding) = buffer.get_mut(shape.segment(before).end..shape.segment(row).start)
    {
        padding.fill(0);
    }
}

/// The sealed bytes of one segment of a data shard; empty when it has none.
fn segment(spread: Spread, number: u8, row: u32, bytes: &[u8]) -> &[u8] {
    let held = spread.segments(number);
    let at = held.start + row;
    if at < held.end { bytes.get(spread.shape().segment(at)).unwrap_or_default() } else { &[] }
}

/// Names the shards and shares out the bytes.
fn gather(spread: Spread, chunk: ChunkId, bytes: &Bytes, made: (Vec<PooledBuffer>, Vec<Vec<u32>>)) -> Vec<Shard> {
    let layout = spread.layout();
    let mut parity = made.0.into_iter().map(Bytes::from_owner);
    let mut shards = Vec::new();
    for (number, crcs) in (0..layout.stores()).zip(made.1) {
        let Some(shape) = spread.shard(number) else { continue };
        let held = spread.segments(number);
        let (from, place): (Option<Bytes>, Range<usize>) = if held.is_empty() {
            (parity.next(), 0..shape.stored())
        } else {
            let start = spread.shape().segment(held.start).start;
            (Some(bytes.clone()), start..start + shape.stored())
        };
        let Some(from) = from.filter(|from| place.end <= from.len()) else { continue };
        shards.push(Shard { id: ShardId { chunk, number }, layout, shape, bytes: from.slice(place), crcs });
    }
    shards
}
