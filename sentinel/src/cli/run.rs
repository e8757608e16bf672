//! `sentinel run`: the daemon.

use super::Global;
use super::exit::Failure;
use crate::app;
use crate::kernel::KernelError;
use anyhow::Error;

pub(super) fn run(global: &Global) -> Result<(), Failure> {
    let config = global.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::run(config)).map_err(classify)
}

/// A missing privilege has its own exit code.
fn classify(error: Error) -> Failure {
    match error.downcast_ref::<KernelError>() {
        Some(KernelError::Capability { .. } | KernelError::Refused { .. }) => Failure::Privilege(format!("{error:#}")),
        _ => Failure::Runtime(error),
    }
}
