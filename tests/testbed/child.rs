//! Other people's processes: bounded in time, their output kept, gone with their owner.

use anyhow::{Context, Result, bail};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often the end of a process is looked for.
const LOOK: Duration = Duration::from_millis(5);

/// A running process in a group of its own.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: std::process::Child,
    output: File,
    status: Option<ExitStatus>,
}

/// What a process left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code, or 128 plus the signal that ended it.
    pub code: i32,
    /// Standard output and standard error as they came.
    pub output: String,
}

impl Child {
    /// Starts `command` in the background.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let output = tempfile::tempfile()?;
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output.try_clone()?)
            .process_group(0);
        let process = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        Ok(Self {
            name,
            process,
            output,
            status: None,
        })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.process.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// When it did not end within `deadline`; it is then killed, and its output is in the error.
    pub fn wait(&mut self, deadline: Duration) -> Result<Finished> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
                return Ok(Finished {
                    code,
                    output: self.output(),
                });
            }
            if crate::interrupt::wanted() {
                self.end();
                bail!("interrupted");
            }
            if start.elapsed() > deadline {
                self.end();
                let output = self.output();
                bail!(
                    "{} ran longer than {:.1} s:\n{output}",
                    self.name,
                    deadline.as_secs_f64()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Sends a signal by number to the process alone.
    ///
    /// # Errors
    /// When `kill` fails.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill")
            .args(["-s", signal, &self.id().to_string()])
            .status()?;
        if !status.success() {
            bail!("cannot send {signal} to {} ({})", self.name, self.id());
        }
        Ok(())
    }

    /// Ends the process and its group at once.
    pub fn end(&mut self) {
        // A group whose leader was reaped could be someone else's by now.
        if matches!(self.ended(), Ok(None)) {
            let group = format!("-{}", self.id());
            let _ = Command::new("kill")
                .args(["-s", "KILL", "--", &group])
                .stderr(Stdio::null())
                .status();
            self.status = self.process.wait().ok();
        }
    }

    /// What it has printed so far.
    pub fn output(&mut self) -> String {
        match printed(&self.output) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) => format!("(output unreadable: {error})"),
        }
    }
}

/// A file from its beginning. Its position is the one that the child writes at, and stays where it is.
fn printed(file: &File) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; 8192];
    loop {
        let read = file.read_at(&mut part, bytes.len() as u64)?;
        if read == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&part[..read]);
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started or takes longer than `deadline`.
pub fn run(command: Command, deadline: Duration) -> Result<Finished> {
    Child::spawn(command)?.wait(deadline)
}

/// Runs a command that must succeed, and returns what it printed.
///
/// # Errors
/// As [`run`], and when it ends with anything but 0.
pub fn must(command: Command, deadline: Duration) -> Result<String> {
    let shown = format!("{command:?}");
    let finished = run(command, deadline)?;
    if finished.code != 0 {
        bail!("{shown} ended with {}:\n{}", finished.code, finished.output.trim());
    }
    Ok(finished.output)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is read while it writes is all of it, in order.
    #[test]
    fn a_child_that_is_read_while_it_prints_loses_nothing() {
        let mut python = Command::new("python3");
        python.args(["-c", "for n in range(100000): print(n, flush=True)"]);
        let mut child = Child::spawn(python).expect("python3");
        while child.ended().expect("the kernel says").is_none() {
            child.output();
        }
        let printed = child.output();
        let mut lines = printed.lines();
        for n in 0..100_000 {
            assert_eq!(lines.next(), Some(n.to_string().as_str()));
        }
        assert_eq!(lines.next(), None);
    }
}
