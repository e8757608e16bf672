//! Whether whoever must answer does, and whether that speaks against a decision about a prefix.
//!
//! In: the probes of the settings, decisions that are provisional, who was heard of. Out: a
//! [`crate::types::Verdict`] for each decision. Invariant: only who answered, or was heard, before speaks against a
//! decision by falling silent; what nobody knows of before must answer; who could not be asked is neither down nor
//! silent, and nothing is confirmed before it was asked. Asking is bounded in number and time, follows no redirect and
//! takes no proxy. Deliberately elsewhere: the loop (`control`), what follows from a verdict (`decide`).

mod ask;
#[cfg(test)]
mod tests;
mod trial;

pub use ask::{Answer, Asker, ProbeError};
pub use trial::{Round, TRIALS, Trials};
