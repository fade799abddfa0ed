//! The one thread that makes chunks exist: writes the small ones side by side, syncs the touched files
//! once for everybody that waits, then writes all rows in one synced batch, then answers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use policy::id::{BodyId, SessionId};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::files::{Change, Hold, Room};
use super::index::{Batch, ChunkRow};
use crate::chunk::{ChunkId, SealedChunk, Sums};
use crate::error::StoreError;
use crate::placement::PoolId;

/// Most jobs of one batch.
const BATCH: usize = 256;
/// Chunks that one batch looks up to delete them, before others have their turn; a body goes whole.
const DELETES: usize = 512;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Notes that wait for a batch that must be written anyway.
const NOTES: usize = 1024;

/// A written chunk without a row yet.
#[derive(Debug)]
pub(super) struct Written {
    pub id: ChunkId,
    pub row: ChunkRow,
    pub file: Hold,
}

/// A chunk that is written together with others of its batch: no hop of its own, one write for all.
#[derive(Debug)]
pub(super) struct Small {
    pub chunk: SealedChunk,
    pub sums: Sums,
}

/// What the committer is asked to do.
#[derive(Debug)]
pub(super) enum Job {
    /// A body of one small chunk is written and becomes existing.
    Keep { pool: PoolId, small: Small, answer: Answer<()> },
    /// Rows change.
    Rows(Rows),
}

/// A change of rows about chunks whose bytes lie where they shall.
#[derive(Debug)]
pub(super) enum Rows {
    /// Chunks of a body become existing.
    Finish { pool: PoolId, body: BodyId, chunks: Vec<Written>, answer: Answer<()> },
    /// Bodies cease to exist.
    Delete { bodies: Vec<BodyId>, answer: Answer<()> },
    /// A body is referenced.
    Settle { session: SessionId, body: BodyId },
    /// Copies of chunks take the place of the old ones.
    Move { from: u64, chunks: Vec<Written>, answer: Answer<u64> },
}

pub(super) struct Committer {
    shared: Arc<Shared>,
}

/// What one batch gathers.
#[derive(Default)]
struct Round {
    batch: Batch,
    finished: Vec<Done<()>>,
    moved: Vec<Done<u64>>,
    /// Files that chunks come to or go from; accounted for when the rows are written.
    touched: BTreeMap<u64, Change>,
    /// Files to be synced first, held until their chunks have rows.
    synced: BTreeMap<u64, Hold>,
    /// Somebody waits for it, or will look whether it was done.
    pressing: bool,
}

impl Round {
    /// Only notes of this session are in it, which the collector makes again if they are lost: not worth a sync.
    fn may_wait(&self) -> bool {
        !self.pressing
            && self.finished.is_empty()
            && self.moved.is_empty()
            && self.touched.is_empty()
            && self.batch.len() < NOTES
    }
}

/// Whom to answer what, if the batch is written.
type Done<T> = (Answer<T>, Result<T, StoreError>);

