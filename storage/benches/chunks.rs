//! The chunk store: whole bodies written durably, and segment runs read from the page cache.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

mod common;

use common::{Bench, Failure};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use storage::geometry::{CHUNK_PLAIN, SEGMENT_PLAIN, SEGMENTS_PER_CHUNK};

fn chunks(c: &mut Criterion) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let bench = Bench::open()?;
    let mut number = 0;
    let mut group = c.benchmark_group("chunk store");
    group.sample_size(20);
    for (name, writers, segments) in
        [("write 4 x 4 MiB, durable", 4, SEGMENTS_PER_CHUNK), ("write 16 x 128 KiB, durable", 16, 2)]
    {
        group.throughput(Throughput::Bytes(u64::from(writers * segments) * SEGMENT_PLAIN as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                number += 16;
                let all = (0..writers).map(|n| bench.write(number + u128::from(n), segments));
                runtime.block_on(join_all(all))
            });
        });
    }
    let id = runtime.block_on(bench.write(u128::MAX, SEGMENTS_PER_CHUNK))?;
    group.throughput(Throughput::Bytes(8 * SEGMENT_PLAIN as u64));
    group.bench_function("read 8 segments, cached", |b| {
        b.iter(|| runtime.block_on(bench.store.read(id, 8..16)).map(|run| run.count()));
    });
    group.finish();
    runtime.block_on(bench.store.shutdown())?;
    Ok(())
}

#[expect(clippy::panic, reason = "a bench that cannot be set up must fail, and criterion takes no errors")]
fn run(c: &mut Criterion) {
    if let Err(error) = chunks(c) {
        panic!("the bench was not set up: {error}");
    }
}

const _: () = assert!(CHUNK_PLAIN == SEGMENTS_PER_CHUNK as usize * SEGMENT_PLAIN);

criterion_group!(benches, run);
criterion_main!(benches);
