//! The life of tenant keys: made, rotated, and the bucket keys below them wrapped anew. What is made here is not
//! stored yet.

use policy::id::{KeyId, TenantId};
use policy::time::UtcMillis;
use storage::catalog::BucketRow;

use super::KeyRing;
use super::bucket::Stored;
use crate::control::{Bucket, TenantKeyRow};
use crate::error::Error;
use crate::provider::{NewKey, ProviderError, ProviderKind};
use crate::seal::key::random;
use crate::seal::{SealError, Suite};

/// Bucket keys that are tried after a destruction.
const TRIED_MAX: u64 = 100;

impl KeyRing {
    /// A new tenant key.
    ///
    /// # Errors
    /// `Denied` when the provider stands where the tenant's keys may not rest, `Provider` when it makes none.
    pub async fn new_key(
        &self,
        (tenant, name): (TenantId, &str),
        provider: ProviderKind,
        suite: Suite,
        now: UtcMillis,
    ) -> Result<TenantKeyRow, Error> {
        let key = NewKey { id: KeyId::from_bytes(random()?), tenant, suite };
        let first = self.provider_for(tenant, provider).await?.create(key).await?;
        Ok(TenantKeyRow::new(name, key, provider, first.row(now)))
    }

    /// A tenant key with one more version, by which bucket keys are wrapped from then on.
    ///
    /// # Errors
    /// As [`Self::new_key`].
    pub async fn rotated(&self, row: &TenantKeyRow, now: UtcMillis) -> Result<TenantKeyRow, Error> {
        let version = self.provider_of(row).await?.rotate(row).await?;
        let mut row = row.clone();
        row.versions.push(version.row(now));
        Ok(row)
    }

    /// Those of some buckets that have keys under older versions of a tenant key, with these wrapped by its last one,
    /// not yet proved. What the bucket keys wrap stays as it is.
    ///
    /// # Errors
    /// `Provider` when a key is not unwrapped or wrapped.
    pub async fn rewrapped<'a>(
        &self,
        buckets: &'a [Bucket],
        row: &TenantKeyRow,
    ) -> Result<Vec<(&'a Bucket, BucketRow)>, Error> {
        let to = row.current()?.number;
        let (mut places, mut olds) = (Vec::new(), Vec::new());
        for (at, bucket) in buckets.iter().enumerate() {
            for (which, key) in bucket.keys.iter().enumerate() {
                let stored = Stored::read(bucket.tenant, bucket.id, key)?;
                if stored.under == row.id && stored.under_version != to {
                    places.push((at, which));
                    olds.push(stored);
                }
            }
        }
        if olds.is_empty() {
            return Ok(Vec::new());
        }
        let provider = self.provider_of(row).await?;
        let keys = provider.unwrap(row, &olds.iter().map(Stored::wrapped).collect::<Vec<_>>()).await?;
        let keys: Vec<_> = olds.iter().map(|old| old.context(to)).zip(keys).collect();
        let wrapped = provider.wrap(row, &keys).await?;
        let mut changed: Vec<(&Bucket, BucketRow)> = Vec::new();
        for ((at, which), (old, wrapped)) in places.into_iter().zip(olds.iter().zip(&wrapped)) {
            let Some(bucket) = buckets.get(at) else { continue };
            if changed.last().is_none_or(|(last, _)| last.id != bucket.id) {
                changed.push((bucket, BucketRow::clone(bucket)));
            }
            if let Some(key) = changed.last_mut().and_then(|(_, row)| row.keys.get_mut(which)) {
                *key = old.with(wrapped);
            }
        }
        Ok(changed)
    }

    /// Whether its provider holds this very key.
    ///
    /// # Errors
    /// `Provider` when it does not, or does not answer.
    pub async fn holds(&self, row: &TenantKeyRow) -> Result<(), Error> {
        Ok(self.provider_of(row).await?.holds(row).await?)
    }

    /// Destroys a key at its provider, and says what was done and seen.
    ///
    /// # Errors
    /// `Provider` when it does not do it.
    pub async fn destroy(&self, row: &TenantKeyRow) -> Result<String, Error> {
        Ok(self.provider_of(row).await?.destroy(row).await?)
    }

    /// Tries to unwrap keys of buckets by a key that was destroyed, with all that is stored of it: none may open. Gives how many
    /// were tried.
    ///
    /// # Errors
    /// `StillOpens` when one does, `Provider` when its provider does not answer.
    pub async fn opens_nothing(&self, row: &TenantKeyRow, buckets: &[Bucket]) -> Result<u64, Error> {
        let provider = self.provider_of(row).await?;
        let mut tried = 0;
        for bucket in buckets {
            for key in &bucket.keys {
                let stored = Stored::read(bucket.tenant, bucket.id, key)?;
                if stored.under != row.id {
                    continue;
                }
                match provider.unwrap(row, &[stored.wrapped()]).await {
                    Ok(_) => return Err(Error::StillOpens(row.id)),
                    Err(error @ ProviderError::Unavailable { .. }) => return Err(error.into()),
                    Err(_) => tried += 1,
                }
                if tried >= TRIED_MAX {
                    return Ok(tried);
                }
            }
        }
        Ok(tried)
    }

    /// Whether a key of a bucket hangs on a tenant key.
    ///
    /// # Errors
    /// `Malformed` when one has no shape.
    pub fn hangs_on(&self, bucket: &Bucket, key: KeyId) -> Result<bool, SealError> {
        let stored = bucket.keys.iter().map(|row| Stored::read(bucket.tenant, bucket.id, row));
        stored.into_iter().try_fold(false, |any, stored| Ok(any || stored?.under == key))
    }
}
