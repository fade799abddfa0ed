//! The certificate that listeners show: given PEM files, or one that the own CA signs for `tls.names` and renews
//! in time. Either is read again when its files change; connections that stand keep what they have.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use certs::files::CertError;
use certs::tls::ServerCertificate;
use certs::validity::Validity;
use policy::time::UtcMillis;
use rustls::ServerConfig;

use crate::authorities::Authorities;
use crate::clock::rfc3339;
use crate::config::{self, some};
use crate::home::Home;

/// Life of a certificate of the own CA; a third of it is left when it is renewed.
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// After a renewal that failed.
const TRY_AGAIN: Duration = Duration::from_secs(600);

/// The certificate of listeners, and who renews it.
#[derive(Debug)]
pub struct Tls {
    certificate: Arc<ServerCertificate>,
    own: Option<Own>,
    /// When each file was written last, as far as they were read.
    seen: [Option<SystemTime>; 2],
}

/// What the own CA needs to sign for this server.
#[derive(Debug)]
struct Own {
    names: Vec<String>,
    authorities: Arc<Authorities>,
    files: [PathBuf; 2],
    /// Not before, for the last renewal failed.
    wait: UtcMillis,
}

impl Tls {
    /// Reads PEM files that were given, else has the own CA sign for `tls.names`; none without either.
    ///
    /// # Errors
    /// Certificates or keys that cannot be read, made or used.
    pub fn open(
        wanted: &config::Tls,
        home: &Home,
        authorities: &Arc<Authorities>,
        now: UtcMillis,
    ) -> Result<Option<Self>, CertError> {
        let ([certificate, key], own) = match (some(&wanted.certificate), some(&wanted.key), some(&wanted.names)) {
            (Some(certificate), Some(key), _) => ([certificate, key].map(PathBuf::from), None),
            (_, _, Some(names)) => {
                let own = Own::new(names, home, authorities);
                own.sign(now)?;
                (own.files.clone(), Some(own))
            }
            _ => return Ok(None),
        };
        // Before they are read: what is written meanwhile is read again.
        let seen = [&certificate, &key].map(|path| written(path));
        Ok(Some(Self { certificate: ServerCertificate::load(&certificate, &key)?, own, seen }))
    }

    /// How listeners speak TLS.
    ///
    /// # Errors
    /// `Tls` when the library refuses its own defaults.
    pub fn listens(&self) -> Result<Arc<ServerConfig>, CertError> {
        self.certificate.config()
    }

    /// Renews what is due, reads what changed, and tells when it ends. It asks the disk.
    pub fn look_after(&mut self, now: UtcMillis) {
        if let Some(own) = &mut self.own
            && own.renew_if_due(self.certificate.validity(), now)
        {
            // Times of files are coarse.
            self.seen = [None; 2];
        }
        self.read_again();
        metrics::gauge!("gotgan_tls_certificate_expiry_seconds").set(self.certificate.validity().seconds_left(now));
    }

    fn read_again(&mut self) {
        let now = self.certificate.files().map(written);
        if now == self.seen {
            return;
        }
        match self.certificate.reload() {
            Ok(()) => {
                tracing::info!(
                    ends = rfc3339(self.certificate.validity().not_after),
                    "the TLS certificate was read again"
                );
                self.seen = now;
            }
            // Two files change one after the other: the next round sees both.
            Err(error) => tracing::warn!(%error, "the new TLS certificate is not usable yet; the old one stays"),
        }
    }
}

impl Own {
    fn new(names: &str, home: &Home, authorities: &Arc<Authorities>) -> Self {
        Self {
            names: names.split(',').map(|name| name.trim().to_owned()).collect(),
            authorities: Arc::clone(authorities),
            files: ["server.pem", "server.key"].map(|name| home.certificate(name)),
            wait: UtcMillis(0),
        }
    }

    fn sign(&self, now: UtcMillis) -> Result<(), CertError> {
        let [certificate, key] = &self.files;
        let authority = self.authorities.issuer(None, now)?;
        authority.issue_server(self.names.clone(), Validity::begun(now, LIFE), certificate, key)?;
        Ok(())
    }

