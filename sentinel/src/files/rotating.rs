//! A file of lines that is moved aside when it is full.

use std::fs::{DirBuilder, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long nothing is tried after something failed: a full disk is not asked again for each line.
const PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked whether the path still leads to the file that is open.
const LOOK: Duration = Duration::from_secs(1);

/// Why a line is not in its file, and what mends it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {cause}: {mend}; lines are tried again every second", path.display())]
pub struct LineError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    pub cause: String,
    /// What can be done about it.
    pub mend: &'static str,
}

/// The file that is open now.
#[derive(Debug)]
struct Current {
    file: File,
    /// Device and inode.
    identity: (u64, u64),
    /// Bytes in it.
    len: u64,
    /// Its last line lacks its end.
    torn: bool,
}

/// Lines appended to `path`; at `max_bytes` it becomes `path.1`, that one `path.2`, and what was `path.keep` goes.
///
/// A line is written by one call of write(2), whole or not at all as far as the disk lets it; one that was torn by a kill is
/// ended before the next. Symbolic links are not followed and only regular files written to, mode 0640. Whoever moves or
/// removes the file is noticed within a second, or at once after [`RotatingFile::reopen`].
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    max_bytes: u64,
    keep: u32,
    current: Option<Current>,
    looked: Instant,
    /// The last failure and when it was, while nothing has worked since.
    failed: Option<(Instant, LineError)>,
}

impl RotatingFile {
    /// A file that is opened with its first line, so that one that cannot be is an error of that line only.
    pub fn new(path: impl Into<PathBuf>, max_bytes: u64, keep: u32) -> Self {
        Self {
            path: path.into(),
            max_bytes,
            keep,
            current: None,
            looked: Instant::now(),
            failed: None,
        }
    }

    /// The same, opened at once; its directory is made where there is none (mode 0750).
    ///
    /// # Errors
    /// [`LineError`] when it cannot be opened for writing.
    pub fn open(path: impl Into<PathBuf>, max_bytes: u64, keep: u32) -> Result<Self, LineError> {
        let mut file = Self::new(path, max_bytes, keep);
        match file.current().map(drop) {
            Ok(()) => Ok(file),
            Err(error) => Err(file.told(&error)),
        }
    }

    /// Where the lines go.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one line; `line` has no newline at its end (and none inside, or it is several). Blocks as long as the write.
    ///
    /// # Errors
    /// [`LineError`]; the line is then not in the file. For a second after a failure nothing is tried and the same is said.
    pub fn write_line(&mut self, line: &[u8]) -> Result<(), LineError> {
        if let Some((at, error)) = &self.failed
            && at.elapsed() < PAUSE
        {
            return Err(error.clone());
        }
        match self.append(line) {
            Ok(()) => {
                self.failed = None;
                Ok(())
            }
            Err(error) => {
                let told = self.told(&error);
                self.failed = Some((Instant::now(), told.clone()));
                Err(told)
            }
        }
    }

    /// Opens the path anew with the next line, for whoever moved the file aside, and forgets an earlier failure.
    pub fn reopen(&mut self) {
        self.current = None;
        self.failed = None;
    }

