//! Identities: access key -> principal, tenant, secret.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use policy::id::AccessKeyId;
use policy::principal::Actor;
use zeroize::Zeroizing;

use crate::clock;
use crate::control::{ControlState, CredentialRow, PrincipalRow};
use crate::error::Error;
use crate::keys::KeyRing;

const CACHE_MAX: usize = 100_000;
/// How long an account is taken for what it was: a control lease (SECURITY.md rule 19).
const TTL: Duration = Duration::from_secs(10);

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
    control: Arc<ControlState>,
    keys: Arc<KeyRing>,
    cache: RwLock<Cache>,
}

/// Accounts that were read a moment ago.
#[derive(Debug, Default)]
struct Cache {
    /// Grows with each change of a credential or principal.
    generation: u64,
    accounts: HashMap<String, (Instant, Arc<Account>)>,
}

impl Cache {
    fn get(&self, access_key: &str, now: Instant) -> Option<Arc<Account>> {
        let (read, account) = self.accounts.get(access_key)?;
        (now.duration_since(*read) < TTL).then(|| Arc::clone(account))
    }

    /// Keeps an account whose rows were read under `generation`: if something changed since, they may be old ones.
    fn insert(&mut self, generation: u64, now: Instant, account: &Arc<Account>) {
        if generation != self.generation {
            return;
        }
        if self.accounts.len() >= CACHE_MAX {
            self.accounts.clear();
        }
        self.accounts.insert(account.access_key.to_string(), (now, Arc::clone(account)));
    }

    fn forget(&mut self) {
        self.generation += 1;
        self.accounts.clear();
    }
}

impl Identities {
    /// Identities of one platform.
    #[must_use]
    pub fn new(control: Arc<ControlState>, keys: Arc<KeyRing>) -> Self {
        Self { control, keys, cache: RwLock::default() }
    }

    /// The account of an access key; none when it is unknown, revoked or its principal disabled.
    ///
    /// # Errors
    /// `Catalog` when rows cannot be read, `Seal` when the secret does not open.
    pub async fn account(&self, access_key: &str) -> Result<Option<Arc<Account>>, Error> {
        let now = Instant::now();
        let generation = {
            let cache = self.cache.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(account) = cache.get(access_key, now) {
                return Ok(Some(account));
            }
            cache.generation
        };
        let Some(row) = self.control.row::<CredentialRow>(access_key.as_bytes()).await? else {
            return Ok(None);
        };
        let Some(principal) = self.control.row::<PrincipalRow>(row.principal.as_bytes()).await? else {
            return Ok(None);
        };
        let over = row.invited_until.is_some_and(|until| until <= clock::now());
        if !row.active || !principal.active || over {
            return Ok(None);
        }
        let invited = row.invited_until.is_some();
        let secret = self.keys.open_secret(access_key.as_bytes(), &row.secret)?;
        let secret = String::from_utf8(secret.to_vec()).map_err(|_| Error::Corrupt("credential".to_owned()))?;
        let account = Arc::new(Account {
            access_key: row.access_key,
            actor: Actor {
                tenant: principal.tenant,
                principal: principal.id,
                role: principal.role,
                active: true,
                invited,
            },
            secret: Zeroizing::new(secret),
        });
        self.cache.write().unwrap_or_else(PoisonError::into_inner).insert(generation, now, &account);
        Ok(Some(account))
    }

    /// Whether the account still speaks for its principal.
    ///
    /// # Errors
    /// As [`Self::account`].
    pub async fn holds(&self, account: &Account) -> Result<bool, Error> {
        Ok(self.account(account.access_key.as_str()).await?.is_some())
    }

    /// Drops what is cached, after a revocation or a disabled principal: the next request reads anew.
    pub fn forget(&self) {
        self.cache.write().unwrap_or_else(PoisonError::into_inner).forget();
    }
}

#[cfg(test)]
mod tests {
    use policy::id::PrincipalId;
    use policy::principal::Role;

    use super::*;

    fn account() -> Arc<Account> {
        let principal = PrincipalId::from_bytes([1; 16]);
        Arc::new(Account {
            access_key: "GTGNAAAABBBBCCCCDDDD".parse().unwrap(),
            actor: Actor { tenant: None, principal, role: Role::Engineer, active: true, invited: false },
            secret: Zeroizing::default(),
        })
    }

    #[test]
    fn accounts_are_read_again_after_a_while() {
        let (mut cache, account, now) = (Cache::default(), account(), Instant::now());
        let key = account.access_key.to_string();
        cache.insert(0, now, &account);
        assert!(cache.get(&key, now + TTL / 2).is_some());
        assert!(cache.get(&key, now + TTL).is_none());
    }

    #[test]
    fn rows_read_before_a_change_are_not_kept_after_it() {
        let (mut cache, account, now) = (Cache::default(), account(), Instant::now());
        let key = account.access_key.to_string();
        let read_under = cache.generation;
        cache.forget();
        cache.insert(read_under, now, &account);
        assert!(cache.get(&key, now).is_none());
        cache.insert(cache.generation, now, &account);
        assert!(cache.get(&key, now).is_some());
        cache.forget();
        assert!(cache.get(&key, now).is_none());
    }
}
