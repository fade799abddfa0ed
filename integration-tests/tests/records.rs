//! Every access is on record, once, before its answer.

use integration_tests::clock::until;
use integration_tests::noise::body;
use integration_tests::wire::Wire;
use integration_tests::{Payload, Store};

#[test]
fn there_are_as_many_records_as_requests() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    let stranger = server.stranger("others");
    let mut sent = 0;
    let mut count = |n: usize| sent += n;
    s3.make_bucket("mine");
    s3.put("mine", "k", body(1, 100_000)).done();
    s3.must_hold("mine", "k", &body(1, 100_000));
    s3.head("mine", "k").status(200).done();
    count(4);
    s3.get("mine", "absent").refused(404, "NoSuchKey").done();
    s3.get("absent", "k").refused(404, "NoSuchBucket").done();
    stranger.get("mine", "k").refused(403, "AccessDenied").done();
    stranger.object("PUT", "mine", "k").body("v").send().refused(403, "AccessDenied").done();
    count(4);
    s3.with(&s3.signer.access, "wrong").get("mine", "k").refused(403, "SignatureDoesNotMatch").done();
    s3.with("NOBODY", "x").get("mine", "k").refused(403, "InvalidAccessKeyId").done();
    s3.object("GET", "mine", "k").anonymous().send().refused(403, "AccessDenied").done();
    s3.bucket("GET", "mine").query("acl", "").send().refused(501, "NotImplemented").done();
    s3.object("PUT", "mine", "k2").payload(Payload::Claimed("0".repeat(64))).body("v").send().status(400).done();
    s3.object("DELETE", "mine", "k").send().status(204).done();
    count(6);
    let records = server.records();
    assert_eq!(records.len(), sent, "{records:#?}");
    let mut last = 0;
    for record in &records {
        for field in ["sequence", "time", "request_id", "source", "operation", "status", "decision", "duration_ms"] {
            assert!(!record[field].is_null(), "{field} in {record}");
        }
        let sequence: u64 = record["sequence"].as_str().unwrap().split('.').nth(1).unwrap().parse().unwrap();
        assert!(sequence > last);
        last = sequence;
    }
    let denied: Vec<_> = records.iter().filter(|r| r["decision"] == "deny").collect();
    assert!(
        denied.iter().any(|r| r["tenant"] == "others" && r["rules"][0] == "tenant.own-bucket" && r["bucket"] == "mine")
    );
    let put = records.iter().find(|r| r["operation"] == "PutObject" && r["status"] == 200).unwrap();
    assert!(
        put["bytes"] == 100_000
            && put["key"] == "k"
            && put["key_id"].is_string()
            && put["version"].is_string()
            && put["tenant"] == "demo"
    );
}

#[test]
fn a_killed_read_has_its_opening_record() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("big");
    let data = body(9, 64 << 20);
    s3.put("big", "k", data.clone()).done();
    let (mut wire, head) = s3.object("GET", "big", "k").open().unwrap();
    assert_eq!(head.status, 200);
    let mut seen = 0;
    let _broken = wire.body(&head, |bytes| {
        seen += bytes.len();
        assert!(seen < 32 << 20, "stop");
        if seen > 1 << 20 {
            std::process::Command::new("kill").args(["-9", &server.pid().to_string()]).status().unwrap();
        }
    });
    server.kill9();
    let server = store.start();
    let reads = server.records_of("GetObject");
    assert_eq!(reads.len(), 1);
    assert!(reads[0]["bytes"] == 64 << 20 && reads[0]["status"] == 200 && reads[0]["decision"] == "allow");
    server.client().must_hold("big", "k", &data);
}

#[test]
fn an_answer_that_breaks_off_is_closed_as_such() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("big");
    s3.put("big", "k", body(9, 64 << 20)).done();
    let (wire, _head) = s3.object("GET", "big", "k").open().unwrap();
    drop(wire);
    until("the closing record", || {
        let reads = server.records_of("GetObject");
        let closing = &reads.first()?["closing"];
        (closing["outcome"] == "broken off" && closing["bytes_sent"].as_u64()? < 64 << 20).then_some(())
    });
}

