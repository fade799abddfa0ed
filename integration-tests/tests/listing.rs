//! Listings against the oracle, both versions, all parameters, every page size.

use integration_tests::noise::Noise;
use integration_tests::oracle::{Entry, Oracle};
use integration_tests::wire::Answer;
use integration_tests::{Client, Store, xml};

fn entries(answer: &Answer) -> Vec<Entry> {
    let text = answer.text();
    let keys = xml::inner(&text, "Contents").into_iter().map(|c| Entry::Key(xml::first(&c, "Key").unwrap_or_default()));
    let prefixes = xml::inner(&text, "CommonPrefixes")
        .into_iter()
        .map(|c| Entry::Prefix(xml::first(&c, "Prefix").unwrap_or_default()));
    let mut found: Vec<Entry> = keys.chain(prefixes).collect();
    found.sort_by(|a, b| a.text().cmp(b.text()));
    found
}

fn version_2(s3: &Client, wanted: (&str, &str, &str), page: usize) -> Vec<Entry> {
    let (prefix, delimiter, after) = wanted;
    let (mut found, mut token) = (Vec::new(), None::<String>);
    loop {
        let mut request = s3
            .bucket("GET", "listed")
            .query("list-type", "2")
            .query("prefix", prefix)
            .query("delimiter", delimiter)
            .query("start-after", after)
            .query("max-keys", &page.to_string());
        if let Some(token) = &token {
            request = request.query("continuation-token", token);
        }
        let answer = request.send().status(200);
        let shown = entries(&answer);
        assert!(shown.len() <= page);
        assert_eq!(answer.xml("KeyCount"), shown.len().to_string());
        found.extend(shown);
        if answer.xml("IsTruncated") != "true" {
            return found;
        }
        token = Some(answer.xml("NextContinuationToken"));
        assert!(found.len() < 10_000, "the listing never ends");
    }
}

fn version_1(s3: &Client, wanted: (&str, &str, &str), page: usize) -> Vec<Entry> {
    let (prefix, delimiter, after) = wanted;
    let (mut found, mut marker) = (Vec::new(), after.to_owned());
    loop {
        let answer = s3
            .bucket("GET", "listed")
            .query("prefix", prefix)
            .query("delimiter", delimiter)
            .query("marker", &marker)
            .query("max-keys", &page.to_string())
            .send()
            .status(200);
        let shown = entries(&answer);
        let last = shown.last().map(|e| e.text().to_owned()).unwrap_or_default();
        found.extend(shown);
        if answer.xml("IsTruncated") != "true" {
            return found;
        }
        marker = Some(answer.xml("NextMarker")).filter(|m| !m.is_empty()).unwrap_or(last);
        assert!(found.len() < 10_000, "the listing never ends");
    }
}

fn filled(s3: &Client) -> Oracle {
    s3.make_bucket("listed");
    let mut noise = Noise::of_test(11);
    let mut oracle = Oracle::default();
    let pieces = ["a", "b", "/", "//", "가", "나다", " ", "+", "&", "~", "z/", "%", "é", "\u{1f33e}"];
    while oracle.objects.len() < 150 {
        let length = 1 + noise.below(5);
        let key: String = (0..length).map(|_| *noise.pick(&pieces)).collect();
        s3.put("listed", &key, "x").done();
        oracle.objects.insert(key, "x".into());
    }
    oracle
}

#[test]
fn both_versions_agree_with_the_oracle() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    let oracle = filled(&s3);
    let afters = ["", "a", "a/", "b//", "가", "zzz"];
    for prefix in ["", "a", "a/", "b/", "가", "none"] {
        for delimiter in ["", "/", "//", "나다", "a"] {
            for after in afters {
                let wanted = oracle.list(prefix, delimiter, after);
                for page in [1, 3, 7, 1000] {
                    if page == 1 && wanted.len() > 30 {
                        continue;
                    }
                    let at = (prefix, delimiter, after);
                    assert_eq!(version_2(&s3, at, page), wanted, "v2 {at:?} by {page}");
                }
                let at = (prefix, delimiter, after);
                assert_eq!(version_1(&s3, at, 7), wanted, "v1 {at:?}");
            }
        }
    }
}

