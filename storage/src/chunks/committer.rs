//! The one thread that makes chunks exist: writes the small ones side by side, syncs the touched files
//! once for everybody that waits, then writes all rows in one synced batch, then answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use policy::id::{BodyId, SessionId};
use tokio::sync::{mpsc, oneshot};

use super::Shared;
use super::files::{Room, SegmentFile};
use super::index::{Batch, ChunkRow};
use crate::chunk::{ChunkId, SealedChunk, Sums};
use crate::error::StoreError;
use crate::placement::PoolId;

/// Most jobs of one batch.
const BATCH: usize = 256;
/// Most chunks that one batch of deletions looks up before it goes to disk.
const DELETES: usize = 4096;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A written chunk without a row yet.
#[derive(Debug)]
pub(super) struct Written {
    pub id: ChunkId,
    pub row: ChunkRow,
    pub file: Arc<SegmentFile>,
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
    finished: Vec<Answer<()>>,
    moved: Vec<(Answer<u64>, u64)>,
    touched: BTreeSet<u64>,
    synced: BTreeMap<u64, Arc<SegmentFile>>,
    durable: bool,
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
        while jobs.blocking_recv_many(&mut waiting, BATCH) > 0 {
            let mut round = Round::default();
            let mut failed = None;
            for job in self.keep_small(&mut waiting) {
                if let Err(error) = self.gather(job, &mut round) {
                    failed = Some(error);
                }
            }
            let outcome = failed.map_or_else(|| self.write(&mut round), Err);
            self.answer(round, outcome);
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

    fn gather(&self, job: Rows, round: &mut Round) -> Result<(), StoreError> {
        let index = &self.shared.index;
        match job {
            Rows::Finish { pool, body, chunks, answer } => {
                round.finished.push(answer);
                for chunk in chunks {
                    self.add(round, pool, chunk)?;
                }
                round.durable = true;
                index.put_open(&mut round.batch, self.shared.session, body)
            }
            Rows::Delete { bodies, answer } => {
                round.finished.push(answer);
                round.durable = true;
                self.delete(round, &bodies)
            }
            Rows::Settle { session, body } => index.drop_open(&mut round.batch, session, body),
            Rows::Move { from, chunks, answer } => {
                let moved = self.move_chunks(round, from, chunks)?;
                round.moved.push((answer, moved));
                Ok(())
            }
        }
    }

    fn add(&self, round: &mut Round, pool: PoolId, chunk: Written) -> Result<(), StoreError> {
        self.shared.index.put_chunk(&mut round.batch, pool, chunk.id, &chunk.row)?;
        let size = chunk.row.shape.footprint();
        self.shared.files.account(chunk.row.file, chunk.row.offset + size, size.cast_signed());
        round.touched.insert(chunk.row.file);
        round.synced.insert(chunk.row.file, chunk.file);
        Ok(())
    }

    fn delete(&self, round: &mut Round, bodies: &[BodyId]) -> Result<(), StoreError> {
        let mut looked = 0;
        for body in bodies {
            let mut number = 0;
            while let Some(row) = self.shared.index.chunk(ChunkId { body: *body, number })? {
                self.shared.index.drop_chunk(&mut round.batch, ChunkId { body: *body, number }, &row)?;
                self.gone(round, &row);
                self.shared.index.drop_open(&mut round.batch, row.session, *body)?;
                number += 1;
                looked += 1;
            }
            // A body goes whole or not at all, so a batch is cut between bodies.
            if looked > DELETES {
                looked = 0;
                self.write(round)?;
            }
        }
        Ok(())
    }

    fn gone(&self, round: &mut Round, row: &ChunkRow) {
        self.shared.files.account(row.file, 0, -row.shape.footprint().cast_signed());
        round.touched.insert(row.file);
    }

    /// A chunk that was deleted since it was copied stays deleted.
    fn move_chunks(&self, round: &mut Round, from: u64, chunks: Vec<Written>) -> Result<u64, StoreError> {
        // Rows that this very batch deletes must be seen.
        self.write(round)?;
        let mut moved = 0;
        for chunk in chunks {
            let Some(old) = self.shared.index.chunk(chunk.id)?.filter(|old| old.file == from) else { continue };
            self.shared.index.drop_place(&mut round.batch, &old)?;
            self.gone(round, &old);
            self.add(round, 0.into(), chunk)?;
            moved += 1;
        }
        round.durable = true;
        Ok(moved)
    }

    /// Files first, then rows, then what became empty.
    fn write(&self, round: &mut Round) -> Result<(), StoreError> {
        if let Some(why) = self.shared.poisoned.get() {
            return Err(StoreError::Poisoned(why.clone()));
        }
        for file in std::mem::take(&mut round.synced).into_values() {
            // After a failed sync the kernel may have dropped the pages: nothing here can be trusted any more.
            file.sync().inspect_err(|e| self.shared.poison(e))?;
        }
        let touched = std::mem::take(&mut round.touched);
        let mut dead = Vec::new();
        for number in touched {
            let row = self.shared.files.account(number, 0, 0);
            let gone = self.shared.files.is_dead(number);
            self.shared.index.put_file(&mut round.batch, number, (!gone).then_some(row))?;
            if gone {
                dead.push(number);
            }
        }
        let batch = std::mem::take(&mut round.batch);
        self.shared.index.write(batch, round.durable).inspect_err(|e| self.shared.poison(e))?;
        for number in dead {
            self.shared.files.remove(number)?;
        }
        Ok(())
    }

    fn answer(&self, round: Round, outcome: Result<(), StoreError>) {
        for answer in round.finished {
            // Whoever asked may have gone; the rows then wait for the collector.
            let _gone = answer.send(outcome.clone());
        }
        for (answer, moved) in round.moved {
            let _gone = answer.send(outcome.clone().map(|()| moved));
        }
        if let Err(error) = outcome {
            tracing::error!(%error, "a batch of chunk rows was not written");
        }
    }
}
