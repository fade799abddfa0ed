//! Bad input, by tables: each request is refused with the status and code of AWS, in a document that is whole,
//! and leaves nothing behind.

use integration_tests::clock::Moment;
use integration_tests::noise::body;
use integration_tests::sums::{base64, md5, md5_hex};
use integration_tests::wire::Wire;
use integration_tests::{Answer, Client, Outgoing, Store, xml};

/// An error document has a code, a message, the resource and the request's id, and is XML by its type.
fn whole(case: &str, answer: Answer, status: u16, code: &str) {
    let text = answer.text();
    assert_eq!((answer.status, answer.xml("Code").as_str()), (status, code), "{case}: {text}");
    assert!(answer.xml("Message").len() > 5, "{case}: no message in {text}");
    assert!(answer.xml("Resource").starts_with('/'), "{case}: no resource in {text}");
    assert_eq!(answer.xml("RequestId"), answer.must("x-amz-request-id"), "{case}");
    assert_eq!(answer.must("content-type"), "application/xml", "{case}");
    assert!(answer.header("date").is_some(), "{case}: no date");
    assert!(text.starts_with("<?xml") && text.ends_with("</Error>"), "{case}: {text}");
    assert_eq!(text.matches("<Message>").count(), 1, "{case}: {text}");
}

type Row<'a> = (&'a str, Outgoing<'a>, u16, &'a str);

fn all(rows: Vec<Row<'_>>) {
    for (case, request, status, code) in rows {
        whole(case, request.send(), status, code);
    }
}

#[test]
fn addresses_and_methods() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    let long = "k".repeat(1025);
    all(vec![
        ("no such bucket", s3.object("GET", "absent-bucket", "k"), 404, "NoSuchBucket"),
        ("no such key", s3.object("GET", "plain", "absent <&>"), 404, "NoSuchKey"),
        ("a bucket name in capitals", s3.bucket("GET", "UPPER"), 400, "InvalidBucketName"),
        ("a bucket name that is too short", s3.bucket("PUT", "ab"), 400, "InvalidBucketName"),
        ("a bucket name with a space", s3.raw("PUT", "/a%20b%20c"), 400, "InvalidBucketName"),
        ("a key of 1025 bytes", s3.object("PUT", "plain", &long).body("v"), 400, "KeyTooLongError"),
        ("a key of 1025 bytes to read", s3.object("GET", "plain", &long), 400, "KeyTooLongError"),
        ("a key of 342 syllables", s3.object("PUT", "plain", &"곳".repeat(342)).body("v"), 400, "KeyTooLongError"),
        ("a path that is no text", s3.raw("GET", "/plain/%ff%fe"), 400, "InvalidURI"),
        ("a path that is badly escaped", s3.raw("PUT", "/plain/100%").body("v"), 400, "InvalidURI"),
        ("a path that is escaped with no digits", s3.raw("GET", "/plain/%zz"), 400, "InvalidURI"),
        ("a method that is none", s3.object("BREW", "plain", "k"), 501, "NotImplemented"),
        ("a post to nothing", s3.raw("POST", "/"), 501, "NotImplemented"),
        ("an operation that is not served", s3.bucket("GET", "plain").query("acl", ""), 501, "NotImplemented"),
        ("a bucket that is there", s3.bucket("PUT", "plain"), 409, "BucketAlreadyOwnedByYou"),
    ]);
    let listed = s3.bucket("GET", "plain").query("list-type", "2").send().status(200);
    assert_eq!(listed.xml_all("Key"), Vec::<String>::new());
}

