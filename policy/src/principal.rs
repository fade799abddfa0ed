//! Who asks.

use serde::{Deserialize, Serialize};

use crate::id::{PrincipalId, TenantId};

/// What a principal may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the platform: tenants, principals, credentials, the log. Reads no object.
    PlatformAdministrator,
    /// Makes the principals and credentials of one tenant. Reads no object, sees no key, reads no log.
    TenantAdministrator,
    /// Uses the S3 interface within one tenant. Sees no key.
    Engineer,
    /// Manages the keys of one tenant. Reads no object.
    KeyAdministrator,
    /// Reads the access log and the key ledger of one tenant, and ends what the platform was let in for. Reads no object.
    ComplianceOfficer,
    /// Reads what the compliance officer reads, from outside, and ends nothing.
    Auditor,
    /// A machine of the platform, which asks for certificates of its own and for nothing else.
    Machine,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 7] = [
        Self::PlatformAdministrator,
        Self::TenantAdministrator,
        Self::Engineer,
        Self::KeyAdministrator,
        Self::ComplianceOfficer,
        Self::Auditor,
        Self::Machine,
    ];

    /// Its name in the admin API and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PlatformAdministrator => "platform-administrator",
            Self::TenantAdministrator => "tenant-administrator",
            Self::Engineer => "engineer",
            Self::KeyAdministrator => "key-administrator",
            Self::ComplianceOfficer => "compliance-officer",
            Self::Auditor => "auditor",
            Self::Machine => "machine",
        }
    }

    /// Whether a principal with it belongs to a tenant, rather than to the platform.
    #[must_use]
    pub const fn is_of_a_tenant(self) -> bool {
        match self {
            Self::PlatformAdministrator | Self::Machine => false,
            Self::TenantAdministrator
            | Self::Engineer
            | Self::KeyAdministrator
            | Self::ComplianceOfficer
            | Self::Auditor => true,
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
    /// It holds an invitation, which is exchanged for a credential before anything else.
    pub invited: bool,
}
