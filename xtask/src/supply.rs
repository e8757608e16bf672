//! What the workspace is made of that others wrote: whether it may be, and the list of it.

use crate::tools::{BILL, DENY};
use crate::{Consent, ebpf, shell};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::process::Command;

/// Licences, sources, bans and duplicates, by `deny.toml`; and known weaknesses, where a database of them is at hand.
///
/// # Errors
/// What is not as it should be.
pub(crate) fn check(consent: Consent) -> Result<()> {
    let deny = DENY.ensure(consent)?;
    shell::step("what we depend on: licences, sources, bans, duplicates");
    // It reads what every platform would build, of which building here fetched this one's. Without a network it may all be
    // there already, which the next step finds out.
    let mut fetch = shell::cargo(["fetch", "--quiet", "--locked"])?;
    if let Err(error) = shell::run(fetch.current_dir(ebpf::root()?)) {
        println!("{error:#}");
    }
    let run = |checks: &[&str]| {
        let mut command = Command::new(&deny);
        command.args(["--offline", "--all-features", "check", "--hide-inclusion-graph"]);
        shell::run(command.args(checks).current_dir(ebpf::root()?))
    };
    run(&["bans", "licenses", "sources"])?;
    if advisories().is_none() {
        println!(
            "skipped: known weaknesses; there is no database of them here (`cargo deny fetch` gets it where its server can be \
             reached)"
        );
        return Ok(());
    }
    run(&["advisories"])
}

/// As [`check`] where the tool is there already: building it takes minutes. Why it was left out, if it was.
///
/// # Errors
/// As [`check`].
pub(crate) fn check_if_there() -> Result<Option<String>> {
    if !DENY.there()? {
        return Ok(Some(format!(
            "licences, sources, bans and duplicates of what we depend on: {} is not there; `cargo xtask lint --yes` builds it",
            DENY.name
        )));
    }
    check(Consent { yes: false })?;
    Ok(None)
}

/// The database of advisories that cargo-deny fetched, if it did.
fn advisories() -> Option<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))?;
    ["advisory-dbs", "advisory-db"]
        .map(|name| home.join(name))
        .into_iter()
        .find(|path| std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()))
}

/// `cargo xtask sbom`: a bill of materials of the agent, CycloneDX 1.5 in JSON.
///
/// # Errors
/// When the tool cannot be had, or fails.
pub(crate) fn bill(consent: Consent) -> Result<PathBuf> {
    let tool = BILL.ensure(consent)?;
    let root = ebpf::root()?;
    let made = root.join("sentinel/sentinel.cdx.json");
    let mut command = Command::new(tool);
    command.args([
        "cyclonedx",
        "--format",
        "json",
        "--spec-version",
        "1.5",
        "--override-filename",
    ]);
    command
        .args(["sentinel.cdx", "--manifest-path"])
        .arg(root.join("sentinel/Cargo.toml"));
    let outcome = shell::run(&mut command);
    let kept = shell::target()?.join("sbom");
    std::fs::create_dir_all(&kept)?;
    let kept = kept.join("sentinel.cdx.json");
    let moved = std::fs::rename(&made, &kept);
    // It writes one for each member of the workspace.
    for member in ["fuzz", "sentinel-common", "sentinel-ebpf", "tests", "xtask"] {
        let _ = std::fs::remove_file(root.join(member).join("sentinel.cdx.json"));
    }
    outcome?;
    moved.with_context(|| made.display().to_string())?;
    // Where it was built is nobody's business.
    let text = std::fs::read_to_string(&kept)?.replace(&root.display().to_string(), "/sentinel");
    std::fs::write(&kept, &text)?;
    let bill: serde_json::Value = serde_json::from_str(&text)?;
    let components = bill["components"].as_array().map_or(0, Vec::len);
    ensure!(components > 0, "{} lists nothing", kept.display());
    println!("{components} components");
    Ok(kept)
}
