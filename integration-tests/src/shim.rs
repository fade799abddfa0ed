//! C functions that stand before those of the system in a process: a disk that stalls, a clock that is set.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Compiles C into a library in a folder, for `LD_PRELOAD`.
#[must_use]
pub fn shim(dir: &Path, source: &str) -> PathBuf {
    let library = dir.join("shim.so");
    let mut compiler = Command::new("cc")
        .args(["-shared", "-fPIC", "-x", "c", "-", "-o"])
        .arg(&library)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    compiler.stdin.take().unwrap().write_all(source.as_bytes()).unwrap();
    assert!(compiler.wait().unwrap().success());
    library
}
