//! The access log: numbered without gaps, chained per tenant, one stream per session.

use std::collections::BTreeMap;
use std::sync::Arc;

use storage::catalog::{Catalog, Change, Commit, CommitError, RecordQuery};
use storage::log::{LogEntry, LogPosition, Record};

use crate::backend::Backend;
use crate::model::leaf_of;
use crate::rows::{bucket, race, record, tenant};

const RECORDS: u128 = 300;

async fn read(catalog: &impl Catalog, after: Option<LogPosition>, limit: usize) -> Vec<LogEntry> {
    let items = catalog.records(&RecordQuery { after, limit }).await.unwrap();
    items.into_iter().map(|item| item.entry().unwrap()).collect()
}

async fn entries(catalog: &impl Catalog) -> Vec<LogEntry> {
    read(catalog, None, 10_000).await
}

/// Records of two tenants and of the platform, from many tasks at once.
async fn many<C: Catalog>(catalog: &Arc<C>, from: u128) -> Vec<LogPosition> {
    let of = |n: u128| match n % 3 {
        0 => record(None, n),
        other => record(Some(tenant(u8::try_from(other).unwrap())), n),
    };
    let commits = (from..from + RECORDS).map(|n| Commit { change: Change::None, record: Some(of(n)) });
    let outcomes = race(catalog, commits.collect()).await;
    outcomes.into_iter().map(|outcome| outcome.unwrap().position.unwrap()).collect()
}

pub async fn positions_have_no_gaps_and_chains_hold(backend: &impl Backend) {
    let catalog = backend.open();
    let mut positions = many(&catalog, 1).await;
    let log = entries(&*catalog).await;
    positions.sort();
    assert_eq!(positions, log.iter().map(|entry| entry.position).collect::<Vec<_>>());
    assert_eq!(positions.last().unwrap().sequence, u64::try_from(RECORDS).unwrap());
    let mut heads = BTreeMap::new();
    for entry in &log {
        let (count, prev) = heads.get(&entry.tenant).copied().unwrap_or((0_u64, [0; 32]));
        assert_eq!((entry.tenant_count, entry.tenant_prev), (count + 1, prev), "{}", entry.position);
        heads.insert(entry.tenant, (entry.tenant_count, leaf_of(entry)));
    }
    assert_eq!(heads.len(), 3);
    for (at, entry) in log.iter().enumerate().step_by(50) {
        let page = read(&*catalog, Some(entry.position), 3).await;
        assert_eq!(page, log.iter().skip(at + 1).take(3).cloned().collect::<Vec<_>>());
    }
}

pub async fn a_session_has_a_stream_of_its_own(backend: &impl Backend) {
    let catalog = backend.open();
    many(&catalog, 1).await;
    let before = entries(&*catalog).await;
    drop(catalog);
    let catalog = backend.open();
    assert_eq!(entries(&*catalog).await, before, "nothing durable is lost with a session");
    let first = many(&catalog, 1_000).await.into_iter().min().unwrap();
    let old = before.last().unwrap().position;
    assert!(first.stream > old.stream && first.sequence == 1);
    let fresh = entries(&*catalog).await.into_iter().find(|e| e.position == first).unwrap();
    assert_eq!((fresh.tenant_count, fresh.tenant_prev), (1, [0; 32]), "chains begin anew");
}

pub async fn a_closed_catalog_takes_nothing(backend: &impl Backend) {
    let catalog = backend.open();
    many(&catalog, 1).await;
    backend.close(&catalog).await;
    let late: Record = record(None, 9_999);
    let change = Change::CreateBucket(bucket(9, "late", tenant(0)));
    let outcome = catalog.commit(Commit { change, record: Some(late) }).await;
    assert!(matches!(outcome, Err(CommitError::Stopped)), "{outcome:?}");
    drop(catalog);
    let catalog = backend.open();
    assert_eq!(entries(&*catalog).await.len(), usize::try_from(RECORDS).unwrap());
    assert!(catalog.bucket(&"late".parse().unwrap()).await.unwrap().is_none());
}
