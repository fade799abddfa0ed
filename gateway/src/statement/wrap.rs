//! Text in lines no wider than they may be, each in runs of one font.

use super::characters::{Glyph, glyph, joined};
use super::metrics::{Face, width};

/// Characters of one font side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// Whether the codes are UTF-16 of the Korean font, else WinAnsi.
    pub(super) korean: bool,
    /// The codes, as a string of PDF has them.
    pub(super) codes: Vec<u8>,
    /// Width, in thousandths of the size.
    pub(super) width: u32,
}

/// One line of text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// Its runs, from the left.
    pub(super) runs: Vec<Run>,
    /// Width, in thousandths of the size.
    pub(super) width: u32,
}

impl Line {
    fn push(&mut self, glyph: Glyph, width: u32) {
        let korean = matches!(glyph, Glyph::Korean(_));
        if self.runs.last().is_none_or(|run| run.korean != korean) {
            self.runs.push(Run { korean, codes: Vec::new(), width: 0 });
        }
        if let Some(run) = self.runs.last_mut() {
            match glyph {
                Glyph::Latin(code) => run.codes.push(code),
                Glyph::Korean(code) => run.codes.extend(code.to_be_bytes()),
            }
            run.width = run.width.saturating_add(width);
        }
        self.width = self.width.saturating_add(width);
    }

    /// Takes the last character off; false if there is none.
    fn pop(&mut self, face: Face) -> bool {
        let Some(run) = self.runs.last_mut() else { return false };
        let width = match (run.korean, run.codes.pop(), run.korean.then(|| run.codes.pop()).flatten()) {
            (true, Some(low), Some(high)) => width(face, Glyph::Korean(u16::from_be_bytes([high, low]))),
            (false, Some(code), _) => width(face, Glyph::Latin(code)),
            _ => 0,
        };
        run.width = run.width.saturating_sub(width);
        self.width = self.width.saturating_sub(width);
        if run.codes.is_empty() {
            self.runs.pop();
        }
        true
    }
}

/// Lines of a text, none wider than `limit` thousandths of the size unless one character is; at least one.
pub(super) fn wrap(text: &str, face: Face, limit: u32) -> Vec<Line> {
    let mut wrapping = Wrapping { face, limit, ..Wrapping::default() };
    let text = joined(text);
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\r' if characters.peek() == Some(&'\n') => (),
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => wrapping.end_line(),
            ' ' | '\t' => wrapping.blank(),
            other => wrapping.letter(glyph(other)),
        }
    }
    wrapping.end_line();
    wrapping.lines
}

/// At most so many lines of a text, the last cut with an ellipsis where there is more.
pub(super) fn shorten(text: &str, face: Face, limit: u32, most: usize) -> Vec<Line> {
    let mut lines = wrap(text, face, limit);
    if lines.len() > most {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let ellipsis = glyph('…');
            let wide = width(face, ellipsis);
            while last.width.saturating_add(wide) > limit && last.pop(face) {}
            last.push(ellipsis, wide);
        }
    }
    lines
}

/// Lines so far, and the words that are not in one yet.
#[derive(Debug)]
struct Wrapping {
    face: Face,
    limit: u32,
    lines: Vec<Line>,
    line: Line,
    blanks: usize,
    word: Vec<Glyph>,
    word_width: u32,
}

impl Default for Wrapping {
    fn default() -> Self {
        let (lines, line, word) = (Vec::new(), Line::default(), Vec::new());
        Self { face: Face::Regular, limit: 0, lines, line, blanks: 0, word, word_width: 0 }
    }
}

impl Wrapping {
    fn letter(&mut self, glyph: Glyph) {
        self.word.push(glyph);
        self.word_width = self.word_width.saturating_add(width(self.face, glyph));
    }

    fn blank(&mut self) {
        self.end_word();
        self.blanks += 1;
    }

    /// Blanks at the end of a line are left out, however many: what follows them begins the next.
    fn end_word(&mut self) {
        if self.word.is_empty() {
            return;
        }
        let blank = width(self.face, Glyph::Latin(b' '));
        let gap = u32::try_from(self.blanks).unwrap_or(u32::MAX).saturating_mul(blank);
        if self.line.width.saturating_add(gap).saturating_add(self.word_width) <= self.limit {
            for _ in 0..self.blanks {
                self.line.push(Glyph::Latin(b' '), blank);
            }
        } else if !self.line.runs.is_empty() {
            self.lines.push(std::mem::take(&mut self.line));
        }
        let limit = self.cut();
        for glyph in std::mem::take(&mut self.word) {
            let width = width(self.face, glyph);
            if self.line.width.saturating_add(width) > limit && !self.line.runs.is_empty() {
                self.lines.push(std::mem::take(&mut self.line));
            }
            self.line.push(glyph, width);
        }
        (self.blanks, self.word_width) = (0, 0);
    }

