//! Requests of nobody in particular, folded (SECURITY.md rule 15): past a limit per source, refusals before
//! authentication make one record per source and second, so that who has no account cannot fill the log, while
//! counts still add up to requests. Health requests make one record per source and minute.
//!
//! With little space left none has a record of its own, and all sources fold together: a record per second. The
//! last space is not theirs: what they fold into then waits in memory until there is more.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use policy::time::UtcMillis;
use ring::digest::{Context, SHA256};
use storage::reserve::Space;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::error::Error;
use crate::record::{Content, Folded, Recorder};
use crate::source::source_of;

/// Refusals of one source and second that make records of their own.
const ALONE: u32 = 20;
/// Refusals of one second that do, whatever their sources.
const ALONE_TOTAL: u32 = 200;
/// Between two looks for space.
const WAIT: Duration = Duration::from_secs(1);
/// Sources that are told apart.
const SOURCES: usize = 1024;

/// What is folded, as the record calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Requests that were refused before anybody was authenticated.
    Refusals,
    /// Requests for health and metrics.
    Health,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Refusals => "refusals",
            Self::Health => "health",
        }
    }

    const fn slot(self) -> Duration {
        match self {
            Self::Refusals => Duration::from_secs(1),
            Self::Health => Duration::from_secs(60),
        }
    }
}

/// Becomes true when the record is durable, false when it cannot be written or waits for space.
pub(crate) type Written = watch::Receiver<Option<bool>>;

/// The folds of one process.
#[derive(Debug)]
pub(crate) struct Folds {
    state: Mutex<State>,
    writers: TaskTracker,
    closing: watch::Sender<bool>,
    /// What could not be written, as far as that is known.
    left: Mutex<Vec<Folded>>,
}

/// None is every source beyond [`SOURCES`], and every one when there is little space.
type Key = (Kind, Option<IpAddr>);

#[derive(Debug, Default)]
struct State {
    second: u64,
    alone: u32,
    sources: HashMap<Key, Source>,
}

#[derive(Debug, Default)]
struct Source {
    second: u64,
    alone: u32,
    fold: Option<Fold>,
}

struct Fold {
    count: u64,
    first: UtcMillis,
    last: UtcMillis,
    digest: Context,
    written: watch::Sender<Option<bool>>,
}

impl std::fmt::Debug for Fold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fold").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Default for Folds {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            writers: TaskTracker::new(),
            closing: watch::channel(false).0,
            left: Mutex::default(),
        }
    }
}

impl Folds {
    /// Counts a request in, and tells when the record that counts it is written; none when it is to have a record
    /// of its own. `content` is what that would say.
    pub(crate) fn take(
        recorder: &Arc<Recorder>,
        (kind, source): (Kind, IpAddr),
        time: UtcMillis,
        content: &[u8],
    ) -> Option<Written> {
        let (now, space) = (clock::now(), recorder.space());
        let mut state = recorder.folds.state();
        let key = state.key(kind, source, space);
        if kind == Kind::Refusals && state.alone(key, now.0 / 1000) {
            return None;
        }
        let (written, begins) = state.count(key, space, time, content);
        drop(state);
        Self::begin(recorder, begins.then_some(key), now);
        Some(written)
    }

    /// Like [`Self::take`], for one that is to have no record of its own.
    pub(crate) fn count(
        recorder: &Arc<Recorder>,
        (kind, source): (Kind, IpAddr),
        time: UtcMillis,
        content: &[u8],
    ) -> Written {
        let (now, space) = (clock::now(), recorder.space());
        let mut state = recorder.folds.state();
        let key = state.key(kind, source, space);
        let (written, begins) = state.count(key, space, time, content);
        drop(state);
        Self::begin(recorder, begins.then_some(key), now);
        written
    }

    fn begin(recorder: &Arc<Recorder>, key: Option<Key>, now: UtcMillis) {
        let Some(key) = key else { return };
        let recorder = Arc::clone(recorder);
        recorder.folds.writers.clone().spawn(async move { write(&recorder, key, now).await });
    }

    /// Ends all folds now; returns when their records are written.
    pub(crate) async fn close(&self) {
        self.closing.send_replace(true);
        self.writers.close();
        self.writers.wait().await;
    }