/// The record of a request that deletes many names each of them, and is in the batch that deletes.
#[test]
fn a_request_that_deletes_many_names_each() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("many");
    for key in ["a", "b", "c"] {
        s3.put("many", key, key.to_owned()).done();
    }
    let xml = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key><ETag>\"0\"</ETag></Object><Object><Key>absent</Key></Object></Delete>";
    let sum = integration_tests::sums::base64(&integration_tests::sums::md5(xml.as_bytes()));
    let answer = s3.bucket("POST", "many").query("delete", "").header("content-md5", &sum).body(xml).send().status(200);
    assert_eq!(answer.xml_all("Key"), ["a", "absent", "b"], "{}", answer.text());
    assert_eq!(answer.xml("Code"), "PreconditionFailed");
    s3.get("many", "a").refused(404, "NoSuchKey").done();
    s3.must_hold("many", "b", b"b");
    let records = server.records_of("DeleteObjects");
    assert_eq!(records.len(), 1);
    assert_eq!(records[0]["keys"], serde_json::json!(["a", "b", "absent"]));
    let found = server.command(&["audit", "list", "--json", "--key", "absent"]);
    assert_eq!(found.lines().count(), 1, "{found}");
}

#[test]
fn filters_find_what_they_name() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("one");
    s3.make_bucket("two");
    for n in 0..5 {
        s3.put("one", &n.to_string(), "v").done();
    }
    s3.put("two", "0", "v").done();
    let lines = |arguments: &[&str]| {
        let all = [&["audit", "list", "--json"], arguments].concat();
        server.command(&all).lines().count()
    };
    assert_eq!(lines(&["--bucket", "one", "--operation", "PutObject"]), 5);
    assert_eq!(lines(&["--bucket", "one", "--limit", "2"]), 2);
    assert_eq!(lines(&["--key", "0"]), 2);
    assert_eq!(lines(&["--status", "404"]), 0);
    assert_eq!(lines(&["--from", "2999"]), 0);
    assert!(lines(&["--all"]) > lines(&[]));
}

/// Whoever asks and hangs up has asked: not even what is refused goes without its record.
#[test]
fn who_hangs_up_at_once_is_on_record() {
    // As many refusals of one second as have records of their own: a read that breaks off at once is nobody's yet.
    const TIMES: usize = 10;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    let stranger = server.stranger("others");
    s3.make_bucket("mine");
    let requests = [
        s3.with(&s3.signer.access, "wrong").object("DELETE", "mine", "k"),
        stranger.object("DELETE", "mine", "k"),
        s3.object("DELETE", "mine", "k"),
        s3.object("PUT", "mine", "k").body("v"),
        s3.object("GET", "mine", "k"),
    ]
    .map(|request| request.encode());
    for _ in 0..TIMES {
        for (head, body) in &requests {
            let mut wire = Wire::connect(s3.address).unwrap();
            wire.send(&[&head[..], &body[..]].concat()).unwrap();
            drop(wire);
        }
    }
    let records = until("a record of each", || {
        let records = server.records();
        (records.len() > TIMES * requests.len()).then_some(records)
    });
    assert_eq!(records.len(), 1 + TIMES * requests.len());
    let count = |wanted: &[(&str, serde_json::Value)]| {
        records.iter().filter(|r| wanted.iter().all(|(field, value)| r[field] == *value)).count()
    };
    assert_eq!(count(&[("error", "SignatureDoesNotMatch".into())]), TIMES);
    assert_eq!(count(&[("operation", "DeleteObject".into()), ("decision", "deny".into())]), TIMES);
    until("a closing record of a write that nobody waited for", || {
        let puts = server.records_of("PutObject");
        assert!(puts.iter().all(|r| r["status"] == 200));
        puts.iter().any(|r| r["closing"]["outcome"] == "broken off").then_some(())
    });
}

