//! A file kept only to be given up: on a full disk it buys room for the records that matter most, even for deletions.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Size of the file, bytes.
const BALLAST: u64 = 1024 * 1024;

/// Made only where at least this many times its size is free.
const SPARE: u64 = 16;

/// The file beside the database.
#[derive(Debug)]
pub(super) struct Ballast {
    path: PathBuf,
}

impl Ballast {
    pub(super) fn beside(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push(".ballast");
        Self { path: path.into() }
    }

    /// Whether it lies ready.
    pub(super) fn ready(&self) -> bool {
        self.path.metadata().is_ok_and(|m| m.len() == BALLAST)
    }

    /// Makes it where there is room to spare; a disk without room is no error.
    pub(super) fn fill(&self) {
        let spare = self
            .path
            .parent()
            .map(|d| if d.as_os_str().is_empty() { Path::new(".") } else { d })
            .and_then(|d| nix::sys::statvfs::statvfs(d).ok())
            .is_some_and(|fs| fs.blocks_available() * fs.fragment_size() >= BALLAST * SPARE);
        if !self.ready() && spare && self.write().is_err() {
            self.give_up();
        }
    }

    fn write(&self) -> std::io::Result<()> {
        // Written, not truncated to size: a hole would hold nothing back.
        let mut file = super::own_file().truncate(true).open(&self.path)?;
        let block = [0x5a; 8 * 1024];
        for _ in 0..BALLAST / block.len() as u64 {
            file.write_all(&block)?;
        }
        file.sync_all()
    }

    /// Deletes it; returns whether that freed anything.
    pub(super) fn give_up(&self) -> bool {
        fs::remove_file(&self.path).is_ok()
    }
}
