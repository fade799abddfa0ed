//! `kill -9` in the middle of multipart uploads, copies and deletes: afterwards each object is wholly what it
//! was or wholly what it was to be, no acknowledged upload or part is lost, and what nobody needs is collected.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use integration_tests::clock::until;
use integration_tests::noise::{Noise, body};
use integration_tests::{Answer, Client, Server, Store};

const KILLS: u64 = 40;
const PART: usize = 5 << 20;
const SMALL: usize = 300_000;

/// What a kill falls into, and in how many microseconds of it at most: on a fast disk it is over sooner.
const STAGES: [(&str, u64); 4] = [("complete", 4000), ("copy", 25_000), ("delete", 4000), ("part", 40_000)];
const COMPLETE: usize = 0;
const COPY: usize = 1;
const DELETE: usize = 2;
const PARTS: usize = 3;

/// Seed and size; `None` when there is no object.
type State = Option<(u64, usize)>;

/// One key, changed by one step at a time.
#[derive(Debug, Clone)]
struct Object {
    key: String,
    state: State,
    /// What the step that was under way would make of it.
    wanted: Option<State>,
}

/// A multipart upload, as far as it was acknowledged.
#[derive(Debug, Default)]
struct Upload {
    id: String,
    parts: Vec<(u32, String)>,
    /// Complete or abort was asked for.
    ends: bool,
}

#[derive(Debug)]
struct Ledger {
    /// Written by uploads, by copies, and deleted.
    objects: [Object; 3],
    /// What is copied.
    source: (u64, usize),
    upload: Upload,
}

/// Where the work is: a stage and one, or 0.
type Stage = AtomicUsize;

fn enters(at: &Stage, stage: usize) {
    at.store(stage + 1, Ordering::Release);
}

fn content(state: (u64, usize)) -> Bytes {
    body(state.0, state.1)
}

/// The answer, or `None` when the server died.
fn ask(answer: std::io::Result<Answer>, status: u16) -> Option<Answer> {
    answer.ok().map(|answer| answer.status(status))
}

impl Ledger {
    fn step(&mut self, object: usize, state: State, ask: impl FnOnce(&mut Self) -> Option<Answer>) -> Option<()> {
        self.objects[object].wanted = Some(state);
        ask(self)?;
        self.objects[object] = Object { state, wanted: None, ..self.objects[object].clone() };
        Some(())
    }

    /// Goes through every stage until the server dies.
    fn work(&mut self, s3: &Client, at: &Stage, mut seed: u64) -> Option<()> {
        loop {
            seed += 1;
            self.source = (seed, if seed.is_multiple_of(2) { SMALL } else { PART + 77 });
            // The source changes only between copies, so it needs no state of its own.
            ask(s3.object("PUT", "kills", "source").body(content(self.source)).try_send(), 200)?;
            enters(at, COPY);
            self.copy(s3)?;
            self.multipart(s3, at, seed)?;
            self.delete(s3, at, seed)?;
        }
    }

    fn copy(&mut self, s3: &Client) -> Option<()> {
        let to = Some(self.source);
        self.step(1, to, |ledger| {
            let copy = s3.object("PUT", "kills", &ledger.objects[1].key).header("x-amz-copy-source", "/kills/source");
            ask(copy.try_send(), 200)
        })
    }

    fn multipart(&mut self, s3: &Client, at: &Stage, seed: u64) -> Option<()> {
        let key = self.objects[0].key.clone();
        enters(at, PARTS);
        let begun = ask(s3.object("POST", "kills", &key).query("uploads", "").try_send(), 200)?;
        self.upload = Upload { id: begun.xml("UploadId"), ..Upload::default() };
        let data = body(seed, PART + 1000);
        for (piece, number) in data.chunks(PART).zip(1..) {
            let part = s3.part("kills", &key, &self.upload.id, number).body(Bytes::copy_from_slice(piece));
            let etag = ask(part.try_send(), 200)?.etag();
            self.upload.parts.push((number, etag));
        }
        self.upload.ends = true;
        enters(at, COMPLETE);
        if seed % 4 == 3 {
            let abort = s3.object("DELETE", "kills", &key).query("uploadId", &self.upload.id);
            ask(abort.try_send(), 204)?;
        } else {
            self.step(0, Some((seed, data.len())), |ledger| {
                ask(s3.complete("kills", &key, &ledger.upload.id, &ledger.upload.parts).try_send(), 200)
            })?;
        }
        self.upload = Upload::default();
        Some(())
    }

