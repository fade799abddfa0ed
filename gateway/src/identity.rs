//! Identities: access key -> principal, tenant, secret.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use policy::id::AccessKeyId;
use policy::principal::Actor;
use storage::catalog::Catalog;
use zeroize::Zeroizing;

use crate::control::{self, CredentialRow, PrincipalRow};
use crate::error::Error;
use crate::keys::KeyRing;

const CACHE_MAX: usize = 100_000;

/// Who an access key speaks for.
pub struct Account {
    /// The access key.
    pub access_key: AccessKeyId,
    /// The principal, its tenant, its role.
    pub actor: Actor,
    /// The secret half.
    pub secret: Zeroizing<String>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("access_key", &self.access_key)
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

/// Looks up access keys; a changed credential or principal calls [`Identities::forget`].
#[derive(Debug)]
pub struct Identities {
    catalog: Arc<dyn Catalog>,
    keys: Arc<KeyRing>,
    cache: RwLock<HashMap<String, Arc<Account>>>,
}

impl Identities {
    /// Identities of one catalog.
    #[must_use]
    pub fn new(catalog: Arc<dyn Catalog>, keys: Arc<KeyRing>) -> Self {
        Self { catalog, keys, cache: RwLock::new(HashMap::new()) }
    }

    /// The account of an access key; none when it is unknown, revoked or its principal disabled.
    ///
    /// # Errors
    /// `Catalog` when rows cannot be read, `Seal` when the secret does not open.
    pub async fn account(&self, access_key: &str) -> Result<Option<Arc<Account>>, Error> {
        if let Some(account) = self.cache.read().ok().and_then(|c| c.get(access_key).cloned()) {
            return Ok(Some(account));
        }
        let Some(row) = control::read::<CredentialRow>(&*self.catalog, access_key.as_bytes()).await? else {
            return Ok(None);
        };
        let Some(principal) = control::read::<PrincipalRow>(&*self.catalog, row.principal.as_bytes()).await? else {
            return Ok(None);
        };
        if !row.active || !principal.active {
            return Ok(None);
        }
        let secret = self.keys.open_secret(access_key.as_bytes(), &row.secret)?;
        let secret = String::from_utf8(secret.to_vec()).map_err(|_| Error::Corrupt("credential".to_owned()))?;
        let account = Arc::new(Account {
            access_key: row.access_key,
            actor: Actor { tenant: principal.tenant, principal: principal.id, role: principal.role, active: true },
            secret: Zeroizing::new(secret),
        });
        if let Ok(mut cache) = self.cache.write() {
            if cache.len() >= CACHE_MAX {
                cache.clear();
            }
            cache.insert(access_key.to_owned(), Arc::clone(&account));
        }
        Ok(Some(account))
    }

    /// Drops what is cached, after a revocation or a disabled principal: the next request reads anew.
    pub fn forget(&self) {
        if let Ok(mut cache) = self.cache.write() {
            cache.clear();
        }
    }
}
