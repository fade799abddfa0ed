//! What can be asked for.

use crate::principal::Role;

macro_rules! operations {
    ($($variant:ident),* $(,)?) => {
        /// An operation of the S3 interface or of the admin API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Operation {
            $(#[doc = concat!("`", stringify!($variant), "` of S3.")] $variant,)*
            /// An S3 operation that this server answers with 501.
            Unimplemented,
            /// Refused before it was known what it is.
            Unparsed,
            /// An operation of the admin API.
            Admin(AdminOperation),
        }

        impl Operation {
            /// The operation that S3 calls by this name.
            #[must_use]
            pub fn from_s3_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($variant) => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// Its name, as records and messages show it.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant),)*
                    Self::Unimplemented => "Unimplemented",
                    Self::Unparsed => "Unparsed",
                    Self::Admin(operation) => operation.name(),
                }
            }

            /// Every S3 operation that is served.
            pub const S3: &'static [Self] = &[$(Self::$variant),*];
        }
    };
}

operations! {
    ListBuckets, CreateBucket, HeadBucket, DeleteBucket, GetBucketLocation, GetBucketVersioning,
    PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects, CopyObject,
    ListObjects, ListObjectsV2,
    CreateMultipartUpload, UploadPart, UploadPartCopy, ListParts, ListMultipartUploads,
    CompleteMultipartUpload, AbortMultipartUpload,
}

impl Operation {
    /// Whether it puts a tenant's data at rest, so that the places where bytes would rest are judged.
    #[must_use]
    pub const fn stores_bytes(&self) -> bool {
        matches!(
            self,
            Self::PutObject
                | Self::CopyObject
                | Self::CreateMultipartUpload
                | Self::UploadPart
                | Self::UploadPartCopy
                | Self::CompleteMultipartUpload
                | Self::CreateBucket
        )
    }

    /// Whether it reads and changes nothing, of one bucket: what the platform may do where it was let in.
    #[must_use]
    pub const fn reads_bucket(&self) -> bool {
        matches!(
            self,
            Self::HeadBucket
                | Self::GetBucketLocation
                | Self::GetObject
                | Self::HeadObject
                | Self::ListObjects
                | Self::ListObjectsV2
        )
    }

    /// Whether it needs a bucket that exists.
    #[must_use]
    pub const fn needs_bucket(&self) -> bool {
        !matches!(self, Self::ListBuckets | Self::CreateBucket | Self::Unimplemented | Self::Unparsed | Self::Admin(_))
    }
}

macro_rules! admin {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// An operation of the admin API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum AdminOperation {
            $(#[doc = concat!("`", $name, "`.")] $variant,)*
        }

        impl AdminOperation {
            /// Its name, as records and messages show it.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant => concat!("admin:", $name),)* }
            }

            /// Every operation of the admin API.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];
        }
    };
}

admin! {
    TenantCreate = "TenantCreate",
    TenantList = "TenantList",
    TenantInvite = "TenantInvite",
    TenantReseat = "TenantReseat",
    TenantReseatSign = "TenantReseatSign",
    TenantReseatCancel = "TenantReseatCancel",
    TenantReseatInvite = "TenantReseatInvite",
    TenantReseatList = "TenantReseatList",
    TenantReseatShow = "TenantReseatShow",
    Enrol = "Enrol",
    PrincipalCreate = "PrincipalCreate",
    PrincipalList = "PrincipalList",
    PrincipalDisable = "PrincipalDisable",
    CredentialCreate = "CredentialCreate",
    CredentialList = "CredentialList",
    CredentialRevoke = "CredentialRevoke",
    BucketResidency = "BucketResidency",
    AuditList = "AuditList",
    KeyCreate = "KeyCreate",
    KeyList = "KeyList",
    KeyShow = "KeyShow",
    KeyRotate = "KeyRotate",
    KeySuspend = "KeySuspend",
    KeyResume = "KeyResume",
    KeyDefault = "KeyDefault",
    KeySchedule = "KeySchedule",
    KeyPolicy = "KeyPolicy",
    KeyAlias = "KeyAlias",
    KeyUnalias = "KeyUnalias",
    KeyAliasList = "KeyAliasList",
    KeyLedger = "KeyLedger",
    KeyRotateBucket = "KeyRotateBucket",
    KeyRotationList = "KeyRotationList",
    ApproverEnrol = "ApproverEnrol",
    KeyDestroy = "KeyDestroy",
    KeyDestroySign = "KeyDestroySign",
    KeyDestroyCancel = "KeyDestroyCancel",
    KeyDestructionList = "KeyDestructionList",
    KeyDestructionShow = "KeyDestructionShow",
    AccessRequest = "AccessRequest",
    AccessSign = "AccessSign",
    AccessEnd = "AccessEnd",
    AccessList = "AccessList",
    AccessShow = "AccessShow",
    KeyImportBegin = "KeyImportBegin",
    RootReplace = "RootReplace",
    MachineInvite = "MachineInvite",
    MachineSign = "MachineSign",
    MachineRevoke = "MachineRevoke",
    MachineList = "MachineList",
    MachineShow = "MachineShow",
    CertificateIssue = "CertificateIssue",
}

