//! The root key: the sealed-file key provider of one machine. It lies outside the data directory,
//! as a key file with mode 0600 or sealed by a passphrase (Argon2id), and every other key hangs on it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use argon2::{Algorithm, Argon2, Params, Version};
use policy::id::{BucketId, KeyId, TenantId};
use serde::{Deserialize, Serialize};
use storage::dirs;
use zeroize::{Zeroize, Zeroizing};

use crate::seal::key::random;
use crate::seal::wrap::{WrapContext, unwrap, wrap};
use crate::seal::{SealError, SecretKey, Suite};

mod place;
pub mod shares;

pub use crate::home::NamedRoot;
pub use place::{Found, RootPlace};

/// Name of the key file in the root directory.
pub const FILE: &str = "root.key";
const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 3;

/// The root key could not be had. Nothing has been changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// There is no key file.
    #[error(
        "the root key file {0} is not there; without it nothing in this store can be opened: restore it from your backup"
    )]
    Missing(PathBuf),
    /// The file cannot be read or written.
    #[error("the root key file {path}: {source}; it must be a file that this user can read and write")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anybody may read it.
    #[error("the root key file {path} has mode {mode:o}; it must be 0600: run chmod 600 on it")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not a root key file.
    #[error("the root key file {0} is not one ({1}): restore it from your backup")]
    Malformed(PathBuf, String),
    /// It needs a passphrase and none was given.
    #[error("the root key file {0} is sealed by a passphrase: give root.passphrase_file")]
    PassphraseNeeded(PathBuf),
    /// The passphrase does not open it.
    #[error(
        "the passphrase does not open the root key file {0}: give the one that it was sealed with in root.passphrase_file"
    )]
    WrongPassphrase(PathBuf),
    /// Another root key than the one that this store was made with.
    #[error(
        "the root key file {0} holds another root key than this store was made with: restore the right one from your backup"
    )]
    WrongKey(PathBuf),
    /// The key directory would lie inside the data directory.
    #[error(
        "the root key would lie inside the data directory ({0}): a copy of the data would carry its key; choose root.dir elsewhere, or give --danger-root-key-inside-data"
    )]
    InsideData(PathBuf),
    /// Another root key may count already.
    #[error("{0} is of a root key that was taking the place of another: start the server again, which finishes that")]
    Unsettled(PathBuf),
    /// No randomness, or a cipher refused.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// The root key with its id.
#[derive(Debug, Clone)]
pub struct RootKey {
    /// Names the key in the store's descriptor and in every envelope under it.
    pub id: KeyId,
    /// The key.
    pub key: SecretKey,
}

/// The root key in use, which another may take the place of.
#[derive(Debug, Clone)]
pub struct RootInUse(Arc<RwLock<RootKey>>);

impl RootInUse {
    /// It begins with this one.
    #[must_use]
    pub fn new(root: RootKey) -> Self {
        Self(Arc::new(RwLock::new(root)))
    }

    /// The key.
    #[must_use]
    pub fn now(&self) -> RootKey {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is another; the one before is wiped when nobody uses it any more.
    pub fn replace(&self, root: RootKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = root;
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    format: u8,
    id: KeyId,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sealed: Option<Sealed>,
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    kdf: String,
    memory_kib: u32,
    passes: u32,
    salt: String,
    key: String,
}

impl RootKey {
    /// Makes a root key and writes it to `dir`, sealed when there is a passphrase.
    ///
    /// # Errors
    /// `Io` when the file cannot be made; a file that exists is never overwritten.
    pub fn create(dir: &Path, passphrase: Option<&[u8]>) -> Result<Self, RootError> {
        let root = Self::random()?;
        root.write(&dir.join(FILE), passphrase)?;
        Ok(root)
    }

    /// A root key that lies nowhere yet.
    ///
    /// # Errors
    /// `Random` without randomness.
    pub fn random() -> Result<Self, SealError> {
        Ok(Self { id: KeyId::from_bytes(random()?), key: SecretKey::random()? })
    }

    /// Writes it to a file that is not there yet.
    fn write(&self, path: &Path, passphrase: Option<&[u8]>) -> Result<(), RootError> {
        let file = match passphrase {
            None => KeyFile { format: 1, id: self.id, key: Some(hex::encode(self.key.expose())), sealed: None },
            Some(passphrase) => KeyFile { format: 1, id: self.id, key: None, sealed: Some(self.seal(passphrase)?) },
        };
        let io = |source| RootError::Io { path: path.to_owned(), source };
        let dir = path.parent().unwrap_or(Path::new("."));
        dirs::make(dir).map_err(io)?;
        let malformed = |e: serde_json::Error| RootError::Malformed(path.to_owned(), e.to_string());
        // As long as it will be from the start: one that grew would leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(1024));
        serde_json::to_writer_pretty(&mut *text, &file).map_err(malformed)?;
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        out.write_all(&text).and_then(|()| out.sync_all()).map_err(io)?;
        fs::File::open(dir).and_then(|d| d.sync_all()).map_err(io)
    }

    /// Reads the root key of `dir`.
    ///
    /// # Errors
    /// Each variant of [`RootError`] says what is wrong with it and what to do.
    pub fn load(dir: &Path, passphrase: Option<&[u8]>) -> Result<Self, RootError> {
        Self::load_file(&dir.join(FILE), passphrase)
    }

    fn load_file(path: &Path, passphrase: Option<&[u8]>) -> Result<Self, RootError> {
        let path = path.to_owned();
        let io = |source| RootError::Io { path: path.clone(), source };
        let bad = |why: &str| RootError::Malformed(path.clone(), why.to_owned());
        let meta = match fs::metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(RootError::Missing(path)),
            other => other.map_err(io)?,
        };
        let mode = meta.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(RootError::Mode { path, mode });
        }
        let text = Zeroizing::new(fs::read(&path).map_err(io)?);
        let file: KeyFile = serde_json::from_slice(&text).map_err(|e| bad(&e.to_string()))?;
        if file.format != 1 {
            return Err(bad("unknown format"));
        }
        match (&file.key, &file.sealed) {
            (Some(key), None) => {
                let bytes = Zeroizing::new(hex::decode(key).map_err(|e| bad(&e.to_string()))?);
                let key = bytes.as_slice().try_into().map_err(|_| bad("key is not 32 bytes"))?;
                Ok(Self { id: file.id, key: SecretKey::from_bytes(key) })
            }
            (None, Some(sealed)) => {
                let passphrase = passphrase.ok_or_else(|| RootError::PassphraseNeeded(path.clone()))?;
                Self::open(file.id, sealed, passphrase).map_err(|_| RootError::WrongPassphrase(path))
            }
            _ => Err(bad("it must hold either a key or a sealed key")),
        }
    }

