//! SIGHUP: files that grow are opened anew, for whoever moves them aside (`logrotate`).

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// The signal, and who is told.
pub(super) struct Hangup {
    signal: Signal,
    reopen: watch::Sender<u64>,
}

impl Hangup {
    /// From now on it no longer ends the agent; the receiver counts how often it came.
    pub(super) fn caught() -> std::io::Result<(Self, watch::Receiver<u64>)> {
        let (reopen, told) = watch::channel(0);
        let signal = signal(SignalKind::hangup())?;
        Ok((Self { signal, reopen }, told))
    }

    /// Tells of each, and never ends.
    pub(super) async fn heed(this: Option<Self>) {
        if let Some(mut this) = this {
            while this.signal.recv().await.is_some() {
                tracing::info!("SIGHUP: files are opened anew");
                this.reopen.send_modify(|times| *times += 1);
            }
        }
        std::future::pending::<()>().await;
    }
}
