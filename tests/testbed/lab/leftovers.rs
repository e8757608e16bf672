//! Whether anything of ours stayed behind.

use crate::net::namespaces;
use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;

/// Namespaces of this process, and those of `programs` (ids) that are still in the kernel.
pub fn leftovers(programs: &BTreeSet<u64>) -> Vec<String> {
    let own = format!("stb{}x", std::process::id());
    let mut left: Vec<String> = namespaces().into_iter().filter(|name| name.starts_with(&own)).collect();
    let shown = Command::new("bpftool").args(["-j", "prog", "show"]).output();
    let shown: Vec<Value> = shown
        .ok()
        .and_then(|out| serde_json::from_slice(&out.stdout).ok())
        .unwrap_or_default();
    let ours = shown
        .iter()
        .filter(|program| program["id"].as_u64().is_some_and(|id| programs.contains(&id)));
    left.extend(ours.map(|program| format!("program {} (id {})", program["name"], program["id"])));
    left
}
