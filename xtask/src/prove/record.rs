//! A result as it is kept: `docs/proofs/NAME.json`, the latest of each proof.

use super::table::Proof;
use crate::ebpf::root;
use crate::shell;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

/// One figure.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: String,
}

/// The seed, in a row of other things.
pub(super) fn told(seed: Option<u64>) -> String {
    seed.map_or_else(String::new, |seed| format!(", seed {seed}"))
}

/// `NAME = VALUE UNIT`, as a test says it.
impl FromStr for Figure {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = text.split_once(" = ").and_then(|(name, rest)| {
            let (value, unit) = rest.split_once(' ').unwrap_or((rest, ""));
            Some(Self {
                name: name.to_owned(),
                value: value.parse().ok()?,
                unit: unit.to_owned(),
            })
        });
        parsed.with_context(|| format!("no figure (`NAME = VALUE UNIT`): {text}"))
    }
}

/// What was shown, when, of which commit, on which machine.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Record {
    proof: String,
    about: String,
    count: u64,
    unit: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    /// UTC, `YYYY-MM-DD`.
    date: String,
    commit: String,
    machine: String,
    seconds: u64,
    figures: Vec<Figure>,
}

impl Record {
    pub(super) fn new(
        proof: &Proof,
        count: u64,
        seed: u64,
        commit: String,
        took: Duration,
        figures: Vec<Figure>,
    ) -> Result<Self> {
        Ok(Self {
            proof: proof.name.to_owned(),
            about: proof.about.to_owned(),
            count,
            unit: proof.unit.to_owned(),
            seed: proof.draws().then_some(seed),
            date: says("date", &["--utc", "+%F"])?,
            commit,
            machine: machine()?,
            seconds: took.as_secs(),
            figures,
        })
    }

    /// A row of a table in Markdown.
    pub(super) fn row(&self) -> String {
        let figures: Vec<String> = self
            .figures
            .iter()
            .map(|Figure { name, value, unit }| {
                // A count is told whole, anything else as precisely as somebody reads it.
                let value = if value.fract() == 0.0 {
                    format!("{value}")
                } else {
                    format!("{value:.1}")
                };
                format!("{name}: {value} {unit}").trim_end().to_owned()
            })
            .collect();
        let Self {
            proof,
            about,
            count,
            unit,
            seed,
            ..
        } = self;
        format!(
            "| `{proof}` | {about}: {count} {unit}{} | {} | {} |",
            told(*seed),
            figures.join("; "),
            self.provenance()
        )
    }

    /// When, of what, on what, for how long.
    fn provenance(&self) -> String {
        let Self {
            date,
            commit,
            machine,
            seconds,
            ..
        } = self;
        format!("{date}, {commit}, {machine}; {seconds} s")
    }

    /// Writes it beside those of the other proofs.
    pub(super) fn keep(&self) -> Result<PathBuf> {
        let path = root()?.join("docs/proofs").join(format!("{}.json", self.proof));
        std::fs::create_dir_all(path.parent().context("it has a folder")?)?;
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            proof,
            count,
            unit,
            seed,
            ..
        } = self;
        writeln!(f, "{proof} holds: {count} {unit}{}, {}", told(*seed), self.provenance())?;
        for Figure { name, value, unit } in &self.figures {
            writeln!(f, "  {name}: {value} {unit}")?;
        }
        Ok(())
    }
}

/// The commit that is checked out, with `-dirty` where files differ from it.
pub(super) fn commit() -> Result<String> {
    says("git", &["describe", "--always", "--dirty", "--exclude=*"])
}

/// Kernel, processor, cores and memory.
fn machine() -> Result<String> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| path.to_owned());
    let field = |text: &str, name: &str| {
        let mut values = text.lines().filter_map(|line| line.strip_prefix(name)?.split_once(':'));
        values.next().map(|(_, value)| value.trim().to_owned())
    };
    let kernel = read("/proc/sys/kernel/osrelease")?;
    // The release of the kernel, without what whoever built it added.
    let kernel = kernel.trim().split(['-', '+']).next().unwrap_or_default().to_owned();
    let processor = field(&read("/proc/cpuinfo")?, "model name").unwrap_or_else(|| "unknown processor".into());
    let memory = field(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    let cores = std::thread::available_parallelism()?;
    Ok(format!(
        "Linux {kernel}, {cores} cores of {processor}, {} GiB",
        kib.div_ceil(1 << 20)
    ))
}

fn says(program: &str, args: &[&str]) -> Result<String> {
    let told = shell::says(Command::new(program).args(args).current_dir(root()?))?;
    Ok(told.trim().to_owned())
}

/// One nobody chose, of 32 bits.
pub(super) fn any_seed() -> u64 {
    RandomState::new().hash_one(std::process::id()) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_as_it_is_said() -> Result<()> {
        let figure: Figure = "frames a second = 660123.5 1/s".parse()?;
        assert_eq!(
            (figure.name.as_str(), figure.value, figure.unit.as_str()),
            ("frames a second", 660_123.5, "1/s")
        );
        assert_eq!("differences = 0".parse::<Figure>()?.unit, "");
        for wrong in ["differences 0", "differences = none", ""] {
            assert!(wrong.parse::<Figure>().is_err(), "{wrong}");
        }
        Ok(())
    }
}
