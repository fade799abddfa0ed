//! The key ring: unwraps tenant, bucket and log keys on demand and keeps bucket keys for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use policy::id::{BucketId, KeyId, TenantId};
use policy::time::UtcMillis;

use crate::control::{Bucket, ControlRow, ControlState, TenantKeyRow, TenantRow};
use crate::error::Error;
use crate::root::RootKey;
use crate::seal::key::random;
use crate::seal::value::ListKey;
use crate::seal::wrap::{WrapContext, unwrap, wrap, wrapped_by};
use crate::seal::{SealError, SecretKey, Suite, VersionKey};

/// How long an unwrapped bucket key may be used before it is unwrapped again (SECURITY.md rule 19).
pub const BUCKET_KEY_TTL: Duration = Duration::from_secs(300);
const CACHE_MAX: usize = 10_000;

/// An unwrapped bucket key, ready for use.
#[derive(Debug)]
pub struct BucketKey {
    /// Its id.
    pub id: KeyId,
    /// Its version.
    pub version: u32,
    /// The suite of the tenant key that it hangs on.
    pub suite: Suite,
    /// The bucket's list key.
    pub list: ListKey,
    tenant: TenantId,
    bucket: BucketId,
    key: SecretKey,
}

impl BucketKey {
    /// Makes a bucket key and its wrapped row: `id 16 || version u32be || wrapped key`.
    fn create(
        tenant_key: &TenantKeyRow,
        outer: &SecretKey,
        bucket: BucketId,
    ) -> Result<(Vec<u8>, SecretKey), SealError> {
        let id: [u8; 16] = random()?;
        let key = SecretKey::random()?;
        let context = WrapContext {
            tenant: tenant_key.tenant,
            bucket,
            own: id,
            wrapping: *tenant_key.id.as_bytes(),
            wrapping_version: tenant_key.version,
        };
        let mut row = id.to_vec();
        row.extend_from_slice(&1_u32.to_be_bytes());
        row.extend(wrap(Suite::Aes256Gcm, outer, &context, &key)?);
        Ok((row, key))
    }

    fn context(&self, own: [u8; 16]) -> WrapContext {
        WrapContext {
            tenant: self.tenant,
            bucket: self.bucket,
            own,
            wrapping: *self.id.as_bytes(),
            wrapping_version: self.version,
        }
    }

    /// Wraps a version key for the version or upload `own`.
    ///
    /// # Errors
    /// `Random` without a salt.
    pub fn wrap(&self, key: &VersionKey, own: [u8; 16]) -> Result<Vec<u8>, SealError> {
        key.envelope(&self.key, &self.context(own))
    }

    /// Opens the envelope of the version or upload `own`.
    ///
    /// # Errors
    /// `Refused` when it belongs elsewhere.
    pub fn open(&self, envelope: &[u8], own: [u8; 16]) -> Result<VersionKey, SealError> {
        VersionKey::open(&self.key, &self.context(own), envelope)
    }
}

#[cfg(test)]
impl BucketKey {
    /// A random one.
    pub(crate) fn for_tests() -> Self {
        let (key, suite) = (SecretKey::random().unwrap(), Suite::Aes256Gcm);
        Self {
            id: KeyId::from_bytes([1; 16]),
            version: 1,
            suite,
            list: ListKey::of(suite, &key),
            tenant: TenantId::from_bytes([2; 16]),
            bucket: BucketId::from_bytes([3; 16]),
            key,
        }
    }
}

/// Bucket keys, and when they were unwrapped.
type Cache = HashMap<BucketId, (Instant, Arc<BucketKey>)>;

fn expire(cache: &mut Cache, now: Instant) {
    cache.retain(|_, (made, _)| now.duration_since(*made) < BUCKET_KEY_TTL);
}

/// Unwraps keys; the only holder of the root key.
pub struct KeyRing {
    root: RootKey,
    control: Arc<ControlState>,
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
        Self { root, control, buckets: Mutex::new(HashMap::new()) }
    }

    /// A new tenant with its tenant key and log key, not yet stored.
    ///
    /// # Errors
    /// `Random` without randomness.
    pub fn new_tenant(&self, name: &str, id: TenantId, now: UtcMillis) -> Result<(TenantRow, TenantKeyRow), SealError> {
        let key_id = KeyId::from_bytes(random()?);
        let wrapped = self.wrap_root(id, *key_id.as_bytes(), &SecretKey::random()?)?;
        let log_key = self.wrap_root(id, *id.as_bytes(), &SecretKey::random()?)?;
        let residency = policy::residency::Residency::korea();
        Ok((
            TenantRow { id, name: name.to_owned(), created: now, residency, key: key_id, log_key },
            TenantKeyRow { id: key_id, tenant: id, version: 1, created: now, wrapped },
        ))
    }

    /// The wrapped key of a new bucket.
    ///
    /// # Errors
    /// `Missing` when the tenant has no key, `Seal` when it does not open.
    pub async fn new_bucket_key(&self, tenant: TenantId, bucket: BucketId) -> Result<Vec<u8>, Error> {
        let row: TenantRow = self.row(tenant.as_bytes()).await?;
        let key_row: TenantKeyRow = self.row(row.key.as_bytes()).await?;
        let outer = self.tenant_key(&key_row)?;
        Ok(BucketKey::create(&key_row, &outer, bucket)?.0)
    }

    /// The current key of a bucket, from the cache while it is fresh.
    ///
    /// # Errors
    /// `Seal` when it does not open: reads and writes then fail, never in the clear.
    pub async fn bucket_key(&self, bucket: &Bucket) -> Result<Arc<BucketKey>, Error> {
        if let Some(key) = self.cached(bucket.id) {
            return Ok(key);
        }
        let row = bucket.keys.last().ok_or(SealError::Malformed("bucket without a key"))?;
        let (id, rest) = row.split_first_chunk::<16>().ok_or(SealError::Malformed("bucket key"))?;
        let (version, wrapped) = rest.split_first_chunk::<4>().ok_or(SealError::Malformed("bucket key"))?;
        let (suite, tenant_key, tenant_key_version) = wrapped_by(wrapped)?;
        let key_row: TenantKeyRow = self.row(&tenant_key).await?;
        let outer = self.tenant_key(&key_row)?;
        let context = WrapContext {
            tenant: bucket.tenant,
            bucket: bucket.id,
            own: *id,
            wrapping: tenant_key,
            wrapping_version: tenant_key_version,
        };
        let (_, key) = unwrap(&outer, &context, wrapped)?;
        let key = Arc::new(BucketKey {
            id: KeyId::from_bytes(*id),
            version: u32::from_be_bytes(*version),
            suite,
            list: ListKey::of(suite, &key),
            tenant: bucket.tenant,
            bucket: bucket.id,
            key,
        });
        self.remember(bucket.id, Arc::clone(&key));
        Ok(key)
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

    fn tenant_key(&self, row: &TenantKeyRow) -> Result<SecretKey, SealError> {
        let context = self.root.context(row.tenant, *row.id.as_bytes());
        Ok(unwrap(&self.root.key, &context, &row.wrapped)?.1)
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
        (made.elapsed() < BUCKET_KEY_TTL).then(|| Arc::clone(key))
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
