//! The collector: removes chunks that nothing references. The body row decides, not a clock: a commit
//! inserts it, or the collector claims it as condemned, and one of the two fails (STORAGE.md rule 4).

use std::sync::Arc;

use policy::id::{BodyId, SessionId};

use crate::catalog::rocks::RocksCatalog;
use crate::catalog::{Catalog, CatalogError, Change, Commit, CommitError, GarbageRow, Refusal};
use crate::chunks::ChunkStore;
use crate::error::StoreError;

const PAGE: usize = 256;

/// The collector could not go on.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The catalog refused.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a round removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Collected {
    /// Bodies that versions or parts had released.
    pub garbage: usize,
    /// Bodies that no commit ever referenced.
    pub orphans: usize,
    /// There is more of either, and nothing of this round stays behind to be tried again.
    pub more: bool,
}

/// Collects garbage of one catalog from one store.
#[derive(Debug, Clone)]
pub struct Collector {
    catalog: Arc<RocksCatalog>,
    chunks: Arc<ChunkStore>,
    session: SessionId,
}

impl Collector {
    /// A collector of this session.
    #[must_use]
    pub const fn new(catalog: Arc<RocksCatalog>, chunks: Arc<ChunkStore>, session: SessionId) -> Self {
        Self { catalog, chunks, session }
    }

    /// One round over a page of garbage and a page of unsettled bodies.
    ///
    /// # Errors
    /// As [`CollectError`]; what was done stays done, the rest waits for the next round.
    pub async fn run_once(&self) -> Result<Collected, CollectError> {
        let horizon = self.catalog.reads().horizon();
        let page = self.catalog.garbage(horizon, PAGE).await?;
        let garbage = page.due.len();
        let found = garbage + page.stray.len();
        self.disown(page.stray).await?;
        let all = self.remove(page.due).await?;
        let (orphans, all_orphans) = self.orphans().await?;
        let more = all && all_orphans && (found == PAGE || orphans == PAGE);
        Ok(Collected { garbage, orphans, more })
    }

    /// Rows of garbage whose bodies nobody released go by themselves.
    async fn disown(&self, stray: Vec<GarbageRow>) -> Result<(), CollectError> {
        if stray.is_empty() {
            return Ok(());
        }
        for row in &stray {
            metrics::counter!("gotgan_rows_refused_total").increment(1);
            tracing::error!(body = %row.body, "garbage that nobody released: its body stays");
        }
        self.catalog.commit(Commit { change: Change::Forget(stray), record: None }).await?;
        Ok(())
    }

    /// Whether all of them went.
    async fn remove(&self, rows: Vec<GarbageRow>) -> Result<bool, CollectError> {
        if rows.is_empty() {
            return Ok(true);
        }
        let (wanted, mut gone) = (rows.len(), rows);
        if self.chunks.delete(gone.iter().map(|row| row.body).collect()).await.is_err() {
            // One that cannot be deleted holds back only itself; it is tried again later.
            let mut deleted = Vec::new();
            for row in gone {
                match self.chunks.delete(vec![row.body]).await {
                    Ok(()) => deleted.push(row),
                    Err(error) => tracing::error!(%error, body = %row.body, "a body stays"),
                }
            }
            gone = deleted;
        }
        let all = gone.len() == wanted;
        self.catalog.commit(Commit { change: Change::Forget(gone), record: None }).await?;
        Ok(all)
    }

    /// Durable bodies without a commit: of dead sessions, and those that this one gave up. How many, and
    /// whether all of them went.
    async fn orphans(&self) -> Result<(usize, bool), CollectError> {
        let unsettled = self.chunks.unsettled(PAGE).await?;
        let done = self.condemn(&unsettled).await;
        if done.is_err() {
            let own = unsettled.iter().filter(|(session, _)| *session == self.session);
            self.chunks.give_up_again(&own.map(|(_, body)| *body).collect::<Vec<_>>());
        }
        done
    }

    async fn condemn(&self, unsettled: &[(SessionId, BodyId)]) -> Result<(usize, bool), CollectError> {
        let mut condemned = Vec::new();
        for &(session, body) in unsettled {
            match self.catalog.commit(Commit { change: Change::Condemn(body), record: None }).await {
                Ok(_) => condemned.push(GarbageRow { retired: 0, body }),
                Err(CommitError::Refused(Refusal::Exists)) => self.chunks.settle_of(session, body),
                // Told by the catalog; whether it is referenced is not known, so it stays.
                Err(CommitError::Failed(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        let count = condemned.len();
        let all = self.remove(condemned).await?;
        Ok((count, all))
    }
}
