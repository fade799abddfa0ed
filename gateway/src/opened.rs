//! Versions that were opened a moment ago, for those who read them again: their rows, which were proved, and
//! their keys. Nothing that was sealed is kept open (SECURITY.md rule 10), and the keys live no longer than
//! the bucket key that they hang on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use policy::id::{BodyId, BucketId, TenantId, VersionId};
use storage::catalog::{CurrentRow, ManifestBody, VersionRow};

use crate::keys::BucketKey;
use crate::seal::body::BodyOpener;
use crate::seal::{SealError, SecretKey, Suite, VersionKey};

/// Versions of each of the two generations.
const GENERATION: usize = 4096;
/// Longer rows are not worth their memory: 32 MiB at most are kept in all.
const ROW_MAX: usize = 4096;

/// A version whose rows were read and proved by its manifest.
#[derive(Debug)]
pub struct OpenedVersion {
    /// The listed row that led to it.
    pub current: CurrentRow,
    /// Its row.
    pub row: VersionRow,
    /// Its key.
    pub key: VersionKey,
    /// The data key of its only body.
    data_key: OnceLock<(Suite, SecretKey)>,
}

impl OpenedVersion {
    /// A version that was proved.
    #[must_use]
    pub const fn new(current: CurrentRow, row: VersionRow, key: VersionKey) -> Self {
        Self { current, row, key, data_key: OnceLock::new() }
    }

    /// Bytes that keeping it takes, without those of its fixed parts.
    fn weight(&self) -> usize {
        let row = &self.row;
        let bodies: usize = row.bodies.iter().map(|body| size_of::<ManifestBody>() + body.envelope.len()).sum();
        let listed = self.current.list_values.len() + row.list_values.len();
        row.envelope.len() + row.manifest.len() + row.metadata.len() + listed + bodies
    }

    /// The only body, if its bytes lie in one.
    #[must_use]
    pub fn only_body(&self) -> Option<&ManifestBody> {
        match self.row.bodies.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Opens one of its bodies.
    ///
    /// # Errors
    /// `Refused` when its data key does not open.
    pub fn opener(&self, tenant: TenantId, bucket: BucketId, body: &ManifestBody) -> Result<BodyOpener, SealError> {
        let open = || self.key.open_data_key(tenant, bucket, *body.body.as_bytes(), &body.envelope);
        if self.row.bodies.len() > 1 {
            let (suite, key) = open()?;
            return BodyOpener::new(suite, &key, body.body, body.length);
        }
        let (suite, key) = match self.data_key.get() {
            Some(known) => known,
            None => {
                let opened = open()?;
                self.data_key.get_or_init(|| opened)
            }
        };
        BodyOpener::new(*suite, key, body.body, body.length)
    }
}

/// A version, under which name and bucket key it was opened.
#[derive(Debug)]
struct Entry {
    name: Box<[u8]>,
    bucket_key: Weak<BucketKey>,
    version: Arc<OpenedVersion>,
}

impl Entry {
    fn lives(&self) -> bool {
        self.bucket_key.strong_count() > 0
    }
}

/// The versions that were opened last, in two generations: what nobody asks for while one fills up goes.
#[derive(Debug, Default)]
pub struct OpenedVersions(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<VersionId, Entry>,
    old: HashMap<VersionId, Entry>,
}

impl OpenedVersions {
    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version that this very row led to, under this name and bucket key.
    #[must_use]
    pub fn get(&self, name: &[u8], bucket_key: &Arc<BucketKey>, current: &CurrentRow) -> Option<Arc<OpenedVersion>> {
        let mut generations = self.lock();
        if let Some(entry) = generations.old.remove(&current.version) {
            generations.keep(current.version, entry);
        }
        let entry = generations.young.get(&current.version)?;
        let same = *entry.name == *name
            && std::ptr::eq(entry.bucket_key.as_ptr(), Arc::as_ptr(bucket_key))
            && entry.version.current == *current;
        same.then(|| Arc::clone(&entry.version))
    }

    /// Keeps a version that was opened under a name and a bucket key.
    pub fn insert(&self, name: &[u8], bucket_key: &Arc<BucketKey>, version: &Arc<OpenedVersion>) {
        if version.weight() + name.len() > ROW_MAX {
            return;
        }
        let entry = Entry { name: name.into(), bucket_key: Arc::downgrade(bucket_key), version: Arc::clone(version) };
        self.lock().keep(version.row.version, entry);
    }

