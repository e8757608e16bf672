//! The latest result of each proof, as `docs/guarantees.md` shows them.

use super::record::Record;
use super::table::PROOFS;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = "docs/guarantees.md";
const BEGIN: &str = "<!-- proofs: written by `cargo xtask prove NAME --record` -->";
const END: &str = "<!-- end of proofs -->";

/// Lays the recorded results into the page.
///
/// # Errors
/// When a record or the page cannot be read, or the page has no place for them.
pub(crate) fn write(root: &Path) -> Result<()> {
    let page = root.join(PAGE);
    std::fs::write(&page, filled(root)?).with_context(|| PAGE.to_owned())
}

/// Whether the page shows what is recorded.
///
/// # Errors
/// As [`write`].
pub(crate) fn is_current(root: &Path) -> Result<bool> {
    Ok(std::fs::read_to_string(root.join(PAGE))? == filled(root)?)
}

fn filled(root: &Path) -> Result<String> {
    let text = std::fs::read_to_string(root.join(PAGE)).with_context(|| PAGE.to_owned())?;
    let (before, rest) = text
        .split_once(BEGIN)
        .with_context(|| format!("{PAGE} has no `{BEGIN}`"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{PAGE} has no `{END}`"))?;
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", table(root)?))
}

fn table(root: &Path) -> Result<String> {
    let mut out = String::from("| proof | what was run | figures | when, of what, on what |\n|---|---|---|---|\n");
    for proof in PROOFS {
        let path = root.join("docs/proofs").join(format!("{}.json", proof.name));
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let record: Record = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        writeln!(out, "{}", record.row())?;
    }
    Ok(out)
}
