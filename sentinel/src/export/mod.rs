//! What happened, in words other tools understand, written to a file and sent to servers.
//!
//! In: alerts from the store, behind a cursor of each sink; flows that ended, the kernel's hit counters and totals, from
//! the rooms that have them. Out: lines of `eve.json`, documents in Elasticsearch, events in Splunk, as EVE, ECS or OCSF.
//! Invariant: no sink holds up another, nor whoever it is told of; an alert is passed by only once its sink has it or has
//! refused it; what was given up is counted. Nothing from the network reaches a line but numbers and addresses.
//! Deliberately elsewhere: rotation (`files`), durability (`store`), messages for people.

mod board;
pub mod community;
mod drops;
mod ecs;
pub mod eve;
mod event;
mod http;
mod ocsf;
mod outlet;
mod room;
#[cfg(test)]
mod tests;
mod to_elastic;
mod to_file;
mod to_splunk;

pub use event::{Dropped, Happening, Observer, Totals};
pub use room::{Deps, Export, endpoints, open, readers};
