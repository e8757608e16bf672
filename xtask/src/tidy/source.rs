//! Source files, and the few things tidy needs to see in them.

use anyhow::{Context, Result};
use std::path::Path;

/// Folders of the workspace with Rust in them.
const ROOTS: &[&str] = &["fuzz", "sentinel-common", "sentinel-ebpf", "sentinel", "tests", "xtask"];

/// One file.
pub(super) struct Source {
    /// From the workspace's folder, with slashes.
    pub(super) path: String,
    pub(super) lines: Vec<String>,
    /// Tests and benchmarks as a whole.
    pub(super) is_test: bool,
}

impl Source {
    pub(super) fn new(path: String, text: &str) -> Self {
        let is_test = path.ends_with("/tests.rs")
            || path.ends_with("/testing.rs")
            || path.contains("/tests/")
            || path.contains("/benches/")
            || path.starts_with("tests/it/");
        Self {
            path,
            lines: text.lines().map(str::to_owned).collect(),
            is_test,
        }
    }

    /// The room of the agent it belongs to, by folder or by its own name.
    pub(super) fn room(&self) -> Option<&str> {
        let rest = self.path.strip_prefix("sentinel/src/")?;
        Some(rest.split('/').next()?.trim_end_matches(".rs"))
    }

    /// Numbered lines that run outside tests: no comments, nothing from the `#[cfg(test)]` module on.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.lines.windows(2).position(|pair| {
            pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod ") && pair[1].ends_with('{')
        });
        let end = if self.is_test {
            0
        } else {
            tests.unwrap_or(self.lines.len())
        };
        let numbered = self.lines[..end]
            .iter()
            .enumerate()
            .map(|(index, line)| (index + 1, line.as_str()));
        numbered.filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Whether `word` stands in `line` and is not the tail of a longer name.
pub(super) fn contains_word(line: &str, word: &str) -> bool {
    let part_of_name = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let after = line[at + word.len()..].chars().next();
        !part_of_name(line[..at].chars().next_back())
            && (!word.ends_with(char::is_alphanumeric) || !part_of_name(after))
    })
}

/// The rooms a line names: after `crate::`, and in the braces right behind it.
pub(super) fn rooms_used(line: &str) -> Vec<&str> {
    let name = |text: &str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(text.len())
    };
    let mut out = Vec::new();
    for (at, word) in line.match_indices("crate::") {
        let rest = &line[at + word.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                // Names at the first level only: inside a nested brace they are items of a room already named.
                let mut depth = 0;
                for part in list.split_inclusive([',', '{', '}']) {
                    let item = part.trim_start();
                    if depth == 0 && item.starts_with(|c: char| c.is_lowercase()) {
                        out.push(&item[..name(item)]);
                    }
                    depth += match part.chars().next_back() {
                        Some('{') => 1,
                        Some('}') => -1,
                        _ => 0,
                    };
                    if depth < 0 {
                        break;
                    }
                }
            }
            None if rest.starts_with(|c: char| c.is_lowercase()) => out.push(&rest[..name(rest)]),
            None => {}
        }
    }
    out
}

/// Every Rust file of the workspace.
pub(super) fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut out = Vec::new();
    for dir in ROOTS {
        walk(root, &root.join(dir), &mut out)?;
    }
    out.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(out)
}

fn walk(root: &Path, dir: &Path, out: &mut Vec<Source>) -> Result<()> {
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            if path.file_name() != Some("target".as_ref()) {
                walk(root, &path, out)?;
            }
        } else if path.extension() == Some("rs".as_ref()) {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            out.push(Source::new(name, &text));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms() {
        for (line, expected) in [
            ("use crate::types::{Alert, Decision};", vec!["types"]),
            ("use crate::{api::{self, x}, config, Consent};", vec!["api", "config"]),
            ("    crate::time::wall_now()", vec!["time"]),
            ("pub(crate) fn x() {}", vec![]),
        ] {
            assert_eq!(rooms_used(line), expected, "{line}");
        }
    }
}
