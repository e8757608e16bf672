//! Lines of comma-separated values (RFC 4180), without line breaks inside a value.

/// The values of a line. `None` where a quote is not closed or stands where none may.
pub(crate) fn values(line: &str) -> Option<Vec<String>> {
    let mut values = vec![String::new()];
    let mut quoted = false;
    let mut characters = line.trim_end_matches(['\r', '\n']).chars().peekable();
    while let Some(character) = characters.next() {
        let value = values.last_mut()?;
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                value.push('"');
            }
            '"' if quoted => {
                quoted = false;
                if !matches!(characters.peek(), None | Some(',')) {
                    return None;
                }
            }
            '"' if value.is_empty() => quoted = true,
            '"' => return None,
            ',' if !quoted => values.push(String::new()),
            other => value.push(other),
        }
    }
    (!quoted).then_some(values)
}

/// A text that came from outside, as it is written: what a spreadsheet would take for a formula gets an apostrophe in
/// front (OWASP, CSV injection).
pub(crate) fn cell(text: &str) -> String {
    const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];
    if text.starts_with(FORMULA) {
        quote(&format!("'{text}"))
    } else {
        quote(text)
    }
}

/// A value as it is written: in quotes where it has to be.
pub(super) fn quote(value: &str) -> String {
    if value.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\"").replace(['\n', '\r'], " "))
    } else {
        value.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_hold_commas_and_quotes() {
        assert_eq!(
            values("a,\"b,\"\"c\",,d\r\n"),
            Some(vec!["a".into(), "b,\"c".into(), String::new(), "d".into()])
        );
        for broken in ["\"a", "a\"b", "\"a\"b,c"] {
            assert_eq!(values(broken), None, "{broken}");
        }
    }

    #[test]
    fn no_text_from_outside_is_a_formula() {
        for (text, written) in [
            ("=cmd|'/C calc'!A0", "'=cmd|'/C calc'!A0"),
            ("+1", "'+1"),
            ("-1+1", "'-1+1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "'\t=1"),
            ("\r=1,2", "\"' =1,2\""),
            ("\n=1", "\"' =1\""),
            (
                "=HYPERLINK(\"http://x\",\"y\")",
                "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"",
            ),
            ("＝1", "'＝1"),
            ("web-1.example", "web-1.example"),
            ("", ""),
        ] {
            assert_eq!(cell(text), written, "{text:?}");
            assert_eq!(values(&cell(text)).map(|cells| cells.len()), Some(1), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cells in prop::collection::vec("[ -~]{0,6}", 1..5)) {
            let line: Vec<_> = cells.iter().map(|cell| quote(cell)).collect();
            prop_assert_eq!(values(&line.join(",")), Some(cells));
        }
    }
}
