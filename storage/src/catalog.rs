//! The catalog at the level of meaning: what exists, in which order, and what may change together.
//!
//! Every change is checked and applied by one writer, in one
//! durable step with the access record that describes it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use policy::id::{BodyId, BucketId, TenantId, UploadId, VersionId};
use policy::name::{BucketName, ObjectKey};

use crate::log::{LogEntry, LogPosition, Record};
use crate::reserve::Space;

pub mod rows;
mod keys;
mod page;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(feature = "rocksdb")]
pub mod rocks;

pub use page::{ListItem, ListPage, ListedObject};
pub use rows::{
    BodyRow, BodyState, BucketRow, CurrentRow, GarbageRow, Location, ManifestBody, NewBody, ObjectMark, PartRow,
    UploadRow, VersionRow, WrappedKey,
};

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

/// Key spaces of rows that only the gateway understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// The platform's own.
    Platform,
    /// Tenants by id.
    Tenant,
    /// Tenant names.
    TenantName,
    /// Tenant keys by id.
    TenantKey,
    /// Principals by id.
    Principal,
    /// Credentials by access key.
    Credential,
    /// Tenant keys by tenant and name.
    KeyName,
    /// Rotations of bucket keys by bucket.
    Rewrap,
    /// Destructions of tenant keys by id.
    Destruction,
    /// Accesses of the platform to buckets of tenants by id.
    Access,
    /// Transport keys, which tenants wrap keys to, by id.
    Transport,
    /// Requests to give a tenant another administrator, by id.
    Reseating,
}

impl ControlKind {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::Platform,
        Self::Tenant,
        Self::TenantName,
        Self::TenantKey,
        Self::Principal,
        Self::Credential,
        Self::KeyName,
        Self::Rewrap,
        Self::Destruction,
        Self::Access,
        Self::Transport,
        Self::Reseating,
    ];

    /// The byte that stands for it in keys and proofs.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Platform => 1,
            Self::Tenant => 2,
            Self::TenantName => 3,
            Self::TenantKey => 4,
            Self::Principal => 5,
            Self::Credential => 6,
            Self::KeyName => 7,
            Self::Rewrap => 8,
            Self::Destruction => 9,
            Self::Access => 10,
            Self::Transport => 11,
            Self::Reseating => 12,
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tenant => "tenant",
            Self::TenantName => "tenant name",
            Self::TenantKey => "tenant key",
            Self::Principal => "principal",
            Self::Credential => "credential",
            Self::KeyName => "name of a tenant key",
            Self::Rewrap => "rotation of a bucket key",
            Self::Destruction => "destruction of tenant keys",
            Self::Access => "access of the platform",
            Self::Transport => "transport key",
            Self::Reseating => "re-seating",
        }
    }
}

/// Key and row of a control row.
pub type ControlItem = (Vec<u8>, Vec<u8>);

/// One control row to be written.
#[derive(Debug, Clone)]
pub struct ControlPut {
    /// Key space.
    pub kind: ControlKind,
    /// Key.
    pub id: Vec<u8>,
    /// Row.
    pub value: Vec<u8>,
    /// What must stand there, else nothing is written.
    pub before: Before,
}

/// What must stand in the place of a control row that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// This row, which the new one was made from.
    Is(Vec<u8>),
}

/// Other settings of a bucket: same id, same name.
#[derive(Debug, Clone)]
pub struct BucketUpdate {
    /// The row as it will be.
    pub row: BucketRow,
    /// Proof of the row that it was made from; nothing is written when another one stands there.
    pub was: [u8; 32],
}

/// What must hold of the visible version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    None,
    /// There is none.
    Absent,
    /// It is this one.
    Version(VersionId),
}

/// A new visible version.
#[derive(Debug, Clone)]
pub struct PutVersion {
    /// Bucket.
    pub bucket: BucketId,
    /// Object name.
    pub key: ObjectKey,
    /// Checked in the same step.
    pub precondition: Precondition,
    /// The version.
    pub row: VersionRow,
    /// Bodies made for it. Others in the manifest are the completed upload's, or shared.
    pub new_bodies: Vec<NewBody>,
    /// The upload that it completes.
    pub completes: Option<UploadId>,
    /// The version of the bucket key that its envelope hangs on: refused when it is not the current one.
    pub under: u32,
}

/// An upload that begins.
#[derive(Debug, Clone)]
pub struct NewUpload {
    /// Its row.
    pub row: UploadRow,
    /// As of [`PutVersion`].
    pub under: u32,
}

/// Envelopes of one bucket, wrapped by its current key. What changed meanwhile stays as it is.
#[derive(Debug, Clone)]
pub struct Rewrap {
    /// The bucket.
    pub bucket: BucketId,
    /// Versions, each for the one that it was made from.
    pub versions: Vec<Rewrapped<VersionRow>>,
    /// Uploads, each for the one that it was made from.
    pub uploads: Vec<Rewrapped<UploadRow>>,
    /// Control rows that go with it: how far it came.
    pub rows: Vec<ControlPut>,
}

