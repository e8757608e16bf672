//! The Debian package: what is laid out for it, and cargo-deb, which packs it.
//!
//! `target/package` holds every file that no source file is: the agent, the settings with the paths and defaults of an
//! installed host, manual pages, completions. What goes where stands in `sentinel/Cargo.toml`.

use crate::tools::PACKER;
use crate::{Consent, ebpf, run, shell};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What of `config/settings.yml` is otherwise where the package is installed. Each must be found once.
const INSTALLED: &[(&str, &str)] = &[
    ("  pin: false  ", "  pin: true   "),
    ("data/site.model", "/var/lib/sentinel/site.model"),
    ("data/feeds ", "/var/lib/sentinel/feeds "),
    ("data/alerts.jsonl", "/var/log/sentinel/alerts.jsonl"),
    ("data/sentinel.db", "/var/lib/sentinel/sentinel.db"),
    ("data/reports", "/var/lib/sentinel/reports"),
    ("data/sentinel.sock", "/run/sentinel/sentinel.sock"),
    ("socket_group: \"\"", "socket_group: sentinel"),
    ("data/eve.json", "/var/log/sentinel/eve.json"),
    ("data/traffic_log.csv", "/var/log/sentinel/traffic_log.csv"),
];

/// Builds the package; returns where it is. `binary`: an agent that is built already.
pub(crate) fn build(consent: Consent, binary: Option<PathBuf>, out: Option<PathBuf>) -> Result<PathBuf> {
    let packer = PACKER.ensure(consent)?;
    let agent = match binary {
        Some(agent) => agent,
        None => run::build_to_ship(consent)?,
    };
    let root = ebpf::root()?;
    lay_out(&root, &agent)?;
    shell::step("package");
    let out = out.unwrap_or(root.join("target/debian"));
    fs::create_dir_all(&out)?;
    let mut command = Command::new(&packer);
    // The agent is stripped; packing it tightly would take minutes for a debug build.
    let quick = agent.components().any(|part| part.as_os_str() == "debug");
    command
        .args(["--no-build", "--package", "sentinel", "--output"])
        .arg(&out);
    command.args(quick.then_some("--fast")).current_dir(&root);
    let told = command
        .output()
        .with_context(|| format!("{} cannot be run", packer.display()))?;
    let errors = String::from_utf8_lossy(&told.stderr);
    ensure!(told.status.success(), "{} failed: {errors}", PACKER.name);
    let path = PathBuf::from(String::from_utf8_lossy(&told.stdout).trim());
    ensure!(path.is_file(), "{} told of no package: {errors}", PACKER.name);
    Ok(path)
}

/// Everything that is made for the package, under `target/package`.
fn lay_out(root: &Path, agent: &Path) -> Result<()> {
    let stage = root.join("target/package");
    if stage.exists() {
        fs::remove_dir_all(&stage)?;
    }
    let man = stage.join("man");
    fs::create_dir_all(&man)?;
    let there = stage.join("sentinel");
    fs::copy(agent, &there).with_context(|| format!("{} is not there: `cargo build` makes it", agent.display()))?;
    shell::run(Command::new("strip").arg(&there))?;
    shell::run(Command::new(&there).arg("man").arg(&man))?;
    for (shell, name) in [
        ("bash", "sentinel.bash"),
        ("zsh", "_sentinel"),
        ("fish", "sentinel.fish"),
    ] {
        let script = Command::new(&there).args(["completions", shell]).output()?;
        ensure!(script.status.success(), "no completions for {shell}");
        fs::write(stage.join(name), script.stdout)?;
    }
    let settings = fs::read_to_string(root.join("config/settings.yml"))?;
    fs::write(stage.join("settings.yml"), installed(&settings)?)?;
    // What is made must be right: a package with settings that its own agent refuses is none.
    shell::run(
        Command::new(&there)
            .arg("check")
            .arg("-c")
            .arg(stage.join("settings.yml")),
    )?;
    Ok(())
}

/// The settings of an installed host.
fn installed(settings: &str) -> Result<String> {
    let mut text = settings.to_owned();
    for (here, there) in INSTALLED {
        let found = text.matches(here).count();
        ensure!(
            found == 1,
            "config/settings.yml has `{here}` {found} times; mend the table in xtask/src/deb.rs"
        );
        text = text.replace(here, there);
    }
    if let Some(line) = text.lines().find(|line| line.contains(" data/")) {
        bail!("config/settings.yml names a path that has no place when installed: {line}");
    }
    Ok(text)
}

/// For the tests. Without it the package's own test says that it cannot run; the others do.
pub(crate) fn packer_or_not(consent: Consent) {
    if let Err(error) = PACKER.ensure(consent) {
        println!("without {} no package is built: {error:#}", PACKER.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_has_its_place_when_installed() {
        let root = ebpf::root().expect("the checkout");
        let settings = fs::read_to_string(root.join("config/settings.yml")).expect("settings");
        let text = installed(&settings).expect("each is found once");
        assert_eq!(text.lines().count(), settings.lines().count());
        for path in [
            "/var/lib/sentinel/sentinel.db",
            "/run/sentinel/sentinel.sock",
            "/sys/fs/bpf/sentinel",
        ] {
            assert!(text.contains(path), "{path}");
        }
        assert!(text.contains("\nmode: simulation\nenable_production_actions: false\n"));
        assert!(installed(&settings.replace("data/eve.json", "data/other.json")).is_err());
        let more = format!("{settings}\n  path: data/new.db\n");
        assert!(installed(&more).is_err(), "a path that the table does not know");
    }
}
