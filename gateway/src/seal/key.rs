//! Key material in memory: zeroized when dropped, never printed.

use std::cell::RefCell;
use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use super::locked::Locked;
use super::{SealError, Suite};

/// 256 bits of key, in locked memory. Wiped on drop; `Debug` shows nothing; not serialisable.
pub struct SecretKey(Locked);

impl Clone for SecretKey {
    fn clone(&self) -> Self {
        Self(Locked::new(&self.0))
    }
}

impl SecretKey {
    /// Takes 32 bytes as a key.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(Locked::new(&bytes))
    }

    /// A fresh random key.
    ///
    /// # Errors
    /// `Random` when the system gives no random bytes.
    pub fn random() -> Result<Self, SealError> {
        secret::<32>().map(Self::from_bytes)
    }

    /// The bytes, for a cipher or a MAC only.
    #[must_use]
    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// The key of one object version: wraps its data keys, seals its manifest and metadata.
#[derive(Debug, Clone)]
pub struct VersionKey {
    pub(super) suite: Suite,
    pub(super) key: SecretKey,
    pub(super) id: [u8; 16],
}

impl VersionKey {
    /// A fresh version key, made at PUT or CreateMultipartUpload.
    ///
    /// # Errors
    /// `Random` when the system gives no random bytes.
    pub fn random(suite: Suite) -> Result<Self, SealError> {
        SecretKey::random().map(|key| Self::from_key(suite, key))
    }

    /// Its id is derived from it, so that an envelope names the very key that wraps it.
    pub(super) fn from_key(suite: Suite, key: SecretKey) -> Self {
        let mut id = [0; 16];
        let derived = suite.derive(&key, "version-key-id", &[]);
        id.copy_from_slice(derived.expose().split_at(16).0);
        Self { suite, key, id }
    }

    /// The key under which the platform's own secrets are sealed; no object hangs on it.
    pub(crate) fn of_platform(key: SecretKey) -> Self {
        Self::from_key(Suite::Aes256Gcm, key)
    }

    /// The suite that it was made for.
    #[must_use]
    pub const fn suite(&self) -> Suite {
        self.suite
    }
}

/// Bytes that are asked of the system at once.
const STOCK: usize = 1024;

thread_local! {
    static STOCKS: RefCell<(usize, [u8; STOCK])> = const { RefCell::new((STOCK, [0; STOCK])) };
}

/// `N` random bytes for an id or a salt, which are no secrets: drawn from the system's source in stocks, for
/// each draw is a system call. Keys are made by [`SecretKey::random`], secrets by [`secret`].
///
/// # Errors
/// `Random` when the system gives none.
pub fn random<const N: usize>() -> Result<[u8; N], SealError> {
    const { assert!(N <= STOCK) };
    STOCKS.with_borrow_mut(|(used, stock)| {
        if *used + N > STOCK {
            *stock = secret()?;
            *used = 0;
        }
        let mut out = [0; N];
        out.copy_from_slice(&stock[*used..*used + N]);
        *used += N;
        Ok(out)
    })
}

/// `N` bytes from the system's random source, kept nowhere.
///
/// # Errors
/// `Random` when the system gives none.
pub fn secret<const N: usize>() -> Result<[u8; N], SealError> {
    let mut out = [0; N];
    SystemRandom::new().fill(&mut out).map_err(|_| SealError::Random)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_random_bytes_are_given_twice() {
        let draw = || (0..3 * STOCK / 16).map(|_| random::<16>().unwrap());
        let other = std::thread::spawn(move || draw().collect::<Vec<_>>());
        let all: std::collections::HashSet<[u8; 16]> = draw().chain(other.join().unwrap()).collect();
        assert_eq!(all.len(), 2 * (3 * STOCK / 16));
    }

    #[test]
    fn debug_shows_no_key() {
        let key = SecretKey::from_bytes([0xab; 32]);
        assert_eq!(format!("{key:?}"), "SecretKey(..)");
        let version = VersionKey::from_key(Suite::Aes256Gcm, key);
        assert!(!format!("{version:?}").contains("abab"));
        assert!(!format!("{version:?}").contains("171, 171"));
    }
}