/// Bodies that are still to be deleted, and what became of those before.
struct Deletion {
    bodies: std::vec::IntoIter<BodyId>,
    outcome: Result<(), StoreError>,
    answer: Answer<()>,
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

impl Committer {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs until every sender is gone.
    pub fn run(self, mut jobs: mpsc::Receiver<Job>) {
        let mut waiting = Vec::with_capacity(BATCH);
        let mut deletions = VecDeque::new();
        let mut notes = Batch::default();
        while receive(&mut jobs, &mut waiting, deletions.is_empty()) {
            let mut round = Round { batch: std::mem::take(&mut notes), ..Round::default() };
            // What was asked in earlier rounds, whose rows are all written: nothing that it shall delete is overlooked.
            let mut failed = self.delete_some(&mut deletions, &mut round).err();
            for job in self.keep_small(&mut waiting) {
                if let Err(error) = self.gather(job, &mut round, &mut deletions) {
                    failed = Some(error);
                }
            }
            if failed.is_none() && round.may_wait() {
                notes = round.batch;
                continue;
            }
            let outcome = failed.map_or_else(|| self.write(&mut round), Err);
            if let (Err(error), Some(begun)) = (&outcome, deletions.front_mut()) {
                begun.outcome = Err(error.clone());
            }
            self.answer(round, outcome);
        }
        let mut last = Round { batch: notes, ..Round::default() };
        let outcome = self.write(&mut last);
        self.answer(last, outcome);
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

    /// An error leaves the batch unfit to be written.
    fn gather(&self, job: Rows, round: &mut Round, deletions: &mut VecDeque<Deletion>) -> Result<(), StoreError> {
        let index = &self.shared.index;
        match job {
            Rows::Finish { pool, body, chunks, answer } => {
                round.finished.push((answer, Ok(())));
                for chunk in chunks {
                    self.add(round, pool, chunk)?;
                }
                round.pressing = true;
                index.put_open(&mut round.batch, self.shared.session, body)
            }
            Rows::Delete { bodies, answer } => {
                deletions.push_back(Deletion { bodies: bodies.into_iter(), outcome: Ok(()), answer });
                Ok(())
            }
            Rows::Settle { session, body } => {
                // Bodies of sessions that ended are looked up in the index until they are settled.
                round.pressing |= session != self.shared.session;
                index.drop_open(&mut round.batch, session, body)
            }
            Rows::Move { from, chunks, answer } => {
                // Rows that this very batch deletes must be seen.
                self.write(round)?;
                match self.still_in(from, chunks) {
                    Ok(moves) => {
                        round.moved.push((answer, Ok(u64::try_from(moves.len()).unwrap_or(0))));
                        self.move_chunks(round, from, moves)
                    }
                    Err(error) => {
                        round.moved.push((answer, Err(error)));
                        Ok(())
                    }
                }
            }
        }
    }

    fn add(&self, round: &mut Round, pool: PoolId, chunk: Written) -> Result<(), StoreError> {
        self.shared.index.put_chunk(&mut round.batch, pool, chunk.id, &chunk.row)?;
        let size = chunk.row.shape.footprint();
        let change = round.touched.entry(chunk.row.file).or_default();
        change.end = change.end.max(chunk.row.offset + size);
        change.came += size;
        round.synced.entry(chunk.row.file).or_insert(chunk.file);
        Ok(())
    }

    /// Deletes bodies up to a number of chunks. A body that cannot be looked up stays, and fails only its own request.
    fn delete_some(&self, deletions: &mut VecDeque<Deletion>, round: &mut Round) -> Result<(), StoreError> {
        let mut looked = 0;
        // The index shows a body until the batch is written; one that is named twice is counted once.
        let mut named = BTreeSet::new();
        while let Some(mut deletion) = deletions.pop_front() {
            while looked < DELETES
                && let Some(body) = deletion.bodies.next()
            {
                if !named.insert(body) {
                    continue;
                }
                match self.rows_of(body) {
                    Ok(rows) => {
                        looked += rows.len() + 1;
                        self.delete(round, rows)?;
                    }
                    Err(error) => deletion.outcome = Err(error),
                }
            }
            if !deletion.bodies.as_slice().is_empty() {
                deletions.push_front(deletion);
                break;
            }
            round.finished.push((deletion.answer, deletion.outcome));
        }
        Ok(())
    }

    fn rows_of(&self, body: BodyId) -> Result<Vec<(ChunkId, ChunkRow)>, StoreError> {
        let mut rows = Vec::new();
        let mut id = ChunkId { body, number: 0 };
        while let Some(row) = self.shared.index.chunk(id)? {
            rows.push((id, row));
            id.number += 1;
        }
        Ok(rows)
    }

    fn delete(&self, round: &mut Round, rows: Vec<(ChunkId, ChunkRow)>) -> Result<(), StoreError> {
        for (id, row) in rows {
            self.shared.index.drop_chunk(&mut round.batch, id, &row)?;
            self.shared.index.drop_open(&mut round.batch, row.session, id.body)?;
            gone(round, &row);
            round.pressing = true;
        }
        Ok(())
    }

    /// Copies with the rows that they replace. A chunk that was deleted since it was copied stays deleted.
    fn still_in(&self, from: u64, chunks: Vec<Written>) -> Result<Vec<(ChunkRow, Written)>, StoreError> {
        let mut out = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let old = self.shared.index.chunk(chunk.id)?.filter(|old| old.file == from);
            out.extend(old.map(|old| (old, chunk)));
        }
        Ok(out)
    }

    /// Without any it is still looked at whether the file may go.
    fn move_chunks(&self, round: &mut Round, from: u64, moves: Vec<(ChunkRow, Written)>) -> Result<(), StoreError> {
        round.touched.entry(from).or_default();
        for (old, chunk) in moves {
            self.shared.index.drop_place(&mut round.batch, &old)?;
            gone(round, &old);
            self.add(round, 0.into(), chunk)?;
            round.pressing = true;
        }
        Ok(())
    }

