//! A suite names AEAD, key derivation and wrap together. Its id stands in the label of every
//! derivation and in every AAD, so that nothing sealed under one suite opens under another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;
use serde::{Deserialize, Serialize};

use super::aria::{AriaGcm, MAX_DATA};
use super::key::SecretKey;
use super::{FORMAT, MAGIC, SealError};

/// Bytes that an AEAD tag adds.
pub const TAG: usize = 16;

/// AEAD, derivation and wrap, chosen per tenant key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Suite {
    /// AES-256-GCM, SP 800-108 counter mode with HMAC-SHA-256. The default.
    #[serde(rename = "AES-256-GCM")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 (RFC 8439), the same derivation.
    #[serde(rename = "CHACHA20-POLY1305")]
    ChaCha20Poly1305,
    /// ARIA-256-GCM (RFC 5794, RFC 6209; KS X 1213-1), the same derivation.
    #[serde(rename = "ARIA-256-GCM")]
    Aria256Gcm,
}

impl Suite {
    /// Every suite.
    pub const ALL: [Self; 3] = [Self::Aes256Gcm, Self::ChaCha20Poly1305, Self::Aria256Gcm];

    /// The byte that stands in labels, AADs and rows.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Aes256Gcm => 1,
            Self::ChaCha20Poly1305 => 2,
            Self::Aria256Gcm => 3,
        }
    }

    /// The name of its AEAD, as administrators give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "AES-256-GCM",
            Self::ChaCha20Poly1305 => "CHACHA20-POLY1305",
            Self::Aria256Gcm => "ARIA-256-GCM",
        }
    }

    /// The suite of an id byte.
    ///
    /// # Errors
    /// `Malformed` for an id that format 1 does not know.
    pub const fn from_id(id: u8) -> Result<Self, SealError> {
        match id {
            1 => Ok(Self::Aes256Gcm),
            2 => Ok(Self::ChaCha20Poly1305),
            3 => Ok(Self::Aria256Gcm),
            _ => Err(SealError::Malformed("suite id")),
        }
    }

    /// Derives a key: SP 800-108 r1, counter mode, PRF HMAC-SHA-256, one block.
    ///
    /// `HMAC(key, u32be(1) || "GTGN" || format || suite || purpose || 0x00 || context || u32be(256))`
    #[must_use]
    pub fn derive(self, key: &SecretKey, purpose: &str, context: &[u8]) -> SecretKey {
        SecretKey::from_bytes(self.prove(key, purpose, &[context]))
    }

    /// What only the holder of `key` can derive of the parts of a context, one behind the other: a proof that may be
    /// shown, so `purpose` is one that no key is derived for.
    #[must_use]
    pub(crate) fn prove(self, key: &SecretKey, purpose: &str, context: &[&[u8]]) -> [u8; 32] {
        let mut mac = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
        mac.update(&1_u32.to_be_bytes());
        mac.update(MAGIC);
        mac.update(&[FORMAT, self.id()]);
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        for part in context {
            mac.update(part);
        }
        mac.update(&256_u32.to_be_bytes());
        let mut out = [0; 32];
        out.copy_from_slice(mac.sign().as_ref());
        out
    }

    /// The AEAD of this suite under `key`.
    pub(crate) fn cipher(self, key: &SecretKey) -> Result<Cipher, SealError> {
        let algorithm = match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Self::Aria256Gcm => return Ok(Cipher::Aria(AriaGcm::new(key.expose()))),
        };
        let key = UnboundKey::new(algorithm, key.expose()).map_err(|_| SealError::Malformed("key"))?;
        Ok(Cipher::AwsLc(LessSafeKey::new(key)))
    }
}

/// One AEAD key, ready. The caller answers for the nonce: each use in this module has a proof beside it.
pub(crate) enum Cipher {
    /// AWS-LC's: 1.55 times as fast as ring's on segments where there is AVX-512, and as fast on small values.
    AwsLc(LessSafeKey),
    Aria(AriaGcm),
    /// None at all.
    #[cfg(feature = "null-cipher")]
    Null,
}

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cipher(..)")
    }
}

impl Cipher {
    /// Seals in place and returns the tag.
    pub(crate) fn seal(&self, nonce: [u8; 12], aad: &[u8], data: &mut [u8]) -> Result<[u8; TAG], SealError> {
        const LENGTH: SealError = SealError::Malformed("plaintext length");
        match self {
            Self::AwsLc(key) => {
                let nonce = Nonce::assume_unique_for_key(nonce);
                let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), data).map_err(|_| LENGTH)?;
                let mut out = [0; TAG];
                out.copy_from_slice(tag.as_ref());
                Ok(out)
            }
            Self::Aria(_) if data.len() as u64 > MAX_DATA => Err(LENGTH),
            Self::Aria(key) => Ok(key.seal(&nonce, aad, data)),
            #[cfg(feature = "null-cipher")]
            Self::Null => Ok([0; TAG]),
        }
    }

    /// Opens `data` (ciphertext and tag) in place and returns the plaintext part.
    pub(crate) fn open<'a>(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        data: &'a mut [u8],
        what: &'static str,
    ) -> Result<&'a mut [u8], SealError> {
        match self {
            Self::AwsLc(key) => key
                .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), data)
                .map_err(|_| SealError::Refused(what)),
            Self::Aria(key) => {
                let (data, tag) = data.split_last_chunk_mut::<TAG>().ok_or(SealError::Refused(what))?;
                if key.open(&nonce, aad, data, tag) { Ok(data) } else { Err(SealError::Refused(what)) }
            }
            #[cfg(feature = "null-cipher")]
            Self::Null => data.split_last_chunk_mut::<TAG>().map(|(data, _)| data).ok_or(SealError::Refused(what)),
        }
    }
}