    /// Waits until what was written survives a power cut.
    ///
    /// # Errors
    /// [`LineError`]: what was written since the last time may be lost.
    pub fn sync(&mut self) -> Result<(), LineError> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        current.file.sync_data().map_err(|error| self.told(&error))
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.look()?;
        let needs = line.len() as u64 + 1;
        let (max, full) = (self.max_bytes, self.current()?.len);
        if full > 0 && full.saturating_add(needs) > max {
            self.rotate()?;
        }
        let current = self.current()?;
        let mut bytes = Vec::with_capacity(line.len() + 2);
        if current.torn {
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line);
        bytes.push(b'\n');
        let written = loop {
            match current.file.write(&bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if written == bytes.len() {
            current.len += written as u64;
            current.torn = false;
            return Ok(());
        }
        // The disk took a part. It is taken back, unless somebody else wrote behind it.
        let ours = current.file.metadata()?.len() == current.len + written as u64;
        if !ours || current.file.set_len(current.len).is_err() {
            current.len += written as u64;
            current.torn = written > 0;
        }
        Err(io::Error::from(ErrorKind::StorageFull))
    }

    /// Now and then: whether the path still leads to the file, and how long it is, since others may cut it.
    fn look(&mut self) -> io::Result<()> {
        if self.looked.elapsed() < LOOK {
            return Ok(());
        }
        self.looked = Instant::now();
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let there = std::fs::symlink_metadata(&self.path).ok();
        if there.as_ref().map(identity) == Some(current.identity) {
            current.len = current.file.metadata()?.len();
        } else {
            self.current = None;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        if let Some(current) = self.current.take() {
            // Whoever waits for it to be durable asks the next file.
            current.file.sync_data()?;
            let there = std::fs::symlink_metadata(&self.path).ok();
            if there.as_ref().map(identity) != Some(current.identity) {
                // Somebody else has moved it aside already.
                return Ok(());
            }
        }
        for n in (1..self.keep).rev() {
            moved(&self.numbered(n), &self.numbered(n + 1))?;
        }
        if self.keep == 0 {
            std::fs::remove_file(&self.path)
        } else {
            moved(&self.path, &self.numbered(1))
        }
    }

    fn numbered(&self, n: u32) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{n}"));
        name.into()
    }

    fn current(&mut self) -> io::Result<&mut Current> {
        if self.current.is_none() {
            let opened = open(&self.path)?;
            self.looked = Instant::now();
            self.current = Some(opened);
        }
        self.current
            .as_mut()
            .ok_or_else(|| io::Error::other("the file was not opened"))
    }

    fn told(&self, error: &io::Error) -> LineError {
        wrong(&self.path, error)
    }
}

/// What the system said of a file of lines, with the mend.
pub(crate) fn wrong(path: &Path, error: &io::Error) -> LineError {
    LineError {
        path: path.to_owned(),
        cause: error.to_string(),
        mend: match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free space on its disk, or name another path",
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                "let Sentinel write there, or name another path"
            }
            _ => "name the path of a regular file in a directory that Sentinel may write to",
        },
    }
}

/// An older file that is not there need not be moved.
fn moved(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Device and inode.
pub(crate) fn identity(of: &Metadata) -> (u64, u64) {
    (of.dev(), of.ino())
}

/// Opens a file to append to, or makes it, and its directory where there is none (modes 0640 and 0750). Links are not followed.
///
/// # Errors
/// What the system says; and where it is no regular file.
pub(crate) fn open_lines(path: &Path) -> io::Result<(File, Metadata)> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    }
    // Without O_NONBLOCK a pipe nobody reads would hold up its opening. std sets O_CLOEXEC.
    let file = File::options()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => io::Error::other("a symbolic link, which is not followed"),
            _ => error,
        })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((file, metadata))
}

