//! Random work on a store, compared with what a map of bytes says after each step.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::*;
use crate::chunk::Shape;
use crate::engine::OpenError;
use crate::geometry::SEGMENTS_PER_CHUNK;

const CASES: u32 = 24;

#[derive(Debug, Clone)]
enum Step {
    /// Bodies, written side by side.
    Write(Vec<Plan>),
    /// Bodies by number, in deletions side by side; some of them twice, some never there.
    Delete(Vec<Vec<u8>>),
    /// The same while chunks are moved.
    DeleteAndReclaim(Vec<u8>),
    Reclaim,
    Reopen {
        in_order: bool,
    },
}

#[derive(Debug, Clone)]
struct Plan {
    /// Whole chunks before the last one.
    whole: u32,
    segments: u32,
    last: u32,
    finished: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let whole = prop_oneof![9 => Just(0), 1 => Just(1_u32)];
    let last = prop_oneof![Just(1), Just(u32::try_from(SEGMENT_SEALED).unwrap()), 1..65_552_u32];
    let finished = proptest::bool::weighted(0.9);
    let plan = (whole, 1..6_u32, last, finished).prop_map(|(whole, segments, last, finished)| Plan {
        whole,
        segments,
        last,
        finished,
    });
    let bodies = || vec(any::<u8>(), 0..5);
    let step = prop_oneof![
        5 => vec(plan, 1..5).prop_map(Step::Write),
        3 => vec(bodies(), 1..4).prop_map(Step::Delete),
        2 => bodies().prop_map(Step::DeleteAndReclaim),
        2 => Just(Step::Reclaim),
        2 => any::<bool>().prop_map(|in_order| Step::Reopen { in_order }),
    ];
    vec(step, 1..16)
}

/// Sealed bytes of a chunk, segment by segment.
type Known = (Shape, Vec<Vec<u8>>);

struct Pair {
    dir: tempfile::TempDir,
    store: Option<Arc<ChunkStore>>,
    session: u8,
    bodies: BTreeMap<BodyId, Vec<Known>>,
    next: u128,
}

#[test]
fn random_work_keeps_what_the_model_keeps() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(&steps(), |steps| {
            agree(&runtime, &steps);
            Ok(())
        })
        .unwrap();
}

fn agree(runtime: &Runtime, steps: &[Step]) {
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = Some(ChunkStore::open(dir.path(), &small(1)).unwrap());
        let mut pair = Pair { dir, store, session: 1, bodies: BTreeMap::new(), next: 1 };
        for step in steps {
            pair.step(step).await;
            pair.check().await;
        }
        pair.reopen(false).await;
        pair.check().await;
        // A database that is still being closed while the process exits would abort it.
        pair.store().shutdown().await.unwrap();
    });
}

/// With segment files that a few chunks fill.
fn small(session: u8) -> StoreOptions {
    StoreOptions { file_bytes: 1 << 20, ..options(session, "KR") }
}

