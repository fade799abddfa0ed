//! Backend and model, side by side.

use std::fmt::Debug;
use std::sync::Arc;

use proptest::test_runner::{Config, TestRunner};
use storage::catalog::{Catalog, Commit, Committed, ControlKind, ListQuery, RecordQuery, Refusal, UploadQuery};
use tokio::runtime::Runtime;

use crate::backend::Backend;
use crate::model::{Effect, Model};
use crate::rows::{Listed, race, refused, tenant};
use crate::steps::{Resolver, Step, beginning, steps};

const CASES: u32 = 48;
const ALL: usize = 10_000;

/// Random steps, each of which must do and answer what the model says.
pub fn random_changes<B: Backend>() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let outcome = TestRunner::new(config).run(&steps(), |steps| {
        agree::<B>(&runtime, &steps);
        Ok(())
    });
    outcome.unwrap();
}

fn agree<B: Backend>(runtime: &Runtime, steps: &[Step]) {
    let backend = B::fresh();
    runtime.block_on(async {
        let mut pair = Pair::begin(&backend);
        for step in &beginning() {
            pair.step(step).await;
        }
        for step in steps {
            pair.step(step).await;
        }
        pair.reopen(true).await;
    });
}

struct Pair<'a, B: Backend> {
    backend: &'a B,
    /// None only while one session ends and the next begins.
    open: Option<Arc<B::Session>>,
    model: Model,
    resolver: Resolver,
}

impl<'a, B: Backend> Pair<'a, B> {
    fn begin(backend: &'a B) -> Self {
        let mut model = Model::default();
        model.reopen();
        Self { backend, open: Some(backend.open()), model, resolver: Resolver::new() }
    }

