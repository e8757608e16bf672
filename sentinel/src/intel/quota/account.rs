//! What was spent of one calendar period.

use super::recent::Recent;
use crate::types::Timestamp;
use jiff::ToSpan;
use jiff::tz::TimeZone;
use std::time::Duration;

/// Ours and the provider's clock may differ, and a request may arrive later than it left: what goes out less than this
/// before or after a border is counted on both sides of it. It is longer than any request may take (`timeout`).
pub(super) const GRACE: Duration = Duration::from_mins(1);

/// For which time a number of requests is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::intel) enum Period {
    /// Any 60 seconds.
    Minute,
    /// A day, UTC.
    Day,
    /// A calendar month, UTC.
    Month,
}

impl Period {
    /// The name used in errors, API and database.
    pub(in crate::intel) const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// First instant of the period that `at` lies in, and of the next one.
    pub(super) fn around(self, at: Timestamp) -> (Timestamp, Timestamp) {
        let unknown = (at, at.after(GRACE));
        let Ok(instant) = jiff::Timestamp::from_nanosecond(i128::from(at.0)) else {
            return unknown;
        };
        let civil = instant.to_zoned(TimeZone::UTC).datetime();
        let (first, span) = match self {
            Self::Minute => {
                let first = at.0.div_euclid(60_000_000_000) * 60_000_000_000;
                return (Timestamp(first), Timestamp(first.saturating_add(60_000_000_000)));
            }
            Self::Day => (civil.date(), 1.day()),
            Self::Month => (civil.date().first_of_month(), 1.month()),
        };
        let instant = |date: jiff::civil::Date| {
            let zoned = date.to_zoned(TimeZone::UTC).ok()?;
            i64::try_from(zoned.timestamp().as_nanosecond()).ok().map(Timestamp)
        };
        match (instant(first), first.checked_add(span).ok().and_then(instant)) {
            (Some(began), Some(ends)) => (began, ends),
            _ => unknown,
        }
    }
}

/// Requests of one day or month.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) period: Period,
    /// As configured.
    pub(super) limit: u64,
    /// As the provider told, where that is less.
    pub(super) learned: Option<u64>,
    pub(super) began: Timestamp,
    pub(super) ends: Timestamp,
    pub(super) spent: u64,
    /// Spent while the shared Redis was away, and not yet added there.
    pub(super) owed: u64,
}

impl Account {
    pub(super) fn new(period: Period, limit: u64) -> Self {
        Self {
            period,
            limit,
            learned: None,
            began: Timestamp(i64::MIN),
            ends: Timestamp(i64::MIN),
            spent: 0,
            owed: 0,
        }
    }

    /// Requests allowed.
    pub(super) fn allowed(&self) -> u64 {
        self.learned.map_or(self.limit, |learned| learned.min(self.limit))
    }

    /// Begins a new period where the old one is over for good. What was spent around the border counts in both. A clock
    /// that was set back into an earlier period takes the count along.
    pub(super) fn roll(&mut self, now: Timestamp, recent: &Recent) {
        let settled = Timestamp(now.0.saturating_sub(GRACE.as_nanos() as i64));
        if settled >= self.began && settled < self.ends {
            return;
        }
        let (began, ends) = self.period.around(settled);
        if began > self.began {
            let since = began
                .0
                .saturating_sub(GRACE.as_nanos() as i64)
                .div_euclid(1_000_000_000);
            self.spent = recent.since(since);
            self.owed = self.spent;
            self.learned = None;
        }
        (self.began, self.ends) = (began, ends);
    }

    /// Believes the provider that only `remaining` are left, `under_way` more having been sent meanwhile. Returns
    /// whether that is less than was thought.
    pub(super) fn believe(&mut self, remaining: u64, under_way: u64) -> bool {
        let told = self.spent.saturating_sub(under_way).saturating_add(remaining);
        let less = told < self.allowed();
        if less {
            self.learned = Some(told);
        }
        less
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn check(period: Period, now: &str, began: &str, ends: &str) {
        assert_eq!(period.around(at(now)), (at(began), at(ends)), "{period:?} {now}");
    }

    #[test]
    fn periods_follow_the_calendar() {
        use Period::{Day, Minute, Month};
        let (leap, march) = ("2028-02-29T23:59:59.999Z", "2028-03-01T00:00:00Z");
        check(Minute, leap, "2028-02-29T23:59:00Z", march);
        check(Day, leap, "2028-02-29T00:00:00Z", march);
        check(Month, leap, "2028-02-01T00:00:00Z", march);
        check(Day, march, march, "2028-03-02T00:00:00Z");
        check(Month, march, march, "2028-04-01T00:00:00Z");
        check(
            Month,
            "2026-12-31T12:00:00Z",
            "2026-12-01T00:00:00Z",
            "2027-01-01T00:00:00Z",
        );
        check(
            Day,
            "1969-12-31T23:00:00Z",
            "1969-12-31T00:00:00Z",
            "1970-01-01T00:00:00Z",
        );
        let (first, next) = Month.around(Timestamp(i64::MAX));
        assert!(first <= next, "no clock can break it");
    }

    #[test]
    fn what_is_spent_around_a_border_counts_on_both_sides() {
        let mut recent = Recent::default();
        let mut account = Account::new(Period::Day, 500);
        let spend = |account: &mut Account, recent: &mut Recent, now: &str, n: u64| {
            account.roll(at(now), recent);
            account.spent += n;
            recent.add(at(now).0.div_euclid(1_000_000_000), n);
        };
        spend(&mut account, &mut recent, "2026-11-27T12:00:00Z", 400);
        spend(&mut account, &mut recent, "2026-11-27T23:59:30Z", 5);
        spend(&mut account, &mut recent, "2026-11-28T00:00:30Z", 7);
        assert_eq!((account.spent, account.began), (412, at("2026-11-27T00:00:00Z")));
        // However late somebody looks.
        account.roll(at("2026-11-28T09:00:00Z"), &recent);
        assert_eq!((account.spent, account.began), (12, at("2026-11-28T00:00:00Z")));
        // Set back by a day: nothing is forgotten.
        account.roll(at("2026-11-27T12:00:00Z"), &recent);
        assert_eq!((account.spent, account.began), (12, at("2026-11-27T00:00:00Z")));
    }

    #[test]
    fn providers_are_believed_when_they_allow_less() {
        let mut account = Account::new(Period::Day, 1_000);
        account.roll(at("2026-11-27T12:00:00Z"), &Recent::default());
        account.spent = 10;
        assert!(!account.believe(995, 3), "more than we thought");
        assert!(account.believe(90, 3));
        assert_eq!(account.allowed(), 97);
        assert!(!account.believe(5_000, 0));
        assert!(account.believe(0, 0));
        assert_eq!(account.allowed(), 10);
        account.roll(at("2026-11-28T12:00:00Z"), &Recent::default());
        assert_eq!((account.allowed(), account.spent), (1_000, 0), "for that period only");
    }
}