/// Requests that a log counts: one for each record, and as many as it says for one that stands for many.
fn counted(records: &[serde_json::Value]) -> u64 {
    records.iter().map(|r| r["count"].as_u64().unwrap_or(1)).sum()
}

/// Who has no account cannot fill the log, and still every request is counted before its answer.
#[test]
fn a_flood_of_strangers_makes_few_records_and_each_counts() {
    const FLOOD: usize = 400;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("mine");
    let (head, _) = s3.with("NOBODY", "x").object("GET", "mine", "k").encode();
    let mut wires: Vec<_> = (0..FLOOD).map(|_| Wire::connect(s3.address).unwrap()).collect();
    for wire in &mut wires {
        wire.send(&head).unwrap();
    }
    s3.put("mine", "k", "while it lasts").done();
    for wire in &mut wires {
        assert_eq!(wire.answer("GET").unwrap().status, 403);
    }
    server.kill9();
    let server = store.start();
    let records = server.records();
    assert_eq!(counted(&records), 2 + FLOOD as u64);
    assert!(records.len() < FLOOD / 2, "{} records", records.len());
    let folds: Vec<_> = records.iter().filter(|r| r["operation"] == "refusals").collect();
    assert!(!folds.is_empty());
    for fold in folds {
        assert_eq!(fold["source"], "127.0.0.1", "{fold}");
        assert!(fold["first"].as_str() <= fold["last"].as_str() && fold["digest"].as_str().unwrap().len() == 64);
    }
    assert!(records.iter().any(|r| r["operation"] == "PutObject" && r["status"] == 200));
}

/// Also those that fold away and hang up.
#[test]
fn strangers_that_hang_up_count() {
    const FLOOD: usize = 200;
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    let (head, _) = s3.with("NOBODY", "x").object("GET", "mine", "k").encode();
    for _ in 0..FLOOD {
        Wire::connect(s3.address).unwrap().send(&head).unwrap();
    }
    until("all are counted", || (counted(&server.records()) >= FLOOD as u64).then_some(()));
    let records = server.records();
    assert_eq!(counted(&records), FLOOD as u64);
    assert!(records.len() < FLOOD, "{} records", records.len());
}

/// What hyper answers before anything of ours sees it, what names no host or more than one, and what no route is for.
#[test]
fn what_is_no_request_is_on_record() {
    let store = Store::new();
    let server = store.start();
    let headers: String = (0..200).map(|n| format!("X-{n}: 1\r\n")).collect();
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
    let mut sent = 0;
    for address in [server.bootstrap.s3, server.bootstrap.admin] {
        for (bytes, status) in [
            ("nonsense\r\n\r\n", 400),
            ("GET / HTTP/9\r\n\r\n", 400),
            (&long, 431),
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ] {
            let mut wire = Wire::connect(address).unwrap();
            wire.send(bytes.as_bytes()).unwrap();
            assert_eq!(wire.answer("GET").unwrap().status, status, "{:.40}", bytes);
            sent += 1;
        }
    }
    for (path, status) in [("/", 404), ("/nothing", 404), ("/v1/nothing", 404)] {
        server.admin(path).status(status).done();
        sent += 1;
    }
    let mut wire = Wire::connect(server.bootstrap.admin).unwrap();
    wire.send(b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(wire.answer("POST").unwrap().status, 405);
    sent += 1;
    until("a record of each", || (counted(&server.records()) >= sent).then_some(()));
    let records = server.records();
    assert_eq!(counted(&records), sent, "{records:#?}");
    let count = |status: u16| records.iter().filter(|r| r["status"] == status).count();
    assert_eq!((count(400), count(431), count(404), count(405)), (12, 2, 3, 1));
    server.stop();
    let server = store.start();
    let all = server.command(&["audit", "list", "--all", "--json"]);
    let health: Vec<serde_json::Value> = all.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let health: Vec<_> = health.into_iter().filter(|r| r["operation"] == "health").collect();
    assert!(!health.is_empty() && counted(&health) >= 1, "requests for health are counted, many in one");
}
