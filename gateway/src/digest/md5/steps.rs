//! The steps of MD5, for registers of any width.

#[rustfmt::skip]
/// The 64 steps of a block (RFC 1321 section 3.4), written out so that every index is a constant.
macro_rules! rounds {
    ($step:ident, $f:ident, $g:ident, $h:ident, $i:ident, $a:ident, $b:ident, $c:ident, $d:ident) => {
        $step!($f, $a, $b, $c, $d, 0, 7, 0);
        $step!($f, $d, $a, $b, $c, 1, 12, 1);
        $step!($f, $c, $d, $a, $b, 2, 17, 2);
        $step!($f, $b, $c, $d, $a, 3, 22, 3);
        $step!($f, $a, $b, $c, $d, 4, 7, 4);
        $step!($f, $d, $a, $b, $c, 5, 12, 5);
        $step!($f, $c, $d, $a, $b, 6, 17, 6);
        $step!($f, $b, $c, $d, $a, 7, 22, 7);
        $step!($f, $a, $b, $c, $d, 8, 7, 8);
        $step!($f, $d, $a, $b, $c, 9, 12, 9);
        $step!($f, $c, $d, $a, $b, 10, 17, 10);
        $step!($f, $b, $c, $d, $a, 11, 22, 11);
        $step!($f, $a, $b, $c, $d, 12, 7, 12);
        $step!($f, $d, $a, $b, $c, 13, 12, 13);
        $step!($f, $c, $d, $a, $b, 14, 17, 14);
        $step!($f, $b, $c, $d, $a, 15, 22, 15);
        $step!($g, $a, $b, $c, $d, 1, 5, 16);
        $step!($g, $d, $a, $b, $c, 6, 9, 17);
        $step!($g, $c, $d, $a, $b, 11, 14, 18);
        $step!($g, $b, $c, $d, $a, 0, 20, 19);
        $step!($g, $a, $b, $c, $d, 5, 5, 20);
        $step!($g, $d, $a, $b, $c, 10, 9, 21);
        $step!($g, $c, $d, $a, $b, 15, 14, 22);
        $step!($g, $b, $c, $d, $a, 4, 20, 23);
        $step!($g, $a, $b, $c, $d, 9, 5, 24);
        $step!($g, $d, $a, $b, $c, 14, 9, 25);
        $step!($g, $c, $d, $a, $b, 3, 14, 26);
        $step!($g, $b, $c, $d, $a, 8, 20, 27);
        $step!($g, $a, $b, $c, $d, 13, 5, 28);
        $step!($g, $d, $a, $b, $c, 2, 9, 29);
        $step!($g, $c, $d, $a, $b, 7, 14, 30);
        $step!($g, $b, $c, $d, $a, 12, 20, 31);
        $step!($h, $a, $b, $c, $d, 5, 4, 32);
        $step!($h, $d, $a, $b, $c, 8, 11, 33);
        $step!($h, $c, $d, $a, $b, 11, 16, 34);
        $step!($h, $b, $c, $d, $a, 14, 23, 35);
        $step!($h, $a, $b, $c, $d, 1, 4, 36);
        $step!($h, $d, $a, $b, $c, 4, 11, 37);
        $step!($h, $c, $d, $a, $b, 7, 16, 38);
        $step!($h, $b, $c, $d, $a, 10, 23, 39);
        $step!($h, $a, $b, $c, $d, 13, 4, 40);
        $step!($h, $d, $a, $b, $c, 0, 11, 41);
        $step!($h, $c, $d, $a, $b, 3, 16, 42);
        $step!($h, $b, $c, $d, $a, 6, 23, 43);
        $step!($h, $a, $b, $c, $d, 9, 4, 44);
        $step!($h, $d, $a, $b, $c, 12, 11, 45);
        $step!($h, $c, $d, $a, $b, 15, 16, 46);
        $step!($h, $b, $c, $d, $a, 2, 23, 47);
        $step!($i, $a, $b, $c, $d, 0, 6, 48);
        $step!($i, $d, $a, $b, $c, 7, 10, 49);
        $step!($i, $c, $d, $a, $b, 14, 15, 50);
        $step!($i, $b, $c, $d, $a, 5, 21, 51);
        $step!($i, $a, $b, $c, $d, 12, 6, 52);
        $step!($i, $d, $a, $b, $c, 3, 10, 53);
        $step!($i, $c, $d, $a, $b, 10, 15, 54);
        $step!($i, $b, $c, $d, $a, 1, 21, 55);
        $step!($i, $a, $b, $c, $d, 8, 6, 56);
        $step!($i, $d, $a, $b, $c, 15, 10, 57);
        $step!($i, $c, $d, $a, $b, 6, 15, 58);
        $step!($i, $b, $c, $d, $a, 13, 21, 59);
        $step!($i, $a, $b, $c, $d, 4, 6, 60);
        $step!($i, $d, $a, $b, $c, 11, 10, 61);
        $step!($i, $c, $d, $a, $b, 2, 15, 62);
        $step!($i, $b, $c, $d, $a, 9, 21, 63);
    };
}
pub(super) use rounds;
