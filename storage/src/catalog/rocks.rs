//! The catalog of one machine, on RocksDB. Reads look into the block cache on the calling task and
//! go to the blocking pool only for what is not there; writes go through the one writer.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use policy::id::{BodyId, BucketId, SessionId, TenantId, UploadId};
use policy::name::{BucketName, ObjectKey};
use policy::time::UtcMillis;
use rocksdb::{ColumnFamily, ErrorKind, ReadOptions, ReadTier};
use tokio::sync::{mpsc, oneshot};

use self::rows::upload_row;
use super::rows::decode;
use super::{
    BucketRow, Catalog, CatalogError, Change, Commit, CommitError, Committed, ControlKind, CurrentRow, GarbagePage,
    ListPage, ListQuery, LogItem, ObjectView, PartRow, RecordQuery, Refusal, StoredVersion, UploadPage, UploadQuery,
    UploadRow, keys,
};
use crate::condition::{Condition, Poison};
use crate::crew::Crew;
use crate::engine::{Content, Database, Engine, OpenError};
use crate::reads::Reads;
use crate::reserve::{Reserve, Space};

mod apply;
mod list;
mod lookup;
mod rows;
mod scan;
mod session;
mod writer;

pub use session::SessionRow;

const QUEUE: usize = 1024;

/// How to open a catalog.
#[derive(Debug, Clone)]
pub struct CatalogOptions {
    /// The process's RocksDB budget.
    pub engine: Engine,
    /// This run.
    pub session: SessionId,
    /// Now.
    pub now: UtcMillis,
    /// Whose requests commit to it.
    pub crew: Arc<Crew>,
}

/// The catalog.
#[derive(Debug)]
pub struct RocksCatalog {
    shared: Arc<Shared>,
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

#[derive(Debug)]
pub(super) struct Job {
    commit: Commit,
    answer: oneshot::Sender<Result<Committed, CommitError>>,
}

/// What readers and the writer share.
#[derive(Debug)]
pub(super) struct Shared {
    db: Database,
    session: SessionRow,
    reserve: Reserve,
    reads: Arc<Reads>,
    crew: Arc<Crew>,
    buckets: RwLock<Buckets>,
    poisoned: Poison,
    commits: AtomicU64,
    batches: AtomicU64,
}

#[derive(Debug, Default)]
struct Buckets {
    by_name: BTreeMap<BucketName, Arc<BucketRow>>,
    by_id: HashMap<BucketId, Arc<BucketRow>>,
}

impl Buckets {
    /// Keeps a row; gives the one that had its name.
    fn keep(&mut self, row: Arc<BucketRow>) -> Option<Arc<BucketRow>> {
        let id = row.id;
        self.by_id.insert(id, Arc::clone(&row));
        let before = self.by_name.insert(row.name.clone(), row);
        // One that went in the same batch as another of its name came.
        if let Some(gone) = before.as_ref().filter(|before| before.id != id) {
            self.by_id.remove(&gone.id);
        }
        before
    }

