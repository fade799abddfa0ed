//! A small file system of a test's own, in a mount namespace of its own: it goes with the test, whatever
//! becomes of it, and nobody else sees it.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const INSIDE: &str = "OWN_MOUNT_NAMESPACE";

/// Runs the named test again where it may mount; true there. False when it has run, or cannot: root can
/// always, others where the system allows user namespaces.
#[must_use]
pub fn in_own_namespace(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let root = std::fs::metadata("/proc/self").unwrap().uid() == 0;
    let ways: &[&[&str]] =
        if root { &[&["--mount"], &["--mount", "--user", "-r"]] } else { &[&["--mount", "--user", "-r"]] };
    let works = |way: &&&[&str]| {
        let mut probe = Command::new("unshare");
        probe.args(**way).args(["mount", "-t", "tmpfs", "none", "/mnt"]);
        probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let Some(way) = ways.iter().find(works) else {
        println!(
            "SKIPPED {test}: no file system can be mounted here; run it as root with CAP_SYS_ADMIN, or allow user namespaces"
        );
        return false;
    };
    let mut again = Command::new("unshare");
    again.args(*way).arg(std::env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    let status = again.env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "{test} failed in its namespace");
    false
}

/// A mounted file system, unmounted when it is dropped.
#[derive(Debug)]
pub struct Small(PathBuf);

impl Drop for Small {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

/// Mounts an empty file system of so many bytes on a folder.
#[must_use]
pub fn small(on: &Path, bytes: u64) -> Small {
    small_with(on, &format!("size={bytes}"))
}

/// Mounts an empty file system of so many bytes and files on a folder.
#[must_use]
pub fn small_of_files(on: &Path, bytes: u64, files: u64) -> Small {
    small_with(on, &format!("size={bytes},nr_inodes={files}"))
}

fn small_with(on: &Path, size: &str) -> Small {
    let done = Command::new("mount").args(["-t", "tmpfs", "-o", size, "none"]).arg(on).status();
    assert!(done.is_ok_and(|status| status.success()), "{} is not mounted", on.display());
    Small(on.to_owned())
}

/// Bytes that may still be written there.
#[must_use]
pub fn free(on: &Path) -> u64 {
    let disk = rustix::fs::statvfs(on).unwrap();
    disk.f_bavail * disk.f_frsize
}
