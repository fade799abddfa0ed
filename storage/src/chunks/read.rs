//! Reading runs of segments. What the page cache holds is read on the calling task without a hop;
//! what would block goes once per run to the blocking pool.

use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rustix::io::ReadWriteFlags;

use super::files::SegmentFile;
use super::index::ChunkRow;
use super::{Shared, blocking};
use crate::buffer::PooledBuffer;
use crate::chunk::ChunkId;
use crate::crc::crc32c;
use crate::error::StoreError;

/// Consecutive sealed segments of one chunk, verified against their CRCs.
#[derive(Debug)]
pub struct SegmentRun {
    buffer: PooledBuffer,
    segments: Vec<Range<usize>>,
}

impl SegmentRun {
    /// Segments in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.segments.len()
    }

    /// The sealed bytes of one of them, tag included, to be opened in place.
    pub fn segment_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        self.buffer.get_mut(self.segments.get(index)?.clone())
    }

    /// The buffer, and where the sealed bytes of each segment lie in it.
    #[must_use]
    pub fn into_parts(self) -> (PooledBuffer, Vec<Range<usize>>) {
        (self.buffer, self.segments)
    }
}

pub(super) async fn read(shared: &Arc<Shared>, id: ChunkId, wanted: Range<u32>) -> Result<SegmentRun, StoreError> {
    let row = look(shared, id).await?;
    match fetch(shared, id, &row, &wanted).await {
        // The reclaimer may have moved the chunk and removed its old file since the row was read.
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            let row = look(shared, id).await?;
            match fetch(shared, id, &row, &wanted).await {
                Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    Err(shared.report(id, wanted.start))
                }
                other => other,
            }
        }
        other => other,
    }
}

async fn look(shared: &Arc<Shared>, id: ChunkId) -> Result<ChunkRow, StoreError> {
    let row = match shared.index.cached(id) {
        Ok(row) => row,
        Err(Some(error)) => return Err(error),
        Err(None) => {
            let shared = Arc::clone(shared);
            blocking(move || shared.index.chunk(id)).await?
        }
    };
    row.ok_or(StoreError::Absent(id))
}

async fn fetch(
    shared: &Arc<Shared>,
    id: ChunkId,
    row: &ChunkRow,
    wanted: &Range<u32>,
) -> Result<SegmentRun, StoreError> {
    let until = wanted.end.min(row.shape.segments);
    if wanted.start >= until {
        return Err(StoreError::Malformed("segment range"));
    }
    let file = shared.files.get(row.file)?;
    let base = row.shape.segment(wanted.start).start;
    let segments: Vec<Range<usize>> = (wanted.start..until)
        .map(|number| row.shape.segment(number))
        .map(|segment| segment.start - base..segment.end - base)
        .collect();
    let length = segments.last().map_or(0, |segment| segment.end);
    let buffer = shared.pool.run(until - wanted.start).await?;
    let offset = row.offset + u64::try_from(base).unwrap_or(0);
    let buffer = fill(file, buffer, length, offset).await?;
    let Some(buffer) = buffer else { return Err(shared.report(id, wanted.start)) };
    for (number, segment) in (wanted.start..until).zip(&segments) {
        let sum = row.sums.crcs.get(usize::try_from(number).unwrap_or(usize::MAX));
        if sum != buffer.get(segment.clone()).map(crc32c).as_ref() {
            return Err(shared.report(id, number));
        }
    }
    Ok(SegmentRun { buffer, segments })
}

/// Fills the front of the buffer; none when the file is too short.
async fn fill(
    file: Arc<SegmentFile>,
    mut buffer: PooledBuffer,
    length: usize,
    offset: u64,
) -> Result<Option<PooledBuffer>, StoreError> {
    let Some(front) = buffer.get_mut(..length) else { return Err(StoreError::Malformed("segment range")) };
    // Zero when it is not in the page cache, or on a file system without the flag.
    let had = rustix::io::preadv2(file.reader(), &mut [IoSliceMut::new(front)], offset, ReadWriteFlags::NOWAIT)
        .unwrap_or_default();
    if had == length {
        return Ok(Some(buffer));
    }
    blocking(move || {
        let Some(rest) = buffer.get_mut(had..length) else { return Ok(None) };
        match file.reader().read_exact_at(rest, offset + u64::try_from(had).unwrap_or(0)) {
            Ok(()) => Ok(Some(buffer)),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(StoreError::io("read a segment file", e)),
        }
    })
    .await
}