#[test]
fn signatures() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "k", "v").done();
    let wrong = s3.with(&s3.signer.access, "wrong");
    let nobody = s3.with("NOBODY", "x");
    let get = |header: &str| s3.object("GET", "plain", "k").anonymous().loose_header("authorization", header);
    let credential = format!("Credential={}/{}", s3.signer.access, s3.signer.scope(Moment::now()));
    let signed_for = |scope: &str| {
        let credential = format!("Credential={}/{scope}", s3.signer.access);
        get(&format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=host;x-amz-date, Signature={}", "0".repeat(64)))
            .header("x-amz-date", &Moment::now().amz())
    };
    let today = s3.signer.scope(Moment::now());
    let no_host = format!("AWS4-HMAC-SHA256 {credential}, SignedHeaders=x-amz-date, Signature={}", "0".repeat(64));
    all(vec![
        ("another secret", wrong.object("GET", "plain", "k"), 403, "SignatureDoesNotMatch"),
        ("an unknown access key", nobody.object("GET", "plain", "k"), 403, "InvalidAccessKeyId"),
        ("no signature", s3.object("GET", "plain", "k").anonymous(), 403, "AccessDenied"),
        ("an empty authorization", get(""), 403, "AccessDenied"),
        ("another scheme", get("Bearer abc"), 400, "InvalidArgument"),
        ("half a signature", get("AWS4-HMAC-SHA256 Credential=abc"), 400, "AuthorizationHeaderMalformed"),
        ("no date", get(&no_host.replace("x-amz-date", "host")), 403, "AccessDenied"),
        ("version 2", get("AWS AKIA:abc="), 400, "InvalidRequest"),
        ("another service", signed_for(&today.replace("/s3/", "/ec2/")), 400, "AuthorizationHeaderMalformed"),
        ("a scope of another day", signed_for("20200101/r/s3/aws4_request"), 400, "AuthorizationHeaderMalformed"),
        ("host is not signed", get(&no_host), 403, "AccessDenied"),
        (
            "a header that nobody signed",
            s3.object("PUT", "plain", "k2").body("v").loose_header("x-amz-meta-a", "b"),
            403,
            "AccessDenied",
        ),
        (
            "a clock of yesterday",
            s3.object("GET", "plain", "k").at(Moment::now().plus(-86_400)),
            403,
            "RequestTimeTooSkewed",
        ),
    ]);
    s3.must_hold("plain", "k", b"v");
    s3.get("plain", "k2").refused(404, "NoSuchKey").done();
}

#[test]
fn presigned_urls() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "k", "secret").done();
    let now = Moment::now();
    let url = |at: Moment, seconds| s3.presign("GET", "/plain/k", &[], (at, seconds));
    let good = url(now, 60);
    let forged = format!("{}{}", &good[..good.len() - 1], if good.ends_with('0') { '1' } else { '0' });
    let cut = |name: &str| {
        let (path, query) = good.split_once('?').unwrap();
        let kept: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with(name)).collect();
        format!("{path}?{}", kept.join("&"))
    };
    const PARAMETERS: &str = "AuthorizationQueryParametersError";
    for (case, target, status, code) in [
        ("no time at all", url(now, 0), 403, "AccessDenied"),
        ("more than a week", url(now, 604_801), 400, PARAMETERS),
        ("a negative time", good.replace("X-Amz-Expires=60", "X-Amz-Expires=-60"), 400, PARAMETERS),
        ("no number", good.replace("X-Amz-Expires=60", "X-Amz-Expires=soon"), 400, PARAMETERS),
        ("no expiry", cut("X-Amz-Expires"), 400, PARAMETERS),
        ("no credential", cut("X-Amz-Credential"), 400, PARAMETERS),
        ("no date", cut("X-Amz-Date"), 400, PARAMETERS),
        ("no signature", cut("X-Amz-Signature"), 403, "AccessDenied"),
        ("another service", good.replace("%2Fs3%2F", "%2Fec2%2F"), 400, PARAMETERS),
        ("a date that is not the scope's", good.replace("X-Amz-Date=2", "X-Amz-Date=1"), 400, PARAMETERS),
        ("expired", url(now.plus(-120), 60), 403, "AccessDenied"),
        ("of tomorrow", url(now.plus(86_400), 60), 403, "AccessDenied"),
        ("another key", good.replace("/plain/k", "/plain/other"), 403, "SignatureDoesNotMatch"),
        ("a longer time", good.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), 403, "SignatureDoesNotMatch"),
        ("one more parameter", format!("{good}&versionId=x"), 403, "SignatureDoesNotMatch"),
    ] {
        whole(case, s3.visit("GET", &target, b""), status, code);
    }
    whole("a forged signature", s3.visit("GET", &forged, b""), 403, "SignatureDoesNotMatch");
    whole("another method", s3.visit("DELETE", &good, b""), 403, "SignatureDoesNotMatch");
    assert_eq!(s3.visit("GET", &good, b"").status(200).text(), "secret");
    s3.visit("GET", &url(now, 604_800), b"").status(200).done();
}

