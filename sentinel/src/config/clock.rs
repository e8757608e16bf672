//! Times of a day, days, and whose clock they are by.

use super::value::{Fault, fault, quote};
use super::words::{Choice, Word};
use crate::types::Timestamp;
use jiff::tz::TimeZone;

/// From a time of the day to another, which may be of the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: TimeOfDay,
    to: TimeOfDay,
}

impl Hours {
    /// Whether an instant is within, by the clock of `zone`.
    pub fn hold(&self, at: Timestamp, zone: &Zone) -> bool {
        let Ok(at) = jiff::Timestamp::from_nanosecond(i128::from(at.0)) else {
            return false;
        };
        let time = at.to_zoned(zone.0.clone()).time();
        let time = (time.hour(), time.minute());
        let (from, to) = ((self.from.hour, self.from.minute), (self.to.hour, self.to.minute));
        if from <= to {
            (from..to).contains(&time)
        } else {
            time >= from || time < to
        }
    }
}

impl Word for Hours {
    fn wants() -> String {
        "hours such as `22:00-07:00`".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        let ends = text
            .split_once('-')
            .and_then(|(from, to)| Some((TimeOfDay::of(from)?, TimeOfDay::of(to)?)));
        match ends {
            Some((from, to)) if from != to => Ok(Self { from, to }),
            Some(_) => Err(fault(
                format!("{} is no time at all, or all day", quote(text)),
                "route nothing to the channel to silence it",
            )),
            None => Err(fault(
                format!("{} are no hours", quote(text)),
                "write from when to when, such as `22:00-07:00`",
            )),
        }
    }

    fn show(&self, _: &str) -> String {
        format!("{}-{}", self.from.show(""), self.to.show(""))
    }
}

/// Hour and minute of a day, as a wall clock shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: i8,
    /// 0 to 59.
    pub minute: i8,
}

impl TimeOfDay {
    fn of(text: &str) -> Option<Self> {
        let part = |part: &str, most: i8| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i8>().ok().filter(|n| digits && *n <= most)
        };
        let (hour, minute) = text.split_once(':')?;
        Some(Self {
            hour: part(hour, 23)?,
            minute: part(minute, 59)?,
        })
    }
}

impl Word for TimeOfDay {
    fn wants() -> String {
        "a time such as `\"07:00\"`, from 00:00 to 23:59".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        Self::of(text).ok_or_else(|| {
            fault(
                format!("{} is no time of the day", quote(text)),
                format!("write {}", Self::wants()),
            )
        })
    }

    fn show(&self, _: &str) -> String {
        format!("{:02}:{:02}", self.hour, self.minute)
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekday(pub jiff::civil::Weekday);

impl Choice for Weekday {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("monday", Self(jiff::civil::Weekday::Monday)),
        ("tuesday", Self(jiff::civil::Weekday::Tuesday)),
        ("wednesday", Self(jiff::civil::Weekday::Wednesday)),
        ("thursday", Self(jiff::civil::Weekday::Thursday)),
        ("friday", Self(jiff::civil::Weekday::Friday)),
        ("saturday", Self(jiff::civil::Weekday::Saturday)),
        ("sunday", Self(jiff::civil::Weekday::Sunday)),
    ];
}

/// A time zone; by default this machine's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(pub TimeZone, Option<String>);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::system(), None)
    }
}

impl Zone {
    /// Greenwich's without its summers.
    #[cfg(test)]
    pub fn utc() -> Self {
        Self(TimeZone::UTC, Some("UTC".to_owned()))
    }
}

impl Word for Zone {
    fn wants() -> String {
        "the name of a time zone such as `Europe/Berlin`, or nothing for this machine's".to_owned()
    }

    fn read(text: &str) -> Result<Self, Fault> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let zone = TimeZone::get(text).map_err(|_| {
            fault(
                format!("{} is not the name of a time zone", quote(text)),
                "write one as `timedatectl list-timezones` has them, such as `Europe/Berlin`",
            )
        })?;
        Ok(Self(zone, Some(text.to_owned())))
    }

    fn show(&self, _: &str) -> String {
        self.1.clone().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn hours_go_over_midnight_and_follow_summer_time() {
        let Ok(night) = Hours::read("22:00-07:00") else {
            panic!("hours")
        };
        let Ok(berlin) = Zone::read("Europe/Berlin") else {
            panic!("a zone")
        };
        for (when, quiet) in [
            ("2026-01-10T20:59:59Z", false),
            ("2026-01-10T21:00:00Z", true),
            ("2026-01-11T05:59:59Z", true),
            ("2026-01-11T06:00:00Z", false),
            ("2026-07-10T19:59:59Z", false),
            ("2026-07-10T20:00:00Z", true),
            ("2026-07-11T05:00:00Z", false),
        ] {
            assert_eq!(night.hold(at(when), &berlin), quiet, "{when}");
        }
        assert_eq!(night.show(""), "22:00-07:00");
    }

    #[test]
    fn what_are_no_hours_is_said() {
        for text in [
            "22",
            "22:00",
            "22:00-22:00",
            "24:00-07:00",
            "22:60-07:00",
            "aa:00-07:00",
            "-1:00-07:00",
            "022:00-7:00",
        ] {
            assert!(Hours::read(text).is_err(), "{text}");
        }
        assert!(Zone::read("Europe/Brlin").is_err());
        assert!(Zone::read("../../etc/passwd").is_err());
    }

    #[test]
    fn times_and_days_are_read_and_what_is_none_is_refused() {
        for good in ["00:00", "07:05", "23:59"] {
            assert_eq!(TimeOfDay::read(good).ok().map(|at| at.show("")).as_deref(), Some(good));
        }
        for bad in ["", "7:00", "24:00", "12:60", "12", "-1:00", "+1:00", "12:00:00", "noon"] {
            assert!(TimeOfDay::read(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Weekday::read("sunday").ok().map(|day| day.show("")).as_deref(),
            Some("sunday")
        );
        assert!(Weekday::read("Sunday!").is_err());
    }
}