impl AdminOperation {
    /// The roles that it is for.
    #[must_use]
    pub const fn roles(self) -> &'static [Role] {
        use Role::{Auditor, ComplianceOfficer, KeyAdministrator, Machine, PlatformAdministrator, TenantAdministrator};
        match self {
            Self::TenantCreate
            | Self::TenantList
            | Self::TenantInvite
            | Self::TenantReseat
            | Self::TenantReseatSign
            | Self::TenantReseatInvite
            | Self::AccessRequest
            | Self::AccessSign
            | Self::MachineInvite
            | Self::MachineSign
            | Self::MachineRevoke
            | Self::MachineList
            | Self::MachineShow
            | Self::RootReplace => &[PlatformAdministrator],
            Self::CertificateIssue => &[Machine],
            Self::Enrol => &Role::ALL,
            Self::PrincipalCreate
            | Self::PrincipalList
            | Self::PrincipalDisable
            | Self::CredentialCreate
            | Self::CredentialList
            | Self::CredentialRevoke
            | Self::BucketResidency => &[PlatformAdministrator, TenantAdministrator],
            Self::AuditList => &[PlatformAdministrator, ComplianceOfficer, Auditor],
            Self::ApproverEnrol => &[PlatformAdministrator, KeyAdministrator],
            Self::AccessEnd => &[PlatformAdministrator, TenantAdministrator, KeyAdministrator, ComplianceOfficer],
            Self::TenantReseatCancel => &[PlatformAdministrator, TenantAdministrator],
            Self::AccessList | Self::AccessShow | Self::TenantReseatList | Self::TenantReseatShow => {
                &[PlatformAdministrator, TenantAdministrator, KeyAdministrator, ComplianceOfficer, Auditor]
            }
            Self::KeyList
            | Self::KeyShow
            | Self::KeyLedger
            | Self::KeyAliasList
            | Self::KeyRotationList
            | Self::KeyDestructionList
            | Self::KeyDestructionShow => &[KeyAdministrator, ComplianceOfficer, Auditor],
            Self::KeyCreate
            | Self::KeyImportBegin
            | Self::KeyRotate
            | Self::KeySuspend
            | Self::KeyResume
            | Self::KeyDefault
            | Self::KeySchedule
            | Self::KeyPolicy
            | Self::KeyAlias
            | Self::KeyUnalias
            | Self::KeyRotateBucket
            | Self::KeyDestroy
            | Self::KeyDestroySign
            | Self::KeyDestroyCancel => &[KeyAdministrator],
        }
    }

    /// Whether it may be a tenant's own matter, whose record is then in the tenant's log.
    #[must_use]
    pub fn is_of_tenants(self) -> bool {
        self.roles().iter().any(|role| role.is_of_a_tenant())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        for operation in Operation::S3 {
            assert_eq!(Operation::from_s3_name(operation.name()), Some(*operation));
        }
        assert_eq!(Operation::from_s3_name("PutBucketAcl"), None);
    }
}