fn open(path: &Path) -> io::Result<Current> {
    let (file, metadata) = open_lines(path)?;
    let mut last = [b'\n'];
    if metadata.len() > 0 {
        file.read_exact_at(&mut last, metadata.len() - 1)?;
    }
    Ok(Current {
        identity: identity(&metadata),
        len: metadata.len(),
        torn: last != [b'\n'],
        file,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn lines_are_appended_and_full_files_move_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log/x.json");
        let mut file = RotatingFile::open(&path, 10, 2).unwrap();
        for line in [
            "one",
            "two",
            "three",
            "four",
            "five",
            "a line longer than a file may be",
            "six",
        ] {
            file.write_line(line.as_bytes()).unwrap();
        }
        file.sync().unwrap();
        let older = |n| dir.path().join(format!("log/x.json.{n}"));
        assert_eq!(text(&path), "six\n");
        assert_eq!(text(&older(1)), "a line longer than a file may be\n");
        assert_eq!(text(&older(2)), "four\nfive\n");
        assert!(!older(3).exists(), "what is older than `keep` goes");
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path) & !0o640, 0);
        assert_eq!(mode(&dir.path().join("log")) & !0o750, 0);
        // Started again, it goes on where it was.
        let mut file = RotatingFile::open(&path, 10, 2).unwrap();
        file.write_line(b"seven").unwrap();
        assert_eq!(text(&path), "six\nseven\n");
        let mut none = RotatingFile::open(dir.path().join("none"), 4, 0).unwrap();
        none.write_line(b"one").unwrap();
        none.write_line(b"two").unwrap();
        assert_eq!(text(none.path()), "two\n");
        assert!(!dir.path().join("none.1").exists());
    }

    #[test]
    fn a_torn_line_is_ended_before_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "whole\nto").unwrap();
        let mut file = RotatingFile::open(&path, 100, 1).unwrap();
        file.write_line(b"next").unwrap();
        file.write_line(b"last").unwrap();
        assert_eq!(text(&path), "whole\nto\nnext\nlast\n");
    }

    #[test]
    fn a_file_that_was_moved_or_removed_or_cut_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let aside = dir.path().join("aside");
        let mut file = RotatingFile::open(&path, 100, 1).unwrap();
        file.write_line(b"1").unwrap();
        std::fs::rename(&path, &aside).unwrap();
        file.write_line(b"2").unwrap();
        assert_eq!(text(&aside), "1\n2\n", "not looked at for each line");
        file.reopen();
        file.write_line(b"3").unwrap();
        assert_eq!(text(&path), "3\n", "at once when told");
        std::fs::remove_file(&path).unwrap();
        let a_second_ago = |file: &mut RotatingFile| file.looked = file.looked.checked_sub(LOOK).unwrap();
        a_second_ago(&mut file);
        file.write_line(b"4").unwrap();
        assert_eq!(text(&path), "4\n", "by itself after a second");
        file.write_line(&[b'x'; 80]).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
        a_second_ago(&mut file);
        file.write_line(&[b'y'; 80]).unwrap();
        assert_eq!(text(&path).len(), 81);
        assert!(!dir.path().join("x.1").exists(), "what was cut is not taken for full");
    }

    #[test]
    fn what_cannot_be_written_is_said_and_tried_again_after_a_pause() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::create_dir(&path).unwrap();
        let error = RotatingFile::open(&path, 100, 1).unwrap_err().to_string();
        assert!(error.contains("x: ") && error.contains("name the path"), "{error}");
        let mut file = RotatingFile::new(&path, 100, 1);
        file.write_line(b"lost").unwrap_err();
        std::fs::remove_dir(&path).unwrap();
        file.write_line(b"lost as well").unwrap_err();
        let (at, _) = file.failed.as_mut().unwrap();
        *at = at.checked_sub(PAUSE).unwrap();
        file.write_line(b"kept").unwrap();
        assert_eq!(text(&path), "kept\n");
    }

    #[test]
    fn neither_links_nor_devices_nor_pipes_are_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        std::fs::write(&victim, "untouched").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (path, word) in [
            (link.as_path(), "symbolic link"),
            (Path::new("/dev/full"), "not a regular file"),
            (pipe.as_path(), "regular file"),
        ] {
            let error = RotatingFile::open(path, 100, 1).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(text(&victim), "untouched");
    }

    #[test]
    fn a_line_the_disk_takes_half_of_is_taken_back() {
        // The limit is the child's own: it writes its lines against RLIMIT_FSIZE, which cuts a write short like a full disk.
        const NAME: &str = "SENTINEL_TEST_SHORT_WRITE";
        if let Ok(path) = std::env::var(NAME) {
            let mut file = RotatingFile::open(&path, 100, 1).unwrap();
            file.write_line(b"1234").unwrap();
            let error = file.write_line(b"56789").unwrap_err();
            assert!(error.mend.contains("free space"), "{error}");
            file.failed = None;
            file.write_line(b"56").unwrap();
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let name = "files::rotating::tests::a_line_the_disk_takes_half_of_is_taken_back";
        let program = std::env::current_exe().unwrap();
        let out = std::process::Command::new("prlimit")
            .arg("--fsize=8")
            .arg(program)
            .args(["--exact", name, "--nocapture"])
            .env(NAME, &path)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(text(&path), "1234\n56\n");
    }
}
