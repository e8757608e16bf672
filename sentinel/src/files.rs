//! Files: read with a bound, written whole or not at all.
//!
//! In: a path, bytes, lines. Out: bytes, or what the system said with the path; how far long reading has come. Invariant: what stood at a path stands there
//! until the new content is durable. Deliberately elsewhere: what the bytes mean.

pub mod rotating;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where long work tells how far it has come: so many bytes, or pieces, more. Whoever makes none of it hands in the default.
#[derive(Clone, Default)]
pub struct Meter(Option<Arc<dyn Fn(u64) + Send + Sync>>);

impl Meter {
    /// Tells `each` of every step. It is called from whichever thread does the work, and often.
    pub fn new(each: impl Fn(u64) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(each)))
    }

    /// So much more is done.
    pub fn add(&self, more: u64) {
        if let Some(each) = &self.0 {
            each(more);
        }
    }
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Meter").field(&self.0.is_some()).finish()
    }
}

/// Bytes read at once where somebody wants to know how far it is: a buffer that takes a whole file tells nothing.
const STEP: usize = 16 * 1024;

/// A reader that tells how many bytes were read.
#[derive(Debug)]
pub struct Metered<R>(pub R, pub Meter);

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let most = if self.1.0.is_some() {
            STEP.min(to.len())
        } else {
            to.len()
        };
        let read = self.0.read(&mut to[..most])?;
        self.1.add(read as u64);
        Ok(read)
    }
}

/// What the system said of a file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub error: std::io::Error,
}

/// This host's name, as the kernel has it.
pub fn host_name() -> String {
    let told = read(Path::new("/proc/sys/kernel/hostname"), 256).unwrap_or_default();
    let name = String::from_utf8_lossy(&told).trim().to_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

/// A file's first `limit` bytes, and one more where it is longer.
///
/// # Errors
/// What the system says.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit + 1).read_to_end(&mut bytes))
        .map_err(|error| FileError {
            path: path.into(),
            error,
        })?;
    Ok(bytes)
}

/// Writes a file beside its place, makes it durable, and only then puts it there.
///
/// # Errors
/// What the system says; the file that stood there still stands.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_as(path, bytes, 0o666).map(drop)
}

/// The same with a mode of its own (as far as the umask leaves it), and the file open behind its last byte.
///
/// # Errors
/// As [`write`].
pub fn write_as(path: &Path, bytes: &[u8], mode: u32) -> Result<File, FileError> {
    let failed = |error| FileError {
        path: path.into(),
        error,
    };
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| failed(std::io::ErrorKind::InvalidFilename.into()))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}", std::process::id()));
    let temporary = directory.join(temporary);
    let written = (|| {
        // What lies there may be a link that somebody else laid: it goes, and is never followed.
        let _ = std::fs::remove_file(&temporary);
        let mut options = File::options();
        let mut file = options
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_NOFOLLOW)
            .mode(mode)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()?;
        Ok(file)
    })();
    written.map_err(|error| {
        let _ = std::fs::remove_file(&temporary);
        failed(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        write(&path, b"one").unwrap();
        write(&path, b"two").unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"two");
        assert_eq!(
            read(&path, 1).unwrap(),
            b"tw",
            "one more than the limit shows that there is more"
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        let error = write(&dir.path().join("none/m"), b"x").unwrap_err().to_string();
        assert!(error.contains("none/m"), "{error}");
    }

    #[test]
    fn a_link_where_the_file_is_prepared_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, victim) = (dir.path().join("m"), dir.path().join("victim"));
        std::fs::write(&victim, "untouched").unwrap();
        let laid = dir.path().join(format!(".m.{}", std::process::id()));
        std::os::unix::fs::symlink(&victim, &laid).unwrap();
        write(&path, b"ours").unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"ours");
        assert!(path.symlink_metadata().unwrap().is_file());
        assert_eq!(read(&victim, 100).unwrap(), b"untouched");
    }
}
