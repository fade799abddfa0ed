//! What goes on on one connection: requests under way, and since when there are none; and the bodies of answers
//! over HTTP/2, where one that nobody takes holds up no other and is not seen by [`crate::pace`].

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use http::Version;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::pace::{WINDOW, WINDOW_BYTES};

/// How long a peer has to take the end of its connection.
const GRACE: Duration = Duration::from_secs(3);
/// How often answers over HTTP/2 are looked at.
const ROUND: Duration = Duration::from_secs(5);
/// Bytes that an answer over HTTP/2 gives at once: h2 keeps what it was given, however little the peer takes.
const PIECE: usize = 16 << 10;

/// One connection.
pub(crate) struct Activity {
    first: Duration,
    idle: Duration,
    facts: Mutex<Facts>,
    /// Wakes the connection whose end was held back.
    end: AtomicWaker,
}

struct Facts {
    under_way: usize,
    /// What is under way came whole, and goes on whoever listens.
    goes_on: bool,
    /// Since when nothing is under way, or something is.
    since: Instant,
    served: bool,
    /// When the peer was told to go.
    closing: Option<Instant>,
    answers: Vec<Weak<dyn Stalls>>,
}

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Nothing: look again.
    Again,
    /// Close it in order.
    Close,
    /// Let go of it.
    Drop,
}

/// A request under way.
pub(crate) struct UnderWay(Arc<Activity>);

