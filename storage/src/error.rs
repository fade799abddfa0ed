//! Errors of the chunk store.

use std::sync::Arc;

use crate::chunk::ChunkId;

/// A chunk store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Stored bytes differ from what was written. They are never served.
    #[error("segment {segment} of chunk {chunk} is corrupt")]
    Corrupt {
        /// The chunk.
        chunk: ChunkId,
        /// The segment in it.
        segment: u32,
    },
    /// The store has no such chunk.
    #[error("chunk {0} is not in this store")]
    Absent(ChunkId),
    /// Not enough free space; reads and deletes go on.
    #[error("the store has {free} bytes free, less than its reserve")]
    Full {
        /// Free bytes.
        free: u64,
    },
    /// The store's own place is outside the placement's residency.
    #[error("the store's place is refused: {0}")]
    Residency(#[from] policy::residency::ResidencyRefusal),
    /// The placement names another store.
    #[error("the placement names another store")]
    Misplaced,
    /// A write or sync failed before; the store takes no more writes.
    #[error("the store takes no more writes: {0}")]
    Poisoned(String),
    /// The system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was done.
        what: &'static str,
        /// What the system said.
        source: Arc<std::io::Error>,
    },
    /// RocksDB refused.
    #[cfg(feature = "rocksdb")]
    #[error("index: {0}")]
    Index(#[from] rocksdb::Error),
    /// The index could not be opened.
    #[cfg(feature = "rocksdb")]
    #[error("index: {0}")]
    Open(#[from] crate::engine::OpenError),
    /// A row or file that makes no sense.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Too many bodies are in flight.
    #[error(transparent)]
    Busy(#[from] crate::buffer::Exhausted),
    /// There are segment files, and no index that says what is in them.
    #[error(
        "{} has no index, but segment files are there: is a disk not mounted, or was only a part restored? Nothing was changed",
        .0.display()
    )]
    Lost(std::path::PathBuf),
    /// There is an index, and nothing that it points into.
    #[error("{} is not there, and the index beside it points into it: mount the disk or restore the directory", .0.display())]
    Unmounted(std::path::PathBuf),
    /// The store is shutting down.
    #[error("the store is stopping")]
    Stopped,
}

impl StoreError {
    pub(crate) fn io(what: &'static str, source: std::io::Error) -> Self {
        if source.raw_os_error() == Some(28) {
            return Self::Full { free: 0 };
        }
        Self::Io { what, source: Arc::new(source) }
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn retryable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::Io { .. } | Self::Busy(_) | Self::Stopped => true,
            #[cfg(feature = "rocksdb")]
            Self::Index(_) => true,
            #[cfg(feature = "rocksdb")]
            Self::Open(_) => false,
            Self::Corrupt { .. }
            | Self::Absent(_)
            | Self::Residency(_)
            | Self::Misplaced
            | Self::Poisoned(_)
            | Self::Lost(_)
            | Self::Unmounted(_)
            | Self::Malformed(_) => false,
        }
    }
}
