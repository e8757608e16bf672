//! `sentinel run`: the daemon.

use super::Global;
use super::exit::Failure;
use crate::app;
use crate::config::{Hook, Problem};
use crate::kernel::{KernelError, probe};
use anyhow::Error;

/// Runs the agent until it is told to end.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let files = global.files();
    let (config, origins) = global.load_with_origins(&files)?;
    let again = global.clone();
    let read = move || {
        // What was read at the start stays what is read: where it is gone, the next in line or the defaults would hold.
        let files = if files.is_empty() { again.files() } else { files.clone() };
        again.load_with_origins(&files).map_err(|failure| match failure {
            Failure::Config(problems) => problems,
            other => vec![Problem::of_file(files.first(), other.message())],
        })
    };
    let missing = if config.kernel.hook == Hook::Nftables {
        probe::missing_for_nftables()
    } else {
        probe::missing_capabilities()
    };
    if !missing.is_empty() {
        // Asked before anything is opened, so that nothing is left half-made.
        let missing = missing.join(", ");
        return Err(Failure::Privilege(KernelError::Capability { missing }.to_string()));
    }
    tracing::info!(files = ?global.files(), "configuration read");
    let sandbox = app::sandbox(&config, &global.files())?;
    let inner = sandbox.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(move || inner.confine())
        .build()?;
    runtime
        .block_on(app::run(config, origins, Box::new(read), sandbox))
        .map_err(classify)
}

/// A missing privilege has its own exit code.
fn classify(error: Error) -> Failure {
    match error.downcast_ref::<KernelError>() {
        Some(KernelError::Capability { .. }) => Failure::Privilege(format!("{error:#}")),
        _ => Failure::Runtime(error),
    }
}
