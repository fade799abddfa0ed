//! The file of PDF: pages, fonts, what the document is called, and the record that it carries.

use std::collections::BTreeSet;

use pdf_writer::types::{AssociationKind, CidFontType, FontFlags, SystemInfo, TextRenderingMode, UnicodeCmap};
use pdf_writer::{Chunk, Content, Finish, Name, Pdf, Rect, Ref, Settings, Str, TextStr};

use super::metrics::{Face, NARROW};
use super::sheet::{HEIGHT, Ink, Mark, Page, Style, WIDTH};
use super::wrap::{Line, Run};
use super::{Attachment, Statement};

/// Objects; those of pages come after them, two each.
const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const INFO: Ref = Ref::new(3);
const REGULAR: Ref = Ref::new(4);
const BOLD: Ref = Ref::new(5);
const MONO: Ref = Ref::new(6);
const KOREAN: Ref = Ref::new(7);
const KOREAN_CID: Ref = Ref::new(8);
const KOREAN_ABOUT: Ref = Ref::new(9);
const KOREAN_TEXT: Ref = Ref::new(10);
const EMBEDDED: Ref = Ref::new(11);
const SPECIFIED: Ref = Ref::new(12);
const FIRST_PAGE: Ref = Ref::new(13);

/// A Korean font that viewers know without having it.
const KOREAN_FONT: Name<'static> = Name(b"HYGoThic-Medium");
/// The collection of its characters.
const COLLECTION: SystemInfo<'static> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Korea1"), supplement: 1 };
/// The hyphen among its characters.
const HYPHEN: u16 = 97;
/// How much of the size a bold Korean character is thickened by: the font has no bold one.
const THICKER: f32 = 0.028;

/// The bytes of a PDF with these pages.
pub(super) fn write(statement: &Statement, pages: &[Page], attachment: Option<Attachment<'_>>) -> Vec<u8> {
    let mut pdf = Pdf::with_settings(Settings { pretty: false });
    let attachment = attachment.filter(|file| i32::try_from(file.bytes.len()).is_ok());
    catalog(&mut pdf, attachment);
    let title = [statement.title.en.as_str(), statement.title.ko.as_str()].join(" ");
    pdf.document_info(INFO).title(TextStr(title.trim()));
    let mut used = BTreeSet::new();
    let mut next = FIRST_PAGE;
    let mut kids = Vec::with_capacity(pages.len());
    for marks in pages {
        let (page, content) = (next.bump(), next.bump());
        kids.push(page);
        pdf.stream(content, &drawn(marks, &mut used));
        pdf.page(page).parent(PAGES).contents(content);
    }
    tree(&mut pdf, &kids);
    for (id, name) in [(REGULAR, &b"Helvetica"[..]), (BOLD, b"Helvetica-Bold"), (MONO, b"Courier")] {
        pdf.type1_font(id).base_font(Name(name)).encoding_predefined(Name(b"WinAnsiEncoding"));
    }
    korean(&mut pdf, &used);
    if let Some(file) = attachment {
        embed(&mut pdf, file);
    }
    pdf.finish()
}

fn catalog(pdf: &mut Pdf, attachment: Option<Attachment<'_>>) {
    let mut catalog = pdf.catalog(CATALOG);
    // Voices and fonts for Korean read English too, and not the other way round.
    catalog.pages(PAGES).lang(TextStr("ko-KR"));
    catalog.viewer_preferences().display_doc_title(true);
    if let Some(file) = attachment {
        let name = file_name(file.name);
        catalog.names().embedded_files().names().insert(Str(name.as_bytes()), SPECIFIED);
        catalog.insert(Name(b"AF")).array().item(SPECIFIED);
    }
}

/// The tree of pages, with what they have in common.
fn tree(pdf: &mut Pdf, kids: &[Ref]) {
    let mut tree = pdf.pages(PAGES);
    tree.kids(kids.iter().copied()).count(i32::try_from(kids.len()).unwrap_or(i32::MAX));
    tree.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT));
    let mut resources = tree.resources();
    let mut fonts = resources.fonts();
    for (name, id) in [(&b"R"[..], REGULAR), (b"B", BOLD), (b"M", MONO), (b"K", KOREAN)] {
        fonts.pair(Name(name), id);
    }
}

