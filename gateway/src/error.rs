//! What can go wrong behind the S3 front, and the one place that chooses the S3 code for it.

use certs::files::CertError;
use http::StatusCode;
use policy::decide::Denial;
use policy::id::{BucketId, KeyId};
use s3s::{S3Error, S3ErrorCode};
use storage::catalog::{CatalogError, CommitError, Refusal};
use storage::error::StoreError;
use storage::placement::PlacementError;

use crate::provider::ProviderError;
use crate::seal::SealError;

/// A failure of the gateway.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The catalog could not be read.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// The catalog refused or could not write.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The chunk store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something sealed did not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The provider of a tenant key did not do what it was asked.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// A CA of the installation cannot sign.
    #[error("the CA: {0}")]
    Authority(#[from] CertError),
    /// The data directory or the root key's could not be written.
    #[error("{0}")]
    Home(String),
    /// An approval does not hold any more.
    #[error("{0}")]
    NotApproved(String),
    /// The node cannot sign what it says.
    #[error("this node cannot sign: {0}")]
    Unsigned(String),
    /// A key that was destroyed still opens something.
    #[error("the tenant key {0} was destroyed and still opens a bucket key")]
    StillOpens(KeyId),
    /// Its tenant key was destroyed.
    #[error("the tenant key {0} was destroyed")]
    KeyDestroyed(KeyId),
    /// Its tenant key is suspended, or is to be destroyed.
    #[error("the tenant key {0} is suspended")]
    KeySuspended(KeyId),
    /// The bucket is to be destroyed.
    #[error("the bucket {0} is to be destroyed")]
    BucketClosed(BucketId),
    /// The policy of its tenant key was changed since it was unwrapped: it is to be asked for anew.
    #[error("the policy of the tenant key was changed meanwhile")]
    KeyRetired,
    /// What the platform was let in for is over.
    #[error("the access that two persons approved is over")]
    AccessOver,
    /// The tenant's key does not let the platform in for its reason.
    #[error("the tenant key refuses the reason")]
    AccessRefused,
    /// Policy denied it after all.
    #[error("{}", .0.message())]
    Denied(Denial),
    /// No store may keep these bytes.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A row that must exist does not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A row of control state was not written by this platform, or not here.
    #[error("the row of {kind} {id} does not prove itself: it was changed, moved or forged in the catalog")]
    Forged {
        /// What it is a row of.
        kind: &'static str,
        /// Which.
        id: String,
    },
    /// Stored bytes make no sense.
    #[error("stored data is corrupt: {0}")]
    Corrupt(String),
    /// It is counted into one record with others, and that is not written, or not yet.
    #[error("the record of many requests is not written")]
    Folded,
    /// The disk does not answer.
    #[error("the disk does not answer in time")]
    Stalled,
    /// The client broke its own promise.
    #[error("{1}")]
    Client(S3ErrorCode, String),
}

impl Error {
    /// Whether the key of the bucket was rotated, or its tenant key has another policy, before the commit: it is to be made
    /// under the key as it is now.
    #[must_use]
    pub const fn is_rotation(&self) -> bool {
        matches!(self, Self::Commit(CommitError::Refused(Refusal::KeyRotated)) | Self::KeyRetired)
    }

    /// The same once more, of those that say why a tenant key cannot be used.
    #[must_use]
    pub fn of_key(&self) -> Self {
        match self {
            Self::KeySuspended(key) => Self::KeySuspended(*key),
            Self::KeyDestroyed(key) => Self::KeyDestroyed(*key),
            Self::Denied(denial) => Self::Denied(denial.clone()),
            Self::Provider(error) => Self::Provider(error.clone()),
            Self::Seal(error) => Self::Seal(error.clone()),
            _ => Self::Missing("the tenant key of an older version of a bucket key"),
        }
    }

    /// A refusal that is the client's fault.
    pub fn client(code: S3ErrorCode, message: impl Into<String>) -> Self {
        Self::Client(code, message.into())
    }
}

const CANNOT_WRITE: &str = "The store cannot write; an operator has been told";
const NO_ROOM: &str = "The store has no room for new objects; reads and deletes go on";

