//! The root key as it lies on disk, and the steps by which another takes its place. The catalog decides which of the two
//! counts: its row of the platform's key names one. So each step may be the last before a crash:
//!
//! 1. the next key is written beside the one in use, and the descriptor names it as the next;
//! 2. the catalog commits all that the next one wraps;
//! 3. the file of the one before is overwritten, the next takes its name, and the descriptor names no other.

use std::fs;
use std::io::Write;
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

    fn is(&self, root: &RootKey) -> bool {
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
        let beside = RootKey::load_file(&self.dir.join(NEXT), passphrase);
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
        self.remove_next()?;
        next.write(&self.dir.join(NEXT), passphrase.as_ref().map(|p| p.as_slice()))?;
        let mut descriptor = Descriptor::read(&self.data)?.ok_or_else(|| HomeError::Foreign(self.data.clone()))?;
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
            if self.dir.join(NEXT).exists() {
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
        let path = self.dir.join(FILE);
        let io = |source| RootError::Io { path: path.clone(), source };
        if let Ok(mut before) = fs::OpenOptions::new().write(true).open(&path) {
            let length = before.metadata().map_err(io)?.len();
            let zeros = vec![0; usize::try_from(length).unwrap_or(0)];
            before.write_all(&zeros).and_then(|()| before.sync_all()).map_err(io)?;
        }
        fs::rename(self.dir.join(NEXT), &path).map_err(io)?;
        sync(&self.dir).map_err(io)
    }

    fn remove_next(&self) -> Result<(), HomeError> {
        let path = self.dir.join(NEXT);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => {
                other.and_then(|()| sync(&self.dir)).map_err(|source| RootError::Io { path, source })?;
                Ok(())
            }
        }
    }
}

fn sync(dir: &Path) -> std::io::Result<()> {
    dirs::make(dir)?;
    fs::File::open(dir).and_then(|dir| dir.sync_all())
}
