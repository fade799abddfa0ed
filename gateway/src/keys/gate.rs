//! Whether a tenant key may be used, known to all that hold a key below it: what is suspended stops at once, in
//! the middle of a stream too, and no commit under it follows the suspension (SECURITY.md rules 17 and 19).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policy::id::KeyId;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::error::Error;

/// The gate of one tenant key. Once closed it stays so: what is resumed gets another.
#[derive(Debug)]
pub struct Gate {
    key: KeyId,
    closed: AtomicBool,
    /// Shared by commits under the key; a suspension has it alone.
    commits: Arc<RwLock<()>>,
}

/// A commit under the key: the gate does not close before this is dropped.
#[derive(Debug)]
#[must_use = "the gate may close once it is dropped"]
pub struct Held {
    _commits: OwnedRwLockReadGuard<()>,
}

/// A suspension that is being committed: commits under the key wait for it.
#[derive(Debug)]
#[must_use = "the gate stays open unless it is closed"]
pub(super) struct Closing {
    key: KeyId,
    _commits: OwnedRwLockWriteGuard<()>,
}

impl Gate {
    /// An open one.
    #[must_use]
    pub fn new(key: KeyId) -> Self {
        Self { key, closed: AtomicBool::new(false), commits: Arc::default() }
    }

    /// Asks before a commit under the key, and keeps the gate open until it is made.
    ///
    /// # Errors
    /// `KeySuspended` once it is closed.
    pub async fn hold(&self) -> Result<Held, Error> {
        let held = Held { _commits: Arc::clone(&self.commits).read_owned().await };
        self.pass().map(|()| held)
    }

    /// Asks before a key below is used.
    ///
    /// # Errors
    /// `KeySuspended` once it is closed.
    pub fn pass(&self) -> Result<(), Error> {
        if self.is_open() { Ok(()) } else { Err(Error::KeySuspended(self.key)) }
    }

    /// Whether it is not closed yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }
}

/// The open gates.
#[derive(Debug, Default)]
pub(super) struct Gates(Mutex<HashMap<KeyId, Arc<Gate>>>);

impl Gates {
    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, Arc<Gate>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate of a key. To be had before the row that says whether the key is active is read: a suspension that
    /// comes between closes it.
    pub(super) fn of(&self, key: KeyId) -> Arc<Gate> {
        Arc::clone(self.lock().entry(key).or_insert_with(|| Arc::new(Gate::new(key))))
    }

    /// Waits for the commits under a key, and holds back those to come.
    pub(super) async fn closing(&self, key: KeyId) -> Closing {
        let commits = Arc::clone(&self.of(key).commits);
        Closing { key, _commits: commits.write_owned().await }
    }

    /// Closes the gate of a key whose row says that it is suspended.
    pub(super) fn close(&self, closing: Closing) {
        if let Some(gate) = self.lock().remove(&closing.key) {
            gate.closed.store(true, Ordering::Release);
        }
        // Only now commits that waited go on, and find it closed.
        drop(closing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_closes_for_all_that_hold_it_and_stays_closed() {
        let (gates, key, other) = (Gates::default(), KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
        let [held, also_held, of_another] = [key, key, other].map(|key| gates.of(key));
        drop(gates.closing(key).await);
        assert!(held.is_open(), "the suspension was not committed");
        gates.close(gates.closing(key).await);
        assert!(matches!(held.pass(), Err(Error::KeySuspended(which)) if which == key));
        assert!(held.hold().await.is_err() && !also_held.is_open() && of_another.is_open());
        assert!(gates.of(key).is_open(), "of a key that was resumed");
        assert!(!held.is_open());
    }

    #[tokio::test]
    async fn a_suspension_waits_for_commits_and_those_that_come_later_are_refused() {
        let gates = Arc::new(Gates::default());
        let key = KeyId::from_bytes([1; 16]);
        let gate = gates.of(key);
        let under_way = gate.hold().await.unwrap();
        let suspension = tokio::spawn({
            let gates = Arc::clone(&gates);
            async move { gates.close(gates.closing(key).await) }
        });
        while Arc::clone(&gate.commits).try_read_owned().is_ok() {
            tokio::task::yield_now().await;
        }
        let later = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.hold().await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(gate.is_open() && !suspension.is_finished() && !later.is_finished());
        drop(under_way);
        suspension.await.unwrap();
        assert!(!later.await.unwrap());
    }
}
