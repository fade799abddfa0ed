//! A page of a list. A thousand lines share two pieces of memory: as a string and a vector each, most
//! of what a list costs would be making and dropping them (STORAGE.md, Lists).

use std::ops::Range;

use policy::id::VersionId;
use policy::time::UtcMillis;

use super::After;
use super::rows::ListedRow;

/// One line of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListItem<'a> {
    /// An object.
    Object(ListedObject<'a>),
    /// A common prefix.
    Prefix(&'a str),
}

/// What a list needs of an object's current row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedObject<'a> {
    /// Its name.
    pub name: &'a str,
    /// The visible version.
    pub version: VersionId,
    /// Plaintext bytes.
    pub size: u64,
    /// When it was committed.
    pub modified: UtcMillis,
    /// Sealed ETag and checksums.
    pub list_values: &'a [u8],
}

/// One page of a list, in byte order.
#[derive(Debug, Clone, Default)]
pub struct ListPage {
    names: String,
    values: Vec<u8>,
    lines: Vec<Line>,
    /// Where the next page begins, if there is one.
    pub next: Option<After>,
    /// Rows looked at: what a list costs.
    pub steps: usize,
}

/// Where a line's name lies, and what there is of an object.
#[derive(Debug, Clone)]
struct Line {
    name: Range<usize>,
    object: Option<Object>,
}

#[derive(Debug, Clone)]
struct Object {
    version: VersionId,
    size: u64,
    modified: UtcMillis,
    values: Range<usize>,
}

impl ListPage {
    /// An empty page with room for so many lines, within reason.
    pub(super) fn with_room(lines: usize) -> Self {
        Self { lines: Vec::with_capacity(lines.min(1000)), ..Self::default() }
    }

    /// Number of lines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Its lines.
    pub fn items(&self) -> impl Iterator<Item = ListItem<'_>> {
        self.lines.iter().map(|line| self.item(line))
    }

    fn item(&self, line: &Line) -> ListItem<'_> {
        let name = self.names.get(line.name.clone()).unwrap_or_default();
        match &line.object {
            None => ListItem::Prefix(name),
            Some(Object { version, size, modified, values }) => ListItem::Object(ListedObject {
                name,
                version: *version,
                size: *size,
                modified: *modified,
                list_values: self.values.get(values.clone()).unwrap_or_default(),
            }),
        }
    }

    pub(super) fn push_prefix(&mut self, prefix: &str) {
        let name = self.name(prefix);
        self.lines.push(Line { name, object: None });
    }

    pub(super) fn push_object(&mut self, name: &str, row: &ListedRow<'_>) {
        let name = self.name(name);
        let from = self.values.len();
        self.values.extend_from_slice(row.list_values);
        let ListedRow { version, size, modified, .. } = *row;
        self.lines
            .push(Line { name, object: Some(Object { version, size, modified, values: from..self.values.len() }) });
    }

    fn name(&mut self, name: &str) -> Range<usize> {
        let from = self.names.len();
        self.names.push_str(name);
        from..self.names.len()
    }

    /// The page ends here: the next one begins behind the last line.
    pub(super) fn cut(&mut self) {
        let last = self.lines.last().map(|line| self.item(line));
        self.next = last.map(|item| match item {
            ListItem::Object(object) => After::Key(object.name.to_owned()),
            ListItem::Prefix(prefix) => After::Prefix(prefix.to_owned()),
        });
    }
}
