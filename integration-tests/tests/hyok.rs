//! Hold your own key: a tenant's own OpenBao server, which nobody else's keys are asked of.

use std::time::{Duration, Instant};

use integration_tests::Store;
use integration_tests::clock::within;
use integration_tests::held::{self, REFUSED, SILENT, opens, opens_again};
use integration_tests::openbao::OpenBao;
use serde_json::json;

#[test]
fn what_the_tenant_refuses_is_shut_within_half_a_minute() {
    let mut bao = OpenBao::new();
    let mut store = Store::new();
    let directory = store.home().join("hyok");
    bao.serve_tenant(&mut store, &directory, "demo");
    let keeper = held::keeper(&store, "hyok");
    let s3 = keeper.s3();
    opens(&s3);
    // Others are kept for five minutes, as nothing else is configured; this for 30 s.
    bao.stop();
    let stopped = Instant::now();
    within(Duration::from_secs(35), "it is shut", || (s3.get("theirs", "small").status == 503).then_some(()));
    assert!(stopped.elapsed() > Duration::from_secs(5), "and kept for a while before");
    held::until_refused(&s3, SILENT);
    bao.start();
    opens_again(&s3);
    keeper.key(&["rotate", "held"]);
    opens(&s3);

    // What the tenant does to its key binds.
    let id = keeper.key(&["show", "held"])["id"].as_str().unwrap().to_owned();
    bao.call(
        "POST",
        &format!("transit/keys/{id}/config"),
        &json!({ "min_decryption_version": 2, "deletion_allowed": true }),
    );
    bao.call("DELETE", &format!("transit/keys/{id}"), &json!(null));
    let keeper = keeper.killed(&store);
    held::until_refused(&keeper.s3(), REFUSED);
}

#[test]
fn a_tenant_without_a_file_has_no_such_provider_and_reaches_no_other_s() {
    let bao = OpenBao::new();
    let mut store = Store::new();
    let directory = store.home().join("hyok");
    bao.serve_tenant(&mut store, &directory, "demo");
    let keeper = held::keeper(&store, "hyok");
    keeper.server.make_tenant("others");
    let stranger = keeper.server.make_account_as("others", "keeper", "key-administrator");
    let output = keeper.server.try_command_as(&stranger, &["key", "create", "held", "--provider", "hyok"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("no key provider hyok is configured"), "{output:?}");
    // Its file may come while the server runs; one that says nothing sound is told, and opens nothing.
    std::fs::copy(directory.join("demo.toml"), directory.join("others.toml")).unwrap();
    let made = keeper.server.json_as(&stranger, &["key", "create", "held", "--provider", "hyok"]);
    assert_eq!(made["provider"], "hyok");
    let good = std::fs::read_to_string(directory.join("demo.toml")).unwrap();
    std::fs::write(directory.join("demo.toml"), good.replace("country = \"KR\"", "country = \"US\"")).unwrap();
    keeper.refused(&["key", "rotate", "held"], "residency.korea");
    std::fs::write(directory.join("demo.toml"), "adress = 1").unwrap();
    let keeper = keeper.killed(&store);
    held::until_refused(&keeper.s3(), SILENT);
    std::fs::write(directory.join("demo.toml"), good).unwrap();
    opens_again(&keeper.s3());
}