    fn forget(&mut self, name: &BucketName) {
        if let Some(row) = self.by_name.remove(name) {
            self.by_id.remove(&row.id);
        }
    }
}

macro_rules! families {
    ($($name:ident = $text:literal, $content:ident;)*) => {
        const FAMILIES: &[(&str, Content)] = &[$(($text, Content::$content)),*];
        impl Shared {
            $(pub(super) fn $name(&self) -> Result<&ColumnFamily, CatalogError> {
                self.db.cf_handle($text).ok_or_else(|| CatalogError::Corrupt(concat!("no column family ", $text).to_owned()))
            })*
        }
    };
}

families! {
    control_cf = "control", Rows;
    buckets_cf = "buckets", Rows;
    current_cf = "current", Rows;
    versions_cf = "versions", Rows;
    bodies_cf = "bodies", Rows;
    inline_cf = "inline", Sealed;
    uploads_cf = "uploads", Rows;
    parts_cf = "parts", Rows;
    garbage_cf = "garbage", Rows;
    sessions_cf = "sessions", Rows;
    log_cf = "log", Sealed;
}

impl RocksCatalog {
    /// Opens the catalog in `dir`, closes what dead sessions left open, and begins this session.
    ///
    /// # Errors
    /// `Open` when the database cannot be opened or made, `Database` when RocksDB refuses, `Corrupt` when rows make no sense.
    pub fn open(dir: &Path, options: &CatalogOptions) -> Result<Arc<Self>, CatalogError> {
        // First: on a full disk the database could not be opened either.
        let reserve = Reserve::open(dir).map_err(|e| OpenError::io(dir, e))?;
        let db = options.engine.open(dir, FAMILIES)?;
        let session = SessionRow { id: options.session, stream: 0, opened: options.now, closed: None };
        let mut shared = Shared {
            db,
            session,
            reserve,
            reads: Arc::new(Reads::default()),
            crew: Arc::clone(&options.crew),
            buckets: RwLock::default(),
            poisoned: Poison::default(),
            commits: AtomicU64::new(0),
            batches: AtomicU64::new(0),
        };
        shared.session.stream = shared.begin_session(options.now)?;
        let sequence = shared.last_sequence()?;
        shared.load_buckets()?;
        shared.reads.advance(sequence);
        let shared = Arc::new(shared);
        let (queue, jobs) = mpsc::channel(QUEUE);
        let writer = writer::Writer::new(Arc::clone(&shared), sequence);
        let thread = std::thread::Builder::new()
            .name("catalog-writer".to_owned())
            .spawn(move || writer.run(jobs))
            .map_err(|e| CatalogError::Corrupt(format!("no writer thread: {e}")))?;
        Ok(Arc::new(Self { shared, queue: Mutex::new(Some(queue)), thread: Mutex::new(Some(thread)) }))
    }

    /// Reads in flight, which hold back the collector.
    #[must_use]
    pub fn reads(&self) -> Arc<Reads> {
        Arc::clone(&self.shared.reads)
    }

    /// The log stream of this session.
    #[must_use]
    pub fn stream(&self) -> u64 {
        self.shared.session.stream
    }

    /// Commits and the synced batches that carried them, since the start.
    #[must_use]
    pub fn counters(&self) -> (u64, u64) {
        (self.shared.commits.load(Ordering::Relaxed), self.shared.batches.load(Ordering::Relaxed))
    }

    /// How it stands. This asks the disk.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.shared.poisoned.condition(&self.shared.db, &self.shared.reserve)
    }

    /// Whether something can be written where it lies.
    ///
    /// # Errors
    /// What the system said.
    pub fn probe(&self) -> std::io::Result<()> {
        self.shared.reserve.probe()
    }

    /// Whether its disk is so full that it has to be looked at often.
    #[must_use]
    pub fn is_near_full(&self) -> bool {
        self.shared.reserve.is_near()
    }

    /// Sessions that are known, oldest first.
    ///
    /// # Errors
    /// `Database` when RocksDB refuses.
    pub fn sessions(&self) -> Result<Vec<SessionRow>, CatalogError> {
        self.shared.sessions()
    }

