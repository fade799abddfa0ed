//! The catalog on a real directory.

use policy::id::{BodyId, PrincipalId, VersionId};
use policy::residency::Residency;
use ring::digest::{Context, SHA256};

use super::apply::Batch;
use super::*;
use crate::catalog::rows::encode;
use crate::catalog::{
    BodyRow, Change, GarbageRow, Location, ManifestBody, NewBody, NewUpload, Precondition, PutVersion, UploadItem,
    VersionRow,
};
use crate::log::{Record, RecordKind};

const TENANT: TenantId = TenantId::from_bytes([1; 16]);
const BUCKET: BucketId = BucketId::from_bytes([2; 16]);
const UPLOAD: UploadId = UploadId::from_bytes([3; 16]);

async fn open(dir: &Path) -> Arc<RocksCatalog> {
    let session = SessionId::from_bytes([9; 16]);
    let options = CatalogOptions { engine: Engine::new(), session, now: UtcMillis(1), crew: Arc::default() };
    let catalog = RocksCatalog::open(dir, &options).unwrap();
    commit(&catalog, Change::CreateBucket(bucket())).await.unwrap();
    catalog
}

fn bucket() -> BucketRow {
    BucketRow {
        id: BUCKET,
        name: "bucket".parse().unwrap(),
        tenant: TENANT,
        owner: PrincipalId::from_bytes([4; 16]),
        created: UtcMillis(1),
        residency: Residency::korea(),
        keys: Vec::new(),
        hung_on: Vec::new(),
        closed: false,
        proof: [0; 32],
    }
}

fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

fn body(n: u8) -> BodyId {
    BodyId::from_bytes([n; 16])
}

fn new_body(n: u8, location: Location) -> NewBody {
    let inline = (location == Location::Inline).then(|| Bytes::from_static(b"sealed"));
    NewBody { id: body(n), location, sealed_bytes: 6, digest: [0; 32], inline }
}

fn manifest(number: u32, n: u8, location: Location) -> ManifestBody {
    ManifestBody { number, body: body(n), length: 6, location, envelope: Vec::new() }
}

/// A version of one body that comes with it.
fn put(name: &str, n: u8, location: Location) -> PutVersion {
    let bodies = vec![manifest(1, n, location)];
    let row = VersionRow { size: 6, bodies, ..VersionRow::empty(VersionId::from_bytes([n; 16]), UtcMillis(2)) };
    let new_bodies = vec![new_body(n, location)];
    PutVersion {
        bucket: BUCKET,
        key: key(name),
        precondition: Precondition::None,
        row,
        new_bodies,
        completes: None,
        under: 0,
    }
}

const fn begin(row: UploadRow) -> Change {
    Change::CreateUpload(NewUpload { row, under: 0 })
}

fn upload(name: &str, id: UploadId) -> UploadRow {
    UploadRow {
        id,
        bucket: BUCKET,
        key: key(name),
        initiated: UtcMillis(2),
        initiator: PrincipalId::from_bytes([4; 16]),
        envelope: Vec::new(),
        metadata: Vec::new(),
        checksum: Vec::new(),
    }
}

const CHUNKS: Location = Location::Chunks { pool: 0 };

/// A change with a record, as the gateway makes them.
fn recorded(change: Change) -> Commit {
    let (kind, time) = (RecordKind::Opening, UtcMillis(3));
    let record = Record { tenant: Some(TENANT), kind, time, salt: [7; 16], sealed: b"record".to_vec() };
    Commit { change, record: Some(record) }
}

async fn commit(catalog: &RocksCatalog, change: Change) -> Result<Committed, CommitError> {
    catalog.commit(recorded(change)).await
}

async fn put_version(catalog: &RocksCatalog, put: PutVersion) -> Result<Committed, CommitError> {
    commit(catalog, Change::PutVersion(Box::new(put))).await
}

fn delete(name: &str) -> Change {
    Change::DeleteVersion { bucket: BUCKET, key: key(name), precondition: Precondition::None }
}

fn failed(outcome: Result<Committed, CommitError>) -> bool {
    matches!(outcome, Err(CommitError::Failed(_)))
}

