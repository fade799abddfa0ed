//! The key ring: unwraps tenant, bucket and log keys on demand and keeps bucket keys for a while.

mod bucket;
mod cache;
mod gate;
mod tenant;

use std::sync::Arc;
use std::time::Duration;

use policy::id::{BucketId, KeyId, TenantId};
use policy::time::UtcMillis;

use crate::control::{Bucket, ControlRow, ControlState, KeyState, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::provider::sealed_file::SealedFile;
use crate::provider::{KeyProvider, NewKey, ProviderError, ProviderKind};
use crate::root::RootKey;
use crate::seal::key::random;
use crate::seal::wrap::{unwrap, wrap};
use crate::seal::{SealError, SecretKey, Suite, VersionKey};

pub use bucket::BucketKey;
pub use gate::{Gate, Held};

use bucket::Stored;
use cache::BucketKeys;
use gate::{Closing, Gates};

/// How long an unwrapped bucket key may be used at most before it is unwrapped again (SECURITY.md rule 19).
pub const BUCKET_KEY_TTL: Duration = Duration::from_secs(300);
/// Name of the key that a tenant begins with.
const DEFAULT: &str = "default";

/// Unwraps keys; the only holder of the root key.
pub struct KeyRing {
    root: RootKey,
    control: Arc<ControlState>,
    sealed_file: SealedFile,
    /// Those that are reached over a network or a module.
    others: Vec<Box<dyn KeyProvider>>,
    gates: Gates,
    buckets: BucketKeys,
}

/// A suspension that is not committed yet.
#[derive(Debug)]
#[must_use = "the key stays in use unless it is done"]
pub struct Suspending<'a> {
    ring: &'a KeyRing,
    closing: Closing,
}

impl Suspending<'_> {
    /// Stops whatever uses the key, whose row says now that it is suspended: cached keys go, streams break off.
    pub fn done(self) {
        self.ring.gates.close(self.closing);
        self.ring.buckets.forget_closed();
    }
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyRing(..)")
    }
}

impl KeyRing {
    /// A ring over a root key and the rows that hold what it wraps.
    #[must_use]
    pub fn new(root: RootKey, control: Arc<ControlState>) -> Self {
        let (sealed_file, buckets) = (SealedFile::new(root.clone()), BucketKeys::new(BUCKET_KEY_TTL));
        Self { root, control, sealed_file, others: Vec::new(), gates: Gates::default(), buckets }
    }

    /// With other providers, and bucket keys kept for so long.
    #[must_use]
    pub fn with(self, others: Vec<Box<dyn KeyProvider>>, ttl: Duration) -> Self {
        Self { others, buckets: BucketKeys::new(ttl.min(BUCKET_KEY_TTL)), ..self }
    }

    /// A new tenant with its first tenant key and its log key, not yet stored.
    ///
    /// # Errors
    /// `Random` without randomness.
    pub fn new_tenant(&self, name: &str, id: TenantId, now: UtcMillis) -> Result<(TenantRow, TenantKeyRow), SealError> {
        let key = NewKey { id: KeyId::from_bytes(random()?), tenant: id, suite: Suite::Aes256Gcm };
        let first = self.sealed_file.create_now(key)?.row(now);
        let key = TenantKeyRow::new(DEFAULT, key, ProviderKind::SealedFile, first);
        let log_key = self.wrap_root(id, *id.as_bytes(), &SecretKey::random()?)?;
        let residency = policy::residency::Residency::korea();
        Ok((TenantRow { id, name: name.to_owned(), created: now, residency, key: key.id, log_key }, key))
    }

    /// The wrapped key of a new bucket, to be committed while it is held.
    ///
    /// # Errors
    /// `Missing` when the tenant has no key, `KeySuspended` when it is, `Provider` when its provider does not wrap.
    pub async fn new_bucket_key(&self, tenant: TenantId, bucket: BucketId) -> Result<(Vec<u8>, Held), Error> {
        let row: TenantRow = self.row(tenant.as_bytes()).await?;
        let gate = self.gates.of(row.key);
        let key_row = self.active(row.key).await?;
        let own: [u8; 16] = random()?;
        let context = bucket::context((tenant, bucket), own, (key_row.id, key_row.current()?.number));
        let provider = self.provider_of(&key_row).await?;
        let wrapped = provider.wrap(&key_row, &[(context, SecretKey::random()?)]).await?;
        let wrapped = wrapped.first().ok_or(SealError::Malformed("bucket key"))?;
        // Not while a provider is asked: a suspension waits for whoever holds it.
        Ok((bucket::stored(own, 1, wrapped), gate.hold().await?))
    }

