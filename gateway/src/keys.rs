//! The key ring: unwraps tenant, bucket and log keys on demand and keeps bucket keys for a while.

mod bucket;
mod gate;
mod tenant;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use policy::id::{BucketId, KeyId, TenantId};
use policy::time::UtcMillis;

use storage::catalog::BucketRow;

use crate::control::{Bucket, ControlRow, ControlState, KeyState, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::root::RootKey;
use crate::seal::wrap::{unwrap, wrap};
use crate::seal::{SealError, SecretKey, Suite, VersionKey};

pub use bucket::BucketKey;
pub use gate::Gate;

use bucket::Stored;
use gate::Gates;

/// How long an unwrapped bucket key may be used before it is unwrapped again (SECURITY.md rule 19).
pub const BUCKET_KEY_TTL: Duration = Duration::from_secs(300);
const CACHE_MAX: usize = 10_000;
/// Name of the key that a tenant begins with.
const DEFAULT: &str = "default";

/// Bucket keys, and when they were unwrapped.
type Cache = HashMap<BucketId, (Instant, Arc<BucketKey>)>;

fn expire(cache: &mut Cache, now: Instant) {
    cache.retain(|_, (made, _)| now.duration_since(*made) < BUCKET_KEY_TTL);
}

/// Unwraps keys; the only holder of the root key.
pub struct KeyRing {
    root: RootKey,
    control: Arc<ControlState>,
    gates: Gates,
    buckets: Mutex<Cache>,
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
        Self { root, control, gates: Gates::default(), buckets: Mutex::new(HashMap::new()) }
    }

    /// A new tenant with its first tenant key and its log key, not yet stored.
    ///
    /// # Errors
    /// `Random` without randomness.
    pub fn new_tenant(&self, name: &str, id: TenantId, now: UtcMillis) -> Result<(TenantRow, TenantKeyRow), SealError> {
        let key = self.new_key(id, DEFAULT, Suite::Aes256Gcm, now)?;
        let log_key = self.wrap_root(id, *id.as_bytes(), &SecretKey::random()?)?;
        let residency = policy::residency::Residency::korea();
        Ok((TenantRow { id, name: name.to_owned(), created: now, residency, key: key.id, log_key }, key))
    }

    /// A new tenant key, not yet stored.
    ///
    /// # Errors
    /// `Random` without randomness.
    pub fn new_key(
        &self,
        tenant: TenantId,
        name: &str,
        suite: Suite,
        now: UtcMillis,
    ) -> Result<TenantKeyRow, SealError> {
        tenant::create(&self.root, (tenant, name), suite, now)
    }

    /// A tenant key with one more version, not yet stored: new bucket keys are wrapped by it.
    ///
    /// # Errors
    /// `Random` without randomness.
    pub fn rotated(&self, row: &TenantKeyRow, now: UtcMillis) -> Result<TenantKeyRow, SealError> {
        let mut row = row.clone();
        tenant::add_version(&self.root, &mut row, now)?;
        Ok(row)
    }

    /// A bucket whose keys under older versions of a tenant key are wrapped by its last one, not yet proved; none when
    /// there are none. What the bucket keys wrap stays as it is.
    ///
    /// # Errors
    /// `Seal` when a key does not open.
    pub fn rewrapped(&self, bucket: &Bucket, row: &TenantKeyRow) -> Result<Option<BucketRow>, SealError> {
        let to = tenant::open(&self.root, row, row.current()?.number)?;
        let mut keys = bucket.keys.clone();
        for key in &mut keys {
            let stored = Stored::read(bucket.tenant, bucket.id, key)?;
            if stored.under == row.id && stored.under_version != to.version {
                *key = stored.rewrap(&tenant::open(&self.root, row, stored.under_version)?, &to)?;
            }
        }
        Ok((keys != bucket.keys).then(|| BucketRow { keys, ..BucketRow::clone(bucket) }))
    }

    /// Whether a key of a bucket hangs on a tenant key.
    ///
    /// # Errors
    /// `Malformed` when one has no shape.
    pub fn hangs_on(&self, bucket: &Bucket, key: KeyId) -> Result<bool, SealError> {
        let stored = bucket.keys.iter().map(|row| Stored::read(bucket.tenant, bucket.id, row));
        stored.into_iter().try_fold(false, |any, stored| Ok(any || stored?.under == key))
    }

    /// The wrapped key of a new bucket.
    ///
    /// # Errors
    /// `Missing` when the tenant has no key, `KeySuspended` when it is, `Seal` when it does not open.
    pub async fn new_bucket_key(&self, tenant: TenantId, bucket: BucketId) -> Result<Vec<u8>, Error> {
        let row: TenantRow = self.row(tenant.as_bytes()).await?;
        let key_row = self.active(row.key).await?;
        let outer = tenant::open(&self.root, &key_row, key_row.current()?.number)?;
        Ok(bucket::create(tenant, bucket, &outer)?)
    }

    /// The current key of a bucket, from the cache while it is fresh.
    ///
    /// # Errors
    /// `KeySuspended` when its tenant key is, `Seal` when it does not open: reads and writes then fail, never in the
    /// clear.
    pub async fn bucket_key(&self, bucket: &Bucket) -> Result<Arc<BucketKey>, Error> {
        if let Some(key) = self.cached(bucket.id) {
            return Ok(key);
        }
        let row = bucket.keys.last().ok_or(SealError::Malformed("bucket without a key"))?;
        let stored = Stored::read(bucket.tenant, bucket.id, row)?;
        let gate = self.gates.of(stored.under);
        let key_row = self.active(stored.under).await?;
        let outer = tenant::open(&self.root, &key_row, stored.under_version)?;
        let key = Arc::new(stored.open(&outer, gate)?);
        self.remember(bucket.id, Arc::clone(&key));
        Ok(key)
    }

    /// Stops whatever uses a tenant key whose row says that it is suspended: cached keys go, streams break off.
    pub fn suspended(&self, key: KeyId) {
        self.gates.close(key);
        if let Ok(mut cache) = self.buckets.lock() {
            cache.retain(|_, (_, key)| key.gate.is_open());
        }
    }

    async fn active(&self, id: KeyId) -> Result<TenantKeyRow, Error> {
        let row: TenantKeyRow = self.row(id.as_bytes()).await?;
        match row.state {
            KeyState::Active => Ok(row),
            KeyState::Suspended { .. } => Err(Error::KeySuspended(id)),
        }
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
        if let Ok(mut cache) = self.buckets.lock() {
            expire(&mut cache, Instant::now());
        }
    }

    fn cached(&self, bucket: BucketId) -> Option<Arc<BucketKey>> {
        let cache = self.buckets.lock().ok()?;
        let (made, key) = cache.get(&bucket)?;
        (made.elapsed() < BUCKET_KEY_TTL && key.gate.is_open()).then(|| Arc::clone(key))
    }

    fn remember(&self, bucket: BucketId, key: Arc<BucketKey>) {
        if let Ok(mut cache) = self.buckets.lock() {
            if cache.len() >= CACHE_MAX {
                expire(&mut cache, Instant::now());
            }
            if cache.len() < CACHE_MAX {
                cache.insert(bucket, (Instant::now(), key));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_keys_do_not_outlive_their_time() {
        let key = Arc::new(BucketKey::for_tests());
        let held = Arc::downgrade(&key);
        let made = Instant::now();
        let mut cache = Cache::from([(key.bucket, (made, key))]);
        expire(&mut cache, made + BUCKET_KEY_TTL / 2);
        assert!(held.upgrade().is_some());
        expire(&mut cache, made + BUCKET_KEY_TTL);
        assert!(held.upgrade().is_none(), "nobody keeps it");
    }
}