/// The one mapping from failures to S3 answers.
impl From<Error> for S3Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Client(code, message) => {
                let unknown = matches!(code, S3ErrorCode::Custom(_));
                let mut error = Self::with_message(code, message);
                if unknown {
                    // `s3s` takes a code that it does not know for a failure of the server.
                    error.set_status_code(StatusCode::BAD_REQUEST);
                }
                error
            }
            Error::Commit(CommitError::Refused(refusal)) => refused(&refusal),
            Error::Commit(CommitError::Poisoned(why)) => {
                tracing::error!(why, "the catalog takes no more writes");
                unavailable(CANNOT_WRITE)
            }
            Error::Store(StoreError::Poisoned(why)) => {
                tracing::error!(why, "the chunk store takes no more writes");
                unavailable(CANNOT_WRITE)
            }
            Error::Stalled => unavailable("The store does not answer in time; please try again"),
            Error::Commit(CommitError::Stopped) => unavailable("The server is stopping; please try again"),
            Error::Store(StoreError::Full { .. }) | Error::Placement(PlacementError::Full) => unavailable(NO_ROOM),
            Error::Store(StoreError::Busy(e)) => {
                Self::with_message(S3ErrorCode::SlowDown, format!("Please reduce your request rate: {e}"))
            }
            Error::KeyRetired => Self::with_message(
                S3ErrorCode::SlowDown,
                "The policy of the bucket's tenant key was changed; please try again",
            ),
            Error::AccessOver => Self::with_message(S3ErrorCode::AccessDenied, "The access that was approved is over"),
            Error::AccessRefused => Self::with_message(S3ErrorCode::AccessDenied, "Access Denied"),
            Error::Denied(denial) => Self::with_message(S3ErrorCode::AccessDenied, denial.message()),
            Error::KeyDestroyed(_) => kms(
                "KMS.NotFoundException",
                StatusCode::BAD_REQUEST,
                "The tenant key of this bucket was destroyed. What hung on it is erased",
            ),
            Error::KeySuspended(_) => kms(
                "KMS.DisabledException",
                StatusCode::BAD_REQUEST,
                "The tenant key of this bucket is suspended or to be destroyed. Ask a key administrator of the tenant",
            ),
            Error::BucketClosed(_) => kms(
                "KMS.DisabledException",
                StatusCode::BAD_REQUEST,
                "The bucket is to be destroyed. Ask a key administrator of the tenant",
            ),
            Error::Provider(error) => provider(error),
            Error::Placement(e) => {
                Self::with_message(S3ErrorCode::AccessDenied, format!("No store may keep these bytes: {e}"))
            }
            other => {
                tracing::error!(error = %other, "request failed inside");
                Self::with_message(S3ErrorCode::InternalError, inside(&other))
            }
        }
    }
}

/// The codes are those that S3 clients know of AWS for its own key service.
fn kms(code: &str, status: StatusCode, message: &str) -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::Custom(code.into()), message.to_owned());
    error.set_status_code(status);
    error
}

fn provider(error: ProviderError) -> S3Error {
    match error {
        ProviderError::Unavailable { .. } => kms(
            "KMS.DependencyTimeoutException",
            StatusCode::SERVICE_UNAVAILABLE,
            "The provider of this bucket's tenant key does not answer, so nothing of the bucket can be opened. Please try again",
        ),
        ProviderError::Refused { .. } => kms(
            "KMS.InvalidStateException",
            StatusCode::CONFLICT,
            "The provider of this bucket's tenant key refuses to unwrap it. Ask a key administrator of the tenant",
        ),
        ProviderError::Unknown(_) => kms(
            "KMS.NotFoundException",
            StatusCode::BAD_REQUEST,
            "The provider of this bucket's tenant key is not configured at this server",
        ),
        ProviderError::Seal(error) => Error::Seal(error).into(),
    }
}

fn inside(error: &Error) -> &'static str {
    match error {
        Error::Seal(_) => {
            "The object does not open under its key: it was changed or moved in the store. It has been reported and is not served"
        }
        Error::Store(StoreError::Corrupt { .. }) => {
            "A stored chunk of the object is corrupt. It has been reported and is not served"
        }
        Error::Forged { .. } => {
            "A catalog row that the request depends on was changed in the store. It has been reported and is not used"
        }
        Error::Catalog(CatalogError::Corrupt(_)) | Error::Corrupt(_) => {
            "A catalog row of the object is corrupt. It has been reported and is not served"
        }
        _ => "We encountered an internal error. Please try again",
    }
}

fn refused(refusal: &Refusal) -> S3Error {
    let (code, message) = match refusal {
        Refusal::PreconditionFailed => {
            (S3ErrorCode::PreconditionFailed, "At least one of the pre-conditions you specified did not hold")
        }
        Refusal::NotFound => (S3ErrorCode::NoSuchKey, "The specified key does not exist."),
        Refusal::BucketGone => (S3ErrorCode::NoSuchBucket, "The specified bucket does not exist"),
        Refusal::BucketExists { .. } => {
            (S3ErrorCode::BucketAlreadyExists, "The requested bucket name is not available")
        }
        Refusal::BucketNotEmpty => (S3ErrorCode::BucketNotEmpty, "The bucket you tried to delete is not empty"),
        Refusal::UploadGone => (
            S3ErrorCode::NoSuchUpload,
            "The specified multipart upload does not exist. The upload ID might be invalid, or it might have been aborted or completed.",
        ),
        Refusal::BodyGone => (S3ErrorCode::SlowDown, "The object changed while it was copied; please try again"),
        Refusal::Damaged => {
            (S3ErrorCode::InternalError, "A catalog row of the object is corrupt. It has been reported and stays")
        }
        Refusal::Busy => (S3ErrorCode::SlowDown, "What was deleted in the bucket is being tidied up; please try again"),
        Refusal::KeyRotated => (S3ErrorCode::SlowDown, "The key of the bucket was rotated; please try again"),
        Refusal::Full => (S3ErrorCode::ServiceUnavailable, NO_ROOM),
        Refusal::Exists | Refusal::Changed => {
            (S3ErrorCode::OperationAborted, "A conflicting operation is in progress; please try again")
        }
    };
    S3Error::with_message(code, message)
}

fn unavailable(message: &'static str) -> S3Error {
    S3Error::with_message(S3ErrorCode::ServiceUnavailable, message)
}
