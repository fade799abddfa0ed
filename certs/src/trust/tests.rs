use rustls::pki_types::pem::PemObject;

use super::*;
use crate::authority::Authority;
use crate::revocation::Revoked;
use crate::testing::{DAY, Installation, NOW, days, in_country, later};

fn chain(ca: &Installation, name: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(ca.at(name)).unwrap().map(Result::unwrap).collect()
}

fn trust(ca: &Installation) -> Trust {
    Trust::new(&std::fs::read(ca.at("ca.pem")).unwrap()).unwrap()
}

fn lists(ca: &Installation, revoked: &[&str], fresh: Validity) -> Vec<RevocationList> {
    ca.revoke(revoked, 7, fresh);
    vec![RevocationList::parse(&std::fs::read(ca.at("crl.pem")).unwrap()).unwrap()]
}

#[test]
fn a_chain_says_who_and_where() {
    let ca = Installation::new();
    let serial = ca.machine("n1", &[Role::Node], Some(&in_country("KR")), days(1));
    let (trust, chain) = (trust(&ca), chain(&ca, "n1.pem"));
    assert_eq!(chain.len(), 2, "its own certificate and the intermediate's");
    let found = trust.machine(&chain, (Side::Client, Role::Node), NOW).unwrap();
    assert_eq!((found.name.as_str(), &found.serial), ("n1", &serial));
    assert_eq!(found.place, VerifiedPlace::known(in_country("KR")));
    assert_eq!(found.validity, days(1));
    assert_eq!(trust.identify(&chain, Side::Server, NOW), Ok(found));
    assert_eq!(trust.machine(&chain, (Side::Client, Role::Gateway), NOW), Err(Distrust::Role(Role::Gateway)));
    assert_eq!(trust.identify(&chain, Side::Client, later(DAY + 1000)), Err(Distrust::Over));
    assert_eq!(trust.identify(&chain, Side::Client, UtcMillis(NOW.0 - DAY)), Err(Distrust::Over));
    assert_eq!(trust.identify(&[], Side::Client, NOW), Err(Distrust::Silent));
    assert!(matches!(trust.identify(&chain[..1], Side::Client, NOW), Err(Distrust::Foreign(_))), "the chain is cut");
    let long: Vec<_> = chain.iter().cycle().take(7).cloned().collect();
    assert_eq!(trust.identify(&long, Side::Client, NOW), Err(Distrust::Long));
}

#[test]
fn what_others_signed_counts_for_nothing() {
    let (ours, other) = (Installation::new(), Installation::new());
    other.machine("n1", &[Role::Node], Some(&in_country("KR")), days(1));
    let foreign = chain(&other, "n1.pem");
    assert!(matches!(trust(&ours).identify(&foreign, Side::Client, NOW), Err(Distrust::Foreign(_))));
    ours.machine("n1", &[Role::Node], Some(&in_country("KR")), days(1));
    let mixed = [foreign[0].clone(), chain(&ours, "n1.pem")[1].clone()];
    assert!(matches!(trust(&ours).identify(&mixed, Side::Client, NOW), Err(Distrust::Foreign(_))));
    assert_eq!(trust(&ours).identify(&chain(&ours, "ca.pem"), Side::Client, NOW), Err(Distrust::OfAuthority));
    assert_eq!(trust(&ours).identify(&chain(&ours, "issuer.pem"), Side::Client, NOW), Err(Distrust::OfAuthority));
    assert!(matches!(trust(&ours).identify(&[b"x".to_vec().into()], Side::Client, NOW), Err(Distrust::Malformed(_))));
    for none in ["", "-----BEGIN CERTIFICATE-----\nxx\n-----END CERTIFICATE-----\n"] {
        assert!(Trust::new(none.as_bytes()).is_err());
    }
    assert!(Trust::new(&std::fs::read(ours.at("n1.pem")).unwrap()).is_err(), "a machine is no anchor");
}

