//! Keys that tenants bring, wrapped to a public key of ours as AWS KMS and OpenBao Transit have it. The RSA is that of
//! AWS-LC: ring does not decrypt, and the time that the crate `rsa` takes tells of the key (RUSTSEC-2023-0071).
//!
//! | method | bytes |
//! |---|---|
//! | `RSA-OAEP-SHA256` | 512: RSAES-OAEP (RFC 8017, section 7.1) of the key, SHA-256, MGF1 of SHA-256, no label |
//! | `RSA-AES-KWP-SHA256` | 512: the same of an AES-256 key of one use; 40: AES-KWP (RFC 5649) of the key under that |

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrapPadded};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Size of the modulus, and so of all that OAEP makes (bytes).
const MODULUS_LEN: usize = 512;
/// Size of a key of 32 bytes under AES-KWP (bytes).
const KWP_LEN: usize = 40;

/// How a key is wrapped for transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransportMethod {
    /// RSAES-OAEP of the key: 512 bytes.
    #[serde(rename = "RSA-OAEP-SHA256")]
    RsaOaep,
    /// RSAES-OAEP of an AES-256 key of one use, then AES-KWP of the key under it: 552 bytes.
    #[serde(rename = "RSA-AES-KWP-SHA256")]
    RsaAesKwp,
}

/// A transport key cannot be had, or what was wrapped to it does not open.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TransportError {
    /// The length is not the method's: who sent the bytes knows it.
    #[error("a key of 32 bytes that is wrapped by this method has {0} bytes")]
    Malformed(usize),
    /// Wrapped to another key, changed, or no key of 32 bytes. Which of them is not said: an attacker learns nothing.
    #[error("the wrapped key does not open to 32 bytes under this transport key")]
    Refused,
    /// The bytes are not a sound private key of this kind.
    #[error("the transport key is not an RSA key of 4096 bits in PKCS#8")]
    PrivateKey,
    /// No random bytes, or the new pair failed its own test.
    #[error("no transport key could be made")]
    Generate,
}

/// A pair of keys that tenants wrap theirs to.
#[derive(Debug)]
pub struct TransportKey {
    private: OaepPrivateDecryptingKey,
    public: PublicKeyX509Der<'static>,
}

impl TransportKey {
    /// Makes a pair: RSA of 4096 bits, as PKCS#8 (DER, RFC 5208). It keeps a processor busy for up to seconds.
    ///
    /// # Errors
    /// `Generate`.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, TransportError> {
        let made = PrivateDecryptingKey::generate(KeySize::Rsa4096).and_then(|private| private.as_der());
        Ok(Zeroizing::new(made.map_err(|_| TransportError::Generate)?.as_ref().to_vec()))
    }

    /// Loads a pair that [`Self::generate`] made.
    ///
    /// # Errors
    /// `PrivateKey` for anything else.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, TransportError> {
        let load = || {
            let private = PrivateDecryptingKey::from_pkcs8(der).ok()?;
            let public = private.public_key().as_der().ok()?;
            let private = OaepPrivateDecryptingKey::new(private).ok()?;
            (private.key_size_bits() == MODULUS_LEN * 8).then_some(Self { private, public })
        };
        load().ok_or(TransportError::PrivateKey)
    }

    /// The public key: SubjectPublicKeyInfo (RFC 5280, section 4.1) as PEM, 48 bytes to a line (RFC 7468).
    #[must_use]
    pub fn public_pem(&self) -> String {
        let lines: String = self.public.as_ref().chunks(48).map(|line| BASE64_STANDARD.encode(line) + "\n").collect();
        format!("-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n")
    }

    /// SHA-256 of the public key's DER (hex): the customer compares it before it wraps.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        hex::encode(digest(&SHA256, self.public.as_ref()))
    }

    /// The key of 32 bytes that was wrapped to this one.
    ///
    /// # Errors
    /// `Malformed` for a length that is not the method's, `Refused` for all else.
    pub fn unwrap(&self, method: TransportMethod, wrapped: &[u8]) -> Result<Zeroizing<[u8; 32]>, TransportError> {
        let tail_len = if method == TransportMethod::RsaOaep { 0 } else { KWP_LEN };
        let parts = wrapped.split_at_checked(MODULUS_LEN).filter(|(_, tail)| tail.len() == tail_len);
        let (head, tail) = parts.ok_or(TransportError::Malformed(MODULUS_LEN + tail_len))?;
        let mut plain = Zeroizing::new([0_u8; MODULUS_LEN]);
        let opened = self.private.decrypt(&OAEP_SHA256_MGF1SHA256, head, &mut *plain, None).ok().and_then(key_of);
        match (method, &opened) {
            (TransportMethod::RsaOaep, _) => opened,
            (TransportMethod::RsaAesKwp, Some(under)) => unwrap_padded(under, tail),
            // As much is done where nothing opened: how long it takes does not tell that.
            (TransportMethod::RsaAesKwp, None) => unwrap_padded(&[0; 32], tail).and(None),
        }
        .ok_or(TransportError::Refused)
    }
}

/// AES-KWP backwards (RFC 5649, section 4.2).
fn unwrap_padded(under: &[u8; 32], wrapped: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut plain = Zeroizing::new([0_u8; KWP_LEN]);
    AesKek::new(&AES_256, under).ok()?.unwrap_with_padding(wrapped, &mut *plain).ok().and_then(key_of)
}

