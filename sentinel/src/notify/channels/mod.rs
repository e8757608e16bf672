//! The ways to people, each behind one trait.

mod email;
mod file;
mod http;
mod slack;
mod syslog;
#[cfg(test)]
mod tests;
mod webhook;

use super::Letter;
use crate::config::AlertingConfig;
use crate::types::ChannelKind;
use futures_util::future::BoxFuture;
use std::fmt;
use std::time::Duration;

/// A way to people.
pub trait Channel: Send + Sync + fmt::Debug {
    /// Which.
    fn kind(&self) -> ChannelKind;

    /// Hands a letter over. Resolves when the other side has taken it, within the channel's own timeout. The same letter may be
    /// handed over twice: its identifier tells.
    fn deliver<'a>(&'a self, letter: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>>;
}

/// What is wrong with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The other side cannot take anything now.
    Away,
    /// It will not take anything from us as we are configured.
    Settings,
    /// It does not want this very letter.
    Letter,
}

/// Why a letter was not taken. Neither text repeats a secret or what a server sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{cause}; {mend}")]
pub struct ChannelError {
    /// What is wrong with whom.
    pub fault: Fault,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub mend: String,
    /// The other side asked for this much patience.
    pub after: Option<Duration>,
}

impl ChannelError {
    pub(super) fn new(fault: Fault, cause: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            fault,
            cause: cause.into(),
            mend: mend.into(),
            after: None,
        }
    }

    pub(super) fn away(cause: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Fault::Away, cause, mend)
    }

    pub(super) fn settings(cause: impl Into<String>, mend: impl Into<String>) -> Self {
        Self::new(Fault::Settings, cause, mend)
    }
}

/// Every channel that is configured. One that cannot be built, since a file it needs is gone meanwhile, says so at each try.
pub fn build(config: &AlertingConfig) -> Vec<Box<dyn Channel>> {
    let mut all: Vec<Box<dyn Channel>> = Vec::new();
    for kind in ChannelKind::ALL.into_iter().filter(|kind| config.configured(*kind)) {
        let built: Result<Box<dyn Channel>, ChannelError> = match kind {
            ChannelKind::Email => email::Email::new(&config.email).map(|it| Box::new(it) as _),
            ChannelKind::Slack => slack::Slack::new(config).map(|it| Box::new(it) as _),
            ChannelKind::Webhook => webhook::Webhook::new(config).map(|it| Box::new(it) as _),
            ChannelKind::File => Ok(Box::new(file::JsonLines::new(&config.file)) as _),
            ChannelKind::Syslog => syslog::Syslog::new(&config.syslog).map(|it| Box::new(it) as _),
        };
        all.push(built.unwrap_or_else(|error| Box::new(Unusable { kind, error })));
    }
    all
}

/// A channel that cannot work as it is configured.
#[derive(Debug)]
struct Unusable {
    kind: ChannelKind,
    error: ChannelError,
}

impl Channel for Unusable {
    fn kind(&self) -> ChannelKind {
        self.kind
    }

    fn deliver<'a>(&'a self, _: &'a Letter) -> BoxFuture<'a, Result<(), ChannelError>> {
        Box::pin(async { Err(self.error.clone()) })
    }
}
