//! The access log.

use integration_tests::Store;

use crate::catalog::Catalog;

#[test]
fn records_that_were_removed_or_exchanged_show_in_the_log() {
    let asked = |store: &Store| {
        let server = store.start();
        server.client().make_bucket("box");
        for key in ["a", "b", "c", "d", "e"] {
            server.client().put("box", key, key).done();
        }
        assert_eq!(server.records().len(), 6);
        server.stop();
    };
    let damage = |store: &Store| {
        let server = store.start();
        let found: Vec<_> = server.records().into_iter().filter(|line| line["damage"] == true).collect();
        assert_eq!(server.metric("gotgan_log_damage_total") > 0.0, !found.is_empty());
        found
    };
    let store = Store::new();
    asked(&store);
    assert!(damage(&store).is_empty());

    let store = Store::new();
    asked(&store);
    let catalog = Catalog::of(&store);
    let rows = catalog.rows("log");
    catalog.remove("log", &rows[rows.len() - 4].0);
    drop(catalog);
    let found = damage(&store);
    assert!(found.len() == 1 && found[0]["operation"] == "broken-chain", "{found:?}");
    assert!(found[0]["error"].as_str().unwrap().contains("missing"), "{found:?}");

    let store = Store::new();
    asked(&store);
    let catalog = Catalog::of(&store);
    let rows = catalog.rows("log");
    let [(a, x), (b, y)] = [&rows[rows.len() - 5], &rows[rows.len() - 3]];
    catalog.put("log", a, y);
    catalog.put("log", b, x);
    drop(catalog);
    assert!(damage(&store).iter().any(|line| line["error"].as_str().unwrap().contains("moved")));
}

#[test]
fn bytes_that_are_no_record_hide_no_other() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("box");
    for key in ["a", "b", "c", "d"] {
        server.client().put("box", key, key).done();
    }
    server.stop();
    let catalog = Catalog::of(&store);
    let rows = catalog.rows("log");
    let [.., a, b, c, last] = rows.as_slice() else { panic!("{} records", rows.len()) };
    catalog.put("log", &a.0, &a.1[..40]);
    catalog.put("log", &b.0, &[&b.1[..], &[0]].concat());
    catalog.put("log", &c.0, &[]);
    // The salt of the last record is named by no other.
    let mut salted = last.1.to_vec();
    salted[5] ^= 1;
    catalog.put("log", &last.0, &salted);
    for odd in ["odd", "odder than a position"] {
        catalog.put("log", odd.as_bytes(), b"x");
    }
    drop(catalog);
    let server = store.start();
    let records = server.records();
    let unreadable = records.iter().filter(|line| line["operation"] == "unreadable").count();
    assert_eq!(unreadable, 5, "{records:#?}");
    assert!(records.iter().any(|line| line["operation"] == "CreateBucket"));
    assert!(server.metric("gotgan_log_damage_total") >= 4.0);
}

/// A session that says it wrote to another stream would have the next ones overwrite records.
#[test]
fn no_session_writes_to_a_stream_that_was_written() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("box");
    server.stop();
    store.start().stop();
    let catalog = Catalog::of(&store);
    let (key, row) = catalog.rows("sessions").into_iter().rfind(|(key, _)| key.len() == 8).unwrap();
    let streams: Vec<_> = catalog.rows("log").iter().map(|(key, _)| key[..8].to_vec()).collect();
    // The stream stands behind a version byte and the session's id.
    let mut moved = row.to_vec();
    moved[17] = 0;
    catalog.put("sessions", &key, &moved);
    drop(catalog);
    let refusal = store.try_start(&[]).expect_err("it does not start");
    assert!(refusal.said.contains("names another stream"), "{}", refusal.said);
    // Gone altogether, its stream is still known by what lies in it.
    let catalog = Catalog::of(&store);
    catalog.remove("sessions", &key);
    drop(catalog);
    let server = store.start();
    server.client().bucket("HEAD", "box").send().status(200).done();
    assert_eq!(server.records_of("CreateBucket").len(), 1);
    server.stop();
    let now: Vec<_> = Catalog::of(&store).rows("log").iter().map(|(key, _)| key[..8].to_vec()).collect();
    assert!(now.starts_with(&streams) && now.last() > streams.last());
}