/// A presigned upload is for what was signed: a copy source that its holder adds would read for him.
#[test]
fn a_presigned_upload_is_no_copy() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "secret", "secret").done();
    let target = s3.presign("PUT", "/plain/theirs", &[], (Moment::now(), 60));
    let (path, query) = target.split_once('?').unwrap();
    // Names of parameters may be escaped, and mean the same.
    let escaped = query.replace("X-Amz-Signature", "X-Amz-%53ignature").replace("X-Amz-Expires", "X-Amz-%45xpires");
    assert_ne!(escaped, query);
    let stolen = s3.raw("PUT", path).raw_query(&escaped).anonymous();
    let refused = stolen.loose_header("x-amz-copy-source", "/plain/secret").send();
    whole("a copy source that nobody signed, under escaped names", refused, 403, "AccessDenied");
    let stolen = s3.raw("PUT", path).raw_query(query).anonymous().loose_header("x-amz-copy-source", "/plain/secret");
    whole("a copy source that nobody signed", stolen.send(), 403, "AccessDenied");
    s3.get("plain", "theirs").refused(404, "NoSuchKey").done();
    s3.visit("PUT", &target, b"own").status(200).done();
    s3.must_hold("plain", "theirs", b"own");
}

#[test]
fn documents() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "k", "v").done();
    let upload = s3.begin("plain", "up");
    s3.part("plain", "up", &upload, 1).body("part").send().status(200).done();
    let delete = |text: &str| {
        let sum = base64(&md5(text.as_bytes()));
        s3.bucket("POST", "plain").query("delete", "").header("content-md5", &sum).body(text.to_owned()).send()
    };
    let complete =
        |text: &str| s3.object("POST", "plain", "up").query("uploadId", &upload).body(text.to_owned()).send();
    let many = "<Object><Key>k</Key></Object>".repeat(1001);
    let many = format!("<Delete>{many}</Delete>");
    for text in [
        "nonsense",
        "<Delete><Object><Key></Key></Object></Delete>",
        "<Delete>",
        "<Delete></Delete>",
        "<Delete><Object></Object></Delete>",
        "<Delete><Object><Key>k</Key></Object>",
        "<Delete><Object><Key>k</Key></Object></Delete><more/>",
        "<Other><Object><Key>k</Key></Object></Other>",
        "<Delete><Object><Key>&unknown;</Key></Object></Delete>",
        "<Delete><Quiet>maybe</Quiet><Object><Key>k</Key></Object></Delete>",
        &many,
    ] {
        whole(&text[..text.len().min(60)], delete(text), 400, "MalformedXML");
    }
    whole("no list", delete(""), 400, "MissingRequestBodyError");
    for text in [
        "nonsense",
        "<CompleteMultipartUpload>",
        "<CompleteMultipartUpload></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>one</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>",
        "<Other/>",
    ] {
        whole(text, complete(text), 400, "MalformedXML");
    }
    whole("no parts", complete(""), 400, "MalformedXML");
    for text in ["nonsense", "<CreateBucketConfiguration>", "<Other/>"] {
        whole(text, s3.bucket("PUT", "other").body(text).send(), 400, "MalformedXML");
    }
    let flood = s3.object("POST", "plain", "up").query("uploadId", &upload).body(vec![b' '; (8 << 20) + 1]).send();
    whole("a document of more than 8 MiB", flood, 400, "MaxMessageLengthExceeded");
    s3.bucket("HEAD", "other").send().status(404).done();
    s3.must_hold("plain", "k", b"v");
    s3.get("plain", "up").refused(404, "NoSuchKey").done();
}

