//! Tenant keys in a token of a hardware security module, here SoftHSM.

use integration_tests::clock::until;
use integration_tests::held::{self, REFUSED, SILENT};
use integration_tests::softhsm::SoftHsm;
use integration_tests::{Store, keeper::Keeper};

fn store_of(hsm: &SoftHsm) -> Store {
    let mut store = Store::new();
    hsm.serve(&mut store);
    store.set("GOTGAN_KEYS_CACHE_SECONDS", "1");
    store
}

fn keeper_of(store: &Store) -> Keeper {
    held::keeper(store, "pkcs11")
}

#[test]
fn nothing_opens_without_the_token() {
    let hsm = SoftHsm::new();
    let store = store_of(&hsm);
    let keeper = keeper_of(&store);
    held::opens(&keeper.s3());
    // Under a server that runs, and before one starts.
    hsm.takes_away(true);
    held::until_refused(&keeper.s3(), SILENT);
    hsm.takes_away(false);
    held::opens_again(&keeper.s3());
    hsm.takes_away(true);
    let keeper = keeper.killed(&store);
    held::until_refused(&keeper.s3(), SILENT);
    hsm.takes_away(false);
    held::opens_again(&keeper.s3());
}

#[test]
fn a_rotation_leaves_every_object_as_it_is() {
    let hsm = SoftHsm::new();
    let store = store_of(&hsm);
    let keeper = keeper_of(&store);
    assert_eq!(hsm.objects().len(), 1);
    let first = keeper.key(&["show", "held"]);
    for version in 2..=3_u64 {
        let rotated = keeper.key(&["rotate", "held"]);
        assert_eq!((rotated["version"].as_u64(), rotated["buckets_wrapped_anew"].as_u64()), (Some(version), Some(1)));
        assert_ne!(rotated["fingerprint"], first["fingerprint"]);
    }
    let keeper = keeper.killed(&store);
    held::opens(&keeper.s3());
    assert_eq!(hsm.objects().len(), 3);
    keeper.refused(&["key", "create", "held", "--provider", "pkcs11"], "exists already");
    assert_eq!(hsm.objects().len(), 3, "none is made for a name that is taken");
}

#[test]
fn a_wrong_pin_is_shown_once() {
    let hsm = SoftHsm::new();
    let store = store_of(&hsm);
    let keeper = keeper_of(&store);
    hsm.pin("9999");
    let keeper = keeper.killed(&store);
    held::until_refused(&keeper.s3(), REFUSED);
    let said = keeper.server.said();
    let tries = said.lines().filter(|line| line.contains("the token does not take the PIN")).count();
    assert!(tries == 1 && said.contains("not tried again"), "{said}");
    hsm.right_pin();
    held::opens_again(&keeper.s3());
}

#[test]
fn a_key_that_is_gone_opens_nothing() {
    let hsm = SoftHsm::new();
    let store = store_of(&hsm);
    let keeper = keeper_of(&store);
    let object = hsm.objects().pop().unwrap();
    let kept = std::fs::read(&object).unwrap();
    std::fs::remove_file(&object).unwrap();
    let keeper = keeper.killed(&store);
    held::until_refused(&keeper.s3(), REFUSED);
    keeper.refused(&["key", "rotate", "held"], "it has no version 1");
    std::fs::write(&object, kept).unwrap();
    let keeper = keeper.killed(&store);
    until("it opens again", || (keeper.s3().get("theirs", "small").status == 200).then_some(()));
    held::opens(&keeper.s3());
}
