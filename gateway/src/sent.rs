//! The body of an answer on its way out: counts what leaves, and writes a closing record when that
//! is not what the opening record planned, or took long (SECURITY.md rule 11).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use s3s::StdError;

use crate::clock;
use crate::context::RequestContext;
use crate::record::{Closing, Content};
use crate::stack::Stack;

/// Answers that take longer get a closing record even when all went to plan.
const LONG: Duration = Duration::from_secs(1);

/// A body that is watched.
#[derive(Debug)]
pub struct Sent {
    body: s3s::Body,
    watch: Option<Watch>,
}

/// What is known of one answer.
#[derive(Debug)]
pub struct Watch {
    stack: Arc<Stack>,
    context: Arc<RequestContext>,
    status: u16,
    expected: Option<u64>,
    sent: u64,
    handed_over: bool,
    ended: bool,
    failed: bool,
}

impl Sent {
    /// Watches a body.
    pub(crate) const fn new(body: s3s::Body, watch: Option<Watch>) -> Self {
        Self { body, watch }
    }

    /// The answer goes to the network now; one that is dropped before found nobody to take it.
    pub(crate) const fn hand_over(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.handed_over = true;
        }
    }

    /// So many of its last bytes went nowhere.
    pub(crate) fn untaken(&mut self, bytes: usize) {
        if let Some(watch) = &mut self.watch {
            watch.sent = watch.sent.saturating_sub(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }
}

impl Watch {
    /// Watches an answer whose opening record is durable.
    pub(crate) fn new(stack: &Arc<Stack>, context: Arc<RequestContext>, status: u16, expected: Option<u64>) -> Self {
        let stack = Arc::clone(stack);
        Self { stack, context, status, expected, sent: 0, handed_over: false, ended: false, failed: false }
    }

    fn outcome(&self) -> &'static str {
        let complete = self.handed_over && self.expected.map_or(self.ended, |expected| self.sent == expected);
        match (self.failed, complete) {
            (true, _) => "failed",
            (false, true) => "complete",
            (false, false) => "broken off",
        }
    }
}

impl Body for Sent {
    type Data = Bytes;
    type Error = StdError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StdError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(frame), Some(watch)) = (&polled, &mut self.watch) {
            match frame {
                Some(Ok(frame)) => watch.sent += frame.data_ref().map_or(0, |d| u64::try_from(d.len()).unwrap_or(0)),
                Some(Err(_)) => watch.failed = true,
                None => watch.ended = true,
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        metrics::counter!("gotgan_sent_bytes_total").increment(self.sent);
        let planned = self.context.recorded_status() == Some(self.status);
        let outcome = self.outcome();
        if self.context.is_folded() || planned && outcome == "complete" && self.context.started.elapsed() < LONG {
            return;
        }
        let closing = Content::Closing(Closing {
            request: self.context.id.clone(),
            status: self.status,
            bytes_sent: self.sent,
            duration_us: self.context.elapsed_us(),
            outcome: outcome.to_owned(),
        });
        let (stack, context) = (Arc::clone(&self.stack), Arc::clone(&self.context));
        self.stack.tasks().spawn(async move {
            if let Err(error) = stack.gateway().recorder.append(context.tenant(), clock::now(), &closing).await {
                tracing::error!(%error, request = context.id, "a closing record was not written");
                metrics::counter!("gotgan_unrecorded_total").increment(1);
            }
        });
    }
}
