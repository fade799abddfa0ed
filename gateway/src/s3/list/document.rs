//! The XML of a list, written row by row (STORAGE.md, Lists): as objects of `s3s`, a page of 1,000 names
//! would be ten thousand small strings, and they would be most of what a list costs.

use std::fmt::{Display, Write};

use bytes::Bytes;
use policy::id::TenantId;
use policy::time::UtcMillis;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::url_encode;
use crate::s3::metadata::ListValues;

/// Bytes that a row usually takes.
const ROW: usize = 420;

/// A list of objects and common prefixes, as ListObjects and ListObjectsV2 answer it.
pub(super) struct Document {
    xml: String,
    encode: bool,
    /// The second that was written last: neighbours in a list were often written together.
    second: (u64, String),
}

/// What a list says of one object.
pub(super) struct Row<'a> {
    pub name: &'a str,
    pub size: u64,
    pub modified: UtcMillis,
    pub values: &'a ListValues,
    pub owner: Option<TenantId>,
}

impl Document {
    /// An empty list for about so many rows; `encode` percent-encodes names.
    pub fn new(rows: usize, encode: bool) -> Self {
        let mut xml = String::with_capacity(512 + rows * ROW);
        xml.push_str(concat!(
            r#"<?xml version="1.0" encoding="UTF-8"?>"#,
            r#"<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">"#
        ));
        Self { xml, encode, second: (u64::MAX, String::new()) }
    }

    /// An element whose text needs no escaping.
    pub fn plain(&mut self, name: &str, value: impl Display) {
        // Writing to a string cannot fail.
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
        if self.encode { self.plain(name, url_encode(value)) } else { self.text(name, value) }
    }

    /// One object.
    pub fn object(&mut self, row: &Row<'_>) {
        self.open("Contents");
        self.name("Key", row.name);
        self.open("LastModified");
        self.time(row.modified);
        self.close("LastModified");
        self.plain("ETag", format_args!("&quot;{}&quot;", row.values.etag.text()));
        if let Some(checksum) = &row.values.checksum {
            self.plain("ChecksumAlgorithm", &checksum.algorithm);
            self.plain("ChecksumType", checksum.kind().as_str());
        }
        self.plain("Size", row.size);
        if let Some(tenant) = row.owner {
            self.open("Owner");
            self.plain("ID", tenant);
            self.close("Owner");
        }
        self.plain("StorageClass", "STANDARD");
        self.close("Contents");
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

    fn open(&mut self, name: &str) {
        self.xml.push('<');
        self.xml.push_str(name);
        self.xml.push('>');
    }

    fn close(&mut self, name: &str) {
        self.xml.push_str("</");
        self.xml.push_str(name);
        self.xml.push('>');
    }

    fn time(&mut self, at: UtcMillis) {
        let (second, millis) = (at.0 / 1000, at.0 % 1000);
        if self.second.0 != second {
            let at = i64::try_from(second).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
            let text = at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_default();
            self.second = (second, text.trim_end_matches('Z').to_owned());
        }
        self.xml.push_str(&self.second.1);
        let _written = write!(self.xml, ".{millis:03}Z").is_ok();
    }
}

/// Escapes text for an element. Control characters that XML 1.0 cannot hold are written as S3 writes them.
fn escape(text: &str, out: &mut String) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let entity = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            0..=0x1f => "",
            _ => continue,
        };
        // `at` is the place of an ASCII byte, so it is a border of characters.
        out.push_str(text.get(from..at).unwrap_or_default());
        from = at + 1;
        if entity.is_empty() {
            let _written = write!(out, "&#x{byte:X};").is_ok();
        } else {
            out.push_str(entity);
        }
    }
    out.push_str(text.get(from..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::s3::checks::StoredETag;

    #[test]
    fn a_row_says_what_s3_says() {
        let values = ListValues { etag: StoredETag { md5: [0xab; 16], parts: Some(2) }, checksum: None };
        let mut list = Document::new(1, false);
        list.object(&Row {
            name: "a&b\u{1}/한 <",
            size: 7,
            modified: UtcMillis(1_764_045_042_007),
            values: &values,
            owner: Some(TenantId::from_bytes([1; 16])),
        });
        let text = String::from_utf8(list.finish().to_vec()).unwrap();
        let row = text.split_once("<Contents>").unwrap().1.split_once("</Contents>").unwrap().0;
        assert_eq!(
            row,
            "<Key>a&amp;b&#x1;/한 &lt;</Key><LastModified>2025-11-25T04:30:42.007Z</LastModified>\
             <ETag>&quot;abababababababababababababababab-2&quot;</ETag><Size>7</Size>\
             <Owner><ID>01010101010101010101010101010101</ID></Owner><StorageClass>STANDARD</StorageClass>"
        );
    }

    proptest! {
        #[test]
        fn escaped_text_has_no_markup(text in ".{0,60}") {
            let mut out = String::new();
            escape(&text, &mut out);
            prop_assert!(!out.contains(['<', '>', '"']) && !out.bytes().any(|b| b < 0x20));
            let back = out.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&amp;", "&");
            prop_assert!(back == text || out.contains("&#x"));
        }
    }
}
