//! Machines of the platform: what each was enrolled as, and the certificates that it holds.

use certs::role::Roles;
use policy::id::PrincipalId;
use policy::place::{Assurance, Place};
use policy::time::UtcMillis;
use serde::{Deserialize, Serialize};
use storage::catalog::ControlKind;

use super::ControlRow;
use crate::approval::Asked;

/// A machine. What it may be spoken to as, and where it stands, comes from here and never from the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineRow {
    /// Whom it asks as.
    pub principal: PrincipalId,
    /// Its name, for people.
    pub name: String,
    /// What it is.
    pub roles: Roles,
    /// Where it stands, as whoever invited it says.
    pub place: Place,
    /// The enrolment, and who signed it.
    #[serde(flatten)]
    pub asked: Asked,
    /// When a second person had signed it.
    pub approved: Option<UtcMillis>,
    /// Certificates that may hold somewhere, or ended since the last one was issued.
    pub certificates: Vec<MachineCertificate>,
    /// It counts no longer, since then.
    pub revoked: Option<UtcMillis>,
}

/// A certificate of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineCertificate {
    /// Its serial number, in hex.
    pub serial: String,
    /// When it was issued.
    pub issued: UtcMillis,
    /// When it ends.
    pub ends: UtcMillis,
}

/// Clocks of machines may be behind by this (milliseconds): two hours.
const BEHIND: u64 = 2 * 3600 * 1000;

impl MachineCertificate {
    /// Whether a machine whose clock is behind may take it for one that holds.
    #[must_use]
    pub const fn may_hold(&self, now: UtcMillis) -> bool {
        now.0 < self.ends.0.saturating_add(BEHIND)
    }
}

impl MachineRow {
    /// Where it stands, and how well that is known (SECURITY.md rule 23).
    #[must_use]
    pub fn claim(&self) -> Place {
        let assurance = if self.approved.is_some() { Assurance::EnrolledByTwo } else { Assurance::SelfDeclared };
        Place { assurance, ..self.place.clone() }
    }

    /// The certificate that ends last.
    #[must_use]
    pub fn latest(&self) -> Option<&MachineCertificate> {
        self.certificates.iter().max_by_key(|certificate| certificate.ends)
    }

    /// Its state for people, at a time.
    #[must_use]
    pub fn state_at(&self, now: UtcMillis) -> &'static str {
        match (self.revoked, self.latest()) {
            (Some(_), _) => "revoked",
            (None, None) => "invited",
            (None, Some(latest)) if latest.ends <= now => "away",
            (None, Some(_)) => "enrolled",
        }
    }
}

impl ControlRow for MachineRow {
    const KIND: ControlKind = ControlKind::Machine;
    fn id(&self) -> Vec<u8> {
        self.principal.as_bytes().to_vec()
    }
}
