//! Starting: the root key, the files of the first start, the configuration, the end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use integration_tests::disk::{files, listing};
use integration_tests::noise::body;
use integration_tests::{Server, Store, cli};
use rocksdb::{DB, Options};

#[test]
fn without_its_key_a_store_stays_shut_and_untouched() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("kept");
    server.client().put("kept", "k", "v").done();
    server.stop();
    let key = fs::read(store.root_key()).unwrap();
    let before = listing(&store.data());
    fs::remove_file(store.root_key()).unwrap();
    let refusal = store.try_start(&[]).unwrap_err();
    assert!(
        !refusal.status.success() && refusal.said.contains("root.key") && refusal.said.contains("backup"),
        "{}",
        refusal.said
    );
    assert!(!store.root_key().exists(), "no second key is made");
    let other = Store::new();
    other.start().stop();
    fs::copy(other.root_key(), store.root_key()).unwrap();
    let refusal = store.try_start(&[]).unwrap_err();
    assert!(!refusal.status.success() && refusal.said.contains("another root key"), "{}", refusal.said);
    fs::write(store.root_key(), "garbage").unwrap();
    assert!(!store.try_start(&[]).unwrap_err().status.success());
    assert_eq!(listing(&store.data()), before, "nothing changed on disk");
    fs::write(store.root_key(), key).unwrap();
    fs::set_permissions(store.root_key(), fs::Permissions::from_mode(0o644)).unwrap();
    let refusal = store.try_start(&[]).unwrap_err();
    assert!(refusal.said.contains("chmod 600"), "{}", refusal.said);
    fs::set_permissions(store.root_key(), fs::Permissions::from_mode(0o600)).unwrap();
    store.start().client().must_hold("kept", "k", b"v");
}

#[test]
fn a_passphrase_seals_the_root_key() {
    let store = Store::new();
    let file = store.home().join("pass");
    fs::write(&file, "correct horse battery\n").unwrap();
    let flag = ["--passphrase-file", file.to_str().unwrap()];
    let server = store.start_with(&flag);
    server.client().make_bucket("kept");
    server.stop();
    assert!(store.try_start(&[]).unwrap_err().said.contains("passphrase"));
    fs::write(&file, "wrong\n").unwrap();
    assert!(store.try_start(&flag).unwrap_err().said.contains("does not open"));
    fs::write(&file, "correct horse battery\n").unwrap();
    store.start_with(&flag).client().bucket("HEAD", "kept").send().status(200).done();
}

#[test]
fn the_first_start_tells_what_is_needed_in_private() {
    let store = Store::new();
    let server = store.start();
    for field in [
        "s3_endpoint",
        "region",
        "access_key_id",
        "secret_access_key",
        "tenant",
        "admin_endpoint",
        "admin_access_key_id",
        "admin_secret_access_key",
    ] {
        assert!(!server.bootstrap.text(field).is_empty(), "{field}");
    }
    assert_eq!(
        (server.bootstrap.text("region"), server.bootstrap.text("tenant")),
        ("kr-gyeonggi-1".to_owned(), "demo".to_owned())
    );
    for private in [store.data().join("bootstrap.json"), store.root_key()] {
        assert_eq!(fs::metadata(&private).unwrap().permissions().mode() & 0o777, 0o600, "{}", private.display());
    }
    let mut s3 = server.client();
    s3.signer.region = "eu-north-7".to_owned();
    s3.make_bucket("signed-elsewhere");
    assert_eq!(
        s3.bucket("GET", "signed-elsewhere").query("location", "").send().status(200).xml("LocationConstraint"),
        "kr-gyeonggi-1"
    );
    fs::remove_file(store.data().join("bootstrap.json")).unwrap();
    server.stop();
    let server = store.start();
    assert!(server.bootstrap.json.get("secret_access_key").is_none(), "secrets that were deleted stay deleted");
    server.stop();
}

/// Moves the first use of the administrator's secret so far back.
fn used_earlier(store: &Store, by: Duration) {
    let path = store.data().join("meta");
    let names = DB::list_cf(&Options::default(), &path).unwrap();
    let db = DB::open_cf(&Options::default(), &path, names).unwrap();
    let control = db.cf_handle("control").unwrap();
    let rows = db.iterator_cf(control, rocksdb::IteratorMode::Start).map(Result::unwrap);
    let (key, at) = rows.into_iter().find(|(key, _)| key.windows(15).any(|w| w == b"bootstrap-used ")).unwrap();
    // Behind its proof.
    let at = u64::from_be_bytes(at[32..].try_into().unwrap()) - u64::try_from(by.as_millis()).unwrap();
    let platform = db.get_cf(control, b"\x01platform-key").unwrap().unwrap();
    db.put_cf(control, &key, store.proven(&platform, &key, &at.to_be_bytes())).unwrap();
    db.flush_wal(true).unwrap();
}

