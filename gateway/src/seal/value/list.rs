//! List values: `ciphertext || tag`, under a key of the bucket for the 65.536 s in which the version
//! id was made (its first 4 bytes); nonce = its other 12 bytes. Version ids are unique, so the
//! pair (key, nonce) is too.

use std::sync::{Arc, Mutex, PoisonError};

use policy::id::{BucketId, TenantId, VersionId};

use super::{Owner, put_bucket, put_version};
use crate::seal::suite::Cipher;
use crate::seal::{SealError, SecretKey, Suite};

/// A window and its cipher.
type Window = ([u8; 4], Arc<Cipher>);

/// Opens and seals the list values of one bucket.
#[derive(Debug)]
pub struct ListKey {
    suite: Suite,
    key: SecretKey,
    /// The window used last: neighbours in a list were often written together.
    recent: Mutex<Option<Window>>,
}

impl ListKey {
    /// The list key of a bucket key.
    #[must_use]
    pub fn of(suite: Suite, bucket_key: &SecretKey) -> Self {
        Self { suite, key: suite.derive(bucket_key, "list", &[]), recent: Mutex::default() }
    }

    /// Seals list values of a version; size and time are bound, so that a list cannot lie about them.
    ///
    /// # Errors
    /// `Malformed` when the cipher refuses the length.
    pub fn seal(&self, owner: &Owner<'_>, size: u64, modified: u64, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let (window, nonce) = split(owner.version);
        let mut aad = owner.aad(self.suite);
        put_facts(&mut aad, size, modified);
        let mut out = content.to_vec();
        let tag = self.window(window)?.seal(nonce, &aad, &mut out)?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Opens list values.
    ///
    /// # Errors
    /// `Refused` for another version, name, size or time.
    pub fn open(&self, owner: &Owner<'_>, size: u64, modified: u64, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut opener = self.opener(owner.tenant, owner.bucket);
        opener.open(owner.name, owner.version, size, modified, sealed).map(<[u8]>::to_vec)
    }

    /// Opens many list values of one bucket: what they share is made once.
    #[must_use]
    pub fn opener(&self, tenant: TenantId, bucket: BucketId) -> ListOpener<'_> {
        let mut aad = Vec::with_capacity(256);
        put_bucket(&mut aad, self.suite, tenant, bucket);
        let windows = std::array::from_fn(|_| None);
        ListOpener { key: self, windows, shared: aad.len(), aad, data: Vec::with_capacity(128) }
    }

    fn window(&self, window: [u8; 4]) -> Result<Arc<Cipher>, SealError> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, cipher)) = &*recent
            && *of == window
        {
            return Ok(Arc::clone(cipher));
        }
        let cipher = Arc::new(self.suite.cipher(&self.suite.derive(&self.key, "list-window", &window))?);
        *recent = Some((window, Arc::clone(&cipher)));
        Ok(cipher)
    }
}

/// Windows that an opener has at hand: what was written within a quarter of an hour shares no place here.
const WINDOWS: usize = 16;

/// Opens the list values of a page, row by row, in memory that each row uses again.
#[derive(Debug)]
pub struct ListOpener<'a> {
    key: &'a ListKey,
    windows: [Option<Window>; WINDOWS],
    aad: Vec<u8>,
    /// Bytes of the AAD that every row has.
    shared: usize,
    data: Vec<u8>,
}

impl ListOpener<'_> {
    /// Opens the values of one row.
    ///
    /// # Errors
    /// `Refused` for another version, name, size or time.
    pub fn open(
        &mut self,
        name: &[u8],
        version: VersionId,
        size: u64,
        modified: u64,
        sealed: &[u8],
    ) -> Result<&[u8], SealError> {
        let (window, nonce) = split(version);
        self.aad.truncate(self.shared);
        put_version(&mut self.aad, name, version);
        put_facts(&mut self.aad, size, modified);
        self.data.clear();
        self.data.extend_from_slice(sealed);
        let place = usize::from(window[3]) % WINDOWS;
        let cipher = match self.windows.get_mut(place) {
            Some(Some((of, cipher))) if *of == window => cipher,
            Some(other) => &mut other.insert((window, self.key.window(window)?)).1,
            None => return Err(SealError::Malformed("list window")),
        };
        cipher.open(nonce, &self.aad, &mut self.data, "list values").map(|plain| &*plain)
    }
}

/// The window that a version was made in, and the nonce that is its own there.
fn split(version: VersionId) -> ([u8; 4], [u8; 12]) {
    let [w0, w1, w2, w3, nonce @ ..] = *version.as_bytes();
    ([w0, w1, w2, w3], nonce)
}

fn put_facts(aad: &mut Vec<u8>, size: u64, modified: u64) {
    aad.extend_from_slice(&size.to_be_bytes());
    aad.extend_from_slice(&modified.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opener_opens_rows_of_many_windows_in_any_order_and_no_other() {
        let list = ListKey::of(Suite::Aes256Gcm, &SecretKey::from_bytes([9; 32]));
        let version =
            |n: u8| VersionId::from_bytes([&[0, 0, n % 3, n], [n; 12].as_slice()].concat().try_into().unwrap());
        // Two windows each for some places, none for others, and each row a second time.
        let rows: Vec<u8> = (0..40).chain([16, 0, 32, 7]).chain(0..40).collect();
        let name = |n: u8| vec![b'n'; usize::from(n) + 1];
        let sealed = |n: u8| {
            let name = name(n);
            let owner = Owner { version: version(n), ..Owner::for_tests(&name) };
            list.seal(&owner, u64::from(n), 8, &vec![n; usize::from(n)]).unwrap()
        };
        let mut opener = list.opener(Owner::for_tests(b"").tenant, Owner::for_tests(b"").bucket);
        for n in rows {
            let (size, sealed) = (u64::from(n), sealed(n));
            assert_eq!(opener.open(&name(n), version(n), size, 8, &sealed).unwrap(), vec![n; usize::from(n)]);
            assert!(opener.open(&name(n), version(n + 1), size, 8, &sealed).is_err());
            assert!(opener.open(b"other", version(n), size, 8, &sealed).is_err());
            assert!(opener.open(&name(n), version(n), size + 1, 8, &sealed).is_err());
            assert!(opener.open(&name(n), version(n), size, 9, &sealed).is_err());
        }
        let mut elsewhere = list.opener(Owner::for_tests(b"").tenant, BucketId::from_bytes([7; 16]));
        assert!(elsewhere.open(&name(5), version(5), 5, 8, &sealed(5)).is_err());
    }
}
