//! Writing one body: each chunk goes to its file as soon as it is sealed; the body exists when
//! `finish` returns, and never in part.

use std::collections::VecDeque;
use std::sync::Arc;

use policy::id::{BodyId, StoreId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Shared;
use super::claim::Claim;
use super::committer::{Rows, Written};
use super::index::ChunkRow;
use super::syncer::{Job, Small};
use crate::chunk::SealedChunk;
use crate::error::StoreError;
use crate::placement::PoolId;

/// Chunks of one body on their way to disk at once.
const AHEAD: usize = 2;
/// A body of one chunk up to this many segments is written by the committer itself, together with
/// others: a hop to another thread and a write of its own would cost more than the bytes.
const SMALL: u32 = 4;

/// Writes the chunks of one body, in order. Dropped without `finish`, nothing of it exists.
#[derive(Debug)]
pub struct BodyWriter {
    shared: Arc<Shared>,
    queue: mpsc::WeakSender<Job>,
    pool: PoolId,
    body: BodyId,
    under_way: VecDeque<JoinHandle<Result<Written, StoreError>>>,
    written: Vec<Written>,
    small: Option<Small>,
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
    pub(super) const fn new(shared: Arc<Shared>, queue: mpsc::WeakSender<Job>, pool: PoolId, body: BodyId) -> Self {
        Self { shared, queue, pool, body, under_way: VecDeque::new(), written: Vec::new(), small: None }
    }

    /// Sends a chunk on its way; waits while too many are.
    ///
    /// # Errors
    /// `Full` or `Io` of this chunk or one before.
    pub async fn write(&mut self, chunk: SealedChunk) -> Result<(), StoreError> {
        if chunk.id().number == 0 && chunk.shape().segments <= SMALL && self.small.is_none() {
            let sums = chunk.sums();
            self.small = Some(Small { chunk, sums });
            return Ok(());
        }
        if self.small.is_some() {
            return Err(StoreError::Malformed("chunk behind the last one"));
        }
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
    pub async fn finish(mut self) -> Result<(Receipts, Claim), StoreError> {
        self.catch_up().await?;
        let mut digest = blake3::Hasher::new();
        digest.update(b"gotgan-receipts-1").update(self.body.as_bytes());
        let written = self.written.iter().map(|chunk| &chunk.row.sums);
        let mut chunks = 0;
        for sums in self.small.iter().map(|small| &small.sums).chain(written) {
            digest.update(&sums.root);
            chunks += 1;
        }
        let digest = *digest.finalize().as_bytes();
        let receipts = Receipts { body: self.body, chunks, digest, store: self.shared.id };
        // Made before the body can exist: a caller that goes away while it waits gives the body up.
        let claim = Claim::new(Arc::clone(&self.shared), self.queue.clone(), self.body);
        let (answer, answered) = oneshot::channel();
        let job = match self.small {
            Some(small) => Job::Keep { pool: self.pool, small, answer },
            None => Job::Rows(Rows::Finish { pool: self.pool, body: self.body, chunks: self.written, answer }),
        };
        let queue = self.queue.upgrade().ok_or(StoreError::Stopped)?;
        queue.send(job).await.map_err(|_| StoreError::Stopped)?;
        drop(queue);
        answered.await.map_err(|_| StoreError::Stopped)??;
        Ok((receipts, claim))
    }

    /// Waits until every chunk that was sent lies in its file.
    pub(super) async fn catch_up(&mut self) -> Result<(), StoreError> {
        while !self.under_way.is_empty() {
            self.settle_oldest().await?;
        }
        Ok(())
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