#[tokio::test]
async fn a_corrupt_row_stops_only_the_changes_that_need_it() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    for (n, name) in [(1, "bad"), (2, "good")] {
        put_version(&catalog, put(name, n, Location::Inline)).await.unwrap();
    }
    let shared = Arc::clone(&catalog.shared);
    shared.db.put_cf(shared.current_cf().unwrap(), keys::current(BUCKET, b"bad"), [0xff]).unwrap();
    let (bad, good) = tokio::join!(
        put_version(&catalog, put("bad", 3, Location::Inline)),
        put_version(&catalog, put("good", 4, Location::Inline)),
    );
    assert!(failed(bad) && good.is_ok());
    let objects = ["good", "bad", "new"].map(|name| (key(name), Precondition::None)).to_vec();
    let done = commit(&catalog, Change::DeleteVersions { bucket: BUCKET, objects }).await.unwrap();
    assert_eq!(done.stayed, [(1, Refusal::Damaged)]);
    assert!(catalog.object(BUCKET, &key("good")).await.unwrap().is_none());
    let bytes = shared.db.get_cf(shared.bodies_cf().unwrap(), body(3).as_bytes()).unwrap();
    assert!(bytes.is_none(), "nothing of the refused change was made");
    catalog.health().unwrap();
}

#[tokio::test]
async fn an_object_with_a_corrupt_body_row_can_be_replaced_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    let shared = Arc::clone(&catalog.shared);
    let spoil = |n| shared.db.put_cf(shared.bodies_cf().unwrap(), body(n).as_bytes(), [0xff]).unwrap();
    put_version(&catalog, put("a", 1, CHUNKS)).await.unwrap();
    spoil(1);
    put_version(&catalog, put("a", 2, CHUNKS)).await.unwrap();
    spoil(2);
    commit(&catalog, delete("a")).await.unwrap();
    assert!(catalog.object(BUCKET, &key("a")).await.unwrap().is_none());
    assert!(catalog.garbage(u64::MAX, 10).await.unwrap().due.is_empty(), "the bodies stay");
    catalog.health().unwrap();
}

#[tokio::test]
async fn a_released_body_is_not_the_collectors_to_condemn() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    put_version(&catalog, put("a", 1, CHUNKS)).await.unwrap();
    commit(&catalog, delete("a")).await.unwrap();
    let condemn = || commit(&catalog, Change::Condemn(body(1)));
    // Its chunks wait for reads in flight: only its garbage row says until when.
    assert!(matches!(condemn().await, Err(CommitError::Refused(Refusal::Exists))));
    let garbage = catalog.garbage(u64::MAX, 10).await.unwrap().due;
    assert_eq!(garbage.iter().map(|row| row.body).collect::<Vec<_>>(), [body(1)]);
    commit(&catalog, Change::Forget(garbage)).await.unwrap();
    assert!(catalog.garbage(u64::MAX, 10).await.unwrap().due.is_empty());
    condemn().await.unwrap();
}