/// A row with another envelope.
#[derive(Debug, Clone)]
pub struct Rewrapped<R> {
    /// Object name.
    pub key: ObjectKey,
    /// The envelope that it has now, else it stays.
    pub was: Vec<u8>,
    /// The row as it will be: of the same version or upload.
    pub row: R,
}

/// One change, applied whole or not at all.
#[derive(Debug, Clone)]
pub enum Change {
    /// Only the record.
    None,
    /// A bucket.
    CreateBucket(BucketRow),
    /// An empty bucket goes.
    DeleteBucket {
        /// Its id.
        bucket: BucketId,
    },
    /// A version becomes visible; the one before goes.
    PutVersion(Box<PutVersion>),
    /// The visible version goes; nothing happens when there is none.
    DeleteVersion {
        /// Bucket.
        bucket: BucketId,
        /// Object name.
        key: ObjectKey,
        /// Checked in the same step.
        precondition: Precondition,
    },
    /// A multipart upload begins.
    CreateUpload(NewUpload),
    /// A part; one of the same number is replaced.
    PutPart {
        /// Bucket.
        bucket: BucketId,
        /// Object name.
        key: ObjectKey,
        /// Upload.
        upload: UploadId,
        /// The part.
        part: PartRow,
        /// Its body.
        new_body: NewBody,
    },
    /// Visible versions of one bucket go, in one step. An object that is not as its precondition says
    /// stays, and the answer names it; the others go all the same.
    DeleteVersions {
        /// Bucket.
        bucket: BucketId,
        /// Object names, each with what must hold of it.
        objects: Vec<(ObjectKey, Precondition)>,
    },
    /// An upload and its parts go.
    AbortUpload {
        /// Bucket.
        bucket: BucketId,
        /// Object name.
        key: ObjectKey,
        /// Upload.
        upload: UploadId,
    },
    /// Control rows and settings of buckets, together.
    PutControl {
        /// Rows.
        rows: Vec<ControlPut>,
        /// Buckets.
        buckets: Vec<BucketUpdate>,
    },
    /// Envelopes of one bucket are wrapped anew.
    Rewrap(Box<Rewrap>),
    /// The collector claims a body that no commit references; refused when one does.
    Condemn(BodyId),
    /// The collector is done with these: condemned rows and garbage rows go.
    Forget(Vec<GarbageRow>),
}

impl Change {
    /// Whether it needs space that only removals and records may use when there is little left.
    #[must_use]
    pub const fn adds(&self) -> bool {
        match self {
            Self::CreateBucket(_)
            | Self::PutVersion(_)
            | Self::CreateUpload(_)
            | Self::PutPart { .. }
            | Self::Rewrap(_) => true,
            Self::None
            | Self::DeleteBucket { .. }
            | Self::DeleteVersion { .. }
            | Self::DeleteVersions { .. }
            | Self::AbortUpload { .. }
            | Self::PutControl { .. }
            | Self::Condemn(_)
            | Self::Forget(_) => false,
        }
    }
}

/// A change with its access record.
#[derive(Debug, Clone)]
pub struct Commit {
    /// The change.
    pub change: Change,
    /// The record, durable together with it.
    pub record: Option<Record>,
}

/// A commit is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where the record stands.
    pub position: Option<LogPosition>,
    /// The catalog's sequence of this commit.
    pub sequence: u64,
    /// The version that was visible before.
    pub replaced: Option<VersionId>,
    /// Objects of [`Change::DeleteVersions`] that stayed, by their place in the request.
    pub stayed: Vec<(usize, Refusal)>,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// Behind this name. A common prefix equal to it is skipped.
    Key(String),
    /// Behind every name that begins with this.
    Prefix(String),
}

/// Which names to list.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Bucket.
    pub bucket: BucketId,
    /// Names begin with this.
    pub prefix: String,
    /// Names are grouped up to this.
    pub delimiter: Option<String>,
    /// Where to go on.
    pub after: Option<After>,
    /// Most items.
    pub limit: usize,
}

/// Which uploads to list.
#[derive(Debug, Clone)]
pub struct UploadQuery {
    /// Bucket.
    pub bucket: BucketId,
    /// Names begin with this.
    pub prefix: String,
    /// Names are grouped up to this.
    pub delimiter: Option<String>,
    /// Behind this name.
    pub key_marker: Option<String>,
    /// With `key_marker`: behind this upload of that name.
    pub upload_id_marker: Option<UploadId>,
    /// Most items.
    pub limit: usize,
}

/// One line of a list of uploads.
#[derive(Debug, Clone)]
pub enum UploadItem {
    /// An upload.
    Upload(Box<UploadRow>),
    /// A common prefix.
    Prefix(String),
    /// A row that cannot be read, and why.
    Damaged(String),
}

/// One page of a list of uploads.
#[derive(Debug, Clone, Default)]
pub struct UploadPage {
    /// Its lines, by name and upload id.
    pub items: Vec<UploadItem>,
    /// There is more.
    pub truncated: bool,
    /// Rows looked at: what a list costs.
    pub steps: usize,
}

