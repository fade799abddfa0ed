//! Changed bytes: a read of what they lie in is refused by name, every other read gives what was written.

use std::fs::File;

use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::*;
use crate::chunk::Shape;

const SHAPES: [Shape; 3] =
    [Shape { segments: 3, last: 1000 }, Shape { segments: 1, last: 17 }, Shape { segments: 2, last: 65_552 }];

struct Damaged {
    runtime: Runtime,
    store: Arc<ChunkStore>,
    file: File,
    /// Each chunk with its place in the file.
    chunks: Vec<(ChunkId, u64, Shape)>,
    _dir: tempfile::TempDir,
}

impl Drop for Damaged {
    fn drop(&mut self) {
        self.runtime.block_on(self.store.shutdown()).unwrap();
    }
}

impl Damaged {
    fn fresh() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_time().build().unwrap();
        let store = open(dir.path(), 1, "KR");
        let chunks = runtime.block_on(async {
            let mut chunks = Vec::new();
            for (body, shape) in (1_u8..).zip(SHAPES) {
                let id = id(body);
                let mut writer = store.begin(&placement(&store), id.body).unwrap();
                let mut buffer = store.shared.pool.chunk(shape.segments).await.unwrap();
                buffer.fill(body);
                writer.write(SealedChunk::from_sealed(id, buffer, shape.segments, shape.last)).await.unwrap();
                let _kept = writer.finish().await.unwrap();
                chunks.push((id, store.shared.index.chunk(id).unwrap().unwrap().offset, shape));
            }
            chunks
        });
        let path = dir.path().join("segments/00000001.seg");
        let file = File::options().read(true).write(true).open(path).unwrap();
        Self { runtime, store, file, chunks, _dir: dir }
    }

    /// Changes one byte, looks at everything, and puts it back.
    fn try_byte(&self, at: u64, change: u8) {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, at).unwrap();
        self.file.write_all_at(&[byte[0] ^ change], at).unwrap();
        self.runtime.block_on(async {
            let mut corrupt = Vec::new();
            for (id, offset, shape) in &self.chunks {
                let hit = (0..shape.segments).find(|n| {
                    let segment = shape.segment(*n);
                    (segment.start as u64..segment.end as u64).contains(&at.wrapping_sub(*offset))
                });
                corrupt.extend(hit.map(|_| *id));
                for first in 0..shape.segments {
                    for end in first + 1..=shape.segments {
                        let hit = hit.filter(|segment| (first..end).contains(segment));
                        self.look(*id, first..end, hit).await;
                    }
                }
            }
            assert_eq!(self.store.scrub(None, 10).await.unwrap().corrupt, corrupt);
        });
        self.file.write_all_at(&byte, at).unwrap();
    }

    async fn look(&self, id: ChunkId, wanted: Range<u32>, hit: Option<u32>) {
        match (self.store.read(id, wanted.clone()).await, hit) {
            (Err(StoreError::Corrupt { chunk, segment }), Some(hit)) => assert_eq!((chunk, segment), (id, hit)),
            (Ok(mut run), None) => {
                for n in 0..run.count() {
                    assert!(run.segment_mut(n).unwrap().iter().all(|b| *b == id.body.as_bytes()[0]));
                }
            }
            (outcome, hit) => panic!("{id} {wanted:?}, damaged: {hit:?}: {:?}", outcome.err()),
        }
    }
}

#[test]
fn any_changed_byte_is_refused_where_it_lies() {
    let damaged = Damaged::fresh();
    let end = damaged.chunks.iter().map(|(_, offset, shape)| offset + shape.footprint()).max().unwrap();
    let config = Config { cases: 200, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&(0..end, 1..=255_u8), |(at, change)| {
            damaged.try_byte(at, change);
            Ok(())
        })
        .unwrap();
}

#[test]
fn every_bit_of_a_short_segment_counts() {
    let damaged = Damaged::fresh();
    let (_, offset, shape) = damaged.chunks[1];
    for at in offset..offset + u64::from(shape.last) {
        for bit in 0..8 {
            damaged.try_byte(at, 1 << bit);
        }
    }
}

#[test]
fn a_file_that_ends_early_or_is_gone_is_corrupt_not_empty() {
    let damaged = Damaged::fresh();
    let (id, offset, shape) = damaged.chunks[2];
    damaged.file.set_len(offset + shape.segment(1).start as u64 + 5).unwrap();
    damaged.runtime.block_on(async {
        damaged.look(id, 0..1, None).await;
        damaged.look(id, 1..2, Some(1)).await;
        assert_eq!(damaged.store.scrub(None, 10).await.unwrap().corrupt, [id]);
    });
}
