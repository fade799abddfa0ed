//! The first of the two threads behind every write: writes the small chunks of all that wait side by side, and
//! syncs each file once for everybody; then the rows have their turn, on the committer's thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use policy::id::SessionId;
use tokio::sync::mpsc;

use super::Shared;
use super::committer::{Answer, Committer, Rows, Written};
use super::files::{Hold, Room};
use super::index::ChunkRow;
use crate::chunk::{SealedChunk, Sums};
use crate::error::StoreError;
use crate::placement::PoolId;

/// Most jobs of one batch.
const BATCH: usize = 256;
/// Batches that may wait for the committer.
const AHEAD: usize = 1;

/// A chunk that is written together with others of its batch: no hop of its own, one write for all.
#[derive(Debug)]
pub(super) struct Small {
    pub chunk: SealedChunk,
    pub sums: Sums,
}

/// What a store is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// A body of one small chunk is written and becomes existing.
    Keep { pool: PoolId, small: Small, answer: Answer<()> },
    /// Rows change.
    Rows(Rows),
}

/// A small chunk with its place.
struct Kept {
    pool: PoolId,
    small: Small,
    answer: Answer<()>,
    room: Room,
}

impl Kept {
    /// Whether `next` begins where this ends.
    fn is_followed_by(&self, next: &Self) -> bool {
        let end = self.room.offset + self.small.chunk.shape().footprint();
        self.room.file.number == next.room.file.number && end == next.room.offset
    }

    fn written(self, session: SessionId) -> Rows {
        let id = self.small.chunk.id();
        let row = ChunkRow {
            file: self.room.file.number,
            offset: self.room.offset,
            shape: self.small.chunk.shape(),
            sums: self.small.sums,
            session,
        };
        let chunks = vec![Written { id, row, file: self.room.file }];
        Rows::Finish { pool: self.pool, body: id.body, chunks, answer: self.answer }
    }
}

pub(super) struct Syncer {
    shared: Arc<Shared>,
    rows: SyncSender<Vec<Rows>>,
}

/// Starts both threads; they end, in this order, when every sender of jobs is gone.
pub(super) fn start(shared: &Arc<Shared>, jobs: mpsc::Receiver<Job>) -> std::io::Result<[JoinHandle<()>; 2]> {
    let (rows, batches) = sync_channel(AHEAD);
    let (syncer, committer) = (Syncer { shared: Arc::clone(shared), rows }, Committer::new(Arc::clone(shared)));
    let syncer = Builder::new().name("chunk-syncer".to_owned()).spawn(move || syncer.run(jobs))?;
    let committer = Builder::new().name("chunk-committer".to_owned()).spawn(move || committer.run(&batches))?;
    Ok([syncer, committer])
}

impl Syncer {
    fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(BATCH);
        while jobs.blocking_recv_many(&mut waiting, BATCH) > 0 {
            let rows = self.keep_small(&mut waiting);
            if let Err(error) = sync(&rows) {
                // The kernel may have dropped the pages: nothing can be trusted any more, as the committer will tell.
                self.shared.poison(&error);
            }
            // Its panic is seen when it is joined; whoever waits for an answer gets none.
            if self.rows.send(rows).is_err() {
                return;
            }
        }
    }

    /// Writes the small chunks, neighbours in one go; each then is like any other that was written.
    fn keep_small(&self, waiting: &mut Vec<Job>) -> Vec<Rows> {
        let mut jobs = Vec::with_capacity(waiting.len());
        let mut run: Vec<Kept> = Vec::new();
        for job in waiting.drain(..) {
            let (pool, small, answer) = match job {
                Job::Keep { pool, small, answer } => (pool, small, answer),
                Job::Rows(rows) => {
                    jobs.push(rows);
                    continue;
                }
            };
            let kept = match self.shared.files.reserve(small.chunk.shape().footprint()) {
                Ok(room) => Kept { pool, small, answer, room },
                Err(error) => {
                    let _gone = answer.send(Err(error));
                    continue;
                }
            };
            if run.last().is_some_and(|last| !last.is_followed_by(&kept)) {
                self.write_run(&mut run, &mut jobs);
            }
            run.push(kept);
        }
        self.write_run(&mut run, &mut jobs);
        jobs
    }

    fn write_run(&self, run: &mut Vec<Kept>, jobs: &mut Vec<Rows>) {
        let Some(first) = run.first() else { return };
        let blocks: Vec<&[u8]> = run.iter().map(|kept| kept.small.chunk.blocks()).collect();
        let outcome = first.room.file.write_run(&blocks, first.room.offset);
        for kept in run.drain(..) {
            match &outcome {
                Ok(()) => jobs.push(kept.written(self.shared.session)),
                Err(error) => {
                    let _gone = kept.answer.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Syncs every file that a chunk without a row lies in.
fn sync(rows: &[Rows]) -> Result<(), StoreError> {
    let chunks = rows.iter().flat_map(|rows| match rows {
        Rows::Finish { chunks, .. } | Rows::Move { chunks, .. } => chunks.as_slice(),
        Rows::Delete { .. } | Rows::Settle { .. } => &[],
    });
    let files: BTreeMap<u64, &Hold> = chunks.map(|chunk| (chunk.row.file, &chunk.file)).collect();
    files.into_values().try_for_each(|file| file.sync())
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::tests::{id, open};
    use super::*;

    #[tokio::test]
    async fn a_body_that_is_given_up_while_it_is_kept_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1, "KR");
        let buffer = store.shared.pool.chunk(1).await.unwrap();
        let chunk = SealedChunk::from_sealed(id(5), buffer, 1, 1000);
        let small = Small { sums: chunk.sums(), chunk };
        let (keep, kept) = oneshot::channel();
        let (delete, deleted) = oneshot::channel();
        // Both wait before the syncer sees either.
        let (queue, jobs) = mpsc::channel(2);
        queue.send(Job::Keep { pool: 0.into(), small, answer: keep }).await.unwrap();
        queue.send(Job::Rows(Rows::Delete { bodies: vec![id(5).body], answer: delete })).await.unwrap();
        drop(queue);
        let threads = start(&store.shared, jobs).unwrap();
        kept.await.unwrap().unwrap();
        deleted.await.unwrap().unwrap();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(store.shared.index.chunk(id(5)).unwrap(), None);
    }
}
