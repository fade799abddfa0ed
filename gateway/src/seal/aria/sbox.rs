//! The four S-boxes of ARIA (RFC 5794, section 2.4.2) as inversion in GF(2^8) between affine maps.
//!
//! The field is that of AES, of polynomial x^8 + x^4 + x^3 + x + 1, and inversion takes 0 to 0.

/// An 8x8 matrix over GF(2), in the layout of `gf2p8affineqb`: the row of output bit 0 is the top byte, and bit
/// `j` of a row says whether input bit `j` is added.
pub(super) type Matrix = u64;

/// `matrix * x + constant`.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub matrix: Matrix,
    pub constant: u8,
}

/// S1, the S-box of AES, is this after inversion.
pub(super) const S1: Affine = Affine { matrix: 0xf1e3_c78f_1f3e_7cf8, constant: 0x63 };
/// S1^-1 is this before inversion.
pub(super) const S1_INVERSE: Affine = Affine { matrix: 0xa449_9225_4a94_2952, constant: 0x05 };
/// S2, x^247 under a map of ARIA's own, is this after inversion: x^247 is the eighth power of the inverse, and
/// squaring is linear.
pub(super) const S2: Affine = Affine { matrix: 0xeafc_b7c3_c273_c66f, constant: 0xe2 };
/// S2^-1 is this before inversion.
pub(super) const S2_INVERSE: Affine = Affine { matrix: 0x1864_50c7_37d6_bdc9, constant: 0x2c };

/// The map that changes nothing.
pub(super) const IDENTITY: Affine = Affine { matrix: 0x0102_0408_1020_4080, constant: 0 };

impl Affine {
    /// What it makes of one byte.
    pub(super) const fn of(self, x: u8) -> u8 {
        let rows = self.matrix.to_be_bytes();
        let (mut y, mut bit) = (self.constant, 0);
        while bit < 8 {
            y ^= (((rows[bit] & x).count_ones() & 1) as u8) << bit;
            bit += 1;
        }
        y
    }

    /// The map that does `first`, then this.
    pub(super) const fn after(self, first: Self) -> Self {
        let mut rows = [0; 8];
        let mut column = 0;
        while column < 8 {
            let image = Self { constant: 0, ..self }.of(Self { constant: 0, ..first }.of(1 << column));
            let mut bit = 0;
            while bit < 8 {
                rows[bit] |= ((image >> bit) & 1) << column;
                bit += 1;
            }
            column += 1;
        }
        Self { matrix: u64::from_be_bytes(rows), constant: self.of(first.constant) }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The table of S1 in RFC 5794, section 2.4.2.
    const TABLE_1: &str = "\
        637c777bf26b6fc53001672bfed7ab76ca82c97dfa5947f0add4a2af9ca472c0\
        b7fd9326363ff7cc34a5e5f171d8311504c723c31896059a071280e2eb27b275\
        09832c1a1b6e5aa0523bd6b329e32f8453d100ed20fcb15b6acbbe394a4c58cf\
        d0efaafb434d338545f9027f503c9fa851a3408f929d38f5bcb6da2110fff3d2\
        cd0c13ec5f974417c4a77e3d645d197360814fdc222a908846eeb814de5e0bdb\
        e0323a0a4906245cc2d3ac629195e479e7c8376d8dd54ea96c56f4ea657aae08\
        ba78252e1ca6b4c6e8dd741f4bbd8b8a703eb5664803f60e613557b986c11d9e\
        e1f8981169d98e949b1e87e9ce5528df8ca1890dbfe6426841992d0fb054bb16";
    /// The table of S2, there.
    const TABLE_2: &str = "\
        e24e54fc94c24acc620d6a463c4d8bd15efa64cbb497be2bbc772e03d31959c1\
        1d06416b55f09969ea9c18ae63dfe7bb007366fb964c85e43a0945aa0fee10eb\
        2d7ff429accfad918d78c895f92fcecd087a88385c832a2847dbb8c793a41253\
        ff870e3136215848018e377432cae9b1b7ab0cd7c4564226079860d9b6b91140\
        ec208cbda0c984044923f14f501f13dcd8c09e57e3c37b653b028f3ee82592e5\
        15ddfd17a9bfd49a7ec53967fe769d43a7e1d0f568f21b347005a38ad57986a8\
        30c6514b1ea627f635d26e2416825fdae675a2ef2cb21c9f5d6f800a72449b6c\
        900b5b337d5a52f361a1f7b0d63f7c6ded14e0a53d22b3f889de711aafbab581";

    /// S1, S2 and their inverses by table, in the order of the first substitution layer.
    pub(in crate::seal::aria) fn tables() -> [[u8; 256]; 4] {
        let forward = [TABLE_1, TABLE_2].map(|hex| <[u8; 256]>::try_from(hex::decode(hex).unwrap()).unwrap());
        let inverse = forward.map(|table| {
            let mut inverse = [0; 256];
            for (y, x) in table.into_iter().zip(0..=255) {
                inverse[usize::from(y)] = x;
            }
            inverse
        });
        [forward[0], forward[1], inverse[0], inverse[1]]
    }

    fn product(mut a: u8, b: u8) -> u8 {
        (0..8).fold(0, |sum, bit| {
            let term = if b >> bit & 1 == 1 { a } else { 0 };
            a = (a << 1) ^ if a & 0x80 == 0 { 0 } else { 0x1b };
            sum ^ term
        })
    }

    #[test]
    fn affine_maps_around_inversion_are_the_tables_of_the_rfc() {
        let inverse = |x| (0..254).fold(1, |power, _| product(power, x));
        let tables = tables();
        for x in 0..=255_u8 {
            let at = usize::from(x);
            assert_eq!(S1.of(inverse(x)), tables[0][at]);
            assert_eq!(S2.of(inverse(x)), tables[1][at]);
            assert_eq!(inverse(S1_INVERSE.of(x)), tables[2][at]);
            assert_eq!(inverse(S2_INVERSE.of(x)), tables[3][at]);
            assert_eq!(IDENTITY.of(x), x);
            assert_eq!(S2.after(S1_INVERSE).of(x), S2.of(S1_INVERSE.of(x)));
        }
    }
}
