//! The installation's CAs. The root may lie in a safe: the intermediate signs day by day, and goes on when the root is away.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use certs::authority::{Authority, ROOT_DAYS};
use certs::files::CertError;
use certs::validity::Validity;
use policy::place::Country;
use policy::time::UtcMillis;

use crate::clock::rfc3339;
use crate::home::Home;

const DAY: u64 = 24 * 3600;
/// Life of an intermediate; the root is wanted again when a third of it is left.
const LIFE: Duration = Duration::from_secs(365 * DAY);

/// Where the CAs lie: certificate and key of each.
#[derive(Debug)]
pub struct Authorities {
    root: [PathBuf; 2],
    issuer: [PathBuf; 2],
    /// One signs at a time, for there is one file.
    turn: Mutex<()>,
}

impl Authorities {
    /// Those of an installation.
    #[must_use]
    pub fn of(home: &Home) -> Arc<Self> {
        Arc::new(Self { root: [home.anchor(), home.ca_key()], issuer: home.issuer(), turn: Mutex::default() })
    }

    /// Makes the root.
    ///
    /// # Errors
    /// As [`Authority::create`].
    pub fn create(&self, now: UtcMillis) -> Result<(), CertError> {
        let [certificate, key] = &self.root;
        Authority::create(certificate, key, Validity::begun(now, Duration::from_secs(ROOT_DAYS * DAY)))?;
        Ok(())
    }

    /// The root, where its key is at hand.
    ///
    /// # Errors
    /// As [`Authority::load`].
    pub fn root(&self) -> Result<Authority, CertError> {
        let [certificate, key] = &self.root;
        Authority::load(certificate, key)
    }

    /// The root's certificate (PEM).
    ///
    /// # Errors
    /// `Io`.
    pub fn anchors(&self) -> Result<String, CertError> {
        let [certificate, _] = &self.root;
        std::fs::read_to_string(certificate).map_err(|source| CertError::Io { path: certificate.clone(), source })
    }

    /// The intermediate, which vouches for machines in Korea and in the country of this node, where that is said. The root signs it
    /// where it is not there, is about to end, or vouches for others.
    ///
    /// # Errors
    /// Of the root, where it must sign and cannot.
    pub fn issuer(&self, country: Option<Country>, now: UtcMillis) -> Result<Authority, CertError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let [certificate, key] = &self.issuer;
        let known = match certificate.exists() {
            true => {
                Authority::load(certificate, key).inspect_err(|error| tracing::warn!(%error, "the issuing CA")).ok()
            }
            false => None,
        };
        let vouches = |ca: &Authority| {
            ca.countries().is_some_and(|all| country.is_none_or(|one| all.contains(&one))) && ca.validity().holds(now)
        };
        let known = known.filter(vouches);
        let kept = known.as_ref().and_then(Authority::countries).filter(|_| country.is_none()).cloned();
        let countries: BTreeSet<Country> =
            kept.unwrap_or_else(|| [Some(Country::KR), country].into_iter().flatten().collect());
        // No wider than it must be, when it is known how wide that is.
        let is_exact = |ca: &Authority| country.is_none() || ca.countries() == Some(&countries);
        if known.as_ref().is_some_and(|ca| !ca.validity().is_due(now) && is_exact(ca)) {
            return known.ok_or(CertError::NotIntermediate);
        }
        let signed = self.root().and_then(|root| match &known {
            // It would end no later.
            Some(ca) if root.ends() <= ca.ends() && is_exact(ca) => Ok(None),
            _ => root.issue_intermediate(&countries, Validity::begun(now, LIFE), (certificate, key)).map(Some),
        });
        match (signed, known) {
            (Ok(Some(signed)), _) => {
                tracing::info!(ends = rfc3339(signed.ends()), ?countries, "the root signed the issuing CA");
                Ok(signed)
            }
            (Ok(None), Some(known)) => Ok(known),
            (Err(error), Some(known)) => {
                let ends = rfc3339(known.ends());
                tracing::warn!(%error, ends, "the issuing CA is about to end, or vouches for more than it must: bring the root's key, ca.key, for a moment");
                Ok(known)
            }
            (Err(error), None) => Err(error),
            (Ok(None), None) => Err(CertError::NotIntermediate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_root_may_be_away_until_the_intermediate_ends() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config { data: dir.path().join("d").display().to_string(), ..Config::default() };
        let begin = crate::clock::now();
        let home = Home::open(&config, begin).unwrap();
        let authorities = Authorities::of(&home);
        assert!(authorities.issuer(None, begin).is_err(), "nothing is made in silence");
        authorities.create(begin).unwrap();
        let day = |days: u64| UtcMillis(begin.0 + days * DAY * 1000);
        let first = authorities.issuer(None, begin).unwrap();
        assert_eq!(first.countries().unwrap(), &[Country::KR].into());
        let key = std::fs::read(&home.issuer()[1]).unwrap();
        let (root, away) = (home.ca_key(), dir.path().join("safe"));
        std::fs::rename(&root, &away).unwrap();
        assert_eq!(authorities.issuer(None, day(300)).unwrap().ends(), first.ends(), "it is about to end, and serves");
        assert!(authorities.issuer(None, day(366)).is_err(), "it ended");
        let japan: Country = "JP".parse().unwrap();
        assert!(authorities.issuer(Some(japan), day(1)).is_err(), "only the root says that it vouches for more");
        std::fs::rename(&away, &root).unwrap();
        let next = authorities.issuer(None, day(300)).unwrap();
        assert!(next.ends() > first.ends() && std::fs::read(&home.issuer()[1]).unwrap() == key, "of the same key");
        assert!(authorities.issuer(Some(japan), day(300)).unwrap().countries().unwrap().contains(&japan));
        let narrow = authorities.issuer(Some(Country::KR), day(300)).unwrap();
        assert_eq!(narrow.countries().unwrap(), &[Country::KR].into(), "this node is in Korea again");
        std::fs::write(&home.issuer()[0], "none").unwrap();
        assert!(authorities.issuer(None, day(301)).is_ok(), "signed anew");
    }
}
