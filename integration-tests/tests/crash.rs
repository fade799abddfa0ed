//! `kill -9` under load: what was acknowledged is there and identical, nothing is there in part.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use integration_tests::clock::until;
use integration_tests::noise::body;
use integration_tests::{Client, Store};

const KILLS: u64 = 50;
const WRITERS: u64 = 4;
const PART: usize = 5 << 20;

#[derive(Default)]
struct Ledger {
    /// Seed and size of what was acknowledged last.
    acknowledged: BTreeMap<String, (u64, usize)>,
    /// What was being written when the server died: either state is right.
    under_way: BTreeMap<String, (u64, usize)>,
}

/// How far a round is.
#[derive(Default)]
struct Pace {
    writes: AtomicU64,
    over: AtomicBool,
}

fn content((seed, size): (u64, usize)) -> Bytes {
    body(seed, size)
}

/// Writes until the server dies.
fn load(s3: &Client, round: u64, writer: u64, ledger: &Mutex<Ledger>, pace: &Pace) {
    let sizes = [100, 70_000, 4 << 20, 65_536, (8 << 20) + 5];
    for n in 0.. {
        let key = format!("w{writer}/{}", n % 7);
        let size = sizes[usize::try_from((n + writer + round) % 5).unwrap()];
        let what = (round * 1_000_000 + writer * 10_000 + n, size);
        ledger.lock().unwrap().under_way.insert(key.clone(), what);
        let done = if size > PART && n % 2 == 0 {
            multipart(s3, &key, &content(what))
        } else {
            s3.object("PUT", "crash", &key).body(content(what)).try_send().ok().map(|a| a.status)
        };
        if done != Some(200) {
            assert!(pace.over.load(Ordering::Acquire) || done.is_none(), "{key}: {done:?}");
            return;
        }
        let mut ledger = ledger.lock().unwrap();
        ledger.under_way.remove(&key);
        ledger.acknowledged.insert(key, what);
        pace.writes.fetch_add(1, Ordering::AcqRel);
    }
}

fn multipart(s3: &Client, key: &str, data: &Bytes) -> Option<u16> {
    let begun = s3.object("POST", "crash", key).query("uploads", "").try_send().ok()?;
    let upload = begun.xml("UploadId");
    let mut parts = Vec::new();
    for (piece, number) in data.chunks(PART).zip(1..) {
        let part = s3.part("crash", key, &upload, number).body(Bytes::copy_from_slice(piece)).try_send().ok()?;
        parts.push((number, part.etag()));
    }
    Some(s3.complete("crash", key, &upload, &parts).try_send().ok()?.status)
}

fn check(s3: &Client, ledger: &mut Ledger) {
    let under_way = std::mem::take(&mut ledger.under_way);
    for (key, what) in &ledger.acknowledged.clone() {
        let answer = s3.get("crash", key).status(200);
        let newer = under_way.get(key).filter(|newer| answer.body == content(**newer));
        match newer {
            Some(newer) => drop(ledger.acknowledged.insert(key.clone(), *newer)),
            None => assert!(answer.body == content(*what), "{key}: acknowledged {what:?} is not there"),
        }
    }
    for (key, what) in under_way {
        if let Entry::Vacant(vacant) = ledger.acknowledged.entry(key.clone()) {
            let answer = s3.get("crash", &key);
            match answer.status {
                404 => {}
                200 => {
                    assert!(answer.body == content(what), "{key} is there in part");
                    vacant.insert(what);
                }
                other => panic!("{key}: {other}"),
            }
        }
    }
}

#[test]
fn fifty_kills_lose_nothing_that_was_acknowledged() {
    let store = Store::new();
    let mut server = store.start();
    server.client().make_bucket("crash");
    let ledger = Mutex::new(Ledger::default());
    let mut written = 0;
    for round in 0..KILLS {
        let s3 = server.client();
        let pace = Pace::default();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (s3, ledger, pace) = (&s3, &ledger, &pace);
                scope.spawn(move || load(s3, round, writer, ledger, pace));
            }
            // Death comes in the middle of the writes that follow, one more or less in each round.
            let last = round % 17;
            until("writes are acknowledged", || (pace.writes.load(Ordering::Acquire) >= last).then_some(()));
            pace.over.store(true, Ordering::Release);
            server.kill9();
        });
        written += pace.writes.into_inner();
        server = store.start();
        assert!(server.start_took < Duration::from_secs(5), "round {round}: the start took {:?}", server.start_took);
        let mut ledger = ledger.lock().unwrap();
        check(&server.client(), &mut ledger);
    }
    assert!(written > KILLS * 4, "only {written} writes were acknowledged");
    server.stop();
}
