//! Reclaims space: chunks of the emptiest segment file are copied to the active one, and the file goes.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::committer::{Job, Rows, Written};
use super::index::ChunkRow;
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
        let Some(from) = self.shared.files.emptiest(LIVE_PERCENT) else { return Ok(Reclaimed::default()) };
        let shared = Arc::clone(&self.shared);
        let ids = blocking(move || shared.index.in_file(from, STEP)).await?;
        let mut chunks = Vec::with_capacity(ids.len());
        let mut stuck = 0;
        for id in ids {
            match self.copy(id, from).await {
                Ok(Some(written)) => chunks.push(written),
                Ok(None) => {}
                Err(StoreError::Corrupt { .. }) => {
                    self.shared.report(id, 0);
                    stuck += 1;
                }
                Err(other) => return Err(other),
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

    async fn copy(&self, id: ChunkId, from: u64) -> Result<Option<Written>, StoreError> {
        let mut buffer = self.shared.pool.chunk(crate::geometry::SEGMENTS_PER_CHUNK).await?;
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let Some(row) = shared.index.chunk(id)?.filter(|row| row.file == from) else { return Ok(None) };
            let stored = scrub::whole(&shared, id, &row)?;
            let Some(front) = buffer.get_mut(..stored.len()) else { return Err(StoreError::Malformed("chunk row")) };
            front.copy_from_slice(&stored);
            let chunk = SealedChunk::from_sealed(id, buffer, row.shape.segments, row.shape.last);
            keep_as(&shared, &chunk, &row).map(Some)
        })
        .await
    }
}

/// The copy keeps the session of the original, so that an open row still names it.
fn keep_as(shared: &Shared, chunk: &SealedChunk, old: &ChunkRow) -> Result<Written, StoreError> {
    let mut written = super::write::keep(shared, chunk)?;
    written.row.session = old.session;
    Ok(written)
}