    /// The current key of a bucket, from the cache while it is fresh. However many ask at once, its provider is asked
    /// by one of them.
    ///
    /// # Errors
    /// `KeySuspended` when its tenant key is, `Provider` when it is not unwrapped: reads and writes then fail, never in
    /// the clear.
    pub async fn bucket_key(&self, bucket: &Bucket) -> Result<Arc<BucketKey>, Error> {
        match self.buckets.get(bucket.id) {
            Some(key) => Ok(key),
            None => self.buckets.load(bucket.id, self.unwrapped(bucket)).await,
        }
    }

    async fn unwrapped(&self, bucket: &Bucket) -> Result<BucketKey, Error> {
        let row = bucket.keys.last().ok_or(SealError::Malformed("bucket without a key"))?;
        let stored = Stored::read(bucket.tenant, bucket.id, row)?;
        let gate = self.gates.of(stored.under);
        let key_row = self.active(stored.under).await?;
        let keys = self.provider_of(&key_row).await?.unwrap(&key_row, &[stored.wrapped()]).await?;
        let key = keys.into_iter().next().ok_or(SealError::Malformed("bucket key"))?;
        Ok(stored.open(key, gate))
    }

    /// A suspension that is about to be committed: no commit under the key is made from now on, until it is done or
    /// given up.
    pub async fn suspending(&self, key: KeyId) -> Suspending<'_> {
        Suspending { ring: self, closing: self.gates.closing(key).await }
    }

    async fn active(&self, id: KeyId) -> Result<TenantKeyRow, Error> {
        let row: TenantKeyRow = self.row(id.as_bytes()).await?;
        match row.state {
            KeyState::Active => Ok(row),
            KeyState::Suspended { .. } => Err(Error::KeySuspended(id)),
        }
    }

    fn provider(&self, kind: ProviderKind) -> Result<&dyn KeyProvider, ProviderError> {
        if kind == ProviderKind::SealedFile {
            return Ok(&self.sealed_file);
        }
        let known = self.others.iter().find(|provider| provider.kind() == kind);
        known.map(|provider| &**provider).ok_or(ProviderError::Unknown(kind))
    }

    /// The provider of a key, if it stands where the keys of the tenant may rest.
    async fn provider_of(&self, row: &TenantKeyRow) -> Result<&dyn KeyProvider, Error> {
        self.provider_for(row.tenant, row.provider).await
    }

    async fn provider_for(&self, tenant: TenantId, kind: ProviderKind) -> Result<&dyn KeyProvider, Error> {
        let provider = self.provider(kind)?;
        if let Some(place) = provider.place() {
            let tenant: TenantRow = self.row(tenant.as_bytes()).await?;
            policy::decide::still_rests(&tenant.residency, &[place]).map_err(Error::Denied)?;
        }
        Ok(provider)
    }

    /// The log key of a tenant, or the platform's for records that belong to no tenant.
    ///
    /// # Errors
    /// `Missing` for an unknown tenant, `Seal` when the key does not open.
    pub async fn log_key(&self, tenant: Option<TenantId>) -> Result<SecretKey, Error> {
        let Some(tenant) = tenant else {
            return Ok(Suite::Aes256Gcm.derive(&self.root.key, "platform-log", &[]));
        };
        let row: TenantRow = self.row(tenant.as_bytes()).await?;
        let context = self.root.context(tenant, *tenant.as_bytes());
        Ok(unwrap(&self.root.key, &context, &row.log_key)?.1)
    }

    /// Seals a secret of the platform, such as the secret half of an access key.
    ///
    /// # Errors
    /// `Random` without a salt.
    pub fn seal_secret(&self, own: &[u8], secret: &[u8]) -> Result<Vec<u8>, SealError> {
        self.secrets()?.seal_value("credential", own, secret)
    }

    /// Opens what [`Self::seal_secret`] sealed.
    ///
    /// # Errors
    /// `Refused` for another credential or changed bytes.
    pub fn open_secret(&self, own: &[u8], sealed: &[u8]) -> Result<zeroize::Zeroizing<Vec<u8>>, SealError> {
        self.secrets()?.open_value("credential", own, sealed).map(zeroize::Zeroizing::new)
    }

    fn secrets(&self) -> Result<VersionKey, SealError> {
        let key = Suite::Aes256Gcm.derive(&self.root.key, "platform-secrets", &[]);
        Ok(VersionKey::of_platform(key))
    }

    fn wrap_root(&self, tenant: TenantId, own: [u8; 16], key: &SecretKey) -> Result<Vec<u8>, SealError> {
        wrap(Suite::Aes256Gcm, &self.root.key, &self.root.context(tenant, own), key)
    }

    async fn row<R: ControlRow>(&self, id: &[u8]) -> Result<R, Error> {
        self.control.row(id).await?.ok_or(Error::Missing("tenant or tenant key"))
    }

    /// Drops, and so wipes, the bucket keys whose time is over.
    pub fn forget_expired(&self) {
        self.buckets.forget_expired();
    }
}
