//! Reports that lie in a directory: which files there are ours, by their names alone.

use super::Format;
use crate::types::Timestamp;
use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How often a report can be made by itself, as their names have it.
const OFTEN: [&str; 3] = ["daily", "weekly", "monthly"];
/// Files of a directory that are looked at; in the order of their names the latest count.
const LOOKED_AT: usize = 100_000;
/// Largest report that is read, bytes.
const LARGEST: u64 = 64 * 1024 * 1024;

/// A report that was made by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name, without a folder.
    pub name: String,
    /// First day it is of: `2026-11-28`.
    pub day: String,
    /// How it is written.
    pub format: Format,
    /// Bytes.
    pub bytes: u64,
    /// When it was written last.
    pub made_at: Timestamp,
}

/// The name of the report that begins with a day (`2026-11-28`).
pub fn name(often: &str, day: &str, format: Format) -> String {
    format!("sentinel-{often}-{day}.{}", format.name())
}

/// The day and the format of a name that [`name`] made; `None` for every other, with whatever path in it.
fn read_name(name: &str) -> Option<(&str, Format)> {
    let (often, rest) = name.strip_prefix("sentinel-")?.split_once('-')?;
    let (day, format) = rest.split_once('.')?;
    let digits = |at: usize, byte: u8| {
        if at == 4 || at == 7 {
            byte == b'-'
        } else {
            byte.is_ascii_digit()
        }
    };
    let is_day = day.len() == 10 && day.bytes().enumerate().all(|(at, byte)| digits(at, byte));
    let format = Format::named(format)?;
    (OFTEN.contains(&often) && is_day).then_some((day, format))
}

/// Every report there is, the latest first. A directory that is not there has none.
///
/// # Errors
/// What the system says.
pub fn list(directory: &Path) -> io::Result<Vec<Kept>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut all: Vec<Kept> = entries
        .take(LOOKED_AT)
        .filter_map(|entry| entry.ok().and_then(|entry| kept(&entry)))
        .collect();
    all.sort_by(|a, b| b.day.cmp(&a.day).then_with(|| a.name.cmp(&b.name)));
    Ok(all)
}

fn kept(entry: &DirEntry) -> Option<Kept> {
    let name = entry.file_name().into_string().ok()?;
    let (day, format) = read_name(&name)?;
    // Of the entry itself: a link that somebody laid is none of ours.
    let told = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
    let made = told.modified().ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Kept {
        day: day.to_owned(),
        format,
        bytes: told.len(),
        made_at: Timestamp(i64::try_from(made.as_nanos()).ok()?),
        name,
    })
}

/// One of them; `None` where there is none of that name.
///
/// # Errors
/// What the system says.
pub fn read(directory: &Path, name: &str) -> io::Result<Option<(Format, Vec<u8>)>> {
    let Some((_, format)) = read_name(name) else {
        return Ok(None);
    };
    let opened = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(directory.join(name));
    let file = match opened {
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ELOOP) => {
            return Ok(None);
        }
        file => file?,
    };
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(Some((format, bytes)))
}

/// Removes all but the latest `keep` reports, each in all its formats. Returns the names of those that went.
///
/// # Errors
/// What the system says of the first that could not be removed; the others are gone.
pub fn prune(directory: &Path, keep: usize) -> io::Result<Vec<String>> {
    let mut all = list(directory)?;
    // The latest made, not the latest told of: a month begins before its days.
    all.sort_by(|a, b| (b.made_at, &b.day).cmp(&(a.made_at, &a.day)));
    let stem = |kept: &Kept| kept.name.rsplit_once('.').map(|(stem, _)| stem.to_owned());
    let mut stems = Vec::new();
    let mut gone = Vec::new();
    let mut refused = None;
    for kept in &all {
        let Some(stem) = stem(kept) else { continue };
        if !stems.contains(&stem) {
            stems.push(stem.clone());
        }
        let stays = stems
            .iter()
            .position(|known| *known == stem)
            .is_some_and(|at| at < keep);
        if stays {
            continue;
        }
        match std::fs::remove_file(directory.join(&kept.name)) {
            Ok(()) => gone.push(kept.name.clone()),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    refused.map_or(Ok(gone), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_were_given_are_ours() {
        for format in Format::ALL {
            let given = name("weekly", "2026-11-23", format);
            assert_eq!(read_name(&given), Some(("2026-11-23", format)), "{given}");
        }
        for strange in [
            "",
            "..",
            "../sentinel-daily-2026-11-28.pdf",
            "sentinel-daily-2026-11-28.pdf/..",
            "/etc/passwd",
            "sentinel-daily-2026-11-28.pdf\0",
            "sentinel-daily-2026-11-28.exe",
            "sentinel-daily-2026-11-28",
            "sentinel-hourly-2026-11-28.pdf",
            "sentinel-daily-2026-11-2.pdf",
            "sentinel-daily-2026/11/28.pdf",
            "sentinel-daily-../../../.pdf",
            "sentinel-report-2026-11-28.pdf",
            ".sentinel-daily-2026-11-28.pdf.17",
        ] {
            assert_eq!(read_name(strange), None, "{strange}");
        }
    }

    #[test]
    fn the_oldest_go_and_nothing_that_is_not_ours() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for day in 1..=5 {
            for format in [Format::Pdf, Format::Json] {
                let name = name("daily", &format!("2026-11-0{day}"), format);
                std::fs::write(at(&name), "x").unwrap();
            }
        }
        std::fs::write(at("sentinel-report-2020-01-01.pdf"), "mine").unwrap();
        std::fs::create_dir(at("sentinel-daily-2020-01-01.pdf")).unwrap();
        std::fs::write(at("victim"), "untouched").unwrap();
        std::os::unix::fs::symlink(at("victim"), at("sentinel-daily-2020-01-02.pdf")).unwrap();
        let all = list(directory.path()).unwrap();
        assert_eq!((all.len(), all[0].day.as_str(), all[0].bytes), (10, "2026-11-05", 1));
        assert_eq!(
            read(directory.path(), "sentinel-daily-2020-01-02.pdf").unwrap(),
            None,
            "a link"
        );
        assert_eq!(
            read(directory.path(), "sentinel-daily-2020-01-01.pdf").unwrap(),
            None,
            "a folder"
        );
        assert_eq!(read(directory.path(), "victim").unwrap(), None);
        let name = "sentinel-daily-2026-11-05.pdf";
        assert_eq!(
            read(directory.path(), name).unwrap(),
            Some((Format::Pdf, b"x".to_vec()))
        );
        assert_eq!(prune(directory.path(), 2).unwrap().len(), 6);
        let left: Vec<_> = list(directory.path())
            .unwrap()
            .into_iter()
            .map(|kept| kept.day)
            .collect();
        assert_eq!(left, ["2026-11-05", "2026-11-05", "2026-11-04", "2026-11-04"]);
        assert_eq!(std::fs::read(at("victim")).unwrap(), b"untouched");
        assert!(at("sentinel-report-2020-01-01.pdf").exists());
        assert_eq!(list(&at("no/such")).unwrap(), []);
    }
}
