//! Tenant keys of the sealed-file provider: their versions are wrapped under the root key.

use policy::id::{KeyId, TenantId};
use policy::time::UtcMillis;

use super::bucket::Outer;
use crate::control::{KeyState, KeyVersionRow, TenantKeyRow};
use crate::root::RootKey;
use crate::seal::key::random;
use crate::seal::wrap::{unwrap, wrap};
use crate::seal::{SealError, SecretKey, Suite};

/// A new key with its first version.
pub(super) fn create(
    root: &RootKey,
    (tenant, name): (TenantId, &str),
    suite: Suite,
    now: UtcMillis,
) -> Result<TenantKeyRow, SealError> {
    let id = KeyId::from_bytes(random()?);
    let mut row = TenantKeyRow {
        id,
        tenant,
        name: name.to_owned(),
        state: KeyState::Active,
        suite,
        created: now,
        versions: Vec::new(),
    };
    add_version(root, &mut row, now)?;
    Ok(row)
}

/// Adds a version, which wraps from then on; the ones before still unwrap.
pub(super) fn add_version(root: &RootKey, row: &mut TenantKeyRow, now: UtcMillis) -> Result<(), SealError> {
    let number = row.versions.last().map_or(1, |last| last.number + 1);
    let key = SecretKey::random()?;
    let wrapped = wrap(Suite::Aes256Gcm, &root.key, &root.context(row.tenant, *row.id.as_bytes()), &key)?;
    row.versions.push(KeyVersionRow { number, created: now, fingerprint: fingerprint(row, number, &key), wrapped });
    Ok(())
}

/// Unwraps one version.
pub(super) fn open(root: &RootKey, row: &TenantKeyRow, number: u32) -> Result<Outer, SealError> {
    let known = row.versions.iter().find(|version| version.number == number);
    let version = known.ok_or(SealError::Malformed("version of a tenant key"))?;
    let (_, key) = unwrap(&root.key, &root.context(row.tenant, *row.id.as_bytes()), &version.wrapped)?;
    // Versions are wrapped alike: only this says that it is the one that was made under the number.
    if fingerprint(row, number, &key) != version.fingerprint {
        return Err(SealError::Refused("tenant key"));
    }
    Ok(Outer { id: row.id, version: number, suite: row.suite, key })
}

/// What may be shown of a version, and is another for every other key, version or tenant: the first half of a proof.
fn fingerprint(row: &TenantKeyRow, number: u32, key: &SecretKey) -> String {
    let context = [row.tenant.as_bytes().as_slice(), row.id.as_bytes(), &number.to_be_bytes()];
    let [proof @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
        row.suite.prove(key, "tenant-key-fingerprint", &context);
    hex::encode(proof)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_opens_as_itself_and_no_other() {
        let root = RootKey { id: KeyId::from_bytes([9; 16]), key: SecretKey::from_bytes([1; 32]) };
        let tenant = TenantId::from_bytes([2; 16]);
        let mut row = create(&root, (tenant, "k"), Suite::Aes256Gcm, UtcMillis(1)).unwrap();
        add_version(&root, &mut row, UtcMillis(2)).unwrap();
        let [one, two] = [1, 2].map(|number| open(&root, &row, number).unwrap());
        assert!((one.version, two.version) == (1, 2) && one.key.expose() != two.key.expose());
        assert!(row.versions[0].fingerprint != row.versions[1].fingerprint && row.versions[0].fingerprint.len() == 32);
        assert!(open(&root, &row, 3).is_err());
        let mut exchanged = row.clone();
        exchanged.versions[1].wrapped = row.versions[0].wrapped.clone();
        assert!(open(&root, &exchanged, 2).is_err(), "another version under its number");
        let other = RootKey { key: SecretKey::from_bytes([3; 32]), ..root };
        assert!(open(&other, &row, 1).is_err());
    }
}
