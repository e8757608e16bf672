//! How a command fails: the exit code of interfaces.md and the words for it.

use super::output::{Format, Output, escape};
use crate::config::Problem;
use serde_json::json;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Usage or configuration is wrong (`EX_USAGE`, sysexits.h).
pub(super) const USAGE: u8 = 64;
/// A privilege is missing (`EX_NOPERM`, sysexits.h).
pub(super) const PRIVILEGE: u8 = 77;
const RUNTIME: u8 = 1;

/// Why a command did not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// The configuration: every problem. Exit 64.
    Config(Vec<Problem>),
    /// The arguments make no sense. Exit 64.
    Usage(String),
    /// Missing privilege. Exit 77.
    Privilege(String),
    /// Nobody listens on the socket. Exit 1.
    NotRunning(PathBuf),
    /// Already said on stdout (`doctor`). Exit 1.
    Said,
    /// Anything else. Exit 1.
    Runtime(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Runtime(error.into())
    }
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Usage(_) => USAGE,
            Self::Privilege(_) => PRIVILEGE,
            Self::NotRunning(_) | Self::Said | Self::Runtime(_) => RUNTIME,
        }
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Config(problems) => {
                let mut text = String::new();
                for problem in problems {
                    let _ = writeln!(text, "{}", escape(&problem.to_string()));
                }
                let plural = if problems.len() == 1 { "problem" } else { "problems" };
                let _ = write!(text, "the configuration has {} {plural}", problems.len());
                text
            }
            Self::Usage(text) | Self::Privilege(text) => escape(text),
            Self::NotRunning(socket) => format!(
                "the agent is not running: nobody answers on {}; start it with `sentinel run` (as root), \
                 or name its settings with -c",
                escape(&socket.display().to_string())
            ),
            Self::Said => String::new(),
            Self::Runtime(error) => escape(&format!("{error:#}")),
        }
    }

    /// Prints the failure (stderr, or JSON on stdout) and gives the exit code.
    pub(super) fn report(&self, output: &Output) -> ExitCode {
        let message = self.message();
        if output.format() == Format::Json && !matches!(self, Self::Said) {
            let problems = match self {
                Self::Config(problems) => problems.as_slice(),
                _ => &[],
            };
            output.json(&json!({ "error": message, "exit_code": self.code(), "problems": problems }));
        } else if !message.is_empty() {
            eprintln!("{}{message}", output.error_prefix(matches!(self, Self::Config(_))));
        }
        ExitCode::from(self.code())
    }
}
