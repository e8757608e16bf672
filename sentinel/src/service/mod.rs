//! What the service manager is told: that the agent is ready, how it is, that it lives (`sd_notify(3)`).
//!
//! In: signs of life of the rooms without which nothing is protected, and how everything is. Out: datagrams to the socket
//! that `NOTIFY_SOCKET` names; nothing where there is none.
//! Invariant: the watchdog is fed only while each of those rooms came round or answered, never by the clock alone.
//! Deliberately elsewhere: what a room does, and ending the agent, which is the manager's.

mod manager;
mod pulse;
mod room;
mod status;

pub use manager::{logged, ready, reloading, stopping};
pub use pulse::Pulse;
pub use room::{Deps, Service};
