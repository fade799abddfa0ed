//! A peer that has sent its last and still listens: hyper takes the end of what it sends for the end of the
//! connection, and drops what it would answer. That end is told when the answer is out.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::activity::Activity;

/// A stream whose end is held back while a request that came whole is answered whoever listens.
pub(crate) struct HalfOpen<T> {
    stream: T,
    activity: Arc<Activity>,
}

impl<T> HalfOpen<T> {
    pub(crate) const fn new(stream: T, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for HalfOpen<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (room, before) = (into.remaining() > 0, into.filled().len());
        let polled = Pin::new(&mut self.stream).poll_read(cx, into);
        let ended = room && into.filled().len() == before && matches!(polled, Poll::Ready(Ok(())));
        if ended && self.activity.holds_the_end_back(cx) { Poll::Pending } else { polled }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for HalfOpen<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
