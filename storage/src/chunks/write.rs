//! Writing one body: each chunk goes to its file as soon as it is sealed; the body exists when
//! `finish` returns, and never in part.

use std::collections::VecDeque;
use std::sync::Arc;

use policy::id::{BodyId, StoreId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Shared;
use super::committer::{Job, Written};
use super::index::ChunkRow;
use crate::chunk::SealedChunk;
use crate::error::StoreError;
use crate::placement::PoolId;

/// Chunks of one body on their way to disk at once.
const AHEAD: usize = 2;

/// Writes the chunks of one body, in order. Dropped without `finish`, nothing of it exists.
#[derive(Debug)]
pub struct BodyWriter {
    shared: Arc<Shared>,
    queue: mpsc::Sender<Job>,
    pool: PoolId,
    body: BodyId,
    under_way: VecDeque<JoinHandle<Result<Written, StoreError>>>,
    written: Vec<Written>,
}

/// Proof that a body is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipts {
    /// The body.
    pub body: BodyId,
    /// Its chunks.
    pub chunks: u32,
    /// BLAKE3 over the roots of its chunks.
    pub digest: [u8; 32],
    /// The store that keeps them.
    pub store: StoreId,
}

impl BodyWriter {
    pub(super) const fn new(shared: Arc<Shared>, queue: mpsc::Sender<Job>, pool: PoolId, body: BodyId) -> Self {
        Self { shared, queue, pool, body, under_way: VecDeque::new(), written: Vec::new() }
    }

    /// Sends a chunk on its way; waits while too many are.
    ///
    /// # Errors
    /// `Full` or `Io` of this chunk or one before.
    pub async fn write(&mut self, chunk: SealedChunk) -> Result<(), StoreError> {
        while self.under_way.len() >= AHEAD {
            self.settle_oldest().await?;
        }
        let shared = Arc::clone(&self.shared);
        self.under_way.push_back(tokio::task::spawn_blocking(move || keep(&shared, &chunk)));
        Ok(())
    }

    /// Makes the body exist, durably.
    ///
    /// # Errors
    /// `Full`, `Io`, `Index` or `Poisoned`: then it does not exist.
    pub async fn finish(mut self) -> Result<Receipts, StoreError> {
        while !self.under_way.is_empty() {
            self.settle_oldest().await?;
        }
        let mut digest = blake3::Hasher::new();
        digest.update(b"gotgan-receipts-1").update(self.body.as_bytes());
        for chunk in &self.written {
            digest.update(&chunk.row.sums.root);
        }
        let receipts = Receipts {
            body: self.body,
            chunks: u32::try_from(self.written.len()).unwrap_or(u32::MAX),
            digest: *digest.finalize().as_bytes(),
            store: self.shared.id,
        };
        let (answer, answered) = oneshot::channel();
        let job = Job::Finish { pool: self.pool, body: self.body, chunks: self.written, answer };
        self.queue.send(job).await.map_err(|_| StoreError::Stopped)?;
        answered.await.map_err(|_| StoreError::Stopped)??;
        Ok(receipts)
    }

    async fn settle_oldest(&mut self) -> Result<(), StoreError> {
        if let Some(oldest) = self.under_way.pop_front() {
            self.written.push(oldest.await.map_err(|_| StoreError::Stopped)??);
        }
        Ok(())
    }
}

/// Blocking: sums and writes one chunk.
pub(super) fn keep(shared: &Shared, chunk: &SealedChunk) -> Result<Written, StoreError> {
    let room = shared.files.reserve(chunk.shape().footprint())?;
    room.file.write(chunk.blocks(), room.offset)?;
    let row = ChunkRow {
        file: room.file.number,
        offset: room.offset,
        shape: chunk.shape(),
        sums: chunk.sums(),
        session: shared.session,
    };
    Ok(Written { id: chunk.id(), row, file: room.file })
}
