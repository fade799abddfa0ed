//! The data directory: what lies where, and the descriptor that says which root key it belongs to.
//! The key is checked before anything else is opened, so a wrong one changes nothing.

use std::fs;
use std::path::{Path, PathBuf};

use certs::files::{CertError, write};
use policy::id::KeyId;
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::dirs;

use crate::config::{Config, ConfigError, real, some};
use crate::root::{self, Found, RootError, RootPlace};
use crate::seal::key::random;

const DESCRIPTOR: &str = "gotgan.json";

/// The directory cannot be used. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The root key.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A file.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file that is written whole.
    #[error(transparent)]
    File(#[from] CertError),
    /// There is something else in it.
    #[error("{0} is not empty and holds no {DESCRIPTOR}: it is not a Gotgan data directory; choose another one")]
    Foreign(PathBuf),
    /// A database was there and is not any more.
    #[error("{0} is gone: is a disk not mounted, or was only a part restored? Nothing was changed")]
    Lost(PathBuf),
    /// The descriptor makes no sense.
    #[error("{path}: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Layout of the directory and of the rows in it. 2: tenant keys have names and versions. 3: bucket keys have versions
/// that rotate, and list values name theirs. 4: buckets name the keys that they hung on, and records the reason.
/// What a null cipher wrote is no store: no other build opens it.
pub(crate) const LAYOUT: u32 = if cfg!(feature = "null-cipher") { u32::MAX } else { 4 };

/// A root key as the descriptor names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedRoot {
    /// Its id.
    pub id: KeyId,
    /// Proves it without showing it.
    pub check: String,
}

/// What is read first.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

/// What the data directory says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Descriptor {
    /// Layout of the directory.
    pub format: u32,
    /// Names this installation.
    pub installation: String,
    /// The root key in use.
    pub root: NamedRoot,
    /// The one that is taking its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NamedRoot>,
    /// When it was made.
    pub created: UtcMillis,
}

/// A data directory whose root key is at hand.
#[derive(Debug)]
pub struct Home {
    dir: PathBuf,
    root_dir: PathBuf,
    /// What it says of itself.
    pub descriptor: Descriptor,
    /// Where its root key lies.
    pub place: RootPlace,
    /// The root keys that are there: one, but after a crash while another took its place.
    pub roots: Found,
    /// Made by this very start.
    pub fresh: bool,
}

