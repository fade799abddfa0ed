//! What must hold of any bytes: run by a property test on random ones and by a fuzz target on guided ones
//! (`integration-tests/fuzz`).

use policy::place::{Assurance, Country, Place, VerifiedPlace};

use super::{Candidate, Member, RowName, Table};

/// Rows that decode are a consistent table, which comes back from its rows and can be changed. A row of the input is kind
/// u8, page u8, length u16be, bytes.
pub fn pool_rows(data: &[u8]) {
    let mut rows = Vec::new();
    let mut rest = data;
    while let Some((&[kind, page, a, b], more)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([a, b])).min(more.len());
        let (bytes, more) = more.split_at(length);
        rest = more;
        if let Some((_, name)) = RowName::parse(&[0, 0, kind, 0, page]) {
            rows.push((name, bytes));
        }
    }
    let Ok(table) = Table::from_rows(rows) else { return };
    consistent(&table);
    comes_back(&table);
    if table.members().len() <= 64 && table.rule().slots.get() <= 256 {
        let candidates: Vec<_> = table.members().iter().skip(1).map(candidate).collect();
        if let Ok(plan) = table.change(&candidates) {
            consistent(plan.table());
        }
    }
}

/// Each slot has distinct stores that take chunks, and reads are asked there first.
pub(super) fn consistent(table: &Table) {
    let copies = usize::from(table.rule().copies.get());
    for slot in table.slots() {
        let writers: Vec<_> = slot.writers().collect();
        assert_eq!(writers.len(), copies);
        for store in &writers {
            assert_eq!(
                writers.iter().filter(|other| *other == store).count(),
                1,
                "{store} twice in slot {}",
                slot.slot()
            );
            let member = table.members().iter().find(|member| member.store() == *store);
            assert!(member.and_then(Member::serves).is_some(), "{store} takes nothing");
        }
        let readers = slot.readers();
        assert!(readers.starts_with(&writers));
        assert!(slot.moving_since().is_some() || readers.len() == copies);
        assert!(slot.moving_since().is_none_or(|since| since <= table.epoch()));
        assert!(slot.places_left() <= copies);
    }
}

/// A table is what its rows say.
pub(super) fn comes_back(table: &Table) {
    let rows = table.rows().unwrap_or_default();
    for (name, _) in &rows {
        assert_eq!(RowName::parse(&name.key(table.rule().pool)), Some((table.rule().pool, *name)));
    }
    let again = Table::from_rows(rows.iter().map(|(name, bytes)| (*name, bytes.as_slice())));
    assert_eq!(again.as_ref(), Ok(table));
}

/// A member as one that would be one again.
fn candidate(member: &Member) -> Candidate {
    let place = Place {
        country: Country::KR,
        subdivision: None,
        site: member.domain().site.clone(),
        rack: member.domain().rack.clone(),
        operator: None,
        assurance: Assurance::Attested,
    };
    Candidate {
        store: member.store(),
        node: member.domain().node.clone(),
        standing: member.standing(),
        place: VerifiedPlace::known(place),
    }
}
