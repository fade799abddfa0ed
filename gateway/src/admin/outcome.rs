//! What requests of the admin API do when they are permitted.

use policy::id::{KeyId, TenantId};
use policy::name::BucketName;
use policy::reason::Reasons;
use serde_json::Value;
use storage::catalog::{BucketUpdate, ControlPut};
use tokio::sync::OwnedMutexGuard;

use super::destructions::Still;
use crate::control::TenantKeyRow;
use crate::keys::{Behind, Held};

/// What an API request does when it is permitted: rows to commit with its record, and the answer.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) rows: Vec<ControlPut>,
    pub(super) buckets: Vec<BucketUpdate>,
    /// The key that it is about.
    pub(super) key: Option<(KeyId, u32)>,
    /// The bucket that it is about.
    pub(super) bucket: Option<BucketName>,
    /// What else it is about: the id of a destruction.
    pub(super) subject: Option<String>,
    /// The tenant in whose log its record is, where that is not of whoever asks.
    pub(super) log: Option<TenantId>,
    pub(super) then: Then,
    /// What must still hold when its gates are held.
    pub(super) still: Option<Box<Still>>,
    /// A key that was made at a provider, to be destroyed there when it is not committed.
    pub(super) made: Option<Box<TenantKeyRow>>,
    /// Held until it is committed.
    pub(super) turn: Option<OwnedMutexGuard<()>>,
    pub(super) answer: Value,
}

/// What follows from a commit in this process.
#[derive(Default)]
pub(super) enum Then {
    #[default]
    Nothing,
    /// Accounts are read anew.
    ForgetAccounts,
    /// Nothing is opened or sealed behind these gates any more.
    Close(Vec<Behind>),
    /// A tenant key has another policy.
    Refuse(KeyId, Reasons),
    /// There are envelopes to wrap anew.
    Rewrap {
        /// Until it is committed a suspension waits.
        _held: Option<Held>,
    },
}

impl Outcome {
    pub(super) fn answer(answer: Value) -> Self {
        Self { answer, ..Self::default() }
    }

    pub(super) fn rows(rows: Vec<ControlPut>, answer: Value) -> Self {
        Self { rows, answer, ..Self::default() }
    }
}
