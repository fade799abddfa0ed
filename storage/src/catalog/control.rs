//! Rows that only the gateway understands, and settings of buckets.

use super::BucketRow;

/// Key spaces of rows that only the gateway understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlKind {
    /// The platform's own.
    Platform,
    /// Tenants by id.
    Tenant,
    /// Tenant names.
    TenantName,
    /// Tenant keys by id.
    TenantKey,
    /// Principals by id.
    Principal,
    /// Credentials by access key.
    Credential,
    /// Tenant keys by tenant and name.
    KeyName,
    /// Rotations of bucket keys by bucket.
    Rewrap,
    /// Destructions of tenant keys by id.
    Destruction,
    /// Accesses of the platform to buckets of tenants by id.
    Access,
    /// Transport keys, which tenants wrap keys to, by id.
    Transport,
    /// Requests to give a tenant another administrator, by id.
    Reseating,
    /// Machines by principal.
    Machine,
}

impl ControlKind {
    /// Every kind.
    pub const ALL: [Self; 13] = [
        Self::Platform,
        Self::Tenant,
        Self::TenantName,
        Self::TenantKey,
        Self::Principal,
        Self::Credential,
        Self::KeyName,
        Self::Rewrap,
        Self::Destruction,
        Self::Access,
        Self::Transport,
        Self::Reseating,
        Self::Machine,
    ];

    /// The byte that stands for it in keys and proofs.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Platform => 1,
            Self::Tenant => 2,
            Self::TenantName => 3,
            Self::TenantKey => 4,
            Self::Principal => 5,
            Self::Credential => 6,
            Self::KeyName => 7,
            Self::Rewrap => 8,
            Self::Destruction => 9,
            Self::Access => 10,
            Self::Transport => 11,
            Self::Reseating => 12,
            Self::Machine => 13,
        }
    }

    /// Its name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::Tenant => "tenant",
            Self::TenantName => "tenant name",
            Self::TenantKey => "tenant key",
            Self::Principal => "principal",
            Self::Credential => "credential",
            Self::KeyName => "name of a tenant key",
            Self::Rewrap => "rotation of a bucket key",
            Self::Destruction => "destruction of tenant keys",
            Self::Access => "access of the platform",
            Self::Transport => "transport key",
            Self::Reseating => "re-seating",
            Self::Machine => "machine",
        }
    }
}

/// Key and row of a control row.
pub type ControlItem = (Vec<u8>, Vec<u8>);

/// One control row to be written.
#[derive(Debug, Clone)]
pub struct ControlPut {
    /// Key space.
    pub kind: ControlKind,
    /// Key.
    pub id: Vec<u8>,
    /// Row.
    pub value: Vec<u8>,
    /// What must stand there, else nothing is written.
    pub before: Before,
}

/// What must stand in the place of a control row that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// Anything or nothing.
    Any,
    /// Nothing.
    Absent,
    /// This row, which the new one was made from.
    Is(Vec<u8>),
}

/// Other settings of a bucket: same id, same name.
#[derive(Debug, Clone)]
pub struct BucketUpdate {
    /// The row as it will be.
    pub row: BucketRow,
    /// Proof of the row that it was made from; nothing is written when another one stands there.
    pub was: [u8; 32],
}
