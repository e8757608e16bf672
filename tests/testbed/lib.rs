//! The testbed: hosts in network namespaces, real tools, and a running agent.
//!
//! In: root, Debian's tools, the built agent. Out: what tests and the lab see happen.
//! Invariant: traffic stays between namespaces made here and is bounded in time; every process started is bounded and
//! ends with its owner; whatever was made is removed, also after a crash (by the next one). Deliberately elsewhere:
//! what ought to happen (`it`).

pub mod agent;
pub mod bettercap;
pub mod child;
pub mod crowd;
pub mod disk;
pub mod engine;
pub mod forge;
pub mod http;
pub mod interrupt;
pub mod lab;
pub mod machine;
pub mod metrics;
pub mod net;
pub mod proxy;
pub mod pty;
pub mod pypi;
pub mod redis;
pub mod scratch;
pub mod strike;
pub mod tools;
pub mod unpacked;
pub mod wait;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Whether this process may do what it likes.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// The agent's binary: `TESTBED_AGENT`, else the one built beside the running test.
pub fn agent_binary() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("TESTBED_AGENT") {
        return Some(path.into());
    }
    let own = std::env::current_exe().ok()?;
    own.ancestors()
        .skip(1)
        .map(|dir| dir.join("sentinel"))
        .find(|path| path.is_file())
}

/// Says why a test cannot run. Under `cargo xtask test` (which sets `TESTBED_REQUIRE`) that is a failure.
///
/// # Panics
/// In that case.
pub fn skip(why: &str) {
    assert!(std::env::var_os("TESTBED_REQUIRE").is_none(), "cannot run: {why}");
    eprintln!("skipped: {why}");
}

/// The folder builds go to, seen from a test.
///
/// # Errors
/// When the test does not lie in it.
pub fn target() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = own.ancestors().find(|dir| dir.ends_with("target"));
    Ok(target.ok_or("the test does not lie under `target/`")?.to_owned())
}

/// Why real things cannot be faced here, if so. With `TESTBED_REQUIRE` set that is a failure, not a reason to skip.
pub fn obstacle() -> Option<String> {
    if let Ok(reason) = std::env::var("TESTBED_SKIP") {
        return Some(reason);
    }
    if !is_root() {
        return Some("network namespaces need root; `cargo xtask test` sees to it".into());
    }
    if let Some(missing) = tools::obstacle(tools::TOOLS) {
        return Some(missing);
    }
    if agent_binary().is_none() {
        return Some("the agent is not built; `cargo xtask test` builds it".into());
    }
    None
}
