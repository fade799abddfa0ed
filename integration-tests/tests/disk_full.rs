//! A disk that fills up: what adds something is refused in a way that clients understand, reads and deletes go
//! on and are on record to the last, and nothing is lost.

use std::fs::{File, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;

use integration_tests::clock::until;
use integration_tests::mount::{free, in_own_namespace, small, small_of_files};
use integration_tests::noise::body;
use integration_tests::sums::{base64, md5, md5_hex};
use integration_tests::wire::Wire;
use integration_tests::{Client, Payload, Server, Store};

const DISK: u64 = 768 << 20;
const MIB: u64 = 1 << 20;
/// Under the margin of a disk of this size, and over what makes the reserve go.
const LITTLE: u64 = DISK / 8 - 8 * MIB;

/// What others write to the same disk.
struct Others {
    folder: PathBuf,
    file: File,
}

impl Others {
    fn of(store: &Store) -> Self {
        let path = store.home().join("others");
        let file = OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        Self { folder: store.home().to_owned(), file }
    }

    /// Leaves so many bytes free.
    fn leave(&self, bytes: u64) {
        let block = vec![1; 1 << 20];
        while let left = free(&self.folder).saturating_sub(bytes)
            && left > 0
        {
            let size = left.min(block.len() as u64);
            let end = self.file.metadata().unwrap().len();
            // The last blocks may go to the file system's own needs.
            if self.file.write_all_at(&block[..usize::try_from(size).unwrap()], end).is_err() {
                break;
            }
        }
    }

    fn go(&self) {
        self.file.set_len(0).unwrap();
    }
}

fn refused(s3: &Client, upload: &str) {
    let no_room = |answer: integration_tests::Answer| answer.refused(503, "ServiceUnavailable").done();
    for size in [10, 4096, 200_000, 5 << 20] {
        no_room(s3.object("PUT", "full", "new").body(body(9, size)).send());
    }
    no_room(s3.part("full", "parts", upload, 2).body(body(9, 300_000)).send());
    no_room(s3.object("POST", "full", "new").query("uploads", "").send());
    no_room(s3.object("PUT", "full", "new").header("x-amz-copy-source", "/full/chunks").send());
    no_room(s3.bucket("PUT", "another").send());
    // Whoever waits for a go-ahead sends no byte in vain.
    let large = s3.object("PUT", "full", "new").payload(Payload::Unsigned).body(body(9, 5 << 20));
    let (head, _) = large.loose_header("expect", "100-continue").encode();
    let mut wire = Wire::connect(s3.address).unwrap();
    wire.send(&head).unwrap();
    assert_eq!(wire.head().unwrap().status, 503);
    s3.get("full", "new").refused(404, "NoSuchKey").done();
}

/// Reads, lists and deletes; gives the number of requests.
fn goes_on(s3: &Client, round: u32) -> usize {
    s3.must_hold("full", "inline", &body(1, 50_000));
    s3.must_hold("full", "chunks", &body(2, 6 << 20));
    s3.bucket("GET", "full").query("list-type", "2").send().status(200).done();
    let key = format!("old/{round}");
    s3.must_hold("full", &key, &body(u64::from(round), 70_000));
    s3.object("DELETE", "full", &key).send().status(204).done();
    s3.get("full", &key).refused(404, "NoSuchKey").done();
    6
}

fn filled(store: &Store) -> (Server, String) {
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("full");
    s3.put("full", "inline", body(1, 50_000)).done();
    s3.put("full", "chunks", body(2, 6 << 20)).done();
    for round in 0..4 {
        s3.put("full", &format!("old/{round}"), body(round, 70_000)).done();
    }
    let upload = s3.begin("full", "parts");
    s3.part("full", "parts", &upload, 1).body(body(3, 5 << 20)).send().status(200).done();
    (server, upload)
}

#[test]
fn a_full_disk_refuses_what_is_new_and_goes_on_with_the_rest() {
    if !in_own_namespace("a_full_disk_refuses_what_is_new_and_goes_on_with_the_rest") {
        return;
    }
    let store = Store::new();
    let _disk = small(store.home(), DISK);
    let (server, upload) = filled(&store);
    let s3 = server.client();
    let others = Others::of(&store);

    others.leave(LITTLE);
    until("writes are refused", || (s3.object("PUT", "full", "new").body("x").send().status == 503).then_some(()));
    refused(&s3, &upload);
    goes_on(&s3, 0);

    // Nothing at all is left, but for what the server has kept.
    others.leave(0);
    let before = server.records().len();
    let asked = goes_on(&s3, 1);
    refused(&s3, &upload);
    assert!(server.records().len() >= before + asked + 10, "every request is on record");
    assert!(free(store.home()) > 0, "the reserve was given up");
    server.kill9();

    let server = store.start();
    let s3 = server.client();
    others.leave(0);
    goes_on(&s3, 2);
    refused(&s3, &upload);

    others.go();
    let taken = || s3.object("PUT", "full", "new").body(body(9, 5 << 20)).send().status == 200;
    until("writes are taken again", || taken().then_some(()));
    s3.must_hold("full", "new", &body(9, 5 << 20));
    let part = s3.part("full", "parts", &upload, 2).body(body(4, 1000)).send().status(200).etag();
    let parts = [(1, md5_hex(&body(3, 5 << 20))), (2, part)];
    s3.complete("full", "parts", &upload, &parts).send().status(200).done();
    goes_on(&s3, 3);
    server.stop();
    store.start().client().must_hold("full", "new", &body(9, 5 << 20));
}

/// A delete of a thousand names that are not there: its record is a megabyte, so that few fill what RocksDB has set
/// aside for its journal. Gives the status.
fn large_record(s3: &Client) -> u16 {
    let names = (0..1000).map(|n| format!("<Object><Key>{n:0>1000}</Key></Object>"));
    let document = format!("<Delete>{}</Delete>", names.collect::<String>());
    let sum = base64(&md5(document.as_bytes()));
    s3.bucket("POST", "full").query("delete", "").header("content-md5", &sum).body(document).send().status
}

/// Others take all that is left, again and again, until the first record that is not written. Gives the number of those
/// that were.
fn break_it(s3: &Client, others: &Others) -> usize {
    let mut taken = 0;
    loop {
        others.leave(0);
        if large_record(s3) != 200 {
            return taken;
        }
        taken += 1;
        assert!(taken < 400, "the disk is full, and records are written all the same");
    }
}

/// Others take what was kept too, in the moment between a look at the disk and the write.
#[test]
fn a_database_that_found_no_space_takes_writes_again_when_there_is_some() {
    if !in_own_namespace("a_database_that_found_no_space_takes_writes_again_when_there_is_some") {
        return;
    }
    let store = Store::new();
    let _disk = small(store.home(), DISK);
    let (mut server, _) = filled(&store);
    let (s3, process) = (server.client(), server.pid());
    let others = Others::of(&store);

    // Written side by side with what follows, until the first that is not taken.
    let writers: Vec<_> = (0..2_u32)
        .map(|writer| {
            let s3 = s3.clone();
            std::thread::spawn(move || {
                let key = |n: u32| format!("race/{writer}/{n}");
                let put = |n: u32| s3.object("PUT", "full", &key(n)).body(body(u64::from(n), 40_000)).send().status;
                (0..).find(|n| put(*n) != 200).unwrap()
            })
        })
        .collect();
    until("some are written", || (s3.get("full", "race/1/20").status == 200).then_some(()));
    let taken = break_it(&s3, &others);
    let written: Vec<u32> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    assert_eq!(server.admin("/readyz").status, 503);
    assert_eq!(server.admin("/healthz").status, 200, "it waits for space");
    s3.get("full", "inline").refused(503, "ServiceUnavailable").done();
    s3.object("PUT", "full", "new").body("x").send().refused(503, "ServiceUnavailable").done();

    // They are counted, also by the process that could not write that down.
    for _ in 0..3 {
        s3.object("GET", "full", "inline").anonymous().send().refused(503, "ServiceUnavailable").done();
    }

    others.go();
    server.await_another_start();
    assert_eq!(server.pid(), process, "whoever watches it sees no end");
    let name = std::fs::read_to_string(format!("/proc/{process}/comm")).unwrap();
    assert_eq!(name.trim(), "gotgan");
    let folds = server.records_of("refusals");
    let counted: u64 = folds.iter().map(|fold| fold["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 3, "{folds:?}");
    let s3 = server.client();
    s3.must_hold("full", "inline", &body(1, 50_000));
    s3.must_hold("full", "chunks", &body(2, 6 << 20));
    for (writer, count) in written.into_iter().enumerate() {
        for n in 0..count {
            s3.must_hold("full", &format!("race/{writer}/{n}"), &body(u64::from(n), 40_000));
        }
        // Nobody was told that it is there; it is, whole, or is not.
        let last = s3.get("full", &format!("race/{writer}/{count}"));
        assert!(last.status == 404 || last.body == body(u64::from(count), 40_000));
    }
    let on_record = server.records_of("DeleteObjects").len();
    assert!(on_record == taken || on_record == taken + 1, "{on_record} of {taken}");
    s3.put("full", "new", body(9, 5 << 20)).done();
    server.stop();
    store.start().client().must_hold("full", "new", &body(9, 5 << 20));
}

/// Refusals that anybody can have fold into one record per second when there is little space, and wait for more when
/// there is only what was kept for others.
#[test]
fn strangers_do_not_use_up_the_space_that_is_kept_for_records() {
    if !in_own_namespace("strangers_do_not_use_up_the_space_that_is_kept_for_records") {
        return;
    }
    let store = Store::new();
    let _disk = small(store.home(), DISK);
    let (server, _) = filled(&store);
    let s3 = server.client();
    let others = Others::of(&store);
    let stranger = |count: usize| -> Vec<u16> {
        let asks: Vec<_> = (0..count)
            .map(|_| {
                let s3 = s3.clone();
                std::thread::spawn(move || s3.object("GET", "full", "inline").anonymous().send().status)
            })
            .collect();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect()
    };
    let alone = || server.records().iter().filter(|r| r["status"] == 403).count();
    let folded = || -> u64 {
        let records = server.records();
        let folds = records.iter().filter(|r| r["operation"] == "refusals" && r["source"] == "others");
        folds.map(|fold| fold["count"].as_u64().unwrap()).sum()
    };
    assert_eq!(stranger(3), [403; 3]);
    assert_eq!((alone(), folded()), (3, 0));

    others.leave(LITTLE);
    until("writes are refused", || (s3.object("PUT", "full", "new").body("x").send().status == 503).then_some(()));
    assert_eq!(stranger(5), [403; 5], "on record before its answer");
    assert_eq!((alone(), folded()), (3, 5));

    others.leave(0);
    goes_on(&s3, 0);
    assert_eq!(stranger(7), [503; 7], "the record waits, and nobody is told what it says");
    goes_on(&s3, 1);
    server.admin("/readyz").status(200).done();
    assert_eq!((alone(), folded()), (3, 5));
    assert_eq!(server.metric("unrecorded_total"), 0.0);

    others.go();
    until("what waited is on record", || (folded() == 12).then_some(()));
    until("all is as it was", || (stranger(1) == [403] && alone() > 3).then_some(()));
    server.stop();
}

fn copy_of_binary(store: &Store) -> PathBuf {
    let copy = store.home().join("gotgan");
    std::fs::copy(integration_tests::server::binary(), &copy).unwrap();
    copy
}

/// A package that is upgraded puts another file in the place of the one that runs.
#[test]
fn a_server_whose_file_was_exchanged_begins_anew_as_what_it_is() {
    if !in_own_namespace("a_server_whose_file_was_exchanged_begins_anew_as_what_it_is") {
        return;
    }
    let store = Store::new();
    let _disk = small(store.home(), DISK);
    let copy = copy_of_binary(&store);
    let mut server = store.start_copy(&copy);
    let s3 = server.client();
    s3.make_bucket("full");
    s3.put("full", "inline", body(1, 50_000)).done();
    let next = store.home().join("next");
    std::fs::write(&next, "#!/bin/false\n").unwrap();
    let others = Others::of(&store);
    break_it(&s3, &others);
    std::fs::rename(&next, &copy).unwrap();
    others.go();
    server.await_another_start();
    server.client().must_hold("full", "inline", &body(1, 50_000));
    server.stop();
}

/// Nobody is left waiting for a process that neither serves nor ends.
#[test]
fn a_server_that_cannot_begin_anew_ends_with_an_error() {
    if !in_own_namespace("a_server_that_cannot_begin_anew_ends_with_an_error") {
        return;
    }
    for told_to_end in [false, true] {
        let store = Store::new();
        let _disk = small(store.home(), DISK);
        let copy = copy_of_binary(&store);
        let mut server = store.start_copy(&copy);
        let s3 = server.client();
        s3.make_bucket("full");
        s3.put("full", "inline", body(1, 50_000)).done();
        let others = Others::of(&store);
        break_it(&s3, &others);
        if told_to_end {
            server.ask_to_end();
        } else {
            std::fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
            others.go();
        }
        assert_eq!(server.wait().code(), Some(1), "{}", server.said());
        others.go();
        store.start().client().must_hold("full", "inline", &body(1, 50_000));
    }
}

/// A disk may have free blocks, and no space for one more file.
#[test]
fn a_disk_without_files_to_make_is_full() {
    if !in_own_namespace("a_disk_without_files_to_make_is_full") {
        return;
    }
    let store = Store::new();
    let _disk = small_of_files(store.home(), 2 * DISK, 4096);
    let mut server = store.start();
    let s3 = server.client();
    s3.make_bucket("full");
    s3.put("full", "inline", body(1, 50_000)).done();
    let others = store.home().join("files");
    std::fs::create_dir(&others).unwrap();
    let fill = || (0..).take_while(|n| File::create_new(others.join(n.to_string())).is_ok()).count();
    assert!(fill() > 1000);
    let mut taken = 0;
    while large_record(&s3) == 200 {
        taken += 1;
        assert!(taken < 400, "no file can be made, and records are written all the same");
    }
    until("it waits for space", || server.said().contains("begins anew when there is some").then_some(()));
    std::fs::remove_dir_all(&others).unwrap();
    server.await_another_start();
    server.client().must_hold("full", "inline", &body(1, 50_000));
    let on_record = server.records_of("DeleteObjects").len();
    assert!(on_record == taken || on_record == taken + 1, "{on_record} of {taken}");
    server.stop();
}
