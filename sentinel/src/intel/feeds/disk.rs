//! Lists and what is known of them, kept over restarts.
//!
//! `NAME.list` is the list in force: a JSON object a line long, then `PREFIX SINCE LEVEL` (s since 1970, lists it is on)
//! for each entry. `NAME.json` says when its provider was asked and when it may be asked again. Each is replaced whole.

use super::fetch::Version;
use super::parse::{ENTRIES_MAX, Entry, LINE_MAX, plain};
use crate::files;
use crate::types::{Timestamp, hex};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::BufRead;
use std::path::PathBuf;

/// The longest `NAME.json` that is read, bytes.
const META_MAX: u64 = 16 * 1_024;

/// What is known of a feed beside its list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Meta {
    /// Digest of its URL: another place is another feed.
    pub(super) place: String,
    /// When the list the rest speaks of was fetched.
    #[serde(default)]
    pub(super) fetched_at: Option<Timestamp>,
    /// When the provider last confirmed it.
    #[serde(default)]
    pub(super) checked_at: Option<Timestamp>,
    /// When it was last asked.
    #[serde(default)]
    pub(super) asked_at: Option<Timestamp>,
    /// Not to be asked before.
    #[serde(default)]
    pub(super) next_at: Option<Timestamp>,
    #[serde(default)]
    pub(super) etag: Option<String>,
    #[serde(default)]
    pub(super) last_modified: Option<String>,
    /// Attempts that failed in a row.
    #[serde(default)]
    pub(super) failures: u32,
    #[serde(default)]
    pub(super) last_error: Option<String>,
}

impl Meta {
    /// What to ask with, where the list is the one it speaks of.
    pub(super) fn version(&self, fetched_at: Option<Timestamp>) -> Version {
        if fetched_at.is_none() || self.fetched_at != fetched_at {
            return Version::default();
        }
        Version {
            etag: self.etag.clone(),
            last_modified: self.last_modified.clone(),
        }
    }
}

/// The first line of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) feed: String,
    pub(super) place: String,
    pub(super) fetched_at: Timestamp,
    pub(super) entries: u64,
    pub(super) left_out: u64,
    pub(super) wrong_lines: u64,
}

/// A list as it was kept: its head, and each entry with since when it is on it (s since 1970).
pub(super) type Kept = (Head, Vec<(Entry, u32)>);

/// Why what was kept is not used.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeptError {
    #[error(transparent)]
    File(#[from] files::FileError),
    #[error("{0} is damaged; it is fetched anew when it is due")]
    Damaged(PathBuf),
    #[error("{0} is of another feed or place; it is fetched anew when it is due")]
    Other(PathBuf),
    #[error("the list that was kept: {0}")]
    Refused(String),
}

/// Digest of a place, which may hold a key.
pub(super) fn digest(place: &str) -> String {
    hex(&Sha256::digest(place)[..16])
}

/// Where lists are kept.
#[derive(Clone, Debug)]
pub(super) struct Shelf(pub(super) PathBuf);

impl Shelf {
    pub(super) fn list(&self, feed: &str) -> PathBuf {
        self.0.join(format!("{feed}.list"))
    }

    pub(super) fn meta(&self, feed: &str) -> PathBuf {
        self.0.join(format!("{feed}.json"))
    }

    /// Where a list comes in.
    pub(super) fn scratch(&self, feed: &str) -> PathBuf {
        self.0.join(format!(".{feed}.part"))
    }

    /// Makes the directory.
    pub(super) fn prepare(&self) -> std::io::Result<()> {
        std::fs::create_dir_all(&self.0)
    }

    /// What is known of a feed; nothing where the file is missing, damaged or of another place.
    pub(super) fn read_meta(&self, feed: &str, place: &str) -> Meta {
        files::read(&self.meta(feed), META_MAX)
            .ok()
            .and_then(|bytes| serde_json::from_slice::<Meta>(&bytes).ok())
            .filter(|meta| meta.place == place)
            .unwrap_or_else(|| Meta {
                place: place.to_owned(),
                ..Meta::default()
            })
    }

    pub(super) fn write_meta(&self, feed: &str, meta: &Meta) -> Result<(), files::FileError> {
        let mut bytes = serde_json::to_vec_pretty(meta).unwrap_or_default();
        bytes.push(b'\n');
        files::write(&self.meta(feed), &bytes)
    }

    /// The list of a feed; `None` where there is none.
    pub(super) fn read_list(&self, feed: &str, place: &str) -> Result<Option<Kept>, KeptError> {
        let path = self.list(feed);
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(files::FileError { path, error }.into()),
        };
        let mut failed = None;
        let read = kept(&mut std::io::BufReader::new(file), &mut failed);
        if let Some(error) = failed {
            return Err(files::FileError { path, error }.into());
        }
        let (head, entries) = read.ok_or_else(|| KeptError::Damaged(path.clone()))?;
        if head.feed != feed || head.place != place {
            return Err(KeptError::Other(path));
        }
        Ok(Some((head, entries)))
    }

    pub(super) fn write_list(
        &self,
        head: &Head,
        entries: impl Iterator<Item = (Entry, u32)>,
    ) -> Result<(), files::FileError> {
        let mut text = serde_json::to_string(head).unwrap_or_default();
        text.push('\n');
        for (entry, since) in entries {
            let _ = writeln!(text, "{} {since} {}", entry.net, entry.level);
        }
        files::write(&self.list(&head.feed), text.as_bytes())
    }
}

/// Reads a kept list strictly: we wrote it, so whatever is odd is damage. `failed` is why it could not be read to its
/// end.
fn kept(reader: &mut impl BufRead, failed: &mut Option<std::io::Error>) -> Option<Kept> {
    let mut line = String::new();
    let mut next = |line: &mut String| {
        line.clear();
        match std::io::Read::take(&mut *reader, LINE_MAX as u64).read_line(line) {
            Ok(_) => Some(line.strip_suffix('\n').map(str::len)),
            // What is no UTF-8 was read, and is odd.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => None,
            Err(error) => {
                *failed = Some(error);
                None
            }
        }
    };
    next(&mut line)??;
    let head: Head = serde_json::from_str(&line).ok()?;
    let count = usize::try_from(head.entries)
        .ok()
        .filter(|&count| count <= ENTRIES_MAX)?;
    let mut entries: Vec<(Entry, u32)> = Vec::new();
    while entries.len() < count {
        let len = next(&mut line)??;
        let mut parts = line[..len].split(' ');
        let net = plain(parts.next()?)?;
        let since = parts.next()?.parse().ok()?;
        let level = parts.next()?.parse().ok()?;
        if parts.next().is_some() || entries.last().is_some_and(|(last, _)| last.net >= net) {
            return None;
        }
        entries.push((Entry { net, level }, since));
    }
    next(&mut line)?;
    line.is_empty().then_some((head, entries))
}