/// Trap 15: `encoding-type=url` as AWS does it: space is `+`, plus is `%2B`, 한글 is `%ED..`.
#[test]
fn trap_15_names_are_encoded_as_aws_does() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("listed");
    for key in ["a b+c/한글", "d/e~f-g_h.i", "z"] {
        s3.put("listed", key, "x").done();
    }
    let list = |query: &[(&str, &str)]| {
        query
            .iter()
            .fold(s3.bucket("GET", "listed").query("encoding-type", "url"), |r, (k, v)| r.query(k, v))
            .send()
            .status(200)
    };
    let all = list(&[("list-type", "2")]);
    assert_eq!(all.xml_all("Key"), ["a+b%2Bc/%ED%95%9C%EA%B8%80", "d/e%7Ef-g_h.i", "z"]);
    assert_eq!(all.xml("EncodingType"), "url");
    let some = list(&[("list-type", "2"), ("prefix", "a b+"), ("delimiter", "/"), ("start-after", "a a")]);
    assert_eq!(some.xml_all("Prefix"), ["a+b%2B", "a+b%2Bc/"]);
    assert_eq!(some.xml("Delimiter"), "/");
    assert_eq!(some.xml("StartAfter"), "a+a");
    let old = list(&[("marker", "a b"), ("max-keys", "1"), ("delimiter", "/")]);
    assert_eq!((old.xml("Marker"), old.xml("NextMarker")), ("a+b".into(), "a+b%2Bc/".into()));
}

/// Trap 16: a token is opaque and goes back as it came; `max-keys=0` is a listing too.
#[test]
fn trap_16_tokens_go_round_with_encoding_and_zero_keys_is_fine() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("listed");
    let keys = ["a b", "a+b", "가 나", "z"];
    for key in keys {
        s3.put("listed", key, "x").done();
    }
    let (mut seen, mut token) = (0, String::new());
    for _ in 0..keys.len() + 1 {
        let mut request =
            s3.bucket("GET", "listed").query("list-type", "2").query("encoding-type", "url").query("max-keys", "1");
        if !token.is_empty() {
            request = request.query("continuation-token", &token);
        }
        let page = request.send().status(200);
        if !token.is_empty() {
            assert_eq!(page.xml("ContinuationToken"), token, "verbatim");
        }
        seen += page.xml_all("Key").len();
        token = page.xml("NextContinuationToken");
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, token.as_str()), (keys.len(), ""));
    let none = s3.bucket("GET", "listed").query("list-type", "2").query("max-keys", "0").send();
    let none = none.status(200);
    assert_eq!((none.xml("KeyCount"), none.xml("IsTruncated")), ("0".into(), "false".into()));
}

/// Trap 17: with a token and `start-after` the token wins; an empty or made-up token is refused.
#[test]
fn trap_17_the_token_wins_over_start_after() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("listed");
    for key in ["a", "b", "c", "d"] {
        s3.put("listed", key, "x").done();
    }
    let list = |query: &[(&str, &str)]| {
        query.iter().fold(s3.bucket("GET", "listed").query("list-type", "2"), |r, (k, v)| r.query(k, v)).send()
    };
    let first = list(&[("max-keys", "1")]).status(200);
    let token = first.xml("NextContinuationToken");
    let next = list(&[("continuation-token", &token), ("start-after", "c")]).status(200);
    assert_eq!(next.xml_all("Key"), ["b", "c", "d"]);
    assert_eq!(list(&[("continuation-token", "")]).status(200).xml_all("Key"), ["a", "b", "c", "d"]);
    list(&[("continuation-token", "made-up token")]).refused(400, "InvalidArgument").done();
    list(&[("max-keys", "-1")]).refused(400, "InvalidArgument").done();
    list(&[("max-keys", "many")]).status(400).done();
    let capped = list(&[("max-keys", "5000")]).status(200);
    assert_eq!(capped.xml_all("Key").len(), 4);
}

#[test]
fn listed_values_are_those_of_the_objects() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("listed");
    let etag = s3.put("listed", "k", "12345").etag();
    let answer = s3.bucket("GET", "listed").query("list-type", "2").query("fetch-owner", "true").send();
    let answer = answer.status(200);
    assert_eq!(answer.xml("ETag").trim_matches('"'), etag);
    assert_eq!((answer.xml("Size"), answer.xml("StorageClass")), ("5".into(), "STANDARD".into()));
    assert!(answer.xml("LastModified").ends_with('Z'), "{}", answer.text());
    assert!(!answer.xml("ID").is_empty(), "{}", answer.text());
    let answer = s3.bucket("GET", "no-such-bucket-here").query("list-type", "2").send();
    answer.refused(404, "NoSuchBucket").done();
}
