//! What a disk holds, by the same programs a user has: `e2fsck` and `debugfs` for the file system, `sentinel` for the database.

use super::books::{Books, Stand};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Exit codes of e2fsck(8) up to this mean a file system without errors.
const CORRECTED: i32 = 3;
/// The first block of a journal that was not replayed, and the like, is told; so much of it is enough.
const TOLD: usize = 400;

/// Reads disks in a folder of its own.
pub(super) struct Inspector {
    pub(super) agent: PathBuf,
    pub(super) folder: PathBuf,
}

/// A decision, as far as it was promised.
#[derive(Debug)]
struct Kept {
    active: bool,
    reason: String,
    /// There is an action of it that says it was carried out.
    carried_out: bool,
}

impl Inspector {
    /// Everything that was acknowledged and is not as it was acknowledged, or why nothing can be read.
    ///
    /// # Errors
    /// When the tools cannot be run.
    pub(super) fn missing(&self, disk: &[u8], books: &Books) -> Result<Vec<String>> {
        let kept = match self.read(disk)? {
            Ok(kept) => kept,
            Err(why) => return Ok(vec![why]),
        };
        let mut missing = Vec::new();
        for (target, stand, reason) in books.stands() {
            let found = kept.get(&target.parse()?);
            let well = match (stand, found) {
                (Stand::In, Some(kept)) => kept.active && kept.carried_out && kept.reason == reason,
                (Stand::Out, Some(kept)) => !kept.active && kept.reason == reason,
                (Stand::Asked, Some(kept)) => kept.reason == reason,
                (_, None) => false,
            };
            if !well {
                missing.push(format!("{target} ({stand:?}, found {found:?})"));
            }
        }
        Ok(missing)
    }

    /// Decisions by target; the inner error is what is wrong with the disk.
    fn read(&self, disk: &[u8]) -> Result<Result<BTreeMap<IpAddr, Kept>, String>> {
        let image = self.folder.join("image");
        let files = self.folder.join("files");
        std::fs::write(&image, disk)?;
        let _ = std::fs::remove_dir_all(&files);
        std::fs::create_dir(&files)?;
        let checked = run(Command::new(tool("e2fsck")?).arg("-fy").arg(&image))?;
        if checked.status.code().is_none_or(|code| code > CORRECTED) {
            return Ok(Err(format!("the file system is damaged: {}", told(&checked))));
        }
        let out = format!("rdump / {}", files.display());
        run(Command::new(tool("debugfs")?).args(["-R", &out]).arg(&image))?;
        let settings = self.folder.join("settings.yml");
        let all = json!({
            "store": { "path": files.join("sentinel.db") },
            "api": { "socket": self.folder.join("nobody.sock") },
        });
        std::fs::write(&settings, all.to_string())?;
        let ask = |words: &[&str]| -> Result<Result<Value, String>> {
            let mut command = Command::new(&self.agent);
            command.arg("-c").arg(&settings).args(["-o", "json"]).args(words);
            let said = run(command.env("RUST_LOG", "error"))?;
            if !said.status.success() {
                return Ok(Err(format!("`sentinel {}`: {}", words.join(" "), told(&said))));
            }
            Ok(Ok(serde_json::from_slice(&said.stdout)?))
        };
        let verdict = match ask(&["audit", "verify"])? {
            Ok(verdict) => verdict,
            Err(why) => return Ok(Err(why)),
        };
        if verdict["broken"] != Value::Null {
            return Ok(Err(format!("the audit is broken: {verdict}")));
        }
        let lists = [["actions", "list"], ["decisions", "list"]].map(|[noun, verb]| {
            let all = if noun == "decisions" { "--all" } else { "-v" };
            ask(&[noun, verb, "--limit", "0", all])
        });
        let [actions, decisions] = lists;
        let (actions, decisions) = match (actions?, decisions?) {
            (Ok(actions), Ok(decisions)) => (actions, decisions),
            (Err(why), _) | (_, Err(why)) => return Ok(Err(why)),
        };
        let (Value::Array(actions), Value::Array(decisions)) = (actions, decisions) else {
            bail!("`sentinel` does not say lists");
        };
        let done = actions.iter().filter(|action| action["status"] == "enforced");
        let done: BTreeSet<&str> = done.filter_map(|action| action["decision"].as_str()).collect();
        let mut kept = BTreeMap::new();
        for decision in &decisions {
            let text = |key: &str| decision[key].as_str().unwrap_or_default();
            let active = decision["status"] == "active";
            let one = Kept {
                active,
                reason: text("reason").to_owned(),
                carried_out: done.contains(text("id")),
            };
            let (target, _) = text("target").split_once('/').unwrap_or_default();
            kept.insert(target.parse()?, one);
        }
        Ok(Ok(kept))
    }
}

/// An empty file system of this size, bytes.
///
/// # Errors
/// When it cannot be made.
pub(super) fn file_system(folder: &Path, size: u64) -> Result<Vec<u8>> {
    let path = folder.join("empty");
    std::fs::File::create(&path)?.set_len(size)?;
    let made = run(Command::new(tool("mke2fs")?)
        .args(["-q", "-F", "-t", "ext4"])
        .arg(&path))?;
    if !made.status.success() {
        bail!("mke2fs: {}", told(&made));
    }
    Ok(std::fs::read(path)?)
}

fn tool(name: &str) -> Result<PathBuf> {
    testbed::tools::find(name).with_context(|| format!("{name} is not installed"))
}

fn run(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.output().with_context(|| format!("{name} cannot be run"))
}

fn told(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).trim().chars().take(TOLD).collect()
}
