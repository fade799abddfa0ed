//! The folder of a machine: how it reaches the CA, what it shows to other machines, and whom it believes.
//!
//! | file | holds |
//! |---|---|
//! | `machine.json` | the CA's server, and the machine's credential there (mode 0600) |
//! | `machine.pem` | its key and its chain, in one file, so that they change together (mode 0600) |
//! | `ca.pem` | the root, as the invitation brought it |
//! | `revocations.pem` | certificates that count no longer |

use std::path::{Path, PathBuf};

use certs::files::write;
use certs::mutual::MachineFiles;
use certs::request::NewKey;
use certs::revocation::RevocationList;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use zeroize::{Zeroize, Zeroizing};

use super::CommandError;
use super::approval::{failed, text};
use super::client::Client;
use crate::bootstrap::Bootstrap;

const INVITATION: &str = "gotgan-machine-invitation/1";
const MACHINE: &str = "gotgan-machine/1";

/// What an administrator brings to a machine, or what the machine made of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Access {
    format: String,
    /// Its name.
    pub(super) machine: String,
    /// URL of the CA's admin API.
    pub(super) server: String,
    region: String,
    access_key_id: String,
    secret_access_key: String,
    /// The root's certificate (PEM).
    ca: String,
}

impl Drop for Access {
    fn drop(&mut self) {
        self.secret_access_key.zeroize();
    }
}

impl Access {
    /// The invitation in a server's answer.
    pub(super) fn invitation(answer: &Value, (server, region): (&str, &str)) -> Result<Self, CommandError> {
        let invitation = answer.get("invitation").unwrap_or(&Value::Null);
        Ok(Self {
            format: INVITATION.to_owned(),
            machine: text(answer, "name")?.to_owned(),
            server: server.to_owned(),
            region: region.to_owned(),
            access_key_id: text(invitation, "access_key_id")?.to_owned(),
            secret_access_key: text(invitation, "secret_access_key")?.to_owned(),
            ca: text(answer, "ca")?.to_owned(),
        })
    }

    pub(super) fn read(path: &Path) -> Result<Self, CommandError> {
        let content = Zeroizing::new(std::fs::read(path).map_err(failed(path))?);
        serde_json::from_slice(&content).map_err(|e| CommandError(format!("{}: {e}", path.display())))
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), CommandError> {
        // As long as it will be from the start: one that grew would leave a copy behind.
        let mut content = Zeroizing::new(Vec::with_capacity(16 << 10));
        serde_json::to_writer_pretty(&mut *content, self).map_err(CommandError::new)?;
        write(path, &content, 0o600).map_err(CommandError::new)
    }

    fn client(&self, ca: &Path) -> Result<Client, CommandError> {
        let bootstrap = Bootstrap {
            admin_endpoint: self.server.clone(),
            region: self.region.clone(),
            admin_access_key_id: self.access_key_id.clone(),
            admin_secret_access_key: self.secret_access_key.clone(),
            ..Bootstrap::default()
        };
        Client::of(bootstrap, Some(ca.to_owned()))
    }
}

/// The folder of a machine that has joined.
#[derive(Debug)]
pub(super) struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// The folder of a machine that has joined.
    pub(super) fn open(dir: &Path) -> Result<Self, CommandError> {
        let folder = Self { dir: dir.to_owned() };
        match folder.access_file().exists() {
            true => Ok(folder),
            false => Err(CommandError(format!("{} is no folder of a machine: gotgan certs join", dir.display()))),
        }
    }

    /// Exchanges an invitation for a credential that nobody else has seen, and asks for the first certificate.
    pub(super) fn join(dir: &Path, invitation: &Path, server: Option<&str>) -> Result<(Self, Value), CommandError> {
        let mut access = Access::read(invitation)?;
        if access.format != INVITATION {
            return Err(CommandError(format!("{} is no invitation of a machine", invitation.display())));
        }
        if std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(CommandError(format!("{} is not empty: a machine has a folder of its own", dir.display())));
        }
        if let Some(server) = server {
            server.clone_into(&mut access.server);
        }
        let folder = Self { dir: dir.to_owned() };
        write(&folder.anchors(), access.ca.as_bytes(), 0o644).map_err(CommandError::new)?;
        let answer = access.client(&folder.anchors())?.send("POST", "/v1/enrol", &Value::Null);
        let answer = answer.inspect_err(|_| folder.clear())?;
        access.secret_access_key.zeroize();
        access.secret_access_key = text(&answer, "secret_access_key")?.to_owned();
        access.access_key_id = text(&answer, "access_key_id")?.to_owned();
        access.format = MACHINE.to_owned();
        access.write(&folder.access_file())?;
        let issued = folder.renew()?;
        Ok((folder, issued))
    }

    /// Nothing came of it: the next try finds no folder that is not empty.
    fn clear(&self) {
        let _left = std::fs::remove_file(self.anchors()).and_then(|()| std::fs::remove_dir(&self.dir));
    }

    /// Makes another key, and asks for a certificate of it. Until both are there the ones of before serve.
    pub(super) fn renew(&self) -> Result<Value, CommandError> {
        let access = Access::read(&self.access_file())?;
        let key = NewKey::generate(&access.machine).map_err(CommandError::new)?;
        let client = access.client(&self.anchors())?;
        let answer = client.send("POST", "/v1/certificates", &json!({ "request": key.request }))?;
        let both = Zeroizing::new([key.secret().as_str(), text(&answer, "certificate")?].concat());
        write(&self.identity(), both.as_bytes(), 0o600).map_err(CommandError::new)?;
        self.keep_revocations(text(&answer, "revocations")?)?;
        Ok(answer)
    }

    /// Asks which certificates count no longer; how many those are.
    pub(super) fn refresh_revocations(&self) -> Result<usize, CommandError> {
        let client = Access::read(&self.access_file())?.client(&self.anchors())?;
        self.keep_revocations(&client.page("/v1/revocations")?)
    }

    /// A list that is older than the one that is there revives nothing.
    fn keep_revocations(&self, list: &str) -> Result<usize, CommandError> {
        let fresh = RevocationList::parse(list.as_bytes()).map_err(CommandError::new)?;
        let known = std::fs::read(self.revocations()).ok().and_then(|text| RevocationList::parse(&text).ok());
        if known.is_some_and(|known| fresh.number() < known.number()) {
            return Err(CommandError("the server gave an older list of revocations than before: not used".to_owned()));
        }
        write(&self.revocations(), list.as_bytes(), 0o644).map_err(CommandError::new)?;
        Ok(fresh.count())
    }

    /// What it shows and believes.
    pub(super) fn files(&self) -> MachineFiles {
        MachineFiles {
            certificate: self.identity(),
            key: self.identity(),
            anchors: self.anchors(),
            revocations: vec![self.revocations()],
        }
    }

    fn access_file(&self) -> PathBuf {
        self.dir.join("machine.json")
    }

    fn identity(&self) -> PathBuf {
        self.dir.join("machine.pem")
    }

    fn anchors(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    fn revocations(&self) -> PathBuf {
        self.dir.join("revocations.pem")
    }
}
