//! Lines of comma-separated values (RFC 4180), without line breaks inside a value.

/// The values of a line. `None` where a quote is not closed or stands where none may.
pub(super) fn values(line: &str) -> Option<Vec<String>> {
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

    proptest! {
        #[test]
        fn what_is_written_is_read_back(cells in prop::collection::vec("[ -~]{0,6}", 1..5)) {
            let line: Vec<_> = cells.iter().map(|cell| quote(cell)).collect();
            prop_assert_eq!(values(&line.join(",")), Some(cells));
        }
    }
}
