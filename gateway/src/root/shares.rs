//! Shares of the root key: any `threshold` of them make it, fewer say nothing of it (Shamir, "How to share a secret", 1979), each
//! byte by a polynomial of its own over GF(2^8) with the polynomial of AES. They are of one root key: a round that replaces it
//! voids them.

use policy::id::KeyId;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use super::RootKey;
use crate::seal::key::secret;
use crate::seal::{SealError, SecretKey};

/// The format of shares.
const FORMAT: &str = "gotgan-root-share/1";
/// Shares at most: one for each number that is not 0.
pub const SHARES_MAX: u8 = 255;

/// A share, as it lies in a file of its holder.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// [`FORMAT`].
    format: String,
    /// The installation that it is of.
    pub installation: String,
    /// The root key that it is of.
    pub root_key: KeyId,
    /// Its number, from 1.
    pub number: u8,
    /// How many there are.
    pub shares: u8,
    /// How many make the key.
    pub threshold: u8,
    /// The share (hex).
    share: String,
    /// First 8 bytes of the SHA-256 of all that stands before: of a slip of the pen it is not true (hex).
    check: String,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Share").field("root_key", &self.root_key).field("number", &self.number).finish_non_exhaustive()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.share.zeroize();
    }
}

/// Shares do not make a key.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ShareError {
    /// Of so many shares so many cannot make the key.
    #[error(
        "of {shares} shares {threshold} cannot make a key: 2 to 255 shares, at least 2 of them and no more than there are"
    )]
    Numbers {
        /// How many there were to be.
        shares: u8,
        /// How many were to make it.
        threshold: u8,
    },
    /// A share is not as it was written.
    #[error("share {0} is damaged: a digit of it is not what was written")]
    Damaged(u8),
    /// They are not of one key.
    #[error("these shares are of different root keys, installations or splits: {0}")]
    Mixed(String),
    /// One was given twice.
    #[error("share {0} was given twice")]
    Twice(u8),
    /// There are too few.
    #[error("{given} shares were given, and it takes {threshold}")]
    Few {
        /// How many were given.
        given: usize,
        /// How many it takes.
        threshold: u8,
    },
    /// No random bytes.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Splits a root key into shares.
///
/// # Errors
/// `Numbers`, or `Seal` without randomness.
pub fn split(root: &RootKey, installation: &str, shares: u8, threshold: u8) -> Result<Vec<Share>, ShareError> {
    if threshold < 2 || threshold > shares {
        return Err(ShareError::Numbers { shares, threshold });
    }
    let mut values = vec![Zeroizing::new([0_u8; 32]); usize::from(shares)];
    for (at, first) in root.key.expose().iter().enumerate() {
        // A polynomial whose value at 0 is the byte.
        let mut coefficients = Zeroizing::new(vec![*first]);
        for _ in 1..threshold {
            coefficients.extend(secret::<1>()?);
        }
        for (number, value) in (1..=shares).zip(&mut values) {
            let point = coefficients.iter().rev().fold(0, |sum, coefficient| multiply(sum, number) ^ coefficient);
            if let Some(byte) = value.get_mut(at) {
                *byte = point;
            }
        }
    }
    Ok((1..=shares)
        .zip(values)
        .map(|(number, value)| {
            let mut share = Share {
                format: FORMAT.to_owned(),
                installation: installation.to_owned(),
                root_key: root.id,
                number,
                shares,
                threshold,
                share: hex::encode(value.as_slice()),
                check: String::new(),
            };
            share.check = share.sum();
            share
        })
        .collect())
}

/// The root key that shares make. Whether it is the right one its store says: wrong shares make a wrong key.
///
/// # Errors
/// What is wrong with the shares.
pub fn join(shares: &[Share]) -> Result<RootKey, ShareError> {
    let Some(first) = shares.first() else { return Err(ShareError::Few { given: 0, threshold: 2 }) };
    let mut points = Vec::with_capacity(shares.len());
    for share in shares {
        if share.check != share.sum() || share.number == 0 || share.format != FORMAT {
            return Err(ShareError::Damaged(share.number));
        }
        let of = |share: &Share| (share.root_key, share.installation.clone(), share.shares, share.threshold);
        if of(share) != of(first) {
            return Err(ShareError::Mixed(format!("share {} and share {}", first.number, share.number)));
        }
        if points.iter().any(|(number, _)| *number == share.number) {
            return Err(ShareError::Twice(share.number));
        }
        let value = Zeroizing::new(hex::decode(&share.share).map_err(|_| ShareError::Damaged(share.number))?);
        if value.len() != 32 {
            return Err(ShareError::Damaged(share.number));
        }
        points.push((share.number, value));
    }
    if points.len() < usize::from(first.threshold) {
        return Err(ShareError::Few { given: points.len(), threshold: first.threshold });
    }
    points.truncate(usize::from(first.threshold));
    let mut key = Zeroizing::new([0_u8; 32]);
    for (number, value) in &points {
        // Lagrange at 0: the product of x / (x - own) over the others, where minus is plus.
        let others = points.iter().map(|(other, _)| *other).filter(|other| other != number);
        let weight = others.fold(1, |weight, other| multiply(weight, multiply(other, inverse(other ^ number))));
        for (byte, point) in key.iter_mut().zip(value.iter()) {
            *byte ^= multiply(weight, *point);
        }
    }
    Ok(RootKey { id: first.root_key, key: SecretKey::from_bytes(*key) })
}