    /// Drops, and so wipes, the keys below bucket keys whose time is over.
    pub fn forget_expired(&self) {
        let mut generations = self.lock();
        generations.young.retain(|_, entry| entry.lives());
        generations.old.retain(|_, entry| entry.lives());
    }
}

impl Generations {
    fn keep(&mut self, version: VersionId, entry: Entry) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(version, entry);
    }
}

/// Sealed bytes of inline bodies, by body.
pub type InlineBodies = Vec<(BodyId, bytes::Bytes)>;

#[cfg(test)]
mod tests {
    use policy::time::UtcMillis;

    use super::*;

    fn current(version: u128) -> CurrentRow {
        CurrentRow {
            version: VersionId::from_bytes(version.to_be_bytes()),
            sequence: 1,
            size: 0,
            modified: UtcMillis(1),
            list_values: vec![1],
            digest: [2; 32],
        }
    }

    fn opened(current: &CurrentRow) -> Arc<OpenedVersion> {
        let row = VersionRow::empty(current.version, current.modified);
        Arc::new(OpenedVersion::new(current.clone(), row, VersionKey::random(Suite::Aes256Gcm).unwrap()))
    }

    #[test]
    fn a_version_is_found_under_its_name_and_bucket_key_and_by_the_very_row_that_led_to_it() {
        let (versions, row) = (OpenedVersions::default(), current(1));
        let [key, other] = [(); 2].map(|()| Arc::new(BucketKey::for_tests()));
        versions.insert(b"a", &key, &opened(&row));
        assert!(versions.get(b"a", &key, &row).is_some());
        assert!(versions.get(b"b", &key, &row).is_none(), "a row that was put under another name");
        assert!(versions.get(b"a", &other, &row).is_none(), "a bucket key that was unwrapped again");
        let changes: [fn(&mut CurrentRow); 5] = [
            |row| row.sequence += 1,
            |row| row.size += 1,
            |row| row.modified.0 += 1,
            |row| row.list_values.push(0),
            |row| row.digest[0] ^= 1,
        ];
        for change in changes {
            let mut changed = row.clone();
            change(&mut changed);
            assert!(versions.get(b"a", &key, &changed).is_none(), "{changed:?}");
        }
    }

    #[test]
    fn long_rows_are_not_kept() {
        let (versions, mut row) = (OpenedVersions::default(), current(1));
        let key = Arc::new(BucketKey::for_tests());
        row.list_values = vec![0; ROW_MAX - 1];
        versions.insert(b"a", &key, &opened(&row));
        assert!(versions.get(b"a", &key, &row).is_some());
        let mut longer = current(2);
        longer.list_values = vec![0; ROW_MAX];
        versions.insert(b"a", &key, &opened(&longer));
        assert!(versions.get(b"a", &key, &longer).is_none());
    }

    #[test]
    fn keys_go_with_the_bucket_key_that_they_hang_on() {
        let (versions, row) = (OpenedVersions::default(), current(1));
        let key = Arc::new(BucketKey::for_tests());
        let version = opened(&row);
        versions.insert(b"a", &key, &version);
        let held = Arc::downgrade(&version);
        drop(version);
        versions.forget_expired();
        assert!(held.upgrade().is_some());
        drop(key);
        versions.forget_expired();
        assert!(held.upgrade().is_none(), "nobody keeps it");
    }

    #[test]
    fn what_is_read_again_stays_and_the_rest_goes() {
        let versions = OpenedVersions::default();
        let key = Arc::new(BucketKey::for_tests());
        let rows: Vec<CurrentRow> = (0..3 * GENERATION as u128).map(current).collect();
        for row in &rows {
            versions.insert(b"a", &key, &opened(row));
            assert!(versions.get(b"a", &key, &rows[0]).is_some(), "asked for all the time");
        }
        let kept = rows.iter().filter(|row| versions.get(b"a", &key, row).is_some()).count();
        assert!((GENERATION..=2 * GENERATION).contains(&kept), "{kept}");
        assert!(versions.get(b"a", &key, &rows[1]).is_none());
    }
}
