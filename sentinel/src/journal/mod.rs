//! What learn mode has collected so far, on disk: a collection that a restart or a kill interrupts goes on.
//!
//! In: gains of the collector, as they come. Out: one file, and from it the collector as it stood with the last gain.
//! Invariant: what is taken in again is a gain that was written whole, and all before it; a file is taken in as a whole
//! or set aside as a whole. Deliberately elsewhere: what is collected (`detect`), when it is written (`control`).
//!
//! The file is a header (format, feature schema, model, since when; with its SHA-256) and then batches: length, content,
//! and the SHA-256 of the sum before it, the length and the content, so that none can be missing, twice or elsewhere.
//! Integers and floats are little endian. It grows to [`MAX_BYTES`] at most: what does not fit any more is written anew,
//! whole, which takes half of that.

mod error;
mod format;
#[cfg(test)]
mod tests;

pub use error::JournalError;
pub use format::{FORMAT, Header, MAX_BYTES};

use crate::detect::{Collector, Gain};
use crate::files::{self, FileError};
use crate::model::record::{Schema, Sum};
use crate::types::Timestamp;
use format::Read;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Addresses of whoever spoke here are nobody else's business.
const MODE: u32 = 0o600;

/// A collection that goes on.
#[derive(Debug)]
pub struct Resumed {
    /// As it stood.
    pub collector: Collector,
    /// Bytes at the end that were no whole batch, and were cut off.
    pub cut: u64,
}

/// The file, and where in it the next batch goes.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    model: Sum,
    end: Option<End>,
}

/// The file's end: what a batch is chained to.
#[derive(Debug)]
struct End {
    file: File,
    sum: Sum,
    bytes: u64,
    /// Records seen up to here.
    seen: u64,
}

impl Journal {
    /// For a file at `path` and collections of the model with this digest, as trained. Nothing is opened.
    pub const fn new(path: PathBuf, model: Sum) -> Self {
        Self { path, model, end: None }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes an unfinished collection in again; none where there is no file. What stands behind the last whole batch is
    /// cut off.
    ///
    /// # Errors
    /// The file cannot be read, or is of another schema or model, or no journal at all. Then it was set aside, as far as
    /// that was possible, and the error says where.
    pub fn resume(&mut self) -> Result<Option<Resumed>, JournalError> {
        if !self.path.try_exists().map_err(|error| self.failed(error))? {
            return Ok(None);
        }
        let resumed = self.take_in();
        if let Err(error) = &resumed
            && error.is_refusal()
        {
            let aside = self.aside();
            std::fs::rename(&self.path, &aside).map_err(|error| self.failed(error))?;
        }
        resumed.map(Some)
    }

    /// Where a file that is refused goes; an earlier one there makes room.
    pub fn aside(&self) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".refused");
        name.into()
    }

    fn take_in(&mut self) -> Result<Resumed, JournalError> {
        let bytes = files::read(&self.path, MAX_BYTES)?;
        let ours = Header {
            schema: Schema::ours(),
            model: self.model,
            since: Timestamp(0),
        };
        let Read { collector, sum, whole } = format::read(&bytes, &ours).map_err(|flaw| JournalError::Refused {
            path: self.path.clone(),
            aside: self.aside(),
            flaw,
        })?;
        let file = OpenOptions::new()
            .append(true)
            .open(&self.path)
            .and_then(|file| {
                file.set_len(whole)?;
                file.sync_data()?;
                Ok(file)
            })
            .map_err(|error| self.failed(error))?;
        self.end = Some(End {
            file,
            sum,
            bytes: whole,
            seen: collector.counts().0,
        });
        Ok(Resumed {
            collector,
            cut: bytes.len() as u64 - whole,
        })
    }

    /// Whether the next batch has to be the whole collection: nothing stands there yet, something went wrong, or there may
    /// be no room for a batch of any size.
    pub fn needs_whole(&self) -> bool {
        self.end
            .as_ref()
            .is_none_or(|end| end.bytes > MAX_BYTES - format::MAX_BATCH)
    }

    /// Writes a collection anew, whole, in place of whatever stood there.
    ///
    /// # Errors
    /// What the system says; what stood there still stands, and the next batch has to be whole again.
    pub fn begin(&mut self, since: Timestamp, whole: &Gain) -> Result<(), JournalError> {
        self.end = None;
        let header = Header {
            schema: Schema::ours(),
            model: self.model,
            since,
        };
        let (mut bytes, sum) = header.encode();
        let sum = format::append(&mut bytes, &sum, whole);
        let file = files::write_as(&self.path, &bytes, MODE)?;
        self.end = Some(End {
            file,
            sum,
            bytes: bytes.len() as u64,
            seen: whole.seen,
        });
        Ok(())
    }

    /// Adds a batch and waits until it is on disk. One that brings nothing is left out.
    ///
    /// # Errors
    /// What the system says. What was written of it is cut off by whoever reads it; the next batch has to be whole.
    pub fn append(&mut self, gain: &Gain) -> Result<(), JournalError> {
        let Some(mut end) = self.end.take() else {
            return Err(self.failed(std::io::ErrorKind::NotFound.into()));
        };
        if gain.seen == end.seen && gain.accused.is_empty() {
            self.end = Some(end);
            return Ok(());
        }
        let mut bytes = Vec::new();
        end.seen = gain.seen;
        end.sum = format::append(&mut bytes, &end.sum, gain);
        end.bytes += bytes.len() as u64;
        end.file
            .write_all(&bytes)
            .and_then(|()| end.file.sync_data())
            .map_err(|error| self.failed(error))?;
        self.end = Some(end);
        Ok(())
    }

    /// Removes the file: the collection was accepted or let go of.
    ///
    /// # Errors
    /// What the system says, but that there is none.
    pub fn remove(&mut self) -> Result<(), JournalError> {
        self.end = None;
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.failed(error)),
            // A power cut must not bring it back.
            Ok(()) => match self.path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => File::open(parent)
                    .and_then(|directory| directory.sync_all())
                    .map_err(|error| self.failed(error)),
                None => Ok(()),
            },
        }
    }

    fn failed(&self, error: std::io::Error) -> JournalError {
        JournalError::File(FileError {
            path: self.path.clone(),
            error,
        })
    }
}