impl Home {
    /// Opens the data directory, or makes it together with its root key.
    ///
    /// # Errors
    /// [`HomeError`] says what is wrong and what to do.
    pub fn open(config: &Config, now: UtcMillis) -> Result<Self, HomeError> {
        let dir = config.data_dir()?;
        let root_dir = config.root_dir()?;
        if inside(&root_dir, &dir) && !config.danger.root_key_inside_data {
            return Err(RootError::InsideData(root_dir).into());
        }
        let passphrase_file = some(&config.root.passphrase_file).map(PathBuf::from);
        let place = RootPlace { dir: root_dir.clone(), data: dir.clone(), passphrase_file };
        if let Some(descriptor) = Descriptor::read(&dir)? {
            let roots = place.find(&descriptor)?;
            let home = Self { dir, root_dir, descriptor, place, roots, fresh: false };
            home.whole()?;
            return Ok(home);
        }
        if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(HomeError::Foreign(dir));
        }
        let root = place.first()?;
        let descriptor = Descriptor {
            format: LAYOUT,
            installation: hex::encode(random::<16>().map_err(RootError::Seal)?),
            root: NamedRoot::of(&root),
            next: None,
            created: now,
        };
        descriptor.write(&dir)?;
        let certificates = dir.join("certs");
        dirs::make(&certificates).map_err(|source| HomeError::Io { path: certificates, source })?;
        let roots = Found { current: Some(root), next: None };
        Ok(Self { dir, root_dir, descriptor, place, roots, fresh: true })
    }

    /// Databases are made by the first start only, the catalog first and `bootstrap.json` last: one that is missing
    /// where later steps were taken is lost, and must not be made anew in silence.
    fn whole(&self) -> Result<(), HomeError> {
        let is_there = |database: &Path| database.join("CURRENT").exists();
        let [meta, index] = [self.meta(), self.store().join("index")];
        let begun = self.bootstrap().exists();
        if !is_there(&meta) && (begun || is_there(&index)) {
            return Err(HomeError::Lost(meta));
        }
        if !is_there(&index) && begun {
            return Err(HomeError::Lost(index));
        }
        Ok(())
    }

    /// The catalog's database.
    #[must_use]
    pub fn meta(&self) -> PathBuf {
        self.dir.join("meta")
    }

    /// The chunk store of the one disk.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// A file of certificates.
    #[must_use]
    pub fn certificate(&self, name: &str) -> PathBuf {
        self.dir.join("certs").join(name)
    }

    /// The CA's private key, which lies beside the root key and not in the data.
    #[must_use]
    pub fn ca_key(&self) -> PathBuf {
        self.root_dir.join("ca.key")
    }

    /// The CA's certificate as it was made: what is believed of it, whatever lies in the data.
    #[must_use]
    pub fn anchor(&self) -> PathBuf {
        self.root_dir.join("ca.pem")
    }

    /// Certificate and key of the intermediate that signs day by day.
    #[must_use]
    pub fn issuer(&self) -> [PathBuf; 2] {
        ["issuer.pem", "issuer.key"].map(|name| self.root_dir.join(name))
    }

    /// What this node was enrolled as. Whoever writes the data directory cannot write it.
    #[must_use]
    pub fn enrolment(&self) -> PathBuf {
        self.root_dir.join("node.json")
    }

    /// What the first person needs.
    #[must_use]
    pub fn bootstrap(&self) -> PathBuf {
        self.dir.join("bootstrap.json")
    }
}

/// Whether the root key lies, or would lie, in the data directory, whatever the paths look like.
fn inside(root_dir: &Path, data: &Path) -> bool {
    let data = real(data);
    [root_dir.to_path_buf(), root_dir.join(root::FILE)].iter().any(|path| real(path).starts_with(&data))
}

impl Descriptor {
    /// That of a data directory, if it is one.
    ///
    /// # Errors
    /// `Io`, or `Malformed` for another layout.
    pub fn read(dir: &Path) -> Result<Option<Self>, HomeError> {
        let path = dir.join(DESCRIPTOR);
        let text = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|source| HomeError::Io { path: path.clone(), source })?,
        };
        let malformed = |why: String| HomeError::Malformed { path: path.clone(), why };
        let Format { format } = serde_json::from_slice(&text).map_err(|e| malformed(e.to_string()))?;
        if format != LAYOUT {
            let why =
                format!("layout {format} is not the one of this version, {LAYOUT}: use the version that wrote it");
            return Err(malformed(why));
        }
        serde_json::from_slice(&text).map(Some).map_err(|e| malformed(e.to_string()))
    }

    /// Writes it in one step.
    ///
    /// # Errors
    /// `Io`.
    pub fn write(&self, dir: &Path) -> Result<(), HomeError> {
        let path = dir.join(DESCRIPTOR);
        let malformed = |e: serde_json::Error| HomeError::Malformed { path: path.clone(), why: e.to_string() };
        write_private(&path, &serde_json::to_vec_pretty(self).map_err(malformed)?)
    }
}