    fn delete(&mut self, s3: &Client, at: &Stage, seed: u64) -> Option<()> {
        let key = self.objects[2].key.clone();
        let what = (seed, if seed.is_multiple_of(2) { 1000 } else { SMALL });
        self.step(2, Some(what), |_| ask(s3.object("PUT", "kills", &key).body(content(what)).try_send(), 200))?;
        enters(at, DELETE);
        self.step(2, None, |_| ask(s3.object("DELETE", "kills", &key).try_send(), 204))
    }

    fn check(&mut self, s3: &Client, round: u64) {
        for object in &mut self.objects {
            let answer = s3.get("kills", &object.key);
            let is = |state: &State| match state {
                None => answer.status == 404,
                Some(what) => answer.status == 200 && answer.body == content(*what),
            };
            let wanted = object.wanted.take();
            let found = [Some(object.state), wanted].into_iter().flatten().find(is);
            let size = answer.body.len();
            object.state = found.unwrap_or_else(|| panic!("round {round}: {object:?}, {wanted:?}: {size} bytes"));
        }
        self.check_upload(s3, round);
    }

    /// Which of [`STAGES`] was under way.
    fn interrupted(&self) -> [bool; 4] {
        let [parts, copy, deleted] = [0, 1, 2].map(|object| self.objects[object].wanted.is_some());
        [parts || self.upload.ends, copy, deleted, !self.upload.ends && !self.upload.id.is_empty()]
    }

    /// An upload is there with its parts, unless its end was asked for: then it is there, or its end came.
    fn check_upload(&mut self, s3: &Client, round: u64) {
        let upload = std::mem::take(&mut self.upload);
        if upload.id.is_empty() {
            return;
        }
        let key = &self.objects[0].key;
        let listed = s3.object("GET", "kills", key).query("uploadId", &upload.id).send();
        if listed.status == 404 && upload.ends {
            return;
        }
        let etags = listed.status(200).xml_all("ETag").join(" ");
        for (number, etag) in &upload.parts {
            assert!(etags.contains(etag.as_str()), "round {round}: part {number} of {etags} was acknowledged");
        }
        s3.object("DELETE", "kills", key).query("uploadId", &upload.id).send().status(204).done();
    }
}

/// Bytes of chunks that exist.
fn live(server: &Server) -> f64 {
    let text = server.admin("/metrics").status(200).text();
    let line = text.lines().find(|line| line.starts_with("gotgan_segment_bytes{kind=\"live\"}"));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap()
}

#[test]
fn forty_kills_leave_everything_whole_and_nothing_behind() {
    let mut noise = Noise::of_test(5);
    let store = Store::new();
    let mut server = store.start();
    server.client().make_bucket("kills");
    let object = |key: &str| Object { key: key.to_owned(), state: None, wanted: None };
    let objects = ["parts", "copy", "deleted"].map(object);
    let mut ledger = Ledger { objects, source: (0, 0), upload: Upload::default() };
    let (mut hit, mut missed) = ([0; 4], [0_u32; 4]);
    for round in 0..KILLS {
        let s3 = server.client();
        let stage = usize::try_from(round % 4).unwrap();
        // Half as long after each miss.
        let delay = Duration::from_micros(noise.below((STAGES[stage].1 >> missed[stage]).max(1)));
        let at = Stage::default();
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| ledger.work(&s3, &at, round * 1000));
            // The fault comes at its time in the stage: finer than a thread can be woken.
            while at.load(Ordering::Acquire) != stage + 1 {
                std::thread::yield_now();
            }
            let begun = Instant::now();
            while begun.elapsed() < delay {
                std::hint::spin_loop();
            }
            server.kill9();
            assert!(worker.join().unwrap().is_none());
        });
        let interrupted = ledger.interrupted();
        interrupted.into_iter().zip(&mut hit).for_each(|(in_it, count)| *count += u32::from(in_it));
        missed[stage] = if interrupted[stage] { 0 } else { missed[stage] + 1 };
        server = store.start();
        assert!(server.start_took < Duration::from_secs(5), "round {round}: the start took {:?}", server.start_took);
        ledger.check(&server.client(), round);
    }
    let hit: Vec<_> = STAGES.iter().map(|(name, _)| name).zip(hit).collect();
    println!("kills by stage: {hit:?}");
    assert!(hit.iter().all(|(_, count)| *count > 0), "a stage was never hit");
    let s3 = server.client();
    for key in ["parts", "copy", "deleted", "source"] {
        s3.object("DELETE", "kills", key).send().status(204).done();
    }
    let listed = s3.bucket("GET", "kills").query("uploads", "").send().status(200);
    for id in listed.xml_all("UploadId") {
        s3.object("DELETE", "kills", "parts").query("uploadId", &id).send().status(204).done();
    }
    until("all chunks are collected", || (live(&server) == 0.0).then_some(()));
    s3.bucket("DELETE", "kills").send().status(204).done();
    server.stop();
}
