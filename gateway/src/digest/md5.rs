//! MD5 (RFC 1321) of many streams at once. One stream is bound by the chain of its 64 steps; eight
//! or sixteen streams side by side in vector registers take hardly longer than one. S3's ETag is an
//! MD5, so this is part of the way of every upload.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use md5::Digest as _;
use tokio::sync::{Notify, oneshot};

mod lanes;
mod steps;

use lanes::{BLOCK, Blocks};

/// Bytes that a stream may queue before its sender waits.
const QUEUED_MAX: usize = 1 << 20;
/// A stream is ready with so many bytes, or at its end: small pieces are not worth waking a thread.
const WORTH: usize = 128 << 10;
/// How long a worker waits for other streams to come along, and for how many at most. As many as there are
/// lanes take hardly longer than one, so a wait saves most of the work of a busy moment; a body's way to the
/// disk, which goes on beside it, takes longer.
const GATHER: Duration = Duration::from_micros(500);
const GATHER_MAX: usize = 16;

/// MD5 of bytes in hand.
#[must_use]
pub fn md5_now(bytes: &[u8]) -> [u8; 16] {
    md5::Md5::digest(bytes).into()
}

/// Worker threads that digest streams side by side.
#[derive(Debug)]
pub struct Md5Engine {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    ready: Mutex<Ready>,
    wake: Condvar,
}

#[derive(Debug, Default)]
struct Ready {
    streams: VecDeque<Arc<Stream>>,
    /// Bodies on their way, whose streams are ready, done or still to come.
    bodies: usize,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Stream {
    queue: Mutex<Queue>,
    room: Notify,
}

/// What waits, and the state that goes with a worker while it works.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// In the ready list or with a worker.
    scheduled: bool,
    closed: Option<oneshot::Sender<[u8; 16]>>,
    state: lanes::State,
}

/// A body on its way.
#[derive(Debug)]
#[must_use = "nobody waits for a body that is announced no more"]
pub struct Announced(Arc<Shared>);

/// One stream of bytes.
#[derive(Debug)]
pub struct Md5Stream {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
}

impl Md5Engine {
    /// An engine of so many threads. Fewer threads find more streams to do side by side.
    ///
    /// # Errors
    /// What the system says when it gives no thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        for number in 0..threads.max(1) {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name(format!("md5-{number}")).spawn(move || work(&shared))?;
        }
        Ok(Self { shared })
    }

    /// A body that a client sends, to be announced until its request is answered. The digest has time while the
    /// body goes to the disk: so many bodies as are on their way are worth waiting for.
    pub fn body(&self) -> Announced {
        lock(&self.shared.ready).bodies += 1;
        Announced(Arc::clone(&self.shared))
    }

    /// A new stream.
    #[must_use]
    pub fn stream(&self) -> Md5Stream {
        Md5Stream { shared: Arc::clone(&self.shared), stream: Arc::default() }
    }
}

impl Drop for Md5Engine {
    fn drop(&mut self) {
        lock(&self.shared.ready).stopped = true;
        self.shared.wake.notify_all();
    }
}

impl Md5Stream {
    /// Queues bytes; waits while too many are queued.
    pub async fn update(&self, bytes: Bytes) {
        loop {
            let room = self.stream.room.notified();
            if lock(&self.stream.queue).bytes < QUEUED_MAX {
                break;
            }
            room.await;
        }
        let mut queue = lock(&self.stream.queue);
        queue.bytes += bytes.len();
        queue.pieces.push_back(bytes);
        if queue.bytes >= WORTH {
            self.shared.schedule(&self.stream, queue);
        }
    }

    /// The digest of everything queued; none when the engine has stopped.
    pub async fn finish(self) -> Option<[u8; 16]> {
        let (answer, answered) = oneshot::channel();
        self.close(answer);
        answered.await.ok()
    }

    fn close(self, answer: oneshot::Sender<[u8; 16]>) {
        let mut queue = lock(&self.stream.queue);
        queue.closed = Some(answer);
        self.shared.schedule(&self.stream, queue);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        lock(&self.0.ready).bodies -= 1;
    }
}

