//! The agent: rooms in the order data walks. `ARCHITECTURE.md` is the guide.

pub mod bus;
pub mod cli;
pub mod config;
pub mod respond;
pub mod types;