/// What was opened, if it is a key.
fn key_of(opened: &mut [u8]) -> Option<Zeroizing<[u8; 32]>> {
    <[u8; 32]>::try_from(&*opened).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::TransportMethod::{RsaAesKwp, RsaOaep};
    use super::*;

    const KEY: [u8; 32] = [0x5a; 32];
    const ONCE: [u8; 32] = [0xc3; 32];

    fn made() -> TransportKey {
        TransportKey::from_pkcs8(&TransportKey::generate().unwrap()).unwrap()
    }

    fn openssl(arguments: &str, input: &[u8]) -> Vec<u8> {
        let input: String = input.iter().map(|byte| format!("\\x{byte:02x}")).collect();
        let line = format!("printf '{input}' | openssl {arguments}");
        let done = std::process::Command::new("bash").args(["-c", &line]).output().unwrap();
        assert!(done.status.success(), "{line}: {done:?}");
        done.stdout
    }

    fn oaep(to: &TransportKey, hash: &str, plain: &[u8]) -> Vec<u8> {
        let key = format!("-pubin -inkey <(echo '{}')", to.public_pem());
        let oaep = format!("-pkeyopt rsa_padding_mode:oaep -pkeyopt rsa_oaep_md:{hash}");
        openssl(&format!("pkeyutl -encrypt {key} {oaep}"), plain)
    }

    fn kwp(bits: u32, under: &str, plain: &[u8]) -> Vec<u8> {
        openssl(&format!("enc -id-aes{bits}-wrap-pad -iv A65959A6 -K {under}"), plain)
    }

    #[test]
    fn what_openssl_wraps_opens_and_nothing_else() {
        let [ours, other] = [made(), made()];
        let refused = |method, bytes: &[u8]| assert_eq!(ours.unwrap(method, bytes), Err(TransportError::Refused));
        let by_kwp = |to, once: &[u8], key: &[u8]| [oaep(to, "sha256", once), kwp(256, &"c3".repeat(32), key)].concat();
        for (method, bytes) in [(RsaOaep, oaep(&ours, "sha256", &KEY)), (RsaAesKwp, by_kwp(&ours, &ONCE, &KEY))] {
            assert_eq!(*ours.unwrap(method, &bytes).unwrap(), KEY);
            let changed = |at: usize| [&bytes[..at], &[bytes[at] ^ (1 << (at % 8))], &bytes[at + 1..]].concat();
            (0..bytes.len()).for_each(|at| refused(method, &changed(at)));
            let malformed = Err(TransportError::Malformed(bytes.len()));
            assert_eq!((0..600).filter(|given| ours.unwrap(method, &[7; 600][..*given]) == malformed).count(), 599);
        }
        refused(RsaOaep, &oaep(&other, "sha256", &KEY));
        refused(RsaOaep, &oaep(&ours, "sha1", &KEY));
        refused(RsaOaep, &oaep(&ours, "sha256", &[0; 31]));
        refused(RsaAesKwp, &by_kwp(&other, &ONCE, &KEY));
        refused(RsaAesKwp, &by_kwp(&ours, &KEY, &KEY));
        refused(RsaAesKwp, &by_kwp(&ours, &ONCE, &[0; 31]));
        refused(RsaAesKwp, &by_kwp(&ours, &ONCE[16..], &KEY));
        refused(RsaAesKwp, &[vec![0xff; 512], kwp(256, &"00".repeat(32), &KEY)].concat());
    }

    #[test]
    fn key_wrap_with_padding_is_that_of_rfc_5649() {
        // Its section 6 has keys of 192 bits alone, none of ours: they show that the other side is right.
        let under = "5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8";
        let long = kwp(192, under, &hex::decode("c37b7e6492584340bed12207808941155068f738").unwrap());
        assert_eq!(hex::encode(long), "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a");
        assert_eq!(hex::encode(kwp(192, under, b"ForPasi")), "afbeb0f07dfbf5419200f2ccb50bb24f");
        // OpenSSL 3.0 and pyca/cryptography 48 alike: 20 21 .. 3f under 00 01 .. 1f.
        let [under, key] = [0, 32].map(|first| std::array::from_fn(|at| first + at as u8));
        let wrapped = "92f48c52045c08050ec796a5a91c5ddaf7c61cbdc940adc8d3dc8a144f6161a8c5d3299e325f1750";
        assert_eq!(*unwrap_padded(&under, &hex::decode(wrapped).unwrap()).unwrap(), key);
    }

    #[test]
    fn only_a_private_key_of_4096_bits_is_loaded_and_its_public_half_is_shown() {
        let (ours, small) = (made(), PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap().as_der().unwrap());
        let refused = |der: &[u8]| TransportKey::from_pkcs8(der).unwrap_err() == TransportError::PrivateKey;
        assert!(refused(b"") && refused(small.as_ref()) && refused(ours.public.as_ref()));
        let of_der = openssl("pkey -pubin -outform DER | openssl sha256 -r", ours.public_pem().as_bytes());
        assert!(of_der.starts_with(ours.fingerprint().as_bytes()));
        assert!(format!("{ours:?}").ends_with(" OaepPrivateDecryptingKey { .. }, public: PublicKeyX509Der }"));
    }
}
