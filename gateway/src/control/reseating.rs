//! Tenants that lost their last administrator are given another by two persons of the platform, after three days.

use policy::id::{PrincipalId, ReseatingId, TenantId};
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::catalog::ControlKind;

use super::ControlRow;
use crate::approval::Asked;

/// A re-seating, from its request to the invitation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReseatingRow {
    /// Its id.
    pub id: ReseatingId,
    /// The tenant.
    pub tenant: TenantId,
    /// Name of the administrator that is to be invited.
    pub name: String,
    /// The request, and who signed it.
    #[serde(flatten)]
    pub asked: Asked,
    /// How far it is.
    pub state: ReseatingState,
}

/// How far a re-seating is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReseatingState {
    /// To be signed, first by whoever asked.
    Requested,
    /// Approved: the invitation may be fetched when it is due.
    Scheduled {
        /// When.
        due: UtcMillis,
    },
    /// An administrator was invited.
    Done {
        /// When.
        at: UtcMillis,
    },
    /// Called off, by the platform or the tenant.
    Cancelled {
        /// By whom.
        by: PrincipalId,
        /// When.
        at: UtcMillis,
    },
}

impl ReseatingRow {
    /// Its state for people, at a time.
    #[must_use]
    pub fn state_at(&self, now: UtcMillis) -> &'static str {
        match self.state {
            ReseatingState::Requested if self.asked.is_void(now) => "void",
            ReseatingState::Requested => "requested",
            ReseatingState::Scheduled { due } if now >= due => "due",
            ReseatingState::Scheduled { .. } => "scheduled",
            ReseatingState::Done { .. } => "done",
            ReseatingState::Cancelled { .. } => "cancelled",
        }
    }
}

impl ControlRow for ReseatingRow {
    const KIND: ControlKind = ControlKind::Reseating;
    fn id(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}