    /// Where a word that is longer than a line is cut. Code is cut in equal pieces: a digest is read in halves.
    fn cut(&self) -> u32 {
        let each = width(self.face, Glyph::Latin(b'0'));
        let most = self.limit / each;
        if self.face != Face::Mono || most == 0 || self.word_width <= self.limit {
            return self.limit;
        }
        let characters = self.word_width.div_ceil(each);
        characters.div_ceil(characters.div_ceil(most)).saturating_mul(each).min(self.limit)
    }

    fn end_line(&mut self) {
        self.end_word();
        self.blanks = 0;
        self.lines.push(std::mem::take(&mut self.line));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a line says.
    fn said(line: &Line) -> String {
        let run = |run: &Run| match run.korean {
            true => {
                String::from_utf16(&run.codes.chunks(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect::<Vec<_>>())
                    .unwrap()
            }
            false => run.codes.iter().map(|&c| char::from(c)).collect(),
        };
        line.runs.iter().map(run).collect()
    }

    fn wrapped(text: &str, face: Face, limit: u32) -> Vec<String> {
        wrap(text, face, limit).iter().map(said).collect()
    }

    #[test]
    fn lines_end_between_words() {
        assert_eq!(wrapped("one two three", Face::Mono, 600 * 8), ["one two", "three"]);
        assert_eq!(wrapped("one two", Face::Mono, 600 * 7), ["one two"]);
        assert_eq!(wrapped("암호키 파기 확인서", Face::Regular, 6_278), ["암호키 파기", "확인서"]);
    }

    #[test]
    fn long_words_are_cut() {
        assert_eq!(wrapped("a bcdefgh", Face::Mono, 600 * 3), ["a", "bcd", "efg", "h"]);
        let long = "f".repeat(10_000);
        let lines = wrapped(&long, Face::Mono, 600 * 64);
        assert_eq!((lines.len(), lines.concat()), (157, long));
        assert_eq!(wrapped("가나", Face::Mono, 0), ["가", "나"]);
        assert_eq!(wrapped("0123456789", Face::Mono, 600 * 9), ["01234", "56789"]);
    }

    #[test]
    fn line_breaks_are_kept() {
        assert_eq!(wrapped("a\r\n\nb\rc\u{2028}d\n", Face::Mono, 6000), ["a", "", "b", "c", "d", ""]);
        assert_eq!(wrapped("", Face::Mono, 6000), [""]);
    }

    #[test]
    fn blanks_are_kept_within_a_line() {
        assert_eq!(wrapped("  a  b\t", Face::Mono, 6000), ["  a  b"]);
        let spaced = format!("a{}b", " ".repeat(10_000));
        assert_eq!(wrapped(&spaced, Face::Mono, 6000), ["a", "b"]);
    }

    #[test]
    fn runs_are_of_one_font() {
        let line = wrap("키 key 키", Face::Regular, 60_000).remove(0);
        assert_eq!(line.runs.iter().map(|r| r.korean).collect::<Vec<_>>(), [true, false, true]);
        assert_eq!(line.width, line.runs.iter().map(|r| r.width).sum::<u32>());
    }

    #[test]
    fn shortened_lines_end_with_an_ellipsis() {
        let one = |text: &str, limit| said(&shorten(text, Face::Regular, limit, 1).remove(0));
        assert_eq!(one("ab cd", 3_000), "ab cd");
        assert_eq!(one("가나 다라마", 4_000), "가나\u{85}");
        assert_eq!(one("가나 다라마", 2_000), "가\u{85}");
        assert_eq!(one("가 b", 0), "\u{85}");
        assert_eq!(one("", 0), "");
        let two = shorten("one two three", Face::Mono, 600 * 5, 2);
        assert_eq!(two.iter().map(said).collect::<Vec<_>>(), ["one", "two\u{85}"]);
    }

    proptest! {
        #[test]
        fn nothing_is_wider_or_lost(text in "(\\PC|[ \t\n가-힣a-z]){0,200}", limit in 1000u32..20_000) {
            let lines = wrap(&text, Face::Regular, limit);
            prop_assert!(lines.iter().all(|line| line.width <= limit));
            let letters = joined(&text).chars().filter(|c| !matches!(c, ' ' | '\t' | '\n' | '\u{2028}' | '\u{2029}')).count();
            let set = lines.iter().map(|line| said(line).chars().filter(|&c| c != ' ').count()).sum::<usize>();
            prop_assert_eq!(letters, set);
            prop_assert!(shorten(&text, Face::Bold, limit, 2).iter().all(|line| line.width <= limit));
        }
    }
}
