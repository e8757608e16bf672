//! How counts, ages and dates of providers become numbers that can be compared.

use crate::types::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use std::time::Duration;

/// A day.
pub(super) const DAY: Duration = Duration::from_hours(24);

/// How much `n` independent voices say, 0 to 1: `half` of them say half, many say nearly all: n / (n + half).
pub(super) fn voices(n: f64, half: f64) -> f64 {
    let n = n.max(0.0);
    if n.is_infinite() { 1.0 } else { n / (n + half) }
}

/// How much is left of what was last seen at `seen`, 0.25 to 1: half after each `half_life`, never less than a quarter,
/// since an address keeps a past. What has no date counts half; what lies ahead is new.
pub(super) fn freshness(seen: Option<Timestamp>, now: Timestamp, half_life: Duration) -> f64 {
    let Some(seen) = seen else { return 0.5 };
    let age = now.0.saturating_sub(seen.0).max(0) as f64;
    (-age / half_life.as_nanos() as f64).exp2().max(0.25)
}

/// Seconds since 1970; `None` for what cannot be: before 1970, or later than a day from now.
pub(super) fn seconds(at: i64, now: Timestamp) -> Option<Timestamp> {
    plausible(Timestamp(at.checked_mul(1_000_000_000)?), now)
}

/// RFC 3339; `2024-01-31T12:00:00.123` without an offset is UTC; a date alone is its beginning.
pub(super) fn date(text: &str, now: Timestamp) -> Option<Timestamp> {
    let text = text.trim();
    let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text
            .parse::<DateTime>()
            .ok()
            .or_else(|| text.parse::<Date>().ok().map(Date::into))?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })?;
    plausible(Timestamp(i64::try_from(at.as_nanosecond()).ok()?), now)
}

fn plausible(at: Timestamp, now: Timestamp) -> Option<Timestamp> {
    (at.0 > 0 && at <= now.after(DAY)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(told: f64, expected: f64) {
        assert!((told - expected).abs() < 1e-12, "{told} is not {expected}");
    }

    #[test]
    fn more_voices_say_more_and_never_all() {
        check(voices(0.0, 3.0), 0.0);
        check(voices(3.0, 3.0), 0.5);
        check(voices(1e300, 3.0), 1.0);
        check(voices(f64::INFINITY, 3.0), 1.0);
        check(voices(-5.0, 3.0), 0.0);
    }

    #[test]
    fn what_was_seen_long_ago_says_less_and_never_nothing() {
        let now = Timestamp(1_700_000_000_000_000_000);
        let ago = |days: i64| Some(Timestamp(now.0 - days * 86_400_000_000_000));
        for (seen, left) in [
            (ago(0), 1.0),
            (ago(30), 0.5),
            (ago(60), 0.25),
            (ago(4_000), 0.25),
            (ago(-3), 1.0),
            (Some(Timestamp(i64::MIN)), 0.25),
            (None, 0.5),
        ] {
            check(freshness(seen, now, DAY * 30), left);
        }
    }

    #[test]
    fn dates_are_read_as_providers_write_them() {
        let now: Timestamp = "2024-06-01T00:00:00Z".parse().unwrap();
        for (text, told) in [
            ("2024-01-31", Some("2024-01-31T00:00:00Z")),
            ("2024-01-31T12:00:01+02:00", Some("2024-01-31T10:00:01Z")),
            ("2024-01-31T12:00:01.123000", Some("2024-01-31T12:00:01.123Z")),
            ("2024-01-31 12:00:01", Some("2024-01-31T12:00:01Z")),
            ("2025-01-31", None),
            ("1969-12-31", None),
            ("0000-00-00", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(date(text, now), told.map(|t| t.parse().unwrap()), "{text}");
        }
        assert_eq!(seconds(1_700_000_000, now), Some(Timestamp(1_700_000_000_000_000_000)));
        assert_eq!(seconds(i64::MAX, now), None);
        assert_eq!(seconds(-1, now), None);
        assert_eq!(seconds(4_000_000_000, now), None);
    }
}
