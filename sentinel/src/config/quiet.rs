//! Times of a day, and whose clock they are by.

use super::value::{Fault, fault, quote};
use super::words::Word;
use crate::types::Timestamp;
use jiff::civil::Time;
use jiff::tz::TimeZone;

/// From a time of the day to another, which may be of the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    from: Time,
    to: Time,
}

impl Hours {
    /// Whether an instant is within, by the clock of `zone`.
    pub fn hold(&self, at: Timestamp, zone: &Zone) -> bool {
        let Ok(at) = jiff::Timestamp::from_nanosecond(i128::from(at.0)) else {
            return false;
        };
        let time = at.to_zoned(zone.0.clone()).time();
        if self.from <= self.to {
            (self.from..self.to).contains(&time)
        } else {
            time >= self.from || time < self.to
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
            .and_then(|(from, to)| Some((time(from)?, time(to)?)));
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
        format!("{}-{}", self.from.strftime("%H:%M"), self.to.strftime("%H:%M"))
    }
}

/// `07:30`.
fn time(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two = |text: &str| (text.len() <= 2).then(|| text.parse::<i8>().ok()).flatten();
    Time::new(two(hour)?, two(minute)?, 0, 0).ok()
}

/// A time zone; by default this machine's.
#[derive(Clone, Debug, PartialEq)]
pub struct Zone(pub TimeZone, Option<String>);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::system(), None)
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
}
