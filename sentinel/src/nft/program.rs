//! Runs `nft`: one script, one transaction.

use super::NftError;
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Where programs of the administrator's are; `PATH` is not asked.
const PLACES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/local/sbin", "/usr/bin"];
/// How long one transaction may take; thousands of elements take a tenth of a second.
const PATIENCE_MS: u32 = 20_000;
/// How often is looked whether it ended.
const LOOK: Duration = Duration::from_millis(1);
/// Bytes of its complaints that are shown.
const WORDS: usize = 400;

/// Where it is, if it is anywhere.
pub fn program() -> Option<PathBuf> {
    Program::find().ok().map(|program| program.path)
}

/// The program, found once.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
}

impl Program {
    /// Finds it.
    ///
    /// # Errors
    /// [`NftError::NoProgram`].
    pub(super) fn find() -> Result<Self, NftError> {
        PLACES
            .iter()
            .map(|place| Path::new(place).join("nft"))
            .find(|path| path.is_file())
            .map(|path| Self { path })
            .ok_or_else(|| NftError::NoProgram {
                looked: PLACES.join(", "),
            })
    }

    /// Carries a script out, all of it or nothing.
    ///
    /// # Errors
    /// [`NftError::Refused`] with its words; [`NftError::Run`] where it did not run or did not end in time.
    pub(super) fn run(&self, script: &str) -> Result<(), NftError> {
        self.with(&["-f", "-"], script).map(|_| ())
    }

    fn with(&self, args: &[&str], input: &str) -> Result<String, NftError> {
        let failed = |cause: std::io::Error| NftError::Run {
            cause: format!("{}: {cause}", self.path.display()),
        };
        // Files of memory instead of pipes: neither side can make the other wait.
        let mut stdin = memory().map_err(failed)?;
        stdin.write_all(input.as_bytes()).map_err(failed)?;
        stdin.rewind().map_err(failed)?;
        let mut stdout = memory().map_err(failed)?;
        let mut stderr = memory().map_err(failed)?;
        let mut child = Command::new(&self.path)
            .args(args)
            .env_clear()
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout.try_clone().map_err(failed)?))
            .stderr(Stdio::from(stderr.try_clone().map_err(failed)?))
            .spawn()
            .map_err(failed)?;
        let mut looks = 0;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                break status;
            }
            looks += 1;
            if looks > PATIENCE_MS {
                let _ = child.kill();
                let _ = child.wait();
                let cause = format!("it did not end within {} s and was killed", PATIENCE_MS / 1000);
                return Err(NftError::Run { cause });
            }
            std::thread::sleep(LOOK);
        };
        if status.success() {
            return Ok(words(&mut stdout));
        }
        if status.code().is_none() {
            // Whoever killed it may have come after the commit.
            let cause = format!("it was ended: {status}");
            return Err(NftError::Run { cause });
        }
        let said = words(&mut stderr);
        Err(NftError::Refused {
            said: if said.is_empty() { status.to_string() } else { said },
        })
    }
}

/// What `nft --version` says, escaped; for `sentinel doctor`.
///
/// # Errors
/// As for every run of it.
pub fn version() -> Result<String, NftError> {
    Program::find()?.with(&["--version"], "")
}

fn memory() -> std::io::Result<File> {
    Ok(File::from(memfd_create(c"sentinel-nft", MFdFlags::MFD_CLOEXEC)?))
}

/// The beginning of what a program wrote: one line, without anything a terminal would obey.
pub(super) fn words(file: &mut File) -> String {
    let mut bytes = Vec::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(WORDS as u64).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let shown: String = text.trim().chars().flat_map(char::escape_debug).collect();
    shown.replace("\\n", " / ").replace("\\t", " ").replace("\\'", "'")
}
