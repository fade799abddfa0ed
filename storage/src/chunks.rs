//! The chunk store of one disk: sealed bytes in append-only segment files, the truth about them in
//! RocksDB. A chunk exists when its synced index row does (STORAGE.md rule 2).
//!
//! Writes go to the file with direct I/O from pooled buffers, in parallel; one thread syncs the touched
//! files once for all bodies that wait, and a second one writes their rows in one batch.
//! Reads are buffered: the page cache is the chunk cache.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use policy::id::{BodyId, SessionId, StoreId};
use policy::place::VerifiedPlace;
use tokio::sync::{mpsc, oneshot};

use crate::buffer::BufferPool;
use crate::chunk::ChunkId;
use crate::condition::{Condition, Poison};
use crate::engine::Engine;
use crate::error::StoreError;
use crate::placement::{Placement, StoreFacts};

mod claim;
mod committer;
mod files;
mod index;
mod read;
mod reclaim;
mod scrub;
mod syncer;
mod write;

pub use claim::Claim;
pub use read::SegmentRun;
pub use reclaim::Reclaimed;
pub use scrub::ScrubPage;
pub use write::{BodyWriter, Receipts};

use committer::Rows;
use files::Files;
use index::Index;
use syncer::Job;

const QUEUE: usize = 1024;
/// Free space that new bodies may not touch: this, or a twentieth of a small disk.
const RESERVE: u64 = 512 << 20;

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The process's RocksDB budget.
    pub engine: Engine,
    /// Buffers, shared with whoever seals and opens.
    pub pool: Arc<BufferPool>,
    /// This run.
    pub session: SessionId,
    /// Where this disk stands, as the node's identity proves.
    pub place: VerifiedPlace,
    /// The id to give a disk that has none yet.
    pub fresh_id: StoreId,
    /// Bytes of a segment file: what is full takes no more chunks. [`FILE_BYTES`] unless for a test.
    pub file_bytes: u64,
}

/// Bytes of a segment file.
pub const FILE_BYTES: u64 = 1 << 30;

/// A store.
#[derive(Debug)]
pub struct ChunkStore {
    shared: Arc<Shared>,
    queue: Mutex<Option<mpsc::Sender<Job>>>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

/// What writers, readers and the committer share.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    id: StoreId,
    session: SessionId,
    place: Mutex<VerifiedPlace>,
    index: Index,
    files: Files,
    pool: Arc<BufferPool>,
    poisoned: Poison,
    /// Durable bodies whose commit did not come about.
    given_up: Mutex<Vec<BodyId>>,
    /// Whether there was room, and when the disk was asked.
    room: Mutex<Option<(Instant, bool)>>,
}

