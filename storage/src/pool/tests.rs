//! Tables of small pools: what holds of every one, and of every change.

use std::collections::{BTreeMap, BTreeSet};

use policy::id::StoreId;
use policy::place::{Assurance, Country, Place, VerifiedPlace};
use policy::residency::{Residency, ResidencyRefusal};
use proptest::prelude::*;

use super::fuzz::{comes_back, consistent, pool_rows};
use super::*;

mod changes;
mod rows;

/// A store somewhere in Korea.
pub(super) fn store(id: u32, [site, rack, node]: [u32; 3], weight: u64) -> Candidate {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&id.wrapping_mul(0x9E37_79B9).to_be_bytes());
    bytes[4..8].copy_from_slice(&id.to_be_bytes());
    Candidate {
        store: StoreId::from_bytes(bytes),
        node: format!("n{site}-{rack}-{node}"),
        standing: Standing::Serving(weight.try_into().unwrap()),
        place: place("KR", Some(format!("s{site}")), Some(format!("r{rack}"))),
    }
}

fn place(country: &str, site: Option<String>, rack: Option<String>) -> VerifiedPlace {
    let country: Country = country.parse().unwrap();
    let assurance = Assurance::EnrolledByTwo;
    VerifiedPlace::known(Place { country, subdivision: None, site, rack, operator: None, assurance })
}

pub(super) fn rule(copies: u8, slots: u32, distinct: Level) -> PoolRule {
    PoolRule {
        pool: 3.into(),
        copies: copies.try_into().unwrap(),
        slots: slots.try_into().unwrap(),
        residency: Residency::korea(),
        distinct,
    }
}

/// Pools of any shape: copies, and for each store site, rack, node and weight.
fn pools() -> impl Strategy<Value = (PoolRule, Vec<Candidate>)> {
    let stores = proptest::collection::vec((0..4_u32, 0..3_u32, 0..3_u32, 1..10_u64), 1..40);
    (1..6_u8, 0..8_u32, stores).prop_map(|(copies, power, stores)| {
        let stores = stores.into_iter().zip(0..);
        let stores = stores.map(|((site, rack, node, weight), id)| store(id, [site, rack, node], weight)).collect();
        (rule(copies, 1 << power, Level::Disk), stores)
    })
}

/// How many stores of a slot lie in each domain of a level, and how many domains of level L that has.
fn domains(table: &Table, level: Level) -> BTreeMap<String, BTreeSet<StoreId>> {
    let mut out: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for member in table.members().iter().filter(|member| member.serves().is_some()) {
        out.entry(name(member, level)).or_default().insert(member.store());
    }
    out
}

fn name(member: &Member, level: Level) -> String {
    let Domain { site, rack, node } = member.domain();
    match level {
        Level::Site => format!("{site:?}"),
        Level::Rack => format!("{site:?} {rack:?}"),
        Level::Node => format!("{site:?} {rack:?} {node}"),
        Level::Disk => member.store().to_string(),
    }
}

/// By counting: distinct at the widest level that has enough domains, and even over sites.
pub(super) fn well_spread(table: &Table) {
    let copies = usize::from(table.rule().copies.get());
    let level = Level::ALL.into_iter().find(|level| domains(table, *level).len() >= copies).unwrap();
    let of: BTreeMap<_, _> = table.members().iter().map(|member| (member.store(), member)).collect();
    let sites = domains(table, Level::Site);
    let room =
        |stores: &BTreeSet<StoreId>| stores.iter().map(|store| name(of[store], level)).collect::<BTreeSet<_>>().len();
    let sites: BTreeMap<_, _> = sites.iter().map(|(site, stores)| (site, room(stores))).collect();
    for slot in table.slots() {
        let members: Vec<_> = slot.writers().map(|store| of[&store]).collect();
        let inner: BTreeSet<_> = members.iter().map(|member| name(member, level)).collect();
        assert_eq!(inner.len(), copies, "slot {} shares a {level}", slot.slot());
        let count = |site: &str| members.iter().filter(|member| name(member, Level::Site) == *site).count();
        let most = sites.keys().map(|site| count(site)).max().unwrap();
        for (site, room) in &sites {
            assert!(count(site) + 1 >= most || count(site) == *room, "slot {} is uneven over sites", slot.slot());
        }
    }
}

