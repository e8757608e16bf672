//! Running other programs, visibly.

use anyhow::{Context, Result, ensure};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A step, told before it is taken.
pub(crate) fn step(text: &str) {
    eprintln!("\n==> {text}");
}

/// `cargo` of the toolchain that runs us, in the workspace's folder, without the traces of the outer `cargo xtask`.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(crate::ebpf::root()?);
    for (name, _) in std::env::vars_os() {
        // What cargo sets for the package it runs must not look like the user's wish to the inner cargo.
        if name.to_string_lossy().starts_with("CARGO_PKG_")
            || name == "CARGO_MANIFEST_DIR"
            || name == "CARGO_MANIFEST_PATH"
        {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// Runs to the end with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    let status = command.status().with_context(|| format!("`{shown}` cannot be run"))?;
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Whether a program ends well, its output thrown away.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Runs to the end, and gives what it says on its output.
pub(crate) fn says(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let out = command.output().with_context(|| format!("`{shown}` cannot be run"))?;
    ensure!(
        out.status.success(),
        "`{shown}`: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    testbed::is_root()
}

/// That we are root or can become it.
///
/// # Errors
/// When there is no sudo; found before a build of minutes, not after it.
pub(crate) fn can_elevate() -> Result<()> {
    ensure!(
        is_root() || testbed::tools::find("sudo").is_some(),
        "this needs root and there is no sudo here; run it as root (`cargo xtask test --quick` needs neither)"
    );
    Ok(())
}

/// `program` as root: itself where we are root already, else through sudo, which asks for its password.
pub(crate) fn elevated(program: &Path) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command
        .arg("--preserve-env=RUST_LOG,CI,TERM,NO_COLOR")
        .arg("--")
        .arg(program);
    command
}

/// The folder builds go to.
pub(crate) fn target() -> Result<PathBuf> {
    let root = crate::ebpf::root()?;
    Ok(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir)))
}

/// The triple this toolchain builds for.
pub(crate) fn host() -> Result<String> {
    rustc_says("host: ")
}

/// The compiler's version, such as `1.95.0`.
pub(crate) fn rustc_release() -> Result<String> {
    rustc_says("release: ")
}

fn rustc_says(field: &str) -> Result<String> {
    let out = Command::new("rustc")
        .arg("-vV")
        .output()
        .context("rustc cannot be run")?;
    let text = String::from_utf8_lossy(&out.stdout);
    let value = text.lines().find_map(|line| line.strip_prefix(field));
    Ok(value
        .with_context(|| format!("rustc does not tell its {field}"))?
        .to_owned())
}
