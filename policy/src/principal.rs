//! Who asks.

use serde::{Deserialize, Serialize};

use crate::id::{PrincipalId, TenantId};

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the platform: tenants, principals, credentials, the log. Reads no object.
    PlatformAdministrator,
    /// Uses the S3 interface within one tenant.
    Engineer,
}

/// An authenticated principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Its tenant; none for the platform's own principals.
    pub tenant: Option<TenantId>,
    /// Its id.
    pub principal: PrincipalId,
    /// Its role.
    pub role: Role,
    /// False once disabled.
    pub active: bool,
}
