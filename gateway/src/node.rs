//! This node's identity: issued at the first start, renewed in time, issued anew only when somebody
//! says so. A certificate that is gone or does not verify is an unknown place, not a reason to make one.

use std::time::Duration;

use certs::authority::Authority;
use certs::files::CertError;
use certs::identity::{IdentityFiles, NodeIdentity};
use policy::place::{Assurance, Country, ParsePlaceError, Place};
use policy::time::UtcMillis;

use crate::config::{Node, some};
use crate::home::Home;

const RENEW_BEFORE: Duration = Duration::from_secs(30 * 24 * 3600);
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
}

/// The node's identity, and what was done to have it.
#[derive(Debug)]
pub struct Issued {
    /// What it proves.
    pub identity: NodeIdentity,
    /// What happened, for the record; none when it was there and good.
    pub event: Option<String>,
}

/// Where this node's identity lies: whoever writes the data directory writes all but the anchor.
#[must_use]
pub fn files(home: &Home) -> IdentityFiles {
    let [certificate, key, ca] = ["node.pem", "node.key", "ca.pem"].map(|name| home.certificate(name));
    IdentityFiles { certificate, key, ca, anchor: home.anchor() }
}

/// Verifies the identity, after issuing it where that is due.
///
/// # Errors
/// [`NodeError`].
pub fn identity(home: &Home, wanted: &Node, now: UtcMillis) -> Result<Issued, NodeError> {
    let files = files(home);
    let IdentityFiles { certificate, key, ca, anchor } = &files;
    let current = files.verify();
    let reason = if !ca.exists() && !home.ca_key().exists() {
        Authority::create(anchor, &home.ca_key())?;
        Some("the CA was made")
    } else if said(wanted) && claimed(wanted)?.as_ref() != current.place.place() {
        Some("another place was declared")
    } else if current.reason.is_none()
        && current.not_after < now.0.saturating_add(u64::try_from(RENEW_BEFORE.as_millis()).unwrap_or(0))
    {
        Some("it was about to end")
    } else {
        None
    };
    let Some(reason) = reason else {
        // It serves while it holds, and nobody should learn on its last day that it cannot be renewed.
        if let Err(error) = Authority::load(anchor, &home.ca_key()) {
            tracing::warn!(%error, "this node's identity cannot be renewed");
        }
        return Ok(Issued { identity: current, event: None });
    };
    let place = match current.place.place() {
        Some(place) if !said(wanted) => Some(place.clone()),
        _ => claimed(wanted)?,
    };
    let authority = Authority::load(anchor, &home.ca_key())?;
    authority.publish(ca)?;
    authority.issue_node(&format!("node of {}", home.descriptor.installation), place.as_ref(), certificate, key)?;
    let identity = files.verify();
    let event = format!("identity {} issued because {reason}: {}", identity.serial, describe(&identity));
    Ok(Issued { identity, event: Some(event) })
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

    #[test]
    fn identities_change_only_when_somebody_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data: dir.path().join("d").display().to_string(), ..Config::default() };
        let home = Home::open(&config, UtcMillis(1)).unwrap();
        let now = crate::clock::now();
        let of = |node: &Node| identity(&home, node, now).unwrap();
        let first = of(&Node::default());
        assert!(first.event.is_some() && describe(&first.identity).starts_with("KR / KR-41"));
        assert_eq!(of(&Node::default()).event, None);
        let japan = of(&Node { country: "JP".to_owned(), ..Node::default() });
        assert_eq!(japan.identity.place.place().unwrap().country.as_str(), "JP");
        assert_eq!(of(&Node::default()).identity, japan.identity, "it stays what it was");
        assert!(of(&Node { country: "none".to_owned(), ..Node::default() }).identity.place.place().is_none());
        std::fs::remove_file(home.certificate("node.pem")).unwrap();
        let gone = of(&Node::default());
        assert!(gone.event.is_none() && gone.identity.place.place().is_none(), "not made again in silence");
        let late = identity(&home, &Node { country: "KR".to_owned(), ..Node::default() }, now).unwrap();
        assert!(late.identity.place.place().is_some());
        let (key, elsewhere) = (std::fs::read(home.ca_key()).unwrap(), dir.path().join("foreign.key"));
        Authority::create(&dir.path().join("foreign.pem"), &elsewhere).unwrap();
        std::fs::copy(elsewhere, home.ca_key()).unwrap();
        let node = files(&home);
        let kept = || [&node.certificate, &node.key, &node.ca].map(|path| std::fs::read(path).unwrap());
        let (before, seoul) = (kept(), "KR-11".to_owned());
        let moved = identity(&home, &Node { subdivision: seoul, ..Node::default() }, now);
        assert!(matches!(moved, Err(NodeError::Cert(CertError::Foreign { .. }))), "{moved:?}");
        assert_eq!(kept(), before, "nothing was changed");
        std::fs::write(home.ca_key(), key).unwrap();
        let others = Authority::create(&node.ca, &dir.path().join("others.key")).unwrap();
        let korea = claimed(&Node::default()).unwrap();
        others.issue_node("foreign", korea.as_ref(), &node.certificate, &node.key).unwrap();
        let foreign = of(&Node::default());
        assert!(foreign.event.is_none() && foreign.identity.place.place().is_none(), "signed by another CA");
        assert!(of(&Node { country: "KR".to_owned(), ..Node::default() }).identity.place.place().is_some());
        let year = UtcMillis(now.0 + 350 * 24 * 3_600_000);
        assert!(identity(&home, &Node::default(), year).unwrap().event.unwrap().contains("about to end"));
    }
}
