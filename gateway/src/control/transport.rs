//! Transport keys: what a tenant wraps its own keys to, to bring them here.

use policy::id::{TenantId, TransportId};
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::catalog::ControlKind;

use super::ControlRow;

/// A pair of keys whose private half waits for one key to be brought.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TransportRow {
    /// Its id.
    pub id: TransportId,
    /// Who brings a key.
    pub tenant: TenantId,
    /// When it was made.
    pub created: UtcMillis,
    /// Until when it serves.
    pub until: UtcMillis,
    /// The private half (PKCS#8), sealed under the platform's key; empty once it was used.
    pub sealed: Vec<u8>,
}

impl ControlRow for TransportRow {
    const KIND: ControlKind = ControlKind::Transport;
    fn id(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}
