//! Whether a tenant key, or the key of a bucket, may be used, known to all that hold a key below it: what is suspended
//! stops at once, in the middle of a stream too, and no commit under it follows the suspension (SECURITY.md rules 17
//! and 19).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use policy::decide::may_use_key;
use policy::id::{AccessId, BucketId, KeyId};
use policy::reason::{Reason, Reasons};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::error::Error;

/// What a gate stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Behind {
    /// All that hangs on a tenant key.
    Key(KeyId),
    /// All in a bucket.
    Bucket(BucketId),
    /// What the platform was let in for.
    Access(AccessId),
}

/// A gate. Once closed it stays so: what is resumed gets another.
#[derive(Debug)]
pub struct Gate {
    behind: Behind,
    closed: AtomicBool,
    /// There is another by now: whoever holds a key behind this one reads it anew.
    retired: AtomicBool,
    /// Reasons that the policy of the key has refused since this gate was made.
    refused: AtomicU8,
    /// Shared by commits behind it; a suspension has it alone.
    commits: Arc<RwLock<()>>,
}

/// A commit behind gates: none of them closes before this is dropped.
#[derive(Debug)]
#[must_use = "the gates may close once it is dropped"]
pub struct Held {
    _commits: [OwnedRwLockReadGuard<()>; 2],
    /// So that they are not forgotten meanwhile.
    _gates: Gates,
}

/// A commit behind many gates, each held once.
#[derive(Debug)]
#[must_use = "the gates may close once it is dropped"]
pub struct HeldAll {
    _commits: Vec<OwnedRwLockReadGuard<()>>,
    _gates: Vec<Arc<Gate>>,
}

/// A suspension, or another policy, that is being committed: commits behind the gate wait for it.
#[derive(Debug)]
#[must_use = "the gate stays open unless it is closed"]
pub(super) struct Closing {
    behind: Behind,
    /// So that it is not forgotten meanwhile.
    _gate: Arc<Gate>,
    _commits: OwnedRwLockWriteGuard<()>,
}

impl Gate {
    /// An open one.
    #[must_use]
    pub fn new(behind: Behind) -> Self {
        let (closed, retired, refused) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU8::new(0));
        Self { behind, closed, retired, refused, commits: Arc::default() }
    }

    /// Asks before something behind it is used.
    ///
    /// # Errors
    /// `KeySuspended`, `BucketClosed` or `AccessOver` once it is closed, `Denied` when the key refuses the reason.
    pub fn pass(&self, reason: Reason) -> Result<(), Error> {
        if self.closed.load(Ordering::Acquire) {
            return Err(match self.behind {
                Behind::Key(key) => Error::KeySuspended(key),
                Behind::Bucket(bucket) => Error::BucketClosed(bucket),
                Behind::Access(_) => Error::AccessOver,
            });
        }
        may_use_key(Reasons::from_bits(self.refused.load(Ordering::Acquire)), reason).map_err(Error::Denied)
    }

    /// Whether it is neither closed nor retired.
    fn stands(&self) -> bool {
        !self.closed.load(Ordering::Acquire) && !self.retired.load(Ordering::Acquire)
    }
}

/// The gates before a version of a bucket key: its bucket's and its tenant key's, and what the latter refused when it was
/// unwrapped.
#[derive(Debug, Clone)]
pub struct Gates {
    pub(super) bucket: Arc<Gate>,
    pub(super) key: Arc<Gate>,
    pub(super) refused: Reasons,
}

impl Gates {
    /// Asks before something behind them is used.
    ///
    /// # Errors
    /// `KeySuspended` or `BucketClosed` once one is closed, `Denied` when the key refuses the reason.
    pub fn pass(&self, reason: Reason) -> Result<(), Error> {
        self.bucket.pass(reason)?;
        self.key.pass(reason)?;
        may_use_key(self.refused, reason).map_err(Error::Denied)
    }

