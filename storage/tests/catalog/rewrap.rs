//! Envelopes are wrapped anew in their places, and none is made under a key that takes no new ones.

use policy::id::BucketId;
use storage::catalog::{
    Before, BucketUpdate, Catalog, Change, ControlKind, ControlPut, Precondition, Refusal, Rewrap, Rewrapped,
    UploadRow, VersionRow,
};

use crate::backend::Backend;
use crate::rows::{UNDER, begin, bucket, commit, delete, digest_of, key, put, tenant, upload, wrapped_key};

async fn with_bucket<B: Backend>(backend: &B) -> (std::sync::Arc<B::Session>, BucketId) {
    let catalog = backend.open();
    let row = bucket(1, "barn", tenant(0));
    let id = row.id;
    commit(&*catalog, Change::CreateBucket(row)).await.unwrap();
    (catalog, id)
}

async fn version_of(catalog: &impl Catalog, bucket: BucketId, name: &str) -> VersionRow {
    catalog.object(bucket, &key(name)).await.unwrap().unwrap().version
}

fn anew(name: &str, row: VersionRow) -> Rewrapped<VersionRow> {
    let changed = VersionRow { envelope: vec![77; 5], list_values: vec![78; 3], manifest: vec![79], ..row.clone() };
    Rewrapped { key: key(name), was: row.envelope, row: changed }
}

fn of(bucket: BucketId, versions: Vec<Rewrapped<VersionRow>>, uploads: Vec<Rewrapped<UploadRow>>) -> Change {
    Change::Rewrap(Box::new(Rewrap { bucket, versions, uploads, rows: Vec::new() }))
}

pub async fn envelopes_change_in_their_places(backend: &impl Backend) {
    let (catalog, bucket) = with_bucket(backend).await;
    for (name, number) in [("a", 10), ("a\u{0}b", 11), ("b", 12), ("c", 13), ("d", 14)] {
        commit(&*catalog, put(bucket, name, number, Precondition::None)).await.unwrap();
    }
    commit(&*catalog, begin(upload(bucket, "u", 1))).await.unwrap();
    let mut olds = Vec::new();
    for name in ["a", "a\u{0}b", "b", "c", "d"] {
        olds.push(anew(name, version_of(&*catalog, bucket, name).await));
    }
    let begun = catalog.upload(bucket, &key("u"), upload(bucket, "u", 1).id).await.unwrap().unwrap();
    let other = UploadRow { envelope: vec![80], ..begun.clone() };
    // What happens between the look and the commit: one is replaced, one goes.
    commit(&*catalog, put(bucket, "b", 20, Precondition::None)).await.unwrap();
    commit(&*catalog, delete(bucket, "c")).await.unwrap();
    let uploads = vec![Rewrapped { key: key("u"), was: begun.envelope, row: other.clone() }];
    commit(&*catalog, of(bucket, olds.clone(), uploads.clone())).await.unwrap();

    for at in [0, 1, 4] {
        let view = catalog.object(bucket, &olds[at].key).await.unwrap().unwrap();
        assert_eq!(view.version, olds[at].row);
        assert_eq!((view.current.list_values, view.current.digest), (vec![78; 3], digest_of(&olds[at].row)));
    }
    let replaced = version_of(&*catalog, bucket, "b").await;
    assert_ne!(replaced.envelope, [77; 5], "another version stays as it is");
    assert!(catalog.object(bucket, &key("c")).await.unwrap().is_none(), "what was deleted does not come back");
    assert_eq!(catalog.upload(bucket, &key("u"), other.id).await.unwrap(), Some(other.clone()));
    // A second time there is nothing that it was made from.
    let again = |mut one: Rewrapped<VersionRow>| {
        one.row.envelope = vec![99];
        one
    };
    commit(&*catalog, of(bucket, vec![again(olds[0].clone())], Vec::new())).await.unwrap();
    assert_eq!(version_of(&*catalog, bucket, "a").await.envelope, [77; 5]);

    let all = catalog.versions(bucket, None, 9).await.unwrap();
    let names: Vec<&str> = all.iter().map(|one| one.key.as_str()).collect();
    assert_eq!(names, ["a", "a\u{0}b", "b", "d"]);
    let first = catalog.versions(bucket, None, 2).await.unwrap();
    let rest = catalog.versions(bucket, Some(&first[1].key), 9).await.unwrap();
    assert_eq!((first.len(), rest.len()), (2, 2));
    for one in first.into_iter().chain(rest) {
        assert_eq!(one.row.unwrap(), version_of(&*catalog, bucket, one.key.as_str()).await);
    }
    assert_eq!(catalog.count(bucket).await.unwrap(), 4);
    // They are still replaced and deleted as before.
    commit(&*catalog, put(bucket, "a", 30, Precondition::None)).await.unwrap();
    commit(&*catalog, delete(bucket, "d")).await.unwrap();
    assert_eq!(catalog.count(bucket).await.unwrap(), 3);
}

pub async fn nothing_new_hangs_on_a_key_that_was_rotated(backend: &impl Backend) {
    let (catalog, id) = with_bucket(backend).await;
    commit(&*catalog, put(id, "a", 10, Precondition::None)).await.unwrap();
    let before = bucket(1, "barn", tenant(0));
    let mut row = before.clone();
    row.keys.push(wrapped_key(1, UNDER + 1));
    row.proof = [8; 32];
    let rotated = vec![BucketUpdate { row, was: before.proof }];
    commit(&*catalog, Change::PutControl { rows: Vec::new(), buckets: rotated }).await.unwrap();
    assert_eq!(commit(&*catalog, put(id, "b", 11, Precondition::None)).await, Err(Refusal::KeyRotated));
    assert_eq!(commit(&*catalog, begin(upload(id, "u", 1))).await, Err(Refusal::KeyRotated));
    assert_eq!(catalog.count(id).await.unwrap(), 1);
    commit(&*catalog, delete(id, "a")).await.unwrap();
}

pub async fn how_far_it_came_is_kept_with_it(backend: &impl Backend) {
    let (catalog, bucket) = with_bucket(backend).await;
    commit(&*catalog, put(bucket, "a", 10, Precondition::None)).await.unwrap();
    let old = anew("a", version_of(&*catalog, bucket, "a").await);
    let row = |value: u8, before| ControlPut { kind: ControlKind::Platform, id: vec![1], value: vec![value], before };
    let with = |versions, rows| Change::Rewrap(Box::new(Rewrap { bucket, versions, uploads: Vec::new(), rows }));
    let wrong = vec![row(2, Before::Is(vec![9]))];
    assert_eq!(commit(&*catalog, with(vec![old.clone()], wrong)).await, Err(Refusal::Changed));
    assert_eq!(version_of(&*catalog, bucket, "a").await.envelope, old.was, "refused as a whole");
    commit(&*catalog, with(vec![old.clone()], vec![row(1, Before::Absent)])).await.unwrap();
    assert_eq!(version_of(&*catalog, bucket, "a").await, old.row);
    assert_eq!(catalog.control(ControlKind::Platform, &[1]).await.unwrap(), Some(vec![1]));
}
