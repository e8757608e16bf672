//! What the world outside knows about an address: sources that are asked, feeds that are kept.
//!
//! In: addresses, settings, keys, the store for what must survive a restart. Out: [`Indicator`]s, or why there is none.
//! Invariant: a source is one file that speaks its provider's API and implements [`IntelSource`]; cache, quota, timeout,
//! retry, breaker and single flight are wrappers that implement the same trait, each written once. No key is ever in an
//! error, a log line or an answer; whatever a server says is hostile: bounded in size and time, never followed elsewhere.
//! Deliberately elsewhere: whom to ask about and what it means for an alert (`investigate`), what is done (`decide`).

mod error;
mod source;

pub use error::IntelError;
pub use source::{IntelSource, Profile, QuotaHint, Reply, Ttl};
