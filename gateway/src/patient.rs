//! Pieces of an answer that must come in time: one that hangs holds buffers that others wait for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::time::{Sleep, sleep};

use crate::activity::More;
use crate::error::Error;

/// A stream that ends as failed when nothing of it moves for so long while somebody waits.
pub(crate) struct Patient<S> {
    /// None after its end.
    pieces: Option<S>,
    patience: Duration,
    /// Runs since somebody began to wait, or since something moved.
    deadline: Option<Pin<Box<Sleep>>>,
    more: Arc<More>,
}

impl<S> Patient<S> {
    pub(crate) fn new(pieces: S, patience: Duration) -> Self {
        Self { pieces: Some(pieces), patience, deadline: None, more: Arc::default() }
    }
}

impl<S: Stream<Item = Result<Bytes, Error>> + Unpin> Stream for Patient<S> {
    type Item = Result<Bytes, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = self.get_mut();
        let Some(pieces) = &mut me.pieces else { return Poll::Ready(None) };
        me.more.asks.register(cx.waker());
        // What moved while nobody asked could not go on by itself: it has its time from now on.
        if me.more.is_there.swap(false, Ordering::AcqRel) {
            me.deadline = None;
        }
        let waker = Waker::from(Arc::clone(&me.more));
        let polled = Pin::new(pieces).poll_next(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            me.deadline = None;
            return polled;
        }
        ready!(me.deadline.get_or_insert_with(|| Box::pin(sleep(me.patience))).as_mut().poll(cx));
        me.pieces = None;
        metrics::counter!("gotgan_stalled_total").increment(1);
        Poll::Ready(Some(Err(Error::Stalled)))
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc::{UnboundedReceiver, unbounded};
    use futures::{StreamExt, poll};

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(200);

    fn piece() -> Result<Bytes, Error> {
        Ok(Bytes::from_static(b"x"))
    }

    #[tokio::test]
    async fn a_piece_that_does_not_come_ends_it() {
        let (comes, pieces) = unbounded();
        let mut patient = Patient::new(pieces, PATIENCE);
        comes.unbounded_send(piece()).unwrap();
        assert!(matches!(patient.next().await, Some(Ok(_))));
        assert!(matches!(patient.next().await, Some(Err(Error::Stalled))));
        assert!(comes.is_closed(), "what it held is let go");
        assert!(patient.next().await.is_none());
    }

    #[tokio::test]
    async fn the_time_in_which_nobody_asks_does_not_count() {
        let (comes, pieces) = unbounded();
        let mut patient = Patient::new(pieces, PATIENCE);
        comes.unbounded_send(piece()).unwrap();
        sleep(2 * PATIENCE).await;
        assert!(matches!(patient.next().await, Some(Ok(_))));
        sleep(2 * PATIENCE).await;
        assert!(poll!(patient.next()).is_pending(), "its time begins with who waits");
        comes.unbounded_send(piece()).unwrap();
        sleep(2 * PATIENCE).await;
        assert!(matches!(patient.next().await, Some(Ok(_))), "it was there in time");
    }

    /// Takes two of a channel for each that it gives, as a fetch takes a buffer and then its bytes.
    #[tokio::test]
    async fn what_moved_when_nobody_asked_has_its_time() {
        let (comes, pieces): (_, UnboundedReceiver<_>) = unbounded();
        let mut patient =
            Patient::new(Box::pin(pieces.chunks(2).filter_map(async |two| two.into_iter().next())), PATIENCE);
        assert!(poll!(patient.next()).is_pending());
        comes.unbounded_send(piece()).unwrap();
        sleep(2 * PATIENCE).await;
        assert!(poll!(patient.next()).is_pending(), "the second has not had its time");
        comes.unbounded_send(piece()).unwrap();
        assert!(matches!(patient.next().await, Some(Ok(_))));
    }
}
