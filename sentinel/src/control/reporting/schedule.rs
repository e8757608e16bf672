//! When a scheduled report is made, and of what. Pure.

use crate::config::{ReportSchedule, ReportsConfig};
use crate::types::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan};

/// One report of the schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// When it is made.
    pub(super) at: Timestamp,
    /// First day it is of.
    pub(super) first: Date,
    /// Last day it is of.
    pub(super) last: Date,
    /// From when.
    pub(super) since: Timestamp,
    /// Until when, which is not of it.
    pub(super) until: Timestamp,
}

/// A full hour, as totals are counted by; ns.
const HOUR: i64 = 3_600_000_000_000;

/// The latest run that is due at `now`.
pub(super) fn due(config: &ReportsConfig, zone: &TimeZone, now: Timestamp) -> Option<Run> {
    around(config, zone, now).filter(|run| run.at <= now).last()
}

/// The first run after `now`.
pub(super) fn next_run(config: &ReportsConfig, zone: &TimeZone, now: Timestamp) -> Option<Run> {
    around(config, zone, now).find(|run| run.at > now)
}

/// Runs from one before `now` to one after it, in order.
fn around<'a>(config: &'a ReportsConfig, zone: &'a TimeZone, now: Timestamp) -> impl Iterator<Item = Run> + 'a {
    let today = jiff::Timestamp::from_nanosecond(i128::from(now.0))
        .map(|at| at.to_zoned(zone.clone()).date())
        .ok();
    // A month back and one forth has a run before and one after it, whatever the schedule.
    let from = today.and_then(|day| day.checked_sub(32.days()).ok());
    let to = today.and_then(|day| day.checked_add(32.days()).ok());
    let days = from.into_iter().flat_map(|from| from.series(1.day()));
    days.take_while(move |day| to.is_some_and(|to| *day <= to))
        .filter_map(move |day| of(config, zone, day))
}

/// The run of a day, if there is one.
fn of(config: &ReportsConfig, zone: &TimeZone, day: Date) -> Option<Run> {
    let back: Span = match config.schedule {
        ReportSchedule::Daily => 1.day(),
        ReportSchedule::Weekly if day.weekday() == config.day.0 => 1.week(),
        ReportSchedule::Monthly if day.day() == 1 => 1.month(),
        ReportSchedule::Off | ReportSchedule::Weekly | ReportSchedule::Monthly => return None,
    };
    let first = day.checked_sub(back).ok()?;
    let at = Time::new(config.at.hour, config.at.minute, 0, 0).ok()?;
    Some(Run {
        at: instant(zone, day, at)?,
        first,
        last: day.yesterday().ok()?,
        since: midnight(zone, first)?,
        until: midnight(zone, day)?,
    })
}

/// What the wall clock shows then. A time that a day has not got is as much later as the clock is put on; of a time that
/// it has twice it is the first (RFC 5545, 3.3.5).
fn instant(zone: &TimeZone, day: Date, at: Time) -> Option<Timestamp> {
    let zoned = day.to_datetime(at).to_zoned(zone.clone()).ok()?;
    i64::try_from(zoned.timestamp().as_nanosecond()).ok().map(Timestamp)
}

