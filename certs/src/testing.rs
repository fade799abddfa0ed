//! An installation's CAs and machines in a folder, for tests.

use std::path::PathBuf;
use std::time::Duration;

use policy::place::{Assurance, Country, Place};
use policy::time::UtcMillis;

use crate::authority::{Authority, Machine, ROOT_DAYS};
use crate::files::write;
use crate::mutual::MachineFiles;
use crate::revocation::Revoked;
use crate::role::Role;
use crate::validity::Validity;

pub(crate) const NOW: UtcMillis = UtcMillis(1_795_000_000_000);
pub(crate) const DAY: u64 = 86_400_000;

pub(crate) fn days(days: u64) -> Validity {
    Validity::begun(NOW, Duration::from_millis(days * DAY))
}

pub(crate) fn later(millis: u64) -> UtcMillis {
    UtcMillis(NOW.0 + millis)
}

pub(crate) fn in_country(country: &str) -> Place {
    Place {
        country: country.parse().unwrap(),
        subdivision: None,
        site: Some("pangyo-1".to_owned()),
        rack: None,
        operator: None,
        assurance: Assurance::SelfDeclared,
    }
}

#[derive(Debug)]
pub(crate) struct Installation {
    dir: tempfile::TempDir,
    pub(crate) root: Authority,
    pub(crate) issuer: Authority,
}

impl Installation {
    pub(crate) fn new() -> Self {
        Self::living(days(ROOT_DAYS), days(400))
    }

    pub(crate) fn living(root: Validity, issuer: Validity) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let root = Authority::create(&at("ca.pem"), &at("ca.key"), root).unwrap();
        let files = (at("issuer.pem"), at("issuer.key"));
        let countries = [Country::KR].into();
        let issuer = root.issue_intermediate(&countries, issuer, (&files.0, &files.1)).unwrap();
        Self { dir, root, issuer }
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A machine whose files are NAME.pem and NAME.key; its serial number.
    pub(crate) fn machine(&self, name: &str, roles: &[Role], place: Option<&Place>, life: Validity) -> String {
        let roles = roles.iter().copied().collect();
        let files = (self.at(&format!("{name}.pem")), self.at(&format!("{name}.key")));
        let machine = Machine { name, roles: &roles, place };
        self.issuer.issue_own(&machine, life, (&files.0, &files.1)).unwrap().serial
    }

    /// Writes crl.pem.
    pub(crate) fn revoke(&self, serials: &[&str], number: u64, fresh: Validity) {
        let revoked: Vec<Revoked> =
            serials.iter().map(|serial| Revoked { serial: (*serial).to_owned(), at: NOW }).collect();
        let list = self.issuer.revoke(&revoked, number, fresh).unwrap();
        write(&self.at("crl.pem"), list.as_bytes(), 0o644).unwrap();
    }

    pub(crate) fn files(&self, name: &str) -> MachineFiles {
        MachineFiles {
            certificate: self.at(&format!("{name}.pem")),
            key: self.at(&format!("{name}.key")),
            anchors: self.at("ca.pem"),
            revocations: vec![self.at("crl.pem")],
        }
    }
}
