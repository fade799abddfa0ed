//! Backends under test. A new one implements [`Backend`] and gets the whole suite by one line in `main.rs`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use policy::id::SessionId;
use policy::time::UtcMillis;
use storage::catalog::rocks::{CatalogOptions, RocksCatalog};
use storage::catalog::{Catalog, CatalogError};
use storage::engine::{Engine, OpenError};
use tempfile::TempDir;

/// How long an abandoned session may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// One catalog's durable state, opened by one session at a time.
pub trait Backend {
    /// What an open session is.
    type Session: Catalog;

    /// Nothing in it yet.
    fn fresh() -> Self;

    /// Begins a session on what earlier ones left.
    fn open(&self) -> Arc<Self::Session>;

    /// Ends a session in order.
    async fn close(&self, session: &Self::Session);
}

/// RocksDB in a directory of its own.
pub struct Rocks {
    dir: TempDir,
    engine: Engine,
    sessions: AtomicU64,
}

impl Backend for Rocks {
    type Session = RocksCatalog;

    fn fresh() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), engine: Engine::new(), sessions: AtomicU64::new(1) }
    }

    fn open(&self) -> Arc<RocksCatalog> {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let session = SessionId::from_bytes(u128::from(number).to_be_bytes());
        let options =
            CatalogOptions { engine: self.engine.clone(), session, now: UtcMillis(number), crew: Arc::default() };
        unlocked(self.dir.path(), &options)
    }

    async fn close(&self, session: &RocksCatalog) {
        session.shutdown(UtcMillis(0)).await.unwrap();
    }
}

impl Drop for Rocks {
    /// A database that is still being closed while the process exits would abort it.
    fn drop(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while rocksdb::DB::destroy(&rocksdb::Options::default(), self.dir.path()).is_err() && Instant::now() < deadline
        {
            std::thread::yield_now();
        }
    }
}

/// An abandoned session holds the database until its writer has noticed.
fn unlocked(dir: &Path, options: &CatalogOptions) -> Arc<RocksCatalog> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match RocksCatalog::open(dir, options) {
            Err(CatalogError::Open(OpenError::Held(_))) if Instant::now() < deadline => std::thread::yield_now(),
            other => return other.unwrap(),
        }
    }
}
