//! `make demo`: real datasets through ten real clients, and the format opened by somebody else's code.

use std::path::PathBuf;
use std::process::Command;

use integration_tests::Store;
use integration_tests::server::venv;

fn python() -> PathBuf {
    let python = venv().join("bin/python");
    assert!(python.exists(), "the Python clients are not installed: run `make test`");
    python
}

#[test]
fn a_chunk_opens_from_the_description_alone() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
    let output = Command::new(python())
        .arg(format!("{docs}/open_chunk.py"))
        .arg(format!("{docs}/vectors.json"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 9);
}

#[test]
fn ten_clients_bring_real_datasets_back_identical() {
    let store = Store::new();
    let server = store.start();
    let output = Command::new(python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/demo.py"))
        .arg(server.data().join("bootstrap.json"))
        .arg(store.home().join("demo"))
        .output()
        .unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}

/// Trap 22: object_store's conditional put, by itself and under Delta Lake, with commits side by side.
#[test]
fn trap_22_table_formats_lose_no_commit() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("tables");
    let output = Command::new(python())
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/demo/tables.py"))
        .arg(server.data().join("bootstrap.json"))
        .output()
        .unwrap();
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success());
}
