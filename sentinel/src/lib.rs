//! The agent: rooms in the order data walks. `ARCHITECTURE.md` is the guide.

pub mod bus;
pub mod cli;
pub mod config;
pub mod metrics;
pub mod respond;
pub mod store;
pub mod types;