impl Shared {
    fn schedule(&self, stream: &Arc<Stream>, mut queue: MutexGuard<'_, Queue>) {
        if !std::mem::replace(&mut queue.scheduled, true) {
            drop(queue);
            lock(&self.ready).streams.push_back(Arc::clone(stream));
            self.wake.notify_one();
        }
    }

    /// Waits for streams with work; none when the engine has stopped.
    fn next(&self, most: usize) -> Option<Vec<Arc<Stream>>> {
        let idle = |ready: &mut Ready| ready.streams.is_empty() && !ready.stopped;
        let few = |ready: &mut Ready| ready.streams.len() < ready.bodies.min(GATHER_MAX) && !ready.stopped;
        let mut ready = lock(&self.ready);
        loop {
            ready = self.wake.wait_while(ready, idle).unwrap_or_else(PoisonError::into_inner);
            ready = self.wake.wait_timeout_while(ready, GATHER, few).unwrap_or_else(PoisonError::into_inner).0;
            let count = ready.streams.len().min(most);
            if count > 0 {
                return Some(ready.streams.drain(..count).collect());
            }
            // Another worker took them all.
            if ready.stopped {
                return None;
            }
        }
    }
}

fn work(shared: &Shared) {
    let width = lanes::width();
    while let Some(streams) = shared.next(width) {
        let mut taken: Vec<(lanes::State, VecDeque<Blocks>)> = streams.iter().map(|stream| take(stream)).collect();
        lanes::digest(&mut taken);
        for (stream, (state, _)) in streams.iter().zip(taken) {
            give_back(shared, stream, state);
        }
    }
}

/// Takes what a stream has queued, cut into whole blocks.
fn take(stream: &Stream) -> (lanes::State, VecDeque<Blocks>) {
    let mut queue = lock(&stream.queue);
    let mut state = std::mem::take(&mut queue.state);
    let pieces = std::mem::take(&mut queue.pieces);
    queue.bytes = 0;
    drop(queue);
    stream.room.notify_waiters();
    let mut blocks = VecDeque::with_capacity(2 * pieces.len());
    for piece in pieces {
        state.cut(piece, &mut blocks);
    }
    (state, blocks)
}

fn give_back(shared: &Shared, stream: &Arc<Stream>, state: lanes::State) {
    let mut queue = lock(&stream.queue);
    queue.scheduled = false;
    if !queue.pieces.is_empty() {
        queue.state = state;
        shared.schedule(stream, queue);
    } else if let Some(answer) = queue.closed.take() {
        drop(queue);
        // Whoever asked may have gone.
        let _gone = answer.send(state.finish());
    } else {
        queue.state = state;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const _: () = assert!(BLOCK == 64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn rfc_1321_examples() {
        let engine = Md5Engine::new(1).unwrap();
        for (input, value) in [("", "d41d8cd98f00b204e9800998ecf8427e"), ("abc", "900150983cd24fb0d6963f7d28e17f72")] {
            let stream = engine.stream();
            stream.update(Bytes::from(input)).await;
            assert_eq!(hex::encode(stream.finish().await.unwrap()), value);
            assert_eq!(hex::encode(md5_now(input.as_bytes())), value);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn streams_side_by_side_equal_the_plain_digest(streams in proptest::collection::vec(proptest::collection::vec(0..5000_usize, 0..20), 1..40)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let engine = Md5Engine::new(2).unwrap();
                let digests = streams.iter().enumerate().map(|(seed, pieces)| {
                    let stream = engine.stream();
                    async move {
                        let mut all = Vec::new();
                        for (n, size) in pieces.iter().enumerate() {
                            let piece: Vec<u8> = (0..*size).map(|i| (i * 31 + n * 7 + seed) as u8).collect();
                            all.extend_from_slice(&piece);
                            stream.update(Bytes::from(piece)).await;
                        }
                        (stream.finish().await.unwrap(), md5_now(&all))
                    }
                });
                for (got, wanted) in futures::future::join_all(digests).await {
                    assert_eq!(got, wanted);
                }
            });
        }
    }
}