impl ChunkStore {
    /// Opens or formats the store in `dir`.
    ///
    /// # Errors
    /// `Lost` when segment files are there without an index, `Unmounted` when it is the other way round;
    /// `Open` when the index cannot be opened or made, `Index` when RocksDB refuses, `Io` when the directory cannot be
    /// used, `Malformed` when rows make no sense.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Arc<Self>, StoreError> {
        let [segments, rows] = [dir.join("segments"), dir.join("index")];
        // An index that was lost must not be taken for one in which nothing exists: its files would go.
        let used = segments.exists() && !files::list(&segments)?.is_empty();
        if used && !Index::exists(&rows) {
            return Err(StoreError::Lost(dir.to_owned()));
        }
        // Directories of a new disk are made in this order, so an index without one has lost what it points into.
        if !segments.exists() && Index::exists(&rows) {
            return Err(StoreError::Unmounted(segments));
        }
        crate::dirs::make(&segments).map_err(|e| StoreError::io("create the store's directory", e))?;
        let index = Index::open(&rows, &options.engine)?;
        let id = match index.store_id()? {
            Some(id) => id,
            None if used => return Err(StoreError::Lost(dir.to_owned())),
            None => index.format(options.fresh_id)?,
        };
        let files = Files::open(&segments, &index, options.file_bytes)?;
        let shared = Arc::new(Shared {
            dir: dir.to_owned(),
            id,
            session: options.session,
            place: Mutex::new(options.place.clone()),
            index,
            files,
            pool: Arc::clone(&options.pool),
            poisoned: Poison::default(),
            given_up: Mutex::default(),
            room: Mutex::default(),
        });
        let (queue, jobs) = mpsc::channel(QUEUE);
        let threads = syncer::start(&shared, jobs).map_err(|e| StoreError::io("start the committer", e))?;
        Ok(Arc::new(Self { shared, queue: Mutex::new(Some(queue)), threads: Mutex::new(threads.into()) }))
    }

    /// Its id, written when the disk was formatted.
    #[must_use]
    pub fn id(&self) -> StoreId {
        self.shared.id
    }

    /// What placement may know.
    #[must_use]
    pub fn facts(&self) -> StoreFacts {
        StoreFacts { id: self.shared.id, place: self.place(), room: self.has_room() }
    }

    /// Takes note of where the disk stands from now on: an identity ends, or is another one.
    pub fn stands(&self, place: VerifiedPlace) {
        *self.shared.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    fn place(&self) -> VerifiedPlace {
        self.shared.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether new bodies are taken, as the disk was a moment ago.
    fn has_room(&self) -> bool {
        const MOMENT: Duration = Duration::from_secs(1);
        let mut known = self.shared.room.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_none_or(|(asked, _)| asked.elapsed() > MOMENT) {
            *known = Some((Instant::now(), self.ask_for_room()));
        }
        known.is_none_or(|(_, room)| room)
    }

    fn ask_for_room(&self) -> bool {
        if !self.shared.index.has_room() {
            return false;
        }
        match rustix::fs::statvfs(&self.shared.dir) {
            Ok(disk) => {
                let free = disk.f_bavail.saturating_mul(disk.f_frsize);
                free > RESERVE.min(disk.f_blocks.saturating_mul(disk.f_frsize) / 20)
            }
            // Unknown is room: the write itself will tell.
            Err(error) => {
                tracing::warn!(%error, "free space is unknown");
                true
            }
        }
    }

    /// Begins a body.
    ///
    /// # Errors
    /// `Misplaced`, `Residency` or `Poisoned`.
    pub fn begin(&self, placement: &Placement, body: BodyId) -> Result<BodyWriter, StoreError> {
        self.health().map_err(StoreError::Poisoned)?;
        if placement.store() != self.shared.id {
            return Err(StoreError::Misplaced);
        }
        // The second of the three residency checks: the store trusts its own place, not the caller.
        placement.residency().admits(&self.place())?;
        // A writer does not keep the committer alive: the store stops when it is told to.
        let queue = self.sender()?.downgrade();
        Ok(BodyWriter::new(Arc::clone(&self.shared), queue, placement.pool(), body))
    }

    /// Reads consecutive segments of a chunk, verified. Fewer come back when the chunk has fewer.
    ///
    /// # Errors
    /// `Absent`, `Corrupt` (reported and counted), `Busy`, or what the disk says.
    pub async fn read(&self, id: ChunkId, segments: Range<u32>) -> Result<SegmentRun, StoreError> {
        read::read(&self.shared, id, segments).await
    }

    /// Removes bodies; those that are not there are done already.
    ///
    /// # Errors
    /// What the index or the disk says.
    pub async fn delete(&self, bodies: Vec<BodyId>) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Job::Rows(Rows::Delete { bodies, answer })).await?;
        answered.await.map_err(|_| StoreError::Stopped)?
    }

    /// Notes that a body of any session is referenced. A note that is lost is made again by the collector.
    pub fn settle_of(&self, session: SessionId, body: BodyId) {
        if let Ok(queue) = self.sender()
            && queue.try_send(Job::Rows(Rows::Settle { session, body })).is_err()
        {
            tracing::debug!(%body, "the committer is busy; the collector settles this body later");
        }
    }

    /// Durable bodies that nobody will settle: of sessions that ended, and those of this one whose claim was
    /// dropped. The latter are given once; [`Self::give_up_again`] takes them back.
    ///
    /// # Errors
    /// What the index says.
    pub async fn unsettled(&self, limit: usize) -> Result<Vec<(SessionId, BodyId)>, StoreError> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let mut bodies = shared.index.unsettled(shared.session, limit)?;
            let own = shared.take_given_up(limit.saturating_sub(bodies.len()));
            bodies.extend(own.into_iter().map(|body| (shared.session, body)));
            Ok(bodies)
        })
        .await
    }

    /// Takes back bodies of this session that [`Self::unsettled`] gave and that could not be dealt with.
    pub fn give_up_again(&self, bodies: &[BodyId]) {
        self.shared.give_up_again(bodies);
    }

    /// `Ok` while writes are taken, else why not.
    ///
    /// # Errors
    /// The write or sync that failed.
    pub fn health(&self) -> Result<(), String> {
        self.shared.poisoned.get().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// How it stands. This asks the disk.
    #[must_use]
    pub fn condition(&self) -> Condition {
        self.shared.index.condition(&self.shared.poisoned)
    }

    /// Whether something can be written where the index lies.
    ///
    /// # Errors
    /// What the system said.
    pub fn probe(&self) -> std::io::Result<()> {
        self.shared.index.probe()
    }

    /// Whether that disk is so full that it has to be looked at often.
    #[must_use]
    pub fn is_near_full(&self) -> bool {
        self.shared.index.is_near_full()
    }

    /// Finishes what waits, flushes and stops.
    ///
    /// # Errors
    /// What the index says.
    pub async fn shutdown(&self) -> Result<(), StoreError> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            // Both, whatever became of the first: neither may outlive the process.
            let joined = threads.into_iter().map(|thread| thread.join().map_err(|_| StoreError::Stopped));
            joined.fold(Ok(()), Result::and)?;
            shared.files.trim()?;
            shared.index.flush()
        })
        .await
    }

    fn sender(&self) -> Result<mpsc::Sender<Job>, StoreError> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Stopped)
    }

    async fn send(&self, job: Job) -> Result<(), StoreError> {
        let queue = self.sender()?;
        queue.send(job).await.map_err(|_| StoreError::Stopped)
    }
}

/// A process that ends while another thread still closes the index would abort.
impl Drop for ChunkStore {
    fn drop(&mut self) {
        self.queue.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        for thread in self.threads.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the chunk store panicked");
            }
        }
    }
}

impl Shared {
    fn poison(&self, error: &StoreError) {
        let why = error.to_string();
        tracing::error!(why, "the chunk store takes no more writes");
        metrics::counter!("gotgan_store_poisoned_total").increment(1);
        // The first reason stays.
        let _already = match error {
            StoreError::Full { .. } => self.poisoned.set_for(&why, true),
            _ => self.poisoned.set(&why),
        };
    }

    /// A chunk whose bytes are not what was written: never served, told, counted.
    fn report(&self, id: ChunkId, segment: u32) -> StoreError {
        metrics::counter!("gotgan_chunks_corrupt_total").increment(1);
        tracing::error!(chunk = %id, segment, store = %self.id, "a stored segment is corrupt: not served");
        StoreError::Corrupt { chunk: id, segment }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)?
}

#[cfg(test)]
mod tests;
