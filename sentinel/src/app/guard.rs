//! The one thread that may still attach: it keeps programs in line with the interfaces there are, and takes them down in the
//! end.

use super::rooms::Rooms;
use crate::control::Guard;
use crate::sandbox::Sandbox;
use std::sync::mpsc;
use tokio::sync::oneshot;

/// The running thread.
pub(super) struct GuardThread {
    close: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl GuardThread {
    /// Begins it. Its end, or a panic in it, is the end of a room.
    pub(super) fn begin(
        rooms: &mut Rooms,
        sandbox: &Sandbox,
        mut guard: Guard,
        watched: Vec<String>,
        cancel: tokio_util::sync::CancellationToken,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (close, closing) = mpsc::channel();
        let (over, ended) = oneshot::channel();
        let sandbox = sandbox.clone();
        let thread = std::thread::Builder::new().name("guard".into()).spawn(move || {
            sandbox.confine_guard();
            // Dropped when this ends in whatever way.
            let over = over;
            runtime.block_on(guard.run(watched, cancel));
            drop(over);
            // An agent that ends without a word has its programs detached by the kernel.
            if closing.recv().is_ok() {
                guard.kernel.detach();
            }
        })?;
        rooms.spawn("guard", async move {
            let _: Result<(), _> = ended.await;
        });
        Ok(Self { close, thread })
    }

    /// Has it detach, and waits for that.
    pub(super) fn close(self) -> anyhow::Result<()> {
        let told = self.close.send(());
        let ended = self.thread.join();
        anyhow::ensure!(
            told.is_ok() && ended.is_ok(),
            "the guard panicked; what it attached is detached as the process ends, where it is not pinned"
        );
        Ok(())
    }
}
