//! Forwards what the kernel programs log, where they were built with feature `kernel-debug`.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::Log;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the log is read.
const EVERY: Duration = Duration::from_millis(20);

/// The reader of the kernel programs' log lines.
pub struct KernelLog(Option<EbpfLogger<&'static dyn Log>>);

impl KernelLog {
    /// Lines go to `log`, and from there to `tracing`. An object without diagnostics has none.
    pub(super) fn new(ebpf: &mut Ebpf) -> Self {
        // An error means that the bridge is there already.
        let _ = tracing_log::LogTracer::init();
        Self(EbpfLogger::init(ebpf).ok())
    }

    /// Reads until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut timer = tokio::time::interval(EVERY);
        while let Some(log) = &mut self.0 {
            tokio::select! {
                () = cancel.cancelled() => return,
                _ = timer.tick() => log.flush(),
            }
        }
    }
}
