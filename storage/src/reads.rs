//! Reads in flight. A read that was opened before a body became garbage may still need its chunks,
//! so garbage waits until every such read has ended (STORAGE.md rule 4).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The reads of one session.
#[derive(Debug, Default)]
pub struct Reads {
    epoch: AtomicU64,
    open: Mutex<BTreeMap<u64, usize>>,
}

/// One read; dropping it ends it.
#[derive(Debug)]
pub struct ReadGuard {
    reads: Arc<Reads>,
    epoch: u64,
}

impl Reads {
    /// Notes that everything up to this catalog sequence is committed.
    pub(crate) fn advance(&self, sequence: u64) {
        self.epoch.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Opens a read now; to be called before the rows are read.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> ReadGuard {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.epoch.load(Ordering::Acquire);
        *open.entry(epoch).or_insert(0) += 1;
        ReadGuard { reads: Arc::clone(self), epoch }
    }

    /// Garbage retired at or below this sequence is needed by no read.
    #[must_use]
    pub fn horizon(&self) -> u64 {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.epoch.load(Ordering::Acquire);
        open.keys().next().copied().map_or(now, |oldest| oldest.min(now))
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        let mut open = self.reads.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.epoch) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.epoch);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_open_read_holds_the_horizon() {
        let reads = Arc::new(Reads::default());
        reads.advance(10);
        let old = reads.open();
        reads.advance(20);
        let new = reads.open();
        assert_eq!(reads.horizon(), 10);
        drop(old);
        assert_eq!(reads.horizon(), 20);
        drop(new);
        reads.advance(30);
        assert_eq!(reads.horizon(), 30);
    }
}
