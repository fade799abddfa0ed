//! `gotgan root`: the root key, for the platform's administrators. Splitting and joining it needs no server.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;
use zeroize::Zeroizing;

use super::admin::change;
use super::{CommandError, Reach, print};
use crate::home::Descriptor;
use crate::root::shares::{Share, join, split};
use crate::root::{NamedRoot, RootKey, RootPlace};

#[derive(Debug, Subcommand)]
pub(super) enum Root {
    /// Put another root key in the place of the one in use. All that it wraps is wrapped by the new one; tenant keys and
    /// objects stay as they are. Copies of the data that were made before then open only with a copy of the root key
    /// of then: make a new backup of both, and new shares.
    Replace {
        #[command(flatten)]
        reach: Reach,
    },
    /// Split the root key into shares, of which so many make it again: one file for each holder.
    Split {
        /// How many shares.
        #[arg(long, value_name = "N", default_value = "5")]
        shares: u8,
        /// How many of them make the key.
        #[arg(long, value_name = "K", default_value = "3")]
        threshold: u8,
        /// Folder for the files, which are not there yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        place: Place,
    },
    /// Try whether shares make the root key of a store, and change nothing: the drill.
    Drill {
        /// Files of shares.
        #[arg(required = true)]
        shares: Vec<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Make the root key of a store again from shares, where its file is gone.
    Restore {
        /// Files of shares.
        #[arg(required = true)]
        shares: Vec<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
}

/// Where a store and its root key lie, on this machine.
#[derive(Debug, Clone, Args)]
pub(super) struct Place {
    /// Data directory.
    #[arg(long, value_name = "DIR", env = "GOTGAN_DATA")]
    data: PathBuf,
    /// Directory of the root key; DIR.root beside the data when not given.
    #[arg(long, value_name = "DIR", env = "GOTGAN_ROOT_DIR")]
    root_dir: Option<PathBuf>,
    /// File of the passphrase that seals it.
    #[arg(long, value_name = "FILE", env = "GOTGAN_ROOT_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Place {
    fn place(&self) -> RootPlace {
        let beside = || {
            let mut name = self.data.file_name().unwrap_or_default().to_owned();
            name.push(".root");
            self.data.with_file_name(name)
        };
        let dir = self.root_dir.clone().unwrap_or_else(beside);
        RootPlace { dir, data: self.data.clone(), passphrase_file: self.passphrase_file.clone() }
    }

    fn descriptor(&self) -> Result<Descriptor, CommandError> {
        let none = || CommandError(format!("{} is no data directory of this version", self.data.display()));
        Descriptor::read(&self.data).map_err(CommandError::new)?.ok_or_else(none)
    }
}

pub(super) fn root(command: &Root) -> Result<(), CommandError> {
    match command {
        Root::Replace { reach } => {
            let columns = [("ROOT KEY BEFORE", "before"), ("ROOT KEY NOW", "after"), ("AT", "at")];
            change(reach, "POST", "/v1/root/replace", &Value::Null, &columns)
        }
        Root::Split { shares, threshold, out, place } => split_into(out, *shares, *threshold, place),
        Root::Drill { shares, place } => {
            let root = joined(shares, &place.descriptor()?)?;
            print(&format!(
                "these {} shares make the root key {} of this store: nothing was changed",
                shares.len(),
                root.id
            ))
        }
        Root::Restore { shares, place } => {
            let root = joined(shares, &place.descriptor()?)?;
            place.place().restore(&root).map_err(CommandError::new)?;
            print(&format!("the root key {} is in its place again", root.id))
        }
    }
}

fn split_into(out: &Path, shares: u8, threshold: u8, place: &Place) -> Result<(), CommandError> {
    let descriptor = place.descriptor()?;
    let found = place.place().find(&descriptor).map_err(CommandError::new)?;
    let root = found.of(descriptor.root.id).filter(|_| descriptor.next.is_none());
    let unsettled = "another root key is taking the place of this one: start the server once, and try again";
    let root = root.ok_or_else(|| CommandError(unsettled.to_owned()))?;
    let shares = split(root, &descriptor.installation, shares, threshold).map_err(CommandError::new)?;
    let failed = |path: &Path, e: std::io::Error| CommandError(format!("{}: {e}", path.display()));
    fs::create_dir_all(out).map_err(|e| failed(out, e))?;
    for share in &shares {
        let path = out.join(format!("{}-{:03}.share", root.id, share.number));
        // As long as it will be from the start: one that grew would leave a copy behind.
        let mut text = Zeroizing::new(Vec::with_capacity(1024));
        serde_json::to_writer_pretty(&mut *text, share).map_err(CommandError::new)?;
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = file.map_err(|e| failed(&path, e))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(|e| failed(&path, e))?;
        print(&path.display().to_string())?;
    }
    print(&format!(
        "{threshold} of these {} make the root key: give each to another person, keep none here, and run the drill",
        shares.len()
    ))
}

/// The key that shares make, if it is this store's.
fn joined(files: &[PathBuf], descriptor: &Descriptor) -> Result<RootKey, CommandError> {
    let mut shares: Vec<Share> = Vec::new();
    for path in files {
        let text = Zeroizing::new(fs::read(path).map_err(|e| CommandError(format!("{}: {e}", path.display())))?);
        let none = |_| CommandError(format!("{} is no share of a root key", path.display()));
        shares.push(serde_json::from_slice(&text).map_err(none)?);
    }
    let root = join(&shares).map_err(CommandError::new)?;
    let is = |named: &NamedRoot| named.is(&root);
    if is(&descriptor.root) || descriptor.next.as_ref().is_some_and(is) {
        return Ok(root);
    }
    Err(CommandError(match root.id == descriptor.root.id {
        true => "these shares make another key than the one of their name: they were changed".to_owned(),
        false => format!(
            "these shares are of the root key {}, and this store's is {}: it was replaced since, or is another store's",
            root.id, descriptor.root.id
        ),
    }))
}
