//! The agent: rooms in the order data walks. `ARCHITECTURE.md` is the guide.

pub mod api;
pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
pub mod control;
pub mod dataset;
pub mod decide;
pub mod detect;
pub mod export;
pub mod features;
pub mod files;
pub mod flow;
pub mod host;
pub mod intel;
pub mod kernel;
pub mod metrics;
pub mod model;
pub mod replay;
pub mod respond;
pub mod sensor;
pub mod store;
pub mod time;
pub mod tls;
pub mod train;
pub mod types;
