//! The one RocksDB budget of a process: a block cache that the write buffers are charged to.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, Options, WriteBufferManager};

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

    /// Options of a database.
    #[must_use]
    pub fn database(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_write_buffer_manager(&self.buffers);
        options.set_max_background_jobs(2);
        options.set_max_open_files(512);
        options.set_max_total_wal_size(256 << 20);
        options.set_keep_log_file_num(4);
        options.set_max_log_file_size(4 << 20);
        options.set_wal_recovery_mode(rocksdb::DBRecoveryMode::TolerateCorruptedTailRecords);
        // A tail may be cut off by a crash, a log that was synced and closed may not: its length is on record.
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_bytes_per_sync(1 << 20);
        options
    }

    /// Options of a column family.
    #[must_use]
    pub fn family(&self, content: Content) -> Options {
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
mod tests {
    use std::path::Path;

    use rocksdb::{ColumnFamilyDescriptor, DB, WriteOptions};

    use super::*;

    fn open(dir: &Path) -> Result<DB, rocksdb::Error> {
        let engine = Engine::new();
        let families = ["one", "two"].map(|name| ColumnFamilyDescriptor::new(name, engine.family(Content::Rows)));
        DB::open_cf_descriptors(&engine.database(), dir, families)
    }

    fn logs(dir: &Path) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut logs: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
        logs.sort();
        logs
    }

    fn cut(path: &Path, by: u64) {
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(file.metadata().unwrap().len() - by).unwrap();
    }

    /// Two logs of which both are needed: the first is closed because another family was flushed.
    fn two_logs(dir: &Path) {
        let db = open(dir).unwrap();
        let mut synced = WriteOptions::default();
        synced.set_sync(true);
        for (family, key) in [("one", "a"), ("one", "b"), ("two", "c")] {
            db.put_cf_opt(db.cf_handle(family).unwrap(), key, [7; 100], &synced).unwrap();
        }
        db.flush_cf(db.cf_handle("two").unwrap()).unwrap();
        for key in ["d", "e"] {
            db.put_cf_opt(db.cf_handle("one").unwrap(), key, [7; 100], &synced).unwrap();
        }
    }

    #[test]
    fn a_closed_log_that_was_cut_short_is_told_and_a_torn_tail_is_not() {
        let dir = tempfile::tempdir().unwrap();
        two_logs(dir.path());
        let log = logs(dir.path());
        assert_eq!(log.len(), 2);
        let whole = std::fs::read(&log[0]).unwrap();
        cut(&log[0], 120);
        assert!(open(dir.path()).is_err(), "what was synced before what is there is missing");
        std::fs::write(&log[0], whole).unwrap();
        cut(&log[1], 10);
        let db = open(dir.path()).unwrap();
        let has = |key: &str| db.get_cf(db.cf_handle("one").unwrap(), key).unwrap().is_some();
        assert_eq!(["a", "b", "d", "e"].map(has), [true, true, true, false]);
    }
}
