//! The catalog at the level of meaning: what exists, in which order, and what may change together.
//!
//! Every change is checked and applied by one writer, in one
//! durable step with the access record that describes it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use policy::id::{BodyId, BucketId, TenantId, UploadId};
use policy::name::{BucketName, ObjectKey};

use crate::reserve::Space;

pub mod rows;
mod change;
mod control;
mod keys;
mod page;
mod query;
mod refusal;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(feature = "rocksdb")]
pub mod rocks;

pub use change::{Change, Commit, Committed, NewUpload, Precondition, PutVersion, Rewrap, Rewrapped};
pub use control::{Before, BucketUpdate, ControlItem, ControlKind, ControlPut};
pub use page::{ListItem, ListPage, ListedObject};
pub use query::{
    After, GarbagePage, ListQuery, LogItem, ObjectView, RecordQuery, StoredVersion, UploadItem, UploadPage, UploadQuery,
};
pub use refusal::{CatalogError, CommitError, Refusal};
pub use rows::{
    BodyRow, BodyState, BucketRow, CurrentRow, GarbageRow, Location, ManifestBody, NewBody, ObjectMark, PartRow,
    UploadRow, VersionRow, WrappedKey,
};

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
