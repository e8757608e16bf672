//! Debian packages whose files are wanted and whose scripts are not: they would start services on this machine, or set up
//! its firewall. They are fetched and unpacked under `target/`, once, and nothing of them is installed.

use crate::{child, skip, target};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// For a slow network, once.
const FETCH: Duration = Duration::from_mins(5);

/// The turn of the one test that fetches; apt would refuse another.
static TURN: Mutex<()> = Mutex::new(());

/// The folder with a package's files, as they would lie under `/`.
///
/// # Errors
/// Why it cannot be had, for people.
pub fn package(name: &str) -> Result<PathBuf, String> {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = target()?.join("packages").join(name);
    let files = folder.join("files");
    if files.is_dir() {
        return Ok(files);
    }
    std::fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    if fetch(name, &folder).is_err() {
        // A fresh machine knows of no packages.
        let mut update = Command::new("apt-get");
        update.args(["update", "--quiet"]);
        run(update)?;
        fetch(name, &folder)?;
    }
    let archive = archive(name, &folder).ok_or_else(|| format!("apt-get left no archive of {name}"))?;
    let half = folder.join("half");
    let _ = std::fs::remove_dir_all(&half);
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(archive).arg(&half);
    run(unpack)?;
    std::fs::rename(&half, &files).map_err(|error| error.to_string())?;
    Ok(files)
}

/// The same for a test: `None`, with a word why, where it cannot be had. With `TESTBED_REQUIRE` set that is a failure.
///
/// # Panics
/// In that case.
pub fn package_or_skip(name: &str) -> Option<PathBuf> {
    match package(name) {
        Ok(files) => Some(files),
        Err(why) => {
            skip(&why);
            None
        }
    }
}

fn fetch(name: &str, folder: &Path) -> Result<(), String> {
    let mut fetch = Command::new("apt-get");
    fetch.args(["download", "--quiet", name]).current_dir(folder);
    run(fetch).map_err(|why| format!("the Debian package {name} cannot be fetched: {why}"))
}

fn archive(name: &str, folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?;
    let of_it = |path: &PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
        file.starts_with(&format!("{name}_")) && path.extension().is_some_and(|ending| ending == "deb")
    };
    files.filter_map(|file| Some(file.ok()?.path())).find(of_it)
}

fn run(command: Command) -> Result<(), String> {
    match child::run(command, FETCH) {
        Ok(done) if done.code == 0 => Ok(()),
        Ok(done) => Err(done.output.lines().last().unwrap_or_default().to_owned()),
        Err(error) => Err(format!("{error:#}").lines().next().unwrap_or_default().to_owned()),
    }
}
