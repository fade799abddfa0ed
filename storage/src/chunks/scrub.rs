//! Scrub: reads whole chunks and compares them with every sum that was kept.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::index::{ChunkRow, read_key};
use super::{ChunkStore, Shared, blocking};
use crate::chunk::{ChunkId, sums};
use crate::error::StoreError;

/// What one step of a scrub found.
#[derive(Debug, Clone, Default)]
pub struct ScrubPage {
    /// Chunks that were read.
    pub checked: usize,
    /// Stored bytes that were read.
    pub bytes: u64,
    /// Chunks whose bytes are not what was written.
    pub corrupt: Vec<ChunkId>,
    /// Where the next step begins; none at the end.
    pub next: Option<Vec<u8>>,
}

impl ChunkStore {
    /// Checks up to `limit` chunks behind a position.
    ///
    /// # Errors
    /// What the index says; unreadable chunks are findings, not errors.
    pub async fn scrub(&self, after: Option<Vec<u8>>, limit: usize) -> Result<ScrubPage, StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let rows = shared.index.page(after.as_deref(), limit)?;
            let next = rows.last().filter(|_| rows.len() == limit).map(|(key, _)| key.clone());
            let mut page = ScrubPage { next, ..ScrubPage::default() };
            for (key, row) in rows {
                let id = read_key(&key).ok_or(StoreError::Malformed("chunk key"))?;
                page.checked += 1;
                page.bytes += row.shape.footprint();
                // A chunk that was deleted or moved meanwhile is no finding.
                if whole(&shared, id, &row).is_err() && shared.index.chunk(id)?.as_ref() == Some(&row) {
                    shared.report(id, 0);
                    page.corrupt.push(id);
                }
            }
            Ok(page)
        })
        .await
    }
}

/// Blocking: the stored bytes of a chunk, if they are what was written.
pub(super) fn whole(shared: &Shared, id: ChunkId, row: &ChunkRow) -> Result<Vec<u8>, StoreError> {
    let file = shared.files.get(row.file)?;
    let mut stored = vec![0; row.shape.stored()];
    file.reader().read_exact_at(&mut stored, row.offset).map_err(|e| StoreError::io("read a segment file", e))?;
    if sums(id, row.shape, &stored) == row.sums {
        Ok(stored)
    } else {
        Err(StoreError::Corrupt { chunk: id, segment: 0 })
    }
}
