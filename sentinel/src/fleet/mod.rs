//! Several sentinels as one: what one decided, took back or allowed, all do.
//!
//! In: what changed in this node's books (`store` notes it with the change), words of other nodes from a Redis. Out: signed
//! words into the Redis, orders to the desk, alerts into a stream for dashboards, how the fleet is.
//! Invariant: the greatest version of a word on a subject holds on every node, whatever order words come in, however often;
//! a word is followed only if it was signed with this fleet's key, and only within `fleet.accept` and this node's guards; what
//! was not told or heard while the Redis was away is told and heard when it is back. Nothing here is waited for by the
//! detection, the decision or the block of this node.
//! Deliberately elsewhere: guards and what is in force (`decide`, by way of `control/desk`), the shared cache of intelligence
//! (`intel/redis`).

mod accept;
mod clocks;
#[doc(hidden)]
pub mod fuzzing;
mod hear;
mod link;
mod open;
mod presence;
mod room;
mod share;
mod tell;
#[cfg(test)]
mod tests;
mod word;

pub use open::{Deps, open, probe};
pub use room::{Fleet, READER};
