//! Changes: what moves, what is read meanwhile, what is refused.

use super::*;

/// What happens to a store.
#[derive(Debug, Clone)]
enum Event {
    Comes(u32, [u32; 3], u64),
    Drains(prop::sample::Index),
    IsLost(prop::sample::Index),
    Grows(prop::sample::Index, u64),
    Settles(Vec<prop::sample::Index>),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let index = any::<prop::sample::Index>;
    let event = prop_oneof![
        3 => (100..10_000_u32, 0..4_u32, 0..3_u32, 0..3_u32, 1..10_u64).prop_map(|(id, s, r, n, w)| Event::Comes(id, [s, r, n], w)),
        1 => index().prop_map(Event::Drains),
        1 => index().prop_map(Event::IsLost),
        1 => (index(), 1..10_u64).prop_map(|(which, weight)| Event::Grows(which, weight)),
        2 => proptest::collection::vec(index(), 0..200).prop_map(Event::Settles),
    ];
    proptest::collection::vec(event, 1..8)
}

/// Where everything that was ever written to a place of a slot lies; lost once its store is.
type Truth = BTreeMap<(u16, u8), Option<StoreId>>;

fn places(table: &Table) -> impl Iterator<Item = (u16, u8)> + use<> {
    let copies = table.rule().copies.get();
    let slots: Vec<_> = table.rule().slots.slots().map(Slot::number).collect();
    slots.into_iter().flat_map(move |slot| (0..copies).map(move |place| (slot, place)))
}

fn at(table: &Table, slot: u16) -> Whereabouts<'_> {
    table.at(table.rule().slots.numbered(slot).unwrap()).unwrap()
}

fn happens(event: &Event, stores: &mut Vec<Candidate>, table: &mut Table, truth: &mut Truth) {
    let victim = |which: &prop::sample::Index, stores: &[Candidate]| which.index(stores.len());
    match event {
        Event::Comes(id, at, weight) => {
            let new = store(*id, *at, *weight);
            if stores.iter().all(|old| old.store != new.store) {
                stores.push(new);
            }
        }
        Event::Drains(which) => {
            let which = victim(which, stores);
            stores[which].standing = Standing::Leaving;
        }
        Event::IsLost(which) if stores.len() > 1 => {
            stores.remove(victim(which, stores));
        }
        Event::IsLost(_) => {}
        Event::Grows(which, weight) => {
            let which = victim(which, stores);
            stores[which].standing = Standing::Serving((*weight).try_into().unwrap());
        }
        Event::Settles(which) => {
            for slot in which {
                let slot = u16::try_from(slot.index(usize::try_from(table.rule().slots.get()).unwrap())).unwrap();
                let number = table.rule().slots.numbered(slot).unwrap();
                table.settled(number, table.epoch()).unwrap();
                for (place, store) in (0..).zip(at(table, slot).writers()) {
                    truth.insert((slot, place), Some(store));
                }
            }
        }
    }
}

