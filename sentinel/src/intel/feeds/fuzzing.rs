//! For `fuzz`: lists, and what a local API of CrowdSec answers.

use super::lapi::{Answer, State};
use super::parse::{Format, parse};
use crate::types::Timestamp;

/// Reads a list.
pub fn list(format: u8, bytes: &[u8]) {
    let formats = [Format::Plain, Format::Feodo, Format::Spamhaus, Format::Ipsum];
    let format = formats[usize::from(format) % formats.len()];
    if let Ok(parsed) = parse(&mut &*bytes, format) {
        assert!(parsed.entries.len() <= bytes.len());
        assert!(
            parsed.entries.is_sorted_by(|a, b| a.net < b.net),
            "out of order or twice"
        );
    }
}

/// Takes in answers, one a line, the first of them about everything; what is handed on is a list that is believed.
pub fn lapi(text: &str) {
    let now = Timestamp(1_767_225_600_000_000_000);
    let mut state = State::default();
    for (number, line) in text.lines().take(4).enumerate() {
        let Ok(answer) = serde_json::from_str::<Answer>(line) else {
            continue;
        };
        if state.take_in(answer, number == 0, now).is_err() {
            continue;
        }
        let list = state.text();
        let read = parse(&mut list.as_bytes(), Format::Plain);
        assert!(
            read.as_ref()
                .is_ok_and(|read| read.wrong == 0 && read.entries.len() == list.lines().count()),
            "{list}{read:?}"
        );
    }
}
