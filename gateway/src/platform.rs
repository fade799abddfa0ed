//! The platform's own key. The root key wraps it, in one row of the catalog that says by which root key; from it come the
//! keys of control state, of the platform's log and of the secrets of credentials. So another root key may take the place of
//! the one before (SECURITY.md rule 16), and none of these changes.

use policy::id::{KeyId, TenantId};
use storage::catalog::{Before, Catalog, Change, Commit, ControlKind, ControlPut};

use crate::error::Error;
use crate::root::RootKey;
use crate::seal::wrap::{WrapContext, unwrap, wrap, wrapped_by};
use crate::seal::{SealError, SecretKey, Suite};

/// Where its row stands. It proves itself, being sealed: whoever would prove it is derived from it.
pub const ROW: &[u8] = b"platform-key";
const OWN: [u8; 16] = *b"gotgan-platform\0";

/// The platform's key.
#[derive(Debug, Clone)]
pub struct PlatformKey(SecretKey);

impl PlatformKey {
    /// A new one, of a store that is being made.
    ///
    /// # Errors
    /// `Random` without randomness.
    pub fn random() -> Result<Self, SealError> {
        SecretKey::random().map(Self)
    }

    /// The root key that a stored row hangs on.
    ///
    /// # Errors
    /// `Malformed` when it is no wrapped key.
    pub fn hangs_on(stored: &[u8]) -> Result<KeyId, SealError> {
        Ok(KeyId::from_bytes(wrapped_by(stored)?.1))
    }

    /// Opens its row.
    ///
    /// # Errors
    /// `Refused` for another root key or changed bytes.
    pub fn open(root: &RootKey, stored: &[u8]) -> Result<Self, SealError> {
        Ok(Self(unwrap(&root.key, &context(root), stored)?.1))
    }

    /// Its row under a root key.
    ///
    /// # Errors
    /// `Random` without a salt.
    pub fn wrapped(&self, root: &RootKey) -> Result<Vec<u8>, SealError> {
        wrap(Suite::Aes256Gcm, &root.key, &context(root), &self.0)
    }

    /// Stores it where there is none.
    ///
    /// # Errors
    /// `Seal` without a salt, `Commit` when it is there or cannot be written.
    pub async fn store(&self, root: &RootKey, catalog: &dyn Catalog) -> Result<(), Error> {
        let row = ControlPut {
            kind: ControlKind::Platform,
            id: ROW.to_vec(),
            value: self.wrapped(root)?,
            before: Before::Absent,
        };
        let change = Change::PutControl { rows: vec![row], buckets: Vec::new() };
        catalog.commit(Commit { change, record: None }).await?;
        Ok(())
    }

    /// The key that vouches for rows of control state.
    #[must_use]
    pub fn control(&self) -> SecretKey {
        Suite::Aes256Gcm.derive(&self.0, "control", &[])
    }

    /// The log key of records that belong to no tenant.
    #[must_use]
    pub fn log(&self) -> SecretKey {
        Suite::Aes256Gcm.derive(&self.0, "platform-log", &[])
    }

    /// The key under which secrets of credentials are sealed.
    #[must_use]
    pub fn secrets(&self) -> SecretKey {
        Suite::Aes256Gcm.derive(&self.0, "platform-secrets", &[])
    }
}

fn context(root: &RootKey) -> WrapContext {
    root.context(TenantId::from_bytes([0; 16]), OWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_root_key_takes_its_place() {
        let [one, two] = [(); 2].map(|()| RootKey::random().unwrap());
        let key = PlatformKey::random().unwrap();
        let [first, second] = [&one, &two].map(|root| key.wrapped(root).unwrap());
        assert_eq!((PlatformKey::hangs_on(&first), PlatformKey::hangs_on(&second)), (Ok(one.id), Ok(two.id)));
        assert_eq!(PlatformKey::open(&two, &second).unwrap().control().expose(), key.control().expose());
        assert!(PlatformKey::open(&two, &first).is_err() && PlatformKey::open(&one, &second).is_err());
        assert_ne!(key.control().expose(), key.log().expose());
    }
}