/// The Korean font, and the text of those of its characters that are used: several share a glyph.
fn korean(chunk: &mut Chunk, used: &BTreeSet<u16>) {
    let encoding = Name(b"UniKS-UTF16-H");
    chunk
        .type0_font(KOREAN)
        .base_font(Name(b"HYGoThic-Medium-UniKS-UTF16-H"))
        .encoding_predefined(encoding)
        .descendant_font(KOREAN_CID)
        .to_unicode(KOREAN_TEXT);
    let mut cid = chunk.cid_font(KOREAN_CID);
    cid.subtype(CidFontType::Type0).base_font(KOREAN_FONT).system_info(COLLECTION);
    cid.font_descriptor(KOREAN_ABOUT).default_width(1000.0);
    // The won sign is among the proportional ones too, but wide in most fonts that viewers substitute.
    cid.widths().same(HYPHEN, HYPHEN, NARROW as f32);
    cid.finish();
    chunk
        .font_descriptor(KOREAN_ABOUT)
        .name(KOREAN_FONT)
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(-6.0, -145.0, 1003.0, 880.0))
        .italic_angle(0.0)
        .ascent(752.0)
        .descent(-271.0)
        .cap_height(737.0)
        .stem_v(58.0);
    let unicode = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"UCS"), supplement: 0 };
    let mut text = UnicodeCmap::<u16>::new(Name(b"Adobe-Identity-UCS"), unicode);
    for (code, character) in used.iter().filter_map(|&code| Some((code, char::from_u32(u32::from(code))?))) {
        text.pair(code, character);
    }
    chunk.stream(KOREAN_TEXT, text.finish().as_slice());
}

/// A name that is one on every system.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') { c } else { '_' };
    let name: String = name.trim_start_matches('.').chars().take(120).map(safe).collect();
    if name.is_empty() { "record".into() } else { name }
}

fn embed(chunk: &mut Chunk, file: Attachment<'_>) {
    let mut embedded = chunk.embedded_file(EMBEDDED, file.bytes);
    let mime: Vec<u8> = file.mime.bytes().filter(u8::is_ascii_graphic).collect();
    embedded.subtype(Name(&mime));
    embedded.params().size(i32::try_from(file.bytes.len()).unwrap_or(i32::MAX));
    embedded.finish();
    let name = file_name(file.name);
    chunk
        .file_spec(SPECIFIED)
        .path(Str(name.as_bytes()))
        .unic_file(TextStr(&name))
        .embedded_file_with_unicode(EMBEDDED)
        .association_kind(AssociationKind::Source);
}

/// What a viewer does to draw a page.
fn drawn(marks: &[Mark], used: &mut BTreeSet<u16>) -> Vec<u8> {
    let mut content = Content::with_settings(Settings { pretty: false });
    let mut dipped = None;
    let mut dip = |content: &mut Content, ink: Ink| {
        if dipped != Some(ink) {
            let (r, g, b) = rgb(ink);
            content.set_fill_rgb(r, g, b).set_stroke_rgb(r, g, b);
            dipped = Some(ink);
        }
    };
    // Grounds lie under rules, and both under text.
    let mut marks: Vec<&Mark> = marks.iter().collect();
    marks.sort_by_key(|mark| match mark {
        Mark::Fill { ink: Ink::Pale, .. } => 0,
        Mark::Fill { .. } => 1,
        Mark::Text { .. } => 2,
    });
    for mark in marks {
        match mark {
            Mark::Fill { x, y, width, height, ink } => {
                dip(&mut content, *ink);
                content.rect(short(*x), short(*y), short(*width), short(*height)).fill_nonzero();
            }
            Mark::Text { x, y, style, line } => {
                dip(&mut content, style.ink);
                set(&mut content, (*x, *y), *style, line, used);
            }
        }
    }
    content.finish().into_vec()
}

/// Sets a line: each run at its own place, whatever widths a viewer's font has.
fn set(content: &mut Content, at: (f32, f32), style: Style, line: &Line, used: &mut BTreeSet<u16>) {
    content.begin_text();
    let (mut x, mut from) = (0_u32, (0.0, 0.0));
    for run in &line.runs {
        let to = (short(at.0 + x as f32 * style.size / 1000.0), short(at.1));
        content.set_font(font(run, style.face), style.size);
        content.next_line(short(to.0 - from.0), short(to.1 - from.1));
        let thick = run.korean && style.face == Face::Bold;
        if thick {
            content.set_line_width(short(style.size * THICKER));
            content.set_text_rendering_mode(TextRenderingMode::FillStroke);
        }
        content.show(Str(&run.codes));
        if thick {
            content.set_text_rendering_mode(TextRenderingMode::Fill);
        }
        if run.korean {
            used.extend(run.codes.chunks_exact(2).filter_map(|c| Some(u16::from_be_bytes(c.try_into().ok()?))));
        }
        (x, from) = (x.saturating_add(run.width), to);
    }
    content.end_text();
}

fn font(run: &Run, face: Face) -> Name<'static> {
    Name(match face {
        _ if run.korean => b"K",
        Face::Regular => b"R",
        Face::Bold => b"B",
        Face::Mono => b"M",
    })
}

fn rgb(ink: Ink) -> (f32, f32, f32) {
    match ink {
        Ink::Black => (0.08, 0.08, 0.1),
        Ink::Grey => (0.36, 0.38, 0.42),
        Ink::Navy => (0.09, 0.17, 0.33),
        Ink::Hair => (0.74, 0.76, 0.8),
        Ink::Pale => (0.95, 0.96, 0.975),
    }
}

/// A number with as many digits as paper shows.
fn short(number: f32) -> f32 {
    (number * 100.0).round() / 100.0
}
