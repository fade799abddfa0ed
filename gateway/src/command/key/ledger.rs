//! The key ledger (암호키 관리대장), as a table, CSV or PDF.

use std::path::Path;

use serde_json::Value;

use crate::clock::{now, rfc3339};
use crate::command::client::Client;
use crate::command::table::{csv, render};
use crate::command::{CommandError, Reach, print};
use crate::statement::{Bilingual, Column, Section, Statement, render as pdf};

/// What stands in it, with the words of ISMS-P for who files it.
const COLUMNS: &[(&str, &str)] = &[
    ("TIME (일시)", "time"),
    ("ACT (구분)", "act"),
    ("KEY (암호키)", "key"),
    ("VERSION (버전)", "version"),
    ("BY (담당자)", "by"),
    ("SOURCE (접속지)", "source"),
    ("STATUS (결과)", "status"),
    ("DETAIL (내용)", "detail"),
    ("KEY ID", "key_id"),
    ("RECORD (기록)", "sequence"),
];

/// Fetches all of it, and shows it or writes it down.
pub(super) fn ledger(reach: &Reach, (as_csv, uses): (bool, bool), paper: Option<&Path>) -> Result<(), CommandError> {
    let client = Client::new(reach)?;
    let (mut lines, mut after) = (Vec::new(), None::<String>);
    loop {
        let mut query: Vec<_> = after.iter().map(|after| ("after", after.clone())).collect();
        query.extend(uses.then(|| ("uses", "1".to_owned())));
        let page = client.get("/v1/ledger", &query)?;
        lines.extend(page.get("lines").and_then(Value::as_array).cloned().unwrap_or_default());
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    if let Some(path) = paper {
        return std::fs::write(path, pdf(&statement(&lines), None))
            .map_err(|e| CommandError(format!("{}: {e}", path.display())));
    }
    match (reach.json, as_csv) {
        (true, _) => print(&Value::Array(lines).to_string()),
        (false, true) => print(&csv(COLUMNS, &lines)),
        (false, false) => print(&render(COLUMNS, &lines)),
    }
}

fn statement(lines: &[Value]) -> Statement {
    let text = |line: &Value, field: &str| match line.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let fields = ["time", "act", "key", "version", "by", "status", "detail"];
    let rows = lines.iter().map(|line| fields.iter().map(|field| text(line, field)).collect()).collect();
    let columns = vec![
        Column::new("Time", "일시", 1.9),
        Column::new("Act", "구분", 1.4),
        Column::new("Key", "암호키", 1.6),
        Column::new("Version", "버전", 0.7),
        Column::new("By", "담당자", 1.2),
        Column::new("Status", "결과", 0.7),
        Column::new("Detail", "내용", 3.0),
    ];
    Statement {
        title: Bilingual::new("Key Ledger", "암호키 관리대장"),
        subtitle: format!("{} lines, written {}", lines.len(), rfc3339(now())),
        sections: vec![Section::Table {
            heading: Bilingual::new("What was done with the keys of the tenant", "암호키 생성·이용·변경·파기 이력"),
            columns,
            rows,
        }],
        footer: "Made from the tenant's own access log; RECORD numbers are in gotgan key ledger. 기관의 접속기록에서 작성됨."
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ledger_is_a_pdf_whatever_its_lines_say() {
        let lines = [
            json!({ "time": "2026-11-26T00:00:00Z", "act": "rotate", "key": "기본", "version": 2 }),
            json!({}),
            json!(7),
        ];
        assert!(pdf(&statement(&lines), None).starts_with(b"%PDF-"));
    }
}
