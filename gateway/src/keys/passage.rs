//! Why a key is asked for, and how long what it opened may be used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use policy::reason::Reason;

use super::{BucketKey, Gates, KeyRing};
use crate::clock;
use crate::context::RequestContext;
use crate::control::{Bucket, TenantKeyRow};
use crate::error::Error;
use crate::gateway::Gateway;
use crate::provider::ProviderError;
use crate::record::{Content, Control, Recorder};

/// Why a key is asked for, and who puts it on record when a provider is asked.
#[derive(Debug, Clone, Copy)]
pub struct Purpose<'a> {
    /// Why.
    pub reason: Reason,
    /// The request that needs it; none of what the server does by itself.
    pub request: Option<&'a RequestContext>,
    /// Puts it on record.
    pub recorder: &'a Recorder,
}

impl Purpose<'_> {
    /// The error as whoever asks is told it; the request notes by which rule its key refused it.
    /// The platform, where it was let in, is told no rule of the tenant (SECURITY.md rule 9).
    pub fn told(&self, error: Error) -> Error {
        let (Some(request), Error::Denied(denial)) = (self.request, &error) else { return error };
        request.denied(denial);
        if request.access().is_some() { Error::AccessRefused } else { error }
    }
}

impl Gateway {
    /// What a request uses keys for.
    #[must_use]
    pub fn purpose<'a>(&'a self, request: &'a RequestContext) -> Purpose<'a> {
        Purpose { reason: request.reason(), request: Some(request), recorder: &self.recorder }
    }

    /// What the server uses keys for by itself.
    #[must_use]
    pub fn own_purpose(&self, reason: Reason) -> Purpose<'_> {
        Purpose { reason, request: None, recorder: &self.recorder }
    }
}

/// How often the policy of a key may be changed while one commit waits for it.
const RENEWALS: usize = 3;

/// Puts on record that a provider was asked to unwrap something, why, and what came of it: before anything that it gave is
/// used.
pub(super) async fn on_record(
    purpose: Purpose<'_>,
    key: &TenantKeyRow,
    what: &str,
    failed: Option<&ProviderError>,
) -> Result<(), Error> {
    if let Some(ProviderError::Unavailable { asked: false, .. } | ProviderError::Unknown(_)) = failed {
        // It did not come to a provider.
        return Ok(());
    }
    let (name, version, provider) = (&key.name, key.current()?.number, key.provider.name());
    let asked = match purpose.request {
        Some(request) => format!("request {}", request.id),
        None => "the server itself".to_owned(),
    };
    let came = failed.map_or_else(|| "unwrapped".to_owned(), |error| format!("not unwrapped: {error}"));
    let detail = format!(
        "reason {}: {what}, by tenant key {name} ({}, version {version}) of {provider}, for {asked}: {came}",
        purpose.reason.code(),
        key.id
    );
    let content = Content::Control(Control { event: "tenant-key-used".to_owned(), detail });
    purpose.recorder.append(Some(key.tenant), clock::now(), &content).await?;
    Ok(())
}

/// Leave to go on using what a bucket key opened, for one reason, as long as nothing says otherwise: a suspension, another
/// policy of its tenant key, the end of what the platform was let in for, or, when the time is over that a key may be kept,
/// its provider (SECURITY.md rule 19).
pub struct Passage {
    keys: Arc<KeyRing>,
    recorder: Arc<Recorder>,
    request: Arc<RequestContext>,
    bucket: Bucket,
    reason: Reason,
    /// The version of the bucket key that it hangs on.
    version: u32,
    now: Mutex<(Gates, Instant)>,
}

impl std::fmt::Debug for Passage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Passage").field("bucket", &self.bucket.id).field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl Passage {
    /// For what a key of a bucket opens in a request.
    ///
    /// # Errors
    /// `Malformed` when the key has no version.
    pub fn new(
        gateway: &Gateway,
        request: &Arc<RequestContext>,
        bucket: &Bucket,
        key: &BucketKey,
        version: u32,
    ) -> Result<Self, Error> {
        Ok(Self {
            keys: Arc::clone(&gateway.keys),
            recorder: Arc::clone(&gateway.recorder),
            request: Arc::clone(request),
            bucket: bucket.clone(),
            reason: request.reason(),
            version,
            now: Mutex::new((key.gates_of(version)?.clone(), key.until)),
        })
    }

    fn now(&self) -> MutexGuard<'_, (Gates, Instant)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks before something more of it is opened.
    ///
    /// # Errors
    /// `KeySuspended`, `BucketClosed`, `Denied`, and `Provider` when the key's time is over and its provider does not
    /// unwrap it again.
    pub async fn pass(&self) -> Result<(), Error> {
        if let Some(access) = self.request.access() {
            access.gate.pass(self.reason)?;
            if access.until <= clock::now() {
                return Err(Error::AccessOver);
            }
        }
        let fresh = {
            let (gates, until) = &*self.now();
            gates.pass(self.reason)?;
            // Behind a retired gate nobody would be told of what comes after.
            gates.stand() && Instant::now() < *until
        };
        if fresh { Ok(()) } else { self.renew().await }
    }

    /// Asks before a commit of something that hangs on it, and keeps the gates open until it is made.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub async fn hold(&self) -> Result<super::Held, Error> {
        for _ in 0..RENEWALS {
            self.pass().await?;
            let gates = self.now().0.clone();
            match gates.hold(self.reason).await {
                Err(Error::KeyRetired) => {}
                other => return other,
            }
        }
        Err(Error::KeyRetired)
    }

    async fn renew(&self) -> Result<(), Error> {
        let purpose = Purpose { reason: self.reason, request: Some(&self.request), recorder: &self.recorder };
        let key = self.keys.bucket_key_now(&self.bucket, purpose).await?;
        key.pass(self.version, self.reason).map_err(|error| purpose.told(error))?;
        // A version that is not there any more has left all that hung on it to the one that is.
        let gates = key.gates_of(self.version).or_else(|_| key.gates())?.clone();
        gates.pass(self.reason)?;
        *self.now() = (gates, key.until);
        Ok(())
    }
}
