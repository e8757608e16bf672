//! A real Redis in a namespace.

use crate::child::Child;
use crate::net::Host;
use crate::{scratch, wait};
use anyhow::Result;
use std::time::Duration;
use tempfile::TempDir;

/// From start to ready.
const READY: Duration = Duration::from_mins(1);
/// Where it listens.
pub const PORT: u16 = 6379;

/// A Redis of its own, ended with it.
pub struct Redis {
    host: Host,
    password: String,
    folder: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// Starts one that keeps what it was told, and waits until it answers.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(host: &Host, password: &str) -> Result<Self> {
        let mut redis = Self {
            host: host.clone(),
            password: password.to_owned(),
            folder: scratch::folder()?,
            child: None,
        };
        redis.launch()?;
        Ok(redis)
    }

    /// Starts it (again) on what it kept.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn launch(&mut self) -> Result<()> {
        let folder = self.folder.path().display();
        let line = format!(
            "redis-server --bind {} --port {PORT} --requirepass {} --appendonly yes --appendfsync always --dir {folder}",
            self.host.v4, self.password
        );
        self.child = Some(self.host.spawn(&line)?);
        wait::until("Redis to answer", READY, || {
            let pong = self.cli("PING")?;
            Ok(pong.contains("PONG").then_some(()))
        })
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child = None;
    }

    /// As if its disk was lost, too: it knows nothing when it is started again.
    ///
    /// # Errors
    /// When the files cannot be removed.
    pub fn forget(&mut self) -> Result<()> {
        self.kill();
        for entry in std::fs::read_dir(self.folder.path())? {
            let path = entry?.path();
            if path.is_dir() {
                std::fs::remove_dir_all(path)?;
            } else {
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// What `redis-cli` says to a command.
    ///
    /// # Errors
    /// When it cannot be run.
    pub fn cli(&self, command: &str) -> Result<String> {
        let line = format!(
            "redis-cli -h {} -p {PORT} --no-auth-warning -a {} {command}",
            self.host.v4, self.password
        );
        Ok(self.host.run(&line, Duration::from_mins(1))?.output)
    }

    /// Its URL, without the password.
    pub fn url(&self) -> String {
        format!("redis://{}:{PORT}", self.host.v4)
    }
}
