//! The parts of a statement, down its pages.

use super::grid::{ASIDE, Cell, WHOLE, draw, row_height, value};
use super::metrics::Face;
use super::sheet::{Ink, LEFT, MEASURE, Page, Sheet, Style};
use super::wrap::wrap;
use super::{Bilingual, Column, Section, Statement};

const TITLE: Style = Style::new(Face::Bold, 20.0, 25.0, Ink::Navy);
const TITLE_KO: Style = Style::new(Face::Bold, 15.0, 21.0, Ink::Navy);
const SUBTITLE: Style = Style::new(Face::Regular, 9.0, 13.0, Ink::Grey);
const HEADING: Style = Style::new(Face::Bold, 11.0, 15.0, Ink::Navy);
const HEADING_KO: Style = Style::new(Face::Bold, 10.0, 15.0, Ink::Navy);
const LABEL: Style = Style::new(Face::Bold, 8.2, 11.5, Ink::Black);
const LABEL_KO: Style = Style::new(Face::Regular, 7.8, 11.0, Ink::Grey);
const TEXT: Style = Style::new(Face::Regular, 9.2, 13.8, Ink::Black);
/// Sizes of values beside labels and in tables.
const FACT: f32 = 9.0;
const TABLE: f32 = 8.2;

/// Width of the labels of facts.
const LABELS: f32 = 132.0;
/// Least width of a column, and most columns beside one another.
const COLUMN: f32 = 26.0;
const COLUMNS: usize = 12;
/// Least height that a section is begun in.
const SECTION: f32 = 90.0;
/// Least height for a rule after lines that may have reached the end of a page.
const RULE: f32 = 4.0;

/// The pages of a statement.
pub(super) fn pages(statement: &Statement) -> Vec<Page> {
    let mut sheet = Sheet::new(statement);
    title(&mut sheet, statement);
    for section in &statement.sections {
        match section {
            Section::Facts { heading: title, facts } => {
                heading(&mut sheet, title);
                for each in facts {
                    fact(&mut sheet, &each.label, &each.value, each.mono);
                }
            }
            Section::Table { heading: title, columns, rows } => {
                heading(&mut sheet, title);
                match columns.len() {
                    1..=COLUMNS => table(&mut sheet, columns, rows),
                    _ => records(&mut sheet, columns, rows),
                }
            }
            Section::Text { heading: title, paragraphs } => {
                heading(&mut sheet, title);
                sheet.down(5.0);
                for paragraph in paragraphs {
                    lines(&mut sheet, paragraph, TEXT, false);
                    sheet.down(5.0);
                }
            }
        }
        sheet.down(14.0);
    }
    sheet.finish()
}

/// Lines from the left or in the middle, on as many pages as they need.
fn lines(sheet: &mut Sheet, text: &str, style: Style, centred: bool) {
    if text.is_empty() {
        return;
    }
    for line in wrap(text, style.face, style.limit(MEASURE)) {
        if sheet.room() < style.lead {
            sheet.turn();
        }
        let aside = if centred { (MEASURE - style.points(&line)) / 2.0 } else { 0.0 };
        sheet.text(LEFT + aside, 0.0, style, line);
        sheet.down(style.lead);
    }
}

fn title(sheet: &mut Sheet, statement: &Statement) {
    sheet.down(6.0);
    lines(sheet, &statement.title.en, TITLE, true);
    lines(sheet, &statement.title.ko, TITLE_KO, true);
    sheet.down(3.0);
    lines(sheet, &statement.subtitle, SUBTITLE, true);
    sheet.down(7.0);
    if sheet.room() < RULE {
        sheet.turn();
    }
    sheet.fill(LEFT, 0.0, MEASURE, 1.4, Ink::Navy);
    sheet.fill(LEFT, 2.8, MEASURE, 0.4, Ink::Navy);
    sheet.down(18.0);
}

