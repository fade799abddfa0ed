//! Names: what stands in the path is decoded once, its bytes are the key, and the signature covers what
//! was sent.

use integration_tests::clock::Moment;
use integration_tests::sign::encode;
use integration_tests::{Client, Store, xml};

/// Keys that some client or proxy is known to bend.
const KEYS: [&str; 26] = [
    "plain",
    "a b",
    "a+b",
    "a%20b",
    "a%b",
    "100%",
    "%41",
    "%2F",
    "a%2Fb",
    "..",
    "a/../b",
    "./a",
    "a//b",
    "/leading",
    "trailing/",
    "//",
    "곳간",                                             // NFC
    "\u{1100}\u{1169}\u{11ba}\u{1100}\u{1161}\u{11ab}", // the same word in NFD
    "q?x=y&z#f",
    "~!@$^*()_-='\",;:[]{}|\\<>",
    "\u{1f33e}",
    "\u{feff}bom",
    "tab\there",
    "line\nfeed",
    "carriage\rreturn",
    "bell\u{7}\u{1}\u{7f}",
];

fn listed(s3: &Client, query: &[(&str, &str)]) -> Vec<String> {
    let request = s3.bucket("GET", "names").query("list-type", "2");
    let answer = query.iter().fold(request, |r, (k, v)| r.query(k, v)).send().status(200);
    let raw = |b: &u8| *b < b' ' && !b"\t\n".contains(b);
    assert!(!answer.body.iter().any(raw), "a parser would change or refuse a raw control character");
    answer.xml_all("Key")
}

/// Trap 13: bytes are the identity; nothing is normalised, decoded twice or cut.
#[test]
fn trap_13_keys_are_kept_byte_for_byte() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("names");
    for key in KEYS {
        s3.put("names", key, key.to_owned()).done();
    }
    for key in KEYS {
        s3.must_hold("names", key, key.as_bytes());
        assert_eq!(s3.head("names", key).status(200).must("content-length"), key.len().to_string(), "{key:?}");
    }
    let mut sorted = KEYS.map(str::to_owned).to_vec();
    sorted.sort();
    assert_eq!(listed(&s3, &[]), sorted, "XML gives each key back");
    let coded: Vec<String> = listed(&s3, &[("encoding-type", "url")]).iter().map(|k| decode(k)).collect();
    assert_eq!(coded, sorted);
    for key in ["곳간", "a+b", "a%2Fb", "carriage\r"] {
        let own: Vec<String> = sorted.iter().filter(|k| k.starts_with(key)).cloned().collect();
        assert_eq!(listed(&s3, &[("prefix", key)]), own, "prefix {key:?}");
    }
    let mut s3 = server.client();
    s3.host = format!("names.localhost:{}", server.bootstrap.s3.port());
    for key in KEYS {
        let path = format!("/{}", encode(key, true));
        assert_eq!(s3.raw("GET", &path).send().status(200).text(), key, "virtual-host style {key:?}");
        s3.raw("PUT", &path).body(format!("again {key}")).send().status(200).done();
    }
    let s3 = server.client();
    for key in KEYS {
        s3.must_hold("names", key, format!("again {key}").as_bytes());
        let entry = xml::escape(key).replace('\r', "&#13;");
        let entry = format!("<Delete><Object><Key>{entry}</Key></Object></Delete>");
        if key.bytes().any(|b| b < b' ' && !b"\t\n\r".contains(&b)) {
            // XML cannot say this key.
            s3.object("DELETE", "names", key).send().status(204).done();
            continue;
        }
        let sum = integration_tests::sums::base64(&integration_tests::sums::md5(entry.as_bytes()));
        let deleted = s3.bucket("POST", "names").query("delete", "").header("content-md5", &sum).body(entry).send();
        assert_eq!(deleted.status(200).xml_all("Key"), [key]);
    }
    assert_eq!(listed(&s3, &[]), Vec::<String>::new());
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let pair: Vec<u8> = bytes.by_ref().take(2).collect();
                out.push(u8::from_str_radix(std::str::from_utf8(&pair).unwrap(), 16).unwrap());
            }
            other => out.push(other),
        }
    }
    String::from_utf8(out).unwrap()
}

/// Trap 12: the path is signed as it is encoded on the wire; `+` in it is a plus.
#[test]
fn trap_12_the_path_is_signed_as_it_is_sent() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("names");
    for (key, path) in [
        ("a+b", "/names/a+b"),
        ("(a)!*'", "/names/(a)!*'"),
        ("a:b@c,d;e=f&g$h", "/names/a:b@c,d;e=f&g$h"),
        ("mixed + (x)", "/names/mixed%20+%20(x)"),
    ] {
        s3.put("names", key, key.to_owned()).done();
        assert_eq!(s3.raw("GET", path).send().status(200).text(), key, "signed as sent");
        let signed = format!("/names/{}", encode(key, true));
        assert_eq!(s3.raw("GET", &signed).sent_path(path).send().status(200).text(), key, "signed as S3 encodes");
    }
    // A signature of one path opens no other.
    s3.put("names", "a b", "space").done();
    s3.raw("GET", "/names/a+b").sent_path("/names/a%20b").send().refused(403, "SignatureDoesNotMatch").done();
    s3.raw("GET", "/names/a%2520b").sent_path("/names/a%20b").send().refused(403, "SignatureDoesNotMatch").done();
    let target = s3.presign("GET", "/names/a%20b", &[], (Moment::now(), 60));
    assert_eq!(s3.visit("GET", &target, b"").status(200).text(), "space");
    s3.visit("GET", &target.replace("a%20b", "a+b"), b"").refused(403, "SignatureDoesNotMatch").done();
    // Bytes that are no text name nothing.
    s3.raw("PUT", "/names/%FF%FE").body("v").send().refused(400, "InvalidURI").done();
}

/// Trap 30: some clients write a space in a query as `+`, others as `%20`; both are a space.
#[test]
fn trap_30_plus_is_a_space_in_queries() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("names");
    for key in ["a b/1", "a+b/2", "a b+c"] {
        s3.put("names", key, "x").done();
    }
    let extra = [("list-type", "2"), ("prefix", "a b"), ("response-content-disposition", "a; b=\"c d\"")];
    let target = s3.presign("GET", "/names", &extra, (Moment::now(), 60));
    let plus = target.replace("%20", "+");
    assert_ne!(plus, target);
    for target in [target, plus.clone()] {
        assert_eq!(s3.visit("GET", &target, b"").status(200).xml_all("Key"), ["a b+c", "a b/1"], "{target}");
    }
    s3.visit("GET", &plus.replace("prefix=a+b", "prefix=a%2Bb"), b"").refused(403, "SignatureDoesNotMatch").done();
    let request = s3.bucket("GET", "names").query("list-type", "2").query("prefix", "a b");
    let listed = request.raw_query("list-type=2&prefix=a+b").send().status(200);
    assert_eq!(listed.xml_all("Key"), ["a b+c", "a b/1"]);
}
