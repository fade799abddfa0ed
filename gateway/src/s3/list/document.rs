//! The XML of a list, written row by row (STORAGE.md, Lists): as objects of `s3s`, a page of 1,000 names
//! would be ten thousand small strings, and they would be most of what a list costs.

use std::fmt::Display;
use std::io::Write;

use bytes::Bytes;
use policy::time::UtcMillis;
use time::OffsetDateTime;

use super::url_encode_to;
use crate::s3::metadata::ListedValues;

/// Bytes that a row usually takes.
const ROW: usize = 420;

/// A list of objects and common prefixes, as ListObjects and ListObjectsV2 answer it.
pub(super) struct Document {
    xml: Vec<u8>,
    encode: bool,
    /// The second that was written last: neighbours in a list were often written together.
    second: (u64, [u8; 20]),
}

/// What a list says of one object.
pub(super) struct Row<'a> {
    pub name: &'a str,
    pub size: u64,
    pub modified: UtcMillis,
    pub values: &'a ListedValues<'a>,
    pub owner: Option<&'a str>,
}

impl Document {
    /// An empty list for about so many rows; `encode` percent-encodes names.
    pub fn new(rows: usize, encode: bool) -> Self {
        let xml = Vec::with_capacity(512 + rows * ROW);
        let mut list = Self { xml, encode, second: (u64::MAX, [b'0'; 20]) };
        list.put(concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">"#
        ));
        list
    }

    /// An element whose text needs no escaping.
    pub fn plain(&mut self, name: &str, value: impl Display) {
        // Writing to memory cannot fail.
        let _written = write!(self.xml, "<{name}>{value}</{name}>").is_ok();
    }

    /// An element with any text.
    pub fn text(&mut self, name: &str, value: &str) {
        self.open(name);
        escape(value, &mut self.xml);
        self.close(name);
    }

    /// An element with a name of an object, or a part of one.
    pub fn name(&mut self, name: &str, value: &str) {
        self.open(name);
        self.named(value);
        self.close(name);
    }

    fn named(&mut self, value: &str) {
        if self.encode { url_encode_to(value, &mut self.xml) } else { escape(value, &mut self.xml) }
    }

    /// One object. Its markup is put down in as few pieces as there are gaps for values.
    pub fn object(&mut self, row: &Row<'_>) {
        self.put("<Contents><Key>");
        self.named(row.name);
        self.put("</Key><LastModified>");
        self.time(row.modified);
        self.put("</LastModified><ETag>&quot;");
        row.values.etag.write(&mut self.xml);
        self.put("&quot;</ETag>");
        if let Some(checksum) = &row.values.checksum {
            self.put("<ChecksumAlgorithm>");
            self.put(checksum.algorithm);
            self.put("</ChecksumAlgorithm><ChecksumType>");
            self.put(checksum.kind());
            self.put("</ChecksumType>");
        }
        self.put("<Size>");
        self.number(row.size);
        self.put("</Size>");
        if let Some(owner) = row.owner {
            self.put("<Owner><ID>");
            self.put(owner);
            self.put("</ID></Owner>");
        }
        self.put("<StorageClass>STANDARD</StorageClass></Contents>");
    }

    /// One common prefix.
    pub fn prefix(&mut self, prefix: &str) {
        self.open("CommonPrefixes");
        self.name("Prefix", prefix);
        self.close("CommonPrefixes");
    }

    /// The whole document.
    pub fn finish(mut self) -> Bytes {
        self.close("ListBucketResult");
        Bytes::from(self.xml)
    }

    fn put(&mut self, markup: &str) {
        self.xml.extend_from_slice(markup.as_bytes());
    }

    fn number(&mut self, value: u64) {
        let mut text = [0; 20];
        digits(value, &mut text);
        let from = text.iter().position(|digit| *digit != b'0').unwrap_or(19);
        self.xml.extend_from_slice(&text[from..]);
    }

    fn open(&mut self, name: &str) {
        self.put("<");
        self.put(name);
        self.put(">");
    }

    fn close(&mut self, name: &str) {
        self.put("</");
        self.put(name);
        self.put(">");
    }

    /// `2026-11-24T12:00:00.123Z`
    fn time(&mut self, at: UtcMillis) {
        let (second, millis) = (at.0 / 1000, at.0 % 1000);
        if self.second.0 != second {
            self.second = (second, of_second(second));
        }
        let mut text = [0; 24];
        text[..20].copy_from_slice(&self.second.1);
        digits(millis, &mut text[20..23]);
        text[23] = b'Z';
        self.xml.extend_from_slice(&text);
    }
}