impl Activity {
    /// A connection that begins now. The head of its first request is due after `first`, of others after `idle`.
    pub(crate) fn new(first: Duration, idle: Duration) -> Arc<Self> {
        let (since, answers) = (Instant::now(), Vec::new());
        let facts = Facts { under_way: 0, goes_on: false, since, served: false, closing: None, answers };
        Arc::new(Self { first, idle, facts: Mutex::new(facts), end: AtomicWaker::new() })
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins; it ends when what this gives is dropped. One without a body that `goes_on` whoever listens
    /// is answered to a peer that sends no more.
    pub(crate) fn begin(self: &Arc<Self>, goes_on: bool) -> UnderWay {
        let mut facts = self.facts();
        facts.under_way += 1;
        facts.goes_on = goes_on;
        (facts.served, facts.closing) = (true, None);
        facts.since = Instant::now();
        UnderWay(Arc::clone(self))
    }

    /// When [`Self::look`] has something to say, as far as it is known `now`.
    pub(crate) fn next_look(&self, now: Instant) -> Instant {
        let facts = self.facts();
        match (facts.under_way, facts.closing) {
            (0, Some(closing)) => closing + GRACE,
            (0, None) if facts.served => facts.since + self.idle,
            (0, None) => facts.since + self.first,
            _ => now + self.idle.min(ROUND),
        }
    }

    /// What is to be done now. Answers that nobody takes are let go.
    pub(crate) fn look(&self, now: Instant) -> Look {
        let answers: Vec<_> = self.facts().answers.iter().filter_map(Weak::upgrade).collect();
        for answer in answers {
            answer.look(now);
        }
        let due = self.next_look(now) <= now;
        let mut facts = self.facts();
        match facts.closing {
            _ if facts.under_way > 0 || !due => Look::Again,
            Some(_) => Look::Drop,
            None => {
                facts.closing = Some(now);
                Look::Close
            }
        }
    }

    /// Whether the end of what the peer sends is not yet the end of the connection; wakes who asks when it is.
    pub(crate) fn holds_the_end_back(&self, cx: &Context<'_>) -> bool {
        self.end.register(cx.waker());
        self.facts().goes_on
    }

    fn watch(&self, answer: Weak<dyn Stalls>) {
        let mut facts = self.facts();
        if facts.answers.len() >= 2 * facts.under_way.max(8) {
            facts.answers.retain(|known| known.strong_count() > 0);
        }
        facts.answers.push(answer);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut facts = self.0.facts();
        facts.under_way -= 1;
        (facts.since, facts.goes_on) = (Instant::now(), false);
        drop(facts);
        self.0.end.wake();
    }
}

/// An answer that may stall.
trait Stalls: Send + Sync {
    fn look(&self, now: Instant);
}

/// The body of an answer, which is under way until it is dropped.
pub(crate) enum Held<B> {
    /// Over HTTP/1: the connection's own pace is that of its one answer.
    Alone { body: B, _under_way: UnderWay },
    /// Over HTTP/2.
    Beside(Arc<Mutex<Beside<B>>>),
}

pub(crate) struct Beside<B> {
    /// None when the peer did not take it.
    held: Option<Cut<B>>,
    window: Instant,
    taken: usize,
    /// The answer had nothing when it was asked last.
    waits: bool,
    more: Arc<More>,
}

/// A body that is given in pieces.
struct Cut<B> {
    body: B,
    /// What the body gave and nobody was given yet.
    rest: Bytes,
    untaken: Untaken<B>,
    _under_way: UnderWay,
}

impl<B: Body> Cut<B> {
    fn size_hint(&self) -> SizeHint {
        let (of_body, rest) = (self.body.size_hint(), u64::try_from(self.rest.len()).unwrap_or(u64::MAX));
        let mut hint = SizeHint::new();
        hint.set_lower(of_body.lower().saturating_add(rest));
        if let Some(upper) = of_body.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

/// Tells a body that so many of the bytes that it gave last went nowhere.
pub(crate) type Untaken<B> = fn(&mut B, usize);

impl<B> Drop for Cut<B> {
    fn drop(&mut self) {
        (self.untaken)(&mut self.body, self.rest.len());
    }
}

/// Wakes whoever asks an answer for more, and remembers that there is some: where the peer takes nothing, nobody asks.
#[derive(Default)]
pub(crate) struct More {
    pub(crate) is_there: AtomicBool,
    pub(crate) asks: AtomicWaker,
}

impl Wake for More {
    fn wake(self: Arc<Self>) {
        self.is_there.store(true, Ordering::Release);
        self.asks.wake();
    }
}

impl<B: Body<Data = Bytes> + Send + Unpin + 'static> Held<B> {
    pub(crate) fn new(body: B, version: Version, under_way: UnderWay, untaken: Untaken<B>) -> Self {
        if version != Version::HTTP_2 {
            return Self::Alone { body, _under_way: under_way };
        }
        let activity = Arc::clone(&under_way.0);
        let held = Some(Cut { body, rest: Bytes::new(), untaken, _under_way: under_way });
        let (window, more) = (Instant::now(), Arc::default());
        let beside = Arc::new(Mutex::new(Beside { held, window, taken: 0, waits: false, more }));
        let known: Weak<Mutex<Beside<B>>> = Arc::downgrade(&beside);
        activity.watch(known);
        Self::Beside(beside)
    }
}

impl<B: Send> Stalls for Mutex<Beside<B>> {
    /// As slow as [`crate::pace`] allows, and not slower.
    fn look(&self, now: Instant) {
        let mut beside = self.lock().unwrap_or_else(PoisonError::into_inner);
        if beside.waits && !beside.more.is_there.load(Ordering::Acquire) {
            (beside.window, beside.taken) = (now, 0);
        }
        if now < beside.window + WINDOW {
            return;
        }
        let let_go = beside.held.take();
        drop(beside);
        // What it holds others wait for. It ends outside of the lock: ending it writes a record.
        drop(let_go);
    }
}

impl<B> Body for Held<B>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Alone { body, .. } => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Self::Beside(beside) => {
                let beside = &mut *beside.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(held) = &mut beside.held else {
                    return Poll::Ready(Some(Err("the peer did not take the answer".into())));
                };
                if held.rest.is_empty() {
                    beside.more.asks.register(cx.waker());
                    beside.more.is_there.store(false, Ordering::Release);
                    let waker = Waker::from(Arc::clone(&beside.more));
                    let mut cx = Context::from_waker(&waker);
                    let polled = Pin::new(&mut held.body).poll_frame(&mut cx).map_err(Into::into);
                    beside.waits = polled.is_pending();
                    let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
                    match frame.into_data() {
                        Ok(data) => held.rest = data,
                        Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                    }
                }
                let piece = held.rest.split_to(held.rest.len().min(PIECE));
                beside.taken += piece.len();
                if beside.taken >= WINDOW_BYTES {
                    (beside.window, beside.taken) = (Instant::now(), 0);
                }
                // A copy: what h2 keeps until the peer takes it must not be a buffer that others wait for.
                Poll::Ready(Some(Ok(Frame::data(Bytes::copy_from_slice(&piece)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Alone { body, .. } => body.is_end_stream(),
            Self::Beside(beside) => {
                let beside = beside.lock().unwrap_or_else(PoisonError::into_inner);
                beside.held.as_ref().is_some_and(|held| held.rest.is_empty() && held.body.is_end_stream())
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Alone { body, .. } => body.size_hint(),
            Self::Beside(beside) => {
                let beside = beside.lock().unwrap_or_else(PoisonError::into_inner);
                beside.held.as_ref().map_or_else(SizeHint::new, Cut::size_hint)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use http_body_util::{Full, StreamBody};

    use super::*;

    const FIRST: Duration = Duration::from_secs(20);
    const IDLE: Duration = Duration::from_secs(75);

    fn activity() -> Arc<Activity> {
        Activity::new(FIRST, IDLE)
    }

    #[test]
    fn a_connection_that_asks_nothing_ends() {
        let (activity, now) = (activity(), Instant::now());
        assert_eq!(activity.look(now), Look::Again);
        assert!(activity.next_look(now) <= now + FIRST);
        assert_eq!(activity.look(now + FIRST), Look::Close);
        assert_eq!(activity.next_look(now + FIRST), now + FIRST + GRACE);
        assert_eq!(activity.look(now + FIRST), Look::Again);
        assert_eq!(activity.look(now + FIRST + GRACE), Look::Drop);
    }

    #[test]
    fn requests_keep_a_connection() {
        let activity = activity();
        let request = activity.begin(false);
        assert_eq!(activity.look(Instant::now() + 2 * IDLE), Look::Again);
        drop(request);
        let now = Instant::now();
        assert_eq!(activity.look(now + FIRST), Look::Again);
        assert_eq!(activity.look(now + IDLE), Look::Close);
        drop(activity.begin(false));
        assert_eq!(activity.look(now + IDLE - GRACE), Look::Again, "one that came in between is answered in peace");
    }

    #[test]
    fn an_answer_that_nobody_takes_is_let_go() {
        let activity = activity();
        let body = || Full::new(Bytes::from_static(b"x"));
        let answer = |version| Held::new(body(), version, activity.begin(false), |_, _| ());
        let (mut stalled, _alone) = (answer(Version::HTTP_2), answer(Version::HTTP_11));
        activity.look(Instant::now() + WINDOW);
        assert_eq!(activity.facts().under_way, 1);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(Pin::new(&mut stalled).poll_frame(&mut cx), Poll::Ready(Some(Err(_)))));
    }

    /// What is one frame for the answer is not one for the peer: it has its deadline all the same.
    #[test]
    fn an_answer_of_one_frame_is_given_in_pieces() {
        static LEFT: AtomicUsize = AtomicUsize::new(0);
        const SIZE: usize = 3 * PIECE + 1;
        let activity = activity();
        let data = Bytes::from((0..SIZE).map(|n| n.to_le_bytes()[0]).collect::<Vec<_>>());
        let answer = |untaken| Held::new(Full::new(data.clone()), Version::HTTP_2, activity.begin(false), untaken);
        let mut cx = Context::from_waker(Waker::noop());
        let mut piece = |answer: &mut Held<_>| match Pin::new(answer).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap(),
            other => panic!("{other:?}"),
        };
        let mut whole = answer(|_, left| assert_eq!(left, 0));
        let mut came = Vec::new();
        while !whole.is_end_stream() {
            assert_eq!(whole.size_hint().exact(), Some((SIZE - came.len()) as u64));
            let next = piece(&mut whole);
            assert!(!next.is_empty() && next.len() <= PIECE);
            came.extend_from_slice(&next);
        }
        assert!(came == data);
        drop(whole);
        let mut stalled = answer(|_, left| LEFT.store(left, Ordering::Relaxed));
        assert_eq!(piece(&mut stalled).len(), PIECE);
        activity.look(Instant::now() + WINDOW);
        assert_eq!(activity.facts().under_way, 0);
        assert_eq!(LEFT.load(Ordering::Relaxed), SIZE - PIECE, "it knows what went nowhere");
    }

    /// An answer that comes slowly is not the peer's fault; that nobody asks for it when it is there, is.
    #[test]
    fn an_answer_that_waits_for_itself_is_kept() {
        let activity = activity();
        let (mut comes, body) = futures::channel::mpsc::unbounded::<Result<Frame<Bytes>, std::io::Error>>();
        let mut waits = Held::new(StreamBody::new(body), Version::HTTP_2, activity.begin(false), |_, _| ());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut waits).poll_frame(&mut cx).is_pending());
        let now = Instant::now();
        activity.look(now + WINDOW);
        assert_eq!(activity.facts().under_way, 1);
        comes.start_send(Ok(Frame::data(Bytes::from_static(b"x")))).unwrap();
        activity.look(now + WINDOW + ROUND);
        assert_eq!(activity.facts().under_way, 1, "it has its window from now on");
        activity.look(now + 2 * WINDOW);
        assert_eq!(activity.facts().under_way, 0);
    }
}
