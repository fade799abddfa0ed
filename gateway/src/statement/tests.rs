//! What is on the pages of a statement, and that any statement has its pages.

use proptest::prelude::*;

use super::flow::pages;
use super::sheet::{HEIGHT, LEFT, MEASURE, Mark, Page, WIDTH};
use super::*;

/// What a page says, mark by mark, in the order of setting.
fn said(page: &Page) -> Vec<String> {
    let line = |mark: &Mark| match mark {
        Mark::Text { line, .. } => {
            let codes = line.runs.iter().map(|run| match run.korean {
                true => run.codes.chunks(2).map(|c| u16::from_be_bytes([c[0], c[1]])).collect(),
                false => run.codes.iter().map(|&c| u16::from(c)).collect::<Vec<_>>(),
            });
            Some(String::from_utf16_lossy(&codes.collect::<Vec<_>>().concat()))
        }
        Mark::Fill { .. } => None,
    };
    page.iter().filter_map(line).collect()
}

/// The box that a mark of text fills.
fn extent(mark: &Mark) -> Option<[f32; 4]> {
    match mark {
        Mark::Text { x, y, style, line } => {
            Some([*x, y - 0.2 * style.size, x + style.points(line), y + 0.8 * style.size])
        }
        Mark::Fill { .. } => None,
    }
}

/// Says what is off its page or on other text.
fn misplaced(pages: &[Page]) -> Option<String> {
    for page in pages {
        let boxes: Vec<[f32; 4]> = page.iter().filter_map(extent).collect();
        for (at, one) in boxes.iter().enumerate() {
            if one[0] < LEFT - 0.1 || one[2] > LEFT + MEASURE + 0.1 || one[1] < 34.0 || one[3] > HEIGHT - 34.0 {
                return Some(format!("{one:?} is off the page"));
            }
            let over = |two: &&[f32; 4]| {
                one[0] < two[2] - 0.05 && two[0] < one[2] - 0.05 && one[1] < two[3] - 0.05 && two[1] < one[3] - 0.05
            };
            if let Some(two) = boxes.iter().skip(at + 1).find(over) {
                return Some(format!("{one:?} is on {two:?}"));
            }
        }
        for mark in page {
            if let Mark::Fill { x, y, width, height, .. } = mark
                && (*x < 28.0 - 0.1 || x + width > WIDTH - 27.9 || *y < 27.9 || y + height > HEIGHT - 27.9)
            {
                return Some(format!("{mark:?} is off the page"));
            }
        }
    }
    None
}

fn titled(sections: Vec<Section>) -> Statement {
    Statement { title: Bilingual::new("Ledger", "대장"), subtitle: "No. 1".into(), sections, footer: "Foot".into() }
}

fn facts(facts: Vec<Fact>) -> Section {
    Section::Facts { heading: Bilingual::new("Facts", "사실"), facts }
}

fn table(columns: Vec<Column>, rows: Vec<Vec<String>>) -> Section {
    Section::Table { heading: Bilingual::new("Keys", "암호키"), columns, rows }
}

fn opens(pdf: &[u8]) -> bool {
    pdf.starts_with(b"%PDF-1.7\n") && pdf.ends_with(b"%%EOF")
}

