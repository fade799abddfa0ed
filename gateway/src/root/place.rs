//! The root key as it lies on disk, and the steps by which another takes its place. The catalog decides which of the two
//! counts: its row of the platform's key names one. So each step may be the last before a crash:
//!
//! 1. the next key is written beside the one in use, and the descriptor names it as the next;
//! 2. the catalog commits all that the next one wraps;
//! 3. the file of the one before is overwritten, the next takes its name, and the descriptor names no other.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use policy::id::KeyId;
use storage::dirs;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{FILE, RootError, RootKey};
use crate::home::{Descriptor, HomeError, NamedRoot};

/// Name of the file of the key that is to take the place.
const NEXT: &str = "root.key.next";

/// Where the root key lies.
#[derive(Debug, Clone)]
pub struct RootPlace {
    /// The root directory.
    pub dir: PathBuf,
    /// The data directory, whose descriptor names the key.
    pub data: PathBuf,
    /// File of the passphrase that seals it.
    pub passphrase_file: Option<PathBuf>,
}

/// The keys that are there, of those that the descriptor names.
#[derive(Debug)]
pub struct Found {
    /// The one in use, or that was.
    pub current: Option<RootKey>,
    /// The one that is to take its place, or took it.
    pub next: Option<RootKey>,
}

impl Found {
    /// The one that counts.
    #[must_use]
    pub fn of(&self, id: KeyId) -> Option<&RootKey> {
        [&self.current, &self.next].into_iter().flatten().find(|root| root.id == id)
    }
}

impl NamedRoot {
    /// Of this key.
    #[must_use]
    pub fn of(root: &RootKey) -> Self {
        Self { id: root.id, check: root.check_value() }
    }

    /// Whether it is this key.
    #[must_use]
    pub fn is(&self, root: &RootKey) -> bool {
        self.id == root.id && bool::from(root.check_value().as_bytes().ct_eq(self.check.as_bytes()))
    }
}

impl RootPlace {
    fn passphrase(&self) -> Result<Option<Zeroizing<Vec<u8>>>, HomeError> {
        let Some(path) = &self.passphrase_file else { return Ok(None) };
        let read = fs::read(path).map_err(|source| HomeError::Io { path: path.clone(), source })?;
        let mut text = Zeroizing::new(read);
        while text.last().is_some_and(|b| matches!(b, b'\n' | b'\r')) {
            text.pop();
        }
        if text.is_empty() {
            return Err(HomeError::Malformed { path: path.clone(), why: "the passphrase is empty".to_owned() });
        }
        Ok(Some(text))
    }

    /// The key of a store that is being made: the one that is there already, or a new one.
    ///
    /// # Errors
    /// [`RootError`].
    pub fn first(&self) -> Result<RootKey, HomeError> {
        let passphrase = self.passphrase()?;
        let passphrase = passphrase.as_ref().map(|p| p.as_slice());
        match RootKey::load(&self.dir, passphrase) {
            Err(RootError::Missing(_)) => Ok(RootKey::create(&self.dir, passphrase)?),
            other => Ok(other?),
        }
    }

    /// Reads what the descriptor names. Nothing is changed on disk.
    ///
    /// # Errors
    /// [`RootError`] when there is none of them.
    pub fn find(&self, descriptor: &Descriptor) -> Result<Found, HomeError> {
        let passphrase = self.passphrase()?;
        let passphrase = passphrase.as_ref().map(|p| p.as_slice());
        let there = RootKey::load(&self.dir, passphrase);
        let Some(next) = &descriptor.next else {
            let there = there?;
            if !descriptor.root.is(&there) {
                return Err(RootError::WrongKey(self.dir.join(FILE)).into());
            }
            return Ok(Found { current: Some(there), next: None });
        };
        let beside = RootKey::load_file(&self.next_path(), passphrase);
        let mut found = Found { current: None, next: None };
        for root in [&there, &beside].into_iter().flatten() {
            if descriptor.root.is(root) {
                found.current = Some(root.clone());
            } else if next.is(root) {
                found.next = Some(root.clone());
            }
        }
        match (&found.current, &found.next) {
            (None, None) => match there {
                Ok(_) => Err(RootError::WrongKey(self.dir.join(FILE)).into()),
                Err(error) => Err(error.into()),
            },
            _ => Ok(found),
        }
    }

    /// Writes a key that is to take the place of the one in use, and names it.
    ///
    /// # Errors
    /// `Io`: nothing of it counts then.
    pub fn announce(&self, next: &RootKey) -> Result<(), HomeError> {
        let passphrase = self.passphrase()?;
        let mut descriptor = Descriptor::read(&self.data)?.ok_or_else(|| HomeError::Foreign(self.data.clone()))?;
        if descriptor.next.is_some() {
            // It may be the one that counts.
            return Err(RootError::Unsettled(self.next_path()).into());
        }
        self.remove_next()?;
        next.write(&self.next_path(), passphrase.as_ref().map(|p| p.as_slice()))?;
        descriptor.next = Some(NamedRoot::of(next));
        descriptor.write(&self.data)
    }

    /// Finishes what [`Self::announce`] began, when the catalog says that the next key counts, or undoes it.
    ///
    /// # Errors
    /// `Io`: it is done at the next start.
    pub fn settle(&self, counts: KeyId) -> Result<(), HomeError> {
        let mut descriptor = Descriptor::read(&self.data)?.ok_or_else(|| HomeError::Foreign(self.data.clone()))?;
        let Some(next) = descriptor.next.take() else { return self.remove_next() };
        if next.id == counts {
            if self.next_path().exists() {
                self.take_place()?;
            }
            descriptor.root = next;
        } else {
            self.remove_next()?;
        }
        descriptor.write(&self.data)
    }

