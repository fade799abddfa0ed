//! A key that was wrapped at a provider, under a key that never leaves it.
//!
//! | offset | size | meaning |
//! |---|---|---|
//! | 0 | 1 | 2 |
//! | 1 | 1 | suite id |
//! | 2 | 16 | wrapping key id |
//! | 18 | 4 | wrapping key version, big-endian |
//! | 22 | 32 | commitment: derive(wrapped key, "commit", context) |
//! | 54 | | what the provider gave |
//!
//! The commitment binds the context, whether the provider authenticates it or not, and shows when the provider opens
//! something else.

use subtle::ConstantTimeEq;

use super::{WrapContext, head};
use crate::seal::{SealError, SecretKey, Suite};

const MARK: u8 = 2;
const WHAT: &str = "key that a provider wrapped";

/// Whether a provider wrapped it.
pub(super) fn is(bytes: &[u8]) -> bool {
    bytes.first() == Some(&MARK)
}

/// What is stored of a key that a provider wrapped as `content`.
#[must_use]
pub fn stored(suite: Suite, context: &WrapContext, key: &SecretKey, content: &[u8]) -> Vec<u8> {
    let commitment = suite.derive(key, "commit", &context.bytes(suite));
    [
        [MARK, suite.id()].as_slice(),
        &context.wrapping,
        &context.wrapping_version.to_be_bytes(),
        commitment.expose(),
        content,
    ]
    .concat()
}

/// What the provider gave for a key that it wrapped in this context.
///
/// # Errors
/// `Malformed` for another shape, `Refused` for another wrapping key or version.
pub fn content<'a>(bytes: &'a [u8], context: &WrapContext) -> Result<&'a [u8], SealError> {
    let (_, id, version, rest) = head(bytes)?;
    if !is(bytes) || (id, version) != (context.wrapping, context.wrapping_version) {
        return Err(SealError::Refused(WHAT));
    }
    rest.split_at_checked(32).map(|(_, content)| content).ok_or(SealError::Malformed(WHAT))
}

/// The key that a provider opened, if it is the one that was wrapped, in this context.
///
/// # Errors
/// `Malformed` for another shape, `Refused` for another key or place.
pub fn proved(key: SecretKey, context: &WrapContext, bytes: &[u8]) -> Result<SecretKey, SealError> {
    let (suite, _, _, rest) = head(bytes)?;
    let commitment = rest.first_chunk::<32>().ok_or(SealError::Malformed(WHAT))?;
    let expected = suite.derive(&key, "commit", &context.bytes(suite));
    match expected.expose().as_slice().ct_eq(commitment).into() {
        true => Ok(key),
        false => Err(SealError::Refused(WHAT)),
    }
}

#[cfg(test)]
mod tests {
    use policy::id::{BucketId, TenantId};
    use proptest::prelude::*;

    use super::*;
    use crate::seal::wrap::wrapped_by;

    fn context() -> WrapContext {
        let (tenant, bucket) = (TenantId::from_bytes([1; 16]), BucketId::from_bytes([2; 16]));
        WrapContext { tenant, bucket, own: [3; 16], wrapping: [4; 16], wrapping_version: 5 }
    }

    #[test]
    fn only_the_key_that_was_wrapped_is_believed_and_only_in_its_place() {
        let (suite, key) = (Suite::ChaCha20Poly1305, SecretKey::from_bytes([6; 32]));
        let bytes = stored(suite, &context(), &key, b"vault:v5:x");
        assert_eq!(wrapped_by(&bytes), Ok((suite, [4; 16], 5)));
        assert_eq!(content(&bytes, &context()), Ok(b"vault:v5:x".as_slice()));
        assert!(proved(key.clone(), &context(), &bytes).is_ok());
        assert!(proved(SecretKey::from_bytes([7; 32]), &context(), &bytes).is_err(), "another key under its name");
        for elsewhere in [
            WrapContext { tenant: TenantId::from_bytes([9; 16]), ..context() },
            WrapContext { bucket: BucketId::from_bytes([9; 16]), ..context() },
            WrapContext { own: [9; 16], ..context() },
            WrapContext { wrapping_version: 6, ..context() },
        ] {
            assert!(proved(key.clone(), &elsewhere, &bytes).is_err());
        }
        assert!(content(&bytes, &WrapContext { wrapping_version: 6, ..context() }).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let marked = [&[MARK, 1], bytes.as_slice()].concat();
            for bytes in [bytes, marked] {
                let _given = content(&bytes, &context()).is_ok();
                prop_assert!(proved(SecretKey::from_bytes([1; 32]), &context(), &bytes).is_err());
                let _by = wrapped_by(&bytes);
            }
        }
    }
}
