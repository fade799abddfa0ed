//! How requests of the admin API fail.

use http::StatusCode;
use policy::decide::Denial;
use policy::id::TenantId;
use storage::catalog::{CommitError, Refusal};

use crate::error::Error;
use crate::provider::ProviderError;

/// An API request was refused or failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) message: String,
    /// Methods that the resource has, where another was asked for.
    pub(super) allow: Option<String>,
    /// The rule that decided behind the first decision.
    pub(super) denial: Option<Box<Denial>>,
    /// The tenant in whose log it is, where that is not of whoever asks.
    pub(super) log: Option<TenantId>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), allow: None, denial: None, log: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Commit(CommitError::Refused(Refusal::Exists)) => {
                Self::new(StatusCode::CONFLICT, "it exists already")
            }
            Error::Commit(CommitError::Refused(Refusal::Changed)) => {
                Self::new(StatusCode::CONFLICT, "it was changed meanwhile: look at it, and try again")
            }
            Error::Commit(
                CommitError::Refused(Refusal::Full | Refusal::Busy) | CommitError::Stopped | CommitError::Poisoned(_),
            )
            | Error::Stalled => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            Error::Commit(CommitError::Refused(refusal)) => Self::new(StatusCode::CONFLICT, refusal.to_string()),
            Error::KeySuspended(_) => Self::new(
                StatusCode::CONFLICT,
                "the tenant key is suspended: resume it first; or it is to be destroyed",
            ),
            Error::BucketClosed(_) => {
                Self::new(StatusCode::CONFLICT, "the bucket is to be destroyed: cancel that first")
            }
            Error::KeyRetired => Self::new(StatusCode::CONFLICT, "the key was changed meanwhile: try again"),
            Error::KeyDestroyed(_) => Self::new(StatusCode::CONFLICT, error.to_string()),
            Error::Denied(denial) => {
                Self { denial: Some(Box::new(denial.clone())), ..Self::new(StatusCode::FORBIDDEN, denial.message()) }
            }
            Error::Provider(ProviderError::Unavailable { .. }) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
            Error::Provider(ProviderError::Refused { .. } | ProviderError::Unknown(_)) => {
                Self::new(StatusCode::CONFLICT, error.to_string())
            }
            // Its words name files of this machine.
            Error::Authority(_) => {
                tracing::error!(%error, "a certificate was not signed");
                let why = "the CA cannot sign now: the server's log says why, and whether the root's key is wanted";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
            }
            _ => {
                tracing::error!(%error, "an admin request failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; its log says why")
            }
        }
    }
}
