//! Ends and hinders a process at a system call: strace injects the signal, the error or the delay.
//!
//! Calls are counted by thread, as strace does it; a signal comes on the way into the call, which is then not carried out.

use crate::child::Child;
use crate::wait;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Until strace holds every thread.
const ATTACH: Duration = Duration::from_mins(1);

/// What befalls a process.
#[derive(Clone, Debug)]
pub struct Strike {
    /// The system call, as strace names it.
    pub call: &'static str,
    /// What is injected: `signal=SIGKILL`, `error=ENOSPC`, `delay_enter=100ms`.
    pub what: &'static str,
    /// At which of a thread's calls, the first being 1.
    pub nth: u32,
    /// At every later one too.
    pub on: bool,
}

impl Strike {
    fn arguments(&self, told: &Path) -> Vec<String> {
        let Self { call, what, nth, on } = self;
        let (more, told) = (if *on { "+" } else { "" }, told.display().to_string());
        let fixed = ["-f", "-qq", "-o", &told, "-e"].map(str::to_owned);
        let chosen = [
            format!("trace={call}"),
            "-e".to_owned(),
            format!("inject={call}:{what}:when={nth}{more}"),
        ];
        fixed.into_iter().chain(chosen).collect()
    }

    /// What goes before the command line of a process to be struck from its start on; the process keeps its id.
    pub fn prefix(&self) -> Vec<String> {
        self.prefix_telling(Path::new("/dev/null"))
    }

    /// The same, with the calls told in a file; [`Strike::fell`] reads it.
    pub fn prefix_telling(&self, told: &Path) -> Vec<String> {
        // Without --seccomp-bpf: a signal that is injected at its stops gets lost.
        let first = ["strace", "-D"].map(str::to_owned);
        first.into_iter().chain(self.arguments(told)).collect()
    }

    /// Whether the process came to where it was to be struck.
    ///
    /// # Errors
    /// When nothing was told.
    pub fn fell(told: &Path) -> Result<bool> {
        let told = std::fs::read(told).with_context(|| told.display().to_string())?;
        Ok(String::from_utf8_lossy(&told).contains("(INJECTED)"))
    }

    /// Lies in wait for a running process, every thread of it. Dropped, it lets go.
    ///
    /// # Errors
    /// When strace cannot be started or does not get hold of it.
    pub fn attach(&self, pid: u32) -> Result<Attached> {
        let mut command = Command::new("strace");
        command
            .args(self.arguments(Path::new("/dev/null")))
            .arg("-p")
            .arg(pid.to_string());
        let mut attached = Attached(Child::spawn(command)?);
        wait::until("strace to hold every thread", ATTACH, || {
            if attached.0.ended()?.is_some() {
                bail!("strace ended: {}", attached.0.output());
            }
            Ok(held(pid)?.then_some(()))
        })?;
        Ok(attached)
    }
}

/// strace, holding a process.
pub struct Attached(Child);

impl Drop for Attached {
    fn drop(&mut self) {
        // Asked to, it lets go first; killed, it would leave a thread stopped where it stands.
        if self.0.signal("TERM").is_ok() {
            let _ = self.0.wait(ATTACH);
        }
    }
}

/// Whether every thread of a process has a tracer.
fn held(pid: u32) -> Result<bool> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that ended meanwhile needs none.
        let status = std::fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        if tracer
            .context("a process without a status")
            .is_ok_and(|pid| pid.trim() == "0")
        {
            return Ok(false);
        }
    }
    Ok(true)
}