/// Writes a file with mode 0600 in one step: whole or not at all.
///
/// # Errors
/// `Io`.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), HomeError> {
    write(path, content, 0o600).map_err(HomeError::File)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root::RootKey;

    fn config(data: &Path) -> Config {
        Config { data: data.display().to_string(), ..Config::default() }
    }

    #[test]
    fn a_directory_keeps_its_root_key() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("d");
        let first = Home::open(&config(&data), UtcMillis(1)).unwrap();
        assert!(first.fresh);
        let again = Home::open(&config(&data), UtcMillis(2)).unwrap();
        assert!(!again.fresh && again.descriptor.installation == first.descriptor.installation);
        let key = place.path().join("d.root/root.key");
        fs::remove_file(&key).unwrap();
        assert!(matches!(Home::open(&config(&data), UtcMillis(3)), Err(HomeError::Root(RootError::Missing(_)))));
        assert!(!key.exists(), "no second key is made in silence");
        RootKey::create(key.parent().unwrap(), None).unwrap();
        assert!(matches!(Home::open(&config(&data), UtcMillis(3)), Err(HomeError::Root(RootError::WrongKey(_)))));
    }

    #[test]
    fn a_database_that_is_lost_is_not_made_anew() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("d");
        let home = Home::open(&config(&data), UtcMillis(1)).unwrap();
        let open = || Home::open(&config(&data), UtcMillis(2));
        // As each step of a first start that was cut off leaves it.
        assert!(open().is_ok());
        let make = |database: PathBuf| {
            fs::create_dir_all(&database).unwrap();
            fs::write(database.join("CURRENT"), "").unwrap();
        };
        make(home.meta());
        assert!(open().is_ok());
        make(home.store().join("index"));
        assert!(open().is_ok());
        fs::write(home.bootstrap(), "{}").unwrap();
        assert!(open().is_ok());
        for database in [home.meta(), home.store().join("index")] {
            fs::remove_dir_all(&database).unwrap();
            assert!(matches!(open(), Err(HomeError::Lost(lost)) if lost == database));
            assert!(!database.exists());
            make(database);
        }
        fs::remove_file(home.bootstrap()).unwrap();
        fs::remove_dir_all(home.meta()).unwrap();
        assert!(matches!(open(), Err(HomeError::Lost(_))), "the store was made after the catalog");
    }

    #[test]
    fn foreign_directories_and_keys_inside_are_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("mine.txt"), "x").unwrap();
        assert!(matches!(Home::open(&config(place.path()), UtcMillis(1)), Err(HomeError::Foreign(_))));
        let data = place.path().join("new");
        let mut inside = config(&data);
        inside.root.dir = data.join("keys").display().to_string();
        assert!(matches!(Home::open(&inside, UtcMillis(1)), Err(HomeError::Root(RootError::InsideData(_)))));
        assert!(!data.exists());
        inside.danger.root_key_inside_data = true;
        assert!(Home::open(&inside, UtcMillis(1)).unwrap().fresh);
        inside.danger.root_key_inside_data = false;
        assert!(
            matches!(Home::open(&inside, UtcMillis(2)), Err(HomeError::Root(RootError::InsideData(_)))),
            "the flag is asked for at each start"
        );
    }

    #[test]
    fn a_key_inside_is_found_by_any_path() {
        let refused = |config: &Config| {
            matches!(Home::open(config, UtcMillis(1)), Err(HomeError::Root(RootError::InsideData(_))))
        };
        let place = tempfile::tempdir().unwrap();
        let real = place.path().join("real");
        fs::create_dir(&real).unwrap();
        let link = place.path().join("link");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut by_link = config(&link);
        for inside in [real.join("keys"), place.path().join("real/../link/a/../keys"), link.join("keys")] {
            by_link.root.dir = inside.display().to_string();
            assert!(refused(&by_link), "{}", inside.display());
        }
        assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
        // The file itself may be a link to a key inside.
        by_link.root.dir = place.path().join("keys").display().to_string();
        assert!(Home::open(&by_link, UtcMillis(1)).unwrap().fresh);
        fs::rename(place.path().join("keys/root.key"), real.join("root.key")).unwrap();
        std::os::unix::fs::symlink(real.join("root.key"), place.path().join("keys/root.key")).unwrap();
        assert!(refused(&by_link));
    }
}
