//! Reports that are made by themselves: `reports`.

use super::keys::{Key, key};
use super::own::{Own, Word};
use super::value::{Fault, Slot, fault, quote};
use serde_json::{Value, json};
use std::path::PathBuf;

/// `reports:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportsConfig {
    /// How often.
    pub schedule: ReportSchedule,
    /// When on its day, by the wall clock of `timezone`.
    pub at: TimeOfDay,
    /// On which day of the week, where it is weekly.
    pub day: Weekday,
    /// IANA name of the zone; empty for the system's.
    pub timezone: Zone,
    /// `pdf`, `html`, `json`.
    pub formats: Vec<String>,
    /// Where they are kept.
    pub directory: PathBuf,
    /// Reports kept; the oldest go.
    pub keep: usize,
    /// Whether they are sent by e-mail, where there is a channel for that.
    pub email: bool,
}

/// How often a report is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportSchedule {
    /// Never.
    Off,
    /// Each day, of the day before.
    Daily,
    /// Once a week, of the seven days before that day.
    Weekly,
    /// On the first of each month, of the month before.
    Monthly,
}

impl Word for ReportSchedule {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("daily", Self::Daily),
        ("weekly", Self::Weekly),
        ("monthly", Self::Monthly),
    ];
}

impl ReportSchedule {
    /// The name used in the file, and in the names of reports.
    pub fn as_str(self) -> &'static str {
        self.word()
    }
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekday(pub jiff::civil::Weekday);

impl Word for Weekday {
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

/// Hour and minute of a day, as a wall clock shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOfDay {
    /// 0 to 23.
    pub hour: i8,
    /// 0 to 59.
    pub minute: i8,
}

impl Own for TimeOfDay {
    fn read(&mut self, text: &str) -> Result<(), Fault> {
        let part = |part: &str, most: i8| {
            let digits = part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i8>().ok().filter(|n| digits && *n <= most)
        };
        let read = text
            .split_once(':')
            .and_then(|(hour, minute)| part(hour, 23).zip(part(minute, 59)));
        let Some((hour, minute)) = read else {
            return Err(fault(
                format!("{} is no time of the day", quote(text)),
                format!("write {}", self.wants()),
            ));
        };
        *self = Self { hour, minute };
        Ok(())
    }

    fn show(&self) -> String {
        format!("{:02}:{:02}", self.hour, self.minute)
    }

    fn wants(&self) -> String {
        "a time such as `\"07:00\"`, from 00:00 to 23:59".into()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$" })
    }
}

/// Name of a time zone, or nothing for the system's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone(pub String);

impl Own for Zone {
    fn read(&mut self, text: &str) -> Result<(), Fault> {
        if !text.is_empty() && jiff::tz::TimeZone::get(text).is_err() {
            return Err(fault(
                format!("{} is no time zone that this system knows", quote(text)),
                "write a name of the IANA database such as `Europe/Berlin` or `UTC`, or nothing for the system's",
            ));
        }
        text.clone_into(&mut self.0);
        Ok(())
    }

    fn show(&self) -> String {
        self.0.clone()
    }

    fn wants(&self) -> String {
        "the name of a time zone such as `Europe/Berlin`, or nothing for the system's".into()
    }

    fn schema(&self) -> Value {
        json!({ "type": "string" })
    }
}

/// How a report can be written.
pub(super) const FORMATS: [&str; 3] = ["pdf", "html", "json"];

impl Default for ReportsConfig {
    fn default() -> Self {
        Self {
            schedule: ReportSchedule::Off,
            at: TimeOfDay { hour: 7, minute: 0 },
            day: Weekday(jiff::civil::Weekday::Monday),
            timezone: Zone::default(),
            formats: vec!["pdf".to_owned()],
            directory: "data/reports".into(),
            keep: 30,
            email: true,
        }
    }
}

pub(super) const KEYS: &[Key] = &[
    key("reports.schedule", "How often a report is made by itself", |d| {
        Slot::Own(&mut d.config.reports.schedule)
    }),
    key("reports.at", "When on its day", |d| Slot::Own(&mut d.config.reports.at)),
    key("reports.day", "On which day of the week, where it is weekly", |d| {
        Slot::Own(&mut d.config.reports.day)
    }),
    key("reports.timezone", "By whose clock", |d| {
        Slot::Own(&mut d.config.reports.timezone)
    }),
    key("reports.formats", "How they are written", |d| {
        Slot::Names(&mut d.config.reports.formats, &FORMATS)
    }),
    key("reports.directory", "Where they are kept", |d| {
        Slot::Path(&mut d.config.reports.directory)
    }),
    key("reports.keep", "Reports kept; the oldest go", |d| {
        Slot::Usize(&mut d.config.reports.keep, 1..=10_000)
    }),
    key(
        "reports.email",
        "Whether they are sent by e-mail, where there is a channel for that",
        |d| Slot::Bool(&mut d.config.reports.email),
    ),
];

/// What is asked for and cannot come of it.
pub(super) fn check(reports: &ReportsConfig, say: &mut impl FnMut(&'static str, String, &str)) {
    if reports.schedule != ReportSchedule::Off && reports.formats.is_empty() {
        say(
            "reports.formats",
            "is empty, so that nothing would be written".into(),
            "name `pdf`, `html` or `json`, or set `reports.schedule: off`",
        );
    }
    let mut seen = Vec::new();
    if reports.formats.iter().any(|format| {
        let twice = seen.contains(&format);
        seen.push(format);
        twice
    }) {
        say(
            "reports.formats",
            "names one format twice".into(),
            "name each format once",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_days_and_zones_are_read_and_what_is_none_is_refused() {
        let mut at = TimeOfDay { hour: 7, minute: 0 };
        for good in ["00:00", "07:05", "23:59"] {
            assert!(at.read(good).is_ok() && at.show() == good, "{good}");
        }
        for bad in ["", "7:00", "24:00", "12:60", "12", "-1:00", "+1:00", "12:00:00", "noon"] {
            assert!(at.read(bad).is_err(), "{bad}");
        }
        assert_eq!(at, TimeOfDay { hour: 23, minute: 59 }, "left as it was");
        let mut day = Weekday(jiff::civil::Weekday::Monday);
        assert!(day.read("sunday").is_ok() && day.show() == "sunday");
        assert!(day.read("Sunday!").is_err());
        let mut zone = Zone::default();
        assert!(zone.read("Europe/Berlin").is_ok() && zone.read("").is_ok());
        let refused = zone.read("Europe/Atlantis").err().map(|fault| fault.mend);
        assert!(refused.is_some_and(|mend| mend.contains("Europe/Berlin")));
    }

    #[test]
    fn nothing_to_write_and_the_same_twice_are_told() {
        let said = |formats: &[&str]| {
            let mut said = 0;
            let config = ReportsConfig {
                schedule: ReportSchedule::Daily,
                formats: formats.iter().map(|format| (*format).to_owned()).collect(),
                ..ReportsConfig::default()
            };
            check(&config, &mut |_, _, _| said += 1);
            said
        };
        assert_eq!((said(&[]), said(&["pdf", "pdf"]), said(&["pdf", "json"])), (1, 1, 0));
    }
}
