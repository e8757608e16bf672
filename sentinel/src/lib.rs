//! The agent: rooms in the order data walks. `ARCHITECTURE.md` is the guide.

pub mod bus;
pub mod config;
pub mod decide;
pub mod detect;
pub mod export;
pub mod flow;
pub mod replay;
pub mod respond;
pub mod sensor;
pub mod types;
