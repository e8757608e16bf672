//! What the world outside knows about an address: sources that are asked, feeds that are kept.
//!
//! In: addresses, settings, keys, the store for what must survive a restart. Out: [`Indicator`]s, or why there is none.
//! Invariant: a source is one file that speaks its provider's API and implements [`IntelSource`]; cache, quota, timeout,
//! retry, breaker and single flight are wrappers that implement the same trait, each written once. No key is ever in an
//! error, a log line or an answer; whatever a server says is hostile: bounded in size and time, never followed elsewhere.
//! Deliberately elsewhere: whom to ask about and what it means for an alert (`investigate`), what is done (`decide`).

mod ask;
mod breaker;
mod cache;
mod clock;
mod counted;
mod endpoints;
mod error;
mod keeper;
mod quota;
mod redis;
mod retry;
mod scheduler;
mod shelf;
mod source;
mod special;
mod stack;
#[cfg(test)]
mod tests;
mod timeout;

pub mod clients;
pub mod feeds;
pub mod geo;

pub use ask::{Asked, Intel, Upkeep};
pub use clients::{clients, covers};
pub use clock::WallClock;
pub use endpoints::endpoints;
pub use error::IntelError;
pub use quota::Purse;
pub use scheduler::{Candidate, Choice, Question, choose, price, value};
pub use source::{IntelSource, Profile, QuotaHint, Reply, Ttl, group};
pub use special::special;
