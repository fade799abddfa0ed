//! Reclaims space: chunks of the emptiest segment file are copied to the active one, and the file goes.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::committer::{Rows, Written};
use super::index::ChunkRow;
use super::syncer::Job;
use super::{ChunkStore, Shared, blocking, scrub};
use crate::chunk::{ChunkId, SealedChunk};
use crate::error::StoreError;

/// A file is rewritten when less than this share of it is live.
const LIVE_PERCENT: u64 = 50;
/// Chunks copied per step: the caller paces the steps.
const STEP: usize = 8;

/// What one step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Chunks that were moved.
    pub chunks: u64,
    /// Chunks that could not be: their bytes are corrupt, and stay where they are.
    pub stuck: u64,
}

impl ChunkStore {
    /// Moves a few chunks out of the emptiest file; nothing when no file is worth it.
    ///
    /// # Errors
    /// What the index or the disk says.
    pub async fn reclaim_once(&self) -> Result<Reclaimed, StoreError> {
        let (from, ids) = loop {
            let Some(file) = self.shared.files.emptiest(LIVE_PERCENT) else { return Ok(Reclaimed::default()) };
            let shared = Arc::clone(&self.shared);
            let ids = blocking(move || shared.index.in_file(file.number, file.behind, STEP)).await?;
            if file.empty || !ids.is_empty() {
                break (file.number, ids);
            }
            // Only chunks that cannot be moved are left in it.
            self.shared.files.stick(file.number, u64::MAX);
        };
        let mut chunks = Vec::with_capacity(ids.len());
        let mut stuck = 0;
        for (offset, id) in ids {
            match self.copy(id, from).await? {
                Copy::Made(written) => chunks.push(*written),
                Copy::Needless => {}
                Copy::Unreadable => {
                    self.shared.report(id, 0);
                    self.shared.files.stick(from, offset + 1);
                    stuck += 1;
                }
            }
        }
        let (answer, answered) = oneshot::channel();
        self.send(Job::Rows(Rows::Move { from, chunks, answer })).await?;
        let chunks = answered.await.map_err(|_| StoreError::Stopped)??;
        Ok(Reclaimed { chunks, stuck })
    }

    /// Bytes of segment files, and of the chunks in them that exist.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        let usage = self.shared.files.usage();
        (usage.size, usage.live)
    }

    async fn copy(&self, id: ChunkId, from: u64) -> Result<Copy, StoreError> {
        let mut buffer = self.shared.pool.chunk(crate::geometry::SEGMENTS_PER_CHUNK).await?;
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let row = match shared.index.chunk(id) {
                Err(StoreError::Malformed(_)) => return Ok(Copy::Unreadable),
                row => row?.filter(|row| row.file == from),
            };
            let Some(row) = row else { return Ok(Copy::Needless) };
            let Ok(stored) = scrub::whole(&shared, id, &row) else {
                // It may have been deleted meanwhile.
                let there = shared.index.chunk(id)?.as_ref() == Some(&row);
                return Ok(if there { Copy::Unreadable } else { Copy::Needless });
            };
            let Some(front) = buffer.get_mut(..stored.len()) else { return Err(StoreError::Malformed("chunk row")) };
            front.copy_from_slice(&stored);
            let chunk = SealedChunk::from_sealed(id, buffer, row.shape.segments, row.shape.last);
            keep_as(&shared, &chunk, &row).map(|written| Copy::Made(Box::new(written)))
        })
        .await
    }
}

/// What came of copying a chunk.
enum Copy {
    /// It lies in the active file too, without a row yet.
    Made(Box<Written>),
    /// It is not in the old file any more.
    Needless,
    /// Its bytes there are not what was written.
    Unreadable,
}

/// The copy keeps the session of the original, so that an open row still names it.
fn keep_as(shared: &Shared, chunk: &SealedChunk, old: &ChunkRow) -> Result<Written, StoreError> {
    let mut written = super::write::keep(shared, chunk)?;
    written.row.session = old.session;
    Ok(written)
}