/// Shares of all stores are what they can be: to the slot, or within 2 %.
fn even(table: &Table, percent: f64) {
    for share in table.shares().unwrap() {
        let off = (f64::from(share.slots) - share.fair).abs();
        assert!(off < (share.fair * percent / 100.0).max(1.0) + 0.001, "{share:?}");
    }
}

proptest! {
    #[test]
    fn any_pool_is_spread_and_found_again((rule, stores) in pools()) {
        let Ok((table, refused)) = Table::draw_up(rule.clone(), &stores) else {
            prop_assert!(stores.len() < usize::from(rule.copies.get()));
            return Ok(());
        };
        prop_assert!(refused.is_empty());
        consistent(&table);
        well_spread(&table);
        comes_back(&table);
        prop_assert_eq!(table.moving().count(), 0);
    }

    #[test]
    fn the_order_of_candidates_is_nothing(((rule, stores), shuffled) in pools().prop_flat_map(|(rule, stores)| {
        let shuffled = Just(stores.clone()).prop_shuffle();
        (Just((rule, stores)), shuffled)
    })) {
        let table = |stores: &[Candidate]| Table::draw_up(rule.clone(), stores).map(|(table, _)| table);
        prop_assert_eq!(table(&stores), table(&shuffled));
        let Ok(first) = table(&stores[1..]) else { return Ok(()) };
        let next = |stores: &[Candidate]| first.change(stores).map(Plan::into_table);
        prop_assert_eq!(next(&stores), next(&shuffled));
    }

    #[test]
    fn shares_are_what_domains_allow((rule, stores) in pools()) {
        let Ok((table, _)) = Table::draw_up(rule, &stores) else { return Ok(()) };
        even(&table, 0.0);
    }
}

#[test]
fn stores_are_refused_by_name() {
    let abroad = Candidate { place: place("JP", None, None), ..store(9, [0, 0, 9], 1) };
    let silent = Candidate { place: VerifiedPlace::unknown(), ..store(8, [0, 0, 8], 1) };
    let mut stores: Vec<_> = (0..4).map(|id| store(id, [0, 0, id], 1)).collect();
    stores.extend([abroad.clone(), silent.clone()]);
    let (table, refused) = Table::draw_up(rule(2, 16, Level::Node), &stores).unwrap();
    let why: BTreeMap<_, _> = refused.iter().map(|refused| (refused.store, refused.why)).collect();
    let expected = [(abroad.store, ResidencyRefusal::Country), (silent.store, ResidencyRefusal::Unknown)];
    assert_eq!(why, BTreeMap::from(expected));
    assert!(
        refused
            .iter()
            .any(|refused| refused.to_string().contains("node `n0-0-9` is refused: the node stands in another"))
    );
    assert_eq!(table.members().len(), 4);
    for slot in table.slots() {
        assert!(slot.readers().iter().all(|store| !why.contains_key(store)));
    }
}

#[test]
fn too_few_domains_are_an_error() {
    let one_machine: Vec<_> = (0..4).map(|id| store(id, [0, 0, 0], 1)).collect();
    let error = Table::draw_up(rule(3, 16, Level::Node), &one_machine).unwrap_err();
    assert_eq!(error, PoolError::TooFewDomains { level: Level::Node, needed: 3, there: 1 });
    assert_eq!(
        error.to_string(),
        "each slot needs stores on 3 distinct nodes, and the stores that may keep it are on 1"
    );
    assert!(Table::draw_up(rule(3, 16, Level::Disk), &one_machine).is_ok());
    let error = Table::draw_up(rule(5, 16, Level::Disk), &one_machine).unwrap_err();
    assert_eq!(error, PoolError::TooFewDomains { level: Level::Disk, needed: 5, there: 4 });
    let nobody = Table::draw_up(rule(1, 16, Level::Disk), &[]).unwrap_err();
    assert_eq!(nobody, PoolError::TooFewDomains { level: Level::Disk, needed: 1, there: 0 });
}

