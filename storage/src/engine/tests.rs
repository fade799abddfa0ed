//! Databases that open, and those that must not.

use std::path::{Path, PathBuf};

use rocksdb::WriteOptions;

use super::*;

pub(super) const FAMILIES: [(&str, Content); 2] = [("one", Content::Rows), ("two", Content::Rows)];

pub(super) fn open(dir: &Path) -> Result<Database, OpenError> {
    Engine::new().open(dir, &FAMILIES)
}

pub(super) fn logs(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    logs
}

pub(super) fn synced() -> WriteOptions {
    let mut synced = WriteOptions::default();
    synced.set_sync(true);
    synced
}

fn cut(path: &Path, by: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() - by).unwrap();
}

/// Two logs of which both are needed: the first is closed because another family was flushed.
fn two_logs(dir: &Path) {
    let db = open(dir).unwrap();
    for (family, key) in [("one", "a"), ("one", "b"), ("two", "c")] {
        db.put_cf_opt(db.cf_handle(family).unwrap(), key, [7; 100], &synced()).unwrap();
    }
    db.flush_cf(db.cf_handle("two").unwrap()).unwrap();
    for key in ["d", "e"] {
        db.put_cf_opt(db.cf_handle("one").unwrap(), key, [7; 100], &synced()).unwrap();
    }
}

#[test]
fn a_closed_log_that_was_cut_short_is_told_and_a_torn_tail_is_not() {
    let dir = tempfile::tempdir().unwrap();
    two_logs(dir.path());
    let log = logs(dir.path());
    assert_eq!(log.len(), 2);
    let whole = std::fs::read(&log[0]).unwrap();
    cut(&log[0], 10);
    assert!(matches!(open(dir.path()), Err(OpenError::Damaged { .. })), "a batch is broken and the next log is there");
    std::fs::write(&log[0], &whole).unwrap();
    cut(&log[0], 120);
    assert!(open(dir.path()).is_err(), "what was synced before what is there is missing");
    std::fs::write(&log[0], whole).unwrap();
    cut(&log[1], 10);
    let db = open(dir.path()).unwrap();
    let has = |key: &str| db.get_cf(db.cf_handle("one").unwrap(), key).unwrap().is_some();
    assert_eq!(["a", "b", "d", "e"].map(has), [true, true, true, false]);
}

#[test]
fn a_database_belongs_to_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(OpenError::Held(_))), "its journal may be looked at by nobody else");
    drop(db);
    open(dir.path()).unwrap();
}
