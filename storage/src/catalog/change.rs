//! What may change together, and what a commit gives back.

use policy::id::{BodyId, BucketId, UploadId, VersionId};
use policy::name::ObjectKey;

use super::{BucketRow, BucketUpdate, ControlPut, GarbageRow, NewBody, PartRow, Refusal, UploadRow, VersionRow};
use crate::log::{LogPosition, Record};

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