/// Both languages on one line if they fit, over a rule.
fn heading(sheet: &mut Sheet, heading: &Bilingual) {
    if sheet.room() < SECTION {
        sheet.turn();
    }
    let mut en = wrap(&heading.en, HEADING.face, HEADING.limit(MEASURE));
    let mut ko = wrap(&heading.ko, HEADING_KO.face, HEADING_KO.limit(MEASURE));
    let together = HEADING.points(&en.iter().max_by_key(|l| l.width).cloned().unwrap_or_default()) + 7.0;
    match (en.pop(), ko.pop()) {
        (Some(left), Some(right))
            if en.is_empty() && ko.is_empty() && together + HEADING_KO.points(&right) <= MEASURE =>
        {
            let aside = if left.runs.is_empty() { 0.0 } else { together };
            sheet.text(LEFT, 0.0, HEADING, left);
            sheet.text(LEFT + aside, 0.0, HEADING_KO, right);
            sheet.down(HEADING.lead);
        }
        _ => {
            lines(sheet, &heading.en, HEADING, false);
            lines(sheet, &heading.ko, HEADING_KO, false);
        }
    }
    sheet.down(3.0);
    if sheet.room() < RULE {
        sheet.turn();
    }
    sheet.fill(LEFT, 0.0, MEASURE, 0.8, Ink::Navy);
    sheet.down(0.8);
}

fn fact(sheet: &mut Sheet, label: &Bilingual, text: &str, mono: bool) {
    let cells = vec![
        Cell::new(LEFT, LABELS, true).with(&label.en, LABEL).with(&label.ko, LABEL_KO),
        Cell::new(LEFT + LABELS, MEASURE - LABELS, false).with(text, value(mono, FACT)),
    ];
    draw(sheet, cells, None);
}

/// Left edge and width of each column: a least one, and its share of what that leaves.
fn places(columns: &[Column]) -> Vec<(f32, f32)> {
    let share = |column: &Column| match column.width {
        width if width > 0.0 && width.is_finite() => width.clamp(0.001, 1_000.0),
        _ => 1.0,
    };
    let (all, rest): (f32, f32) = (columns.iter().map(share).sum(), MEASURE - COLUMN * columns.len() as f32);
    let mut x = LEFT;
    let mut places = Vec::with_capacity(columns.len());
    for column in columns {
        let width = COLUMN + rest * share(column) / all;
        places.push((x, width));
        x += width;
    }
    places
}

fn table(sheet: &mut Sheet, columns: &[Column], rows: &[Vec<String>]) {
    let places = places(columns);
    let header: Vec<Cell> = columns
        .iter()
        .zip(&places)
        .map(|(c, &(x, width))| Cell::new(x, width, true).with(&c.heading.en, LABEL).with(&c.heading.ko, LABEL_KO))
        .collect();
    // A header that fills a page is said once.
    let again = (row_height(&header) <= WHOLE).then_some(header.as_slice());
    let row = |cells: &Vec<String>| -> Vec<Cell> {
        let mut row = Vec::with_capacity(columns.len());
        for (at, (column, &(x, width))) in columns.iter().zip(&places).enumerate() {
            let last = at + 1 == columns.len();
            let mut cell = Cell::new(x, width, false);
            for text in cells.iter().skip(at).take(if last { usize::MAX } else { 1 }) {
                cell = cell.with(text, value(column.mono, TABLE));
            }
            row.push(cell);
        }
        row
    };
    let first = rows.first().map_or(0.0, |cells| row_height(&row(cells)).min(WHOLE));
    if row_height(&header) + first > sheet.room() {
        sheet.turn();
    }
    draw(sheet, header.clone(), None);
    for cells in rows {
        draw(sheet, row(cells), again);
    }
    if rows.is_empty() {
        none(sheet);
    }
}

/// Says that a table has no rows: an empty one could be a page that was lost.
fn none(sheet: &mut Sheet) {
    draw(sheet, vec![Cell::new(LEFT, MEASURE, false).with("None  없음", value(false, TABLE))], None);
}

/// Rows as labelled values, for tables that no page is wide enough for.
fn records(sheet: &mut Sheet, columns: &[Column], rows: &[Vec<String>]) {
    let blank = Column::default();
    for row in rows {
        for (at, text) in row.iter().enumerate() {
            let column = columns.get(at).unwrap_or(&blank);
            fact(sheet, &column.heading, text, column.mono);
        }
        sheet.down(ASIDE);
    }
    if rows.is_empty() {
        none(sheet);
    }
}
