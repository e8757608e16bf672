//! The file: appended to, repaired when it is opened, moved aside when it is full or its day is over.

use super::names::{self, Day};
use super::row;
use crate::config::TrafficLogConfig;
use crate::files::rotating::{LineError, identity, open_lines, wrong};
use std::collections::VecDeque;
use std::fs::{File, Metadata, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes written at once.
const CHUNK: usize = 256 * 1024;
/// The longest line there may be; what is longer is not ours.
pub(super) const LONGEST: u64 = 64 * 1024;
/// How often it is looked whether the path still leads to the file that is open.
const LOOK: Duration = Duration::from_secs(1);
/// Files of others that are moved out of the way at most.
const ASIDES: u32 = 10_000;

/// A row that waits to be written.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) day: Day,
    pub(super) text: String,
}

/// What was done since it was last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) repaired: u64,
    pub(super) aside: u64,
    pub(super) rotated: u64,
}

#[derive(Debug)]
struct Current {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    len: u64,
    /// The day of its last row, if it has any.
    day: Option<Day>,
}

/// The log.
#[derive(Debug)]
pub(super) struct LogFile {
    config: TrafficLogConfig,
    /// With its end of line.
    heading: String,
    current: Option<Current>,
    looked: Instant,
    done: Done,
}

impl LogFile {
    /// Nothing is opened yet.
    pub(super) fn new(config: TrafficLogConfig) -> Self {
        Self {
            config,
            heading: format!("{}\n", row::heading()),
            current: None,
            looked: Instant::now(),
            done: Done::default(),
        }
    }

    pub(super) fn take_done(&mut self) -> Done {
        std::mem::take(&mut self.done)
    }

    /// Opens the path anew with what is written next, for whoever moved the file aside.
    pub(super) fn reopen(&mut self) {
        self.current = None;
    }

    /// Writes as many of the lines as can be, and takes those away from the front. With none it makes sure that the file is
    /// there.
    ///
    /// # Errors
    /// [`LineError`]; what is left in `lines` is not in the file.
    pub(super) fn append(&mut self, lines: &mut VecDeque<Line>) -> Result<(), LineError> {
        self.write(lines).map_err(|error| wrong(&self.config.path, &error))
    }

    fn write(&mut self, lines: &mut VecDeque<Line>) -> io::Result<()> {
        self.look();
        self.current()?;
        while let Some(first) = lines.front() {
            if self.is_over(first)? {
                self.rotate()?;
            }
            self.write_some(lines)?;
        }
        Ok(())
    }

    /// Whether the next line belongs into another file.
    fn is_over(&mut self, next: &Line) -> io::Result<bool> {
        let (daily, most) = (self.config.daily, self.config.max_bytes);
        let current = self.current()?;
        let Some(day) = current.day else {
            return Ok(false);
        };
        // A clock that was set back begins no file.
        Ok(daily && next.day > day || current.len + next.text.len() as u64 + 1 > most)
    }

    /// Writes what goes into this file, up to a chunk, whole or not at all.
    fn write_some(&mut self, lines: &mut VecDeque<Line>) -> io::Result<()> {
        let (daily, most, fsync) = (self.config.daily, self.config.max_bytes, self.config.fsync);
        let heading = self.heading.clone();
        let current = self.current()?;
        let mut bytes = if current.len == 0 {
            heading.into_bytes()
        } else {
            Vec::new()
        };
        let mut taken = 0;
        let mut day = current.day;
        for line in lines.iter() {
            let needs = line.text.len() + 1;
            let full = current.len + (bytes.len() + needs) as u64 > most;
            let over = daily && day.is_some_and(|day| line.day > day);
            if day.is_some() && (full || over || bytes.len() >= CHUNK) {
                break;
            }
            bytes.extend_from_slice(line.text.as_bytes());
            bytes.push(b'\n');
            day = Some(day.unwrap_or(line.day).max(line.day));
            taken += 1;
        }
        if let Err(error) = put(current, &bytes) {
            self.current = None;
            return Err(error);
        }
        current.day = day;
        self.done.rows += taken as u64;
        self.done.bytes += bytes.len() as u64;
        lines.drain(..taken);
        if fsync && let Some(current) = &self.current {
            current.file.sync_data()?;
        }
        Ok(())
    }