/// `2026-11-24T12:00:00.`
fn of_second(second: u64) -> [u8; 20] {
    let at = i64::try_from(second).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
    let at = at.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let mut text = *b"0000-00-00T00:00:00.";
    digits(at.year().unsigned_abs().into(), &mut text[..4]);
    let [month, day] = [u8::from(at.month()), at.day()];
    for (place, value) in [(5, month), (8, day), (11, at.hour()), (14, at.minute()), (17, at.second())] {
        digits(value.into(), &mut text[place..place + 2]);
    }
    text
}

/// The last decimal digits, as many as there is room for.
fn digits(mut value: u64, text: &mut [u8]) {
    for digit in text.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or_default();
        value /= 10;
    }
}

/// Escapes text for an element. Control characters that XML 1.0 cannot hold are written as S3 writes them.
fn escape(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            0..=0x1f => "",
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        if entity.is_empty() {
            let _written = write!(out, "&#x{byte:X};").is_ok();
        } else {
            out.extend_from_slice(entity.as_bytes());
        }
    }
    out.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::rfc3339;
    use crate::s3::checks::{StoredChecksum, StoredETag};
    use crate::s3::metadata::ListValues;
    use crate::s3::put::encode;

    #[test]
    fn a_row_says_what_s3_says() {
        let values = ListedValues { etag: StoredETag { md5: [0xab; 16], parts: Some(2) }, checksum: None };
        let mut list = Document::new(1, false);
        list.object(&Row {
            name: "a&b\u{1}/한 <",
            size: 7,
            modified: UtcMillis(1_764_045_042_007),
            values: &values,
            owner: Some("0101"),
        });
        let text = String::from_utf8(list.finish().to_vec()).unwrap();
        let row = text.split_once("<Contents>").unwrap().1.split_once("</Contents>").unwrap().0;
        assert_eq!(
            row,
            "<Key>a&amp;b&#x1;/한 &lt;</Key><LastModified>2025-11-25T04:30:42.007Z</LastModified>\
             <ETag>&quot;abababababababababababababababab-2&quot;</ETag><Size>7</Size>\
             <Owner><ID>0101</ID></Owner><StorageClass>STANDARD</StorageClass>"
        );
    }

    #[test]
    fn what_was_stored_is_what_is_said() {
        let checksum = |composite| StoredChecksum { algorithm: "CRC32C".to_owned(), value: vec![7; 4], composite };
        for (checksum, said) in [
            (None, ""),
            (
                Some(checksum(None)),
                "<ChecksumAlgorithm>CRC32C</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType>",
            ),
            (
                Some(checksum(Some(9))),
                "<ChecksumAlgorithm>CRC32C</ChecksumAlgorithm><ChecksumType>COMPOSITE</ChecksumType>",
            ),
        ] {
            let stored = ListValues { etag: StoredETag { md5: [0xab; 16], parts: None }, checksum };
            let stored = encode(&stored).unwrap();
            let values = ListedValues::decode(&stored).unwrap();
            let mut list = Document::new(1, true);
            list.object(&Row { name: "a b", size: 7, modified: UtcMillis(7), values: &values, owner: None });
            let text = String::from_utf8(list.finish().to_vec()).unwrap();
            assert!(text.contains(&format!("&quot;</ETag>{said}<Size>7</Size><StorageClass>")), "{text}");
            assert!(text.contains("<Key>a+b</Key><LastModified>1970-01-01T00:00:00.007Z</LastModified>"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_are_those_of_the_standard_library(value: u64, bits in 0..64_u32) {
            let mut list = Document::new(1, false);
            list.xml.clear();
            list.number(value >> bits);
            prop_assert_eq!(list.xml, (value >> bits).to_string().into_bytes());
        }

        #[test]
        fn times_are_those_of_the_clock(seconds in proptest::collection::vec(0..253_402_300_800_000_u64, 1..5)) {
            let mut list = Document::new(1, false);
            for at in seconds.iter().flat_map(|at| [*at, *at + 1]) {
                list.xml.clear();
                list.time(UtcMillis(at));
                prop_assert_eq!(list.xml.as_slice(), rfc3339(UtcMillis(at)).into_bytes());
            }
        }

        #[test]
        fn escaped_text_has_no_markup(text in ".{0,60}") {
            let mut out = Vec::new();
            escape(&text, &mut out);
            let out = String::from_utf8(out).unwrap();
            prop_assert!(!out.contains(['<', '>', '"']) && !out.bytes().any(|b| b < 0x20));
            let back = out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
            prop_assert!(back == text || out.contains("&#x"));
        }
    }
}
