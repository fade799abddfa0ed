//! Versions: what decides between writers, and that a step is whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use policy::id::{BucketId, VersionId};
use storage::catalog::{
    Catalog, Change, Commit, ListItem, ListQuery, PartRow, Precondition, PutVersion, RecordQuery, Refusal,
};

use crate::backend::Backend;
use crate::rows::{
    CHUNKS, UNDER, begin, body, bucket, commit, delete, digest_of, id, key, manifest, part, put, race, record, tenant,
    upload, version, without_record,
};

const WRITERS: u128 = 32;

/// A catalog with one bucket.
async fn with_bucket<B: Backend>(backend: &B) -> (Arc<B::Session>, BucketId) {
    let catalog = backend.open();
    let row = bucket(1, "lake", tenant(0));
    commit(&*catalog, Change::CreateBucket(row.clone())).await.unwrap();
    (catalog, row.id)
}

pub async fn of_many_creators_one_wins(backend: &impl Backend) {
    let (catalog, bucket) = with_bucket(backend).await;
    one_wins(&catalog, bucket, Precondition::Absent, 100).await;
    commit(&*catalog, delete(bucket, "k")).await.unwrap();
    one_wins(&catalog, bucket, Precondition::Absent, 200).await;
}

pub async fn of_many_replacers_one_wins(backend: &impl Backend) {
    let (catalog, bucket) = with_bucket(backend).await;
    let unseen = put(bucket, "k", 90, Precondition::Version(VersionId::from_bytes(id(7))));
    assert_eq!(commit(&*catalog, unseen).await, Err(Refusal::NotFound));
    commit(&*catalog, put(bucket, "k", 91, Precondition::None)).await.unwrap();
    one_wins(&catalog, bucket, Precondition::Version(VersionId::from_bytes(id(91))), 100).await;
}

async fn one_wins<C: Catalog>(catalog: &Arc<C>, bucket: BucketId, precondition: Precondition, from: u128) {
    let writers = (0..WRITERS).map(|n| without_record(put(bucket, "k", from + n, precondition)));
    let outcomes = race(catalog, writers.collect()).await;
    let current = catalog.current(bucket, &key("k")).await.unwrap().unwrap();
    for (n, outcome) in (from..).zip(outcomes) {
        if current.version == VersionId::from_bytes(id(n)) {
            assert_eq!(outcome.unwrap().sequence, current.sequence);
        } else {
            assert_eq!(outcome, Err(Refusal::PreconditionFailed));
        }
    }
}

/// No list shows a part of it, and what stays is named by its place.
pub async fn a_batch_of_deletions_is_one_step(backend: &impl Backend) {
    let (catalog, bucket) = with_bucket(backend).await;
    let names: Vec<String> = (0..40).map(|n| format!("k{n:02}")).collect();
    let all = ListQuery { bucket, prefix: String::new(), delimiter: None, after: None, limit: 1000 };
    for round in 1..=8_u128 {
        let writes = (0..).zip(&names).map(|(n, name)| put(bucket, name, round * 1_000 + n, Precondition::None));
        race(&catalog, writes.map(without_record).collect()).await;
        let done = Arc::new(AtomicBool::new(false));
        let reader = {
            let (catalog, done, all) = (Arc::clone(&catalog), Arc::clone(&done), all.clone());
            tokio::spawn(async move {
                let mut seen = BTreeSet::new();
                while !done.load(Ordering::Acquire) {
                    seen.insert(catalog.list(&all).await.unwrap().len());
                }
                seen
            })
        };
        let of = |name: &String| match name.as_str() {
            "k07" => Precondition::Version(VersionId::from_bytes(id(5))),
            "k09" => Precondition::Absent,
            _ => Precondition::None,
        };
        let objects = names.iter().map(|name| (key(name), of(name))).collect();
        let outcome = commit(&*catalog, Change::DeleteVersions { bucket, objects }).await.unwrap();
        assert_eq!(outcome.stayed, [(7, Refusal::PreconditionFailed), (9, Refusal::PreconditionFailed)]);
        done.store(true, Ordering::Release);
        let seen = reader.await.unwrap();
        assert!(seen.is_subset(&BTreeSet::from([40, 2])), "a list saw half of it: {seen:?}");
        let left = catalog.list(&all).await.unwrap();
        let stayed = |i: ListItem<'_>| matches!(i, ListItem::Object(o) if o.name == "k07" || o.name == "k09");
        let left: Vec<_> = left.items().map(stayed).collect();
        assert_eq!(left, [true, true]);
    }
}

pub async fn a_refused_change_leaves_no_trace(backend: &impl Backend) {
    let (catalog, bucket) = with_bucket(backend).await;
    commit(&*catalog, begin(upload(bucket, "k", 1))).await.unwrap();
    let (new, gone) = (body(10, CHUNKS), body(11, CHUNKS));
    let row = version(12, vec![manifest(1, new.id, CHUNKS), manifest(2, gone.id, CHUNKS)]);
    let completes = Some(upload(bucket, "k", 1).id);
    let refused = PutVersion {
        bucket,
        key: key("k"),
        precondition: Precondition::Absent,
        row,
        new_bodies: vec![new.clone()],
        completes,
        under: UNDER,
    };
    let refused = Commit { change: Change::PutVersion(Box::new(refused)), record: Some(record(None, 1)) };
    let outcome = race(&catalog, vec![refused]).await;
    assert_eq!(outcome, [Err(Refusal::BodyGone)]);
    assert!(catalog.current(bucket, &key("k")).await.unwrap().is_none());
    assert!(catalog.upload(bucket, &key("k"), upload(bucket, "k", 1).id).await.unwrap().is_some());
    assert!(catalog.records(&RecordQuery { after: None, limit: 9 }).await.unwrap().is_empty());
    commit(&*catalog, Change::Condemn(new.id)).await.unwrap();
    let gone = Change::DeleteVersions { bucket: BucketId::from_bytes(id(9)), objects: Vec::new() };
    assert_eq!(commit(&*catalog, gone).await, Err(Refusal::BucketGone));
}

/// The record of a change carries the digest of the row that it wrote or removed; equal rows have equal digests.
pub async fn a_row_is_what_its_digest_says(backend: &impl Backend) {
    let (catalog, bucket_id) = with_bucket(backend).await;
    let body = body(10, CHUNKS);
    let part: PartRow = part(3, &body);
    let upload = upload(bucket_id, "u", 1);
    let row = bucket(2, "pond", tenant(0));
    let changes = [
        (Change::CreateBucket(row.clone()), Some(digest_of(&row))),
        (begin(upload.clone()), Some(digest_of(&upload))),
        (
            Change::PutPart { bucket: bucket_id, key: key("u"), upload: upload.id, part: part.clone(), new_body: body },
            Some(digest_of(&part)),
        ),
        (put(bucket_id, "k", 20, Precondition::None), None),
        (delete(bucket_id, "k"), None),
    ];
    let mut removed = None;
    for (n, (change, known)) in (1..).zip(changes) {
        let done = catalog.commit(Commit { change, record: Some(record(None, n)) }).await.unwrap();
        let entries = catalog.records(&RecordQuery { after: None, limit: 99 }).await.unwrap();
        let entry = entries.last().cloned().unwrap().entry().unwrap();
        assert_eq!(Some(entry.position), done.position);
        let current = catalog.current(bucket_id, &key("k")).await.unwrap().map(|row| row.digest);
        assert_eq!(entry.row_digest, known.or(current).or(removed));
        removed = current;
    }
}
