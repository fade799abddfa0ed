//! Certificate and key files. Private keys are made with mode 0600 and never overwritten in part.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::KeyPair;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

/// A certificate could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum CertError {
    /// The file cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The content is not what it should be.
    #[error("{path}: {why}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Key and certificate are not of one CA.
    #[error("{key} is not the key of {certificate}: restore the one that belongs to it from your backup")]
    Foreign {
        /// The CA's certificate.
        certificate: PathBuf,
        /// The key that another CA has.
        key: PathBuf,
    },
    /// Only a root signs intermediates.
    #[error("an intermediate signs no other CA: this takes the root")]
    NotRoot,
    /// Only an intermediate signs machines.
    #[error("the root signs no machines: make an intermediate first")]
    NotIntermediate,
    /// A machine stands where its CA vouches for none.
    #[error("this CA cannot vouch for machines in {0}")]
    Elsewhere(policy::place::Country),
    /// A certification request is none.
    #[error("certification request: {0}")]
    Request(String),
    /// A revocation list is none.
    #[error("revocation list: {0}")]
    Revocations(String),
    /// What should be the certificates of CAs is something else.
    #[error("anchors: {0}")]
    Anchors(String),
    /// What should stand in a certificate or list cannot.
    #[error("not encodable: {0}")]
    Encode(String),
    /// The certificate could not be made.
    #[error("certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// TLS refused the certificate or key.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CertError> {
    fs::read(path).map_err(|source| CertError::Io { path: path.to_owned(), source })
}

/// The first private key of a PEM file.
pub(crate) fn key_pair(path: &Path) -> Result<KeyPair, CertError> {
    let text = Zeroizing::new(read(path)?);
    let secret = PrivateKeyDer::from_pem_slice(&text).map_err(|e| malformed(path, e))?;
    KeyPair::try_from(&secret).map_err(|e| malformed(path, e))
}

pub(crate) fn malformed(path: &Path, why: impl ToString) -> CertError {
    CertError::Malformed { path: path.to_owned(), why: why.to_string() }
}

/// Writes a file beside its place, syncs it and renames it.
///
/// # Errors
/// `Io`.
pub fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), CertError> {
    let io = |source| CertError::Io { path: path.to_owned(), source };
    // A bare name has an empty parent.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(io)?;
    let part = path.with_extension("part");
    // A leftover of a crash may have another mode.
    if let Err(e) = fs::remove_file(&part)
        && e.kind() != std::io::ErrorKind::NotFound
    {
        return Err(io(e));
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&part).map_err(io)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&part, path).map_err(io)?;
    fs::File::open(dir).and_then(|d| d.sync_all()).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_leftover_gives_a_key_no_other_mode() {
        let dir = tempfile::tempdir().unwrap();
        let part = dir.path().join("ca.part");
        fs::write(&part, "left").unwrap();
        fs::set_permissions(&part, fs::Permissions::from_mode(0o644)).unwrap();
        let key = dir.path().join("ca.key");
        write(&key, b"key", 0o600).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!part.exists() && fs::read(&key).unwrap() == b"key");
    }
}
