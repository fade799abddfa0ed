//! Rows of cells, side by side: what does not fit a page goes on at the next.

use std::collections::VecDeque;

use super::metrics::Face;
use super::sheet::{Ink, LEFT, MEASURE, Sheet, Style};
use super::wrap::{Line, wrap};

/// Space between the edge of a cell and its text.
pub(super) const ASIDE: f32 = 5.0;
const ABOVE: f32 = 3.5;
/// Rows up to this height stay on one page.
pub(super) const WHOLE: f32 = 220.0;
/// Least height for text where a row begins, and most for a label that is said again.
const LEAST: f32 = 40.0;

/// A cell: its lines, and where it stands.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) x: f32,
    pub(super) width: f32,
    pub(super) lines: VecDeque<(Style, Line)>,
    /// Whether it is a label: on a ground, and said again where the row goes on.
    pub(super) label: bool,
}

impl Cell {
    /// An empty cell.
    pub(super) fn new(x: f32, width: f32, label: bool) -> Self {
        Self { x, width, lines: VecDeque::new(), label }
    }

    /// With a text under what it has; an empty one is left out.
    #[must_use]
    pub(super) fn with(mut self, text: &str, style: Style) -> Self {
        if !text.is_empty() {
            let limit = style.limit(self.width - 2.0 * ASIDE);
            self.lines.extend(wrap(text, style.face, limit).into_iter().map(|line| (style, line)));
        }
        self
    }

    fn height(&self) -> f32 {
        self.lines.iter().map(|(style, _)| style.lead).sum()
    }

    /// What of it is said on the next page: a label, unless it is so long that it would leave no room.
    fn said_again(&self) -> Self {
        let lines = if self.label && self.height() <= LEAST { self.lines.clone() } else { VecDeque::new() };
        Self { lines, ..Self::new(self.x, self.width, self.label) }
    }

    /// The lines that fit a height, taken off: one at least, so that there is an end.
    fn take(&mut self, room: f32) -> Self {
        let mut reached = 0.0;
        let fits = |(style, _): &&(Style, Line)| {
            reached += style.lead;
            reached <= room
        };
        let count = self.lines.iter().take_while(fits).count().max(1).min(self.lines.len());
        Self { lines: self.lines.drain(..count).collect(), ..Self::new(self.x, self.width, self.label) }
    }
}

/// Height of a row on one page.
pub(super) fn row_height(cells: &[Cell]) -> f32 {
    cells.iter().map(Cell::height).fold(0.0, f32::max) + 2.0 * ABOVE
}

/// Draws a row, under `header` on each page that it begins.
pub(super) fn draw(sheet: &mut Sheet, cells: Vec<Cell>, header: Option<&[Cell]>) {
    let whole = row_height(&cells);
    if whole > sheet.room() && (whole <= WHOLE || sheet.room() < LEAST + 2.0 * ABOVE) {
        turn(sheet, header);
    }
    let labels: Vec<Cell> = cells.iter().map(Cell::said_again).collect();
    let mut left = cells;
    loop {
        let room = sheet.room() - 2.0 * ABOVE;
        let here = left.iter_mut().map(|cell| cell.take(room)).collect();
        put(sheet, here);
        if left.iter().all(|cell| cell.lines.is_empty()) {
            return;
        }
        for (cell, label) in left.iter_mut().zip(&labels) {
            if cell.lines.is_empty() {
                cell.lines.clone_from(&label.lines);
            }
        }
        turn(sheet, header);
    }
}

/// Begins a page, and draws the header there.
fn turn(sheet: &mut Sheet, header: Option<&[Cell]>) {
    sheet.turn();
    if let Some(header) = header {
        sheet.fill(LEFT, 0.0, MEASURE, 0.8, Ink::Navy);
        put(sheet, header.to_vec());
    }
}

/// Draws cells that fit the page.
fn put(sheet: &mut Sheet, cells: Vec<Cell>) {
    let height = row_height(&cells);
    for cell in cells.iter().filter(|cell| cell.label) {
        sheet.fill(cell.x, 0.0, cell.width, height, Ink::Pale);
    }
    for cell in cells {
        let mut below = ABOVE;
        for (style, line) in cell.lines {
            sheet.text(cell.x + ASIDE, below, style, line);
            below += style.lead;
        }
    }
    sheet.fill(LEFT, height - 0.4, MEASURE, 0.4, Ink::Hair);
    sheet.down(height);
}

/// Style of a value in a cell.
pub(super) fn value(mono: bool, size: f32) -> Style {
    match mono {
        // Courier is wide and thin: a little smaller, it goes with the rest.
        true => Style::new(Face::Mono, size - 1.0, size + 3.0, Ink::Black),
        false => Style::new(Face::Regular, size, size + 3.5, Ink::Black),
    }
}