    /// Asks before a commit behind them, and keeps them open until it is made.
    ///
    /// # Errors
    /// As [`Self::pass`], and `KeyRetired` when the key has another policy by now: it is to be read anew.
    pub async fn hold(&self, reason: Reason) -> Result<Held, Error> {
        let key = Arc::clone(&self.key.commits).read_owned().await;
        let bucket = Arc::clone(&self.bucket.commits).read_owned().await;
        self.pass(reason)?;
        self.are_those_that_stand()?;
        Ok(Held { _commits: [key, bucket], _gates: self.clone() })
    }

    /// Whoever closes a gate from now on closes the one in the place of a retired one: a commit must hold that.
    fn are_those_that_stand(&self) -> Result<(), Error> {
        if self.stand() { Ok(()) } else { Err(Error::KeyRetired) }
    }

    /// As [`Self::hold`], of many; a gate that stands before several is held once, for whoever waits to close it holds back
    /// those that come later.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub async fn hold_all(all: &[&Self], reason: Reason) -> Result<HeldAll, Error> {
        let mut gates: Vec<&Arc<Gate>> = Vec::new();
        for gate in all.iter().map(|gates| &gates.key).chain(all.iter().map(|gates| &gates.bucket)) {
            if !gates.iter().any(|known| Arc::ptr_eq(known, gate)) {
                gates.push(gate);
            }
        }
        // In the order in which those that close many do.
        gates.sort_by_key(|gate| gate.behind);
        let mut commits = Vec::with_capacity(gates.len());
        for gate in gates {
            commits.push(Arc::clone(&gate.commits).read_owned().await);
        }
        for gates in all {
            gates.pass(reason)?;
            gates.are_those_that_stand()?;
        }
        let gates = all.iter().flat_map(|gates| [Arc::clone(&gates.key), Arc::clone(&gates.bucket)]).collect();
        Ok(HeldAll { _commits: commits, _gates: gates })
    }

    /// Whether a key behind them may be used without being read anew.
    #[must_use]
    pub fn stand(&self) -> bool {
        self.bucket.stands() && self.key.stands()
    }
}

/// The gates that nobody has closed.
#[derive(Debug, Default)]
pub(super) struct Open(Mutex<HashMap<Behind, Arc<Gate>>>);

impl Open {
    fn lock(&self) -> MutexGuard<'_, HashMap<Behind, Arc<Gate>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The gate before something. To be had before the row that says whether it may be used is read: a suspension that
    /// comes between closes it.
    pub(super) fn of(&self, behind: Behind) -> Arc<Gate> {
        Arc::clone(self.lock().entry(behind).or_insert_with(|| Arc::new(Gate::new(behind))))
    }

    /// Waits for the commits behind a gate, and holds back those to come.
    pub(super) async fn closing(&self, behind: Behind) -> Closing {
        loop {
            let gate = self.of(behind);
            let commits = Arc::clone(&gate.commits).write_owned().await;
            // Another may have closed it meanwhile: commits then pass the one in its place.
            if Arc::ptr_eq(&gate, &self.of(behind)) {
                return Closing { behind, _gate: gate, _commits: commits };
            }
        }
    }

    /// Closes the gate of what must not be used any more, as its row says.
    pub(super) fn close(&self, closing: Closing) {
        self.take(&closing, |gate| gate.closed.store(true, Ordering::Release));
    }

    /// Another gate takes the place of one whose key has another policy, as its row says; this one refuses what both
    /// refuse.
    pub(super) fn retire(&self, closing: Closing, refused: Reasons) {
        self.take(&closing, |gate| {
            gate.refused.fetch_or(refused.bits(), Ordering::AcqRel);
            gate.retired.store(true, Ordering::Release);
        });
    }

    /// Only when `closing` is dropped, behind this, do commits that waited go on, and find the gate as it is then.
    fn take(&self, closing: &Closing, then: impl FnOnce(&Gate)) {
        if let Some(gate) = self.lock().remove(&closing.behind) {
            then(&gate);
        }
    }

