//! Why the catalog was not read, or not changed.

use policy::id::TenantId;

/// The catalog could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CatalogError {
    /// A row makes no sense, or differs from what its index says.
    #[error("corrupt catalog: {0}")]
    Corrupt(String),
    /// The database refused.
    #[cfg(feature = "rocksdb")]
    #[error("catalog: {0}")]
    Database(#[from] rocksdb::Error),
    /// The database could not be opened.
    #[cfg(feature = "rocksdb")]
    #[error("catalog: {0}")]
    Open(#[from] crate::engine::OpenError),
    /// The catalog is shutting down.
    #[error("the catalog is stopping")]
    Stopped,
}

/// Why a change was not made. Nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The object is not as the precondition says.
    #[error("the precondition does not hold")]
    PreconditionFailed,
    /// There is no such object.
    #[error("no such object")]
    NotFound,
    /// There is no such bucket.
    #[error("no such bucket")]
    BucketGone,
    /// The bucket's name is taken.
    #[error("the bucket name is taken")]
    BucketExists {
        /// By this tenant.
        owner: TenantId,
    },
    /// The bucket still has objects or uploads.
    #[error("the bucket is not empty")]
    BucketNotEmpty,
    /// There is no such upload.
    #[error("no such upload")]
    UploadGone,
    /// A body is gone or condemned.
    #[error("a body is gone")]
    BodyGone,
    /// The row is there already.
    #[error("it exists already")]
    Exists,
    /// Another change of the row came first.
    #[error("it was changed meanwhile")]
    Changed,
    /// Its envelope hangs on a version of the bucket key that takes no new ones any more.
    #[error("the key of the bucket was rotated meanwhile")]
    KeyRotated,
    /// A row of it makes no sense: it stays until somebody looks.
    #[error("a row of it cannot be read")]
    Damaged,
    /// The disk is nearly full, and the change would add something.
    #[error("the catalog has no room")]
    Full,
    /// What was deleted in the bucket must be tidied up first.
    #[error("the bucket is being tidied up")]
    Busy,
}

/// A commit was not made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommitError {
    /// The change may not be made.
    #[error("{0}")]
    Refused(Refusal),
    /// A row that it depends on could not be read. Nothing of it was made; others go on.
    #[error("a change could not be checked: {0}")]
    Failed(String),
    /// A write failed before; nothing is written any more.
    #[error("the catalog takes no more writes: {0}")]
    Poisoned(String),
    /// The catalog is shutting down.
    #[error("the catalog is stopping")]
    Stopped,
}
