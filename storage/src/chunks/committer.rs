//! The one thread that makes chunks exist: writes the rows of all whose bytes the syncer made durable in one
//! synced batch, then answers. Meanwhile the syncer is at the next files: neither waits for the other's disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use policy::id::{BodyId, SessionId};
use tokio::sync::oneshot;

use super::Shared;
use super::files::{Change, Hold};
use super::index::{Batch, ChunkRow};
use crate::chunk::ChunkId;
use crate::error::StoreError;
use crate::placement::PoolId;

/// Chunks that one batch looks up to delete them, before others have their turn; a body goes whole.
const DELETES: usize = 512;

pub(super) type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Notes that wait for a batch that must be written anyway.
const NOTES: usize = 1024;

/// A written chunk without a row yet.
#[derive(Debug)]
pub(super) struct Written {
    pub id: ChunkId,
    pub row: ChunkRow,
    pub file: Hold,
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
    /// Holds on their files, until the chunks have rows.
    held: Vec<Hold>,
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

impl Committer {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Runs until the syncer is gone and nothing is left to delete.
    pub fn run(self, batches: &Receiver<Vec<Rows>>) {
        let mut deletions = VecDeque::new();
        let mut notes = Batch::default();
        while let Some(waiting) = receive(batches, deletions.is_empty()) {
            let mut round = Round { batch: std::mem::take(&mut notes), ..Round::default() };
            // What was asked in earlier rounds, whose rows are all written: nothing that it shall delete is overlooked.
            let mut failed = self.delete_some(&mut deletions, &mut round).err();
            for job in waiting {
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
        round.held.push(chunk.file);
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

    /// Rows, then what became empty.
    fn write(&self, round: &mut Round) -> Result<(), StoreError> {
        if let Some(why) = self.shared.poisoned.get() {
            return Err(StoreError::Poisoned(why.clone()));
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
        round.held.clear();
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

/// Waits for a batch, unless there is other work; none when there will be nothing more to do.
fn receive(batches: &Receiver<Vec<Rows>>, idle: bool) -> Option<Vec<Rows>> {
    if idle {
        return batches.recv().ok();
    }
    Some(batches.try_recv().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{id, keep, open};
    use super::*;

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