    fn catalog(&self) -> &Arc<B::Session> {
        self.open.as_ref().unwrap()
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Alone(ask, of) => {
                let commit = self.resolver.commit(&self.model, ask, *of);
                let outcome = refused(self.catalog().commit(commit.clone()).await);
                match outcome {
                    Ok(committed) => self.made(commit, committed),
                    Err(refusal) => assert_eq!(self.model.apply(&commit.change, 0), Err(refusal), "{commit:?}"),
                }
            }
            Step::Together(asks) => self.together(asks.iter().map(|(ask, of)| (ask, Some(*of)))).await,
            Step::List { .. } => self.list(step).await,
            Step::Uploads { .. } => self.uploads(step).await,
            Step::Reopen { in_order } => self.reopen(*in_order).await,
        }
    }

    /// A change that the backend made.
    fn made(&mut self, commit: Commit, committed: Committed) {
        let effect = self.model.apply(&commit.change, committed.sequence);
        let answered = Effect {
            replaced: committed.replaced,
            stayed: committed.stayed,
            digest: effect.as_ref().ok().and_then(|e| e.digest),
        };
        assert_eq!(effect.as_ref(), Ok(&answered), "{commit:?}");
        let position = commit.record.is_some().then(|| self.model.next_position());
        assert_eq!(committed.position, position, "positions have no gaps");
        if let Some(record) = commit.record {
            self.model.record(record, answered.digest);
        }
    }

    /// Commits that race are made in the order of their records; each refusal was right at some moment.
    async fn together(&mut self, asks: impl Iterator<Item = (&crate::steps::Ask, Option<u8>)>) {
        let commits: Vec<Commit> = asks.map(|(ask, of)| self.resolver.commit(&self.model, ask, of)).collect();
        let outcomes = race(self.catalog(), commits.clone()).await;
        let mut made = Vec::new();
        let mut turned_away: Vec<(Commit, Refusal, bool)> = Vec::new();
        for (commit, outcome) in commits.into_iter().zip(outcomes) {
            match outcome {
                Ok(committed) => made.push((committed, commit)),
                Err(refusal) => turned_away.push((commit, refusal, false)),
            }
        }
        made.sort_by_key(|(committed, _)| committed.position);
        let ordered = made.windows(2).all(|pair| pair[0].0.sequence < pair[1].0.sequence);
        assert!(ordered, "sequences follow positions: {made:?}");
        let judge = |model: &Model, turned_away: &mut Vec<(Commit, Refusal, bool)>| {
            for (commit, refusal, right) in turned_away {
                *right |= model.clone().apply(&commit.change, 0).as_ref() == Err(refusal);
            }
        };
        judge(&self.model, &mut turned_away);
        for (committed, commit) in made {
            self.made(commit, committed);
            judge(&self.model, &mut turned_away);
        }
        assert!(turned_away.iter().all(|(_, _, right)| *right), "never right to refuse: {turned_away:?}");
    }

    async fn list(&self, step: &Step) {
        let Some(query) = Resolver::list(&self.model, step) else { return };
        self.listed(&query).await;
    }

    async fn listed(&self, query: &ListQuery) {
        let page = self.catalog().list(query).await.unwrap();
        let (items, next) = self.model.list(query);
        same(&Listed::all(&page), &items, &query);
        assert_eq!(page.next, next, "{query:?}");
        assert!(page.steps <= items.len() + 2, "{} rows looked at for {} lines: {query:?}", page.steps, items.len());
    }

    async fn uploads(&self, step: &Step) {
        let Some(query) = Resolver::uploads(&self.model, step) else { return };
        let page = self.catalog().uploads(&query).await.unwrap();
        let (items, truncated) = self.model.uploads(&query);
        same(&page.items, &items, &query);
        assert_eq!(page.truncated, truncated, "{query:?}");
    }

    /// Everything is as the model says, before and after a new session begins.
    async fn reopen(&mut self, in_order: bool) {
        self.everything().await;
        if in_order {
            self.backend.close(self.catalog()).await;
        }
        self.open = None;
        self.open = Some(self.backend.open());
        self.model.reopen();
        self.everything().await;
    }

    async fn everything(&self) {
        self.buckets().await;
        self.objects().await;
        self.parts().await;
        for kind in [ControlKind::Platform, ControlKind::Tenant, ControlKind::Credential, ControlKind::Principal] {
            let known = self.model.controls(kind, None);
            assert_eq!(self.catalog().controls(kind, None, ALL).await.unwrap(), known);
            for (id, value) in &known {
                assert_eq!(self.catalog().control(kind, id).await.unwrap().as_ref(), Some(value));
                let behind = self.model.controls(kind, Some(id));
                assert_eq!(self.catalog().controls(kind, Some(id), ALL).await.unwrap(), behind);
            }
        }
        let garbage: Vec<_> = self.model.garbage.iter().copied().collect();
        for horizon in garbage.iter().map(|(retired, _)| *retired).chain([0, u64::MAX]) {
            let rows = self.catalog().garbage(horizon, ALL).await.unwrap().due;
            let rows: Vec<_> = rows.into_iter().map(|row| (row.retired, row.body)).collect();
            let due: Vec<_> = garbage.iter().copied().filter(|(retired, _)| *retired <= horizon).collect();
            assert_eq!(rows, due, "garbage up to {horizon}");
        }
        let log = self.catalog().records(&RecordQuery { after: None, limit: ALL }).await.unwrap();
        assert_eq!(log.into_iter().map(|item| item.entry().unwrap()).collect::<Vec<_>>(), self.model.log);
        self.catalog().health().unwrap();
    }

    async fn buckets(&self) {
        for row in self.model.buckets.values() {
            assert_eq!(self.catalog().bucket(&row.name).await.unwrap().as_deref(), Some(row));
        }
        for of in [Some(tenant(0)), Some(tenant(1)), Some(tenant(9)), None] {
            let mut known = self.model.buckets.values().filter(|row| of.is_none_or(|of| row.tenant == of)).peekable();
            let mut after = None;
            loop {
                let page = self.catalog().buckets(of, after.as_ref(), 1).await.unwrap();
                assert_eq!(page.first().map(|row| &**row), known.next());
                let Some(last) = page.last() else { break };
                after = Some(last.name.clone());
            }
        }
    }

    async fn objects(&self) {
        for ((bucket, key), object) in &self.model.objects {
            let view = self.catalog().object(*bucket, key).await.unwrap().unwrap();
            assert_eq!(Some(view.current), self.model.current(*bucket, key));
            assert_eq!(view.version, object.row);
            assert_eq!(view.inline, self.model.inline(&object.row));
            assert_eq!(self.catalog().current(*bucket, key).await.unwrap(), self.model.current(*bucket, key));
        }
        for bucket in self.model.buckets.values().map(|row| row.id) {
            let all = ListQuery { bucket, prefix: String::new(), delimiter: None, after: None, limit: ALL };
            self.listed(&all).await;
            self.listed(&ListQuery { delimiter: Some("/".to_owned()), ..all }).await;
        }
    }

    async fn parts(&self) {
        for ((bucket, key, id), row) in &self.model.uploads {
            assert_eq!(self.catalog().upload(*bucket, key, *id).await.unwrap().as_ref(), Some(row));
            let known: Vec<_> =
                self.model.parts.range((*id, 0)..=(*id, u32::MAX)).map(|(_, part)| part.clone()).collect();
            assert_eq!(self.catalog().parts(*id, 0, ALL).await.unwrap(), known);
            for (at, part) in known.iter().enumerate() {
                let next: Vec<_> = known.iter().skip(at + 1).take(1).cloned().collect();
                assert_eq!(self.catalog().parts(*id, part.number, 1).await.unwrap(), next);
            }
        }
        for bucket in self.model.buckets.values().map(|row| row.id) {
            let (prefix, limit) = (String::new(), ALL);
            let all = UploadQuery { bucket, prefix, delimiter: None, key_marker: None, upload_id_marker: None, limit };
            let page = self.catalog().uploads(&all).await.unwrap();
            same(&page.items, &self.model.uploads(&all).0, &all);
        }
    }
}

/// Lines have no equality of their own.
fn same<T: Debug>(answered: &[T], known: &[T], query: &impl Debug) {
    assert_eq!(format!("{answered:?}"), format!("{known:?}"), "{query:?}");
}
