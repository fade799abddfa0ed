//! Bodies: the primary key decides between a commit and the collector (STORAGE.md rule 4).

use policy::id::BodyId;
use storage::catalog::{Catalog, Change, GarbagePage, GarbageRow, Precondition, Refusal};

use crate::backend::Backend;
use crate::rows::{
    CHUNKS, begin, bucket, commit, delete, id, key, new_body, part, put, race, share, tenant, upload, without_record,
};

const ROUNDS: u128 = 40;

pub async fn a_body_is_committed_or_condemned_never_both(backend: &impl Backend) {
    let catalog = backend.open();
    let bucket = bucket(1, "lake", tenant(0));
    commit(&*catalog, Change::CreateBucket(bucket.clone())).await.unwrap();
    let (mut committed, mut condemned) = (0, 0);
    for n in 100..100 + ROUNDS {
        let mut both = vec![put(bucket.id, "k", n, Precondition::None), Change::Condemn(BodyId::from_bytes(id(n)))];
        if n % 2 == 0 {
            both.reverse();
        }
        let mut outcomes = race(&catalog, both.into_iter().map(without_record).collect()).await;
        if n % 2 == 0 {
            outcomes.reverse();
        }
        let current = catalog.current(bucket.id, &key("k")).await.unwrap();
        let visible = current.is_some_and(|row| *row.version.as_bytes() == id(n));
        match outcomes.as_slice() {
            [Ok(_), Err(Refusal::Exists)] if visible => committed += 1,
            [Err(Refusal::BodyGone), Ok(_)] if !visible => condemned += 1,
            other => panic!("{other:?}, visible: {visible}"),
        }
    }
    assert!(committed > 0 && condemned > 0, "both ends were seen: {committed} committed, {condemned} condemned");
}

/// The last reference goes while another one comes: either it came in time, or the body is garbage.
pub async fn a_body_is_shared_or_garbage_never_both(backend: &impl Backend) {
    let catalog = backend.open();
    let bucket = bucket(1, "lake", tenant(0));
    commit(&*catalog, Change::CreateBucket(bucket.clone())).await.unwrap();
    for n in 100..100 + ROUNDS {
        let body = BodyId::from_bytes(id(n));
        let name = format!("object{n}");
        let begun = upload(bucket.id, &name, n);
        let (id, new_body) = (begun.id, new_body(body, CHUNKS));
        commit(&*catalog, begin(begun)).await.unwrap();
        let part = part(1, &new_body);
        commit(&*catalog, Change::PutPart { bucket: bucket.id, key: key(&name), upload: id, part, new_body })
            .await
            .unwrap();
        let abort = Change::AbortUpload { bucket: bucket.id, key: key(&name), upload: id };
        let mut both = vec![abort, share(bucket.id, &name, n + 1_000, body)];
        if n % 2 == 0 {
            both.reverse();
        }
        let outcomes = race(&catalog, both.into_iter().map(without_record).collect()).await;
        let shared = catalog.object(bucket.id, &key(&name)).await.unwrap().is_some();
        let garbage = catalog.garbage(u64::MAX, 1_000).await.unwrap().due;
        assert_ne!(shared, garbage.iter().any(|row| row.body == body), "{outcomes:?}");
        // Garbage waits for reads in flight, and is not the collector's to condemn before.
        assert_eq!(commit(&*catalog, Change::Condemn(body)).await, Err(Refusal::Exists));
        if !shared {
            commit(&*catalog, Change::Forget(garbage)).await.unwrap();
            commit(&*catalog, Change::Condemn(body)).await.unwrap();
        }
    }
}

/// No row of another object holds a body, or lets it go.
pub async fn a_body_is_of_one_object(backend: &impl Backend) {
    let catalog = backend.open();
    let [mine, theirs] = [(1, "lake"), (2, "pond")].map(|(n, name)| bucket(n, name, tenant(0)));
    for bucket in [&mine, &theirs] {
        commit(&*catalog, Change::CreateBucket(bucket.clone())).await.unwrap();
    }
    commit(&*catalog, put(mine.id, "k", 50, Precondition::None)).await.unwrap();
    let body = BodyId::from_bytes(id(50));
    for (bucket, name) in [(&mine, "other"), (&theirs, "k")] {
        assert_eq!(commit(&*catalog, share(bucket.id, name, 51, body)).await, Err(Refusal::BodyGone));
    }
    commit(&*catalog, share(mine.id, "k", 52, body)).await.unwrap();
    assert_eq!(catalog.garbage(u64::MAX, 10).await.unwrap(), GarbagePage::default());
    commit(&*catalog, delete(mine.id, "k")).await.unwrap();
    assert_eq!(catalog.garbage(u64::MAX, 10).await.unwrap().due.len(), 1);
}

pub async fn a_condemned_body_may_return_once_forgotten(backend: &impl Backend) {
    let catalog = backend.open();
    let bucket = bucket(1, "lake", tenant(0));
    commit(&*catalog, Change::CreateBucket(bucket.clone())).await.unwrap();
    let body = BodyId::from_bytes(id(50));
    commit(&*catalog, Change::Condemn(body)).await.unwrap();
    commit(&*catalog, Change::Condemn(body)).await.unwrap();
    assert_eq!(commit(&*catalog, put(bucket.id, "k", 50, Precondition::None)).await, Err(Refusal::BodyGone));
    assert_eq!(commit(&*catalog, share(bucket.id, "k", 51, body)).await, Err(Refusal::BodyGone));
    backend.close(&catalog).await;
    drop(catalog);
    let catalog = backend.open();
    assert_eq!(commit(&*catalog, put(bucket.id, "k", 50, Precondition::None)).await, Err(Refusal::BodyGone));
    commit(&*catalog, Change::Forget(vec![GarbageRow { retired: 0, body }])).await.unwrap();
    commit(&*catalog, put(bucket.id, "k", 50, Precondition::None)).await.unwrap();
    commit(&*catalog, Change::Forget(vec![GarbageRow { retired: 0, body }])).await.unwrap();
    let condemned = commit(&*catalog, Change::Condemn(body)).await;
    assert_eq!(condemned, Err(Refusal::Exists), "a live body is not forgotten");
}
