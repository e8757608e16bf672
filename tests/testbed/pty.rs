//! A command on a terminal of its own, through `script` (util-linux): what it draws is read, keys are typed.

use crate::wait;
use anyhow::{Context, Result};
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A running command and its terminal. Dropped, it is killed.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a shell command on a terminal of 80 columns and 24 lines.
    ///
    /// # Errors
    /// When `script` cannot be started.
    pub fn open(line: &str, env: &[(&str, &OsStr)]) -> Result<Self> {
        // What was started in the background ignores Ctrl-C, and hands that down.
        let mut child = Command::new("script")
            .args([
                "-qefc",
                &format!("stty cols 80 rows 24; exec env --default-signal=INT {line}"),
                "/dev/null",
            ])
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(env.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("script")?;
        let keys = child.stdin.take().context("no keyboard")?;
        let mut screen = child.stdout.take().context("no screen")?;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(read @ 1..) = screen.read(&mut chunk) {
                let mut seen = writer.lock().unwrap_or_else(PoisonError::into_inner);
                seen.extend_from_slice(&chunk[..read]);
            }
        });
        Ok(Self { child, keys, seen })
    }

    /// Types.
    ///
    /// # Errors
    /// When the command is gone.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes())?;
        Ok(self.keys.flush()?)
    }

    /// Everything that was written to the terminal, escape sequences and all.
    pub fn raw(&self) -> String {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// The words of it: where the cursor was moved stands a space.
    pub fn words(&self) -> String {
        let raw = self.raw();
        let mut out = String::new();
        let mut chars = raw.chars();
        while let Some(c) = chars.next() {
            if c != '\u{1b}' {
                out.push(c);
                continue;
            }
            if chars.next() == Some('[') {
                let end = chars.find(|c| matches!(c, '@'..='~'));
                if end == Some('H') {
                    out.push(' ');
                }
            }
        }
        out
    }

    /// Forgets what was written so far.
    pub fn forget(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Waits until some words were written.
    ///
    /// # Errors
    /// Not in time; everything that was written is told.
    pub fn until(&self, words: &str, patience: Duration) -> Result<()> {
        wait::until(words, patience, || Ok(self.words().contains(words).then_some(())))
            .with_context(|| format!("on the terminal:\n{}", self.words()))
    }

    /// Waits for the command's end.
    ///
    /// # Errors
    /// Not in time.
    pub fn ended(&mut self, patience: Duration) -> Result<ExitStatus> {
        wait::until("the command to end", patience, || Ok(self.child.try_wait()?))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // With the terminal's other side gone, the command is hung up on.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