    /// Now and then: whether the path still leads to the file, and nobody else wrote there.
    fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let Some(current) = &self.current else { return };
        let there = std::fs::symlink_metadata(&self.config.path).ok();
        let same = there.is_some_and(|there| identity(&there) == current.identity && there.len() == current.len);
        if !same {
            self.current = None;
        }
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = self.config.path.clone();
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        if self.config.fsync {
            current.file.sync_data()?;
        }
        let there = std::fs::symlink_metadata(&path).ok();
        if there.map(|there| identity(&there)) != Some(current.identity) {
            // Somebody else has moved it aside already.
            return Ok(());
        }
        let date = names::date(current.day.unwrap_or_default());
        let mut older = names::all(&path)?;
        let last = older
            .iter()
            .filter(|older| older.date == date)
            .map(|older| older.number)
            .max();
        let moved = names::older(&path, &date, last.unwrap_or(0).saturating_add(1));
        std::fs::rename(&path, &moved)?;
        self.done.rotated += 1;
        older = names::all(&path)?;
        let gone = older.len().saturating_sub(self.config.keep);
        for older in &older[..gone] {
            std::fs::remove_file(&older.path)?;
        }
        if self.config.fsync {
            durable_names(&path)?;
        }
        Ok(())
    }

    fn current(&mut self) -> io::Result<&mut Current> {
        if self.current.is_none() {
            let opened = self.open()?;
            self.looked = Instant::now();
            self.current = Some(opened);
        }
        self.current
            .as_mut()
            .ok_or_else(|| io::Error::other("the file was not opened"))
    }

    /// Opens the file; what is not ours is moved out of its way, what is torn is cut off, and a new one gets its heading.
    fn open(&mut self) -> io::Result<Current> {
        for number in 1..=ASIDES {
            let (file, metadata) = open_lines(&self.config.path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("another process writes there"));
                }
                // File systems without locks are written to without.
                Err(TryLockError::Error(error)) => tracing::debug!(%error, "the traffic log is not locked"),
            }
            match self.begins(&file, &metadata)? {
                Begins::Ours => {
                    if let Some(current) = self.repaired(file, &metadata)? {
                        return Ok(current);
                    }
                    self.put_aside(number)?;
                }
                Begins::Torn => {
                    file.set_len(0)?;
                    self.done.repaired += u64::from(metadata.len() > 0);
                    return self.headed(file, &metadata);
                }
                Begins::Otherwise => self.put_aside(number)?,
            }
        }
        Err(io::Error::other("too many files beside it were moved aside"))
    }

    fn begins(&self, file: &File, metadata: &Metadata) -> io::Result<Begins> {
        let want = self.heading.as_bytes();
        let mut first = vec![0; want.len().min(usize::try_from(metadata.len()).unwrap_or(usize::MAX))];
        file.read_exact_at(&mut first, 0)?;
        Ok(if first == want {
            Begins::Ours
        } else if want.starts_with(&first) && first.len() as u64 == metadata.len() {
            Begins::Torn
        } else {
            Begins::Otherwise
        })
    }

    /// Cuts off a last line that is not complete. None where what is not complete is longer than any line of ours.
    fn repaired(&mut self, file: File, metadata: &Metadata) -> io::Result<Option<Current>> {
        let mut len = metadata.len();
        let from = len.saturating_sub(LONGEST).max(self.heading.len() as u64 - 1);
        let mut last = vec![0; usize::try_from(len - from).unwrap_or_default()];
        file.read_exact_at(&mut last, from)?;
        let Some(end) = last.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let kept = from + end as u64 + 1;
        if kept < len {
            tracing::warn!(
                path = %self.config.path.display(), bytes = len - kept, "the traffic log's last line was not complete, and is cut off"
            );
            file.set_len(kept)?;
            self.done.repaired += 1;
            len = kept;
        }
        let has_rows = len > self.heading.len() as u64;
        Ok(Some(Current {
            identity: identity(metadata),
            day: has_rows.then(|| metadata.mtime().div_euclid(86_400)),
            len,
            file,
        }))
    }

    fn headed(&mut self, file: File, metadata: &Metadata) -> io::Result<Current> {
        let mut current = Current {
            identity: identity(metadata),
            day: None,
            len: 0,
            file,
        };
        put(&mut current, self.heading.as_bytes())?;
        self.done.bytes += current.len;
        if self.config.fsync {
            current.file.sync_data()?;
            durable_names(&self.config.path)?;
        }
        Ok(current)
    }

    fn put_aside(&mut self, from: u32) -> io::Result<()> {
        let path = &self.config.path;
        let free = (from..=ASIDES)
            .map(|number| names::aside(path, number))
            .find(|aside| std::fs::symlink_metadata(aside).is_err())
            .ok_or_else(|| io::Error::other("too many files beside it were moved aside"))?;
        std::fs::rename(path, &free)?;
        tracing::warn!(
            path = %path.display(), aside = %free.display(),
            "what stood there is no traffic log of this version, and was moved aside"
        );
        self.done.aside += 1;
        Ok(())
    }
}

/// How a file begins.
enum Begins {
    /// With our heading.
    Ours,
    /// Not yet, or not any more: it is empty, or holds a part of our heading and nothing else.
    Torn,
    /// With something else.
    Otherwise,
}

/// Appends all of it, or nothing. Of a disk that has room for a part only, that part is taken back, unless somebody else
/// wrote behind it; what stays then is cut off when the file is opened next.
fn put(current: &mut Current, bytes: &[u8]) -> io::Result<()> {
    let written = loop {
        match current.file.write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other?,
        }
    };
    if written == bytes.len() {
        current.len += written as u64;
        return Ok(());
    }
    if current.file.metadata()?.len() == current.len + written as u64 {
        current.file.set_len(current.len)?;
    }
    Err(io::ErrorKind::StorageFull.into())
}

/// Waits until names given in the log's directory survive a power cut.
fn durable_names(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}
