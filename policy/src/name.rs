//! Bucket names and object keys: parsed once, never checked again.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest object key in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 1024;

/// Text that may not name a bucket or an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a bucket name.
    #[error("not a valid bucket name")]
    Bucket,
    /// An object key is 1 to 1024 bytes.
    #[error("an object key has 1 to 1024 bytes")]
    Key,
}

/// The name of a bucket, by the rules for general purpose buckets.
///
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html>
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BucketName(String);

/// The name of an object: bytes are its identity, nothing is normalised.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

impl BucketName {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ObjectKey {
    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl FromStr for BucketName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        const PREFIXES: [&str; 3] = ["xn--", "sthree-", "amzn-s3-demo-"];
        const SUFFIXES: [&str; 4] = ["-s3alias", "--ol-s3", ".mrap", "--x-s3"];
        let edge = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        let valid = (3..=63).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-'))
            && edge(bytes.first())
            && edge(bytes.last())
            && !text.contains("..")
            && text.parse::<Ipv4Addr>().is_err()
            && !PREFIXES.iter().any(|p| text.starts_with(p))
            && !SUFFIXES.iter().any(|s| text.ends_with(s));
        if valid { Ok(Self(text.to_owned())) } else { Err(NameError::Bucket) }
    }
}

impl FromStr for ObjectKey {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        if (1..=KEY_BYTES_MAX).contains(&text.len()) { Ok(Self(text.to_owned())) } else { Err(NameError::Key) }
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}

text!(BucketName, ObjectKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_names_follow_the_rules() {
        for good in ["abc", "my-bucket.1", "0ab", "a".repeat(63).as_str()] {
            assert!(good.parse::<BucketName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "ab",
            "Abc",
            "a_b",
            "-ab",
            "ab-",
            "a..b",
            "192.168.0.1",
            "xn--abc",
            "abc-s3alias",
            "한국어",
            "a".repeat(64).as_str(),
        ] {
            assert!(bad.parse::<BucketName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_bytes() {
        assert!("".parse::<ObjectKey>().is_err());
        assert!("가".repeat(341).parse::<ObjectKey>().is_ok());
        assert!("가".repeat(342).parse::<ObjectKey>().is_err());
        // NFC and NFD spell the same word and are two keys.
        assert_ne!("한".parse::<ObjectKey>(), "\u{1112}\u{1161}\u{11ab}".parse::<ObjectKey>());
    }
}
