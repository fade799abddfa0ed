//! `kill -9` under load: what was acknowledged is there and identical, nothing is there in part.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
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

fn content((seed, size): (u64, usize)) -> Bytes {
    body(seed, size)
}

/// Writes until the server dies.
fn load(s3: &Client, round: u64, writer: u64, ledger: &Mutex<Ledger>, stop: &AtomicBool) {
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
            assert!(stop.load(Ordering::Acquire) || done.is_none(), "{key}: {done:?}");
            return;
        }
        let mut ledger = ledger.lock().unwrap();
        ledger.under_way.remove(&key);
        ledger.acknowledged.insert(key, what);
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
        let stop = AtomicBool::new(false);
        let before = ledger.lock().unwrap().acknowledged.len();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (s3, ledger, stop) = (&s3, &ledger, &stop);
                scope.spawn(move || load(s3, round, writer, ledger, stop));
            }
            // The moment of death differs from round to round; nothing waits for it.
            std::thread::sleep(Duration::from_millis(20 + 13 * (round % 17)));
            stop.store(true, Ordering::Release);
            server.kill9();
        });
        server = store.start();
        assert!(server.start_took < Duration::from_secs(5), "round {round}: the start took {:?}", server.start_took);
        let mut ledger = ledger.lock().unwrap();
        check(&server.client(), &mut ledger);
        written += ledger.acknowledged.len() - before.min(ledger.acknowledged.len());
    }
    assert!(written > 0 && ledger.lock().unwrap().acknowledged.len() > 10, "the load wrote something");
    server.stop();
}
