//! `gotgan certs`: machines of the platform and their certificates.

use std::path::{Path, PathBuf};

use certs::identity::certificates;
use certs::mutual::MachineFiles;
use certs::revocation::RevocationList;
use certs::role::Role;
use certs::trust::{Identity, Side, Trust};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin::{change, list};
use super::approval::failed;
use super::client::Client;
use super::key::confirmed;
use super::machine::{Access, Folder};
use super::table::render;
use super::{CommandError, Reach, approval, print};
use crate::admin::machines::Request;
use crate::admin::signing::escape;
use crate::clock::{now, rfc3339};

#[derive(Debug, Subcommand)]
pub(super) enum Certs {
    /// Invite a machine: what it is and where it stands is your word, not its own. The invitation is a file that you bring there;
    /// it is good once, for a week.
    Invite(Box<Invite>),
    /// Sign the enrolment of a machine that you invited, so that somebody else can vouch for it, too.
    Sign {
        /// Its id.
        id: String,
        /// Your approval key.
        #[arg(long, value_name = "FILE")]
        sign_with: PathBuf,
        #[command(flatten)]
        reach: Reach,
    },
    /// Vouch for what somebody else invited and signed: from the next certificate on, two persons say where it stands.
    Approve(approval::Approve),
    /// List machines.
    List {
        #[command(flatten)]
        reach: Reach,
    },
    /// End a machine: within a minute no other one speaks to it, and it is given no certificate any more.
    Revoke {
        /// Its id.
        id: String,
        /// The id once more, instead of typing it when asked.
        #[arg(long, value_name = "ID")]
        confirm: Option<String>,
        #[command(flatten)]
        reach: Reach,
    },
    /// On the machine: exchange its invitation for a credential and a first certificate.
    Join {
        /// The invitation.
        invitation: PathBuf,
        /// A folder for them, which is not there yet.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// URL of the admin API, where it is another than the one that the invitation names.
        #[arg(long, value_name = "URL")]
        server: Option<String>,
    },
    /// On the machine: ask for another certificate, and for the list of those that count no longer.
    Renew {
        /// Its folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// On the machine: ask for the list of certificates that count no longer.
    Refresh {
        /// Its folder.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
    },
    /// Show who a machine is, as its certificate proves, by its folder or by PEM files.
    Show {
        /// The folder of a machine, or a certificate with those above it (PEM).
        certificate: PathBuf,
        /// The root's certificate; that of the folder when not given.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// The list of certificates that count no longer; that of the folder when not given.
        #[arg(long, value_name = "FILE")]
        revocations: Option<PathBuf>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Invite {
    /// A name for people.
    name: String,
    /// What it is: `node` or `gateway`; may be given more than once.
    #[arg(long = "role", required = true, value_name = "ROLE")]
    roles: Vec<Role>,
    /// Country where it stands (ISO 3166-1, such as KR).
    #[arg(long)]
    country: String,
    /// Subdivision of that country (ISO 3166-2, such as KR-41).
    #[arg(long)]
    subdivision: Option<String>,
    /// Building.
    #[arg(long)]
    site: String,
    /// Rack in the building.
    #[arg(long)]
    rack: Option<String>,
    /// Who runs it.
    #[arg(long)]
    operator: Option<String>,
    /// A file for the invitation, which is not there yet.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    reach: Reach,
}

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "id"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("ROLES", "roles"),
    ("COUNTRY", "country"),
    ("SUBDIVISION", "subdivision"),
    ("SITE", "site"),
    ("RACK", "rack"),
    ("ASSURANCE", "assurance"),
    ("SIGNED BY", "signed_by"),
    ("CERTIFICATE ENDS", "ends"),
];
const ISSUED: &[(&str, &str)] =
    &[("MACHINE", "machine"), ("SERIAL", "serial"), ("ENDS", "ends"), ("RENEW AT", "renew_at")];
const SHOWN: &[(&str, &str)] = &[
    ("NAME", "name"),
    ("ROLES", "roles"),
    ("COUNTRY", "country"),
    ("SUBDIVISION", "subdivision"),
    ("SITE", "site"),
    ("RACK", "rack"),
    ("OPERATOR", "operator"),
    ("ASSURANCE", "assurance"),
    ("SERIAL", "serial"),
    ("ENDS", "ends"),
];

pub(super) fn certs(command: &Certs) -> Result<(), CommandError> {
    match command {
        Certs::Invite(invite) => invited(invite),
        Certs::Sign { id, sign_with, reach } => {
            approval::sign_asked(reach, ("machines", id), (sign_with, COLUMNS), |request: &Request| {
                request.id.to_string() == *id
            })
        }
        Certs::Approve(approve) => approve.run::<Request>(
            "machines",
            "From its next certificate on two persons vouch for where it stands",
            COLUMNS,
        ),
        Certs::List { reach } => list(reach, "/v1/machines", &[], "machines", COLUMNS),
        Certs::Revoke { id, confirm, reach } => {
            confirmed(id, confirm.as_deref(), "To end", "No other machine will speak to it, and it cannot come back")?;
            change(reach, "POST", &format!("/v1/machines/{}/revoke", escape(id)), &Value::Null, COLUMNS)
        }
        Certs::Join { invitation, dir, server } => {
            let (_, issued) = Folder::join(dir, invitation, server.as_deref())?;
            print(&render(ISSUED, &[issued]))
        }
        Certs::Renew { dir } => {
            let issued = Folder::open(dir)?.renew()?;
            print(&render(ISSUED, &[issued]))
        }
        Certs::Refresh { dir } => {
            let count = Folder::open(dir)?.refresh_revocations()?;
            print(&format!("certificates that count no longer: {count}"))
        }
        Certs::Show { certificate, ca, revocations, json } => {
            show(certificate, ca.as_deref(), revocations.as_deref(), *json)
        }
    }
}

fn invited(invite: &Invite) -> Result<(), CommandError> {
    if invite.out.exists() {
        return Err(CommandError(format!("{} is there already", invite.out.display())));
    }
    let client = Client::new(&invite.reach)?;
    let body = json!({
        "name": invite.name,
        "roles": invite.roles,
        "country": invite.country,
        "subdivision": invite.subdivision,
        "site": invite.site,
        "rack": invite.rack,
        "operator": invite.operator,
    });
    let answer = client.send("POST", "/v1/machines", &body)?;
    Access::invitation(&answer, client.server())?.write(&invite.out)?;
    if invite.reach.json {
        let mut answer = answer;
        // It is in the file, and nowhere else.
        answer.as_object_mut().map(|fields| fields.remove("invitation"));
        return print(&answer.to_string());
    }
    print(&render(COLUMNS, &[answer]))?;
    print(&format!(
        "\nThe invitation is in {}: bring it to the machine, and there: gotgan certs join FILE --dir DIR",
        invite.out.display()
    ))
}

/// What certificates prove, verified now.
fn show(path: &Path, ca: Option<&Path>, list: Option<&Path>, json: bool) -> Result<(), CommandError> {
    let files = match path.is_dir() {
        true => Some(Folder::open(path)?.files()),
        false => None,
    };
    let MachineFiles { certificate, anchors, revocations, .. } = files.unwrap_or_else(|| MachineFiles {
        certificate: path.to_owned(),
        key: path.to_owned(),
        anchors: PathBuf::new(),
        revocations: Vec::new(),
    });
    let (anchors, list) = (ca.unwrap_or(&anchors), list.or(revocations.first().map(PathBuf::as_path)));
    if anchors.as_os_str().is_empty() {
        return Err(CommandError("whom to believe? give the root's certificate by --ca FILE".to_owned()));
    }
    let read = |path: &Path| std::fs::read(path).map_err(failed(path));
    let mut trust = Trust::new(&read(anchors)?).map_err(CommandError::new)?;
    if let Some(list) = list {
        let list = RevocationList::parse(&read(list)?).map_err(CommandError::new)?;
        trust = trust.with_revocations(vec![list]);
    }
    let chain = certificates(&read(&certificate)?).map_err(CommandError)?;
    let identity = trust.identify(&chain, Side::Server, now()).map_err(CommandError::new)?;
    let shown = of_identity(&identity);
    if json { print(&shown.to_string()) } else { print(&render(SHOWN, &[shown])) }
}

fn of_identity(identity: &Identity) -> Value {
    let place = identity.place.place();
    json!({
        "name": identity.name,
        "roles": identity.roles,
        "country": place.map(|place| place.country),
        "subdivision": place.map(|place| &place.subdivision),
        "site": place.map(|place| &place.site),
        "rack": place.map(|place| &place.rack),
        "operator": place.map(|place| &place.operator),
        "assurance": place.map(|place| place.assurance),
        "serial": identity.serial,
        "certificate_sha256": hex::encode(identity.certificate),
        "ends": rfc3339(identity.validity.not_after),
    })
}
