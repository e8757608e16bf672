//! Reports that are made by themselves: `reports`.

use super::clock::{TimeOfDay, Weekday, Zone};
use super::keys::{Key, key};
use super::value::Slot;
use super::words::Choice;
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
    /// By whose clock.
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

impl Choice for ReportSchedule {
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
        Slot::Words(&mut d.config.reports.schedule)
    }),
    key("reports.at", "When on its day", |d| {
        Slot::Words(&mut d.config.reports.at)
    }),
    key("reports.day", "On which day of the week, where it is weekly", |d| {
        Slot::Words(&mut d.config.reports.day)
    }),
    key("reports.timezone", "By whose clock", |d| {
        Slot::Words(&mut d.config.reports.timezone)
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
