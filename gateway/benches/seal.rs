//! Sealing and opening a segment, and MD5 of one and of many streams.
#![expect(missing_docs, reason = "criterion's macro makes a public function")]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
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
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        let mut buffer = vec![7; SEGMENT_PLAIN + TAG];
        group.bench_function(format!("seal {suite:?}"), |b| {
            let mut sealer = BodySealer::new(suite, &key, body, u64::MAX / 2).ok();
            b.iter(|| sealer.as_mut().map(|s| s.seal_next(&mut buffer, SEGMENT_PLAIN)));
        });
        let opener = BodyOpener::new(suite, &key, body, SEGMENT_PLAIN as u64).ok();
        group.bench_function(format!("refuse {suite:?}"), |b| {
            b.iter(|| opener.as_ref().map(|o| o.open(0, &mut buffer).is_ok()))
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
    let (Ok(engine), Ok(runtime)) = (Md5Engine::new(1), tokio::runtime::Builder::new_current_thread().build()) else {
        return;
    };
    for streams in [1, 4, 8, 16] {
        group.throughput(Throughput::Bytes((SIZE * streams) as u64));
        group.bench_function(format!("{streams} streams"), |b| {
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
