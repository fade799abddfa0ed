//! Accesses of the platform to buckets of tenants: asked for by one of its persons, approved by another, over in hours.

use policy::id::{AccessId, BucketId, PrincipalId, TenantId};
use policy::name::BucketName;
use policy::reason::Reason;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::catalog::ControlKind;

use super::ControlRow;
use crate::approval::Asked;

/// An access, from its request to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRow {
    /// Its id.
    pub id: AccessId,
    /// Whose bucket it is.
    pub tenant: TenantId,
    /// The bucket.
    pub bucket: BucketId,
    /// Its name.
    pub bucket_name: BucketName,
    /// Why.
    pub reason: Reason,
    /// Hours from the approval until it is over.
    pub hours: u32,
    /// The request, and who signed it.
    #[serde(flatten)]
    pub asked: Asked,
    /// How far it is.
    pub state: AccessState,
}

/// How far an access is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessState {
    /// To be signed, first by whoever asked.
    Requested,
    /// Whoever asked may read the bucket.
    Open {
        /// Until then.
        until: UtcMillis,
    },
    /// Ended, or called off, before it was over.
    Ended {
        /// By whom.
        by: PrincipalId,
        /// When.
        at: UtcMillis,
    },
}

impl AccessRow {
    /// Until when this principal may read this bucket by it; none when it may not, or no more.
    #[must_use]
    pub fn serves(&self, principal: PrincipalId, bucket: BucketId, now: UtcMillis) -> Option<UtcMillis> {
        let AccessState::Open { until } = self.state else { return None };
        (self.asked.requester == principal && self.bucket == bucket && now < until).then_some(until)
    }

    /// Its state for people, at a time.
    #[must_use]
    pub fn state_at(&self, now: UtcMillis) -> &'static str {
        match self.state {
            AccessState::Requested if self.asked.is_void(now) => "void",
            AccessState::Requested => "requested",
            AccessState::Open { until } if now >= until => "over",
            AccessState::Open { .. } => "open",
            AccessState::Ended { .. } => "ended",
        }
    }
}

impl ControlRow for AccessRow {
    const KIND: ControlKind = ControlKind::Access;
    fn id(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}
