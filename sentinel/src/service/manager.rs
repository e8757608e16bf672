//! The words of the protocol. A manager that cannot be reached is said once in a while, and nothing stops for it.

use sd_notify::NotifyState;

/// Everything that protects is there; with how it is.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The end begins.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("Closing.")]);
}

/// The settings are being read anew, or that is over.
pub fn reloading(begins: bool) {
    if !begins {
        tell(&[NotifyState::Ready]);
        return;
    }
    let mut words = vec![NotifyState::Reloading];
    // From systemd 253 on a reload is told with its time.
    words.extend(NotifyState::monotonic_usec_now());
    tell(&words);
}

/// Whether what is printed goes to the journal (systemd.exec(5)).
pub fn logged() -> bool {
    std::env::var_os("JOURNAL_STREAM").is_some()
}

pub(super) fn status(text: &str) {
    tell(&[NotifyState::Status(text)]);
}

pub(super) fn alive() {
    tell(&[NotifyState::Watchdog]);
}

fn tell(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(words) {
        tracing::warn!(%error, "the service manager cannot be told how the agent is");
    }
}