    /// Files first, then rows, then what became empty.
    fn write(&self, round: &mut Round) -> Result<(), StoreError> {
        if let Some(why) = self.shared.poisoned.get() {
            return Err(StoreError::Poisoned(why.clone()));
        }
        let synced = std::mem::take(&mut round.synced);
        for file in synced.values() {
            // After a failed sync the kernel may have dropped the pages: nothing here can be trusted any more.
            file.sync().inspect_err(|e| self.shared.poison(e))?;
        }
        let touched = std::mem::take(&mut round.touched);
        for (number, change) in &touched {
            let row = self.shared.files.after(*number, *change);
            self.shared.index.put_file(&mut round.batch, *number, Some(row))?;
        }
        let batch = std::mem::take(&mut round.batch);
        self.shared.index.write(batch).inspect_err(|e| self.shared.poison(e))?;
        for (number, change) in &touched {
            self.shared.files.apply(*number, *change);
        }
        drop(synced);
        for number in touched.into_keys().filter(|number| self.shared.files.is_dead(*number)) {
            // The rows are written: a file that stays costs space, and nothing else.
            if let Err(error) = self.remove(number) {
                tracing::error!(%error, file = number, "a segment file stays");
            }
        }
        Ok(())
    }

    /// Whatever was counted, a file that any row points into stays.
    fn remove(&self, number: u64) -> Result<(), StoreError> {
        if !self.shared.index.in_file(number, 0, 1)?.is_empty() {
            return Err(StoreError::Malformed("count of live bytes in a segment file"));
        }
        let mut batch = Batch::default();
        self.shared.index.put_file(&mut batch, number, None)?;
        self.shared.index.write(batch).inspect_err(|e| self.shared.poison(e))?;
        self.shared.files.remove(number)
    }

    fn answer(&self, round: Round, outcome: Result<(), StoreError>) {
        if let Err(error) = &outcome {
            tracing::error!(%error, "a batch of chunk rows was not written");
        }
        for (answer, own) in round.finished {
            // Whoever asked may have gone; the rows then wait for the collector.
            let _gone = answer.send(outcome.clone().and(own));
        }
        for (answer, own) in round.moved {
            let _gone = answer.send(outcome.clone().and(own));
        }
    }
}

fn gone(round: &mut Round, row: &ChunkRow) {
    round.touched.entry(row.file).or_default().went += row.shape.footprint();
}

/// Waits for jobs, unless there is other work; false when there will be nothing more to do.
fn receive(jobs: &mut mpsc::Receiver<Job>, waiting: &mut Vec<Job>, idle: bool) -> bool {
    if idle {
        return jobs.blocking_recv_many(waiting, BATCH) > 0;
    }
    while waiting.len() < BATCH
        && let Ok(job) = jobs.try_recv()
    {
        waiting.push(job);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::tests::{id, keep, open};
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
        // Both wait before the committer sees either.
        let (queue, jobs) = mpsc::channel(2);
        queue.send(Job::Keep { pool: 0.into(), small, answer: keep }).await.unwrap();
        queue.send(Job::Rows(Rows::Delete { bodies: vec![id(5).body], answer: delete })).await.unwrap();
        drop(queue);
        let committer = Committer::new(Arc::clone(&store.shared));
        tokio::task::spawn_blocking(move || committer.run(jobs)).await.unwrap();
        kept.await.unwrap().unwrap();
        deleted.await.unwrap().unwrap();
        assert_eq!(store.shared.index.chunk(id(5)).unwrap(), None);
    }

    #[tokio::test]
    async fn a_batch_of_deletions_ends_so_that_others_have_their_turn() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path(), 1, "KR");
        keep(&store, 1).await;
        keep(&store, 2).await;
        let absent = (0..DELETES as u128).map(|n| BodyId::from_bytes(n.to_be_bytes()));
        let bodies: Vec<BodyId> = std::iter::once(id(1).body).chain(absent).chain([id(2).body]).collect();
        let (answer, mut answered) = oneshot::channel();
        let mut deletions = VecDeque::from([Deletion { bodies: bodies.into_iter(), outcome: Ok(()), answer }]);
        let committer = Committer::new(Arc::clone(&store.shared));
        for (round, there) in [[false, true], [false, false]].into_iter().enumerate() {
            assert!(answered.try_recv().is_err(), "not before round {round} is written");
            let mut batch = Round::default();
            committer.delete_some(&mut deletions, &mut batch).unwrap();
            let outcome = committer.write(&mut batch);
            committer.answer(batch, outcome);
            for (body, there) in [1, 2].into_iter().zip(there) {
                assert_eq!(store.shared.index.chunk(id(body)).unwrap().is_some(), there, "body {body}, round {round}");
            }
        }
        answered.try_recv().unwrap().unwrap();
    }
}
