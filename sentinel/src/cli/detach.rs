//! `sentinel detach`: stops the agent and removes what is left in the kernel.

use super::Global;
use super::exit::Failure;
use super::output::{Format, escape_line};
use crate::kernel::{KernelError, detach_leftovers, leftovers, unpin};
use anyhow::anyhow;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::io::ErrorKind;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often the end of the agent is looked for.
const LOOK: Duration = Duration::from_millis(20);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only forget the pinned maps: pinned programs stay in force, by the maps they have, until the next `sentinel run`
    /// has made its own
    #[arg(long)]
    maps: bool,
    /// How long the agent may take to end
    #[arg(long, default_value = "10s", value_parser = super::duration)]
    timeout: Duration,
}

pub(super) fn run(global: &Global, args: &Args) -> Result<(), Failure> {
    let output = global.output();
    let config = global.load()?;
    let agent = listener(&config.api.socket)?;
    if let Some(pid) = agent {
        stop(pid, args.timeout)?;
    }
    let pins = &config.kernel.pin_path;
    let unpinned = unpin(pins, !args.maps).map_err(refused)?;
    let foreign = leftovers(pins).map_err(refused)?.foreign;
    for path in &foreign {
        tracing::warn!(path = %path.display(), "is not ours, and was left alone");
    }
    let cleaned = if args.maps {
        Vec::new()
    } else {
        detach_leftovers().map_err(refused)?
    };
    if output.format() == Format::Json {
        output.json(
            &json!({ "agent": agent.map(Pid::as_raw), "unpinned": unpinned, "cleaned": cleaned, "foreign": foreign }),
        );
        return Ok(());
    }
    match agent {
        Some(pid) => output.line(&format!("The agent (process {pid}) ended.")),
        None => output.line("No agent is running."),
    }
    if unpinned && args.maps {
        output.line(&format!(
            "Forgot the maps pinned under {}; pinned programs stay in force until the next `sentinel run`.",
            pins.display()
        ));
    } else if unpinned {
        output.line(&format!("Removed what was pinned under {}.", pins.display()));
    }
    for path in &foreign {
        output.line(&escape_line(&format!(
            "Left alone, for it is not ours: {}.",
            path.display()
        )));
    }
    if !args.maps && !unpinned && cleaned.is_empty() {
        output.line("Nothing of it is left in the kernel: its programs and blocks ended with it.");
    }
    if !cleaned.is_empty() {
        output.line(&format!(
            "Removed the tc filters of a killed agent from {}.",
            cleaned.join(", ")
        ));
    }
    Ok(())
}

/// What is told of an error: whether root could do it.
fn refused(error: KernelError) -> Failure {
    match &error {
        KernelError::Capability { .. } => Failure::Privilege(error.to_string()),
        KernelError::System { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
            Failure::Privilege(format!("{error}; run this as root"))
        }
        _ => error.into(),
    }
}

/// The process that listens on the agent's socket.
fn listener(socket: &Path) -> Result<Option<Pid>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connected = runtime.block_on(async {
        let stream = tokio::net::UnixStream::connect(socket).await?;
        stream.peer_cred()
    });
    match connected {
        Ok(peer) => Ok(peer.pid().map(Pid::from_raw)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(Failure::Privilege(format!(
            "{}: {error}; run this as root",
            socket.display()
        ))),
        Err(error) => Err(anyhow!(error).context(socket.display().to_string()).into()),
    }
}

fn stop(pid: Pid, patience: Duration) -> Result<(), Failure> {
    match kill(pid, Signal::SIGTERM) {
        Ok(()) => {}
        Err(Errno::ESRCH) => return Ok(()),
        Err(Errno::EPERM) => {
            return Err(Failure::Privilege(format!(
                "process {pid} is not ours to end; run this as root"
            )));
        }
        Err(error) => return Err(anyhow!(error).into()),
    }
    let start = Instant::now();
    while alive(pid) {
        if start.elapsed() > patience {
            return Err(anyhow!("the agent (process {pid}) did not end within {patience:?}; `kill -KILL {pid}` ends it, and nothing of it stays in the kernel").into());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Whether a process still runs; one that only waits for its parent to notice is gone.
fn alive(pid: Pid) -> bool {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    !state.starts_with(['Z', 'X'])
}