    /// Takes no more commits, finishes those under way, closes the session and flushes.
    ///
    /// # Errors
    /// `Database` when RocksDB refuses.
    pub async fn shutdown(&self, now: UtcMillis) -> Result<(), CatalogError> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let shared = Arc::clone(&self.shared);
        let done = tokio::task::spawn_blocking(move || {
            if let Some(thread) = thread
                && thread.join().is_err()
            {
                return Err(CatalogError::Corrupt("the writer panicked".to_owned()));
            }
            shared.end_session(now)?;
            shared.db.flush_wal(true)?;
            for (name, _) in FAMILIES {
                if let Some(family) = shared.db.cf_handle(name) {
                    shared.db.flush_cf(family)?;
                }
            }
            Ok(())
        });
        done.await.map_err(|_| CatalogError::Stopped)?
    }

    /// Looks in the cache first; what is not there is read once on the blocking pool.
    async fn cached<T, F>(&self, read: F) -> Result<T, CatalogError>
    where
        F: Fn(&Shared, ReadTier) -> Result<T, CatalogError> + Send + 'static,
        T: Send + 'static,
    {
        match read(&self.shared, ReadTier::BlockCache) {
            Err(CatalogError::Database(e)) if e.kind() == ErrorKind::Incomplete => {}
            answer => return answer,
        }
        self.blocking(move |shared| read(shared, ReadTier::All)).await
    }

    async fn queue(&self, commit: Commit) -> Result<Committed, CommitError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let queue = queue.ok_or(CommitError::Stopped)?;
        let (answer, answered) = oneshot::channel();
        // Queued by the first poll, whatever becomes of the caller: a record must not hang on a connection.
        match queue.try_send(Job { commit, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(CommitError::Stopped),
            Err(mpsc::error::TrySendError::Full(job)) => {
                tokio::spawn(async move { queue.send(job).await.is_ok() });
            }
        }
        answered.await.map_err(|_| CommitError::Stopped)?
    }

    async fn blocking<T, F>(&self, read: F) -> Result<T, CatalogError>
    where
        F: FnOnce(&Shared) -> Result<T, CatalogError> + Send + 'static,
        T: Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || read(&shared)).await.map_err(|_| CatalogError::Stopped)?
    }
}

impl Shared {
    fn load_buckets(&self) -> Result<(), CatalogError> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        for item in self.db.iterator_cf(self.buckets_cf()?, rocksdb::IteratorMode::Start) {
            let (key, value) = item?;
            let row: BucketRow = decode("bucket", &value)
                .map_err(|e| CatalogError::Corrupt(format!("the row under bucket id {}: {e}", key.escape_ascii())))?;
            if *key != *row.id.as_bytes() {
                return Err(CatalogError::Corrupt(format!("the row of bucket {} lies under another's id", row.id)));
            }
            let row = Arc::new(row);
            if let Some(other) = buckets.keep(Arc::clone(&row)) {
                let (name, ids) = (&row.name, [other.id, row.id]);
                return Err(CatalogError::Corrupt(format!("two buckets are named {name}: {} and {}", ids[0], ids[1])));
            }
        }
        Ok(())
    }
}

/// A process that ends while another thread still closes the database would abort.
impl Drop for RocksCatalog {
    fn drop(&mut self) {
        self.queue.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take()
            && thread.join().is_err()
        {
            tracing::error!("the writer panicked");
        }
    }
}

fn tiered(tier: ReadTier) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_read_tier(tier);
    options
}

#[async_trait]
impl Catalog for RocksCatalog {
    async fn bucket(&self, name: &BucketName) -> Result<Option<Arc<BucketRow>>, CatalogError> {
        let buckets = self.shared.buckets.read().unwrap_or_else(PoisonError::into_inner);
        Ok(buckets.by_name.get(name).cloned())
    }

    async fn buckets(
        &self,
        tenant: Option<TenantId>,
        after: Option<&BucketName>,
        limit: usize,
    ) -> Result<Vec<Arc<BucketRow>>, CatalogError> {
        let buckets = self.shared.buckets.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let range = buckets.by_name.range::<BucketName, _>((from, std::ops::Bound::Unbounded));
        Ok(range
            .filter(|(_, row)| tenant.is_none_or(|tenant| row.tenant == tenant))
            .take(limit)
            .map(|(_, row)| Arc::clone(row))
            .collect())
    }

    async fn current(&self, bucket: BucketId, key: &ObjectKey) -> Result<Option<CurrentRow>, CatalogError> {
        let key = key.clone();
        self.cached(move |shared, tier| shared.current_at(bucket, key.as_bytes(), &tiered(tier))).await
    }

