//! Bytes that are on disks: worked out by another program from the table in `shard.rs`, not by this crate.

use super::*;

struct Golden {
    layout: &'static str,
    segments: u32,
    last: u32,
    /// Of each parity shard its first bytes, and the CRC32C of each segment.
    parity: &'static [(&'static str, &'static [u32])],
}

const GOLDEN: [Golden; 5] = [
    Golden {
        layout: "ec-4-2",
        segments: 7,
        last: 1000,
        parity: &[("d072067d09d83e66", &[0x5e56_f715, 0x3842_9f5b]), ("e41eb403c6450152", &[0x83c7_0703, 0x7c48_bc35])],
    },
    Golden {
        layout: "ec-8-3",
        segments: 9,
        last: 65_552,
        parity: &[
            ("c636fd6f84100b56", &[0x9797_7217, 0x2cfa_b33f]),
            ("0051a1fcdb570fb4", &[0x7413_c1bb, 0xe0e7_06a1]),
            ("6a5fdaa858d056a6", &[0xa7dd_2621, 0x9884_cd69]),
        ],
    },
    Golden { layout: "ec-2-1", segments: 1, last: 100, parity: &[("00811fa03ec35de2", &[0x99dd_4b63])] },
    Golden {
        layout: "ec-16-4",
        segments: 17,
        last: 17,
        parity: &[
            ("475dcd8b694bfa56", &[0xd850_f5d4, 0x0a6d_d4dc]),
            ("43b59e2014333a4c", &[0x1482_6068, 0x2a00_ed19]),
            ("6762f39e117b1922", &[0xde4c_95e2, 0x5049_efed]),
            ("251564f9a50a3dda", &[0x3bdc_9ec4, 0xa27c_82ed]),
        ],
    },
    Golden {
        layout: "ec-4-2",
        segments: 4,
        last: 65_552,
        parity: &[("68038a40c17feedb", &[0x0e41_36bb]), ("725a634554bc220c", &[0xfac8_40d6])],
    },
];

/// Byte i of segment s is 31 i + 17 s + 7 (i / 256), modulo 256.
fn pattern(number: u32, out: &mut [u8]) {
    let number = usize::try_from(number).unwrap();
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::try_from((at * 31 + number * 17 + (at >> 8) * 7) & 0xFF).unwrap();
    }
}

#[test]
fn parity_is_what_lies_on_disks() {
    for golden in GOLDEN {
        let spread = spread(golden.layout, golden.segments, golden.last);
        let (_, shards) = made(spread, pattern);
        for (number, (head, crcs)) in (spread.layout().data()..).zip(golden.parity) {
            let shard = shards.shard(number).unwrap();
            assert_eq!(hex(&shard.bytes()[..8]), *head, "{} {number}", golden.layout);
            assert_eq!(shard.crcs(), *crcs, "{} {number}", golden.layout);
        }
    }
}

#[test]
fn a_root_names_chunk_layout_and_number() {
    let (_, shards) = made(spread("ec-2-1", 3, 100), pattern);
    let roots: Vec<String> = shards.iter().map(|shard| hex(&shard.sums().root[..8])).collect();
    assert_eq!(roots, ["b2df324af119258c", "b093f230a0150765", "e8df11482046d60d"]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
