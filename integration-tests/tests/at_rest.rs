//! What lies on disk: nothing that a client ever sent, and nothing that looks like anything.

use integration_tests::disk::{Needles, files, random_bytes};
use integration_tests::noise::{known, page};
use integration_tests::{Client, Payload, Store};

const PART: usize = 5 << 20;

/// Stores known text by every write path.
fn write_everything(s3: &Client) {
    s3.make_bucket("known");
    s3.put("known", "inline", known(900)).done();
    s3.put("known", "inline-largest", known(65_536)).done();
    s3.put("known", "chunks", known((9 << 20) + 17)).done();
    s3.object("PUT", "known", "framed").payload(Payload::SignedFrames).body(known(200_000)).send().status(200).done();
    s3.put_parts("known", "parts", &[known(PART), known(PART), known(77)]).done();
    s3.object("PUT", "known", "copy").header("x-amz-copy-source", "/known/chunks").send().status(200).done();
    let upload = s3.begin("known", "part-copy");
    let part =
        s3.part("known", "part-copy", &upload, 1).header("x-amz-copy-source", "/known/chunks").send().status(200);
    let etag = part.xml("ETag").replace("&quot;", "").replace('"', "");
    s3.complete("known", "part-copy", &upload, &[(1, etag)]).send().status(200).done();
    let name = String::from_utf8_lossy(&page()[..60]).replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    s3.object("PUT", "known", "metadata").header("x-amz-meta-note", &name).body("v").send().status(200).done();
    // An upload that is never completed, and one that breaks off.
    let open = s3.begin("known", "open");
    s3.part("known", "open", &open, 1).body(known(PART)).send().status(200).done();
}

#[test]
fn no_piece_of_any_plaintext_is_on_disk() {
    let store = Store::new();
    let server = store.start();
    write_everything(&server.client());
    let text = page();
    let twice = [text.as_slice(), text.as_slice()].concat();
    let needles = Needles::of(&[&twice]);
    assert!(needles.first_in(&known(1000)).is_some(), "the search finds what is there");
    assert_eq!(needles.found_under(server.data()), [], "while it runs");
    server.stop();
    assert_eq!(needles.found_under(&store.data()), [], "after a clean end");
}

#[test]
fn bodies_on_disk_look_random() {
    let store = Store::new();
    let server = store.start();
    write_everything(&server.client());
    server.stop();
    let mut looked = 0;
    for file in files(&store.data()).iter().filter(|f| f.extension().is_some_and(|e| e == "seg")) {
        let (random, other) = random_bytes(file);
        assert_eq!(other, [0_usize; 0], "{}: blocks that do not look random", file.display());
        looked += random;
    }
    assert!(looked > 20 << 20, "only {looked} bytes were looked at");
}
