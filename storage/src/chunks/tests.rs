//! The store on a real directory.

use std::os::unix::fs::FileExt;

use policy::decide::{BucketFacts, Request, decide};
use policy::id::{BucketId, PrincipalId, TenantId};
use policy::operation::Operation;
use policy::place::{Assurance, Country, Place};
use policy::principal::{Actor, Role};
use policy::residency::Residency;

use super::*;
use crate::chunk::SealedChunk;
use crate::geometry::{SEGMENT_SEALED, STRIDE};

fn place(country: &str) -> VerifiedPlace {
    let country: Country = country.parse().unwrap();
    let assurance = Assurance::SelfDeclared;
    VerifiedPlace::known(Place { country, subdivision: None, site: None, rack: None, operator: None, assurance })
}

fn open(dir: &Path, session: u8, country: &str) -> Arc<ChunkStore> {
    let options = StoreOptions {
        engine: Engine::new(),
        pool: BufferPool::new(2),
        session: SessionId::from_bytes([session; 16]),
        place: place(country),
        fresh_id: StoreId::from_bytes([9; 16]),
    };
    ChunkStore::open(dir, &options).unwrap()
}

/// A placement on this store, as if it stood in Korea.
fn placement(store: &ChunkStore) -> Placement {
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
        places: &[place("KR")],
    })
    .unwrap();
    Placement::decide(&permit, &[StoreFacts { place: place("KR"), ..store.facts() }], 0.into()).unwrap()
}

async fn begin(store: &ChunkStore, body: u8) -> BodyWriter {
    let id = ChunkId { body: BodyId::from_bytes([body; 16]), number: 0 };
    let mut writer = store.begin(&placement(store), id.body).unwrap();
    let mut buffer = store.shared.pool.chunk(3).await.unwrap();
    buffer.fill(body);
    writer.write(SealedChunk::from_sealed(id, buffer, 3, 1000)).await.unwrap();
    writer
}

fn id(body: u8) -> ChunkId {
    ChunkId { body: BodyId::from_bytes([body; 16]), number: 0 }
}

#[tokio::test]
async fn a_body_exists_when_it_is_finished_and_until_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    let (_, claim) = begin(&store, 5).await.finish().await.unwrap();
    drop(begin(&store, 6).await);
    assert!(matches!(store.read(id(6), 0..1).await, Err(StoreError::Absent(_))), "dropped without finish");
    let mut run = store.read(id(5), 1..9).await.unwrap();
    assert_eq!(
        (run.count(), run.segment_mut(0).unwrap().len(), run.segment_mut(1).unwrap().len()),
        (2, SEGMENT_SEALED, 1000)
    );
    assert!(run.segment_mut(1).unwrap().iter().all(|b| *b == 5));
    assert!(store.unsettled(10).await.unwrap().is_empty(), "it may still be committed");
    drop(claim);
    assert_eq!(store.unsettled(10).await.unwrap(), [(SessionId::from_bytes([1; 16]), id(5).body)], "given up");
    store.shutdown().await.unwrap();
    drop(store);
    let store = open(dir.path(), 2, "KR");
    assert_eq!(store.read(id(5), 0..3).await.unwrap().count(), 3);
    assert_eq!(store.unsettled(10).await.unwrap().len(), 1, "its session has ended");
    store.settle_of(SessionId::from_bytes([1; 16]), id(5).body);
    store.delete(vec![id(5).body]).await.unwrap();
    assert!(store.unsettled(10).await.unwrap().is_empty());
    assert!(matches!(store.read(id(5), 0..1).await, Err(StoreError::Absent(_))));
    assert_eq!(std::fs::read_dir(dir.path().join("segments")).unwrap().count(), 0, "an empty file goes");
}

#[tokio::test]
async fn changed_bytes_are_corrupt_on_read_and_in_the_scrub() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    let _claim = begin(&store, 5).await.finish().await.unwrap();
    assert!(store.scrub(None, 10).await.unwrap().corrupt.is_empty());
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join("segments/00000001.seg")).unwrap();
    file.write_all_at(&[99], STRIDE as u64 + 17).unwrap();
    assert!(matches!(store.read(id(5), 1..2).await, Err(StoreError::Corrupt { segment: 1, .. })));
    assert!(store.read(id(5), 0..1).await.is_ok(), "only what was read is judged");
    assert_eq!(store.scrub(None, 10).await.unwrap().corrupt, [id(5)]);
}

#[tokio::test]
async fn space_is_reclaimed_by_moving_what_lives() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    for body in 1..=4 {
        let _claim = begin(&store, body).await.finish().await.unwrap();
    }
    store.delete([1, 2, 3].map(|b| id(b).body).to_vec()).await.unwrap();
    store.shutdown().await.unwrap();
    drop(store);
    let store = open(dir.path(), 2, "KR");
    assert_eq!(store.reclaim_once().await.unwrap(), Reclaimed { chunks: 1, stuck: 0 });
    assert!(!dir.path().join("segments/00000001.seg").exists());
    assert_eq!(store.read(id(4), 0..3).await.unwrap().count(), 3);
    assert_eq!(store.reclaim_once().await.unwrap(), Reclaimed::default());
}

#[tokio::test]
async fn a_store_elsewhere_refuses_whatever_the_caller_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "JP");
    assert!(matches!(store.begin(&placement(&store), id(1).body), Err(StoreError::Residency(_))));
}