/// Where a day begins; in zones that are off by parts of an hour the full hour (UTC) before, so that no alert is in two
/// reports or in none.
fn midnight(zone: &TimeZone, day: Date) -> Option<Timestamp> {
    let at = instant(zone, day, Time::midnight())?;
    Some(Timestamp(at.0.div_euclid(HOUR) * HOUR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TimeOfDay, Weekday};

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn config(schedule: ReportSchedule, hour: i8, minute: i8) -> ReportsConfig {
        ReportsConfig {
            schedule,
            at: TimeOfDay { hour, minute },
            day: Weekday(jiff::civil::Weekday::Monday),
            ..ReportsConfig::default()
        }
    }

    #[track_caller]
    fn check(config: &ReportsConfig, zone: &str, now: &str, expected: [&str; 3]) -> Run {
        let zone = TimeZone::get(zone).unwrap();
        let run = next_run(config, &zone, at(now)).unwrap();
        let told = [run.at, run.since, run.until].map(|at| at.to_string().replace(".000000Z", "Z"));
        assert_eq!(told, expected, "after {now}");
        assert_eq!(due(config, &zone, run.at), Some(run), "due when it comes");
        assert!(due(config, &zone, Timestamp(run.at.0 - 1)).unwrap().at < run.at);
        run
    }

    #[test]
    fn each_schedule_is_of_the_whole_days_before_its_run() {
        let utc = "UTC";
        check(
            &config(ReportSchedule::Daily, 7, 0),
            utc,
            "2026-11-29T06:59:59Z",
            ["2026-11-29T07:00:00Z", "2026-11-28T00:00:00Z", "2026-11-29T00:00:00Z"],
        );
        check(
            &config(ReportSchedule::Daily, 7, 0),
            utc,
            "2026-11-29T07:00:00Z",
            ["2026-11-30T07:00:00Z", "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"],
        );
        // The 29th of November 2026 is a Sunday.
        let run = check(
            &config(ReportSchedule::Weekly, 0, 0),
            utc,
            "2026-11-29T12:00:00Z",
            ["2026-11-30T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z"],
        );
        assert_eq!(
            (run.first.to_string(), run.last.to_string()),
            ("2026-11-23".into(), "2026-11-29".into())
        );
        check(
            &config(ReportSchedule::Monthly, 7, 30),
            utc,
            "2027-02-15T00:00:00Z",
            ["2027-03-01T07:30:00Z", "2027-02-01T00:00:00Z", "2027-03-01T00:00:00Z"],
        );
        assert_eq!(
            next_run(
                &config(ReportSchedule::Off, 7, 0),
                &TimeZone::UTC,
                at("2026-11-29T12:00:00Z")
            ),
            None
        );
    }

    #[test]
    fn days_of_23_and_of_25_hours_are_told_whole() {
        let daily = config(ReportSchedule::Daily, 7, 0);
        // Clocks are put on in Berlin on 2026-03-29, at 02:00, and back on 2026-10-25, at 03:00.
        let short = check(
            &daily,
            "Europe/Berlin",
            "2026-03-30T00:00:00Z",
            ["2026-03-30T05:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"],
        );
        assert_eq!((short.until.0 - short.since.0) / HOUR, 23);
        let long = check(
            &daily,
            "Europe/Berlin",
            "2026-10-26T00:00:00Z",
            ["2026-10-26T06:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
        );
        assert_eq!((long.until.0 - long.since.0) / HOUR, 25);
    }

    #[test]
    fn a_time_that_a_day_has_not_got_or_has_twice_comes_once() {
        let daily = config(ReportSchedule::Daily, 2, 30);
        // 02:30 is not there on 2026-03-29: 03:30 CEST it is.
        check(
            &daily,
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:30:00Z", "2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z"],
        );
        // It is there twice on 2026-10-25: the first is 00:30 UTC, and the next run is of the day after.
        check(
            &daily,
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T00:30:00Z", "2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z"],
        );
        check(
            &daily,
            "Europe/Berlin",
            "2026-10-25T00:30:00Z",
            ["2026-10-26T01:30:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"],
        );
        // Midnight itself is not there: Beirut puts its clocks on at 00:00 on 2026-03-29.
        check(
            &config(ReportSchedule::Daily, 0, 0),
            "Asia/Beirut",
            "2026-03-28T12:00:00Z",
            ["2026-03-28T22:00:00Z", "2026-03-27T22:00:00Z", "2026-03-28T22:00:00Z"],
        );
    }

    #[test]
    fn periods_follow_each_other_without_gap_or_overlap() {
        for (zone, schedule) in [
            ("Europe/Berlin", ReportSchedule::Daily),
            ("America/New_York", ReportSchedule::Weekly),
            ("Asia/Kolkata", ReportSchedule::Daily),
            ("Asia/Kathmandu", ReportSchedule::Weekly),
            ("Australia/Lord_Howe", ReportSchedule::Daily),
            ("Pacific/Apia", ReportSchedule::Monthly),
        ] {
            let config = config(schedule, 2, 30);
            let zone = TimeZone::get(zone).unwrap();
            let mut run = next_run(&config, &zone, at("2026-01-01T00:00:00Z")).unwrap();
            let mut runs = 0;
            while run.at < at("2028-01-01T00:00:00Z") {
                let after = next_run(&config, &zone, run.at).unwrap();
                assert_eq!(run.until, after.since, "{zone:?}");
                assert!(run.since < run.until && run.until <= run.at.after(std::time::Duration::from_hours(1)));
                run = after;
                runs += 1;
            }
            assert!(runs >= 23, "{runs}");
        }
    }
}
