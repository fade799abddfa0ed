//! Ids: 128 bits each, a type each, so that one cannot stand for another.

use std::fmt;
use std::str::FromStr;

use crate::time::UtcMillis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits")]
pub struct ParseIdError;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// An id of these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }

            /// An id that sorts by time: 48 bits of milliseconds since 1970, then 80 random bits.
            #[must_use]
            pub fn time_ordered(unix_ms: u64, random: [u8; 10]) -> Self {
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&unix_ms.to_be_bytes()[2..]);
                bytes[6..].copy_from_slice(&random);
                Self(bytes)
            }

            /// When it was made, if it is [`Self::time_ordered`].
            #[must_use]
            pub fn made(&self) -> UtcMillis {
                UtcMillis(self.0[..6].iter().fold(0, |ms, byte| (ms << 8) | u64::from(*byte)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let mut text = [0; 32];
                for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
                    pair[0] = HEX[usize::from(byte >> 4)];
                    pair[1] = HEX[usize::from(byte & 15)];
                }
                f.write_str(std::str::from_utf8(&text).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    )*};
}

ids! {
    /// An organisation.
    TenantId;
    /// A user, role session or service.
    PrincipalId;
    /// A bucket.
    BucketId;
    /// The sealed bytes of one part or single-part object.
    BodyId;
    /// An object version. Never reused.
    VersionId;
    /// A multipart upload.
    UploadId;
    /// One run of a gateway or node.
    SessionId;
    /// A key; a name is not an identity.
    KeyId;
    /// A destruction that was asked for.
    DestructionId;
    /// An access of the platform to a bucket of a tenant that was asked for.
    AccessId;
    /// A request to give a tenant that lost its administrators another.
    ReseatingId;
    /// A public key that a tenant wraps keys to, for transport.
    TransportId;
    /// One disk of a node.
    StoreId;
}

/// 32 hexadecimal digits, or the same with a UUID's hyphens.
fn parse(text: &str) -> Result<[u8; 16], ParseIdError> {
    let hyphens = [8, 13, 18, 23];
    let hyphenated = text.len() == 36;
    let mut digits = Vec::with_capacity(32);
    for (at, byte) in text.bytes().enumerate() {
        match char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok()) {
            Some(digit) => digits.push(digit),
            None if byte == b'-' && hyphenated && hyphens.contains(&at) => {}
            None => return Err(ParseIdError),
        }
    }
    if digits.len() != 32 {
        return Err(ParseIdError);
    }
    let mut out = [0; 16];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |acc, d| acc << 4 | d);
    }
    Ok(out)
}

/// The public half of an access key: 3 to 128 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AccessKeyId(String);

/// Text that is not an access key id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an access key id has 3 to 128 letters, digits, `_` or `-`")]
pub struct ParseAccessKeyError;

impl AccessKeyId {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AccessKeyId {
    type Err = ParseAccessKeyError;
    fn from_str(text: &str) -> Result<Self, ParseAccessKeyError> {
        let valid = (3..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseAccessKeyError) }
    }
}

impl TryFrom<String> for AccessKeyId {
    type Error = ParseAccessKeyError;
    fn try_from(text: String) -> Result<Self, ParseAccessKeyError> {
        text.parse()
    }
}

impl From<AccessKeyId> for String {
    fn from(id: AccessKeyId) -> Self {
        id.0
    }
}

impl fmt::Display for AccessKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ids_come_back_from_text(bytes: [u8; 16]) {
            let id = VersionId::from_bytes(bytes);
            let text = id.to_string();
            prop_assert_eq!(text.parse::<VersionId>(), Ok(id));
            let uuid = format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]);
            prop_assert_eq!(uuid.parse::<VersionId>(), Ok(id));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<VersionId>(&json).unwrap(), id);
        }

        #[test]
        fn any_text_is_no_panic(text in ".{0,40}") {
            let _parsed = text.parse::<BodyId>();
            let _key = text.parse::<AccessKeyId>();
        }
    }

    #[test]
    fn time_ordered_ids_sort_by_time() {
        let early = BodyId::time_ordered(1_000, [255; 10]);
        let late = BodyId::time_ordered(1_001, [0; 10]);
        assert!(early < late);
        assert_eq!((early.made(), late.made()), (UtcMillis(1_000), UtcMillis(1_001)));
    }
}
