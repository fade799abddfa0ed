//! What must hold of any text: each check is run by a property test on random text and by a fuzz
//! target on guided text (`integration-tests/fuzz`).

use std::fmt::{Debug, Display};
use std::str::FromStr;

use crate::id::{AccessKeyId, VersionId};
use crate::name::{BucketName, KEY_BYTES_MAX, ObjectKey};
use crate::place::{Country, Subdivision};

/// What parses is written as text that parses as the same; names keep their text.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    comes_back::<VersionId>(text);
    for written in [
        comes_back::<AccessKeyId>(text),
        comes_back::<BucketName>(text),
        comes_back::<ObjectKey>(text),
        comes_back::<Country>(text),
        comes_back::<Subdivision>(text),
    ]
    .into_iter()
    .flatten()
    {
        assert_eq!(written, text);
    }
    assert_eq!(text.parse::<ObjectKey>().is_ok(), (1..=KEY_BYTES_MAX).contains(&data.len()));
    if text.parse::<BucketName>().is_ok() {
        assert!((3..=63).contains(&text.len()) && text.is_ascii() && !text.contains(['/', '_', ':', '%']));
    }
}

fn comes_back<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<String> {
    let parsed = text.parse::<T>().ok()?;
    let written = parsed.to_string();
    assert_eq!(written.parse::<T>().ok(), Some(parsed));
    Some(written)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_passes(text in ".{0,80}") {
            names(text.as_bytes());
        }

        #[test]
        fn what_looks_like_a_name_passes(text in "[a-z0-9.-]{1,66}|[0-9a-fA-F-]{30,37}|[A-Z]{2}(-[0-9A-Z]{1,4})?") {
            names(text.as_bytes());
        }
    }
}
