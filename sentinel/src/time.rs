//! The only place that reads a clock.

use crate::types::{Clock, Ktime, Timestamp};
use nix::time::{ClockId, clock_gettime};

fn nanos(clock: ClockId) -> i64 {
    // Both clocks exist on every kernel this runs on; a zero would only make entries expire at once.
    clock_gettime(clock).map_or(0, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec())
}

/// `CLOCK_BOOTTIME` now.
pub fn boot_now() -> Ktime {
    Ktime(nanos(ClockId::CLOCK_BOOTTIME).max(0) as u64)
}

/// The wall clock now.
pub fn wall_now() -> Timestamp {
    Timestamp(nanos(ClockId::CLOCK_REALTIME))
}

/// How the two clocks stand to each other now.
pub fn clock() -> Clock {
    Clock {
        offset_ns: wall_now().0 - boot_now().0 as i64,
    }
}

/// Nanoseconds of a duration as Go writes it (`3h59m58.1s`); below zero with a `-` in front. What lasts longer than the
/// clock is for good; `None` where it is none.
pub fn go_duration(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text),
    };
    let units = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("h", 3.6e12),
        ("m", 6e10),
        ("s", 1e9),
    ];
    let (mut total, mut rest) = (0.0, text);
    if rest == "0" {
        return Some(0);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let (unit, nanos) = units.into_iter().find(|(name, _)| rest[digits..].starts_with(name))?;
        total += number * nanos;
        rest = &rest[digits + unit.len()..];
    }
    // A conversion from above the largest number gives the largest.
    (!text.is_empty()).then_some((sign * total) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        for (text, millis) in [
            ("3h59m58.1s", Some(14_398_100)),
            ("0s", Some(0)),
            ("0", Some(0)),
            ("500ms", Some(500)),
            ("1.5h", Some(5_400_000)),
            ("2µs", Some(0)),
            ("-5m1s", Some(-301_000)),
            ("99999999999h", Some(i64::MAX / 1_000_000)),
            ("", None),
            ("-", None),
            ("4", None),
            ("4 h", None),
            ("h", None),
            ("1.2.3s", None),
            ("5é", None),
        ] {
            let read = go_duration(text).map(|nanos| nanos / 1_000_000);
            assert_eq!(read, millis, "{text}");
        }
    }
}
