//! The store on a real directory.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use policy::decide::{BucketFacts, Request, decide};
use policy::id::{BucketId, PrincipalId, TenantId};
use policy::operation::Operation;
use policy::place::{Assurance, Country, Place};
use policy::principal::{Actor, Role};
use policy::residency::Residency;
use policy::time::UtcMillis;

use super::*;
use crate::catalog::rocks::{CatalogOptions, RocksCatalog};
use crate::catalog::{Catalog, Change, Commit};
use crate::chunk::SealedChunk;
use crate::collector::Collector;
use crate::geometry::{SEGMENT_SEALED, STRIDE};

mod damage;
mod model;

fn place(country: &str) -> VerifiedPlace {
    let country: Country = country.parse().unwrap();
    let assurance = Assurance::SelfDeclared;
    VerifiedPlace::known(Place { country, subdivision: None, site: None, rack: None, operator: None, assurance })
}

/// Room for three chunks of two whole segments and a bit.
const FILE: u64 = 400 << 10;

fn options(session: u8, country: &str) -> StoreOptions {
    StoreOptions {
        engine: Engine::new(),
        pool: BufferPool::new(2),
        session: SessionId::from_bytes([session; 16]),
        place: place(country),
        fresh_id: StoreId::from_bytes([9; 16]),
        file_bytes: FILE_BYTES,
    }
}

pub(super) fn open(dir: &Path, session: u8, country: &str) -> Arc<ChunkStore> {
    ChunkStore::open(dir, &options(session, country)).unwrap()
}

/// With segment files that a few chunks fill.
fn open_small(dir: &Path, session: u8) -> Arc<ChunkStore> {
    ChunkStore::open(dir, &StoreOptions { file_bytes: FILE, ..options(session, "KR") }).unwrap()
}

/// A placement on this store, as if it stood in Korea.
fn placement(store: &ChunkStore) -> Placement {
    let tenant = TenantId::from_bytes([1; 16]);
    let actor = Actor {
        tenant: Some(tenant),
        principal: PrincipalId::from_bytes([2; 16]),
        role: Role::Engineer,
        active: true,
        invited: false,
    };
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
        access: None,
    })
    .unwrap();
    Placement::decide(&permit, &[StoreFacts { place: place("KR"), ..store.facts() }], 0.into()).unwrap()
}

async fn begin(store: &ChunkStore, body: u8) -> BodyWriter {
    let mut writer = store.begin(&placement(store), id(body).body).unwrap();
    send(store, &mut writer, id(body), 3).await;
    writer
}

/// Sends a chunk of some segments on its way; its last segment has 1,000 bytes.
async fn send(store: &ChunkStore, writer: &mut BodyWriter, id: ChunkId, segments: u32) {
    let mut buffer = store.shared.pool.chunk(segments).await.unwrap();
    buffer.fill(id.body.as_bytes()[0]);
    writer.write(SealedChunk::from_sealed(id, buffer, segments, 1000)).await.unwrap();
}

/// Keeps a body of one chunk; it is given up at once.
pub(super) async fn keep(store: &ChunkStore, body: u8) {
    drop(begin(store, body).await.finish().await.unwrap());
}

fn exists(dir: &Path, file: u64) -> bool {
    dir.join(format!("segments/{file:08}.seg")).exists()
}

