//! Rotations of bucket keys.

use policy::id::{BucketId, KeyId, TenantId};
use policy::name::BucketName;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::catalog::ControlKind;

use super::ControlRow;

/// The rotation of a bucket's key: how far its envelopes were wrapped anew. It stays when it is done, as the proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewrapRow {
    /// The bucket.
    pub bucket: BucketId,
    /// Its name.
    pub name: BucketName,
    /// Its owner.
    pub tenant: TenantId,
    /// The bucket key.
    pub key: KeyId,
    /// The version that envelopes are wrapped by.
    pub to: u32,
    /// When it began.
    pub began: UtcMillis,
    /// Objects that the bucket had then.
    pub total: u64,
    /// Envelopes that were wrapped anew.
    pub done: u64,
    /// The name that the sweep under way came to.
    pub after: Option<String>,
    /// Envelopes a second at most, when it was asked for.
    pub per_second: Option<u32>,
    /// What became of it.
    pub state: RewrapState,
}

/// What became of a rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewrapState {
    /// Envelopes are being wrapped.
    Running,
    /// Envelopes that do not open keep the older versions where they are.
    Held {
        /// How many.
        damaged: u64,
    },
    /// Nothing hangs on the older versions any more, and they are gone.
    Done {
        /// When that was found.
        at: UtcMillis,
        /// Versions of objects that were looked at.
        versions: u64,
        /// Uploads that were looked at.
        uploads: u64,
        /// The older versions of the key, under which there are no envelopes.
        older: Vec<u32>,
    },
}

impl ControlRow for RewrapRow {
    const KIND: ControlKind = ControlKind::Rewrap;
    fn id(&self) -> Vec<u8> {
        self.bucket.as_bytes().to_vec()
    }
}
