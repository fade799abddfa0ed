//! The root key as shares: some of them make it again, fewer do not, and a round voids them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use integration_tests::server::binary;
use integration_tests::{Server, Store};

fn root(store: &Store, arguments: &[&str], files: &[PathBuf]) -> Output {
    Command::new(binary())
        .arg("root")
        .args(arguments)
        .args(["--data", store.data().to_str().unwrap()])
        .args(files)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn split(store: &Store, into: &Path) -> Vec<PathBuf> {
    let done = root(store, &["split", "--shares", "5", "--threshold", "3", "--out", into.to_str().unwrap()], &[]);
    assert!(done.status.success(), "{}", said(&done));
    let mut files: Vec<_> = fs::read_dir(into).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 5);
    files
}

fn holds(server: &Server) {
    server.client().must_hold("lake", "k", b"v");
}

#[test]
fn three_of_five_bring_a_lost_root_key_back() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("lake");
    server.client().put("lake", "k", "v").done();
    server.stop();
    let files = split(&store, &store.home().join("shares"));
    let again = root(&store, &["split", "--out", store.home().join("shares").to_str().unwrap()], &[]);
    assert!(!again.status.success(), "no share is written over: {}", said(&again));
    let drill = |files: &[PathBuf]| root(&store, &["drill"], files);
    assert!(drill(&files[1..4]).status.success());
    assert!(said(&drill(&files[..2])).contains("it takes 3"));
    let twice = [&files[..2], &files[..1]].concat();
    assert!(said(&drill(&twice)).contains("given twice"));
    assert!(said(&root(&store, &["restore"], &files[..3])).contains("exists"), "not over one that is there");

    let key = fs::read(store.root_key()).unwrap();
    fs::remove_file(store.root_key()).unwrap();
    assert!(store.try_start(&[]).is_err());
    let text = fs::read_to_string(&files[0]).unwrap();
    let at = text.find("\"share\": \"").unwrap() + 12;
    let digit = if &text[at..=at] == "0" { "1" } else { "0" };
    let damaged = store.home().join("damaged.share");
    fs::write(&damaged, format!("{}{digit}{}", &text[..at], &text[at + 1..])).unwrap();
    let refused = root(&store, &["restore"], &[&[damaged][..], &files[1..3]].concat());
    assert!(said(&refused).contains("is damaged") && !store.root_key().exists(), "{}", said(&refused));
    let restored = root(&store, &["restore"], &[&files[4..], &files[..2]].concat());
    assert!(restored.status.success(), "{}", said(&restored));
    assert_eq!(fs::read(store.root_key()).unwrap(), key, "byte for byte");
    let server = store.start();
    holds(&server);

    // Another root key voids them.
    assert!(server.try_command(&["root", "replace"]).status.success());
    holds(&server);
    server.stop();
    assert!(said(&drill(&files[..3])).contains("it was replaced since"));
    let anew = split(&store, &store.home().join("anew"));
    let mixed = [&files[..1], &anew[..2]].concat();
    assert!(said(&drill(&mixed)).contains("different root keys"));
    assert!(drill(&anew[2..]).status.success());
}
