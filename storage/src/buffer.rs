//! Buffers of sealed bytes, pooled: fresh memory costs a second per GiB to touch, and the sum of all
//! buffers is the memory bound of bodies in flight (STORAGE.md, Memory).

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::geometry::{BLOCK, SEGMENTS_PER_CHUNK, STRIDE};

/// Segments of each size class.
const CLASSES: [u32; 5] = [1, 2, 8, 16, SEGMENTS_PER_CHUNK];
/// Whoever waits longer for a buffer is turned away.
const WAIT: Duration = Duration::from_secs(30);

/// Every buffer is in use, and stayed so.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("no buffer came free in {} s: too many bodies are in flight", WAIT.as_secs())]
pub struct Exhausted;

/// A bounded set of buffers, reused.
#[derive(Debug)]
pub struct BufferPool {
    writes: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    shelf: Mutex<Shelf>,
    /// Segments that may exist at once, in use or free.
    bound: u32,
}

#[derive(Debug, Default)]
struct Shelf {
    free: [Vec<Vec<u8>>; CLASSES.len()],
    segments: u32,
}

/// A buffer, aligned for direct I/O; goes back to its pool when dropped.
#[derive(Debug)]
pub struct PooledBuffer {
    memory: Vec<u8>,
    start: usize,
    length: usize,
    class: usize,
    pool: Arc<BufferPool>,
    _permit: OwnedSemaphorePermit,
}

impl BufferPool {
    /// A pool for `chunks` whole chunks being written and as many bytes being read.
    #[must_use]
    pub fn new(chunks: u32) -> Arc<Self> {
        let segments = chunks * SEGMENTS_PER_CHUNK;
        let permits = usize::try_from(segments).unwrap_or(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            writes: Arc::new(Semaphore::new(permits)),
            reads: Arc::new(Semaphore::new(permits)),
            shelf: Mutex::default(),
            bound: 2 * segments,
        })
    }

    /// A buffer to seal up to `segments` segments into; holds at least one, at most a chunk.
    ///
    /// # Errors
    /// [`Exhausted`] when none comes free in time.
    pub async fn chunk(self: &Arc<Self>, segments: u32) -> Result<PooledBuffer, Exhausted> {
        self.take(&self.writes, segments).await
    }

    /// A buffer to read a run of `segments` segments into.
    ///
    /// # Errors
    /// [`Exhausted`] when none comes free in time.
    pub async fn run(self: &Arc<Self>, segments: u32) -> Result<PooledBuffer, Exhausted> {
        self.take(&self.reads, segments).await
    }

    /// Buffers to seal a chunk and its parity into, of so many segments each. They are waited for all at once: who
    /// holds one while it waits for the next may wait for somebody who does the same.
    ///
    /// # Errors
    /// [`Exhausted`] when not enough come free in time.
    pub async fn chunks(self: &Arc<Self>, sizes: &[u32]) -> Result<Vec<PooledBuffer>, Exhausted> {
        let sum = sizes.iter().map(|segments| class_of(*segments).1).sum();
        let mut permits = permits(&self.writes, sum).await?;
        let split = |segments: &u32| {
            let (class, size) = class_of(*segments);
            let permit = permits.split(usize::try_from(size).unwrap_or(usize::MAX)).ok_or(Exhausted)?;
            Ok(self.buffer(class, size, permit))
        };
        sizes.iter().map(split).collect()
    }

    async fn take(self: &Arc<Self>, budget: &Arc<Semaphore>, segments: u32) -> Result<PooledBuffer, Exhausted> {
        let (class, size) = class_of(segments);
        let permit = permits(budget, size).await?;
        Ok(self.buffer(class, size, permit))
    }

    fn buffer(self: &Arc<Self>, class: usize, size: u32, permit: OwnedSemaphorePermit) -> PooledBuffer {
        let length = bytes_of(size);
        let memory = self.reuse(class, size).unwrap_or_else(|| vec![0; length + BLOCK]);
        let start = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        PooledBuffer { memory, start, length, class, pool: Arc::clone(self), _permit: permit }
    }

    /// A free buffer of the class; else notes that one will be made, and gives up others for it.
    fn reuse(&self, class: usize, size: u32) -> Option<Vec<u8>> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = shelf.free.get_mut(class).and_then(Vec::pop) {
            return Some(memory);
        }
        shelf.segments += size;
        for (other, freed) in CLASSES.iter().enumerate() {
            while shelf.segments > self.bound {
                if shelf.free.get_mut(other).and_then(Vec::pop).is_none() {
                    break;
                }
                shelf.segments -= freed;
            }
        }
        None
    }
}

/// The size class that holds so many segments, and its segments.
fn class_of(segments: u32) -> (usize, u32) {
    let class = CLASSES.iter().position(|c| *c >= segments).unwrap_or(CLASSES.len() - 1);
    (class, CLASSES.get(class).copied().unwrap_or(SEGMENTS_PER_CHUNK))
}

async fn permits(budget: &Arc<Semaphore>, segments: u32) -> Result<OwnedSemaphorePermit, Exhausted> {
    let waiting = Arc::clone(budget).acquire_many_owned(segments);
    tokio::time::timeout(WAIT, waiting).await.map_err(|_| Exhausted)?.map_err(|_| Exhausted)
}

/// Bytes of a buffer of so many segments, whole blocks.
fn bytes_of(segments: u32) -> usize {
    (usize::try_from(segments).unwrap_or(usize::MAX) * STRIDE).next_multiple_of(BLOCK)
}

impl Deref for PooledBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.get(self.start..self.start + self.length).unwrap_or_default()
    }
}

impl DerefMut for PooledBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start + self.length).unwrap_or_default()
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut shelf = self.pool.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(free) = shelf.free.get_mut(self.class) {
            free.push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn buffers_are_aligned_reused_and_bounded() {
        let pool = BufferPool::new(1);
        let first = pool.chunk(64).await.unwrap();
        assert_eq!(first.as_ptr().align_offset(BLOCK), 0);
        assert_eq!(first.len(), crate::geometry::CHUNK_STORED);
        let at = first.as_ptr();
        assert!(tokio::time::timeout(Duration::from_millis(20), pool.chunk(1)).await.is_err(), "the budget is spent");
        drop(first);
        assert_eq!(pool.chunk(64).await.unwrap().as_ptr(), at, "reused");
        for _ in 0..3 {
            let mut held = Vec::new();
            for _ in 0..64 {
                held.push(pool.run(1).await.unwrap());
            }
            assert_eq!(held.len(), 64);
            drop(held);
            drop(pool.run(64).await.unwrap());
        }
        assert!(pool.shelf.lock().unwrap().segments <= pool.bound);
    }

    #[tokio::test]
    async fn a_chunk_and_its_parity_are_had_at_once() {
        let pool = BufferPool::new(2);
        let held = pool.chunks(&[64, 16, 16]).await.unwrap();
        assert_eq!(held.iter().map(|buffer| buffer.len() / STRIDE).collect::<Vec<_>>(), [64, 16, 16]);
        let left = pool.chunk(16).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), pool.chunks(&[16, 1])).await.is_err());
        drop((held, left));
        assert_eq!(pool.chunks(&[64, 64]).await.unwrap().len(), 2, "all came back");
    }
}
