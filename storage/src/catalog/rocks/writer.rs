//! The one writer: drains the queue, checks each change against the batch in hand, writes one synced
//! batch, answers all. A failed write is final: the process takes no more of them.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use policy::id::TenantId;
use rocksdb::WriteOptions;
use tokio::sync::mpsc;

use super::apply::Batch;
use super::{Job, Shared};
use crate::catalog::{CatalogError, CommitError, Committed};
use crate::log::{Head, LogPosition};

/// While requests keep every core busy they go first: commits gather meanwhile, and one sync carries more of
/// them. On a core that is free it runs at once.
const NICENESS: i32 = 5;
/// Commits that are worth a sync: what it costs is then little for each.
const ENOUGH: usize = 6;
/// Longest time from the beginning of one sync to that of the next for which fewer wait for company.
const GATHER: Duration = Duration::from_micros(500);
/// How long company is waited for without looking.
const LOOK_AGAIN: Duration = Duration::from_micros(100);
/// Most commits of one batch.
const BATCH_COMMITS: usize = 256;
/// Most bytes of one batch.
const BATCH_BYTES: usize = 8 << 20;
/// Where the last sequence stands, in the family of sessions.
pub(super) const SEQUENCE_KEY: &[u8] = b"last-sequence";

pub(super) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    sequence: u64,
    log_sequence: u64,
    heads: HashMap<Option<TenantId>, Head>,
    /// When the last batch began, and how many commits it had.
    last: (Instant, usize),
}

type Answer = (tokio::sync::oneshot::Sender<Result<Committed, CommitError>>, Result<Committed, CommitError>);

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, sequence: u64) -> Self {
        Self { shared, sequence, log_sequence: 0, heads: HashMap::new(), last: (Instant::now(), 0) }
    }

    pub(super) fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        // Of this thread alone, on Linux.
        if let Err(error) = rustix::process::nice(NICENESS) {
            tracing::warn!(%error, "the catalog's writer does not stand back for requests");
        }
        while let Some(first) = jobs.blocking_recv() {
            if let Some(why) = self.shared.poisoned.get() {
                drop(first.answer.send(Err(CommitError::Poisoned(why.clone()))));
                continue;
            }
            self.gather(&jobs);
            self.last.0 = Instant::now();
            let shared = Arc::clone(&self.shared);
            let mut batch = Batch::new(&shared);
            let mut answers = Vec::new();
            self.take(first, &mut batch, &mut answers);
            while answers.len() < BATCH_COMMITS && batch.bytes() < BATCH_BYTES && self.shared.poisoned.get().is_none() {
                let Ok(job) = jobs.try_recv() else { break };
                self.take(job, &mut batch, &mut answers);
            }
            self.last.1 = answers.len();
            self.finish(batch, answers);
        }
    }

    /// Waits for company of the commit in hand while there is reason to expect some: the last batch had it, and
    /// not every worker is out of work. A sync costs its hundred microseconds of processor whatever it carries.
    fn gather(&self, jobs: &mpsc::Receiver<Job>) {
        let (began, commits) = self.last;
        while commits > 1
            && let Some(left) = GATHER.checked_sub(began.elapsed()).filter(|left| !left.is_zero())
        {
            let waiting = jobs.len();
            // Who is about to commit and has no core comes first.
            std::thread::yield_now();
            if jobs.len() > waiting {
                continue;
            }
            if waiting + 1 >= ENOUGH || self.shared.crew.is_idle() {
                return;
            }
            self.shared.crew.wait_until_idle(left.min(LOOK_AGAIN));
        }
    }

    /// Applies one commit to the batch, whole or not at all.
    fn take(&mut self, job: Job, batch: &mut Batch<'_>, answers: &mut Vec<Answer>) {
        let before = batch.changes();
        let outcome = match batch.apply(job.commit.change, self.sequence + 1) {
            // It broke off in the middle: nothing of the batch may be trusted.
            Err(CommitError::Failed(why)) if batch.changes() != before => Err(CommitError::Poisoned(why)),
            Err(CommitError::Failed(why)) => {
                tracing::error!(why, "a change was not made");
                Err(CommitError::Failed(why))
            }
            outcome => outcome,
        };
        let outcome = outcome.and_then(|applied| {
            self.sequence += 1;
            let position = match job.commit.record {
                None => None,
                Some(record) => {
                    let head = self.heads.entry(record.tenant).or_default();
                    let entry = crate::log::encode(record, applied.digest, head)
                        .map_err(|e| CommitError::Poisoned(e.to_string()))?;
                    let position = LogPosition { stream: self.shared.session.stream, sequence: self.log_sequence + 1 };
                    batch.log(position, &entry).map_err(|e| CommitError::Poisoned(e.to_string()))?;
                    self.log_sequence = position.sequence;
                    Some(position)
                }
            };
            Ok(Committed { position, sequence: self.sequence, replaced: applied.replaced, stayed: applied.stayed })
        });
        if let Err(CommitError::Poisoned(why)) = &outcome {
            self.poison(why);
        }
        answers.push((job.answer, outcome));
    }

    fn finish(&self, batch: Batch<'_>, mut answers: Vec<Answer>) {
        // A change that broke off in the middle left its half in the batch: none of it is written.
        let written = match self.shared.poisoned.get() {
            Some(why) => Err(why.clone()),
            None => batch.write(self.sequence).map_err(|error| error.to_string()),
        };
        match written {
            Ok(buckets) => {
                self.shared.reads.advance(self.sequence);
                let mut known = self.shared.buckets.write().unwrap_or_else(PoisonError::into_inner);
                for (name, row) in buckets {
                    match row {
                        Some(row) => drop(known.keep(row)),
                        None => known.forget(&name),
                    }
                }
            }
            Err(why) => {
                self.poison(&why);
                for (_, outcome) in &mut answers {
                    *outcome = Err(CommitError::Poisoned(why.clone()));
                }
            }
        }
        self.shared.batches.fetch_add(1, Ordering::Relaxed);
        self.shared.commits.fetch_add(u64::try_from(answers.len()).unwrap_or(0), Ordering::Relaxed);
        for (answer, outcome) in answers {
            // A requester that hung up has no use for the answer; its commit stands.
            drop(answer.send(outcome));
        }
    }

    fn poison(&self, why: &str) {
        if self.shared.poisoned.set(why) {
            tracing::error!(why, "the catalog takes no more writes");
        }
    }
}

/// A row could not be read while a change was checked.
pub(super) fn unread(error: CatalogError) -> CommitError {
    CommitError::Failed(error.to_string())
}