/// An object as one snapshot shows it.
#[derive(Debug, Clone)]
pub struct ObjectView {
    /// The listed row.
    pub current: CurrentRow,
    /// The version.
    pub version: VersionRow,
    /// Sealed bytes of its inline bodies.
    pub inline: Vec<(BodyId, Bytes)>,
}

/// A version under its name.
#[derive(Debug, Clone)]
pub struct StoredVersion {
    /// Object name.
    pub key: ObjectKey,
    /// Its row, or why there is none that can be read.
    pub row: Result<VersionRow, CatalogError>,
}

/// What lies in the log at one position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogItem {
    /// An entry.
    Entry(LogEntry),
    /// Bytes that are none, at this position or behind it.
    Damaged(LogPosition),
}

impl LogItem {
    /// Where it lies.
    #[must_use]
    pub const fn position(&self) -> LogPosition {
        match self {
            Self::Entry(entry) => entry.position,
            Self::Damaged(position) => *position,
        }
    }

    /// The entry, if it is one.
    #[must_use]
    pub fn entry(self) -> Option<LogEntry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Damaged(_) => None,
        }
    }
}

/// Garbage, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GarbagePage {
    /// Bodies that were released.
    pub due: Vec<GarbageRow>,
    /// Rows that name a body which nobody released: they say nothing, and their bodies stay.
    pub stray: Vec<GarbageRow>,
}

/// Which log entries to read.
#[derive(Debug, Clone, Copy)]
pub struct RecordQuery {
    /// Behind this position.
    pub after: Option<LogPosition>,
    /// Most entries.
    pub limit: usize,
}

/// A catalog.
#[async_trait]
pub trait Catalog: Send + Sync + std::fmt::Debug + 'static {
    /// The bucket of a name.
    async fn bucket(&self, name: &BucketName) -> Result<Option<Arc<BucketRow>>, CatalogError>;
    /// Buckets by name, of one tenant or of all.
    async fn buckets(
        &self,
        tenant: Option<TenantId>,
        after: Option<&BucketName>,
        limit: usize,
    ) -> Result<Vec<Arc<BucketRow>>, CatalogError>;
    /// The listed row of an object.
    async fn current(&self, bucket: BucketId, key: &ObjectKey) -> Result<Option<CurrentRow>, CatalogError>;
    /// An object with everything that a read needs, from one snapshot.
    async fn object(&self, bucket: BucketId, key: &ObjectKey) -> Result<Option<ObjectView>, CatalogError>;
    /// The sealed bytes of an inline body.
    async fn inline(&self, body: BodyId) -> Result<Option<Bytes>, CatalogError>;
    /// Versions of a bucket behind a name, as one snapshot shows them: at most `limit`, fewer when they are long, none
    /// at the end only.
    async fn versions(
        &self,
        bucket: BucketId,
        after: Option<&ObjectKey>,
        limit: usize,
    ) -> Result<Vec<StoredVersion>, CatalogError>;
    /// How many objects a bucket has.
    async fn count(&self, bucket: BucketId) -> Result<u64, CatalogError>;
    /// One page of names.
    async fn list(&self, query: &ListQuery) -> Result<ListPage, CatalogError>;
    /// An upload of this bucket and name.
    async fn upload(&self, bucket: BucketId, key: &ObjectKey, id: UploadId) -> Result<Option<UploadRow>, CatalogError>;
    /// Parts of an upload behind a number.
    async fn parts(&self, upload: UploadId, after: u32, limit: usize) -> Result<Vec<PartRow>, CatalogError>;
    /// One page of uploads.
    async fn uploads(&self, query: &UploadQuery) -> Result<UploadPage, CatalogError>;
    /// A control row.
    async fn control(&self, kind: ControlKind, id: &[u8]) -> Result<Option<Vec<u8>>, CatalogError>;
    /// Control rows in order of their keys.
    async fn controls(
        &self,
        kind: ControlKind,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<ControlItem>, CatalogError>;
    /// What is left of its disk, and for whom. Whatever adds nothing is taken as long as anything can be written; when
    /// nothing can any more, this is the last.
    fn space(&self) -> Space;
    /// Whether changes that add something are taken.
    fn has_room(&self) -> bool {
        self.space() == Space::Room
    }
    /// Makes a change and its record durable together. With little room left a change that adds something is
    /// refused as `Full`.
    async fn commit(&self, commit: Commit) -> Result<Committed, CommitError>;
    /// Log entries in order.
    async fn records(&self, query: &RecordQuery) -> Result<Vec<LogItem>, CatalogError>;
    /// The log stream that this process writes to.
    fn stream(&self) -> u64;
    /// Garbage retired at or below a sequence.
    async fn garbage(&self, horizon: u64, limit: usize) -> Result<GarbagePage, CatalogError>;
    /// `Ok` while writes are taken, else why not.
    ///
    /// # Errors
    /// The write that failed.
    fn health(&self) -> Result<(), String>;
}