#[tokio::test]
async fn a_row_that_names_the_body_of_another_object_neither_takes_nor_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    for (n, name, location) in [(1, "chunks", CHUNKS), (2, "inline", Location::Inline)] {
        put_version(&catalog, put(name, n, location)).await.unwrap();
    }
    let shared = Arc::clone(&catalog.shared);
    let held = || {
        [1, 2].map(|n| {
            shared.get(shared.bodies_cf().unwrap(), body(n).as_bytes(), &tiered(ReadTier::All)).unwrap().unwrap()
        })
    };
    let before = held();

    let thief = |n, location| {
        let put = put("thief", n, location);
        PutVersion {
            new_bodies: Vec::new(),
            row: VersionRow { version: VersionId::from_bytes([9; 16]), ..put.row },
            ..put
        }
    };
    for (n, location) in [(1, CHUNKS), (2, Location::Inline)] {
        let refused = put_version(&catalog, thief(n, location)).await;
        assert!(matches!(refused, Err(CommitError::Refused(Refusal::BodyGone))), "{refused:?}");
    }
    // Written by somebody else's hand: a version and a part.
    let forge = || {
        let row = VersionRow {
            bodies: vec![manifest(1, 1, CHUNKS), manifest(2, 2, Location::Inline)],
            ..thief(1, CHUNKS).row
        };
        let bytes = encode(&row).unwrap();
        let digest = ring::digest::digest(&SHA256, &bytes).as_ref().try_into().unwrap();
        let current = CurrentRow {
            version: row.version,
            sequence: 1,
            size: 6,
            modified: UtcMillis(2),
            list_values: Vec::new(),
            digest,
        };
        shared.db.put_cf(shared.versions_cf().unwrap(), keys::version(BUCKET, b"thief", 1), bytes).unwrap();
        shared
            .db
            .put_cf(shared.current_cf().unwrap(), keys::current(BUCKET, b"thief"), encode(&current).unwrap())
            .unwrap();
    };
    forge();
    commit(&catalog, delete("thief")).await.unwrap();
    forge();
    put_version(&catalog, put("thief", 3, Location::Inline)).await.unwrap();
    let part = PartRow { number: 1, modified: UtcMillis(2), size: 6, body: manifest(1, 1, CHUNKS), values: Vec::new() };
    let change = |part, new_body| Change::PutPart { bucket: BUCKET, key: key("thief"), upload: UPLOAD, part, new_body };
    commit(&catalog, begin(upload("thief", UPLOAD))).await.unwrap();
    let steal = || shared.db.put_cf(shared.parts_cf().unwrap(), keys::part(UPLOAD, 1), encode(&part).unwrap()).unwrap();
    steal();
    commit(&catalog, change(PartRow { body: manifest(1, 4, CHUNKS), ..part.clone() }, new_body(4, CHUNKS)))
        .await
        .unwrap();
    steal();
    commit(&catalog, Change::AbortUpload { bucket: BUCKET, key: key("thief"), upload: UPLOAD }).await.unwrap();

    assert_eq!(held(), before);
    assert_eq!(catalog.garbage(u64::MAX, 10).await.unwrap(), GarbagePage::default());
    assert!(catalog.inline(body(2)).await.unwrap().is_some());
}

#[tokio::test]
async fn garbage_that_nobody_released_is_stray() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    for n in [1, 2] {
        put_version(&catalog, put("a", n, CHUNKS)).await.unwrap();
    }
    let shared = Arc::clone(&catalog.shared);
    let garbage = shared.garbage_cf().unwrap();
    for n in [2, 3] {
        shared.db.put_cf(garbage, keys::garbage(1, body(n)), []).unwrap();
    }
    shared.db.put_cf(garbage, b"odd", []).unwrap();
    let page = catalog.garbage(u64::MAX, 10).await.unwrap();
    let bodies = |rows: &[GarbageRow]| rows.iter().map(|row| row.body).collect::<Vec<_>>();
    assert_eq!(
        (bodies(&page.due), bodies(&page.stray)),
        (vec![body(1)], vec![body(2), body(3)]),
        "2 is live, 3 is unknown"
    );
    commit(&catalog, Change::Forget(page.stray)).await.unwrap();
    let page = catalog.garbage(u64::MAX, 10).await.unwrap();
    assert_eq!((bodies(&page.due), page.stray.len()), (vec![body(1)], 0));
    let row = shared.get(shared.bodies_cf().unwrap(), body(2).as_bytes(), &tiered(ReadTier::All)).unwrap().unwrap();
    assert!(decode::<BodyRow>("body", &row).unwrap().is_live());
}

