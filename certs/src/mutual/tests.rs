use std::io::{Read, Write};

use rustls::{ClientConnection, Connection, ServerConnection};

use super::*;
use crate::testing::{DAY, Installation, in_country};
use crate::validity::Validity;

/// Real time: TLS asks the clock itself.
fn now() -> UtcMillis {
    UtcMillis(u64::try_from(time::OffsetDateTime::now_utc().unix_timestamp()).unwrap() * 1000)
}

fn from_now(millis: u64) -> Validity {
    Validity::begun(now(), std::time::Duration::from_millis(millis))
}

fn installation() -> Installation {
    let ca = Installation::living(from_now(9 * DAY), from_now(8 * DAY));
    ca.revoke(&[], 1, from_now(DAY));
    ca
}

/// Shakes hands in memory, and says a word each way.
fn meet(client: &Arc<Mutual>, server: &Arc<Mutual>, (to, from): (Role, Role)) -> Result<(), String> {
    let name = ServerName::try_from("no.name.counts").unwrap();
    let client = ClientConnection::new(client.client(to).unwrap(), name).unwrap();
    let server = ServerConnection::new(server.server(from).unwrap()).unwrap();
    let (mut client, mut server) = (Connection::from(client), Connection::from(server));
    client.writer().write_all(b"word").unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() || server.wants_write() {
        for (one, other) in [(0, 1), (1, 0)] {
            let ends = [&mut client, &mut server];
            bytes.clear();
            while ends[one].wants_write() {
                ends[one].write_tls(&mut bytes).unwrap();
            }
            let mut left = bytes.as_slice();
            while !left.is_empty() {
                ends[other].read_tls(&mut left).unwrap();
                ends[other].process_new_packets().map_err(|e| e.to_string())?;
            }
        }
    }
    let mut word = [0; 4];
    server.reader().read_exact(&mut word).map_err(|e| e.to_string())?;
    assert_eq!((&word, server.protocol_version()), (b"word", Some(rustls::ProtocolVersion::TLSv1_3)));
    Ok(())
}

#[test]
fn both_sides_judge_and_names_count_for_nothing() {
    let ca = installation();
    let place = in_country("KR");
    ca.machine("g1", &[Role::Gateway], Some(&place), from_now(DAY));
    ca.machine("n1", &[Role::Node], Some(&place), from_now(DAY));
    let [gateway, node] = ["g1", "n1"].map(|name| Mutual::load(ca.files(name)).unwrap());
    let roles = (Role::Node, Role::Gateway);
    assert_eq!(meet(&gateway, &node, roles), Ok(()));
    assert!(meet(&node, &node, roles).is_err(), "a node does not order another one about");
    assert!(meet(&gateway, &gateway, roles).is_err(), "a gateway keeps no chunks");
    let other = installation();
    other.machine("g1", &[Role::Gateway], Some(&place), from_now(DAY));
    other.machine("n1", &[Role::Node], Some(&place), from_now(DAY));
    let [foreign, theirs] = ["g1", "n1"].map(|name| Mutual::load(other.files(name)).unwrap());
    assert!(meet(&foreign, &node, roles).is_err() && meet(&gateway, &theirs, roles).is_err());
    ca.machine(
        "old",
        &[Role::Node],
        Some(&place),
        Validity { not_before: UtcMillis(0), not_after: UtcMillis(now().0 - 1000) },
    );
    let old = Mutual::load(ca.files("old")).unwrap();
    assert!(meet(&gateway, &old, roles).is_err(), "it ended");
}

#[test]
fn what_changes_counts_for_the_next_connection_and_for_those_that_stand() {
    let ca = installation();
    let place = in_country("KR");
    ca.machine("g1", &[Role::Gateway], Some(&place), from_now(DAY));
    let serial = ca.machine("n1", &[Role::Node], Some(&place), from_now(DAY));
    let [gateway, node] = ["g1", "n1"].map(|name| Mutual::load(ca.files(name)).unwrap());
    let roles = (Role::Node, Role::Gateway);
    let shown = crate::identity::certificates(&std::fs::read(ca.at("n1.pem")).unwrap()).unwrap();
    let standing = || gateway.judge(&shown, (Side::Server, Role::Node), now());
    assert!(meet(&gateway, &node, roles).is_ok() && standing().is_ok());
    ca.revoke(&[&serial], 2, from_now(DAY));
    assert!(meet(&gateway, &node, roles).is_ok(), "not read yet");
    gateway.reload().unwrap();
    assert_eq!(standing(), Err(Distrust::Revoked));
    assert!(meet(&gateway, &node, roles).unwrap_err().contains("Revoked"));
    ca.revoke(&[], 1, from_now(DAY));
    assert!(gateway.reload().unwrap_err().to_string().contains("older"), "an old list revives nothing");
    assert_eq!(standing(), Err(Distrust::Revoked));
    // Its next certificate has another number.
    ca.revoke(&[&serial], 3, from_now(DAY));
    gateway.reload().unwrap();
    ca.machine("n1", &[Role::Node], Some(&place), from_now(DAY));
    node.reload().unwrap();
    assert_eq!(meet(&gateway, &node, roles), Ok(()));
    std::fs::write(ca.at("n1.pem"), "none").unwrap();
    assert!(node.reload().is_err());
    assert_eq!(meet(&gateway, &node, roles), Ok(()), "what was in use stays");
}

#[test]
fn a_list_that_is_no_longer_fresh_ends_all() {
    let ca = installation();
    let place = in_country("KR");
    for (name, role) in [("g1", Role::Gateway), ("n1", Role::Node)] {
        ca.machine(name, &[role], Some(&place), from_now(DAY));
    }
    ca.revoke(&[], 2, Validity { not_before: UtcMillis(0), not_after: UtcMillis(now().0 - 1000) });
    let [gateway, node] = ["g1", "n1"].map(|name| Mutual::load(ca.files(name)).unwrap());
    assert!(meet(&gateway, &node, (Role::Node, Role::Gateway)).is_err());
    assert!(matches!(
        gateway.judge(
            &crate::identity::certificates(&std::fs::read(ca.at("n1.pem")).unwrap()).unwrap(),
            (Side::Server, Role::Node),
            now()
        ),
        Err(Distrust::Unfresh(_))
    ));
}

#[test]
fn a_machine_signs_with_the_key_of_its_certificate() {
    let ca = installation();
    ca.machine("n1", &[Role::Node], Some(&in_country("KR")), from_now(DAY));
    let node = Mutual::load(ca.files("n1")).unwrap();
    let leaf = |name: &str| crate::identity::certificates(&std::fs::read(ca.at(name)).unwrap()).unwrap().remove(0);
    let own = node.own(now()).unwrap();
    assert_eq!((own.name.as_str(), own.certificate), ("n1", node.certificate()));
    let signature = node.sign(b"kept").unwrap();
    assert!(crate::evidence::is_signed_by(&leaf("n1.pem"), b"kept", &signature));
    assert!(!crate::evidence::is_signed_by(&leaf("n1.pem"), b"lost", &signature));
    assert!(!crate::evidence::is_signed_by(&leaf("ca.pem"), b"kept", &signature));
    let before = node.certificate();
    ca.machine("n1", &[Role::Node], Some(&in_country("KR")), from_now(DAY));
    node.reload().unwrap();
    assert_ne!(node.certificate(), before);
}