#[test]
fn parts() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    let upload = s3.begin("plain", "up");
    let mut tags: Vec<(u32, String)> = Vec::new();
    for number in 1..=3 {
        let etag =
            s3.part("plain", "up", &upload, number).body(body(u64::from(number), 1000)).send().status(200).etag();
        tags.push((number, etag));
    }
    let complete = |parts: &[(u32, String)]| s3.complete("plain", "up", &upload, parts);
    let reversed: Vec<(u32, String)> = tags.iter().rev().cloned().collect();
    let twice = vec![tags[0].clone(), tags[0].clone()];
    let foreign = vec![(1, md5_hex(b"other"))];
    let unknown = vec![(9, tags[0].1.clone())];
    let zero = vec![(0, tags[0].1.clone())];
    let many: Vec<(u32, String)> = (1..=10_001).map(|n| (n, md5_hex(b"x"))).collect();
    let number = |n: &str| s3.object("PUT", "plain", "up").query("partNumber", n).query("uploadId", &upload).body("x");
    all(vec![
        ("parts that are too small", complete(&tags), 400, "EntityTooSmall"),
        ("parts out of order", complete(&reversed), 400, "InvalidPartOrder"),
        ("a part twice", complete(&twice), 400, "InvalidPartOrder"),
        ("a part with another etag", complete(&foreign), 400, "InvalidPart"),
        ("a part that never came", complete(&unknown), 400, "InvalidPart"),
        ("part zero", complete(&zero), 400, "InvalidPart"),
        ("more than ten thousand parts", complete(&many), 400, "MalformedXML"),
        ("part number 0", number("0"), 400, "InvalidArgument"),
        ("part number 10001", number("10001"), 400, "InvalidArgument"),
        ("part number -1", number("-1"), 400, "InvalidArgument"),
        (
            "a part without a number",
            s3.object("PUT", "plain", "up").query("uploadId", &upload).body("x"),
            400,
            "InvalidArgument",
        ),
        (
            "a part of no upload",
            s3.object("PUT", "plain", "up").query("partNumber", "1").body("x"),
            400,
            "InvalidArgument",
        ),
        ("part number x", number("x"), 400, "InvalidArgument"),
        ("an upload that is none", s3.part("plain", "up", "nonsense", 1).body("x"), 404, "NoSuchUpload"),
        ("the upload of another key", s3.part("plain", "other", &upload, 1).body("x"), 404, "NoSuchUpload"),
        ("a part of more than 5 GiB", number("1").declare((5 << 30) + 1), 400, "EntityTooLarge"),
        ("to complete what is none", s3.complete("plain", "up", "nonsense", &tags), 404, "NoSuchUpload"),
    ]);
    s3.get("plain", "up").refused(404, "NoSuchKey").done();
    s3.complete("plain", "up", &upload, &tags[..1]).send().status(200).done();
}

#[test]
fn lists() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    let upload = s3.begin("plain", "up");
    let list =
        |name: &'static str, value: &'static str| s3.bucket("GET", "plain").query("list-type", "2").query(name, value);
    let old = |name: &'static str, value: &'static str| s3.bucket("GET", "plain").query(name, value);
    let of_parts = s3.object("GET", "plain", "up").query("uploadId", &upload);
    all(vec![
        ("a negative number of keys", list("max-keys", "-1"), 400, "InvalidArgument"),
        ("a type of list that is none", s3.bucket("GET", "plain").query("list-type", "3"), 400, "InvalidArgument"),
        ("a negative number of keys, version 1", old("max-keys", "-1"), 400, "InvalidArgument"),
        ("more keys than there are numbers", list("max-keys", "99999999999"), 400, "InvalidArgument"),
        ("a number of keys that is none", list("max-keys", "many"), 400, "InvalidArgument"),
        ("an encoding that is none", list("encoding-type", "base64"), 400, "InvalidArgument"),
        ("a token that was never given", list("continuation-token", "never given"), 400, "InvalidArgument"),
        ("a negative number of parts", of_parts.clone().query("max-parts", "-1"), 400, "InvalidArgument"),
        ("parts behind a negative one", of_parts.clone().query("part-number-marker", "-1"), 400, "InvalidArgument"),
        ("a negative number of uploads", old("uploads", "").query("max-uploads", "-1"), 400, "InvalidArgument"),
        ("no buckets at all", s3.bucket("GET", "").query("max-buckets", "0"), 400, "InvalidArgument"),
        ("more buckets than there may be", s3.bucket("GET", "").query("max-buckets", "10001"), 400, "InvalidArgument"),
    ]);
    let long = "k".repeat(1025);
    let token = base64(format!("k{long}").as_bytes());
    let of = |name: &str, value: &str| s3.bucket("GET", "plain").query(name, value);
    all(vec![
        ("a prefix of 1025 bytes", of("prefix", &long).query("list-type", "2"), 400, "KeyTooLongError"),
        ("keys behind one of 1025 bytes", of("start-after", &long).query("list-type", "2"), 400, "KeyTooLongError"),
        ("a token that no key ended", of("continuation-token", &token).query("list-type", "2"), 400, "InvalidArgument"),
        ("a prefix of 1025 bytes, version 1", of("prefix", &long), 400, "KeyTooLongError"),
        ("a marker of 1025 bytes", of("marker", &long), 400, "KeyTooLongError"),
        ("uploads by a prefix of 1025 bytes", of("prefix", &long).query("uploads", ""), 400, "KeyTooLongError"),
        ("uploads behind a key of 1025 bytes", of("key-marker", &long).query("uploads", ""), 400, "KeyTooLongError"),
    ]);
    for (name, other) in
        [("prefix", ("list-type", "2")), ("marker", ("delimiter", "/")), ("key-marker", ("uploads", ""))]
    {
        of(name, &long[1..]).query(other.0, other.1).send().status(200).done();
    }
    let huge = list("max-keys", "2147483647").send().status(200);
    assert_eq!(huge.xml("MaxKeys"), "1000");
}