    /// What the file of the key before held is overwritten; what a file system or a disk keeps of it besides is beyond this.
    fn take_place(&self) -> Result<(), RootError> {
        let path = self.path();
        let io = |source| RootError::Io { path: path.clone(), source };
        if let Ok(meta) = fs::metadata(&path) {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(io)?;
            let mut before = fs::OpenOptions::new().write(true).open(&path).map_err(io)?;
            let zeros = vec![0; usize::try_from(meta.len()).unwrap_or(0)];
            before.write_all(&zeros).and_then(|()| before.sync_all()).map_err(io)?;
        }
        fs::rename(self.next_path(), &path).map_err(io)?;
        sync(parent(&path)).map_err(io)
    }

    /// Where the key really lies, if its name is a link to somewhere else: the next one shall lie there, too.
    fn path(&self) -> PathBuf {
        let named = self.dir.join(FILE);
        fs::canonicalize(&named).unwrap_or(named)
    }

    fn next_path(&self) -> PathBuf {
        self.path().with_file_name(NEXT)
    }

    /// Writes the key of a store back, where there is none.
    ///
    /// # Errors
    /// `Io`, also when there is one.
    pub fn restore(&self, root: &RootKey) -> Result<(), HomeError> {
        let passphrase = self.passphrase()?;
        Ok(root.write(&self.dir.join(FILE), passphrase.as_ref().map(|p| p.as_slice()))?)
    }

    fn remove_next(&self) -> Result<(), HomeError> {
        let path = self.next_path();
        match fs::remove_file(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => {
                other.and_then(|()| sync(parent(&path))).map_err(|source| RootError::Io { path, source })?;
                Ok(())
            }
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn sync(dir: &Path) -> std::io::Result<()> {
    dirs::make(dir)?;
    fs::File::open(dir).and_then(|dir| dir.sync_all())
}

#[cfg(test)]
mod tests {
    use policy::time::UtcMillis;

    use super::*;

    fn made(home: &Path) -> (RootPlace, RootKey) {
        let (dir, data) = (home.join("d.root"), home.join("d"));
        fs::create_dir(&data).unwrap();
        let place = RootPlace { dir, data, passphrase_file: None };
        let root = place.first().unwrap();
        let descriptor = Descriptor {
            format: crate::home::LAYOUT,
            installation: "i".to_owned(),
            root: NamedRoot::of(&root),
            next: None,
            created: UtcMillis(1),
        };
        descriptor.write(&place.data).unwrap();
        (place, root)
    }

    fn found(place: &RootPlace) -> Found {
        place.find(&Descriptor::read(&place.data).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn a_key_that_may_count_is_never_written_over() {
        let home = tempfile::tempdir().unwrap();
        let (place, before) = made(home.path());
        let [next, other] = [(); 2].map(|()| RootKey::random().unwrap());
        place.announce(&next).unwrap();
        assert!(found(&place).of(before.id).is_some() && found(&place).of(next.id).is_some());
        assert!(matches!(place.announce(&other), Err(HomeError::Root(RootError::Unsettled(_)))));
        assert!(found(&place).of(next.id).is_some(), "it is still there");
        // Undone, and done, each twice: a start may have been killed behind it.
        for _ in 0..2 {
            place.settle(before.id).unwrap();
        }
        assert!(found(&place).of(next.id).is_none() && !place.next_path().exists());
        place.announce(&next).unwrap();
        for _ in 0..2 {
            place.settle(next.id).unwrap();
        }
        assert!(found(&place).of(next.id).is_some() && found(&place).of(before.id).is_none());
        assert_eq!(fs::metadata(place.dir.join(FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn each_step_may_be_the_last() {
        let home = tempfile::tempdir().unwrap();
        let (place, before) = made(home.path());
        let next = RootKey::random().unwrap();
        place.announce(&next).unwrap();
        // The file of the one before was overwritten, and then came the end.
        let zeros = vec![0; 300];
        fs::write(place.dir.join(FILE), &zeros).unwrap();
        assert!(found(&place).of(next.id).is_some());
        // Or its name was taken, and the descriptor not written.
        fs::rename(place.next_path(), place.dir.join(FILE)).unwrap();
        assert!(found(&place).of(next.id).is_some() && found(&place).of(before.id).is_none());
        place.settle(next.id).unwrap();
        assert!(Descriptor::read(&place.data).unwrap().unwrap().root.is(&next));
        // A leftover that nothing names is nothing.
        fs::write(place.next_path(), "x").unwrap();
        place.settle(next.id).unwrap();
        assert!(!place.next_path().exists());
    }

    #[test]
    fn a_link_stays_one_and_a_file_that_is_read_only_is_overwritten() {
        let home = tempfile::tempdir().unwrap();
        let (place, before) = made(home.path());
        let elsewhere = home.path().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let named = place.dir.join(FILE);
        fs::rename(&named, elsewhere.join(FILE)).unwrap();
        std::os::unix::fs::symlink(elsewhere.join(FILE), &named).unwrap();
        fs::set_permissions(&named, fs::Permissions::from_mode(0o400)).unwrap();
        let next = RootKey::random().unwrap();
        place.announce(&next).unwrap();
        assert!(!place.dir.join(NEXT).exists(), "it lies where the key lies");
        place.settle(next.id).unwrap();
        assert!(fs::symlink_metadata(&named).unwrap().is_symlink() && found(&place).of(next.id).is_some());
        assert_ne!(before.id, next.id);
    }
}
