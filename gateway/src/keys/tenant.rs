//! The life of tenant keys: made, rotated, and the bucket keys below them wrapped anew. What is made here is not
//! stored yet.

use std::collections::BTreeSet;

use policy::id::{KeyId, TenantId};
use policy::time::UtcMillis;
use storage::catalog::BucketRow;

use super::bucket::Stored;
use super::passage::on_record;
use super::{KeyRing, Purpose};
use crate::control::{Bucket, KeyVersionRow, Origin, TenantKeyRow};
use crate::error::Error;
use crate::provider::{Brought, NewKey, ProviderError, ProviderKind};
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

    /// The public key that a provider unwraps brought keys by itself with; none where ours is to be used.
    ///
    /// # Errors
    /// As [`Self::new_key`].
    pub async fn transport(&self, tenant: TenantId, provider: ProviderKind) -> Result<Option<String>, Error> {
        Ok(self.provider_for(tenant, provider).await?.transport().await?)
    }

    /// A tenant key that the tenant brings.
    ///
    /// # Errors
    /// As [`Self::new_key`].
    pub async fn imported(
        &self,
        (tenant, name): (TenantId, &str),
        provider: ProviderKind,
        suite: Suite,
        brought: Brought<'_>,
        now: UtcMillis,
    ) -> Result<TenantKeyRow, Error> {
        let key = NewKey { id: KeyId::from_bytes(random()?), tenant, suite };
        let first = self.provider_for(tenant, provider).await?.import(key, brought).await?.row(now);
        Ok(TenantKeyRow::new(name, key, provider, KeyVersionRow { origin: Origin::Imported, ..first }))
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
        purpose: Purpose<'_>,
    ) -> Result<Vec<(&'a Bucket, BucketRow)>, Error> {
        let to = row.current()?.number;
        let (mut places, mut olds) = (Vec::new(), Vec::new());
        for (at, bucket) in buckets.iter().enumerate() {
            for (which, key) in bucket.keys.iter().enumerate() {
                let stored = Stored::read(bucket.tenant, bucket.id, key)?;
                // Never down: a version that is made meanwhile wraps what it wraps.
                if stored.under == row.id && stored.under_version < to {
                    places.push((at, which));
                    olds.push(stored);
                }
            }
        }
        if olds.is_empty() {
            return Ok(Vec::new());
        }
        self.usable(row.id, purpose.reason).await?;
        let (provider, wrapped) = (self.provider_of(row).await?, olds.iter().map(Stored::wrapped).collect::<Vec<_>>());
        let keys = provider.unwrap(row, &wrapped, purpose.reason).await;
        on_record(purpose, row, &format!("{} bucket keys", olds.len()), keys.as_ref().err()).await?;
        let keys: Vec<_> = olds.iter().map(|old| old.context(to)).zip(keys?).collect();
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

    /// Destroys at its provider a key that was made there and that nothing knows of.
    pub async fn unmake(&self, row: &TenantKeyRow) {
        if row.provider == ProviderKind::SealedFile {
            return;
        }
        if let Err(error) = self.destroy(row).await {
            tracing::warn!(key = %row.id, %error, "a key that was made and not committed is left at its provider");
        }
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

    /// Destroys the versions of a key before this one at its provider, and says what was done and seen.
    ///
    /// # Errors
    /// `Provider` when it does not do it.
    pub async fn destroy_before(&self, row: &TenantKeyRow, version: u32) -> Result<String, Error> {
        Ok(self.provider_of(row).await?.destroy_before(row, version).await?)
    }

    /// Tries to unwrap keys of buckets by a key that was destroyed, or versions of it, with all that is stored: none may open. Gives how many
    /// were tried.
    ///
    /// # Errors
    /// `StillOpens` when one does, `Provider` when its provider does not answer.
    pub async fn opens_nothing(
        &self,
        row: &TenantKeyRow,
        buckets: &[Bucket],
        purpose: Purpose<'_>,
    ) -> Result<u64, Error> {
        let provider = self.provider_of(row).await?;
        let mut tried = 0;
        for bucket in buckets {
            for key in &bucket.keys {
                let stored = Stored::read(bucket.tenant, bucket.id, key)?;
                if stored.under != row.id {
                    continue;
                }
                let opened = provider.unwrap(row, &[stored.wrapped()], purpose.reason).await;
                let what = format!("version {} of the key of bucket {}", key.version, bucket.name);
                on_record(purpose, row, &what, opened.as_ref().err()).await?;
                match opened {
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

    /// Whether a bucket is on its way from one tenant key to another.
    ///
    /// # Errors
    /// `Malformed` when a key of it has no shape.
    pub fn moves(&self, bucket: &Bucket) -> Result<bool, SealError> {
        let mut under = Vec::new();
        for row in &bucket.keys {
            under.push(Stored::read(bucket.tenant, bucket.id, row)?.under);
        }
        Ok(under.windows(2).any(|pair| pair[0] != pair[1]))
    }

    /// The tenant keys that a bucket hangs on, and those that it hung on before.
    ///
    /// # Errors
    /// `Malformed` when a key of it has no shape.
    pub fn ever_hung_on(&self, bucket: &Bucket) -> Result<BTreeSet<KeyId>, SealError> {
        let mut keys: BTreeSet<KeyId> = bucket.hung_on.iter().copied().collect();
        for row in &bucket.keys {
            keys.insert(Stored::read(bucket.tenant, bucket.id, row)?.under);
        }
        Ok(keys)
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
