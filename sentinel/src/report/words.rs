//! Numbers, times and strangers' texts, as they are told.

use crate::types::{Timestamp, is_unseen};

/// Characters of one text that are told.
const LONGEST: usize = 220;

/// With its thousands apart.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing.
pub(super) fn many(n: u64, one: &str, more: &str) -> String {
    format!("{} {}", count(n), if n == 1 { one } else { more })
}

/// To the minute.
pub(super) fn minute(at: Timestamp) -> String {
    let text: String = at.to_string().chars().take(16).collect();
    format!("{} UTC", text.replace('T', " "))
}

/// The day, or the hour of the day.
pub(super) fn step(at: Timestamp, by_day: bool) -> String {
    let text = at.to_string();
    let wanted = if by_day { text.get(5..10) } else { text.get(11..16) };
    wanted.unwrap_or(&text).to_owned()
}

/// Milliseconds, or seconds where there are many.
pub(super) fn millis(ms: f64) -> String {
    if ms >= 10_000.0 {
        format!("{:.1} s", ms / 1000.0)
    } else if ms >= 100.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{ms:.1} ms")
    }
}

/// A share in percent; of nothing, none.
pub(super) fn share(part: u64, all: u64) -> String {
    if all == 0 {
        return "–".to_owned();
    }
    format!("{:.1} %", part as f64 * 100.0 / all as f64)
}

/// A name of the house as words: `brute_force` is brute force.
pub(super) fn words(name: &str) -> String {
    clean(&name.replace('_', " "))
}

/// A stranger's text: one line, bounded, without what changes how the rest is read.
pub(super) fn clean(text: &str) -> String {
    let mut told: String = text
        .chars()
        .filter(|c| !is_unseen(*c))
        .map(|c| {
            if c.is_control() || c == '\u{2028}' || c == '\u{2029}' {
                ' '
            } else {
                c
            }
        })
        .take(LONGEST + 1)
        .collect();
    if told.chars().count() > LONGEST {
        told = told.chars().take(LONGEST - 1).collect();
        told.push('…');
    }
    told
}
