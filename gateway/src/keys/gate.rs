//! Whether a tenant key may be used, known to all that hold a key below it: what is suspended stops at once, in
//! the middle of a stream too (SECURITY.md rule 19).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policy::id::KeyId;

use crate::error::Error;

/// The gate of one tenant key. Once closed it stays so: what is resumed gets another.
#[derive(Debug)]
pub struct Gate {
    key: KeyId,
    closed: AtomicBool,
}

impl Gate {
    /// An open one.
    #[must_use]
    pub const fn new(key: KeyId) -> Self {
        Self { key, closed: AtomicBool::new(false) }
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

    /// Closes the gate of a key whose row says that it is suspended.
    pub(super) fn close(&self, key: KeyId) {
        if let Some(gate) = self.lock().remove(&key) {
            gate.closed.store(true, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_closes_for_all_that_hold_it_and_stays_closed() {
        let (gates, key, other) = (Gates::default(), KeyId::from_bytes([1; 16]), KeyId::from_bytes([2; 16]));
        let [held, also_held, of_another] = [key, key, other].map(|key| gates.of(key));
        gates.close(key);
        assert!(matches!(held.pass(), Err(Error::KeySuspended(which)) if which == key));
        assert!(!also_held.is_open() && of_another.is_open());
        assert!(gates.of(key).is_open(), "of a key that was resumed");
        assert!(!held.is_open());
    }
}
