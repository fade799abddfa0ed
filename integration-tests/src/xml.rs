//! The few things that tests read from XML answers: element texts, in order, unescaped.

/// The text of the first element of this name.
#[must_use]
pub fn first(xml: &str, tag: &str) -> Option<String> {
    all(xml, tag).into_iter().next()
}

/// The texts of all elements of this name.
#[must_use]
pub fn all(xml: &str, tag: &str) -> Vec<String> {
    inner(xml, tag).into_iter().map(|text| unescape(&text)).collect()
}

/// What stands inside all elements of this name, as written.
#[must_use]
pub fn inner(xml: &str, tag: &str) -> Vec<String> {
    let (close, empty) = (format!("</{tag}>"), format!("<{tag}/>"));
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some(at) = rest.find(&format!("<{tag}")) {
        let from = &rest[at..];
        let name_ends = from[1 + tag.len()..].chars().next().is_some_and(|c| c == '>' || c == ' ' || c == '/');
        let Some(end) = from.find('>').filter(|_| name_ends) else {
            rest = &from[1..];
            continue;
        };
        if from.starts_with(&empty) || from[..end].ends_with('/') {
            found.push(String::new());
            rest = &from[end + 1..];
            continue;
        }
        let Some(stop) = from.find(&close) else { break };
        found.push(from[end + 1..stop].to_owned());
        rest = &from[stop + close.len()..];
    }
    found
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let end = rest[at..].find(';').map_or(rest.len(), |e| at + e + 1);
        match &rest[at..end] {
            "&lt;" => out.push('<'),
            "&gt;" => out.push('>'),
            "&amp;" => out.push('&'),
            "&quot;" => out.push('"'),
            "&apos;" => out.push('\''),
            other => {
                let number = other.trim_start_matches("&#").trim_end_matches(';');
                let code =
                    number.strip_prefix('x').map_or_else(|| number.parse().ok(), |h| u32::from_str_radix(h, 16).ok());
                match code.and_then(char::from_u32) {
                    Some(c) => out.push(c),
                    None => out.push_str(other),
                }
            }
        }
        rest = &rest[end..];
    }
    out + rest
}

/// Text as it must stand in an XML body.
#[must_use]
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_unescaped() {
        let xml = r#"<A xmlns="u"><Key>a&amp;b</Key><KeyCount>2</KeyCount><Key/><Key>&#x1;&#233;</Key></A>"#;
        assert_eq!(all(xml, "Key"), ["a&b", "", "\u{1}é"]);
        assert_eq!(first(xml, "KeyCount").as_deref(), Some("2"));
        assert_eq!(first(xml, "Nothing"), None);
    }
}
