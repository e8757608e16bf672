//! Ctrl-C as a wish to end, so that what was made is removed on the way out.

use anyhow::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

static WANTED: AtomicBool = AtomicBool::new(false);

/// Whether the end was asked for.
pub fn wanted() -> bool {
    WANTED.load(Ordering::Relaxed)
}

/// Asks for the end.
pub fn request() {
    WANTED.store(true, Ordering::Relaxed);
}

/// From now on SIGINT, SIGTERM and SIGHUP ask for the end instead of bringing it about.
///
/// # Errors
/// When the handlers cannot be set.
pub fn listen() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut int, mut term, mut hup) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        )
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = int.recv() => {}, _ = term.recv() => {}, _ = hup.recv() => {} }
        });
        request();
    })?;
    Ok(())
}
