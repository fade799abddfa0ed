//! Shards: a chunk of 4 MiB coded, shards of it rebuilt, and one segment of a lost one. CRCs are part of all of them.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use policy::id::BodyId;
use storage::buffer::{BufferPool, PooledBuffer};
use storage::chunk::{ChunkId, SealedChunk};
use storage::geometry::{CHUNK_PLAIN, SEGMENT_PLAIN, SEGMENT_SEALED, SEGMENTS_PER_CHUNK};
use storage::layout::Layout;
use storage::shard::{Lost, Piece, Shards, Spread, encode, rebuild};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const ID: ChunkId = ChunkId { body: BodyId::from_bytes([1; 16]), number: 0 };

/// A chunk of noise, and buffers for its parity.
fn sealed(pool: &std::sync::Arc<BufferPool>, layout: Layout) -> Result<(SealedChunk, Vec<PooledBuffer>), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let last = u32::try_from(SEGMENT_SEALED)?;
    let shape = storage::chunk::Shape { segments: SEGMENTS_PER_CHUNK, last };
    let (buffers, rows) = Spread::new(layout, shape)?.parity_buffers();
    let mut sizes = vec![rows; usize::from(buffers)];
    sizes.push(SEGMENTS_PER_CHUNK);
    let mut parity = runtime.block_on(pool.chunks(&sizes))?;
    let mut buffer = parity.pop().ok_or("no buffer")?;
    blake3::Hasher::new().finalize_xof().fill(&mut buffer);
    Ok((SealedChunk::from_sealed(ID, buffer, SEGMENTS_PER_CHUNK, last), parity))
}

/// Rebuilds rows of lost shards; gives how many segments were damaged: none.
fn degraded(shards: &Shards, rows: &std::ops::Range<u32>, lost: &[u8], out: &mut [Vec<u8>]) -> Result<usize, Failure> {
    let spread = shards.spread();
    let mut pieces = Vec::new();
    for shard in shards.iter().filter(|shard| !lost.contains(&shard.id().number)) {
        let bytes = &shard.bytes()[spread.bytes_of(shard.id().number, rows)];
        let crcs = &shard.crcs()[rows.start as usize..rows.end as usize];
        pieces.push(Piece { id: shard.id(), shape: shard.shape(), bytes, crcs });
    }
    let mut wanted: Vec<Lost<'_>> = Vec::new();
    for (number, out) in lost.iter().zip(out) {
        let crcs = shards.shard(*number).map(|shard| &shard.crcs()[rows.start as usize..rows.end as usize]);
        wanted.push(Lost { number: *number, crcs, out });
    }
    Ok(rebuild(spread, ID, rows, &pieces, &mut wanted)?.len())
}

fn shards(c: &mut Criterion) -> Result<(), Failure> {
    let pool = BufferPool::new(16);
    for name in ["ec-4-2", "ec-8-3"] {
        let layout: Layout = name.parse()?;
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Bytes(CHUNK_PLAIN as u64));
        group.bench_function("encode 4 MiB", |b| {
            b.iter_batched(
                || sealed(&pool, layout),
                |made| made.map(|(chunk, parity)| encode(layout, chunk, parity)),
                BatchSize::PerIteration,
            );
        });
        let (chunk, parity) = sealed(&pool, layout)?;
        let shards = encode(layout, chunk, parity)?;
        let rows = 0..shards.spread().rows();
        for lost in [&[1][..], &[0, 1, 2][..usize::from(layout.parity())]] {
            let mut out: Vec<Vec<u8>> =
                lost.iter().map(|n| vec![0; shards.spread().bytes_of(*n, &rows).len()]).collect();
            group.throughput(Throughput::Bytes(CHUNK_PLAIN as u64));
            group.bench_function(format!("rebuild {} of 4 MiB", lost.len()), |b| {
                b.iter(|| black_box(degraded(&shards, &rows, lost, &mut out)));
            });
        }
        let mut out = [vec![0; SEGMENT_SEALED]];
        group.throughput(Throughput::Bytes(SEGMENT_PLAIN as u64));
        group.bench_function("degraded read of 64 KiB", |b| {
            b.iter(|| black_box(degraded(&shards, &(3..4), &[1], &mut out)));
        });
        group.finish();
    }
    Ok(())
}

#[expect(clippy::panic, reason = "a bench that cannot be set up must fail, and criterion takes no errors")]
fn run(c: &mut Criterion) {
    if let Err(error) = shards(c) {
        panic!("the bench was not set up: {error}");
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
