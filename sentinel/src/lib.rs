//! The agent: rooms in the order data walks. `ARCHITECTURE.md` is the guide.

pub mod bus;
pub mod config;
pub mod kernel;
pub mod respond;
pub mod types;
