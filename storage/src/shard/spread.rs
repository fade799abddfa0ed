//! Where the segments of a chunk lie among the shards of its layout.

use std::ops::Range;

use crate::chunk::Shape;
use crate::geometry::{SEGMENT_SEALED, SEGMENTS_PER_CHUNK, STRIDE, TAG};
use crate::layout::Layout;
use crate::shard::error::ShardError;

/// A chunk's shape, spread over the shards of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    layout: Layout,
    shape: Shape,
}

/// Where a run of a chunk's segments lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Located {
    /// The shard; of replicas number 0, and every other holds the same.
    pub shard: u8,
    /// Segments in it.
    pub rows: Range<u32>,
}

impl Spread {
    /// Spreads a chunk. Shapes come from disk and from other nodes, so they are looked at.
    ///
    /// # Errors
    /// [`ShardError::Shape`] unless it has 1 to 64 segments and the last one 16 to 65,552 bytes.
    pub fn new(layout: Layout, shape: Shape) -> Result<Self, ShardError> {
        let sealed = TAG..=SEGMENT_SEALED;
        let sound = (1..=SEGMENTS_PER_CHUNK).contains(&shape.segments) && sealed.contains(&usize_of(shape.last));
        if sound { Ok(Self { layout, shape }) } else { Err(ShardError::Shape(shape)) }
    }

    /// The layout.
    #[must_use]
    pub const fn layout(self) -> Layout {
        self.layout
    }

    /// The chunk's shape.
    #[must_use]
    pub const fn shape(self) -> Shape {
        self.shape
    }

    /// Segments of the longest shards: of shard 0, and of each parity shard.
    #[must_use]
    pub fn rows(self) -> u32 {
        self.shape.segments.div_ceil(u32::from(self.layout.data()))
    }

    /// Shards that hold something; the others are zeros, which nobody stores or loses.
    #[must_use]
    pub fn stored_shards(self) -> u8 {
        self.layout.stores() - self.empty()
    }

    /// Shards, of those that hold something, that an acknowledgement needs durable (rule 10).
    #[must_use]
    pub fn quorum(self) -> u8 {
        self.layout.quorum() - self.empty()
    }

    /// Data shards without a segment.
    fn empty(self) -> u8 {
        let data = u32::from(self.layout.data());
        u8::try_from(data.saturating_sub(self.shape.segments)).unwrap_or(0)
    }

    /// Buffers that parity goes into: how many, and of how many segments each. Replicas need none.
    #[must_use]
    pub fn parity_buffers(self) -> (u8, u32) {
        if self.layout.is_replicated() { (0, 0) } else { (self.layout.parity(), self.rows()) }
    }

    /// The chunk's segments in a data shard or replica; empty of parity, and of numbers beyond.
    #[must_use]
    pub fn segments(self, number: u8) -> Range<u32> {
        let Shape { segments, .. } = self.shape;
        if self.layout.is_replicated() {
            return if number < self.layout.stores() { 0..segments } else { 0..0 };
        }
        if number >= self.layout.data() {
            return 0..0;
        }
        let data = u32::from(self.layout.data());
        let start = |number: u32| number * (segments / data) + number.min(segments % data);
        start(u32::from(number))..start(u32::from(number) + 1)
    }

    /// What a shard holds, laid out like a chunk; none when it holds nothing, or there is no such shard.
    #[must_use]
    pub fn shard(self, number: u8) -> Option<Shape> {
        if number >= self.layout.stores() {
            return None;
        }
        let rows = self.rows();
        if !self.layout.is_replicated() && number >= self.layout.data() {
            // The last row is short only when it is the whole chunk.
            let short = rows == self.shape.segments;
            return Some(Shape { segments: rows, last: if short { self.shape.last } else { sealed() } });
        }
        let held = self.segments(number);
        let last = if held.end == self.shape.segments { self.shape.last } else { sealed() };
        (!held.is_empty()).then_some(Shape { segments: held.end - held.start, last })
    }

    /// The rows of `rows` that a shard has.
    #[must_use]
    pub fn rows_of(self, number: u8, rows: &Range<u32>) -> Range<u32> {
        let held = self.shard(number).map_or(0, |shape| shape.segments);
        rows.start.min(held)..rows.end.min(held)
    }

    /// Where those of the rows that a shard has lie in its bytes: what to ask its store for.
    #[must_use]
    pub fn bytes_of(self, number: u8, rows: &Range<u32>) -> Range<usize> {
        let rows = self.rows_of(number, rows);
        match self.shard(number) {
            Some(shape) if !rows.is_empty() => shape.segment(rows.start).start..shape.segment(rows.end - 1).end,
            _ => 0..0,
        }
    }

    /// Bytes of segment `row` of a shard; 0 when it has none.
    pub(super) fn length(self, number: u8, row: u32) -> usize {
        self.shard(number).filter(|shape| row < shape.segments).map_or(0, |shape| shape.segment(row).len())
    }

    /// Bytes that all shards together take, without the padding to blocks.
    #[must_use]
    pub fn stored(self) -> usize {
        (0..self.layout.stores()).filter_map(|number| self.shard(number)).map(Shape::stored).sum()
    }

    /// Which shards to ask for a range of the chunk's segments, in order.
    ///
    /// # Errors
    /// [`ShardError::Range`] when it is empty or reaches beyond the chunk.
    pub fn locate(self, segments: &Range<u32>) -> Result<Vec<Located>, ShardError> {
        within(segments, self.shape.segments)?;
        let mut found = Vec::new();
        for shard in 0..self.layout.data() {
            let held = self.segments(shard);
            let (start, end) = (held.start.max(segments.start), held.end.min(segments.end));
            if start < end {
                found.push(Located { shard, rows: start - held.start..end - held.start });
            }
        }
        Ok(found)
    }

    /// Where a row is cut, so that within each piece every segment either has bytes or is zeros: behind the
    /// chunk's last segment if another of the row is longer, and behind the longest.
    pub(super) fn cuts(self, row: u32) -> impl Iterator<Item = Range<usize>> {
        let end = self.length(0, row);
        let held = (0..self.layout.data()).map(|shard| self.length(shard, row));
        let short = held.filter(|length| (1..end).contains(length)).min().unwrap_or(end);
        [0..short, short..end].into_iter().filter(|cut| !cut.is_empty())
    }
}

/// Refuses a range that is empty or ends beyond `count`.
pub(super) fn within(range: &Range<u32>, count: u32) -> Result<(), ShardError> {
    if range.start < range.end && range.end <= count {
        return Ok(());
    }
    Err(ShardError::Range { start: range.start, end: range.end, count })
}

/// Sealed bytes of a whole segment.
fn sealed() -> u32 {
    u32::try_from(SEGMENT_SEALED).unwrap_or(u32::MAX)
}

fn usize_of(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

const _: () = assert!(SEGMENT_SEALED <= STRIDE && SEGMENT_SEALED < 1 << 17);
