//! Whatever comes from outside, as bytes of a fuzzer's choice.
//!
//! In: bytes. Out: nothing, or a panic that says what does not hold. Invariant: a target calls what the agent calls, and
//! reaches nothing beyond its own folder: no other file, no network, no kernel. Seeds are the repository's own fixtures, and
//! what fuzzing found once (`corpus/NAME`). Deliberately elsewhere: libFuzzer (`src/bin`, feature `libfuzzer`), how long
//! (`cargo xtask fuzz`), and the narrow doors through which rooms are called (`fuzzing` in each).

#[path = "../../sentinel-common/tests/oracle/mod.rs"]
mod oracle;

pub mod parser;

#[cfg(feature = "agent")]
pub mod api;
#[cfg(feature = "agent")]
pub mod bettercap;
#[cfg(feature = "agent")]
pub mod feeds;
#[cfg(feature = "agent")]
pub mod fleet;
#[cfg(feature = "agent")]
pub mod intel;
#[cfg(feature = "agent")]
pub mod migrate;
#[cfg(feature = "agent")]
pub mod netlink;
#[cfg(feature = "agent")]
pub mod pcap;
#[cfg(feature = "agent")]
pub mod ring;
#[cfg(feature = "agent")]
pub mod settings;
#[cfg(all(test, feature = "agent"))]
mod tests;

use std::path::{Path, PathBuf};

/// Something that reads bytes from outside.
#[derive(Debug)]
pub struct Target {
    /// What it is called: of its binary, and of its folder in `corpus`.
    pub name: &'static str,
    /// Reads them; panics where something does not hold.
    pub run: fn(&[u8]),
    /// What it begins with beside its corpus.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// Puts a target's seeds into the folder that `FUZZ_SEEDS` names, before the fuzzer reads them there.
pub fn begin(target: &Target) {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from) else {
        return;
    };
    let written = std::fs::create_dir_all(&folder).and_then(|()| {
        (0..)
            .zip((target.seeds)())
            .try_for_each(|(number, seed)| std::fs::write(folder.join(format!("seed-{number:03}")), seed))
    });
    if let Err(error) = written {
        eprintln!("no seeds in {}: {error}", folder.display());
    }
}

/// A file of the repository's; empty where it cannot be read, which the tests tell.
#[cfg(feature = "agent")]
fn file(path: &str) -> Vec<u8> {
    std::fs::read(root().join(path)).unwrap_or_default()
}

/// Files of a folder of the repository's whose names end so, in order.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.to_string_lossy().ends_with(ending))
        .collect();
    files.sort();
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