impl Share {
    fn sum(&self) -> String {
        let Self { format, installation, root_key, number, shares, threshold, share, check: _ } = self;
        let text = Zeroizing::new(format!("{format} {installation} {root_key} {number} {shares} {threshold} {share}"));
        let sum = digest(&SHA256, text.as_bytes());
        hex::encode(sum.as_ref().split_at(8).0)
    }
}

/// In GF(2^8), without a table or a branch that a secret byte chooses.
fn multiply(a: u8, b: u8) -> u8 {
    (0..8)
        .fold((0, a), |(sum, a), bit| {
            let take = 0_u8.wrapping_sub((b >> bit) & 1);
            let carry = 0_u8.wrapping_sub(a >> 7);
            (sum ^ (a & take), (a << 1) ^ (0x1b & carry))
        })
        .0
}

/// a^254.
fn inverse(a: u8) -> u8 {
    let square = |n| multiply(n, n);
    // 254 = 2 + 4 + 8 + 16 + 32 + 64 + 128.
    let mut power = square(a);
    let mut product = power;
    for _ in 0..6 {
        power = square(power);
        product = multiply(product, power);
    }
    product
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_field_is_that_of_aes() {
        // FIPS 197, section 4.2: {57} x {83} = {c1}, {57} x {13} = {fe}.
        assert_eq!((multiply(0x57, 0x83), multiply(0x57, 0x13)), (0xc1, 0xfe));
        assert!((1..=255).all(|n| multiply(n, inverse(n)) == 1));
    }

    #[test]
    fn what_is_wrong_with_shares_is_said() {
        let root = RootKey::random().unwrap();
        assert!(split(&root, "i", 5, 1).is_err() && split(&root, "i", 2, 3).is_err());
        let shares = split(&root, "i", 5, 3).unwrap();
        assert_eq!(join(&shares[..2]).unwrap_err(), ShareError::Few { given: 2, threshold: 3 });
        let twice = [shares[0].clone(), shares[1].clone(), shares[0].clone()];
        assert_eq!(join(&twice).unwrap_err(), ShareError::Twice(1));
        let other = split(&RootKey::random().unwrap(), "i", 5, 3).unwrap();
        let mixed = [shares[0].clone(), shares[1].clone(), other[2].clone()];
        assert!(matches!(join(&mixed).unwrap_err(), ShareError::Mixed(_)));
        let text = serde_json::to_string(&shares[3]).unwrap();
        for (at, digit) in text.char_indices().filter(|(_, c)| c.is_ascii_hexdigit()) {
            let other = if digit == '1' { "2" } else { "1" };
            let changed = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            if let Ok(changed) = serde_json::from_str::<Share>(&changed) {
                assert!(join(&[shares[0].clone(), shares[1].clone(), changed]).is_err(), "byte {at}");
            }
        }
        assert!(!format!("{:?}", shares[0]).contains(&shares[0].share));
    }

    proptest! {
        #[test]
        fn any_so_many_shares_make_the_key_and_fewer_another(key: [u8; 32], threshold in 2..6_u8, more in 0..4_u8, start in 0..9_usize) {
            let root = RootKey { id: KeyId::from_bytes([7; 16]), key: SecretKey::from_bytes(key) };
            let shares = split(&root, "i", threshold + more, threshold).unwrap();
            let chosen: Vec<Share> = shares.iter().cycle().skip(start).take(usize::from(threshold)).cloned().collect();
            let joined = join(&chosen).unwrap();
            prop_assert_eq!((joined.id, joined.key.expose()), (root.id, &key));
            let all = join(&shares).unwrap();
            prop_assert_eq!(all.key.expose(), &key);
        }
    }
}
