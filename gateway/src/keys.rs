//! The key ring: unwraps tenant, bucket and log keys on demand and keeps bucket keys for a while.

mod bucket;
mod cache;
mod gate;
mod tenant;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use policy::id::{BucketId, KeyId, TenantId};
use policy::time::UtcMillis;
use storage::catalog::{CommitError, Refusal, WrappedKey};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::control::{Bucket, ControlRow, ControlState, KeyState, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::platform::PlatformKey;
use crate::provider::sealed_file::SealedFile;
use crate::provider::{KeyProvider, NewKey, ProviderError, ProviderKind};
use crate::root::RootInUse;
use crate::seal::key::random;
use crate::seal::wrap::{unwrap, wrap};
use crate::seal::{SealError, SecretKey, Suite, VersionKey};

pub use bucket::{BucketKey, list_version};
pub use gate::{Gate, Held};

use bucket::Stored;
use cache::BucketKeys;
use gate::{Closing, Gates};

/// How long an unwrapped bucket key may be used at most before it is unwrapped again (SECURITY.md rule 19).
pub const BUCKET_KEY_TTL: Duration = Duration::from_secs(300);
/// Name of the key that a tenant begins with.
const DEFAULT: &str = "default";

/// Unwraps keys; the only holder of the root key and the platform's.
pub struct KeyRing {
    pub(crate) root: RootInUse,
    pub(crate) platform: PlatformKey,
    /// Shared by whoever wraps or unwraps by the root key; a round that replaces it has it alone.
    steady: RwLock<()>,
    /// As `steady`, for whoever administers: it is held before the other, never behind it.
    administering: RwLock<()>,
    /// It is not known which root key the catalog took: none takes its place in this process.
    rounds_closed: AtomicBool,
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
    pub fn new(root: RootInUse, platform: PlatformKey, control: Arc<ControlState>) -> Self {
        let (sealed_file, buckets) = (SealedFile::new(root.clone()), BucketKeys::new(BUCKET_KEY_TTL));
        let (others, gates) = (Vec::new(), Gates::default());
        Self {
            root,
            platform,
            steady: RwLock::new(()),
            administering: RwLock::new(()),
            rounds_closed: AtomicBool::new(false),
            control,
            sealed_file,
            others,
            gates,
            buckets,
        }
    }

    /// No other root key takes the place of the one in use while this is held: whoever makes rows that it wraps holds it
    /// until they are committed.
    pub async fn administering(&self) -> RwLockReadGuard<'_, ()> {
        self.administering.read().await
    }

    /// The same, for whoever reads rows that it wraps.
    async fn steady(&self) -> RwLockReadGuard<'_, ()> {
        self.steady.read().await
    }

    /// No root key takes the place of another in this process any more.
    pub(crate) fn close_rounds(&self) {
        self.rounds_closed.store(true, Ordering::Release);
    }

    /// Whether [`Self::close_rounds`] was called.
    pub(crate) fn rounds_are_closed(&self) -> bool {
        self.rounds_closed.load(Ordering::Acquire)
    }

    /// Waits for those who hold one of these, and holds back others. Nothing that unwraps may be asked for meanwhile.
    pub(crate) async fn alone(&self) -> [RwLockWriteGuard<'_, ()>; 2] {
        [self.administering.write().await, self.steady.write().await]
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
    pub async fn new_bucket_key(&self, tenant: TenantId, bucket: BucketId) -> Result<(WrappedKey, Held), Error> {
        let row: TenantRow = self.row(tenant.as_bytes()).await?;
        self.wrapped_anew((tenant, bucket), (KeyId::from_bytes(random()?), 1), row.key).await
    }

    /// One more version of the key of a bucket, to be committed while it is held.
    ///
    /// # Errors
    /// As [`Self::new_bucket_key`].
    pub async fn next_bucket_key(&self, bucket: &Bucket) -> Result<(WrappedKey, Held), Error> {
        let row = bucket.keys.last().ok_or(SealError::Malformed("bucket without a key"))?;
        let under = Stored::read(bucket.tenant, bucket.id, row)?.under;
        self.wrapped_anew((bucket.tenant, bucket.id), (row.id, row.version + 1), under).await
    }

    /// A random key in the place of a version of a bucket key, wrapped by a tenant key.
    async fn wrapped_anew(
        &self,
        place: (TenantId, BucketId),
        (id, version): (KeyId, u32),
        under: KeyId,
    ) -> Result<(WrappedKey, Held), Error> {
        let gate = self.gates.of(under);
        let steady = self.steady().await;
        let key_row = self.active(under).await?;
        let context = bucket::context(place, (id, version), (under, key_row.current()?.number));
        let provider = self.provider_of(&key_row).await?;
        let wrapped = provider.wrap(&key_row, &[(context, SecretKey::random()?)]).await?;
        let wrapped = wrapped.into_iter().next().ok_or(SealError::Malformed("bucket key"))?;
        drop(steady);
        // Not while a provider is asked: a suspension waits for whoever holds it.
        Ok((WrappedKey { id, version, wrapped }, gate.hold().await?))
    }

    /// The current key of a bucket, from the cache while it is fresh. However many ask at once, its provider is asked
    /// by one of them.
    ///
    /// # Errors
    /// `KeySuspended` when its tenant key is, `Provider` when it is not unwrapped: reads and writes then fail, never in
    /// the clear.
    pub async fn bucket_key(&self, bucket: &Bucket) -> Result<Arc<BucketKey>, Error> {
        let current = bucket.key_version();
        match self.buckets.get(bucket.id, current) {
            Some(key) => Ok(key),
            None => self.buckets.load(bucket.id, current, self.unwrapped(bucket)).await,
        }
    }

    /// The key of a bucket for what hangs on this version of it, which may be later than the bucket's row.
    ///
    /// # Errors
    /// As [`Self::bucket_key`].
    pub async fn bucket_key_for(&self, bucket: &Bucket, version: u32) -> Result<Arc<BucketKey>, Error> {
        let key = self.bucket_key(bucket).await?;
        if key.version >= version { Ok(key) } else { self.bucket_key_now(bucket).await }
    }

    /// The key of a bucket as it is now: it was rotated since the bucket's row was read.
    ///
    /// # Errors
    /// As [`Self::bucket_key`], and `BucketGone`.
    pub async fn bucket_key_now(&self, bucket: &Bucket) -> Result<Arc<BucketKey>, Error> {
        let now = self.control.bucket(&bucket.name).await?.filter(|now| now.id == bucket.id);
        self.bucket_key(&now.ok_or(CommitError::Refused(Refusal::BucketGone))?).await
    }

    /// Drops the unwrapped key of a bucket, of which a version is not needed any more.
    pub fn forget_bucket(&self, bucket: BucketId) {
        self.buckets.forget(bucket);
    }

    async fn unwrapped(&self, bucket: &Bucket) -> Result<BucketKey, Error> {
        let stored = bucket.keys.iter().map(|row| Stored::read(bucket.tenant, bucket.id, row));
        let stored = stored.collect::<Result<Vec<_>, _>>()?;
        let under = stored.last().ok_or(SealError::Malformed("bucket without a key"))?.under;
        if stored.iter().any(|one| one.under != under) {
            return Err(SealError::Malformed("bucket key under two tenant keys").into());
        }
        let gate = self.gates.of(under);
        let _steady = self.steady().await;
        let key_row = self.active(under).await?;
        let wrapped: Vec<_> = stored.iter().map(Stored::wrapped).collect();
        let keys = self.provider_of(&key_row).await?.unwrap(&key_row, &wrapped).await?;
        Ok(BucketKey::open(&stored, keys, gate)?)
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
            KeyState::Suspended { .. } | KeyState::PendingDestruction { .. } => Err(Error::KeySuspended(id)),
            KeyState::Destroyed { .. } => Err(Error::KeyDestroyed(id)),
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
            return Ok(self.platform.log());
        };
        let _steady = self.steady().await;
        let row: TenantRow = self.row(tenant.as_bytes()).await?;
        let root = self.root.now();
        Ok(unwrap(&root.key, &root.context(tenant, *tenant.as_bytes()), &row.log_key)?.1)
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
        Ok(VersionKey::of_platform(self.platform.secrets()))
    }

    fn wrap_root(&self, tenant: TenantId, own: [u8; 16], key: &SecretKey) -> Result<Vec<u8>, SealError> {
        let root = self.root.now();
        wrap(Suite::Aes256Gcm, &root.key, &root.context(tenant, own), key)
    }

    async fn row<R: ControlRow>(&self, id: &[u8]) -> Result<R, Error> {
        self.control.row(id).await?.ok_or(Error::Missing("tenant or tenant key"))
    }

    /// Drops, and so wipes, the bucket keys whose time is over.
    pub fn forget_expired(&self) {
        self.buckets.forget_expired();
    }
}