    /// What is still to be written after the end.
    pub(crate) fn take_left(&self) -> Vec<Folded> {
        std::mem::take(&mut *self.left.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What a source counts under.
    fn key(&self, kind: Kind, source: IpAddr, space: Space) -> Key {
        if space != Space::Room {
            return (kind, None);
        }
        let key = (kind, Some(source_of(source)));
        if self.sources.len() < SOURCES || self.sources.contains_key(&key) { key } else { (kind, None) }
    }

    /// Counts a request in; says who will know when that is durable, and whether it is the first.
    fn count(&mut self, key: Key, space: Space, time: UtcMillis, content: &[u8]) -> (Written, bool) {
        let fold = &mut self.sources.entry(key).or_default().fold;
        let begins = fold.is_none();
        let fold = fold.get_or_insert_with(|| Fold {
            count: 0,
            first: time,
            last: time,
            digest: Context::new(&SHA256),
            written: watch::channel(None).0,
        });
        if space == Space::Last {
            fold.written.send_replace(Some(false));
        }
        fold.count += 1;
        (fold.first, fold.last) = (fold.first.min(time), fold.last.max(time));
        fold.digest.update(content);
        (fold.written.subscribe(), begins)
    }

    /// Nobody waits for a fold that waits for space.
    fn hold(&self, key: Key) {
        if let Some(fold) = self.sources.get(&key).and_then(|source| source.fold.as_ref()) {
            fold.written.send_replace(Some(false));
        }
    }

    /// Whether there is room for a record of its own.
    fn alone(&mut self, key: Key, second: u64) -> bool {
        if self.second != second {
            (self.second, self.alone) = (second, 0);
            self.sources.retain(|_, source| source.fold.is_some());
        }
        let source = self.sources.entry(key).or_default();
        if source.second != second {
            (source.second, source.alone) = (second, 0);
        }
        let room = key.1.is_some() && source.alone < ALONE && self.alone < ALONE_TOTAL;
        if room {
            source.alone += 1;
            self.alone += 1;
        }
        room
    }
}

/// Waits for the end of the slot that a fold began in, and until there is space for it, and writes its record.
async fn write(recorder: &Arc<Recorder>, (kind, source): Key, began: UtcMillis) {
    let slot = u64::try_from(kind.slot().as_millis()).unwrap_or(1000);
    let mut left = Duration::from_millis(slot - began.0 % slot);
    let mut closing = recorder.folds.closing.subscribe();
    loop {
        let closes = tokio::select! {
            () = tokio::time::sleep(left) => false,
            _ = closing.wait_for(|closing| *closing) => true,
        };
        if closes || recorder.space() != Space::Last {
            break;
        }
        recorder.folds.state().hold((kind, source));
        left = WAIT;
    }
    let fold = recorder.folds.state().sources.get_mut(&(kind, source)).and_then(|source| source.fold.take());
    let Some(fold) = fold else { return };
    metrics::counter!("gotgan_folded_requests_total", "kind" => kind.name()).increment(fold.count);
    let mut digest = [0; 32];
    digest.copy_from_slice(fold.digest.finish().as_ref());
    let folded = Folded {
        kind: kind.name().to_owned(),
        source: match source {
            None => "others".to_owned(),
            Some(IpAddr::V4(v4)) => v4.to_string(),
            Some(IpAddr::V6(v6)) => format!("{v6}/64"),
        },
        count: fold.count,
        first: fold.first,
        last: fold.last,
        digest,
    };
    let outcome = recorder.append(None, clock::now(), &Content::Folded(folded.clone())).await;
    if let Err(error) = &outcome {
        tracing::error!(%error, count = fold.count, "requests without a record");
        metrics::counter!("gotgan_unrecorded_total").increment(fold.count);
        let mut left = recorder.folds.left.lock().unwrap_or_else(PoisonError::into_inner);
        // Few: one whose record cannot be written waits, but for those that were begun before. One that is late
        // gets there by itself.
        if !matches!(error, Error::Stalled) && left.len() < 2 * SOURCES {
            left.push(folded);
        }
    }
    fold.written.send_replace(Some(outcome.is_ok()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn alone(state: &mut State, source: IpAddr, second: u64) -> bool {
        let key = state.key(Kind::Refusals, source, Space::Room);
        state.alone(key, second)
    }

    #[test]
    fn each_source_has_its_own_limit_in_each_second() {
        let mut state = State::default();
        let other = IpAddr::from([10, 0, 0, 1]);
        for _ in 0..ALONE {
            assert!(alone(&mut state, HERE, 5));
        }
        assert!(!alone(&mut state, HERE, 5) && alone(&mut state, other, 5));
        assert!(alone(&mut state, HERE, 6));
    }

    #[test]
    fn many_sources_have_a_limit_together() {
        let mut state = State::default();
        let count = (0..=255_u8).filter(|n| alone(&mut state, IpAddr::from([10, 0, 0, *n]), 5)).count();
        assert_eq!(count, ALONE_TOTAL as usize);
        for n in 0..2000_u16 {
            let [a, b] = n.to_be_bytes();
            alone(&mut state, IpAddr::from([10, 1, a, b]), 5);
        }
        assert!(state.sources.len() <= SOURCES + 1, "{}", state.sources.len());
    }

    #[test]
    fn with_little_space_nobody_is_recorded_alone_and_the_last_is_not_written_to() {
        let mut state = State::default();
        let mut count = |source: u8, space: Space| {
            let key = state.key(Kind::Refusals, IpAddr::from([10, 0, 0, source]), space);
            assert!(!state.alone(key, 5), "{space:?}");
            let (written, begins) = state.count(key, space, UtcMillis(5000), b"refused");
            (*written.borrow(), begins)
        };
        assert_eq!([count(1, Space::Little), count(2, Space::Little)], [(None, true), (None, false)]);
        assert_eq!(count(3, Space::Last), (Some(false), false), "nobody waits for what waits for space");
        assert_eq!(state.sources.len(), 1, "all fold into one");
    }
}
