//! Buckets: one name, one bucket, and none that goes while something is put into it.

use policy::id::BucketId;
use storage::catalog::{BucketRow, BucketUpdate, Catalog, Change, Precondition, Refusal};

use crate::backend::Backend;
use crate::rows::{begin, bucket, commit, id, key, put, race, tenant, upload, without_record};

const ROUNDS: u128 = 24;
const WRITERS: u128 = 6;

pub async fn a_name_belongs_to_whoever_was_first(backend: &impl Backend) {
    let catalog = backend.open();
    let rows: Vec<_> = (1..=16).map(|n| bucket(n, "lake", tenant(u8::try_from(n).unwrap()))).collect();
    let creations = rows.iter().map(|row| without_record(Change::CreateBucket(row.clone()))).collect();
    let outcomes = race(&catalog, creations).await;
    let kept = catalog.bucket(&"lake".parse().unwrap()).await.unwrap().unwrap();
    for (row, outcome) in rows.iter().zip(outcomes) {
        if row.id == kept.id {
            assert!(outcome.is_ok() && *row == *kept);
        } else {
            assert_eq!(outcome, Err(Refusal::BucketExists { owner: kept.tenant }));
        }
    }
    let other = BucketId::from_bytes(id(99));
    let mut taken = (*kept).clone();
    taken.id = other;
    let update = |row: &BucketRow, was| Change::PutControl {
        rows: Vec::new(),
        buckets: vec![BucketUpdate { row: row.clone(), was }],
    };
    assert_eq!(commit(&*catalog, update(&taken, kept.proof)).await, Err(Refusal::BucketGone));
    let narrower = BucketRow { proof: [1; 32], ..(*kept).clone() };
    commit(&*catalog, update(&narrower, kept.proof)).await.unwrap();
    let made_from_the_old_one = BucketRow { proof: [2; 32], ..(*kept).clone() };
    assert_eq!(commit(&*catalog, update(&made_from_the_old_one, kept.proof)).await, Err(Refusal::Changed));
    assert_eq!(catalog.bucket(&kept.name).await.unwrap().unwrap().proof, narrower.proof);
    assert_eq!(commit(&*catalog, Change::DeleteBucket { bucket: other }).await, Err(Refusal::BucketGone));
    commit(&*catalog, Change::DeleteBucket { bucket: kept.id }).await.unwrap();
    assert!(catalog.bucket(&kept.name).await.unwrap().is_none());
    let again = bucket(98, "lake", tenant(1));
    commit(&*catalog, Change::CreateBucket(again)).await.unwrap();
    assert_eq!(commit(&*catalog, put(kept.id, "a", 200, Precondition::None)).await, Err(Refusal::BucketGone));
}

pub async fn a_bucket_is_deleted_or_written_to_never_both(backend: &impl Backend) {
    race_with_deletion(backend, |bucket, n| put(bucket, &format!("k{n}"), n, Precondition::None)).await;
}

pub async fn a_bucket_is_deleted_or_uploaded_to_never_both(backend: &impl Backend) {
    race_with_deletion(backend, |bucket, n| begin(upload(bucket, "k", n))).await;
}

/// In each round writers race with a deletion, which stands at another place among them each time.
async fn race_with_deletion(backend: &impl Backend, write: impl Fn(BucketId, u128) -> Change) {
    let catalog = backend.open();
    let (mut deleted, mut kept) = (0, 0);
    for round in 1..=ROUNDS {
        let row = bucket(round, &format!("bucket-{round}"), tenant(0));
        commit(&*catalog, Change::CreateBucket(row.clone())).await.unwrap();
        let mut changes: Vec<_> = (0..WRITERS).map(|n| write(row.id, 1_000 + round * 100 + n)).collect();
        let place = usize::try_from(round % WRITERS).unwrap();
        changes.insert(place, Change::DeleteBucket { bucket: row.id });
        let mut outcomes = race(&catalog, changes.into_iter().map(without_record).collect()).await;
        let deletion = outcomes.remove(place);
        let written = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        if deletion.is_ok() {
            assert!(outcomes.iter().all(|o| *o == Err(Refusal::BucketGone)), "{outcomes:?}");
            assert!(catalog.bucket(&row.name).await.unwrap().is_none());
            assert!(catalog.current(row.id, &key("k0")).await.unwrap().is_none());
            deleted += 1;
        } else {
            assert_eq!((deletion.err(), written), (Some(Refusal::BucketNotEmpty), outcomes.len()));
            assert!(catalog.bucket(&row.name).await.unwrap().is_some());
            kept += 1;
        }
    }
    assert!(deleted > 0 && kept > 0, "both ends of the race were seen: {deleted} deleted, {kept} kept");
}
