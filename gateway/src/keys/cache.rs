//! Unwrapped bucket keys, kept for a while. However many ask for one at once, it is unwrapped once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use policy::id::BucketId;
use policy::reason::Reason;

use super::bucket::BucketKey;
use crate::error::Error;

const KEYS_MAX: usize = 10_000;
/// Turns that are remembered before those that nobody waits for are dropped.
const TURNS_MAX: usize = 1000;

/// Bucket keys that were unwrapped.
#[derive(Debug, Default)]
pub(super) struct BucketKeys {
    keys: Mutex<HashMap<BucketId, Arc<BucketKey>>>,
    /// Whose turn it is to unwrap the key of a bucket.
    turns: Mutex<HashMap<BucketId, Weak<tokio::sync::Mutex<()>>>>,
}

impl BucketKeys {
    fn keys(&self) -> MutexGuard<'_, HashMap<BucketId, Arc<BucketKey>>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A key that was unwrapped a moment ago and may still be used, of this version or a later one.
    pub(super) fn get(&self, bucket: BucketId, at_least: u32, reason: Reason) -> Option<Arc<BucketKey>> {
        let keys = self.keys();
        let key = keys.get(&bucket)?;
        (key.version >= at_least && key.serves(reason) && key.is_fresh(Instant::now())).then(|| Arc::clone(key))
    }

    /// Unwraps a key, unless somebody did while this one waited for its turn.
    pub(super) async fn load(
        &self,
        bucket: BucketId,
        (at_least, reason): (u32, Reason),
        unwrap: impl Future<Output = Result<BucketKey, Error>>,
    ) -> Result<Arc<BucketKey>, Error> {
        let turn = self.turn(bucket);
        let _mine = turn.lock().await;
        if let Some(key) = self.get(bucket, at_least, reason) {
            return Ok(key);
        }
        let key = Arc::new(unwrap.await?);
        self.remember(bucket, Arc::clone(&key));
        Ok(key)
    }

    fn turn(&self, bucket: BucketId) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&bucket).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= TURNS_MAX {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::default();
        turns.insert(bucket, Arc::downgrade(&turn));
        turn
    }

    fn remember(&self, bucket: BucketId, key: Arc<BucketKey>) {
        if self.keys().len() >= KEYS_MAX {
            self.forget_expired();
        }
        let mut keys = self.keys();
        if keys.len() < KEYS_MAX {
            keys.insert(bucket, key);
        }
    }

    /// Drops, and so wipes, the keys whose time is over or whose gates are closed.
    pub(super) fn forget_expired(&self) {
        let now = Instant::now();
        self.keys().retain(|_, key| key.is_fresh(now));
    }

    /// Drops the key of a bucket.
    pub(super) fn forget(&self, bucket: BucketId) {
        self.keys().remove(&bucket);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn bucket_keys_do_not_outlive_their_time() {
        for (ttl, kept) in [(300, true), (0, false)] {
            let until = Instant::now() + std::time::Duration::from_secs(ttl);
            let (keys, key) = (BucketKeys::default(), Arc::new(BucketKey::for_tests_until(until)));
            let (held, bucket) = (Arc::downgrade(&key), key.bucket);
            keys.remember(bucket, key);
            assert_eq!(keys.get(bucket, 1, Reason::CustomerRequest).is_some(), kept);
            keys.forget_expired();
            assert_eq!(held.upgrade().is_some(), kept, "nobody keeps it");
        }
    }

    #[tokio::test]
    async fn of_many_that_ask_at_once_one_unwraps() {
        let (keys, asked) = (BucketKeys::default(), AtomicUsize::new(0));
        let bucket = BucketKey::for_tests().bucket;
        let load = || {
            keys.load(bucket, (1, Reason::CustomerRequest), async {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(BucketKey::for_tests())
            })
        };
        let loaded = futures::future::join_all((0..50).map(|_| load())).await;
        assert!(loaded.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn one_that_fails_is_tried_by_the_next() {
        let (keys, key) = (BucketKeys::default(), BucketKey::for_tests());
        let bucket = key.bucket;
        assert!(keys.load(bucket, (1, Reason::CustomerRequest), async { Err(Error::Missing("it")) }).await.is_err());
        assert!(keys.load(bucket, (1, Reason::CustomerRequest), async { Ok(key) }).await.is_ok());
        assert!(keys.get(bucket, 1, Reason::CustomerRequest).is_some());
    }
}
