//! The tests that face real things: real tools, real services, the real binary, in network namespaces.
//!
//! They need root and Debian's tools; `cargo xtask test` sees to both. Where they cannot run, each says why.

mod access;
mod actions;
mod attacks;
mod bad_input;
mod benign;
mod bettercap;
mod bettercap_ban;
mod canaries;
mod confirm;
mod containers;
mod contract;
mod crowdsec;
mod disk;
mod expiry;
mod export;
mod fleet;
mod guards;
mod hostile;
mod image;
mod intel;
mod kills;
mod learning;
mod life;
mod lifecycle;
mod migrate;
mod nft;
mod notify;
mod operate;
mod package;
mod progress;
mod prometheus;
mod record;
mod reload;
mod scene;
mod simulation;
mod top;
mod traffic;
mod unblock;
mod unit;
