//! Sealing and opening a segment, and MD5 of one and of many streams.
#![expect(missing_docs, clippy::unwrap_used, reason = "a bench: what fails must not be measured")]

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use gateway::digest::md5::{Md5Engine, md5_now};
use gateway::seal::body::{BodyOpener, BodySealer};
use gateway::seal::{SecretKey, Suite};
use policy::id::BodyId;
use storage::geometry::{SEGMENT_PLAIN, TAG};

fn segments(c: &mut Criterion) {
    let mut group = c.benchmark_group("segment");
    group.throughput(Throughput::Bytes(SEGMENT_PLAIN as u64));
    let key = SecretKey::from_bytes([1; 32]);
    let body = BodyId::from_bytes([2; 16]);
    for suite in Suite::ALL {
        let mut buffer = vec![7; SEGMENT_PLAIN + TAG];
        group.bench_function(format!("seal {suite:?}"), |b| {
            let mut sealer = BodySealer::new(suite, &key, body, u64::MAX / 2).unwrap();
            b.iter(|| sealer.seal_next(&mut buffer, SEGMENT_PLAIN).unwrap());
        });
        BodySealer::new(suite, &key, body, SEGMENT_PLAIN as u64)
            .unwrap()
            .seal_next(&mut buffer, SEGMENT_PLAIN)
            .unwrap();
        let opener = BodyOpener::new(suite, &key, body, SEGMENT_PLAIN as u64).unwrap();
        group.bench_function(format!("open {suite:?}"), |b| {
            let fresh = || buffer.clone();
            b.iter_batched_ref(fresh, |sealed| opener.open(0, sealed).unwrap().len(), BatchSize::LargeInput);
        });
    }
    group.finish();
}

fn md5(c: &mut Criterion) {
    const SIZE: usize = 1 << 20;
    let mut group = c.benchmark_group("md5");
    let data = Bytes::from(vec![7; SIZE]);
    group.throughput(Throughput::Bytes(SIZE as u64));
    group.bench_function("plain", |b| b.iter(|| md5_now(&data)));
    let engine = Md5Engine::new(1).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for streams in [1, 4, 8, 16] {
        group.throughput(Throughput::Bytes((SIZE * streams) as u64));
        group.bench_function(format!("{streams} streams"), |b| {
            let _announced: Vec<_> = (0..streams).map(|_| engine.body()).collect();
            b.iter(|| {
                runtime.block_on(futures::future::join_all((0..streams).map(|_| {
                    let stream = engine.stream();
                    let data = data.clone();
                    async move {
                        stream.update(data).await;
                        stream.finish().await
                    }
                })))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, segments, md5);
criterion_main!(benches);
