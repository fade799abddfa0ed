//! The one RocksDB budget of a process: a block cache that the write buffers are charged to. Databases are
//! opened here and nowhere else, so that each is held by one process and its journal is looked at first.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, Options, WriteBufferManager};
use rustix::fs::{FlockOperation, flock};

mod journal;

const CACHE_BYTES: usize = 128 << 20;
const WRITE_BUFFER_BYTES: usize = 64 << 20;

/// Shared by every database of the process, so that memory has one bound (STORAGE.md, Memory).
#[derive(Clone)]
pub struct Engine {
    cache: Cache,
    buffers: WriteBufferManager,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("cache_bytes", &CACHE_BYTES).finish_non_exhaustive()
    }
}

/// What a column family holds, as far as tuning cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// Small rows, read by key and in order.
    Rows,
    /// Sealed bytes, which do not compress.
    Sealed,
}

/// A database could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// Something that was acknowledged is broken.
    #[error(
        "{} is damaged at byte {at}, and what was written later is whole: a disk or memory failed; restore it from a backup. It was left as it is",
        .path.display()
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// Where it breaks.
        at: u64,
    },
    /// Another process has it open.
    #[error("{} is in use by another process", .0.display())]
    Held(PathBuf),
    /// The system refused.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// RocksDB refused.
    #[error(transparent)]
    Database(#[from] rocksdb::Error),
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_owned(), source: Arc::new(source) }
    }
}

/// An open database, which no other process may touch.
#[derive(Debug)]
pub struct Database {
    db: DB,
    /// Let go after the database is closed. Not RocksDB's own lock: that one is lost with any other handle to its file.
    _held: File,
}

impl Database {
    /// Whether it failed at what it does beside writes, since it was opened. It does not say at what, or why.
    pub(crate) fn has_failed_beside(&self) -> bool {
        matches!(self.db.property_int_value(rocksdb::properties::BACKGROUND_ERRORS), Ok(Some(1..)))
    }
}

/// Whether an error is one of a full disk: through its C interface RocksDB says so in these words only
/// (`Status::ToString` of `kNoSpace`).
pub(crate) fn is_full(why: &str) -> bool {
    why.contains("No space left on device")
}

impl std::ops::Deref for Database {
    type Target = DB;

    fn deref(&self) -> &DB {
        &self.db
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// A budget of 128 MiB of cache with 64 MiB of write buffers inside it.
    #[must_use]
    pub fn new() -> Self {
        let cache = Cache::new_lru_cache(CACHE_BYTES);
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(WRITE_BUFFER_BYTES, false, cache.clone());
        Self { cache, buffers }
    }

    /// Opens the database in `dir`, or makes it, with these column families.
    ///
    /// # Errors
    /// `Damaged` when a journal lost what was acknowledged, `Held` when another process has it, else what the
    /// system or RocksDB says.
    pub fn open(&self, dir: &Path, families: &[(&str, Content)]) -> Result<Database, OpenError> {
        let held =
            crate::dirs::make(dir).and_then(|()| File::open(dir)).map_err(|source| OpenError::io(dir, source))?;
        flock(&held, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
            rustix::io::Errno::WOULDBLOCK => OpenError::Held(dir.to_owned()),
            other => OpenError::io(dir, other.into()),
        })?;
        journal::mend(dir)?;
        let families = families.iter().map(|(name, content)| ColumnFamilyDescriptor::new(*name, self.family(*content)));
        Ok(Database { db: DB::open_cf_descriptors(&self.database(), dir, families)?, _held: held })
    }

    fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_write_buffer_manager(&self.buffers);
        options.set_max_background_jobs(2);
        options.set_max_open_files(512);
        options.set_max_total_wal_size(256 << 20);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(4 << 20);
        // What a crash may leave was cut off before: of what is left nothing may be broken.
        options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::AbsoluteConsistency);
        // A log that was synced and closed may not be shorter: its length is on record.
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_bytes_per_sync(1 << 20);
        options
    }

    fn family(&self, content: Content) -> Options {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_cache_index_and_filter_blocks(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_bloom_filter(10.0, false);
        table.set_block_size(16 << 10);
        table.set_format_version(6);
        let mut options = Options::default();
        options.set_block_based_table_factory(&table);
        options.set_write_buffer_size(16 << 20);
        options.set_max_write_buffer_number(3);
        options.set_target_file_size_base(32 << 20);
        options.set_level_compaction_dynamic_level_bytes(true);
        options.set_compression_type(match content {
            Content::Rows => DBCompressionType::Lz4,
            Content::Sealed => DBCompressionType::None,
        });
        options
    }
}

#[cfg(test)]
mod tests;