#[test]
fn the_administrators_secret_in_the_file_is_for_a_day() {
    const HOUR: Duration = Duration::from_secs(3600);
    let store = Store::new();
    let server = store.start();
    server.command(&["tenant", "list"]);
    server.stop();
    used_earlier(&store, HOUR * 23);
    let server = store.start();
    server.command(&["tenant", "list"]);
    let events = server.command(&["audit", "list", "--all", "--json"]);
    assert_eq!(events.matches("bootstrap-secret-used").count(), 1, "{events}");
    server.stop();
    used_earlier(&store, HOUR);
    let server = store.start();
    let refused = server.try_command(&["tenant", "list"]);
    assert!(!refused.status.success() && String::from_utf8(refused.stderr).unwrap().contains("24 hours"));
    server.client().make_bucket("engineers-go-on");
    server.stop();
    let old = store.home().join("old.json");
    fs::copy(store.data().join("bootstrap.json"), &old).unwrap();
    let server = store.start_with(&["--replace-administrator-secret"]);
    server.command(&["tenant", "list"]);
    server.client().bucket("HEAD", "engineers-go-on").send().status(200).done();
    let before = server.bootstrap.text("admin_access_key_id");
    assert!(!fs::read_to_string(&old).unwrap().contains(&before), "it is another one");
    server.stop();
    let server = store.start();
    assert_eq!(server.bootstrap.text("admin_access_key_id"), before, "once is once");
    server.command(&["tenant", "list"]);
}

#[test]
fn a_start_warns_of_secrets_in_the_file() {
    let warns = |server: &Server| server.said().contains("this file holds secrets");
    let store = Store::new();
    store.start().stop();
    fs::remove_file(store.home().join("server.log")).unwrap();
    let server = store.start();
    assert!(warns(&server), "{}", server.said());
    server.stop();
    fs::remove_file(store.data().join("bootstrap.json")).unwrap();
    fs::remove_file(store.home().join("server.log")).unwrap();
    let server = store.start();
    assert!(!warns(&server), "{}", server.said());
    server.stop();
}

#[test]
fn what_lies_in_a_directory_that_others_may_read_is_private() {
    let store = Store::new();
    fs::create_dir(store.data()).unwrap();
    fs::set_permissions(store.data(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("kept");
    s3.put("kept", "k", vec![7; 1 << 20]).done();
    server.stop();
    for path in listing(&store.data()).into_keys() {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    }
}

#[test]
fn plain_http_stays_on_loopback() {
    let store = Store::new();
    let data = store.data();
    let output = cli::run(&["serve", "--data", data.to_str().unwrap(), "--s3", "0.0.0.0:0", "--admin", "127.0.0.1:0"]);
    let said = String::from_utf8(output.stderr).unwrap() + &String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && said.contains("danger-plain-http"), "{said}");
    assert!(!data.exists(), "a server that may not listen stores nothing");
}

#[test]
fn flags_are_checked_like_the_file() {
    let store = Store::new();
    for flags in [["--tls-certificate", "c.pem"], ["--tls-key", "k.pem"], ["--region", "Seoul!"]] {
        let refusal = store.try_start(&flags).unwrap_err();
        assert!(refusal.said.contains("configuration"), "{flags:?}: {}", refusal.said);
        assert!(!store.data().exists(), "{flags:?}");
    }
}

#[test]
fn health_and_metrics_are_there() {
    let store = Store::new();
    let server = store.start();
    server.client().make_bucket("seen");
    server.admin("/healthz").status(200).done();
    server.admin("/readyz").status(200).done();
    assert!(server.metric("gotgan_requests_total") >= 1.0 && server.metric("gotgan_commits_total") >= 1.0);
    let page = server.admin("/metrics").status(200).text();
    let bucket = "gotgan_request_seconds_bucket{operation=\"CreateBucket\",le=\"60\"} 1";
    assert!(page.contains(bucket), "durations are counted in buckets: {page}");
    assert!(server.terminate().success());
}

#[test]
fn configuration_is_checked() {
    let store = Store::new();
    let file = store.home().join("c.toml");
    let path = file.to_str().unwrap();
    fs::write(&file, "region = \"kr-test-1\"\n[listen]\ns3 = \"127.0.0.1:7000\"\n").unwrap();
    assert!(cli::run(&["config", "check", "--config", path]).status.success());
    let printed = cli::run(&["config", "print", "--config", path]);
    assert!(String::from_utf8(printed.stdout).unwrap().contains("kr-test-1"));
    fs::write(&file, "[listen]\ns4 = \"x\"\n").unwrap();
    let refused = cli::run(&["config", "check", "--config", path]);
    assert!(!refused.status.success() && String::from_utf8(refused.stderr).unwrap().contains("s4"));
}

/// A journal that lost what was acknowledged is no torn one: the server says so and ends in order.
#[test]
fn a_damaged_journal_is_refused() {
    let store = Store::new();
    let server = store.start();
    let s3 = server.client();
    s3.make_bucket("journal");
    for n in 0..9 {
        s3.put("journal", &n.to_string(), body(n, 70_000)).done();
    }
    server.kill9();
    for database in ["meta", "store/index"] {
        let logs =
            files(&store.data().join(database)).into_iter().filter(|f| f.extension().is_some_and(|e| e == "log"));
        let log = logs.max_by_key(|log| fs::metadata(log).unwrap().len()).unwrap();
        let whole = fs::read(&log).unwrap();
        let mut damaged = whole.clone();
        damaged[100] ^= 1;
        fs::write(&log, &damaged).unwrap();
        let refusal = store.try_start(&[]).unwrap_err();
        assert_eq!(refusal.status.code(), Some(1), "{}", refusal.said);
        assert!(refusal.said.contains("is damaged at byte"), "{}", refusal.said);
        assert!(fs::read(&log).unwrap() == damaged, "it was left as it is");
        fs::write(&log, &whole).unwrap();
    }
    let server = store.start();
    for n in 0..9 {
        server.client().must_hold("journal", &n.to_string(), &body(n, 70_000));
    }
}
