//! Where answers come from: the running agent, else its database.

use super::client::Client;
use super::exit::Failure;
use super::stored::Stored;
use crate::config::Config;
use reqwest::Method;
use serde_json::Value;

/// Something that answers the list and look-up commands.
pub(super) enum Source {
    /// The agent.
    Live(Client),
    /// What it wrote down, while none runs.
    Stored(Stored),
}

impl Source {
    /// The agent of this configuration, else its database, read-only.
    ///
    /// # Errors
    /// [`Failure::NotRunning`] when there is neither; what is wrong with either.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        match Self::live(config) {
            Ok(client) => Ok(Self::Live(client)),
            Err(failure @ Failure::NotRunning(_)) => {
                if !config.store.path.exists() {
                    return Err(failure);
                }
                let stored = Stored::open(&config.store.path)?;
                tracing::warn!(database = %config.store.path.display(), "no agent is running; this is what its database holds");
                Ok(Self::Stored(stored))
            }
            Err(failure) => Err(failure),
        }
    }

    /// The agent; commands that change something need it.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub(super) fn live(config: &Config) -> Result<Client, Failure> {
        Client::connect(&config.api.socket)
    }

    /// Items of a list, up to `limit` (0: all).
    pub(super) fn list(&self, path: &str, query: &[(&str, String)], limit: usize) -> Result<Vec<Value>, Failure> {
        match self {
            Self::Live(client) => client.list(path, query, limit),
            Self::Stored(stored) => stored.list(path, query, limit),
        }
    }

    /// One item.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        match self {
            Self::Live(client) => client.call(Method::GET, path, &[], None),
            Self::Stored(stored) => stored.get(path),
        }
    }
}