impl Pair {
    fn store(&self) -> Arc<ChunkStore> {
        Arc::clone(self.store.as_ref().unwrap())
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Write(plans) => self.write(plans).await,
            Step::Delete(deletions) => {
                let named: Vec<_> = deletions.iter().map(|picks| self.named(picks)).collect();
                let tasks: Vec<_> = named.iter().map(|bodies| self.delete(bodies.clone())).collect();
                for task in tasks {
                    task.await.unwrap();
                }
                self.bodies.retain(|body, _| !named.concat().contains(body));
            }
            Step::DeleteAndReclaim(picks) => {
                let bodies = self.named(picks);
                let store = self.store();
                let reclaim = tokio::spawn(async move { store.reclaim_once().await.unwrap() });
                self.delete(bodies.clone()).await.unwrap();
                assert_eq!(reclaim.await.unwrap().stuck, 0);
                self.bodies.retain(|body, _| !bodies.contains(body));
            }
            Step::Reclaim => self.reclaim().await,
            Step::Reopen { in_order } => self.reopen(*in_order).await,
        }
    }

    fn delete(&self, bodies: Vec<BodyId>) -> tokio::task::JoinHandle<()> {
        let store = self.store();
        tokio::spawn(async move { store.delete(bodies).await.unwrap() })
    }

    /// Bodies by number, and one that was never there.
    fn named(&self, picks: &[u8]) -> Vec<BodyId> {
        let among: Vec<BodyId> = self.bodies.keys().copied().chain([BodyId::from_bytes([255; 16])]).collect();
        picks.iter().map(|n| among[usize::from(*n) % among.len()]).collect()
    }

    async fn write(&mut self, plans: &[Plan]) {
        let mut tasks = Vec::new();
        for plan in plans {
            let body = BodyId::from_bytes(self.next.to_be_bytes());
            self.next += 1;
            tasks.push((plan.finished, tokio::spawn(write(self.store(), body, plan.clone()))));
        }
        for (finished, task) in tasks {
            let (body, known) = task.await.unwrap();
            if finished {
                self.bodies.insert(body, known);
            }
        }
    }

    /// Afterwards no file but the active one is worth moving.
    async fn reclaim(&self) {
        for _ in 0..1_000 {
            if self.store().shared.files.emptiest(50).is_none() {
                return;
            }
            assert_eq!(self.store().reclaim_once().await.unwrap().stuck, 0);
        }
        panic!("a file is worth moving for ever");
    }

    async fn reopen(&mut self, in_order: bool) {
        if in_order {
            self.store().shutdown().await.unwrap();
        }
        self.session += 1;
        self.store = None;
        // An abandoned committer holds the index until it has noticed.
        let deadline = Instant::now() + Duration::from_secs(60);
        self.store = loop {
            match ChunkStore::open(self.dir.path(), &small(self.session)) {
                Err(StoreError::Open(OpenError::Held(_))) if Instant::now() < deadline => std::thread::yield_now(),
                other => break Some(other.unwrap()),
            }
        };
    }

    /// Every chunk is there as it was written, and nothing else is.
    async fn check(&self) {
        let store = self.store();
        let mut live = 0;
        for (body, chunks) in &self.bodies {
            for (number, known) in (0..).zip(chunks) {
                let id = ChunkId { body: *body, number };
                live += known.0.footprint();
                assert_eq!(read(&store, id, 0..u32::MAX).await, known.1, "{id}");
                let middle = known.0.segments / 2;
                assert_eq!(read(&store, id, middle..middle + 1).await, known.1[middle as usize..=middle as usize]);
            }
            let behind = ChunkId { body: *body, number: u32::try_from(chunks.len()).unwrap() };
            assert!(matches!(store.read(behind, 0..1).await, Err(StoreError::Absent(_))));
        }
        assert_eq!(store.usage().1, live, "live bytes are those of the chunks");
        let mut checked = 0;
        let mut after = None;
        loop {
            let page = store.scrub(after, 3).await.unwrap();
            assert!(page.corrupt.is_empty());
            checked += page.checked;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(checked, self.bodies.values().map(Vec::len).sum::<usize>());
    }
}

async fn read(store: &ChunkStore, id: ChunkId, segments: Range<u32>) -> Vec<Vec<u8>> {
    let mut run = store.read(id, segments).await.unwrap();
    (0..run.count()).map(|n| run.segment_mut(n).unwrap().to_vec()).collect()
}

/// Writes a body of noise that names it; a writer that is dropped leaves nothing.
async fn write(store: Arc<ChunkStore>, body: BodyId, plan: Plan) -> (BodyId, Vec<Known>) {
    let mut writer = store.begin(&placement(&store), body).unwrap();
    let mut known = Vec::new();
    for number in 0..=plan.whole {
        let full = u32::try_from(SEGMENT_SEALED).unwrap();
        let whole = Shape { segments: SEGMENTS_PER_CHUNK, last: full };
        let shape = if number < plan.whole { whole } else { Shape { segments: plan.segments, last: plan.last } };
        let mut buffer = store.shared.pool.chunk(shape.segments).await.unwrap();
        noise(body, number).fill(&mut buffer);
        let segments = (0..shape.segments).map(|n| buffer[shape.segment(n)].to_vec()).collect();
        known.push((shape, segments));
        let id = ChunkId { body, number };
        writer.write(SealedChunk::from_sealed(id, buffer, shape.segments, shape.last)).await.unwrap();
    }
    if plan.finished {
        let _kept = writer.finish().await.unwrap();
    }
    (body, known)
}

fn noise(body: BodyId, number: u32) -> blake3::OutputReader {
    blake3::Hasher::new().update(body.as_bytes()).update(&number.to_be_bytes()).finalize_xof()
}
