//! Destructions of tenant keys: asked for by one person, approved by another, done when they are due.

use policy::id::{BucketId, DestructionId, KeyId, PrincipalId, TenantId};
use policy::name::BucketName;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::catalog::ControlKind;

use super::ControlRow;
use crate::approval::Asked;

/// A destruction, from its request to its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DestructionRow {
    /// Its id.
    pub id: DestructionId,
    /// Whose keys they are.
    pub tenant: TenantId,
    /// The keys; of a bucket those that it hangs on, which go on with another version.
    pub keys: Vec<KeyId>,
    /// The bucket, when it is one that goes and not its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bucket: Option<(BucketId, BucketName)>,
    /// Buckets that hung on other keys before, and these: they are not destroyed with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<(BucketName, KeyId)>,
    /// The request, and who signed it.
    #[serde(flatten)]
    pub asked: Asked,
    /// Days from the approval until it is due; 0 where the law says now.
    pub waiting_days: u32,
    /// How far it is.
    pub state: DestructionState,
}

/// How far a destruction is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DestructionState {
    /// To be signed, first by whoever asked.
    Requested,
    /// Approved: the keys open nothing, and when it is due they are destroyed.
    Scheduled {
        /// When.
        due: UtcMillis,
    },
    /// The signatures were verified once more, and the keys are being destroyed. It cannot be called off any more.
    Destroying {
        /// Keys whose providers were asked, or are about to be.
        asked: Vec<KeyId>,
        /// What they did and saw.
        answers: Vec<KeyAnswer>,
        /// Of a bucket: the versions of keys that whatever survives is wrapped by. Those before them go.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<(KeyId, u32)>,
    },
    /// The keys are destroyed; what hung on them is being removed.
    Removing {
        /// When the last of them was.
        at: UtcMillis,
        /// What each provider did and saw.
        answers: Vec<KeyAnswer>,
        /// The root keys before and after, when one of the keys was the sealed file's.
        round: Option<(KeyId, KeyId)>,
        /// Bucket keys that hung on them and were tried with all that is stored: none opened. None before that.
        checked: Option<u64>,
        /// What hung on them.
        contents: Vec<Contents>,
        /// As before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<(KeyId, u32)>,
    },
    /// Done.
    Done {
        /// When.
        at: UtcMillis,
        /// The signed certificate: JSON, byte for byte.
        certificate: String,
    },
    /// Called off before it was due.
    Cancelled {
        /// By whom.
        by: PrincipalId,
        /// When.
        at: UtcMillis,
    },
}

/// What a provider did to a key, and saw then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAnswer {
    /// The key.
    pub key: KeyId,
    /// Its provider's words.
    pub answer: String,
    /// When.
    pub at: UtcMillis,
}

/// What a bucket held when its key was destroyed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contents {
    /// Its name.
    pub bucket: String,
    /// Objects.
    pub objects: u64,
    /// Uploads that had begun.
    pub uploads: u64,
    /// Plaintext bytes of the objects.
    pub bytes: u64,
}

impl ControlRow for DestructionRow {
    const KIND: ControlKind = ControlKind::Destruction;
    fn id(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}