/// Readers come to where everything is, and nothing is called complete that is not.
fn is_found(table: &Table, truth: &Truth) {
    for (slot, place) in places(table) {
        let whereabouts = at(table, slot);
        let writer = whereabouts.writers().nth(usize::from(place)).unwrap();
        match truth[&(slot, place)] {
            Some(store) => {
                assert!(whereabouts.readers().contains(&store));
                assert!(store == writer || whereabouts.sources(place).any(|source| source == store));
                assert!(store == writer || !whereabouts.is_complete(place));
            }
            None => assert!(!whereabouts.is_complete(place)),
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_is_found((rule, mut stores) in pools(), events in events()) {
        let Ok((mut table, _)) = Table::draw_up(rule, &stores) else { return Ok(()) };
        let mut truth: Truth =
            places(&table).map(|(slot, place)| ((slot, place), at(&table, slot).writers().nth(place.into()))).collect();
        for event in &events {
            happens(event, &mut stores, &mut table, &mut truth);
            let Ok(plan) = table.change(&stores) else { return Ok(()) };
            prop_assert_eq!(plan.base(), table.epoch());
            for change in plan.moves() {
                let was = at(&table, change.slot.number()).writers().nth(change.place.into());
                prop_assert!(change.from.is_none_or(|from| was == Some(from)));
                prop_assert_eq!(at(plan.table(), change.slot.number()).writers().nth(change.place.into()), Some(change.to));
            }
            table.follow(plan.into_table()).unwrap();
            let known: BTreeSet<_> = table.members().iter().map(Member::store).collect();
            for held in truth.values_mut() {
                *held = held.filter(|store| known.contains(store));
            }
            consistent(&table);
            well_spread(&table);
            comes_back(&table);
            even(&table, 2.0);
            is_found(&table, &truth);
        }
    }

    #[test]
    fn nothing_moves_for_nothing((rule, stores) in pools()) {
        let Ok((table, _)) = Table::draw_up(rule, &stores) else { return Ok(()) };
        let plan = table.change(&stores).unwrap();
        prop_assert_eq!(plan.moves(), &[]);
        prop_assert_eq!(plan.table().moving().count(), 0);
        prop_assert_eq!(plan.table().epoch().number(), 2);
    }
}

/// 30 nodes in 3 sites, two disks each.
fn thirty() -> Vec<Candidate> {
    (0..60).map(|id| store(id, [id / 2 % 3, id / 6 % 5, id / 2], 8 + u64::from(id % 3))).collect()
}

#[test]
fn a_new_store_moves_its_share_and_no_more() {
    let (table, _) = Table::draw_up(rule(3, 4096, Level::Node), &thirty()).unwrap();
    let mut stores = thirty();
    stores.push(store(60, [0, 0, 30], 9));
    let plan = table.change(&stores).unwrap();
    let fair = plan.table().shares().unwrap().into_iter().find(|share| share.store == stores[60].store).unwrap().fair;
    assert!(plan.moves().iter().filter(|change| change.to == stores[60].store).count() as f64 > 0.98 * fair);
    assert!(plan.moves().len() as f64 <= 1.1 * fair, "{} moves for {fair} slots", plan.moves().len());
    even(plan.table(), 2.0);
}

#[test]
fn a_store_that_is_lost_moves_what_it_had() {
    let (table, _) = Table::draw_up(rule(3, 4096, Level::Node), &thirty()).unwrap();
    let gone = thirty()[7].store;
    let had = table.slots().filter(|slot| slot.writers().any(|store| store == gone)).count();
    let plan = table.change(&thirty().into_iter().filter(|store| store.store != gone).collect::<Vec<_>>()).unwrap();
    let repairs = plan.moves().iter().filter(|change| change.from.is_none()).count();
    assert_eq!(repairs, had);
    assert!(plan.moves().len() <= had + had / 10, "{} moves for {had} slots", plan.moves().len());
    assert_eq!(plan.lost().count(), 0);
    assert_eq!(plan.table().moving().filter(|slot| slot.places_left() == 2).count(), had);
    even(plan.table(), 2.0);
}

#[test]
fn a_store_that_is_drained_or_shrinks_moves_what_it_loses() {
    let (table, _) = Table::draw_up(rule(3, 4096, Level::Node), &thirty()).unwrap();
    let shares = table.shares().unwrap();
    let mut stores = thirty();
    let had = shares.iter().find(|share| share.store == stores[7].store).unwrap().slots;
    for (standing, loses) in [(Standing::Leaving, had), (Standing::Serving(4.try_into().unwrap()), had / 2)] {
        stores[7].standing = standing;
        let plan = table.change(&stores).unwrap();
        assert!(plan.moves().len() as f64 <= 1.1 * f64::from(loses), "{} moves for {loses} slots", plan.moves().len());
        assert!(
            plan.moves().iter().filter(|change| change.from == Some(stores[7].store)).count() as f64
                > 0.9 * f64::from(loses)
        );
        even(plan.table(), 2.0);
    }
}

#[test]
fn a_drained_store_is_read_until_it_is_empty() {
    let (table, _) = Table::draw_up(rule(3, 64, Level::Node), &thirty()[..12]).unwrap();
    let mut stores = thirty()[..12].to_vec();
    stores[5].standing = Standing::Leaving;
    let drained = stores[5].store;
    let mut table = table.change(&stores).unwrap().into_table();
    let moving: Vec<_> = table.moving().map(|slot| slot.slot()).collect();
    assert!(!moving.is_empty());
    for slot in table.slots() {
        assert!(slot.writers().all(|store| store != drained));
    }
    for slot in &moving {
        assert!(table.emptied().is_empty());
        assert!(table.at(*slot).unwrap().readers().contains(&drained));
        assert_eq!(table.settled(*slot, table.epoch()), Ok(true));
        assert_eq!(table.settled(*slot, table.epoch()), Ok(false));
    }
    assert_eq!(table.emptied(), [drained]);
}

#[test]
fn a_member_that_is_no_longer_admitted_is_drained() {
    let (table, _) = Table::draw_up(rule(3, 64, Level::Node), &thirty()[..12]).unwrap();
    let mut stores = thirty()[..12].to_vec();
    stores[5].place = place("JP", None, None);
    let plan = table.change(&stores).unwrap();
    assert_eq!(plan.refused().len(), 1);
    assert!(plan.refused()[0].was_member);
    assert!(plan.refused()[0].to_string().ends_with("another country; it is drained of what it has"));
    assert!(plan.moves().iter().all(|change| change.to != stores[5].store));
    assert!(plan.moves().iter().any(|change| change.from == Some(stores[5].store)));
    assert!(plan.table().slots().all(|slot| slot.writers().all(|store| store != stores[5].store)));
}

#[test]
fn epochs_guard_against_stale_tables() {
    let stores = thirty();
    let (first, _) = Table::draw_up(rule(3, 64, Level::Node), &stores[..12]).unwrap();
    let mut second = first.change(&stores[..14]).unwrap().into_table();
    let slot = second.moving().next().unwrap().slot();
    let [one, two] = [first.epoch(), second.epoch()];
    assert_eq!(second.settled(slot, one), Err(SettleError::MovedAgain { slot, since: two, verified: one }));
    let mut stale = first.clone();
    assert_eq!(stale.settled(slot, two), Err(SettleError::Stale { held: one, verified: two }));
    assert_eq!(second.clone().follow(first.clone()), Err(StaleTable { held: two, offered: one }));
    let (other, _) = Table::draw_up(rule(2, 64, Level::Node), &stores).unwrap();
    let other = other.change(&stores).unwrap().into_table();
    assert_eq!(stale.follow(other), Err(StaleTable { held: one, offered: two }));
    let unsettled = second.clone();
    assert_eq!(second.settled(slot, two), Ok(true));
    let mut held = unsettled.clone();
    assert_eq!(held.follow(second.clone()), Ok(()));
    assert_eq!(held, second);
    assert_eq!(held.follow(unsettled), Err(StaleTable { held: two, offered: two }), "what is settled stays so");
    // A change of something else does not make what was verified void.
    let mut third = held.change(&stores[..14]).unwrap().into_table();
    let slot = third.moving().next().unwrap().slot();
    assert_eq!(third.settled(slot, two), Ok(true));
}

#[test]
fn what_is_lost_is_said() {
    let stores = thirty();
    let (table, _) = Table::draw_up(rule(1, 64, Level::Node), &stores[..4]).unwrap();
    let plan = table.change(&stores[..2]).unwrap();
    let lost: Vec<_> = plan.lost().collect();
    assert_eq!(lost.len(), plan.moves().len());
    assert!(!lost.is_empty());
    for change in plan.moves() {
        let slot = plan.table().at(change.slot).unwrap();
        assert_eq!((change.from, slot.places_left(), slot.is_complete(0)), (None, 0, false));
    }
}
