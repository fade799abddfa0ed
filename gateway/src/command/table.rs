//! Tables for people.

use serde_json::Value;

/// Lines of columns, each as wide as its widest cell.
pub(super) fn render(columns: &[(&str, &str)], rows: &[Value]) -> String {
    let mut lines: Vec<Vec<String>> = vec![columns.iter().map(|(title, _)| (*title).to_owned()).collect()];
    for row in rows {
        lines.push(columns.iter().map(|(_, field)| cell(row.get(field))).collect());
    }
    let width =
        |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|c| c.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let padded = lines.iter().map(|line| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    });
    padded.collect::<Vec<_>>().join("\n")
}

/// The same as CSV (RFC 4180), with the mark by which spreadsheets know UTF-8. No cell begins a formula.
pub(super) fn csv(columns: &[(&str, &str)], rows: &[Value]) -> String {
    let quoted = |text: &str| {
        let tame = if text.starts_with(['=', '+', '-', '@']) && text.len() > 1 { "'" } else { "" };
        format!("\"{tame}{}\"", text.replace('"', "\"\""))
    };
    let line = |cells: Vec<String>| cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",");
    let mut lines = vec![line(columns.iter().map(|(title, _)| (*title).to_owned()).collect())];
    lines.extend(rows.iter().map(|row| line(columns.iter().map(|(_, field)| cell(row.get(field))).collect())));
    format!("\u{feff}{}", lines.join("\r\n"))
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().map(|i| cell(Some(i))).collect::<Vec<_>>().join(","),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_spreadsheet_reads_what_was_written_and_calculates_nothing() {
        let rows = [json!({ "a": "say \"hi\", all", "b": 10 }), json!({ "a": "=1+1", "b": null })];
        assert_eq!(
            csv(&[("A", "a"), ("B", "b")], &rows),
            "\u{feff}\"A\",\"B\"\r\n\"say \"\"hi\"\", all\",\"10\"\r\n\"'=1+1\",\"-\""
        );
    }

    #[test]
    fn columns_line_up() {
        let rows = [json!({ "a": "x", "b": 10 }), json!({ "a": "longer", "b": null })];
        assert_eq!(render(&[("A", "a"), ("B", "b")], &rows), "A       B\nx       10\nlonger  -");
    }
}