    async fn object(&self, bucket: BucketId, key: &ObjectKey) -> Result<Option<ObjectView>, CatalogError> {
        let key = key.clone();
        self.cached(move |shared, tier| shared.object_at(bucket, key.as_bytes(), tier)).await
    }

    async fn inline(&self, body: BodyId) -> Result<Option<Bytes>, CatalogError> {
        let bytes =
            self.cached(move |shared, tier| shared.get(shared.inline_cf()?, body.as_bytes(), &tiered(tier))).await?;
        Ok(bytes.map(Bytes::from))
    }

    async fn versions(
        &self,
        bucket: BucketId,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<StoredVersion>, CatalogError> {
        let after = after.cloned();
        self.blocking(move |shared| shared.versions_page(bucket, after.as_ref(), limit)).await
    }

    async fn count(&self, bucket: BucketId) -> Result<u64, CatalogError> {
        self.blocking(move |shared| shared.count(bucket)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<ListPage, CatalogError> {
        let query = query.clone();
        self.cached(move |shared, tier| shared.list_page(&query, tier)).await
    }

    async fn upload(&self, bucket: BucketId, key: &ObjectKey, id: UploadId) -> Result<Option<UploadRow>, CatalogError> {
        let key = keys::upload(bucket, key.as_bytes(), id);
        let asked = key.clone();
        let bytes = self.cached(move |shared, tier| shared.get(shared.uploads_cf()?, &asked, &tiered(tier))).await?;
        bytes.map(|bytes| upload_row(&key, &bytes)).transpose()
    }

    async fn parts(&self, upload: UploadId, after: u32, limit: usize) -> Result<Vec<PartRow>, CatalogError> {
        self.blocking(move |shared| shared.parts_page(upload, after, limit)).await
    }

    async fn uploads(&self, query: &UploadQuery) -> Result<UploadPage, CatalogError> {
        let query = query.clone();
        self.blocking(move |shared| shared.uploads_page(&query)).await
    }

    async fn control(&self, kind: ControlKind, id: &[u8]) -> Result<Option<Vec<u8>>, CatalogError> {
        let key = keys::control(kind, id);
        self.cached(move |shared, tier| shared.get(shared.control_cf()?, &key, &tiered(tier))).await
    }

    async fn controls(
        &self,
        kind: ControlKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<super::ControlItem>, CatalogError> {
        let after = after.map(<[u8]>::to_vec);
        self.blocking(move |shared| shared.controls_page(kind, after.as_deref(), limit)).await
    }

    fn space(&self) -> Space {
        if self.shared.poisoned.get().is_some() { Space::Last } else { self.shared.reserve.look() }
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError> {
        if self.shared.reserve.look() != Space::Room && commit.change.adds() {
            return Err(CommitError::Refused(Refusal::Full));
        }
        let Change::DeleteBucket { bucket } = commit.change else { return self.queue(commit).await };
        // The writer only looks briefly whether a bucket is empty; what is in its way is cleared beside it.
        match self.queue(commit.clone()).await {
            Err(CommitError::Refused(Refusal::Busy)) => {}
            outcome => return outcome,
        }
        self.blocking(move |shared| shared.tidy(bucket)).await.map_err(writer::unread)?;
        self.queue(commit).await
    }

    async fn records(&self, query: &RecordQuery) -> Result<Vec<LogItem>, CatalogError> {
        let query = *query;
        self.blocking(move |shared| shared.records_page(&query)).await
    }

    fn stream(&self) -> u64 {
        self.shared.session.stream
    }

    async fn garbage(&self, horizon: u64, limit: usize) -> Result<GarbagePage, CatalogError> {
        self.blocking(move |shared| shared.garbage_page(horizon, limit)).await
    }

    fn health(&self) -> Result<(), String> {
        self.shared.poisoned.get().map_or(Ok(()), |why| Err(why.clone()))
    }
}

#[cfg(test)]
mod tests;
