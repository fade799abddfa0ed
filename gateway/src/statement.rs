//! A statement for people: a certificate or a ledger, in English and Korean, as a PDF.
//!
//! No font is shipped: Latin text is set in the standard fonts of PDF, Korean text in a font of Adobe-Korea1 that
//! every viewer substitutes. The same statement gives the same bytes.

mod characters;
mod file;
mod flow;
mod grid;
mod hanja;
mod metrics;
mod sheet;
mod wrap;

/// A text in both languages; an empty one is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bilingual {
    /// English.
    pub en: String,
    /// Korean.
    pub ko: String,
}

impl Bilingual {
    /// Both texts.
    #[must_use]
    pub fn new(en: impl Into<String>, ko: impl Into<String>) -> Self {
        Self { en: en.into(), ko: ko.into() }
    }
}

/// What a PDF is made from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statement {
    /// Title of the document and of each page.
    pub title: Bilingual,
    /// Line under the title, as the number of a certificate.
    pub subtitle: String,
    /// What is stated, in order.
    pub sections: Vec<Section>,
    /// Small print at the foot of every page: three lines at most, cut with an ellipsis.
    pub footer: String,
}

/// One part of a statement, under a heading.
#[derive(Debug, Clone, PartialEq)]
pub enum Section {
    /// Labelled values.
    Facts {
        /// Heading of the section.
        heading: Bilingual,
        /// The values, in order.
        facts: Vec<Fact>,
    },
    /// Rows under the headings of columns, which are said again on each page.
    Table {
        /// Heading of the section.
        heading: Bilingual,
        /// The columns, in order. More than fit a page side by side are written as labelled values.
        columns: Vec<Column>,
        /// Cells of each row; those past the last column are added to it.
        rows: Vec<Vec<String>>,
    },
    /// Running text.
    Text {
        /// Heading of the section.
        heading: Bilingual,
        /// Paragraphs, in order.
        paragraphs: Vec<String>,
    },
}

/// A labelled value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fact {
    /// What the value is.
    pub label: Bilingual,
    /// The value; line breaks are kept.
    pub value: String,
    /// Whether it is code, as a digest or PEM.
    pub mono: bool,
}

impl Fact {
    /// A value in words.
    #[must_use]
    pub fn new(en: &str, ko: &str, value: impl Into<String>) -> Self {
        Self { label: Bilingual::new(en, ko), value: value.into(), mono: false }
    }

    /// A value in code.
    #[must_use]
    pub fn mono(en: &str, ko: &str, value: impl Into<String>) -> Self {
        Self { mono: true, ..Self::new(en, ko, value) }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Column {
    /// What its cells are.
    pub heading: Bilingual,
    /// Its share of the width, relative to the other columns; anything but a positive number counts as 1.
    pub width: f32,
    /// Whether its cells are code.
    pub mono: bool,
}

impl Column {
    /// A column of words.
    #[must_use]
    pub fn new(en: &str, ko: &str, width: f32) -> Self {
        Self { heading: Bilingual::new(en, ko), width, mono: false }
    }

    /// A column of code.
    #[must_use]
    pub fn mono(en: &str, ko: &str, width: f32) -> Self {
        Self { mono: true, ..Self::new(en, ko, width) }
    }
}

/// A file that the PDF carries: the record that the statement was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attachment<'a> {
    /// File name: letters, digits, dots and hyphens of ASCII; anything else in it becomes an underscore.
    pub name: &'a str,
    /// Media type.
    pub mime: &'a str,
    /// Content. One of 2 GiB or more is left out: PDF has no way to carry it.
    pub bytes: &'a [u8],
}

/// The PDF of a statement.
#[must_use]
pub fn render(statement: &Statement, attachment: Option<Attachment<'_>>) -> Vec<u8> {
    file::write(statement, &flow::pages(statement), attachment)
}

#[cfg(test)]
mod tests;