#[test]
fn what_contradicts_itself_is_an_error() {
    let twice = [store(1, [0, 0, 0], 1), store(1, [0, 0, 1], 1)];
    assert_eq!(Table::draw_up(rule(1, 4, Level::Disk), &twice).unwrap_err(), PoolError::Twice(twice[0].store));
    let [a, b] = [store(1, [0, 0, 0], 1), store(1, [0, 0, 0], 1)];
    let abroad = Candidate { place: place("JP", None, None), ..b };
    for pair in [[a.clone(), abroad.clone()], [abroad.clone(), a.clone()], [abroad.clone(), abroad]] {
        assert_eq!(Table::draw_up(rule(1, 4, Level::Disk), &pair).unwrap_err(), PoolError::Twice(a.store));
    }
    let astray = [store(1, [0, 0, 0], 1), Candidate { node: "n0-0-0".to_owned(), ..store(2, [0, 1, 0], 1) }];
    let error = Table::draw_up(rule(1, 4, Level::Disk), &astray).unwrap_err();
    assert_eq!(error, PoolError::Astray("n0-0-0".to_owned()));
}

#[test]
fn a_slot_takes_the_widest_spread_that_there_is() {
    let stores = |sites: u32, racks: u32, nodes: u32| {
        let all = (0..sites).flat_map(move |s| (0..racks).flat_map(move |r| (0..nodes).map(move |n| [s, r, n])));
        all.zip(0..).map(|(at, id)| store(id, at, 10)).collect::<Vec<_>>()
    };
    for (copies, shape, level, most_of_a_site) in [
        (3, [3, 2, 2], Level::Site, 1),
        (3, [4, 1, 1], Level::Site, 1),
        (3, [2, 2, 2], Level::Rack, 2),
        (3, [1, 2, 2], Level::Node, 3),
        (4, [3, 2, 2], Level::Rack, 2),
        (6, [3, 2, 2], Level::Rack, 2),
        (7, [3, 2, 2], Level::Node, 3),
    ] {
        let stores = stores(shape[0], shape[1], shape[2]);
        let (table, _) = Table::draw_up(rule(copies, 256, Level::Node), &stores).unwrap();
        well_spread(&table);
        even(&table, 0.0);
        let of: BTreeMap<_, _> = table.members().iter().map(|member| (member.store(), member)).collect();
        for slot in table.slots() {
            let mut counts = BTreeMap::new();
            for store in slot.writers() {
                *counts.entry((name(of[&store], Level::Site), name(of[&store], level))).or_insert(0) += 1;
            }
            assert!(counts.values().all(|count| *count == 1), "{copies} {shape:?}");
            for site in counts.keys().map(|(site, _)| site) {
                assert!(counts.keys().filter(|(other, _)| other == site).count() <= most_of_a_site);
            }
        }
    }
}

#[test]
fn a_small_site_that_every_slot_needs_shows() {
    let mut stores: Vec<_> = (0..20).map(|id| store(id, [id % 2, 0, id], 10)).collect();
    stores.push(store(20, [2, 0, 20], 1));
    let (table, _) = Table::draw_up(rule(3, 1024, Level::Node), &stores).unwrap();
    let shares = table.shares().unwrap();
    let small = shares.iter().find(|share| share.store == stores[20].store).unwrap();
    assert_eq!((small.slots, small.fair), (1024, 1024.0));
    assert!((small.by_weight - 3072.0 / 201.0).abs() < 0.001);
}

#[test]
fn one_store_has_every_slot() {
    let (table, _) = Table::draw_up(rule(1, 4096, Level::Disk), &[store(1, [0, 0, 0], 1)]).unwrap();
    assert_eq!(table.shares().unwrap()[0].slots, 4096);
    assert_eq!((table.shares().unwrap()[0].fair, table.shares().unwrap()[0].by_weight), (4096.0, 4096.0));
    let chunk = crate::chunk::ChunkId { body: policy::id::BodyId::from_bytes([1; 16]), number: 0 };
    assert_eq!(table.of(chunk).slot().number(), 548);
    assert_eq!(table.of(chunk).readers(), [store(1, [0, 0, 0], 1).store]);
    assert!(table.at(SlotCount::LARGE.numbered(4096).unwrap()).is_none());
}
