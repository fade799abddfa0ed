//! Key providers: who holds tenant keys. A provider wraps and unwraps bucket keys; that is all that is asked of it
//! while objects are read and written, once per bucket and time that a key is kept.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use policy::id::{KeyId, TenantId};
use policy::place::VerifiedPlace;
use policy::reason::Reason;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::control::{KeyVersionRow, Origin, TenantKeyRow};
use crate::keys::BUCKET_KEY_TTL;
use crate::seal::wrap::WrapContext;
use crate::seal::{SealError, SecretKey, Suite};

pub mod guard;
pub mod hyok;
pub mod openbao;
pub mod pkcs11;
pub mod sealed_file;

/// Which provider holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProviderKind {
    /// The root key of this machine wraps it.
    SealedFile,
    /// The Transit engine of an OpenBao or Vault server.
    Openbao,
    /// A token of a hardware security module.
    Pkcs11,
    /// The tenant's own OpenBao or Vault server.
    Hyok,
}

impl ProviderKind {
    /// Its name, as administrators and metrics give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SealedFile => "sealed-file",
            Self::Openbao => "openbao",
            Self::Pkcs11 => "pkcs11",
            Self::Hyok => "hyok",
        }
    }

    /// It does not answer.
    fn unavailable(self, why: impl Into<String>) -> ProviderError {
        ProviderError::Unavailable { provider: self, why: why.into(), asked: true }
    }

    /// It answers, and will not.
    fn refused(self, why: impl Into<String>) -> ProviderError {
        ProviderError::Refused { provider: self, why: why.into() }
    }
}

/// What every key at a provider authenticates for its fingerprint.
const FINGERPRINT: &[u8] = b"gotgan-tenant-key-fingerprint";

/// A provider did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ProviderError {
    /// It does not answer, or not so that it can be understood: later it may.
    #[error("the key provider {} does not answer: {why}", .provider.name())]
    Unavailable {
        /// Who.
        provider: ProviderKind,
        /// What was seen.
        why: String,
        /// Whether it was asked, or failed a moment ago and was left alone.
        asked: bool,
    },
    /// It answers, and will not: the key is gone, disabled, or not this gateway's to use.
    #[error("the key provider {} refuses: {why}", .provider.name())]
    Refused {
        /// Who.
        provider: ProviderKind,
        /// What it said.
        why: String,
    },
    /// This gateway is not set up for it.
    #[error("no key provider {} is configured here", .0.name())]
    Unknown(ProviderKind),
    /// What it gave is not the key that was wrapped.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// A secret that its file keeps, mode 0600, read for each use so that it may be changed. This asks the disk.
fn secret_file(path: &Path) -> Result<Zeroizing<String>, String> {
    let told = |why: String| format!("the file {}: {why}", path.display());
    let mode = std::fs::metadata(path).map_err(|e| told(e.to_string()))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(told(format!("it has mode {mode:o}; it must be 0600")));
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(|e| told(e.to_string()))?);
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// A key that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewKey {
    /// Its id, which no key of the provider has.
    pub id: KeyId,
    /// Its owner.
    pub tenant: TenantId,
    /// The suite of what will hang on it.
    pub suite: Suite,
}

/// A key that a tenant brings.
#[derive(Debug)]
pub enum Brought<'a> {
    /// Opened here: it was wrapped to a key of ours.
    Opened(SecretKey),
    /// As it came: it was wrapped to a key of the provider.
    Wrapped(&'a [u8]),
}

/// A wrapped key and where it belongs.
pub type Wrapped<'a> = (WrapContext, &'a [u8]);

/// Holds tenant keys. Every call has a deadline of its own.
#[async_trait]
pub trait KeyProvider: Send + Sync + std::fmt::Debug {
    /// Which one it is.
    fn kind(&self) -> ProviderKind;

    /// Where its keys rest; none when that is this machine, whose place is judged by itself.
    fn place(&self) -> Option<VerifiedPlace>;

    /// Makes a key with its first version.
    async fn create(&self, key: NewKey) -> Result<NewVersion, ProviderError>;

    /// The public key (PEM) that it wants keys to be wrapped to which tenants bring, if it unwraps them itself.
    async fn transport(&self) -> Result<Option<String>, ProviderError> {
        Ok(None)
    }

    /// Takes a key that a tenant brings, as its first version.
    async fn import(&self, _key: NewKey, _brought: Brought<'_>) -> Result<NewVersion, ProviderError> {
        Err(self.kind().refused("it takes no keys that are brought: make one there"))
    }

    /// Makes the next version; those before still unwrap.
    async fn rotate(&self, key: &TenantKeyRow) -> Result<NewVersion, ProviderError>;

    /// Wraps bucket keys, each in its context, which names key and version.
    async fn wrap(
        &self,
        key: &TenantKeyRow,
        bucket_keys: &[(WrapContext, SecretKey)],
    ) -> Result<Vec<Vec<u8>>, ProviderError>;

    /// Unwraps bucket keys, for this reason.
    async fn unwrap(
        &self,
        key: &TenantKeyRow,
        wrapped: &[Wrapped<'_>],
        reason: Reason,
    ) -> Result<Vec<SecretKey>, ProviderError>;

    /// How long what it unwrapped may be kept, whatever else is configured (SECURITY.md rule 19).
    fn keeps(&self) -> Duration {
        BUCKET_KEY_TTL
    }

    /// Whether it holds this very key, by the fingerprint of its current version.
    async fn holds(&self, key: &TenantKeyRow) -> Result<(), ProviderError>;

    /// Destroys all versions of a key for good, and says what was done and seen. One that is gone already is destroyed: ask
    /// first whether it [`Self::holds`] the key.
    async fn destroy(&self, key: &TenantKeyRow) -> Result<String, ProviderError>;

    /// Destroys the versions before this one for good, and says what was done and seen. Those that are gone already are
    /// destroyed.
    async fn destroy_before(&self, key: &TenantKeyRow, version: u32) -> Result<String, ProviderError>;
}

/// A version that was made.
#[derive(Debug, Clone)]
pub struct NewVersion {
    /// Its number.
    pub number: u32,
    /// What may be shown of it.
    pub fingerprint: String,
    /// What the provider wants to be kept of it, if anything.
    pub wrapped: Vec<u8>,
}

impl NewVersion {
    /// As it is stored.
    #[must_use]
    pub fn row(self, created: policy::time::UtcMillis) -> KeyVersionRow {
        let Self { number, fingerprint, wrapped } = self;
        KeyVersionRow { number, created, fingerprint, wrapped, origin: Origin::Generated, destroyed: None }
    }
}
