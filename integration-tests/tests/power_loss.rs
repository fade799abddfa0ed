//! The power goes at any moment: on what the disk may hold then, the server starts, and everything that was
//! acknowledged is there and identical.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use integration_tests::noise::{Noise, body};
use integration_tests::power::{Disk, Fate, recorder, recording};
use integration_tests::{Client, Server, Store};

const IMAGES: usize = 20;
const WRITERS: u64 = 3;
const STEPS: u64 = 36;
const PART: usize = 5 << 20;

/// Seed and size; `None` when there is no object.
type State = Option<(u64, usize)>;

/// What became of a key, with the length of the log when it was asked for and when it was acknowledged.
struct Step {
    asked: u64,
    acknowledged: u64,
    state: State,
}

type Ledger = BTreeMap<String, Vec<Step>>;

struct Recording {
    store: Store,
    recorder: PathBuf,
    log: PathBuf,
}

impl Recording {
    fn length(&self) -> u64 {
        std::fs::metadata(&self.log).unwrap().len()
    }

    fn words(&self) -> Vec<std::ffi::OsString> {
        recording(&self.recorder, &self.log, &self.store.data())
    }
}

/// Writes, overwrites and deletes, each acknowledged.
fn load(s3: &Client, writer: u64, recording: &Recording, ledger: &Mutex<Ledger>) {
    let mut noise = Noise::new(writer);
    for n in 0..STEPS {
        let key = format!("w{writer}/{}", n % 13);
        let seed = writer * 1000 + n;
        let asked = recording.length();
        let size = match n % 12 {
            5 => PART,
            8 => PART + 100,
            _ => *noise.pick(&[4096, 60_000, 128 << 10, 200_000]),
        };
        let state = if n > 13 && n % 7 == 3 {
            s3.object("DELETE", "power", &key).send().status(204).done();
            None
        } else {
            if size > PART {
                multipart(s3, &key, &body(seed, size));
            } else {
                s3.put("power", &key, body(seed, size)).done();
            }
            Some((seed, size))
        };
        let step = Step { asked, acknowledged: recording.length(), state };
        ledger.lock().unwrap().entry(key).or_default().push(step);
    }
}

fn multipart(s3: &Client, key: &str, data: &Bytes) {
    s3.put_parts("power", key, &[data.slice(..PART), data.slice(PART..)]).done();
}

/// What a key may hold when the power goes at this length of the log.
fn possible(steps: &[Step], at: u64) -> Vec<State> {
    let mut states = vec![None];
    for step in steps.iter().take_while(|step| step.asked < at) {
        if step.acknowledged <= at {
            states.clear();
        }
        states.push(step.state);
    }
    states
}

fn check(s3: &Client, ledger: &Ledger, at: u64, what: &str) {
    for (key, steps) in ledger {
        let states = possible(steps, at);
        let answer = s3.get("power", key);
        let found = states.iter().find(|state| match state {
            None => answer.status == 404,
            Some((seed, size)) => answer.status == 200 && answer.body == body(*seed, *size),
        });
        assert!(found.is_some(), "{what}: {key} is none of {states:?}: {} {} bytes", answer.status, answer.body.len());
    }
}

/// Whatever was acknowledged is on record.
fn check_records(server: &Server, ledger: &Ledger, at: u64, what: &str) {
    const CHANGES: [&str; 3] = ["PutObject", "DeleteObject", "CompleteMultipartUpload"];
    let acknowledged = ledger.values().flatten().filter(|step| step.acknowledged <= at).count();
    let records = server.records();
    let found = records.iter().filter(|r| CHANGES.contains(&r["operation"].as_str().unwrap_or_default())).count();
    assert!(found >= acknowledged, "{what}: {found} records of {acknowledged} acknowledged changes");
}

fn fate(image: usize) -> Fate {
    match image % 5 {
        0 => Fate::Nothing,
        1 => Fate::Everything,
        _ => Fate::Some,
    }
}

/// A store on what the disk may hold.
fn store_on(disk: &Disk, root: &Path, fate: Fate, noise: &mut Noise) -> Store {
    let store = Store::new();
    disk.image(&store.data(), fate, noise);
    store.copy_root_from(root);
    store
}

fn record() -> (Recording, u64, Ledger) {
    let store = Store::new();
    let recording = Recording { recorder: recorder(store.home()), log: store.home().join("events"), store };
    let server = recording.store.start_under(&recording.words());
    let s3 = server.client();
    s3.make_bucket("power");
    let begin = recording.length();
    let ledger = Mutex::default();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (s3, recording, ledger) = (&s3, &recording, &ledger);
            scope.spawn(move || load(s3, writer, recording, ledger));
        }
    });
    server.kill9();
    (recording, begin, ledger.into_inner().unwrap())
}

#[test]
fn whatever_the_disk_holds_when_the_power_goes_nothing_acknowledged_is_lost() {
    let mut noise = Noise::of_test(11);
    let (recording, begin, ledger) = record();
    let root = recording.store.root_key().parent().unwrap().to_owned();
    let mut disk = Disk::empty(&recording.store.data());
    disk.load(&recording.log);
    let (all, syncs) = disk.moments(begin);
    assert!(syncs.len() > 100, "only {} syncs were recorded", syncs.len());
    let mut moments: Vec<usize> = (0..IMAGES).map(|n| *noise.pick(if n % 2 == 0 { &all } else { &syncs })).collect();
    moments.sort_unstable();
    for (image, moment) in moments.into_iter().enumerate() {
        disk.play(moment);
        let (fate, at) = (fate(image), moment as u64);
        let what = format!("image {image} at {moment}, {fate:?}");
        let store = store_on(&disk, &root, fate, &mut noise);
        // Now and then the power goes again while the server starts.
        let store = if image % 6 == 2 { again(&recording, store, &mut noise) } else { store };
        let server = store.start();
        assert!(server.start_took < Duration::from_secs(5), "{what}: the start took {:?}", server.start_took);
        check(&server.client(), &ledger, at, &what);
        check_records(&server, &ledger, at, &what);
        server.stop();
    }
}

/// What the disk may hold when the power goes while a server starts.
fn again(first: &Recording, store: Store, noise: &mut Noise) -> Store {
    let log = store.home().join("events");
    let mut disk = Disk::before(&store.data());
    let words = recording(&first.recorder, &log, &store.data());
    store.start_under(&words).kill9();
    disk.load(&log);
    let moment = *noise.pick(&disk.moments(0).0);
    disk.play(moment);
    store_on(&disk, store.root_key().parent().unwrap(), Fate::Some, noise)
}
