//! Widths of characters, in thousandths of the size: viewers set the text, so lines are measured as they will.

use super::characters::Glyph;

/// Width in Courier.
const COURIER: u32 = 600;
/// Width in the Korean font, and that of its hyphen: no other narrow character is set in it.
const WIDE: u32 = 1000;
pub(super) const NARROW: u32 = 500;

/// Helvetica in WinAnsi from 0x20 on, of Adobe's font metrics.
#[rustfmt::skip]
const HELVETICA: [u16; 224] = [
    278, 278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 278, 278, 584, 584, 584, 556, 1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667,
    556, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556, 333, 556,
    556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556, 556, 556, 333, 500, 278, 556, 500, 722,
    500, 500, 500, 334, 260, 334, 584, 350, 556, 350, 222, 556, 333, 1000, 556, 556, 333, 1000, 667, 333, 1000, 350,
    611, 350, 350, 222, 222, 333, 333, 350, 556, 1000, 333, 1000, 500, 333, 944, 350, 500, 667, 278, 333, 556, 556,
    556, 556, 260, 556, 333, 737, 370, 556, 584, 333, 737, 333, 400, 584, 333, 333, 333, 556, 537, 278, 333, 333,
    365, 556, 834, 834, 834, 611, 667, 667, 667, 667, 667, 667, 1000, 722, 667, 667, 667, 667, 278, 278, 278, 278,
    722, 722, 778, 778, 778, 778, 778, 584, 778, 722, 722, 722, 722, 667, 667, 611, 556, 556, 556, 556, 556, 556,
    889, 500, 556, 556, 556, 556, 278, 278, 278, 278, 556, 556, 556, 556, 556, 556, 556, 584, 611, 556, 556, 556,
    556, 500, 556, 500,
];

/// Helvetica-Bold in WinAnsi from 0x20 on.
#[rustfmt::skip]
const HELVETICA_BOLD: [u16; 224] = [
    278, 333, 474, 556, 556, 889, 722, 238, 333, 333, 389, 584, 278, 333, 278, 278, 556, 556, 556, 556, 556, 556,
    556, 556, 556, 556, 333, 333, 584, 584, 584, 611, 975, 722, 722, 722, 722, 667, 611, 778, 722, 278, 556, 722,
    611, 833, 722, 778, 667, 778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 333, 278, 333, 584, 556, 333, 556,
    611, 556, 611, 556, 333, 611, 611, 278, 278, 556, 278, 889, 611, 611, 611, 611, 389, 556, 333, 611, 556, 778,
    556, 556, 500, 389, 280, 389, 584, 350, 556, 350, 278, 556, 500, 1000, 556, 556, 333, 1000, 667, 333, 1000, 350,
    611, 350, 350, 278, 278, 500, 500, 350, 556, 1000, 333, 1000, 556, 333, 944, 350, 500, 667, 278, 333, 556, 556,
    556, 556, 280, 556, 333, 737, 370, 556, 584, 333, 737, 333, 400, 584, 333, 333, 333, 611, 556, 278, 333, 333,
    365, 556, 834, 834, 834, 611, 722, 722, 722, 722, 722, 722, 1000, 722, 667, 667, 667, 667, 278, 278, 278, 278,
    722, 722, 778, 778, 778, 778, 778, 584, 778, 722, 722, 722, 722, 667, 667, 611, 556, 556, 556, 556, 556, 556,
    889, 556, 556, 556, 556, 556, 278, 278, 278, 278, 611, 611, 611, 611, 611, 611, 611, 584, 611, 611, 611, 611,
    611, 556, 611, 556,
];

/// How text is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Face {
    /// Helvetica.
    Regular,
    /// Helvetica-Bold.
    Bold,
    /// Courier.
    Mono,
}

/// Width of a glyph.
pub(super) fn width(face: Face, glyph: Glyph) -> u32 {
    let table = match (face, glyph) {
        (_, Glyph::Korean(0x2010)) => return NARROW,
        (_, Glyph::Korean(_)) => return WIDE,
        (Face::Mono, Glyph::Latin(_)) => return COURIER,
        (Face::Regular, Glyph::Latin(_)) => &HELVETICA,
        (Face::Bold, Glyph::Latin(_)) => &HELVETICA_BOLD,
    };
    let Glyph::Latin(code) = glyph else { return WIDE };
    usize::from(code).checked_sub(0x20).and_then(|at| table.get(at)).copied().map_or(WIDE, u32::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_are_those_of_the_fonts() {
        assert_eq!(width(Face::Regular, Glyph::Latin(b' ')), 278);
        assert_eq!(width(Face::Regular, Glyph::Latin(b'W')), 944);
        assert_eq!(width(Face::Bold, Glyph::Latin(b'a')), 556);
        assert_eq!(width(Face::Bold, Glyph::Latin(0xff)), 556);
        assert_eq!(width(Face::Mono, Glyph::Latin(b'i')), 600);
        assert_eq!(width(Face::Mono, Glyph::Korean(0xac00)), 1000);
        assert_eq!(width(Face::Bold, Glyph::Korean(0x2010)), 500);
    }
}
