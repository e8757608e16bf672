//! `sentinel run`: the daemon.

use super::Global;
use super::exit::Failure;
use crate::app;
use crate::kernel::{KernelError, probe};

/// Runs the agent until it is told to end.
pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let config = global.load()?;
    let missing = probe::missing_capabilities();
    if !missing.is_empty() {
        // Asked before anything is opened, so that nothing is left half-made.
        return Err(Failure::Privilege(KernelError::Capability { missing: missing.join(", ") }.to_string()));
    }
    let files = global.files();
    tracing::info!(?files, "configuration read");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::run(config)).map_err(|error| {
        let privilege = error.chain().any(|cause| {
            matches!(cause.downcast_ref(), Some(KernelError::Capability { .. }))
        });
        if privilege { Failure::Privilege(format!("{error:#}")) } else { Failure::Runtime(error) }
    })
}
