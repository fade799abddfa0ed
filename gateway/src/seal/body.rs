//! Bodies: segments of 64 KiB sealed under a body's own key.
//!
//! body key = derive(data key, "body", body id). Segment `n`, counted from the start of the body:
//! nonce = final (u8: 1 for the last segment, else 0) || 0 0 0 || n u64be;
//! AAD = "GTGN" || format || suite || body id 16. A nonce is used once because a body is sealed
//! once: [`BodySealer`] counts its segments and is consumed with its body, and a broken upload
//! abandons body id and data key.

use policy::id::BodyId;
use storage::geometry::{SEGMENT_PLAIN, TAG};

use super::key::SecretKey;
use super::suite::Cipher;
use super::{FORMAT, MAGIC, SealError, Suite};

/// Segments of a body of `length` plaintext bytes; an empty body has one empty segment.
#[must_use]
pub const fn segments_of(length: u64) -> u64 {
    if length == 0 { 1 } else { length.div_ceil(SEGMENT_PLAIN as u64) }
}

/// Seals the segments of one body, in order, each once.
pub struct BodySealer {
    cipher: Cipher,
    aad: [u8; 22],
    next: u64,
    last: u64,
}

impl BodySealer {
    /// A sealer for a body whose plaintext will be exactly `length` bytes.
    ///
    /// # Errors
    /// `Malformed` when the key does not fit the suite.
    pub fn new(suite: Suite, data_key: &SecretKey, body: BodyId, length: u64) -> Result<Self, SealError> {
        let (cipher, aad) = prepare(suite, data_key, body)?;
        Ok(Self { cipher, aad, next: 0, last: segments_of(length) - 1 })
    }

    /// Seals the next segment in place: `buffer` holds `plain` bytes of plaintext and room for the
    /// tag behind them. Returns the sealed length.
    ///
    /// # Errors
    /// `Malformed` when the body has no such segment or the buffer has no room.
    pub fn seal_next(&mut self, buffer: &mut [u8], plain: usize) -> Result<usize, SealError> {
        let whole = self.next < self.last && plain == SEGMENT_PLAIN;
        let end = self.next == self.last && plain <= SEGMENT_PLAIN;
        if !(whole || end) || buffer.len() < plain + TAG {
            return Err(SealError::Malformed("segment"));
        }
        let (data, room) = buffer.split_at_mut(plain);
        let tag = self.cipher.seal(nonce(self.next, end), &self.aad, data)?;
        room.split_at_mut(TAG).0.copy_from_slice(&tag);
        self.next += 1;
        Ok(plain + TAG)
    }

    /// Whether every segment of the body has been sealed.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.next > self.last
    }
}

impl std::fmt::Debug for BodySealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodySealer").field("next", &self.next).field("last", &self.last).finish_non_exhaustive()
    }
}

/// Opens segments of one body, in any order.
pub struct BodyOpener {
    cipher: Cipher,
    aad: [u8; 22],
    last: u64,
}

impl BodyOpener {
    /// An opener for a body whose manifest says `length` bytes of plaintext.
    ///
    /// # Errors
    /// `Malformed` when the key does not fit the suite.
    pub fn new(suite: Suite, data_key: &SecretKey, body: BodyId, length: u64) -> Result<Self, SealError> {
        let (cipher, aad) = prepare(suite, data_key, body)?;
        Ok(Self { cipher, aad, last: segments_of(length) - 1 })
    }

    /// Opens segment `number` in place; the plaintext is the front of `sealed`.
    ///
    /// # Errors
    /// `Refused` when it is not that segment of that body, unchanged.
    pub fn open<'a>(&self, number: u64, sealed: &'a mut [u8]) -> Result<&'a mut [u8], SealError> {
        self.cipher.open(nonce(number, number == self.last), &self.aad, sealed, "segment")
    }
}

impl std::fmt::Debug for BodyOpener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BodyOpener").field("last", &self.last).finish_non_exhaustive()
    }
}

