//! A disk that does not answer: who waits for it is told to come back, and it all goes on when it answers again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use integration_tests::clock::{until, within};
use integration_tests::disk::files;
use integration_tests::noise::body;
use integration_tests::shim::shim;
use integration_tests::{Outgoing, Server, Store};
use rustix::fs::{Advice, fadvise};

const PATIENCE: Duration = Duration::from_secs(3);
/// Holds back what RocksDB asks of the disk while a file is there, and what bodies are read with while another is.
const SHIM: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static void hold(const char *which) {
    const char *file = getenv(which);
    while (file && access(file, F_OK) == 0) usleep(5000);
}
int fdatasync(int fd) { hold("STALL"); return syscall(SYS_fdatasync, fd); }
int fsync(int fd) { hold("STALL"); return syscall(SYS_fsync, fd); }
ssize_t pread64(int fd, void *to, size_t length, off_t at) {
    if (length > 100000) hold("STALL_READS");
    return syscall(SYS_pread64, fd, to, length, at);
}
"#;

/// A store whose disk does not answer `what` while the file is there that comes with it.
fn stalling(what: &str) -> (Store, PathBuf) {
    let mut store = Store::new();
    let stalls = store.home().join("stalls");
    let library = shim(store.home(), SHIM);
    store.set("LD_PRELOAD", library.to_str().unwrap());
    store.set(what, stalls.to_str().unwrap());
    store.set("GOTGAN_LIMITS_STALL_SECONDS", &PATIENCE.as_secs().to_string());
    (store, stalls)
}

fn stall_reads(server: &Server, stalls: &Path) {
    std::fs::write(stalls, "").unwrap();
    // What is in the page cache needs no disk.
    for file in files(server.data()) {
        fadvise(File::open(file).unwrap(), 0, None, Advice::DontNeed).unwrap();
    }
}

/// Its answer is 503 when patience ends, and not long after.
fn turned_away(request: &Outgoing<'_>) {
    let begun = Instant::now();
    request.send().refused(503, "ServiceUnavailable").done();
    let took = begun.elapsed();
    assert!(took + Duration::from_millis(100) > PATIENCE && took < 4 * PATIENCE, "{took:?}");
}

#[test]
fn nobody_waits_for_ever_for_a_disk() {
    let (store, stalls) = stalling("STALL");
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("disk");
    let (before, after) = (body(1, 1 << 20), body(2, 1 << 20));
    s3.put("disk", "k", before.clone()).done();
    s3.put("disk", "small", "before").done();
    std::fs::write(&stalls, "").unwrap();
    std::thread::scope(|scope| {
        for request in [
            s3.object("PUT", "disk", "small").body("after"),
            s3.object("PUT", "disk", "k").body(after.clone()),
            s3.object("GET", "disk", "k"),
            s3.object("HEAD", "disk", "k").anonymous(),
            s3.object("DELETE", "disk", "absent"),
            s3.object("POST", "disk", "many").query("uploads", ""),
        ] {
            let method_has_no_body = request.encode().0.starts_with(b"HEAD");
            scope.spawn(move || match method_has_no_body {
                true => request.send().status(503).done(),
                false => turned_away(&request),
            });
        }
    });
    server.admin("/healthz").status(200).done();
    assert!(server.metric("gotgan_stalled_total") >= 4.0, "each write is counted");
    std::fs::remove_file(&stalls).unwrap();
    // What was left to end by itself ends whole.
    until("the disk answers again", || (s3.get("disk", "small").status == 200).then_some(()));
    until("what was begun is done", || (s3.get("disk", "small").body == b"after").then_some(()));
    until("all of it", || (s3.get("disk", "k").body == after).then_some(()));
    s3.put("disk", "k", before.clone()).done();
    s3.must_hold("disk", "k", &before);
    let puts = server.records_of("PutObject");
    assert_eq!(puts.len(), 5, "each once: {puts:#?}");
    let left = |r: &&serde_json::Value| r["closing"]["outcome"] == "broken off";
    assert_eq!(puts.iter().filter(left).count(), 2);
    server.stop();
}

/// A copy whose source stops to come ends as any write does, and what it held is let go.
#[test]
fn a_copy_does_not_hang_on_its_source() {
    const SIZE: usize = 32 << 20;
    let (store, stalls) = stalling("STALL_READS");
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("disk");
    let data = body(4, SIZE);
    s3.put("disk", "k", data.clone()).done();
    let upload = s3.begin("disk", "parts");
    let copy = s3.object("PUT", "disk", "copy").header("x-amz-copy-source", "/disk/k");
    let part = s3.part("disk", "parts", &upload, 1).header("x-amz-copy-source", "/disk/k");
    // One after the other: the kernel reads ahead for the first, and the second would find that.
    for request in [&copy, &part] {
        stall_reads(&server, &stalls);
        turned_away(request);
    }
    for operation in ["CopyObject", "UploadPartCopy"] {
        let record = within(PATIENCE, "a record", || server.records_of(operation).pop());
        assert_eq!((&record["status"], &record["error"]), (&503.into(), &"ServiceUnavailable".into()), "{record}");
    }
    std::fs::remove_file(&stalls).unwrap();
    s3.get("disk", "copy").refused(404, "NoSuchKey").done();
    copy.send().status(200).done();
    part.send().status(200).done();
    s3.must_hold("disk", "copy", &data);
    server.stop();
}

/// Whose bytes stop to come in the middle is cut off when patience ends: what the answer holds others wait for.
#[test]
fn an_answer_does_not_hang_in_its_middle() {
    const SIZE: usize = 64 << 20;
    let (store, stalls) = stalling("STALL_READS");
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("disk");
    let data = body(3, SIZE);
    s3.put("disk", "k", data.clone()).done();
    let (mut wire, head) = s3.object("GET", "disk", "k").open().unwrap();
    assert_eq!(head.status, 200);
    stall_reads(&server, &stalls);
    let begun = Instant::now();
    let mut came = 0;
    assert!(wire.body(&head, |piece| came += piece.len()).is_err(), "it has not got all");
    let took = begun.elapsed();
    assert!(came < SIZE && took < 4 * PATIENCE, "{came} in {took:?}");
    let failed = until("a closing record", || {
        server.records_of("GetObject").into_iter().find(|r| r["closing"]["outcome"] == "failed")
    });
    assert!(failed["closing"]["bytes_sent"].as_u64().unwrap() < SIZE as u64);
    std::fs::remove_file(&stalls).unwrap();
    s3.must_hold("disk", "k", &data);
    server.stop();
}
