//! Rows: a table comes back from its rows, and nothing else does.

use super::*;

type Rows = Vec<(RowName, Vec<u8>)>;

/// A table of two pages of members and four of slots, some of which move.
fn table() -> Table {
    let stores: Vec<_> = (0..300).map(|id| store(id, [id % 3, id / 3 % 5, id], 5)).collect();
    let (table, _) = Table::draw_up(rule(3, 4096, Level::Node), &stores[..299]).unwrap();
    table.change(&stores[1..]).unwrap().into_table()
}

fn small() -> Table {
    let stores: Vec<_> = (0..8).map(|id| store(id, [id % 3, id / 3, id], 5)).collect();
    let (table, _) = Table::draw_up(rule(3, 16, Level::Node), &stores[..7]).unwrap();
    table.change(&stores[1..]).unwrap().into_table()
}

fn read(rows: &[(RowName, Vec<u8>)]) -> Result<Table, CodecError> {
    Table::from_rows(rows.iter().map(|(name, bytes)| (*name, bytes.as_slice())))
}

/// Rows as the fuzz target reads them.
fn framed(rows: &[(RowName, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, bytes) in rows {
        let [_, _, kind, _, page] = name.key(0.into());
        out.extend([kind, page]);
        out.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        out.extend(bytes);
    }
    out
}

proptest! {
    #[test]
    fn any_bytes_are_no_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        pool_rows(&data);
    }

    #[test]
    fn a_table_with_other_bytes_is_one_or_none(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut data = framed(&small().rows().unwrap());
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        pool_rows(&data);
    }
}

#[test]
fn rows_are_pages_and_a_settled_slot_is_one_of_them() {
    let mut table = table();
    comes_back(&table);
    let before = table.rows().unwrap();
    let names: Vec<_> = before.iter().map(|(name, _)| *name).collect();
    let slots = (0..4).map(RowName::Slots);
    assert_eq!(
        names,
        [RowName::Head, RowName::Members(0), RowName::Members(1)].into_iter().chain(slots).collect::<Vec<_>>()
    );
    assert!(before.iter().all(|(_, bytes)| bytes.len() < 16_384));
    let slot = table.moving().next().unwrap().slot();
    table.settled(slot, table.epoch()).unwrap();
    let after = table.rows().unwrap();
    let changed: Vec<_> = before.iter().zip(&after).filter(|(a, b)| a != b).map(|(a, _)| a.0).collect();
    assert_eq!(changed, [RowName::of(slot)]);
    assert_eq!(
        table.row(RowName::of(slot)).unwrap(),
        after.iter().find(|(name, _)| *name == RowName::of(slot)).unwrap().1
    );
    assert_eq!(table.row(RowName::Slots(4)), Err(CodecError::Unexpected(RowName::Slots(4))));
}

#[test]
fn rows_of_something_else_are_refused() {
    let table = table();
    let rows = table.rows().unwrap();
    for (at, (name, bytes)) in rows.iter().enumerate() {
        let with = |change: &dyn Fn(&mut Rows)| {
            let mut rows = rows.clone();
            change(&mut rows);
            read(&rows).unwrap_err()
        };
        assert_eq!(with(&|rows| drop(rows.remove(at))), CodecError::Missing(*name));
        assert_eq!(with(&|rows| rows.push((*name, bytes.clone()))), CodecError::Unexpected(*name));
        assert_eq!(with(&|rows| rows[at].1.push(0)), CodecError::Malformed(*name));
        assert_eq!(with(&|rows| rows[at].1.truncate(bytes.len() - 1)), CodecError::Malformed(*name));
        assert_eq!(with(&|rows| rows[at].1[0] = 9), CodecError::Malformed(*name));
    }
    let mut more = rows.clone();
    more.push((RowName::Slots(4), rows[3].1.clone()));
    assert_eq!(read(&more), Err(CodecError::Unexpected(RowName::Slots(4))));
    let stores: Vec<_> = (1..300).map(|id| store(id, [id % 3, id / 3 % 5, id], 5)).collect();
    let next = table.change(&stores).unwrap().into_table().rows().unwrap();
    let mut mixed = rows.clone();
    mixed[4] = next[4].clone();
    assert_eq!(read(&mixed), Err(CodecError::OtherEpoch(RowName::Slots(1))));
    assert_eq!(read(&[]), Err(CodecError::Missing(RowName::Head)));
}

#[test]
fn keys_keep_the_rows_of_a_pool_together() {
    let table = table();
    let keys: Vec<_> = table.rows().unwrap().iter().map(|(name, _)| name.key(table.rule().pool)).collect();
    assert!(keys.is_sorted());
    assert!(keys.iter().all(|key| key.starts_with(&[0, 3])));
    for bad in [&[][..], &[0, 3, 0, 0, 1], &[0, 3, 3, 0, 0], &[0, 3, 0, 0], &[0, 3, 0, 0, 0, 0]] {
        assert_eq!(RowName::parse(bad), None);
    }
}
