//! Who asks.

use serde::{Deserialize, Serialize};

use crate::id::{PrincipalId, TenantId};

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the platform: tenants, principals, credentials, the log. Reads no object.
    PlatformAdministrator,
    /// Uses the S3 interface within one tenant. Sees no key.
    Engineer,
    /// Manages the keys of one tenant. Reads no object.
    KeyAdministrator,
    /// Reads the access log and the key ledger of one tenant. Reads no object, changes nothing.
    ComplianceOfficer,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] =
        [Self::PlatformAdministrator, Self::Engineer, Self::KeyAdministrator, Self::ComplianceOfficer];

    /// Its name in the admin API and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlatformAdministrator => "platform-administrator",
            Self::Engineer => "engineer",
            Self::KeyAdministrator => "key-administrator",
            Self::ComplianceOfficer => "compliance-officer",
        }
    }

    /// Whether a principal with it belongs to a tenant, rather than to the platform.
    #[must_use]
    pub const fn is_of_a_tenant(self) -> bool {
        match self {
            Self::PlatformAdministrator => false,
            Self::Engineer | Self::KeyAdministrator | Self::ComplianceOfficer => true,
        }
    }
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
