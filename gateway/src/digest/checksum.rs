//! The five checksum algorithms of S3 ("Checking object integrity", AWS S3 user guide).

use base64::prelude::{BASE64_STANDARD, Engine as _};
use crc_fast::{CrcAlgorithm, Digest};
use ring::digest::{Context, SHA256};
use sha1::Digest as _;

/// An algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// CRC-32 (ISO-HDLC).
    Crc32,
    /// CRC-32C (RFC 3720).
    Crc32c,
    /// CRC-64/NVME.
    Crc64Nvme,
    /// SHA-1 (FIPS 180-4).
    Sha1,
    /// SHA-256 (FIPS 180-4).
    Sha256,
}

/// A value is not one of its algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChecksumError {
    /// Not base64 of the right length.
    #[error("not a base64 value of the algorithm's length")]
    Malformed,
    /// Only CRCs combine.
    #[error("values of this algorithm do not combine")]
    Combine,
    /// No algorithm has this name.
    #[error("unknown checksum algorithm")]
    Unknown,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Crc32, Self::Crc32c, Self::Crc64Nvme, Self::Sha1, Self::Sha256];

    /// S3's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Crc32 => "CRC32",
            Self::Crc32c => "CRC32C",
            Self::Crc64Nvme => "CRC64NVME",
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
        }
    }

    /// The header that carries a value.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32c => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    /// Bytes of a value.
    #[must_use]
    pub const fn length(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32c => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    const fn crc(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => Some(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 | Self::Sha256 => None,
        }
    }
}

impl std::str::FromStr for Algorithm {
    type Err = ChecksumError;

    fn from_str(name: &str) -> Result<Self, ChecksumError> {
        Self::ALL.into_iter().find(|a| a.name() == name).ok_or(ChecksumError::Unknown)
    }
}

/// A value of an algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checksum {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The raw value, big-endian for CRCs.
    pub bytes: Vec<u8>,
}

impl Checksum {
    /// Reads the base64 text of a header.
    ///
    /// # Errors
    /// `Malformed` for other text.
    pub fn parse(algorithm: Algorithm, text: &str) -> Result<Self, ChecksumError> {
        let bytes = BASE64_STANDARD.decode(text).map_err(|_| ChecksumError::Malformed)?;
        if bytes.len() == algorithm.length() { Ok(Self { algorithm, bytes }) } else { Err(ChecksumError::Malformed) }
    }

    fn from_crc(algorithm: Algorithm, value: u64) -> Self {
        let bytes = value.to_be_bytes();
        Self { algorithm, bytes: bytes.get(8 - algorithm.length()..).unwrap_or_default().to_vec() }
    }

    fn crc(&self) -> u64 {
        self.bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }
}

/// Computes one value over a stream.
#[derive(Debug)]
pub struct Hasher {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc(Box<Digest>),
    Sha1(Box<sha1::Sha1>),
    Sha256(Box<Context>),
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("State")
    }
}

impl Hasher {
    /// A hasher.
    #[must_use]
    pub fn new(algorithm: Algorithm) -> Self {
        let state = match algorithm.crc() {
            Some(crc) => State::Crc(Box::new(Digest::new(crc))),
            None if algorithm == Algorithm::Sha1 => State::Sha1(Box::default()),
            None => State::Sha256(Box::new(Context::new(&SHA256))),
        };
        Self { algorithm, state }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(digest) => digest.update(bytes),
            State::Sha1(digest) => digest.update(bytes),
            State::Sha256(digest) => digest.update(bytes),
        }
    }

    /// The value.
    #[must_use]
    pub fn finish(self) -> Checksum {
        let bytes = match self.state {
            State::Crc(digest) => return Checksum::from_crc(self.algorithm, digest.finalize()),
            State::Sha1(digest) => digest.finalize().to_vec(),
            State::Sha256(digest) => digest.finish().as_ref().to_vec(),
        };
        Checksum { algorithm: self.algorithm, bytes }
    }
}

/// The CRC of two pieces one after the other, from their CRCs and the length of the second.
///
/// # Errors
/// `Combine` unless both are values of one CRC algorithm.
pub fn combine(first: &Checksum, second: &Checksum, second_length: u64) -> Result<Checksum, ChecksumError> {
    let crc = first.algorithm.crc().filter(|_| first.algorithm == second.algorithm).ok_or(ChecksumError::Combine)?;
    if second_length == 0 {
        return Ok(first.clone());
    }
    let value = crc_fast::checksum_combine(crc, first.crc(), second.crc(), second_length);
    Ok(Checksum::from_crc(first.algorithm, value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(algorithm: Algorithm, bytes: &[u8]) -> Checksum {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The check values of the CRC catalogue, and FIPS 180 examples.
    #[test]
    fn known_values() {
        for (algorithm, input, value) in [
            (Algorithm::Crc32, "123456789", "cbf43926"),
            (Algorithm::Crc32c, "123456789", "e3069283"),
            (Algorithm::Crc64Nvme, "123456789", "ae8b14860a799888"),
            (Algorithm::Sha1, "abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            (Algorithm::Sha256, "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        ] {
            let checksum = of(algorithm, input.as_bytes());
            assert_eq!(hex::encode(&checksum.bytes), value);
            assert_eq!(Checksum::parse(algorithm, &BASE64_STANDARD.encode(&checksum.bytes)), Ok(checksum));
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
        assert_eq!(Checksum::parse(Algorithm::Crc32, "AAAA"), Err(ChecksumError::Malformed));
    }

    proptest! {
        #[test]
        fn crcs_combine(a: Vec<u8>, b: Vec<u8>) {
            for algorithm in [Algorithm::Crc32, Algorithm::Crc32c, Algorithm::Crc64Nvme] {
                let whole = of(algorithm, &[a.as_slice(), b.as_slice()].concat());
                prop_assert_eq!(combine(&of(algorithm, &a), &of(algorithm, &b), b.len() as u64).unwrap(), whole);
            }
        }
    }
}
