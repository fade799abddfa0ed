//! Lists: their cost, and pages that join.

use std::sync::Arc;

use policy::id::BucketId;
use storage::catalog::{Catalog, Change, ListQuery, Precondition, UploadItem, UploadQuery};

use crate::backend::Backend;
use crate::rows::{Listed, begin, bucket, commit, key, put, race, tenant, upload, without_record};

const FOLDERS: u128 = 12;
const FILES: u128 = 150;

/// Folders of many files, and a file between them.
async fn filled<B: Backend>(backend: &B) -> (Arc<B::Session>, BucketId) {
    let catalog = backend.open();
    let row = bucket(1, "lake", tenant(0));
    commit(&*catalog, Change::CreateBucket(row.clone())).await.unwrap();
    let names = (0..FOLDERS).flat_map(|folder| {
        let files = (0..FILES).map(move |file| format!("d{folder:02}/{file:03}"));
        files.chain([format!("d{folder:02}-file")])
    });
    let puts = (1_000..).zip(names).map(|(n, name)| without_record(put(row.id, &name, n, Precondition::None)));
    let outcomes = race(&catalog, puts.collect()).await;
    assert!(outcomes.iter().all(Result::is_ok));
    (catalog, row.id)
}

fn folders(bucket: BucketId, limit: usize) -> ListQuery {
    ListQuery { bucket, prefix: String::new(), delimiter: Some("/".to_owned()), after: None, limit }
}

pub async fn a_common_prefix_costs_one_step(backend: &impl Backend) {
    let (catalog, bucket) = filled(backend).await;
    let page = catalog.list(&folders(bucket, 1_000)).await.unwrap();
    assert_eq!(page.len(), usize::try_from(2 * FOLDERS).unwrap());
    assert!(page.next.is_none());
    assert!(page.steps <= page.len(), "{} rows looked at for {} lines", page.steps, page.len());
}

pub async fn pages_join_to_the_whole(backend: &impl Backend) {
    let (catalog, bucket) = filled(backend).await;
    for limit in [1, 2, 3, 7] {
        let whole = Listed::all(&catalog.list(&folders(bucket, 1_000)).await.unwrap());
        let mut query = folders(bucket, limit);
        let mut joined = Vec::new();
        loop {
            let page = catalog.list(&query).await.unwrap();
            assert!(page.steps <= page.len() + 2, "{} rows for {} lines", page.steps, page.len());
            assert!(page.next.is_none() || page.len() == limit);
            joined.extend(Listed::all(&page));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!(joined, whole);
    }
}

/// More deleted rows lie between two names than a list passes where it is asked: it goes on elsewhere.
pub async fn a_list_passes_what_was_deleted(backend: &impl Backend) {
    let (catalog, bucket) = filled(backend).await;
    let gone = |name: &str| !name.starts_with("d00") && !name.starts_with("d11") && !name.ends_with("/149");
    let all = ListQuery { delimiter: None, ..folders(bucket, 10_000) };
    let before = Listed::all(&catalog.list(&all).await.unwrap());
    let names = |lines: &[Listed]| -> Vec<String> {
        let name = |line: &Listed| match line {
            Listed::Object { name, .. } | Listed::Prefix(name) => name.clone(),
        };
        lines.iter().map(name).collect()
    };
    let (gone, kept): (Vec<_>, Vec<_>) = names(&before).into_iter().partition(|name| gone(name));
    assert!(gone.len() > 1_000 && kept.len() > 300);
    for names in gone.chunks(500) {
        let objects = names.iter().map(|name| (key(name), Precondition::None)).collect();
        commit(&*catalog, Change::DeleteVersions { bucket, objects }).await.unwrap();
    }
    let after = catalog.list(&all).await.unwrap();
    assert_eq!(names(&Listed::all(&after)), kept);
    assert!(after.next.is_none());
}

pub async fn pages_of_uploads_join_to_the_whole(backend: &impl Backend) {
    let catalog = backend.open();
    let row = bucket(1, "lake", tenant(0));
    commit(&*catalog, Change::CreateBucket(row.clone())).await.unwrap();
    let names = ["a", "a/1", "a/1", "a/2", "b", "b", "b", "c/1", "c/2", "d"];
    let uploads = (100..).zip(names).map(|(n, name)| begin(upload(row.id, name, n)));
    race(&catalog, uploads.map(without_record).collect()).await;
    for (delimiter, lines) in [(None, names.len()), (Some("/"), 7)] {
        for limit in 1..=4 {
            let mut query = UploadQuery {
                bucket: row.id,
                prefix: String::new(),
                delimiter: delimiter.map(str::to_owned),
                key_marker: None,
                upload_id_marker: None,
                limit,
            };
            let mut joined = Vec::new();
            loop {
                let page = catalog.uploads(&query).await.unwrap();
                (query.key_marker, query.upload_id_marker) = match page.items.last().unwrap() {
                    UploadItem::Upload(row) => (Some(row.key.as_str().to_owned()), Some(row.id)),
                    UploadItem::Prefix(prefix) => (Some(prefix.clone()), None),
                    UploadItem::Damaged(why) => panic!("{why}"),
                };
                joined.extend(page.items);
                if !page.truncated {
                    break;
                }
            }
            assert_eq!(joined.len(), lines, "{delimiter:?}, pages of {limit}: {joined:?}");
        }
    }
}