/// What names another version, or a part that cannot be, never means the object as it stands.
#[test]
fn versions_and_parts_that_are_none() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "k", "v").done();
    let of = |method: &str, name: &str, value: &str| s3.object(method, "plain", "k").query(name, value);
    let copy = |source: &str| s3.object("PUT", "plain", "c").header("x-amz-copy-source", source);
    let absent = "0".repeat(32);
    all(vec![
        ("a version id that is none", of("GET", "versionId", "abc"), 400, "InvalidArgument"),
        ("a version id that is empty", of("GET", "versionId", ""), 400, "InvalidArgument"),
        ("a version that is not there", of("GET", "versionId", &absent), 404, "NoSuchVersion"),
        ("to delete a version id that is none", of("DELETE", "versionId", "abc"), 400, "InvalidArgument"),
        ("to delete a version id that is empty", of("DELETE", "versionId", ""), 400, "InvalidArgument"),
        ("to copy a version id that is none", copy("/plain/k?versionId=abc"), 400, "InvalidArgument"),
        ("to copy an object without a name", copy("/plain/"), 400, "InvalidArgument"),
        ("part 0", of("GET", "partNumber", "0"), 400, "InvalidArgument"),
        ("part 10001", of("GET", "partNumber", "10001"), 400, "InvalidArgument"),
        ("a part that it has not", of("GET", "partNumber", "2"), 416, "InvalidPartNumber"),
    ]);
    of("DELETE", "versionId", &absent).send().status(204).done();
    let text = "<Delete><Object><Key>k</Key><VersionId>abc</VersionId></Object></Delete>";
    let sum = base64(&md5(text.as_bytes()));
    let answer = s3.bucket("POST", "plain").query("delete", "").header("content-md5", &sum).body(text).send();
    assert_eq!(answer.status(200).xml("Code"), "NoSuchVersion");
    s3.must_hold("plain", "k", b"v");
    s3.get("plain", "c").refused(404, "NoSuchKey").done();
}

/// Lengths that are absurd are refused before anything is read; those that are no lengths end the connection.
#[test]
fn lengths() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    let put = || s3.object("PUT", "plain", "k").payload(integration_tests::Payload::Unsigned).body("v");
    all(vec![
        ("5 GiB and one byte", put().declare((5 << 30) + 1), 400, "EntityTooLarge"),
        ("as much as there can be", put().declare(i64::MAX as u64), 400, "EntityTooLarge"),
        ("more user metadata than 2 KiB", put().header("x-amz-meta-a", &"m".repeat(2100)), 400, "MetadataTooLarge"),
    ]);
    for length in ["-1", "1e3", "0x10", "18446744073709551616", "1, 2"] {
        let (head, _) = put().encode();
        let head =
            String::from_utf8(head).unwrap().replace("content-length: 1\r\n", &format!("content-length: {length}\r\n"));
        assert!(head.contains(&format!("content-length: {length}")), "{head}");
        let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
        wire.send(head.as_bytes()).unwrap();
        assert_eq!(wire.answer("PUT").unwrap().status, 400, "{length}");
        assert!(wire.closed(), "{length}: nobody knows where the next request begins");
    }
    s3.get("plain", "k").refused(404, "NoSuchKey").done();
}

