//! Whether anything of ours stayed behind.

use crate::net::namespaces;
use serde_json::Value;
use std::process::Command;

/// Namespaces of this process, and programs of ours in the kernel that no process holds.
pub fn leftovers() -> Vec<String> {
    let own = format!("stb{}x", std::process::id());
    let mut left: Vec<String> = namespaces().into_iter().filter(|name| name.starts_with(&own)).collect();
    let programs = Command::new("bpftool")
        .args(["-j", "prog", "show"])
        .output()
        .map(|out| out.stdout)
        .unwrap_or_default();
    let programs: Vec<Value> = serde_json::from_slice(&programs).unwrap_or_default();
    for program in programs {
        let name = program["name"].as_str().unwrap_or_default();
        let held = program["pids"].as_array().is_some_and(|pids| !pids.is_empty());
        if name.starts_with("sentinel_") && !held {
            left.push(format!("program {name} (id {})", program["id"]));
        }
    }
    left
}
