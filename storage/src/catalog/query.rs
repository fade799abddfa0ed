//! What is asked of the catalog, and what it answers.

use bytes::Bytes;
use policy::id::{BodyId, BucketId, UploadId};
use policy::name::ObjectKey;

use super::{CatalogError, CurrentRow, GarbageRow, UploadRow, VersionRow};
use crate::log::{LogEntry, LogPosition};

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