/// Who says that nothing more will come still listens: what came whole is answered.
#[test]
fn who_sends_no_more_is_answered() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "k", "v").done();
    let put = |payload| s3.object("PUT", "plain", "new").payload(payload).body("v");
    let ask = |request: &Outgoing<'_>| {
        let head = String::from_utf8(request.encode().0).unwrap().replace("content-length: 1\r\n", "");
        let mut wire = Wire::connect(server.bootstrap.s3).unwrap();
        wire.send(head.as_bytes()).unwrap();
        wire.finish().unwrap();
        let answer = wire.answer(head.split(' ').next().unwrap()).unwrap();
        assert!(wire.closed(), "there is no next request");
        answer
    };
    for _ in 0..20 {
        for payload in [integration_tests::Payload::Whole, integration_tests::Payload::Unsigned] {
            whole("an upload without a length", ask(&put(payload)), 411, "MissingContentLength");
        }
    }
    s3.get("plain", "new").refused(404, "NoSuchKey").done();
    ask(&s3.object("DELETE", "plain", "k")).status(204).done();
    s3.get("plain", "k").refused(404, "NoSuchKey").done();
    assert!(!ask(&s3.object("POST", "plain", "k").query("uploads", "")).status(200).xml("UploadId").is_empty());
}

/// A digest of a body that does not come is wrong, whatever is asked.
#[test]
fn a_digest_of_another_body_than_none() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    s3.put("plain", "k", "v").done();
    let upload = s3.begin("plain", "up");
    let copy = s3.object("PUT", "plain", "c").header("x-amz-copy-source", "/plain/k");
    let requests = || {
        vec![
            ("to read", s3.object("GET", "plain", "k")),
            ("to list", s3.bucket("GET", "plain").query("list-type", "2")),
            ("to list buckets", s3.bucket("GET", "")),
            ("to make a bucket", s3.bucket("PUT", "other")),
            ("to copy", copy.clone()),
            ("to begin an upload", s3.object("POST", "plain", "more").query("uploads", "")),
            ("to write nothing", s3.object("PUT", "plain", "empty")),
            ("to end an upload", s3.object("DELETE", "plain", "up").query("uploadId", &upload)),
            ("to delete", s3.object("DELETE", "plain", "k")),
        ]
    };
    let other = integration_tests::Payload::Claimed(integration_tests::sums::sha256_hex(b"v"));
    for (case, request) in requests() {
        whole(case, request.payload(other.clone()).send(), 400, "XAmzContentSHA256Mismatch");
    }
    assert_eq!(s3.object("HEAD", "plain", "k").payload(other.clone()).send().status, 400);
    whole(
        "a stranger",
        s3.with("NOBODY", "x").object("GET", "plain", "k").payload(other).send(),
        403,
        "InvalidAccessKeyId",
    );
    s3.must_hold("plain", "k", b"v");
    for (case, request) in requests() {
        let status = request.payload(integration_tests::Payload::Unsigned).send().status;
        assert!((200..300).contains(&status), "{case}: {status}");
    }
}

/// A form is refused before it is read: nobody has asked yet who sends it.
#[test]
fn a_form_is_not_read() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    let form = |s3: &Client| {
        let request = s3.bucket("POST", "plain").anonymous();
        let request = request.header("content-type", "multipart/form-data; boundary=x").declare(4 << 30);
        request.body("--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\nk\r\n").send()
    };
    whole("a form", form(&s3), 501, "NotImplemented");
}

#[test]
fn texts_from_clients_are_escaped() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("plain");
    let answer = s3.raw("GET", "/plain/a&lt;b").anonymous().send();
    assert_eq!(answer.xml("Resource"), "/plain/a&lt;b", "{}", answer.text());
    assert_eq!(xml::all(&answer.text(), "Code").len(), 1);
}
