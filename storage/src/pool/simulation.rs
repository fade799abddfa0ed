//! A pool of 1,000 nodes: 65,536 slots in three copies, 100,000,000 chunks.
//!
//! Chunks are counted by hashing 100,000,000 ids to slots, on all processors: nothing is assumed of how they fall.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use policy::id::{BodyId, StoreId};

use super::tests::{rule, store, well_spread};
use super::*;
use crate::chunk::ChunkId;

const NODES: u32 = 1_000;
const CHUNKS: u64 = 100_000_000;

/// 3 sites of 20 racks; nodes of one to four disks of 8, 12 or 16 TB.
fn cluster(nodes: std::ops::Range<u32>) -> Vec<Candidate> {
    let disks = |node: u32| {
        let at = [node % 3, node / 3 % 20, node];
        (0..1 + node * 7 % 11 % 4).map(move |disk| {
            let weight = 1_000_000_000_000 * [8, 12, 16][usize::try_from((node / 7 + disk) % 3).unwrap()];
            store(node * 4 + disk, at, weight)
        })
    };
    nodes.flat_map(disks).collect()
}

/// Chunks of each slot.
fn chunks() -> Vec<u64> {
    let threads = u64::try_from(std::thread::available_parallelism().map_or(2, usize::from)).unwrap();
    let count = |thread: u64| {
        let mut out = vec![0; 65_536];
        for chunk in (thread..CHUNKS).step_by(usize::try_from(threads).unwrap()) {
            // Bodies of eight chunks, whose ids are as random as ours are.
            let body = chunk / 8;
            let random = body.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
            let id = BodyId::time_ordered(
                1_700_000_000_000 + body / 50,
                [&random[..], &[0; 2]].concat().try_into().unwrap(),
            );
            let number = u32::try_from(chunk % 8).unwrap();
            out[usize::from(SlotCount::LARGE.slot(ChunkId { body: id, number }).number())] += 1;
        }
        out
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || count(thread))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).fold(vec![0; 65_536], |mut sum, part: Vec<u64>| {
            sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
            sum
        })
    })
}

/// Chunks and fair share of chunks of each node.
fn per_node(table: &Table, chunks: &[u64]) -> BTreeMap<String, (f64, f64)> {
    let node: BTreeMap<StoreId, &str> = table.members().iter().map(|m| (m.store(), m.domain().node.as_str())).collect();
    let mut out: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for slot in table.slots() {
        for store in slot.writers() {
            out.entry(node[&store].to_owned()).or_default().0 += chunks[usize::from(slot.slot().number())] as f64;
        }
    }
    for share in table.shares().unwrap() {
        out.entry(node[&share.store].to_owned()).or_default().1 += share.fair * CHUNKS as f64 / 65_536.0;
    }
    out
}

/// The largest and the mean difference from fair shares, in percent.
fn imbalance(nodes: &BTreeMap<String, (f64, f64)>) -> (f64, f64) {
    let off: Vec<_> = nodes.values().map(|(has, fair)| 100.0 * (has / fair - 1.0).abs()).collect();
    (off.iter().copied().fold(0.0, f64::max), off.iter().sum::<f64>() / off.len() as f64)
}

fn moved(moves: &[Move], chunks: &[u64]) -> f64 {
    moves.iter().map(|change| chunks[usize::from(change.slot.number())] as f64).sum()
}

#[test]
fn a_thousand_nodes_are_even_and_move_little() {
    let began = Instant::now();
    let lap = |what: &str| println!("{:6.2} s {what}", began.elapsed().as_secs_f64());
    let chunks = chunks();
    lap("100,000,000 chunks have slots");

    let stores = cluster(0..NODES);
    let (table, _) = Table::draw_up(rule(3, 65_536, Level::Node), &stores).unwrap();
    lap(&format!("{} stores have their slots", stores.len()));
    well_spread(&table);
    let nodes = per_node(&table, &chunks);
    assert_eq!(nodes.len(), 1_000);
    let (most, mean) = imbalance(&nodes);
    lap(&format!("nodes are within {most:.2} % of their share, {mean:.2} % in the mean"));
    assert!(most < 5.0);

    let plan = table.change(&cluster(0..NODES + 1)).unwrap();
    let nodes = per_node(plan.table(), &chunks);
    let fair: f64 = cluster(NODES..NODES + 1).iter().take(1).map(|new| nodes[&new.node].1).sum();
    let ratio = moved(plan.moves(), &chunks) / fair;
    let (most, mean) = imbalance(&nodes);
    lap(&format!("a new node moves {ratio:.3} of its share; within {most:.2} %, {mean:.2} % in the mean"));
    assert!(ratio <= 1.1);
    assert!(most < 5.0);
    well_spread(plan.table());

    let gone = ["n1-0-301", "n2-7-443"];
    let left: Vec<_> = stores.iter().filter(|store| !gone.contains(&store.node.as_str())).cloned().collect();
    let plan = table.change(&left).unwrap();
    let nodes = per_node(&table, &chunks);
    let had: f64 = gone.iter().map(|node| nodes[*node].0).sum();
    let ratio = moved(plan.moves(), &chunks) / had;
    let (most, mean) = imbalance(&per_node(plan.table(), &chunks));
    lap(&format!("two lost nodes move {ratio:.3} of what they had; within {most:.2} %, {mean:.2} % in the mean"));
    assert!((1.0..1.1).contains(&ratio));
    assert!(most < 5.0);
    assert_eq!(plan.lost().count(), 0);
    let copies = plan.moves().iter().map(|change| change.to).collect::<BTreeSet<_>>().len();
    lap(&format!("{} copies are made anew on {copies} stores", plan.moves().len()));
    assert!(copies > 250, "many share the work");
    well_spread(plan.table());

    let rows = plan.table().rows().unwrap();
    let size = rows.iter().map(|(_, bytes)| bytes.len());
    let (all, largest) = (size.clone().sum::<usize>(), size.max().unwrap());
    let again = Table::from_rows(rows.iter().map(|(name, bytes)| (*name, bytes.as_slice()))).unwrap();
    assert_eq!(&again, plan.table());
    lap(&format!("{} rows of {largest} bytes at most, {all} in all, are read back", rows.len()));
}
