//! The key ring: unwraps tenant, bucket and log keys on demand and keeps bucket keys for a while.

mod bucket;
mod cache;
mod gate;
mod passage;
mod tenant;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use policy::decide::may_use_key;
use policy::id::{BucketId, KeyId, TenantId};
use policy::reason::{Reason, Reasons};
use policy::time::UtcMillis;
use storage::catalog::{CommitError, Refusal, WrappedKey};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::control::{Bucket, ControlRow, ControlState, KeyState, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::platform::PlatformKey;
use crate::provider::hyok::Directory;
use crate::provider::sealed_file::SealedFile;
use crate::provider::{KeyProvider, NewKey, ProviderError, ProviderKind};
use crate::root::RootInUse;
use crate::seal::key::random;
use crate::seal::wrap::{unwrap, wrap};
use crate::seal::{SealError, SecretKey, Suite, VersionKey};

pub use bucket::{BucketKey, list_version};
pub use gate::{Behind, Gate, Gates, Held};
pub use passage::{Passage, Purpose};

use bucket::{Stored, Unwrapped};
use cache::BucketKeys;
use gate::{Closing, Open};

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
    sealed_file: Arc<SealedFile>,
    /// Those that are reached over a network or a module.
    others: Vec<Arc<dyn KeyProvider>>,
    /// Those of tenants.
    hyok: Option<Directory>,
    gates: Open,
    buckets: BucketKeys,
    ttl: Duration,
}

/// How often a tenant key may be rotated, or get another policy, while a bucket key is wrapped by it.
const ROTATIONS: usize = 5;
/// Of a key that is not all there: its other versions are asked for again so soon.
const PARTLY: Duration = Duration::from_secs(1);

/// A suspension, or another policy of a key, that is not committed yet.
#[derive(Debug)]
#[must_use = "the key stays in use as it was unless it is done"]
pub struct Suspending<'a> {
    ring: &'a KeyRing,
    closing: Closing,
}

