//! This node's identity: issued at the first start, renewed day by day, and for another place only when somebody says so. A
//! certificate that is gone or does not verify is an unknown place, not a reason to make one.

use std::path::PathBuf;
use std::sync::Arc;

use certs::authority::{MACHINE_LIFE, Machine};
use certs::files::{CertError, write};
use certs::identity::{IdentityFiles, NodeIdentity};
use certs::role::{Role, Roles};
use certs::validity::Validity;
use policy::place::{Assurance, Country, ParsePlaceError, Place};
use policy::time::UtcMillis;

use crate::authorities::Authorities;
use crate::config::{Node, some};
use crate::home::Home;

const NO_PLACE: &str = "none";

/// The identity cannot be issued.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A certificate or key file.
    #[error(transparent)]
    Cert(#[from] CertError),
    /// A code is none.
    #[error("node: {0}")]
    Place(#[from] ParsePlaceError),
    /// What the node was enrolled as makes no sense.
    #[error("{path}: {why}")]
    Enrolment {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// The node's identity, and what was done to have it.
#[derive(Debug)]
pub struct Issued {
    /// What it proves.
    pub identity: NodeIdentity,
    /// What happened, for the record; none when it was there and good.
    pub event: Option<String>,
    /// Why the next one, which is due, is not had yet.
    pub failed: Option<NodeError>,
}

impl Issued {
    pub(crate) const fn known(identity: NodeIdentity) -> Self {
        Self { identity, event: None, failed: None }
    }
}

/// The identity of this process, and how it comes by the next one.
#[derive(Debug, Clone)]
pub struct OwnIdentity {
    /// Where it lies: whoever writes the data directory writes all but the anchor.
    pub files: IdentityFiles,
    authorities: Arc<Authorities>,
    enrolment: PathBuf,
    name: String,
}

impl OwnIdentity {
    /// That of an installation.
    #[must_use]
    pub fn of(home: &Home, authorities: &Arc<Authorities>) -> Self {
        let [certificate, key, ca] = ["node.pem", "node.key", "ca.pem"].map(|name| home.certificate(name));
        Self {
            files: IdentityFiles { certificate, key, ca, anchor: home.anchor() },
            authorities: Arc::clone(authorities),
            enrolment: home.enrolment(),
            name: format!("node of {}", home.descriptor.installation),
        }
    }

    /// The CAs that sign it.
    #[must_use]
    pub const fn authorities(&self) -> &Arc<Authorities> {
        &self.authorities
    }

    /// Verifies the identity, after issuing it where that is due.
    ///
    /// # Errors
    /// [`NodeError`].
    pub fn open(&self, wanted: &Node, home: &Home, now: UtcMillis) -> Result<Issued, NodeError> {
        let current = self.verify(now)?;
        if !self.files.ca.exists() && !home.ca_key().exists() {
            self.authorities.create(now)?;
            return self.issue(claimed(wanted)?, "the CA was made", now);
        }
        if said(wanted) {
            let wanted = claimed(wanted)?;
            if wanted.as_ref() != current.place.place() {
                return self.issue(wanted, "another place was declared", now);
            }
        }
        self.renewed(current, now)
    }

    /// Verifies the identity, and renews one that is about to end or has ended. It asks the disk.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub fn look(&self, now: UtcMillis) -> Result<Issued, NodeError> {
        let current = self.verify(now)?;
        self.renewed(current, now)
    }

    /// What it proves.
    ///
    /// # Errors
    /// `Enrolment` when nobody can say what the node was enrolled as.
    pub fn verify(&self, now: UtcMillis) -> Result<NodeIdentity, NodeError> {
        let found = self.files.verify(now);
        // A certificate of before could be put back by whoever writes the data directory.
        Ok(match self.enrolled()? {
            Some(place) if found.reason.is_none() && found.place.place() != place.as_ref() => {
                NodeIdentity::unknown("the certificate says another place than the node was enrolled for")
            }
            _ => found,
        })
    }

    fn renewed(&self, current: NodeIdentity, now: UtcMillis) -> Result<Issued, NodeError> {
        if current.reason.is_none() && now < current.due {
            return Ok(Issued::known(current));
        }
        let (then, reason) = match current.reason {
            None => (current, "it was about to end"),
            Some(_) => match self.files.own_validity().filter(|own| !own.holds(now)) {
                // As it was when it held: nothing but its end is wrong with it.
                Some(own) => (self.verify(own.not_after)?, "it had ended"),
                None => return Ok(Issued::known(current)),
            },
        };
        let Some(place) = then.place.place().cloned() else {
            return Ok(Issued::known(self.verify(now)?));
        };
        // It serves while it holds.
        match self.issue(Some(place), reason, now) {
            Ok(issued) => Ok(issued),
            Err(error) => Ok(Issued { failed: Some(error), ..Issued::known(self.verify(now)?) }),
        }
    }

    fn issue(&self, place: Option<Place>, reason: &str, now: UtcMillis) -> Result<Issued, NodeError> {
        let authority = self.authorities.issuer(place.as_ref().map(|place| place.country), now)?;
        let IdentityFiles { certificate, key, ca, .. } = &self.files;
        write(ca, self.authorities.anchors()?.as_bytes(), 0o644)?;
        let record = serde_json::to_vec_pretty(&place).map_err(|e| self.malformed(e))?;
        write(&self.enrolment, &record, 0o600)?;
        let roles: Roles = Role::ALL.into();
        let machine = Machine { name: &self.name, roles: &roles, place: place.as_ref() };
        authority.issue_own(&machine, Validity::begun(now, MACHINE_LIFE), (certificate, key))?;
        let identity = self.verify(now)?;
        let event = format!("identity {} issued because {reason}: {}", identity.serial, describe(&identity));
        Ok(Issued { event: Some(event), ..Issued::known(identity) })
    }

    /// What the node was enrolled as; none in an installation of before, until its next certificate.
    fn enrolled(&self) -> Result<Option<Option<Place>>, NodeError> {
        match std::fs::read(&self.enrolment) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| self.malformed(e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CertError::Io { path: self.enrolment.clone(), source }.into()),
        }
    }

    fn malformed(&self, why: impl ToString) -> NodeError {
        NodeError::Enrolment { path: self.enrolment.clone(), why: why.to_string() }
    }
}

/// A place for people.
#[must_use]
pub fn describe(identity: &NodeIdentity) -> String {
    let Some(place) = identity.place.place() else {
        return format!("no place ({})", identity.reason.as_deref().unwrap_or("the identity makes no claim"));
    };
    let parts = [
        Some(place.country.to_string()),
        place.subdivision.as_ref().map(ToString::to_string),
        place.site.clone(),
        place.rack.clone(),
    ];
    let mut text = parts.into_iter().flatten().collect::<Vec<_>>().join(" / ");
    if place.assurance == Assurance::SelfDeclared {
        text.push_str(", self-declared");
    }
    text
}

fn said(wanted: &Node) -> bool {
    *wanted != Node::default()
}

fn claimed(wanted: &Node) -> Result<Option<Place>, NodeError> {
    if wanted.country == NO_PLACE {
        return Ok(None);
    }
    let country = some(&wanted.country).map_or(Ok(Country::KR), str::parse)?;
    let subdivision = match some(&wanted.subdivision) {
        Some(code) => Some(code.parse()?),
        None if country == Country::KR => Some("KR-41".parse()?),
        None => None,
    };
    let text = |t: &str| some(t).map(str::to_owned);
    Ok(Some(Place {
        country,
        subdivision,
        site: text(&wanted.site),
        rack: text(&wanted.rack),
        operator: text(&wanted.operator),
        assurance: Assurance::SelfDeclared,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const DAY: u64 = 24 * 3_600_000;

    struct Case {
        _dir: tempfile::TempDir,
        home: Home,
        own: OwnIdentity,
        now: UtcMillis,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let config = Config { data: dir.path().join("d").display().to_string(), ..Config::default() };
            let home = Home::open(&config, UtcMillis(1)).unwrap();
            let own = OwnIdentity::of(&home, &Authorities::of(&home));
            Self { _dir: dir, home, own, now: crate::clock::now() }
        }

        fn of(&self, node: &Node) -> Result<Issued, NodeError> {
            self.own.open(node, &self.home, self.now)
        }

        fn kept(&self) -> [Vec<u8>; 3] {
            let IdentityFiles { certificate, key, ca, .. } = &self.own.files;
            [certificate, key, ca].map(|path| std::fs::read(path).unwrap())
        }
    }

    fn in_country(country: &str) -> Node {
        Node { country: country.to_owned(), ..Node::default() }
    }

    #[test]
    fn identities_change_only_when_somebody_says_so() {
        let case = Case::new();
        let of = |node: &Node| case.of(node).unwrap();
        let first = of(&Node::default());
        assert!(first.event.is_some() && describe(&first.identity).starts_with("KR / KR-41"));
        assert_eq!(of(&Node::default()).event, None);
        let japan = of(&in_country("JP"));
        assert_eq!(japan.identity.place.place().unwrap().country.as_str(), "JP");
        assert_eq!(of(&Node::default()).identity, japan.identity, "it stays what it was");
        assert!(of(&in_country("none")).identity.place.place().is_none());
        std::fs::remove_file(case.home.certificate("node.pem")).unwrap();
        let gone = of(&Node::default());
        assert!(gone.event.is_none() && gone.identity.place.place().is_none(), "not made again in silence");
        assert!(of(&in_country("KR")).identity.place.place().is_some());
    }

    #[test]
    fn what_others_signed_or_was_before_is_no_identity() {
        let case = Case::new();
        let japan = case.of(&in_country("JP")).unwrap();
        let before = case.kept();
        assert!(case.of(&in_country("KR")).unwrap().identity.place.place().is_some());
        let files = &case.own.files;
        for (path, content) in [&files.certificate, &files.key, &files.ca].into_iter().zip(before) {
            std::fs::write(path, content).unwrap();
        }
        let back = case.of(&Node::default()).unwrap();
        assert!(back.event.is_none() && back.identity.place.place().is_none(), "put back: {back:?}");
        assert_ne!(back.identity, japan.identity);
        let other = Case::new();
        other.of(&Node::default()).unwrap();
        for (path, content) in [&files.certificate, &files.key, &files.ca].into_iter().zip(other.kept()) {
            std::fs::write(path, content).unwrap();
        }
        let foreign = case.of(&Node::default()).unwrap();
        assert!(foreign.event.is_none() && foreign.identity.place.place().is_none(), "signed by another CA");
        assert!(case.of(&in_country("KR")).unwrap().identity.place.place().is_some());
        std::fs::write(case.home.enrolment(), "none").unwrap();
        assert!(matches!(case.of(&Node::default()), Err(NodeError::Enrolment { .. })));
    }

    #[test]
    fn a_key_of_another_ca_signs_nothing() {
        let (case, other) = (Case::new(), Case::new());
        for case in [&case, &other] {
            case.of(&Node::default()).unwrap();
        }
        std::fs::copy(other.home.ca_key(), case.home.ca_key()).unwrap();
        std::fs::remove_file(&case.home.issuer()[0]).unwrap();
        let before = case.kept();
        let moved = case.of(&Node { subdivision: "KR-11".to_owned(), ..Node::default() });
        assert!(matches!(moved, Err(NodeError::Cert(CertError::Foreign { .. }))), "{moved:?}");
        assert_eq!(case.kept(), before, "nothing was changed");
    }

    #[test]
    fn it_is_renewed_in_time_and_after_its_time_as_what_it_was() {
        let case = Case::new();
        let first = case.of(&in_country("KR")).unwrap().identity;
        // The root lies in a safe from now on.
        std::fs::remove_file(case.home.ca_key()).unwrap();
        let at = |millis: u64| case.own.look(UtcMillis(case.now.0 + millis)).unwrap();
        assert_eq!(at(DAY / 2).event, None);
        let next = at(DAY * 3 / 4);
        assert!(next.event.unwrap().contains("about to end") && next.identity.place == first.place);
        let late = at(30 * DAY);
        assert!(late.event.unwrap().contains("had ended") && late.identity.place == first.place);
        let back = at(0);
        assert!(back.event.is_some() && back.identity.place == first.place, "a clock that was wrong");
        let gone = case.own.look(UtcMillis(case.now.0 + 400 * DAY));
        let gone = gone.unwrap();
        assert!(gone.failed.is_some(), "the intermediate ended, and only the root signs another");
        assert_eq!(gone.identity.place.place(), None);
    }
}