pub(super) fn id(body: u8) -> ChunkId {
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

/// A body of two chunks of 260 KiB, on the disk but for its rows.
async fn across_files(store: &ChunkStore, body: u8) -> BodyWriter {
    let mut writer = store.begin(&placement(store), id(body).body).unwrap();
    for number in 0..2 {
        send(store, &mut writer, ChunkId { number, ..id(body) }, 5).await;
        writer.catch_up().await.unwrap();
    }
    writer
}

#[tokio::test]
async fn a_file_stays_while_an_upload_has_chunks_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_small(dir.path(), 1);
    keep(&store, 1).await;
    let under_way = across_files(&store, 2).await;
    let broken = across_files(&store, 3).await;
    assert!((1..=4).all(|file| exists(dir.path(), file)), "body 2 lies in files 1 and 2, body 3 in 3 and 4");
    store.delete(vec![id(1).body]).await.unwrap();
    assert_eq!(store.reclaim_once().await.unwrap(), Reclaimed::default());
    assert!(exists(dir.path(), 1), "nothing in it exists yet, but will");
    let _claim = under_way.finish().await.unwrap();
    for number in 0..2 {
        assert_eq!(store.read(ChunkId { number, ..id(2) }, 0..5).await.unwrap().count(), 5);
    }
    store.delete(vec![id(2).body]).await.unwrap();
    assert!(!exists(dir.path(), 1) && !exists(dir.path(), 2), "now nothing will");
    // An upload that breaks off leaves a file that no row ever named: the reclaimer finds it all the same.
    assert!(exists(dir.path(), 3));
    drop(broken);
    store.reclaim_once().await.unwrap();
    assert!(!exists(dir.path(), 3));
    keep(&store, 4).await;
    assert_eq!(store.read(id(4), 0..3).await.unwrap().count(), 3);
}

#[tokio::test]
async fn a_deletion_that_fails_takes_nothing_else_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    for body in 1..=4 {
        keep(&store, body).await;
    }
    store.shutdown().await.unwrap();
    drop(store);
    let store = open(dir.path(), 2, "KR");
    let live = store.usage().1;
    store.shared.index.spoil(id(2));
    // As the collector does, round after round: the bytes of body 1 must not be taken off each time.
    for _ in 0..4 {
        assert!(store.delete(vec![id(1).body, id(2).body]).await.is_err());
    }
    assert_eq!(store.usage().1, live / 4 * 3);
    store.delete(vec![id(3).body]).await.unwrap();
    assert_eq!(store.read(id(4), 0..3).await.unwrap().count(), 3);
}

#[tokio::test]
async fn a_file_that_a_row_points_into_stays_whatever_was_counted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    for body in 1..=2 {
        keep(&store, body).await;
    }
    store.shutdown().await.unwrap();
    drop(store);
    let store = open(dir.path(), 2, "KR");
    store.shared.files.apply(1, files::Change { went: u64::MAX, ..files::Change::default() });
    assert_eq!(store.usage().1, 0);
    store.delete(vec![id(1).body]).await.unwrap();
    assert_eq!(store.read(id(2), 0..3).await.unwrap().count(), 3);
}

#[tokio::test]
async fn a_file_that_died_while_it_was_active_goes_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    keep(&store, 1).await;
    store.delete(vec![id(1).body]).await.unwrap();
    assert!(exists(dir.path(), 1), "it takes more");
    store.shutdown().await.unwrap();
    drop(store);
    let store = open(dir.path(), 2, "KR");
    store.reclaim_once().await.unwrap();
    assert!(!exists(dir.path(), 1));
    assert_eq!(store.usage(), (0, 0));
}

#[tokio::test]
async fn a_chunk_that_cannot_be_moved_holds_back_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_small(dir.path(), 1);
    // File 1 has bodies 1 to 3, file 2 has 4 to 6, file 3 is active.
    for body in 1..=7 {
        keep(&store, body).await;
    }
    store.delete([2, 3, 4, 5].map(|b| id(b).body).to_vec()).await.unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(dir.path().join("segments/00000001.seg")).unwrap();
    file.write_all_at(&[99], 17).unwrap();
    assert_eq!(store.reclaim_once().await.unwrap(), Reclaimed { chunks: 0, stuck: 1 });
    assert_eq!(store.reclaim_once().await.unwrap(), Reclaimed { chunks: 1, stuck: 0 }, "the next file has its turn");
    assert!(exists(dir.path(), 1) && !exists(dir.path(), 2));
    assert_eq!(store.reclaim_once().await.unwrap(), Reclaimed::default(), "told once");
    assert_eq!(store.read(id(6), 0..3).await.unwrap().count(), 3);
    store.delete(vec![id(1).body]).await.unwrap();
    assert!(!exists(dir.path(), 1), "its deletion frees the file");
}