#[tokio::test]
async fn records_of_removals_name_what_was_removed() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    for (n, name) in [(1, "a"), (2, "b"), (3, "c")] {
        put_version(&catalog, put(name, n, Location::Inline)).await.unwrap();
    }
    let begun = upload("d", UPLOAD);
    commit(&catalog, begin(begun.clone())).await.unwrap();
    let mut rows = Vec::new();
    for name in ["a", "b", "c"] {
        rows.push(catalog.current(BUCKET, &key(name)).await.unwrap().unwrap().digest);
    }
    let objects = ["b", "absent", "c"].map(|name| (key(name), Precondition::None)).to_vec();
    for change in [
        delete("a"),
        delete("absent"),
        Change::DeleteVersions { bucket: BUCKET, objects },
        Change::AbortUpload { bucket: BUCKET, key: key("d"), upload: UPLOAD },
        Change::DeleteBucket { bucket: BUCKET },
    ] {
        commit(&catalog, change).await.unwrap();
    }
    let sha = |parts: &[&[u8]]| {
        let mut context = Context::new(&SHA256);
        parts.iter().for_each(|part| context.update(part));
        Some(<[u8; 32]>::try_from(context.finish().as_ref()).unwrap())
    };
    let expected = [
        Some(rows[0]),
        None,
        sha(&[&rows[1], &rows[2]]),
        sha(&[&encode(&begun).unwrap()]),
        sha(&[&encode(&bucket()).unwrap()]),
    ];
    let log: Vec<_> = catalog
        .records(&RecordQuery { after: None, limit: 100 })
        .await
        .unwrap()
        .into_iter()
        .filter_map(LogItem::entry)
        .collect();
    let told: Vec<_> = log.iter().rev().take(5).rev().map(|entry| entry.row_digest).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn an_empty_bucket_that_was_full_is_tidied_beside_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    let shared = Arc::clone(&catalog.shared);
    let mut deleted = rocksdb::WriteBatch::default();
    for n in 0..20_000 {
        let key = keys::current(BUCKET, format!("{n:06}").as_bytes());
        deleted.put_cf(shared.current_cf().unwrap(), &key, [0]);
        deleted.delete_cf(shared.current_cf().unwrap(), key);
    }
    shared.db.write(deleted).unwrap();
    let direct = Batch::new(&shared).apply(Change::DeleteBucket { bucket: BUCKET }, 100);
    assert!(matches!(direct, Err(CommitError::Refused(Refusal::Busy))), "the writer gives up early");
    commit(&catalog, Change::DeleteBucket { bucket: BUCKET }).await.unwrap();
    assert!(catalog.bucket(&bucket().name).await.unwrap().is_none());
}

#[tokio::test]
async fn a_list_of_uploads_skips_the_group_of_its_marker() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = open(dir.path()).await;
    for n in 0..50_u8 {
        commit(&catalog, begin(upload(&format!("a/{n:02}"), UploadId::from_bytes([n; 16])))).await.unwrap();
    }
    commit(&catalog, begin(upload("b", UPLOAD))).await.unwrap();
    let query = UploadQuery {
        bucket: BUCKET,
        prefix: String::new(),
        delimiter: Some("/".to_owned()),
        key_marker: None,
        upload_id_marker: None,
        limit: 10,
    };
    let page = catalog.uploads(&query).await.unwrap();
    assert!(matches!(page.items.as_slice(), [UploadItem::Prefix(a), UploadItem::Upload(_)] if a == "a/"));
    let rest = catalog.uploads(&UploadQuery { key_marker: Some("a/".to_owned()), ..query }).await.unwrap();
    assert!(matches!(rest.items.as_slice(), [UploadItem::Upload(b)] if b.key.as_str() == "b"));
    assert_eq!((page.steps, rest.steps), (2, 2), "a group costs one row, whatever it holds");
}

#[tokio::test]
async fn what_a_full_disk_broke_is_told_from_other_faults() {
    for (why, condition) in [
        ("IO error: No space left on device: While appending to file: 000004.log", Condition::Mendable),
        ("IO error: While fsync: 000004.log: Input/output error", Condition::Broken),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let catalog = open(dir.path()).await;
        assert_eq!(catalog.condition(), Condition::Sound);
        catalog.shared.poisoned.set(why);
        assert_eq!(catalog.condition(), condition, "{why}");
        assert!(matches!(commit(&catalog, delete("a")).await, Err(CommitError::Poisoned(_))));
        assert!(catalog.health().is_err(), "readiness fails");
    }
}

#[test]
fn a_bucket_that_takes_the_name_of_another_takes_its_place_by_id_too() {
    let (mut buckets, first) = (Buckets::default(), bucket());
    let second = BucketRow { id: BucketId::from_bytes([7; 16]), ..bucket() };
    assert!(buckets.keep(Arc::new(first.clone())).is_none());
    assert!(buckets.keep(Arc::new(first.clone())).is_some(), "other settings of the same one");
    assert!(buckets.by_id.contains_key(&first.id));
    // As a batch leaves it in which the first went and the second came.
    assert_eq!(buckets.keep(Arc::new(second.clone())).map(|row| row.id), Some(first.id));
    assert!(!buckets.by_id.contains_key(&first.id) && buckets.by_id.contains_key(&second.id));
    buckets.forget(&second.name);
    assert!(buckets.by_id.is_empty() && buckets.by_name.is_empty());
}
