//! The catalog of a store whose server is down, in hands that may write it.

use integration_tests::Store;
use rocksdb::{DB, Options};

/// Key and value.
pub(super) type Row = (Box<[u8]>, Box<[u8]>);

/// The catalog of a store whose server is down.
pub(super) struct Catalog(DB);

impl Catalog {
    pub(super) fn of(store: &Store) -> Self {
        let path = store.data().join("meta");
        let names = DB::list_cf(&Options::default(), &path).unwrap();
        Self(DB::open_cf(&Options::default(), &path, names).unwrap())
    }

    pub(super) fn rows(&self, family: &str) -> Vec<Row> {
        let handle = self.0.cf_handle(family).unwrap();
        self.0.iterator_cf(handle, rocksdb::IteratorMode::Start).map(Result::unwrap).collect()
    }

    pub(super) fn put(&self, family: &str, key: &[u8], value: &[u8]) {
        self.0.put_cf(self.0.cf_handle(family).unwrap(), key, value).unwrap();
    }

    pub(super) fn remove(&self, family: &str, key: &[u8]) {
        self.0.delete_cf(self.0.cf_handle(family).unwrap(), key).unwrap();
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        self.0.flush_wal(true).unwrap();
    }
}

/// Where `what` begins in `row`.
pub(super) fn find(row: &[u8], what: &[u8]) -> Option<usize> {
    row.windows(what.len()).position(|w| w == what)
}

/// `row` with other bytes of the same length in the place of `what`.
pub(super) fn with(row: &[u8], what: &[u8], other: &[u8]) -> Vec<u8> {
    let at = find(row, what).unwrap_or_else(|| panic!("{} in the row", String::from_utf8_lossy(what)));
    [&row[..at], other, &row[at + what.len()..]].concat()
}

/// Swaps the values of the first two keys of a column family that `wanted` admits.
pub(super) fn swap(store: &Store, family: &str, wanted: impl Fn(&[u8]) -> bool) {
    let catalog = Catalog::of(store);
    let rows: Vec<_> = catalog.rows(family).into_iter().filter(|(k, _)| wanted(k)).take(2).collect();
    let [(a, x), (b, y)] = rows.as_slice() else { panic!("two rows in {family}") };
    catalog.put(family, a, y);
    catalog.put(family, b, x);
}
