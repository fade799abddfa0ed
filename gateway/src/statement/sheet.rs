//! Pages of A4 that fill from the top, with a frame, a head and a foot.

use super::Statement;
use super::metrics::Face;
use super::wrap::{Line, shorten};

/// A4, in points.
pub(super) const WIDTH: f32 = 595.0;
pub(super) const HEIGHT: f32 = 842.0;
/// Left edge of the text, and how wide it is.
pub(super) const LEFT: f32 = 54.0;
pub(super) const MEASURE: f32 = WIDTH - 2.0 * LEFT;

/// How far the frame is from the edge of the paper.
const FRAME: f32 = 28.0;
/// Where the text of a page begins and the foot ends, from the top.
const TOP: f32 = 52.0;
const FOOT_END: f32 = HEIGHT - 38.0;
/// Width that is kept for the number of a page.
const NUMBER: f32 = 60.0;
/// Most lines of the footer.
const FOOT_LINES: usize = 3;

/// Colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// Text.
    Black,
    /// Text of less weight.
    Grey,
    /// Titles and the rules that part sections.
    Navy,
    /// Rules between rows.
    Hair,
    /// Ground of labels.
    Pale,
}

/// How a line is set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Style {
    pub(super) face: Face,
    pub(super) size: f32,
    /// Height that the line takes.
    pub(super) lead: f32,
    pub(super) ink: Ink,
}

impl Style {
    pub(super) const fn new(face: Face, size: f32, lead: f32, ink: Ink) -> Self {
        Self { face, size, lead, ink }
    }

    /// A width, in points, in the measure of lines.
    pub(super) fn limit(&self, points: f32) -> u32 {
        // `as` saturates, and the widths of lines are whole numbers.
        (points * 1000.0 / self.size) as u32
    }

    /// Width of a line, in points.
    pub(super) fn points(&self, line: &Line) -> f32 {
        line.width as f32 * self.size / 1000.0
    }
}

const HEAD: Style = Style::new(Face::Bold, 7.5, 12.0, Ink::Navy);
const HEAD_NOTE: Style = Style::new(Face::Regular, 7.0, 12.0, Ink::Grey);
const FOOT: Style = Style::new(Face::Regular, 7.0, 9.0, Ink::Grey);
const FOOT_NUMBER: Style = Style::new(Face::Bold, 8.0, 9.0, Ink::Navy);

/// Something on a page. Places are in points from the lower left corner, as in PDF.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    /// A line of text from `x` on, at a baseline.
    Text { x: f32, y: f32, style: Style, line: Line },
    /// A filled box.
    Fill { x: f32, y: f32, width: f32, height: f32, ink: Ink },
}

/// What is on a page.
pub(super) type Page = Vec<Mark>;

/// A text in one line, with an ellipsis where it is longer.
fn one_line(text: &str, style: Style, width: f32) -> Line {
    shorten(text, style.face, style.limit(width), 1).into_iter().next().unwrap_or_default()
}

/// The page that is being filled, and those before it.
#[derive(Debug)]
pub(super) struct Sheet {
    done: Vec<Page>,
    page: Page,
    /// Where the next thing goes, from the top of the paper.
    y: f32,
    bottom: f32,
    head: Line,
    head_note: Line,
    foot: Vec<Line>,
}

impl Sheet {
    /// The first page, which has no head: the title stands there.
    pub(super) fn new(statement: &Statement) -> Self {
        let foot = shorten(&statement.footer, FOOT.face, FOOT.limit(MEASURE - NUMBER), FOOT_LINES);
        let title = [statement.title.en.as_str(), statement.title.ko.as_str()].join("  ");
        let head = one_line(&title, HEAD, MEASURE * 0.6);
        let rest = MEASURE - HEAD.points(&head) - 12.0;
        let head_note = one_line(&statement.subtitle, HEAD_NOTE, rest);
        let bottom = FOOT_END - foot.len() as f32 * FOOT.lead - 12.0;
        Self { done: Vec::new(), page: Page::new(), y: TOP, bottom, head, head_note, foot }
    }

    /// Height that is left on the page.
    pub(super) fn room(&self) -> f32 {
        self.bottom - self.y
    }

    /// Leaves a height free.
    pub(super) fn down(&mut self, height: f32) {
        self.y += height;
    }

    /// Begins a page, with its head.
    pub(super) fn turn(&mut self) {
        self.done.push(std::mem::take(&mut self.page));
        self.y = TOP - 6.0;
        let (head, note) = (self.head.clone(), self.head_note.clone());
        self.text(LEFT, 0.0, HEAD, head);
        self.text(LEFT + MEASURE - HEAD_NOTE.points(&note), 0.0, HEAD_NOTE, note);
        self.fill(LEFT, 15.0, MEASURE, 0.6, Ink::Navy);
        self.down(28.0);
    }

    /// Sets a line, `below` the place that is reached.
    pub(super) fn text(&mut self, x: f32, below: f32, style: Style, line: Line) {
        if !line.runs.is_empty() {
            // Capitals are some 0.7 of the size: they stand in the middle of the line's height.
            let y = HEIGHT - (self.y + below + style.lead / 2.0 + style.size * 0.35);
            self.page.push(Mark::Text { x, y, style, line });
        }
    }

    /// Fills a box, `below` the place that is reached.
    pub(super) fn fill(&mut self, x: f32, below: f32, width: f32, height: f32, ink: Ink) {
        let y = HEIGHT - (self.y + below + height);
        self.page.push(Mark::Fill { x, y, width, height, ink });
    }

    /// The pages, each with its foot and number.
    pub(super) fn finish(mut self) -> Vec<Page> {
        self.done.push(std::mem::take(&mut self.page));
        let of = self.done.len();
        let mut pages = Vec::with_capacity(of);
        for (at, marks) in std::mem::take(&mut self.done).into_iter().enumerate() {
            self.page = marks;
            self.frame();
            self.y = self.bottom + 8.0;
            self.fill(LEFT, 0.0, MEASURE, 0.4, Ink::Hair);
            self.down(4.0);
            for (at, line) in self.foot.clone().into_iter().enumerate() {
                self.text(LEFT, at as f32 * FOOT.lead, FOOT, line);
            }
            let number = one_line(&format!("{} / {of}", at + 1), FOOT_NUMBER, NUMBER);
            self.text(LEFT + MEASURE - FOOT_NUMBER.points(&number), 0.0, FOOT_NUMBER, number);
            pages.push(std::mem::take(&mut self.page));
        }
        pages
    }

    /// A thick line with a thin one inside, about the page.
    fn frame(&mut self) {
        self.y = 0.0;
        for (from_edge, thick) in [(FRAME, 1.1), (FRAME + 3.0, 0.35)] {
            let (wide, high) = (WIDTH - 2.0 * from_edge, HEIGHT - 2.0 * from_edge);
            self.fill(from_edge, from_edge, wide, thick, Ink::Navy);
            self.fill(from_edge, from_edge + high - thick, wide, thick, Ink::Navy);
            self.fill(from_edge, from_edge, thick, high, Ink::Navy);
            self.fill(from_edge + wide - thick, from_edge, thick, high, Ink::Navy);
        }
    }
}
