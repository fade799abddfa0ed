//! The chunk store: whole bodies written durably, and segment runs read from the page cache.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use policy::decide::{BucketFacts, Request, decide};
use policy::id::{BodyId, BucketId, PrincipalId, SessionId, StoreId, TenantId};
use policy::operation::Operation;
use policy::place::{Assurance, Country, Place, VerifiedPlace};
use policy::principal::{Actor, Role};
use policy::residency::Residency;
use storage::buffer::BufferPool;
use storage::chunk::{ChunkId, SealedChunk};
use storage::chunks::{ChunkStore, StoreOptions};
use storage::engine::Engine;
use storage::geometry::{CHUNK_PLAIN, SEGMENT_PLAIN, SEGMENT_SEALED, SEGMENTS_PER_CHUNK};
use storage::placement::Placement;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn here() -> VerifiedPlace {
    let assurance = Assurance::SelfDeclared;
    VerifiedPlace::known(Place {
        country: Country::KR,
        subdivision: None,
        site: None,
        rack: None,
        operator: None,
        assurance,
    })
}

fn placement(store: &ChunkStore) -> Result<Placement, Failure> {
    let tenant = TenantId::from_bytes([1; 16]);
    let actor =
        Actor { tenant: Some(tenant), principal: PrincipalId::from_bytes([2; 16]), role: Role::Engineer, active: true };
    let bucket = BucketFacts { id: BucketId::from_bytes([3; 16]), tenant, residency: Residency::korea() };
    let permit = decide(&Request {
        operation: Operation::PutObject,
        actor: Some(&actor),
        bucket: Some(&bucket),
        source: None,
        expected_owner: None,
        expected_source_owner: None,
        tenant_residency: None,
        places: &[here()],
    })
    .map_err(|denial| denial.message())?;
    Ok(Placement::decide(&permit, &[store.facts()], 0.into())?)
}

async fn write(
    store: &Arc<ChunkStore>,
    pool: &Arc<BufferPool>,
    placement: &Placement,
    number: u128,
) -> Result<ChunkId, Failure> {
    let id = ChunkId { body: BodyId::from_bytes(number.to_be_bytes()), number: 0 };
    let buffer = pool.chunk(SEGMENTS_PER_CHUNK).await?;
    let mut writer = store.begin(placement, id.body)?;
    writer.write(SealedChunk::from_sealed(id, buffer, SEGMENTS_PER_CHUNK, u32::try_from(SEGMENT_SEALED)?)).await?;
    writer.finish().await?;
    Ok(id)
}

fn chunks(c: &mut Criterion) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let dir = tempfile::tempdir()?;
    let pool = BufferPool::new(16);
    let options = StoreOptions {
        engine: Engine::new(),
        pool: Arc::clone(&pool),
        session: SessionId::from_bytes([4; 16]),
        place: here(),
        fresh_id: StoreId::from_bytes([5; 16]),
    };
    let store = ChunkStore::open(dir.path(), &options)?;
    let placement = placement(&store)?;
    let mut number = 0;
    let mut group = c.benchmark_group("chunk store");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(4 * CHUNK_PLAIN as u64));
    group.bench_function("write 4 x 4 MiB, durable", |b| {
        b.iter(|| {
            number += 4;
            let four = (0..4).map(|n| write(&store, &pool, &placement, number + n));
            runtime.block_on(futures_join(four.collect()))
        });
    });
    let id = runtime.block_on(write(&store, &pool, &placement, u128::MAX))?;
    group.throughput(Throughput::Bytes(8 * SEGMENT_PLAIN as u64));
    group.bench_function("read 8 segments, cached", |b| {
        b.iter(|| runtime.block_on(store.read(id, 8..16)).map(|run| run.count()));
    });
    group.finish();
    runtime.block_on(store.shutdown())?;
    Ok(())
}

async fn futures_join<F: Future>(all: Vec<F>) -> Vec<F::Output> {
    let mut out = Vec::new();
    let mut pinned: Vec<_> = all.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        pinned.retain_mut(|future| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(value) => {
                out.push(value);
                false
            }
            std::task::Poll::Pending => true,
        });
        if pinned.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    out
}

fn run(c: &mut Criterion) {
    if let Err(error) = chunks(c) {
        c.bench_function(&format!("failed: {error}"), |b| b.iter(|| ()));
    }
}

criterion_group!(benches, run);
criterion_main!(benches);