#[test]
fn an_intermediate_vouches_for_its_countries_alone() {
    use crate::authority::Machine;
    use crate::request::{NewKey, Request};
    let ca = Installation::new();
    let (roles, japan) = ([Role::Node].into(), in_country("JP"));
    let key = NewKey::generate("n1").unwrap();
    let request = Request::parse(&key.request).unwrap();
    let machine = Machine { name: "n1", roles: &roles, place: Some(&japan) };
    assert!(matches!(ca.issuer.issue(&machine, &request, days(1)), Err(CertError::Elsewhere(_))));
    assert!(matches!(ca.root.issue(&machine, &request, days(1)), Err(CertError::NotIntermediate)));
    assert!(matches!(
        ca.issuer.issue_intermediate(&[].into(), days(1), (&ca.at("x.pem"), &ca.at("x.key"))),
        Err(CertError::NotRoot)
    ));
    // The key of the intermediate in other hands: with a certificate of its own making it claims what it likes.
    let files = (ca.at("issuer.pem"), ca.at("issuer.key"));
    let wide =
        ca.root.issue_intermediate(&["JP".parse().unwrap()].into(), days(9), (&ca.at("w.pem"), &files.1)).unwrap();
    let issued = wide.issue(&machine, &request, days(1)).unwrap().chain;
    let own = std::fs::read_to_string(&files.0).unwrap();
    let leaf = issued.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
    std::fs::write(ca.at("forged.pem"), format!("{leaf}{own}")).unwrap();
    let forged = trust(&ca).identify(&chain(&ca, "forged.pem"), Side::Client, NOW);
    assert_eq!(forged, Err(Distrust::Country("JP".parse().unwrap())));
    // A certificate that says no place is of a machine that keeps nothing.
    ca.machine("g1", &[Role::Gateway], None, days(1));
    let gateway = trust(&ca).identify(&chain(&ca, "g1.pem"), Side::Client, NOW).unwrap();
    assert_eq!(gateway.place, VerifiedPlace::unknown());
}

#[test]
fn a_new_certificate_for_the_key_of_an_intermediate_keeps_what_it_signed() {
    let ca = Installation::new();
    ca.machine("n1", &[Role::Node], Some(&in_country("KR")), days(1));
    let files = (ca.at("issuer.pem"), ca.at("issuer.key"));
    let key = std::fs::read(&files.1).unwrap();
    let next = ca.root.issue_intermediate(&[Country::KR].into(), days(500), (&files.0, &files.1)).unwrap();
    assert!(next.is_intermediate() && next.ends() == days(500).not_after && key == std::fs::read(&files.1).unwrap());
    assert!(Authority::load(&files.0, &files.1).unwrap().is_intermediate());
    let renewed = [chain(&ca, "n1.pem")[0].clone(), chain(&ca, "issuer.pem")[0].clone()];
    assert!(trust(&ca).identify(&renewed, Side::Client, NOW).is_ok());
    assert!(trust(&ca).identify(&chain(&ca, "n1.pem"), Side::Client, NOW).is_ok());
}

#[test]
fn nothing_outlives_who_vouches_for_it() {
    let ca = Installation::new();
    ca.machine("n1", &[Role::Node], Some(&in_country("KR")), days(5000));
    let found = trust(&ca).identify(&chain(&ca, "n1.pem"), Side::Client, NOW).unwrap();
    assert_eq!(found.validity.not_after, ca.issuer.ends());
}

#[test]
fn what_is_revoked_counts_no_longer_and_without_a_fresh_list_nothing_does() {
    let ca = Installation::new();
    let [one, two] = ["n1", "n2"].map(|name| ca.machine(name, &[Role::Node], Some(&in_country("KR")), days(9)));
    let judge = |lists: Vec<RevocationList>, name: &str, now| {
        let trust = trust(&ca).with_revocations(lists);
        trust.machine(&chain(&ca, name), (Side::Client, Role::Node), now).map(|found| found.serial)
    };
    assert_eq!(judge(lists(&ca, &[], days(1)), "n1.pem", NOW), Ok(one.clone()));
    assert_eq!(judge(lists(&ca, &[&one], days(1)), "n1.pem", NOW), Err(Distrust::Revoked));
    assert_eq!(judge(lists(&ca, &[&one.replace(':', "")], days(1)), "n2.pem", NOW), Ok(two));
    let stale = judge(lists(&ca, &[], days(1)), "n1.pem", later(2 * DAY));
    assert!(matches!(stale, Err(Distrust::Unfresh(_))), "{stale:?}");
    assert!(matches!(judge(Vec::new(), "n1.pem", NOW), Err(Distrust::Unfresh(_))));
    let other = Installation::new();
    let foreign = judge(lists(&other, &[], days(1)), "n1.pem", NOW);
    assert!(foreign.is_err(), "the list of another CA of the same name says nothing: {foreign:?}");
    let list = lists(&ca, &[&one], days(1)).remove(0);
    assert_eq!((list.number(), list.count(), list.fresh()), (7, 1, days(1)));
    for none in ["", "x", "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"] {
        assert!(RevocationList::parse(none.as_bytes()).is_err());
    }
    let bad = Revoked { serial: "no hex".to_owned(), at: NOW };
    assert!(ca.issuer.revoke(&[bad], 1, days(1)).is_err());
}