    /// Signs the next; false where that would end no later, as the CA itself does, and where the clock is right.
    fn sign_next(&self, validity: Validity, now: UtcMillis) -> Result<bool, CertError> {
        if validity.not_before <= now && self.authorities.issuer(None, now)?.ends() <= validity.not_after {
            return Ok(false);
        }
        self.sign(now).map(|()| true)
    }

    /// True when there is another.
    fn renew_if_due(&mut self, validity: Validity, now: UtcMillis) -> bool {
        if !validity.is_due(now) || now < self.wait {
            return false;
        }
        let ends = rfc3339(validity.not_after);
        let wait = UtcMillis(now.0.saturating_add(u64::try_from(TRY_AGAIN.as_millis()).unwrap_or(0)));
        match self.sign_next(validity, now) {
            Ok(true) => {
                tracing::info!(ends, "the own CA signed the next TLS certificate: a third of the life was left");
                self.wait = UtcMillis(0);
                true
            }
            Ok(false) => {
                tracing::error!(ends, "the own CA ends, and the TLS certificate with it");
                self.wait = wait;
                false
            }
            Err(error) => {
                tracing::error!(%error, ends, "the TLS certificate is not renewed yet");
                self.wait = wait;
                false
            }
        }
    }
}

/// When a file was written last.
fn written(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Node};

    const DAY: u64 = 86_400_000;

    fn identity(home: &Home, now: UtcMillis) -> Arc<Authorities> {
        let authorities = Authorities::of(home);
        crate::node::OwnIdentity::of(home, &authorities).open(&Node::default(), home, now).unwrap();
        authorities
    }

    #[test]
    fn a_certificate_of_the_own_ca_is_renewed_when_a_third_of_its_life_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data: dir.path().join("d").display().to_string(), ..Config::default() };
        config.tls.names = "localhost, 127.0.0.1".to_owned();
        let begin = crate::clock::now();
        let day = |days: u64| UtcMillis(begin.0 + days * DAY);
        let home = Home::open(&config, begin).unwrap();
        let authorities = identity(&home, begin);
        let mut tls = Tls::open(&config.tls, &home, &authorities, begin).unwrap().unwrap();
        let first = tls.certificate.validity();
        let mut look = |days: u64| {
            tls.look_after(day(days));
            tls.certificate.validity()
        };
        assert_eq!((look(0), look(240)), (first, first));
        assert_eq!(look(250), Validity::begun(day(250), LIFE), "and in use at once");
        // A CA that is away for a while: what is in use stays, and is renewed when it is back.
        let (key, away) = (home.ca_key(), home.ca_key().with_extension("away"));
        std::fs::rename(&key, &away).unwrap();
        assert_eq!(look(500), Validity::begun(day(250), LIFE));
        std::fs::rename(&away, &key).unwrap();
        assert_eq!(look(500), Validity::begun(day(250), LIFE), "not asked for again at once");
        assert_eq!(look(501), Validity::begun(day(501), LIFE));
        assert_eq!(look(0), Validity::begun(day(0), LIFE), "a clock that was wrong");
        // Ten years: the CA ends, and nothing that it signs holds longer.
        let last = look(3500);
        assert!(last.not_before < day(3500) && last.not_after < day(3651), "{last:?}");
        assert_eq!((look(3600), look(3649)), (last, last), "another would end no later");
    }

    #[test]
    fn given_files_are_nobodys_to_renew() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data: dir.path().join("d").display().to_string(), ..Config::default() };
        let begin = crate::clock::now();
        let home = Home::open(&config, begin).unwrap();
        let authorities = identity(&home, begin);
        let [certificate, key] = ["given.pem", "given.key"].map(|name| dir.path().join(name));
        let authority = authorities.issuer(None, begin).unwrap();
        let life = Validity::begun(begin, LIFE);
        authority.issue_server(vec!["localhost".to_owned()], life, &certificate, &key).unwrap();
        (config.tls.certificate, config.tls.key) = (certificate.display().to_string(), key.display().to_string());
        config.tls.names = "localhost".to_owned();
        let mut tls = Tls::open(&config.tls, &home, &authorities, begin).unwrap().unwrap();
        tls.look_after(UtcMillis(begin.0 + 360 * DAY));
        assert_eq!(tls.certificate.validity(), life);
        assert!(Tls::open(&config::Tls::default(), &home, &authorities, begin).unwrap().is_none());
    }
}