    /// Forgets gates that nobody holds: whoever asks for one of them gets another, which is open as this one is.
    pub(super) fn tidy(&self) {
        self.lock().retain(|_, gate| Arc::strong_count(gate) > 1);
    }
}

#[cfg(test)]
impl Gates {
    /// Open ones.
    pub(crate) fn for_tests() -> Self {
        Self {
            bucket: Arc::new(Gate::new(Behind::Bucket(BucketId::from_bytes([3; 16])))),
            key: Arc::new(Gate::new(Behind::Key(KeyId::from_bytes([4; 16])))),
            refused: Reasons::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Behind = Behind::Key(KeyId::from_bytes([1; 16]));
    const BUCKET: Behind = Behind::Bucket(BucketId::from_bytes([2; 16]));
    const ASKED: Reason = Reason::CustomerRequest;

    fn gates(open: &Open) -> Gates {
        Gates { bucket: open.of(BUCKET), key: open.of(KEY), refused: Reasons::default() }
    }

    #[tokio::test]
    async fn a_gate_closes_for_all_that_hold_it_and_stays_closed() {
        let open = Open::default();
        let (held, also_held) = (gates(&open), gates(&open));
        let of_another = Gates { key: open.of(Behind::Key(KeyId::from_bytes([9; 16]))), ..held.clone() };
        drop(open.closing(KEY).await);
        assert!(held.pass(ASKED).is_ok(), "the suspension was not committed");
        open.close(open.closing(KEY).await);
        assert!(matches!(held.pass(ASKED), Err(Error::KeySuspended(which)) if Behind::Key(which) == KEY));
        assert!(held.hold(ASKED).await.is_err() && also_held.pass(ASKED).is_err() && of_another.pass(ASKED).is_ok());
        assert!(gates(&open).pass(ASKED).is_ok(), "of a key that was resumed");
        assert!(held.pass(ASKED).is_err() && !held.stand());
        open.close(open.closing(BUCKET).await);
        assert!(matches!(of_another.pass(ASKED), Err(Error::BucketClosed(_))));
    }

    #[tokio::test]
    async fn what_a_policy_refuses_is_refused_at_once_and_nothing_else_is() {
        let open = Open::default();
        let before = gates(&open);
        let refused: Reasons = [Reason::Emergency].into_iter().collect();
        open.retire(open.closing(KEY).await, refused);
        assert!(matches!(before.pass(Reason::Emergency), Err(Error::Denied(_))) && before.pass(ASKED).is_ok());
        assert!(!before.stand() && matches!(before.hold(ASKED).await, Err(Error::KeyRetired)));
        assert!(before.hold(Reason::Emergency).await.is_err() && Gates::hold_all(&[&before], ASKED).await.is_err());
        let after = Gates { refused, ..gates(&open) };
        assert!(after.stand() && after.pass(ASKED).is_ok() && after.pass(Reason::Emergency).is_err());
        open.retire(open.closing(KEY).await, Reasons::default());
        assert!(gates(&open).pass(Reason::Emergency).is_ok() && before.pass(Reason::Emergency).is_err());
    }

    #[tokio::test]
    async fn a_suspension_waits_for_commits_and_those_that_come_later_are_refused() {
        for behind in [KEY, BUCKET] {
            let open = Arc::new(Open::default());
            let gates = gates(&open);
            let under_way = gates.hold(ASKED).await.unwrap();
            let suspension = tokio::spawn({
                let open = Arc::clone(&open);
                async move { open.close(open.closing(behind).await) }
            });
            let commits = Arc::clone(&open.of(behind).commits);
            while Arc::clone(&commits).try_read_owned().is_ok() {
                tokio::task::yield_now().await;
            }
            let later = tokio::spawn({
                let gates = gates.clone();
                async move { gates.hold(ASKED).await.is_ok() }
            });
            tokio::task::yield_now().await;
            assert!(gates.pass(ASKED).is_ok() && !suspension.is_finished() && !later.is_finished());
            drop(under_way);
            suspension.await.unwrap();
            assert!(!later.await.unwrap());
        }
    }
}
