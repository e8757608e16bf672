//! Where answers come from: the running agent, else its database.

use super::client::Client;
use super::exit::Failure;
use crate::config::Config;
use reqwest::Method;
use serde_json::Value;

/// Something that answers the list and look-up commands.
pub(super) enum Source {
    /// The agent.
    Live(Client),
}

impl Source {
    /// The agent of this configuration, else its database, read-only.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        Self::live(config).map(Self::Live)
    }

    /// The agent; commands that change something need it.
    pub(super) fn live(config: &Config) -> Result<Client, Failure> {
        Client::connect(&config.api.socket)
    }

    /// Items of a list, up to `limit` (0: all).
    pub(super) fn list(&self, path: &str, query: &[(&str, String)], limit: usize) -> Result<Vec<Value>, Failure> {
        match self {
            Self::Live(client) => client.list(path, query, limit),
        }
    }

    /// One item.
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        match self {
            Self::Live(client) => client.call(Method::GET, path, &[], None),
        }
    }
}
