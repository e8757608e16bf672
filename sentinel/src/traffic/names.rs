//! The names of older files: `traffic_log-2026-11-29-001.csv`, by the UTC day of their last row and a number.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// Days since 1970.
pub(super) type Day = i64;

const NS_A_DAY: i64 = 86_400_000_000_000;

/// The UTC day of an instant, ns since 1970.
pub(super) const fn day_of(ns: i64) -> Day {
    ns.div_euclid(NS_A_DAY)
}

/// `2026-11-29`.
pub(super) fn date(day: Day) -> String {
    let at = jiff::Timestamp::from_second(day.saturating_mul(86_400)).unwrap_or_default();
    at.strftime("%Y-%m-%d").to_string()
}

/// A file that was moved aside because it was full or its day was over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Older {
    /// Sorts as time does.
    pub(super) date: String,
    pub(super) number: u32,
    pub(super) path: PathBuf,
}

/// Stem and ending of a log's name; the ending has its dot.
fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default();
    let ending = path.extension().map(|_| format!(".{}", text(path.extension())));
    (text(path.file_stem()), ending.unwrap_or_default())
}

/// Where the log itself is moved to.
pub(super) fn older(path: &Path, date: &str, number: u32) -> PathBuf {
    let (stem, ending) = parts(path);
    path.with_file_name(format!("{stem}-{date}-{number:03}{ending}"))
}

/// Where a file that is not ours is moved to.
pub(super) fn aside(path: &Path, number: u32) -> PathBuf {
    let (stem, ending) = parts(path);
    path.with_file_name(format!("{stem}-aside-{number}{ending}"))
}

/// All that were moved aside, the oldest first; nothing whose name we did not give.
///
/// # Errors
/// The directory cannot be read.
pub(super) fn all(path: &Path) -> io::Result<Vec<Older>> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (stem, ending) = parts(path);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let Some(name) = path.file_name().and_then(OsStr::to_str) else {
            continue;
        };
        let inner = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(&ending));
        if let Some((date, number)) = inner.and_then(numbered) {
            found.push(Older { date, number, path });
        }
    }
    found.sort();
    Ok(found)
}

/// `-2026-11-29-001` in its parts.
fn numbered(text: &str) -> Option<(String, u32)> {
    let (date, number) = text.strip_prefix('-')?.rsplit_once('-')?;
    let day: jiff::civil::Date = date.parse().ok()?;
    let digits = number.len() >= 3 && number.bytes().all(|byte| byte.is_ascii_digit());
    let same = day.to_string() == date;
    (digits && same).then_some(())?;
    Some((date.to_owned(), number.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_we_gave_are_older_files_and_they_sort_as_time_does() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("traffic_log.csv");
        let given = [
            older(&log, "2026-11-29", 2),
            older(&log, "2026-11-28", 1000),
            older(&log, "2026-11-28", 999),
        ];
        let others = [
            log.clone(),
            aside(&log, 1),
            dir.path().join("traffic_log-2026-13-29-001.csv"),
            dir.path().join("traffic_log-2026-11-29-1.csv"),
            dir.path().join("traffic_log-2026-11-29-001.csv.gz"),
            dir.path().join("traffic_log-labelled.csv"),
        ];
        for path in given.iter().chain(&others) {
            std::fs::write(path, "").unwrap();
        }
        let found: Vec<_> = all(&log).unwrap().into_iter().map(|older| older.path).collect();
        let [last, third, second] = given;
        assert_eq!(found, [second, third, last]);
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(date(day_of(0)), "1970-01-01");
        assert_eq!(date(day_of(-1)), "1969-12-31");
        assert_eq!(date(day_of(1_767_225_600_000_000_000)), "2026-01-01");
    }
}