    fn seal(&self, passphrase: &[u8]) -> Result<Sealed, RootError> {
        let salt = random::<32>()?;
        let outer = stretch(passphrase, &salt, MEMORY_KIB, PASSES)?;
        let key = wrap(Suite::Aes256Gcm, &outer, &self.file_context(), &self.key)?;
        Ok(Sealed {
            kdf: "argon2id".to_owned(),
            memory_kib: MEMORY_KIB,
            passes: PASSES,
            salt: hex::encode(salt),
            key: hex::encode(key),
        })
    }

    fn open(id: KeyId, sealed: &Sealed, passphrase: &[u8]) -> Result<Self, SealError> {
        const SHAPE: SealError = SealError::Malformed("root key file");
        let salt = hex::decode(&sealed.salt).map_err(|_| SHAPE)?;
        let bytes = hex::decode(&sealed.key).map_err(|_| SHAPE)?;
        let outer = stretch(passphrase, &salt, sealed.memory_kib.min(1 << 20), sealed.passes.min(32))?;
        let context = Self { id, key: SecretKey::from_bytes([0; 32]) }.file_context();
        let (_, key) = unwrap(&outer, &context, &bytes)?;
        Ok(Self { id, key })
    }

    fn file_context(&self) -> WrapContext {
        WrapContext {
            tenant: TenantId::from_bytes([0; 16]),
            bucket: BucketId::from_bytes([0; 16]),
            own: *self.id.as_bytes(),
            wrapping: [0; 16],
            wrapping_version: 0,
        }
    }

    /// A value that proves knowledge of the key without showing it; stands in the store's descriptor.
    #[must_use]
    pub fn check_value(&self) -> String {
        hex::encode(Suite::Aes256Gcm.derive(&self.key, "root-check", self.id.as_bytes()).expose())
    }

    /// Context of a key that the root wraps: `own` under this key, for `tenant`.
    #[must_use]
    pub fn context(&self, tenant: TenantId, own: [u8; 16]) -> WrapContext {
        WrapContext {
            tenant,
            bucket: BucketId::from_bytes([0; 16]),
            own,
            wrapping: *self.id.as_bytes(),
            wrapping_version: 1,
        }
    }
}

fn stretch(passphrase: &[u8], salt: &[u8], memory_kib: u32, passes: u32) -> Result<SecretKey, SealError> {
    let params = Params::new(memory_kib, passes, 1, Some(32)).map_err(|_| SealError::Malformed("argon2 parameters"))?;
    let mut out = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase, salt, &mut out)
        .map_err(|_| SealError::Malformed("argon2 input"))?;
    Ok(SecretKey::from_bytes(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_loads_again_and_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("r");
        let made = RootKey::create(&root, None).unwrap();
        let loaded = RootKey::load(&root, None).unwrap();
        assert_eq!((made.id, made.key.expose()), (loaded.id, loaded.key.expose()));
        assert!(RootKey::create(&root, None).is_err(), "never overwritten");
        fs::set_permissions(root.join(FILE), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(RootKey::load(&root, None), Err(RootError::Mode { .. })));
        fs::remove_file(root.join(FILE)).unwrap();
        assert!(matches!(RootKey::load(&root, None), Err(RootError::Missing(_))));
    }

    #[test]
    fn a_passphrase_seals_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = RootKey::create(dir.path(), Some(b"correct horse")).unwrap();
        assert!(!fs::read_to_string(dir.path().join(FILE)).unwrap().contains(&hex::encode(made.key.expose())));
        assert!(matches!(RootKey::load(dir.path(), None), Err(RootError::PassphraseNeeded(_))));
        assert!(matches!(RootKey::load(dir.path(), Some(b"wrong")), Err(RootError::WrongPassphrase(_))));
        let loaded = RootKey::load(dir.path(), Some(b"correct horse")).unwrap();
        assert_eq!(made.key.expose(), loaded.key.expose());
    }
}
