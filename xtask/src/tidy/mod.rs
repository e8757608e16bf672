//! `cargo xtask tidy`: the rules of ARCHITECTURE.md against the code.
//!
//! In: the sources of the workspace. Out: every breach with file and line.
//! Invariant: a rule is a row in [`table`], never an exception in code. Deliberately elsewhere: what clippy knows.

mod promises;
mod source;
mod table;

use anyhow::{Result, bail};
use source::{Source, sources};
use std::path::Path;

/// A file longer than this is two files.
const MAX_LINES: usize = 600;

pub(crate) fn run() -> Result<()> {
    let root = crate::ebpf::root()?;
    let files = sources(&root)?;
    let mut breaches = breaches(&root, &files);
    promises::check(&root, &files, &mut breaches)?;
    if !crate::prove::page::is_current(&root)? {
        breaches.push(
            "docs/guarantees.md: does not show what docs/proofs has; `cargo xtask prove NAME --record` writes both"
                .to_owned(),
        );
    }
    for breach in &breaches {
        println!("{breach}");
    }
    if !breaches.is_empty() {
        bail!("{} breaches of the rules in ARCHITECTURE.md", breaches.len());
    }
    println!("{} files tidy", files.len());
    Ok(())
}

/// Everything that breaks a rule, as `path:line: what`.
fn breaches(root: &Path, files: &[Source]) -> Vec<String> {
    let mut out = Vec::new();
    for file in files {
        sizes(file, &mut out);
        plates(file, &mut out);
        words(file, &mut out);
        imports(file, &mut out);
    }
    for room in table::ROOMS {
        let at = root.join("sentinel/src").join(room.name);
        if !at.is_dir() && !at.with_extension("rs").is_file() {
            out.push(format!("xtask/src/tidy/table.rs: room `{}` does not exist", room.name));
        }
    }
    out
}

fn sizes(file: &Source, out: &mut Vec<String>) {
    if !file.is_test && file.lines.len() > MAX_LINES {
        out.push(format!(
            "{}:{}: longer than {MAX_LINES} lines; make it two files",
            file.path,
            file.lines.len()
        ));
    }
}

/// Each folder and crate opens with what it is for; each room with what comes in, goes out and stays out.
fn plates(file: &Source, out: &mut Vec<String>) {
    if !file.path.ends_with("/mod.rs") && !file.path.ends_with("/lib.rs") && !file.path.ends_with("/main.rs") {
        return;
    }
    let plate: Vec<&str> = file
        .lines
        .iter()
        .map(String::as_str)
        .take_while(|line| line.starts_with("//!"))
        .collect();
    if plate.is_empty() {
        out.push(format!(
            "{}:1: has no door plate (`//!` lines that say what is behind it)",
            file.path
        ));
        return;
    }
    let plate = plate.join(" ");
    let is_room = file
        .path
        .strip_prefix("sentinel/src/")
        .is_some_and(|rest| rest.split('/').count() == 2);
    for word in ["In:", "Out:", "elsewhere"] {
        if is_room && !plate.contains(word) {
            out.push(format!("{}:1: the door plate does not say `{word}`", file.path));
        }
    }
}

fn words(file: &Source, out: &mut Vec<String>) {
    for rule in table::WORDS {
        if !rule.within.iter().any(|dir| file.path.starts_with(dir))
            || rule.except.iter().any(|dir| file.path.starts_with(dir))
        {
            continue;
        }
        for (number, line) in file.code() {
            if rule.any_of.iter().any(|word| source::contains_word(line, word)) {
                out.push(format!("{}:{number}: {}", file.path, rule.why));
            }
        }
    }
}

fn imports(file: &Source, out: &mut Vec<String>) {
    let Some(room) = file.room() else { return };
    let Some(rule) = table::ROOMS.iter().find(|rule| rule.name == room) else {
        if !table::TOP.contains(&room) {
            out.push(format!(
                "{}:1: room `{room}` is missing in xtask/src/tidy/table.rs",
                file.path
            ));
        }
        return;
    };
    for (number, line) in file.code() {
        for used in source::rooms_used(line) {
            if used != room && !rule.knows.contains(&used) {
                out.push(format!("{}:{number}: `{room}` must not know `{used}`", file.path));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, text: &str, expected: &[&str]) {
        let file = Source::new(path.into(), text);
        let mut out = Vec::new();
        sizes(&file, &mut out);
        plates(&file, &mut out);
        words(&file, &mut out);
        imports(&file, &mut out);
        assert_eq!(out, expected, "{path}");
    }

    #[test]
    fn the_workspace_is_tidy() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let files = sources(&root).expect("readable");
        assert!(files.len() > 30, "only {} files found", files.len());
        let breaches = breaches(&root, &files);
        assert!(breaches.is_empty(), "{}", breaches.join("\n"));
    }

    #[test]
    fn breaches_are_found() {
        check(
            "sentinel/src/decide/x.rs",
            "use crate::store::Store;\n",
            &["sentinel/src/decide/x.rs:1: `decide` must not know `store`"],
        );
        check(
            "sentinel/src/decide/x.rs",
            "use crate::{config, api::serve};\n",
            &["sentinel/src/decide/x.rs:1: `decide` must not know `api`"],
        );
        check(
            "sentinel/src/api/x.rs",
            "use aya::Ebpf;\n",
            &["sentinel/src/api/x.rs:1: only `kernel` knows aya"],
        );
        check("sentinel/src/api/x.rs", "// aya::Ebpf\nlet myaya::x = 1;\n", &[]);
        check(
            "sentinel/src/flow/x.rs",
            "let t = Instant::now();\n",
            &[
                "sentinel/src/flow/x.rs:1: types, flow, features, detect, investigate, decide and model read no clock and do no I/O",
            ],
        );
        check(
            "sentinel/src/flow/mod.rs",
            "use std::fmt;\n",
            &["sentinel/src/flow/mod.rs:1: has no door plate (`//!` lines that say what is behind it)"],
        );
        check(
            "sentinel/src/flow/x.rs",
            &"\n".repeat(601),
            &["sentinel/src/flow/x.rs:601: longer than 600 lines; make it two files"],
        );
        check(
            "sentinel/src/flow/x.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n use crate::store::Store;\n}\n",
            &[],
        );
    }
}
