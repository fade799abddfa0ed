//! The sealed file: tenant keys are wrapped under the root key, which lies outside the data directory.

use async_trait::async_trait;
use policy::place::VerifiedPlace;
use policy::reason::Reason;

use super::{Brought, KeyProvider, NewKey, NewVersion, ProviderError, ProviderKind, Wrapped};
use crate::control::TenantKeyRow;
use crate::root::RootInUse;
use crate::seal::wrap::{WrapContext, unwrap, wrap};
use crate::seal::{SealError, SecretKey, Suite};

const BY_A_ROUND: &str = "its keys are destroyed by a round that replaces the root key";

/// The provider of one machine.
#[derive(Debug)]
pub struct SealedFile {
    root: RootInUse,
}

impl SealedFile {
    /// The provider of a root key.
    #[must_use]
    pub const fn new(root: RootInUse) -> Self {
        Self { root }
    }

    /// Makes a key with its first version. It asks nobody.
    ///
    /// # Errors
    /// `Random` without randomness.
    pub fn create_now(&self, key: NewKey) -> Result<NewVersion, SealError> {
        self.make(key, 1)
    }

    fn make(&self, of: NewKey, number: u32) -> Result<NewVersion, SealError> {
        self.keep(of, number, &SecretKey::random()?)
    }

    fn keep(&self, of: NewKey, number: u32, key: &SecretKey) -> Result<NewVersion, SealError> {
        let root = self.root.now();
        let wrapped = wrap(Suite::Aes256Gcm, &root.key, &root.context(of.tenant, *of.id.as_bytes()), key)?;
        Ok(NewVersion { number, fingerprint: fingerprint(of, number, key), wrapped })
    }

    /// Unwraps one version.
    fn open(&self, row: &TenantKeyRow, number: u32) -> Result<SecretKey, SealError> {
        let known = row.versions.iter().find(|version| version.number == number);
        let version = known.ok_or(SealError::Malformed("version of a tenant key"))?;
        let root = self.root.now();
        let (_, key) = unwrap(&root.key, &root.context(row.tenant, *row.id.as_bytes()), &version.wrapped)?;
        // Versions are wrapped alike: only this says that it is the one that was made under the number.
        if fingerprint(row.facts(), number, &key) != version.fingerprint {
            return Err(SealError::Refused("tenant key"));
        }
        Ok(key)
    }
}

/// What may be shown of a version, and is another for every other key, version or tenant: the first half of a proof.
fn fingerprint(of: NewKey, number: u32, key: &SecretKey) -> String {
    let context = [of.tenant.as_bytes().as_slice(), of.id.as_bytes(), &number.to_be_bytes()];
    let mut proof = of.suite.prove(key, "tenant-key-fingerprint", &context).to_vec();
    proof.truncate(16);
    hex::encode(proof)
}

#[async_trait]
impl KeyProvider for SealedFile {
    fn kind(&self) -> ProviderKind {
        ProviderKind::SealedFile
    }

    fn place(&self) -> Option<VerifiedPlace> {
        None
    }

    async fn create(&self, key: NewKey) -> Result<NewVersion, ProviderError> {
        Ok(self.create_now(key)?)
    }

    async fn import(&self, key: NewKey, brought: Brought<'_>) -> Result<NewVersion, ProviderError> {
        match brought {
            Brought::Opened(brought) => Ok(self.keep(key, 1, &brought)?),
            Brought::Wrapped(_) => {
                Err(ProviderKind::SealedFile.refused("name the transport key that it is wrapped to"))
            }
        }
    }

    async fn rotate(&self, row: &TenantKeyRow) -> Result<NewVersion, ProviderError> {
        Ok(self.make(row.facts(), row.current()?.number + 1)?)
    }

    async fn wrap(
        &self,
        row: &TenantKeyRow,
        bucket_keys: &[(WrapContext, SecretKey)],
    ) -> Result<Vec<Vec<u8>>, ProviderError> {
        let mut out = Vec::with_capacity(bucket_keys.len());
        for (context, key) in bucket_keys {
            out.push(wrap(row.suite, &self.open(row, context.wrapping_version)?, context, key)?);
        }
        Ok(out)
    }

    async fn unwrap(
        &self,
        row: &TenantKeyRow,
        wrapped: &[Wrapped<'_>],
        _reason: Reason,
    ) -> Result<Vec<SecretKey>, ProviderError> {
        let mut out = Vec::with_capacity(wrapped.len());
        for (context, bytes) in wrapped {
            out.push(unwrap(&self.open(row, context.wrapping_version)?, context, bytes)?.1);
        }
        Ok(out)
    }

    async fn holds(&self, row: &TenantKeyRow) -> Result<(), ProviderError> {
        self.open(row, row.current()?.number)?;
        Ok(())
    }

    /// Here no single key can be: the root key that wraps it has copies of it in every backup of the catalog.
    async fn destroy(&self, _key: &TenantKeyRow) -> Result<String, ProviderError> {
        Err(ProviderKind::SealedFile.refused(BY_A_ROUND))
    }

    async fn destroy_before(&self, _key: &TenantKeyRow, _version: u32) -> Result<String, ProviderError> {
        Err(ProviderKind::SealedFile.refused(BY_A_ROUND))
    }
}

#[cfg(test)]
mod tests {
    use policy::id::{BucketId, KeyId, TenantId};
    use policy::time::UtcMillis;

    use super::*;
    use crate::control::KeyState;
    use crate::root::RootKey;

    #[tokio::test]
    async fn every_version_opens_as_itself_and_no_other() {
        let root = RootKey { id: KeyId::from_bytes([9; 16]), key: SecretKey::from_bytes([1; 32]) };
        let provider = SealedFile::new(RootInUse::new(root.clone()));
        let facts = NewKey {
            id: KeyId::from_bytes([8; 16]),
            tenant: TenantId::from_bytes([2; 16]),
            suite: Suite::ChaCha20Poly1305,
        };
        let first = provider.create(facts).await.unwrap().row(UtcMillis(1));
        let mut row = TenantKeyRow::new("k", facts, ProviderKind::SealedFile, first);
        row.versions.push(provider.rotate(&row).await.unwrap().row(UtcMillis(2)));
        assert!(row.state == KeyState::Active && row.versions[1].number == 2);
        let [one, two] = [1, 2].map(|number| provider.open(&row, number).unwrap());
        assert!(one.expose() != two.expose() && provider.open(&row, 3).is_err());
        assert!(row.versions[0].fingerprint != row.versions[1].fingerprint && row.versions[0].fingerprint.len() == 32);
        let context = |wrapping_version| WrapContext {
            tenant: facts.tenant,
            bucket: BucketId::from_bytes([3; 16]),
            own: [4; 16],
            wrapping: *facts.id.as_bytes(),
            wrapping_version,
        };
        let key = SecretKey::from_bytes([5; 32]);
        let wrapped = provider.wrap(&row, &[(context(1), key.clone())]).await.unwrap();
        let opened = provider.unwrap(&row, &[(context(1), &wrapped[0])], Reason::CustomerRequest).await.unwrap();
        assert_eq!(opened[0].expose(), key.expose());
        assert!(provider.unwrap(&row, &[(context(2), &wrapped[0])], Reason::CustomerRequest).await.is_err());
        let mut exchanged = row.clone();
        exchanged.versions[1].wrapped = row.versions[0].wrapped.clone();
        assert!(provider.open(&exchanged, 2).is_err(), "another version under its number");
        let other = SealedFile::new(RootInUse::new(RootKey { key: SecretKey::from_bytes([3; 32]), ..root }));
        assert!(other.open(&row, 1).is_err());
    }
}