fn prepare(suite: Suite, data_key: &SecretKey, body: BodyId) -> Result<(Cipher, [u8; 22]), SealError> {
    let cipher = body_cipher(suite, &suite.derive(data_key, "body", body.as_bytes()))?;
    let mut aad = [0; 22];
    aad[..4].copy_from_slice(MAGIC);
    aad[4] = FORMAT;
    aad[5] = suite.id();
    aad[6..].copy_from_slice(body.as_bytes());
    Ok((cipher, aad))
}

#[cfg(not(feature = "null-cipher"))]
fn body_cipher(suite: Suite, key: &SecretKey) -> Result<Cipher, SealError> {
    suite.cipher(key)
}

/// All that is done for a body but its cipher, to measure what that costs.
#[cfg(feature = "null-cipher")]
fn body_cipher(suite: Suite, key: &SecretKey) -> Result<Cipher, SealError> {
    let _as_much_is_derived = suite.cipher(key)?;
    Ok(Cipher::Null)
}

fn nonce(segment: u64, last: bool) -> [u8; 12] {
    let mut out = [0; 12];
    out[0] = u8::from(last);
    out[4..].copy_from_slice(&segment.to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BODY: BodyId = BodyId::from_bytes([7; 16]);

    fn sealed(length: usize) -> Vec<Vec<u8>> {
        let key = SecretKey::from_bytes([1; 32]);
        let mut sealer = BodySealer::new(Suite::Aes256Gcm, &key, BODY, length as u64).unwrap();
        let plain: Vec<u8> = (0..length).map(|i| (i % 251) as u8).collect();
        let mut pieces: Vec<&[u8]> = plain.chunks(SEGMENT_PLAIN).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let out = pieces
            .iter()
            .map(|piece| {
                let mut buffer = piece.to_vec();
                buffer.resize(piece.len() + TAG, 0);
                let n = sealer.seal_next(&mut buffer, piece.len()).unwrap();
                assert_eq!(n, buffer.len());
                buffer
            })
            .collect();
        assert!(sealer.is_complete());
        out
    }

    fn opener(length: usize) -> BodyOpener {
        BodyOpener::new(Suite::Aes256Gcm, &SecretKey::from_bytes([1; 32]), BODY, length as u64).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn every_length_opens_again(length in 0..300_000_usize) {
            let mut got = Vec::new();
            for (n, mut segment) in sealed(length).into_iter().enumerate() {
                got.extend_from_slice(opener(length).open(n as u64, &mut segment).unwrap());
            }
            prop_assert_eq!(got.len(), length);
            prop_assert!(got.iter().enumerate().all(|(i, b)| *b == (i % 251) as u8));
        }
    }

    #[test]
    fn moved_truncated_and_foreign_segments_are_refused() {
        let length = 3 * SEGMENT_PLAIN;
        let segments = sealed(length);
        let open = |n: u64, mut bytes: Vec<u8>, length: usize| opener(length).open(n, &mut bytes).is_ok();
        assert!(open(1, segments[1].clone(), length));
        assert!(!open(0, segments[1].clone(), length), "reordered");
        assert!(!open(1, segments[1].clone(), 2 * SEGMENT_PLAIN), "a truncated body ends in a final segment");
        assert!(!open(2, segments[1].clone(), length), "an inner segment cannot be the last one");
        let mut short = segments[1].clone();
        short.truncate(100);
        assert!(!open(1, short, length));
        let other = BodyOpener::new(
            Suite::Aes256Gcm,
            &SecretKey::from_bytes([1; 32]),
            BodyId::from_bytes([8; 16]),
            length as u64,
        )
        .unwrap();
        assert!(other.open(1, &mut segments[1].clone()).is_err(), "swapped between bodies");
    }

    #[test]
    fn a_body_is_sealed_once_and_to_its_length() {
        let key = SecretKey::from_bytes([1; 32]);
        let mut sealer = BodySealer::new(Suite::Aes256Gcm, &key, BODY, 10).unwrap();
        let mut buffer = vec![0; SEGMENT_PLAIN + TAG];
        sealer.seal_next(&mut buffer, 10).unwrap();
        assert!(sealer.seal_next(&mut buffer, 10).is_err());
        let mut sealer = BodySealer::new(Suite::Aes256Gcm, &key, BODY, 70_000).unwrap();
        assert!(sealer.seal_next(&mut buffer, 100).is_err(), "only the last segment may be short");
    }
}