fn has(pdf: &[u8], bytes: &[u8]) -> bool {
    pdf.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn an_empty_statement_is_one_page() {
    let pages = pages(&Statement::default());
    assert_eq!(pages.len(), 1);
    assert_eq!(said(&pages[0]), ["1 / 1"]);
    assert!(opens(&render(&Statement::default(), None)));
}

#[test]
fn five_thousand_rows_have_their_header_on_each_page() {
    let columns = || vec![Column::new("No.", "번호", 1.0), Column::mono("Print", "지문", 4.0)];
    let rows = (0..5_000).map(|at| vec![format!("row {at}"), "0f".repeat(32)]).collect();
    let statement = titled(vec![table(columns(), rows)]);
    let pages = pages(&statement);
    assert_eq!(misplaced(&pages), None);
    let all: Vec<Vec<String>> = pages.iter().map(said).collect();
    assert!(all.len() > 100);
    for (at, page) in all.iter().enumerate() {
        assert!(page.contains(&"번호".to_owned()) && page.contains(&"Foot".to_owned()));
        assert!(page.contains(&format!("{} / {}", at + 1, all.len())));
        assert!(at == 0 || page[0] == "Ledger  대장" && page[1] == "No. 1");
    }
    let rows: Vec<&String> = all.iter().flatten().filter(|text| text.starts_with("row ")).collect();
    assert_eq!(rows.len(), 5_000);
    assert_eq!(rows[4_999], "row 4999");
    assert!(opens(&render(&statement, None)));
}

#[test]
fn a_table_without_rows_says_so() {
    let pages = pages(&titled(vec![table(vec![Column::new("No.", "번호", 1.0)], vec![]), table(vec![], vec![])]));
    assert_eq!(said(&pages[0]).iter().filter(|text| *text == "None  없음").count(), 2);
}

#[test]
fn cells_too_many_or_too_few_are_kept() {
    let columns = vec![Column::new("A", "가", f32::NAN), Column::new("B", "나", -1.0)];
    let rows = vec![vec!["1".into()], vec!["2".into(), "3".into(), "4".into(), "5".into()], vec![]];
    let many = (0..40).map(|at| Column::new(&format!("c{at}"), "", f32::INFINITY)).collect();
    let wide = vec![(0..42).map(|at| format!("v{at}")).collect()];
    let pages = pages(&titled(vec![table(columns, rows), table(many, wide)]));
    assert_eq!(misplaced(&pages), None);
    let all: Vec<String> = pages.iter().flat_map(said).collect();
    for text in ["1", "2", "3", "4", "5", "c0", "v0", "c39", "v41"] {
        assert!(all.iter().any(|said| said == text), "{text}");
    }
}

#[test]
fn a_long_value_goes_on_with_its_label() {
    let statement = titled(vec![facts(vec![Fact::mono("Blob", "덩어리", "x".repeat(10_000))])]);
    let pages = pages(&statement);
    assert_eq!(misplaced(&pages), None);
    assert!(pages.len() > 1);
    let all: Vec<Vec<String>> = pages.iter().map(said).collect();
    assert!(all.iter().all(|page| page.contains(&"Blob".to_owned())));
    let letters: usize = all.iter().flatten().filter(|line| line.starts_with('x')).map(String::len).sum();
    assert_eq!(letters, 10_000);
}

#[test]
fn long_labels_titles_and_feet_stay_in_place() {
    let long = "long 긴 ".repeat(2_000);
    let mut statement = titled(vec![
        Section::Text {
            heading: Bilingual::new(long.clone(), long.clone()),
            paragraphs: vec![long.clone(), String::new()],
        },
        facts(vec![Fact::new(&long, &long, long.clone())]),
        table(vec![Column::new(&long, &long, 1.0), Column::new("", "", 1.0)], vec![vec![long.clone(), long.clone()]]),
    ]);
    statement.footer.clone_from(&long);
    statement.subtitle.clone_from(&long);
    statement.title = Bilingual::new(long.clone(), long);
    let pages = pages(&statement);
    assert_eq!(misplaced(&pages), None);
    // Three lines of the foot, the last one cut, before the number.
    let last = pages.last().map(said).unwrap();
    assert!(last[last.len() - 2].ends_with('\u{85}') && !last[last.len() - 3].ends_with('\u{85}'));
}

#[test]
fn the_same_statement_gives_the_same_bytes() {
    let statement = titled(vec![facts(vec![Fact::new("Name", "이름", "키 (key) ① 鍵")])]);
    let file = Attachment { name: "a.json", mime: "application/json", bytes: b"{}" };
    assert_eq!(render(&statement, Some(file)), render(&statement, Some(file)));
}

#[test]
fn the_document_says_what_it_is() {
    let mut statement = titled(vec![]);
    let plain = render(&statement, None);
    assert!(has(&plain, b"/Lang(ko-KR)") && has(&plain, b"/DisplayDocTitle true") && !has(&plain, b"/AF"));
    assert!(has(&plain, b"/Encoding/UniKS-UTF16-H") && has(&plain, b"/BaseFont/HYGoThic-Medium"));
    statement.title.ko.clear();
    let file = Attachment { name: "../기록 1.json", mime: "application/json", bytes: b"{\"a\":1}" };
    let pdf = render(&statement, Some(file));
    assert!(has(&pdf, b"/Title(Ledger)"));
    for part in
        [&b"/UF(___ 1.json)"[..], b"/Subtype/application#2Fjson", b"{\"a\":1}", b"/AFRelationship/Source", b"/AF["]
    {
        assert!(has(&pdf, part), "{}", String::from_utf8_lossy(part));
    }
}

/// Texts of every kind: any characters, Korean, long words, line breaks.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[가-힣a-z \n]{0,60}",
        "\\PC{0,20}",
        (0usize..600).prop_map(|count| "f".repeat(count)),
        (0usize..90).prop_map(|count| "줄\n".repeat(count)),
    ]
}

fn both() -> impl Strategy<Value = Bilingual> {
    (text(), text()).prop_map(|(en, ko)| Bilingual { en, ko })
}

fn section() -> impl Strategy<Value = Section> {
    let fact = (both(), text(), any::<bool>()).prop_map(|(label, value, mono)| Fact { label, value, mono });
    let column =
        (both(), any::<f32>(), any::<bool>()).prop_map(|(heading, width, mono)| Column { heading, width, mono });
    let columns = proptest::collection::vec(column, 0..15);
    let rows = proptest::collection::vec(proptest::collection::vec(text(), 0..8), 0..8);
    prop_oneof![
        (both(), proptest::collection::vec(fact, 0..8)).prop_map(|(heading, facts)| Section::Facts { heading, facts }),
        (both(), columns, rows).prop_map(|(heading, columns, rows)| Section::Table { heading, columns, rows }),
        (both(), proptest::collection::vec(text(), 0..6))
            .prop_map(|(heading, paragraphs)| Section::Text { heading, paragraphs }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nothing_leaves_its_page_or_overlaps(
        title in both(), subtitle in text(), footer in text(), sections in proptest::collection::vec(section(), 0..5)
    ) {
        let statement = Statement { title, subtitle, sections, footer };
        prop_assert_eq!(misplaced(&pages(&statement)), None);
    }

    #[test]
    fn every_statement_opens(title in both(), section in section(), name in text(), mime in text(), bytes: Vec<u8>) {
        let statement = Statement { title, sections: vec![section], ..Statement::default() };
        let file = Attachment { name: &name, mime: &mime, bytes: &bytes };
        let pdf = render(&statement, Some(file));
        prop_assert!(opens(&pdf));
        prop_assert_eq!(&pdf, &render(&statement, Some(file)));
    }
}