#[tokio::test]
async fn a_body_that_cannot_be_deleted_holds_back_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("store"), 1, "KR");
    let session = SessionId::from_bytes([1; 16]);
    let options = CatalogOptions { engine: Engine::new(), session, now: UtcMillis(1), crew: Arc::default() };
    let catalog = RocksCatalog::open(&dir.path().join("meta"), &options).unwrap();
    let collector = Collector::new(Arc::clone(&catalog), Arc::clone(&store), session);
    for body in [1, 2] {
        keep(&store, body).await;
    }
    store.shared.index.spoil(id(1));
    assert_eq!(collector.run_once().await.unwrap().orphans, 2);
    let condemned = |body| catalog.commit(Commit { change: Change::Condemn(id(body).body), record: None });
    let sequence = condemned(1).await.unwrap().sequence;
    assert!(matches!(store.read(id(2), 0..1).await, Err(StoreError::Absent(_))));
    assert!(store.shared.index.chunk(id(1)).is_err(), "it stays");
    // The round ended with a commit that forgot what was deleted: two condemned, one forgotten, one here.
    assert_eq!(sequence, 4);
}

#[tokio::test]
async fn an_index_that_is_lost_takes_no_segment_file_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    keep(&store, 1).await;
    store.shutdown().await.unwrap();
    drop(store);
    let [index, aside] = ["index", "aside"].map(|name| dir.path().join(name));
    std::fs::rename(&index, &aside).unwrap();
    // Not there at all, as when its disk is not mounted; then new, as when one was made in its place.
    let refused = || matches!(ChunkStore::open(dir.path(), &options(2, "KR")), Err(StoreError::Lost(_)));
    assert!(refused());
    assert!(!index.exists(), "nothing was changed");
    drop(Index::open(&index, &Engine::new()).unwrap());
    assert!(refused());
    std::fs::remove_dir_all(&index).unwrap();
    std::fs::rename(&aside, &index).unwrap();
    let [segments, aside] = ["segments", "aside"].map(|name| dir.path().join(name));
    std::fs::rename(&segments, &aside).unwrap();
    assert!(matches!(ChunkStore::open(dir.path(), &options(2, "KR")), Err(StoreError::Unmounted(_))));
    assert!(!segments.exists(), "nothing was made in its place");
    std::fs::rename(&aside, &segments).unwrap();
    let store = open(dir.path(), 2, "KR");
    assert_eq!(store.read(id(1), 0..3).await.unwrap().count(), 3);
}

#[tokio::test]
async fn a_store_whose_identity_ended_takes_no_body_until_it_has_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    store.stands(VerifiedPlace::unknown());
    assert!(matches!(store.begin(&placement(&store), id(1).body), Err(StoreError::Residency(_))));
    assert_eq!(store.facts().place, VerifiedPlace::unknown(), "placement sees it too");
    store.stands(place("KR"));
    assert!(store.begin(&placement(&store), id(1).body).is_ok());
}

#[tokio::test]
async fn a_store_stops_while_uploads_are_under_way() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    let (_, claim) = begin(&store, 5).await.finish().await.unwrap();
    let under_way = begin(&store, 6).await;
    let stopped = tokio::time::timeout(Duration::from_secs(10), store.shutdown()).await;
    assert!(matches!(stopped, Ok(Ok(()))), "an upload that never ends holds nothing up");
    assert!(matches!(under_way.finish().await, Err(StoreError::Stopped)));
    claim.settle();
}

#[tokio::test]
async fn notes_that_waited_are_written_when_the_store_stops() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1, "KR");
    let before = store.shared.index.written();
    for body in 1..4 {
        begin(&store, body).await.finish().await.unwrap().1.settle();
    }
    store.shutdown().await.unwrap();
    let rows = store.shared.index.written() - before;
    drop(store);
    let store = open(dir.path(), 2, "KR");
    assert!(store.unsettled(10).await.unwrap().is_empty());
    // Of each body the rows of its chunk, its place, its file and its session, and its note.
    assert_eq!(rows, 15);
}
