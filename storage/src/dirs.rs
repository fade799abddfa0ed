//! Directories that survive a loss of power: whoever makes one syncs its parent, or the name may be gone
//! together with everything that was synced below it.

use std::fs::{DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Makes a directory for the owner alone, and those above it that are missing. What is there stays as it is.
///
/// # Errors
/// What the system says; `NotADirectory` when something else has the name.
pub fn make(path: &Path) -> io::Result<()> {
    make_and(path, &mut |parent| File::open(parent)?.sync_all())
}

fn make_and(path: &Path, sync: &mut impl FnMut(&Path) -> io::Result<()>) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(there) if there.is_dir() => return Ok(()),
        Ok(_) => return Err(ErrorKind::NotADirectory.into()),
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(ErrorKind::NotFound.into()),
    };
    make_and(parent, sync)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    sync(parent)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn every_directory_that_is_made_has_its_parent_synced() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let mut synced = Vec::new();
        let mut note = |parent: &Path| {
            synced.push((parent.to_owned(), std::fs::read_dir(parent)?.count()));
            Ok(())
        };
        make_and(&at("a/b/c"), &mut note).unwrap();
        make_and(&at("a/b/c"), &mut note).unwrap();
        make_and(&at("a/d"), &mut note).unwrap();
        let expected = [(place.path().to_owned(), 1), (at("a"), 1), (at("a/b"), 1), (at("a"), 2)];
        assert_eq!(synced, expected, "each once, with the new name in it");
        assert_eq!(std::fs::metadata(at("a")).unwrap().permissions().mode() & 0o777, 0o700);
        std::fs::write(at("file"), "").unwrap();
        assert_eq!(make(&at("file")).unwrap_err().kind(), ErrorKind::NotADirectory);
        make(&at("e/f")).unwrap();
        assert!(at("e/f").is_dir());
    }
}