impl Suspending<'_> {
    /// Stops whatever uses what its row says now may not be used: cached keys go, streams break off.
    pub fn done(self) {
        self.ring.gates.close(self.closing);
        self.ring.buckets.forget_expired();
    }

    /// Whatever is done with the key from now on is judged by its new policy.
    pub fn refusing(self, refused: Reasons) {
        self.ring.gates.retire(self.closing, refused);
        self.ring.buckets.forget_expired();
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
        let (sealed_file, buckets) = (Arc::new(SealedFile::new(root.clone())), BucketKeys::default());
        let (others, gates) = (Vec::new(), Open::default());
        Self {
            root,
            platform,
            steady: RwLock::new(()),
            administering: RwLock::new(()),
            rounds_closed: AtomicBool::new(false),
            control,
            sealed_file,
            others,
            hyok: None,
            gates,
            buckets,
            ttl: BUCKET_KEY_TTL,
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

    /// With other providers, those of tenants, and bucket keys kept for so long.
    #[must_use]
    pub fn with(self, others: Vec<Arc<dyn KeyProvider>>, hyok: Option<Directory>, ttl: Duration) -> Self {
        Self { others, hyok, ttl: ttl.min(BUCKET_KEY_TTL), ..self }
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
        let row = TenantRow { id, name: name.to_owned(), created: now, residency, key: key.id, log_key, seated: false };
        Ok((row, key))
    }

    /// The wrapped key of a new bucket, to be committed while it is held.
    ///
    /// # Errors
    /// `Missing` when the tenant has no key, `KeySuspended` when it is, `Denied` when it refuses what customers ask for,
    /// `Provider` when its provider does not wrap.
    pub async fn new_bucket_key(&self, tenant: TenantId, bucket: BucketId) -> Result<(WrappedKey, Held), Error> {
        let row: TenantRow = self.row(tenant.as_bytes()).await?;
        let own = (KeyId::from_bytes(random()?), 1);
        self.wrapped_anew((tenant, bucket), own, row.key, Reason::CustomerRequest).await
    }

    /// One more version of the key of a bucket, under the tenant key that the last one hangs on or another, to be
    /// committed while it is held.
    ///
    /// # Errors
    /// As [`Self::new_bucket_key`].
    pub async fn next_bucket_key(&self, bucket: &Bucket, under: Option<KeyId>) -> Result<(WrappedKey, Held), Error> {
        let row = bucket.keys.last().ok_or(SealError::Malformed("bucket without a key"))?;
        let under = match under {
            Some(key) => key,
            None => Stored::read(bucket.tenant, bucket.id, row)?.under,
        };
        self.wrapped_anew((bucket.tenant, bucket.id), (row.id, row.version + 1), under, Reason::Rewrap).await
    }

    /// A random key in the place of a version of a bucket key, wrapped by a tenant key.
    async fn wrapped_anew(
        &self,
        place: (TenantId, BucketId),
        (id, version): (KeyId, u32),
        under: KeyId,
        reason: Reason,
    ) -> Result<(WrappedKey, Held), Error> {
        for _ in 0..ROTATIONS {
            let made = self.wrapped_once(place, (id, version), under, reason).await?;
            // What was made under a version that is not the last one any more may never be committed: it may be destroyed.
            if let Some(made) = made {
                return Ok(made);
            }
        }
        Err(Error::KeyRetired)
    }

    async fn wrapped_once(
        &self,
        place: (TenantId, BucketId),
        (id, version): (KeyId, u32),
        under: KeyId,
        reason: Reason,
    ) -> Result<Option<(WrappedKey, Held)>, Error> {
        let (key, bucket) = (self.gates.of(Behind::Key(under)), self.gates.of(Behind::Bucket(place.1)));
        let steady = self.steady().await;
        let key_row = self.usable(under, reason).await?;
        let context = bucket::context(place, (id, version), (under, key_row.current()?.number));
        let provider = self.provider_of(&key_row).await?;
        let wrapped = provider.wrap(&key_row, &[(context, SecretKey::random()?)]).await?;
        let wrapped = wrapped.into_iter().next().ok_or(SealError::Malformed("bucket key"))?;
        drop(steady);
        // Not while a provider is asked: a suspension waits for whoever holds it.
        let held = match (Gates { bucket, key, refused: key_row.refuses }).hold(reason).await {
            Err(Error::KeyRetired) => return Ok(None),
            other => other?,
        };
        let same = self.active(under).await?.current()?.number == key_row.current()?.number;
        Ok(same.then_some((WrappedKey { id, version, wrapped }, held)))
    }

    /// The current key of a bucket, from the cache while it is fresh. However many ask at once, its provider is asked
    /// by one of them.
    ///
    /// # Errors
    /// `KeySuspended` when its tenant key is, `BucketClosed` when it is to be destroyed, `Denied` when the tenant key
    /// refuses the reason, `Provider` when it is not unwrapped: reads and writes then fail, never in the clear.
    pub async fn bucket_key(&self, bucket: &Bucket, purpose: Purpose<'_>) -> Result<Arc<BucketKey>, Error> {
        if matches!(purpose.reason, Reason::LegalRequest | Reason::Emergency) {
            // Its provider may refuse by the reason, too: it is asked each time, and what it gives serves nobody else.
            let key = Arc::new(self.unwrapped(bucket, purpose).await.map_err(|error| purpose.told(error))?);
            key.gates()?.pass(purpose.reason).map_err(|error| purpose.told(error))?;
            return Ok(key);
        }
        let current = bucket.key_version();
        let key = match self.buckets.get(bucket.id, current, purpose.reason) {
            Some(key) => key,
            None => {
                let load = self.buckets.load(bucket.id, (current, purpose.reason), self.unwrapped(bucket, purpose));
                load.await.map_err(|error| purpose.told(error))?
            }
        };
        // Others may have had it unwrapped, for other reasons.
        key.gates()?.pass(purpose.reason).map_err(|error| purpose.told(error))?;
        Ok(key)
    }

    /// The key of a bucket for what hangs on this version of it, which may be later than the bucket's row.
    ///
    /// # Errors
    /// As [`Self::bucket_key`], of that version.
    pub async fn bucket_key_for(
        &self,
        bucket: &Bucket,
        version: u32,
        purpose: Purpose<'_>,
    ) -> Result<Arc<BucketKey>, Error> {
        let key = self.bucket_key(bucket, purpose).await?;
        let key = if key.version >= version { key } else { self.bucket_key_now(bucket, purpose).await? };
        key.pass(version, purpose.reason).map_err(|error| purpose.told(error))?;
        Ok(key)
    }

    /// The key of a bucket as it is now: it was rotated since the bucket's row was read.
    ///
    /// # Errors
    /// As [`Self::bucket_key`], and `BucketGone`.
    pub async fn bucket_key_now(&self, bucket: &Bucket, purpose: Purpose<'_>) -> Result<Arc<BucketKey>, Error> {
        self.bucket_key(&self.as_it_is(bucket).await?, purpose).await
    }

    async fn as_it_is(&self, bucket: &Bucket) -> Result<Bucket, Error> {
        let now = self.control.bucket(&bucket.name).await?.filter(|now| now.id == bucket.id);
        now.ok_or(CommitError::Refused(Refusal::BucketGone).into())
    }

    /// Drops the unwrapped key of a bucket, of which a version is not needed any more.
    pub fn forget_bucket(&self, bucket: BucketId) {
        self.buckets.forget(bucket);
    }

    /// All versions of the key of a bucket that may be used; the current one must.
    async fn unwrapped(&self, bucket: &Bucket, purpose: Purpose<'_>) -> Result<BucketKey, Error> {
        let gate = self.gates.of(Behind::Bucket(bucket.id));
        // As it stands behind the gate: it may be closed since whoever asks read it.
        let bucket = self.as_it_is(bucket).await?;
        if bucket.closed {
            return Err(Error::BucketClosed(bucket.id));
        }
        let stored = bucket.keys.iter().map(|row| Stored::read(bucket.tenant, bucket.id, row));
        let stored = stored.collect::<Result<Vec<_>, _>>()?;
        let current = stored.last().ok_or(SealError::Malformed("bucket without a key"))?.under;
        let (mut out, mut until, mut only) = (Vec::with_capacity(stored.len()), None, None);
        let mut rest = stored.as_slice();
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|one| one.under == first.under).count();
            let (group, others) = rest.split_at(same);
            rest = others;
            let (gate, key) = (Arc::clone(&gate), self.gates.of(Behind::Key(first.under)));
            match self.unwrapped_by(&bucket, first.under, group, purpose).await {
                Ok((row, keys, ttl)) => {
                    let gates = Gates { bucket: gate, key, refused: row.refuses };
                    out.extend(keys.into_iter().map(|key| Unwrapped::Key(key, gates.clone())));
                    until = Some(until.map_or(ttl, |until: Duration| until.min(ttl)));
                }
                Err(error) if first.under == current => return Err(error),
                Err(error) => {
                    tracing::warn!(bucket = %bucket.name, %error, "older versions of its key cannot be used");
                    // What is refused for one reason is not for others: it is kept for this one.
                    if matches!(error, Error::Denied(_)) {
                        only = Some(purpose.reason);
                    }
                    until = Some(until.map_or(PARTLY, |until| until.min(PARTLY)));
                    let error = Arc::new(error);
                    out.extend(group.iter().map(|_| Unwrapped::Shut(Arc::clone(&error))));
                }
            }
        }
        let until = Instant::now() + until.unwrap_or_default().min(self.ttl);
        Ok(BucketKey::open(&stored, out, (until, only))?)
    }

    /// Versions of a bucket key, unwrapped by the tenant key that they hang on, on record; and how long they may be kept.
    async fn unwrapped_by(
        &self,
        bucket: &Bucket,
        under: KeyId,
        stored: &[Stored<'_>],
        purpose: Purpose<'_>,
    ) -> Result<(TenantKeyRow, Vec<SecretKey>, Duration), Error> {
        let steady = self.steady().await;
        let row = self.usable(under, purpose.reason).await?;
        let provider = self.provider_of(&row).await?;
        let wrapped: Vec<_> = stored.iter().map(Stored::wrapped).collect();
        let keys = provider.unwrap(&row, &wrapped, purpose.reason).await;
        // Making a record takes it once more: whoever waits for all to let go of it would wait for ever.
        drop(steady);
        let what = format!("{} versions of the key of bucket {} ({})", stored.len(), bucket.name, bucket.id);
        passage::on_record(purpose, &row, &what, keys.as_ref().err()).await?;
        Ok((row, keys?, provider.keeps()))
    }

    /// The gate before something, to be had before the row that says whether it may be used is read.
    #[must_use]
    pub fn gate(&self, behind: Behind) -> Arc<Gate> {
        self.gates.of(behind)
    }

    /// A suspension that is about to be committed: no commit behind the gate is made from now on, until it is done or
    /// given up.
    pub async fn suspending(&self, behind: Behind) -> Suspending<'_> {
        Suspending { ring: self, closing: self.gates.closing(behind).await }
    }

    /// A tenant key that is active and may be used for this reason.
    ///
    /// # Errors
    /// `KeySuspended`, `KeyDestroyed`, `Denied`.
    pub async fn usable(&self, id: KeyId, reason: Reason) -> Result<TenantKeyRow, Error> {
        let row = self.active(id).await?;
        may_use_key(row.refuses, reason).map_err(Error::Denied)?;
        Ok(row)
    }

    async fn active(&self, id: KeyId) -> Result<TenantKeyRow, Error> {
        let row: TenantKeyRow = self.row(id.as_bytes()).await?;
        match row.state {
            KeyState::Active => Ok(row),
            KeyState::Suspended { .. } | KeyState::PendingDestruction { .. } => Err(Error::KeySuspended(id)),
            KeyState::Destroyed { .. } => Err(Error::KeyDestroyed(id)),
        }
    }

    /// The provider of a key, if it stands where the keys of the tenant may rest.
    async fn provider_of(&self, row: &TenantKeyRow) -> Result<Arc<dyn KeyProvider>, Error> {
        self.provider_for(row.tenant, row.provider).await
    }

    async fn provider_for(&self, tenant: TenantId, kind: ProviderKind) -> Result<Arc<dyn KeyProvider>, Error> {
        if kind == ProviderKind::SealedFile {
            return Ok(Arc::clone(&self.sealed_file) as Arc<dyn KeyProvider>);
        }
        let tenant: TenantRow = self.row(tenant.as_bytes()).await?;
        let provider = match (kind, &self.hyok) {
            (ProviderKind::Hyok, Some(directory)) => directory.of(&tenant).await?,
            _ => {
                let known = self.others.iter().find(|provider| provider.kind() == kind);
                known.map(Arc::clone).ok_or(ProviderError::Unknown(kind))?
            }
        };
        if let Some(place) = provider.place() {
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
        self.gates.tidy();
    }
}
