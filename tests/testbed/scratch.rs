//! Folders for what a run writes. Their names carry the process, so that the next run removes what a killed one left.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// What the names of our folders begin with; the process id follows.
const PREFIX: &str = "stb-";

/// A new folder, gone when it is dropped.
///
/// # Errors
/// When it cannot be made.
pub fn folder() -> std::io::Result<TempDir> {
    let prefix = format!("{PREFIX}{}-", std::process::id());
    tempfile::Builder::new().prefix(&prefix).tempdir()
}

/// Removes the folders of processes that are gone.
pub(crate) fn sweep() {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(owner) else {
            continue;
        };
        // Anybody may make folders of any name there: only what this user made is touched.
        let ours = std::fs::metadata("/proc/self").map(|own| own.uid()).ok();
        let made_by = entry
            .metadata()
            .ok()
            .filter(std::fs::Metadata::is_dir)
            .map(|meta| meta.uid());
        if made_by.is_none() || made_by != ours || Path::new(&format!("/proc/{pid}")).exists() {
            continue;
        }
        // An agent that pins has a BPF file system there.
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(entry.path().join("bpf"))
            .stderr(Stdio::null())
            .status();
        let _ = std::fs::remove_dir_all(entry.path());
    }
}

/// The process that made a folder.
fn owner(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_process_left_goes_and_the_rest_stays() {
        let own = folder().expect("folder");
        // Above the kernel's highest process id (PID_MAX_LIMIT, 2^22).
        let prefix = format!("{PREFIX}4194305-");
        let left = tempfile::Builder::new().prefix(&prefix).tempdir().expect("folder");
        let left = left.keep();
        // Another process may have swept already.
        let _ = std::fs::write(left.join("file"), "x");
        sweep();
        assert!(own.path().is_dir());
        assert!(!left.exists());
    }
}
