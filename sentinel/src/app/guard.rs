//! The one thread that may still attach: it keeps programs in line with the interfaces there are, and takes them down in the
//! end.

use super::rooms::Rooms;
use crate::control::Guard;
use crate::sandbox::Sandbox;
use std::sync::mpsc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The running thread.
pub(super) struct GuardThread {
    close: mpsc::Sender<()>,
    cancel: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl GuardThread {
    /// Begins it. Its end, or a panic in it, is the end of a room.
    pub(super) fn begin(
        rooms: &mut Rooms,
        sandbox: &Sandbox,
        mut guard: Guard,
        watched: Vec<String>,
        cancel: CancellationToken,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (close, closing) = mpsc::channel();
        let (over, ended) = oneshot::channel();
        let (confined, begun) = mpsc::channel::<()>();
        let sandbox = sandbox.clone();
        let over_with = cancel.clone();
        let thread = std::thread::Builder::new().name("guard".into()).spawn(move || {
            sandbox.confine_guard();
            drop(confined);
            // Dropped when this ends in whatever way.
            let over = over;
            runtime.block_on(guard.run(watched, cancel));
            drop(over);
            // An agent that ends without a word has its programs detached by the kernel.
            if closing.recv().is_ok() {
                guard.kernel.detach();
            }
        })?;
        // What became of that is told with the rest.
        let _: Result<(), _> = begun.recv();
        rooms.spawn("guard", async move {
            let _: Result<(), _> = ended.await;
        });
        Ok(Self {
            close,
            cancel: over_with,
            thread: Some(thread),
        })
    }

    /// Has it detach, and waits for that.
    pub(super) fn close(mut self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.end(),
            "the guard panicked; what it attached is detached as the process ends, where it is not pinned"
        );
        Ok(())
    }

    /// Whether it came to its end.
    fn end(&mut self) -> bool {
        self.cancel.cancel();
        let told = self.close.send(());
        let ended = self.thread.take().map(std::thread::JoinHandle::join);
        told.is_ok() && ended.is_some_and(|ended| ended.is_ok())
    }
}

/// A start that fails after it was begun leaves nothing attached.
impl Drop for GuardThread {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.end();
        }
    }
}
