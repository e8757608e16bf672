//! Alert and indicators to one risk, with every summand in sight.
//!
//! In: what local detectors say of an address ([`Local`]), what sources outside say ([`Indicator`](crate::types::Indicator)),
//! how much each of their words counts ([`Weigher`]). Out: a [`Risk`](crate::types::Risk) whose parts sum to it. Pure: takes
//! the time, asks nobody. Invariant: what nobody knows is not benign; a single well does not count twice.
//! Deliberately elsewhere: who is asked (`intel`), what follows (`decide`).

mod fusion;
mod local;
#[cfg(test)]
mod tests;
mod weighed;

pub use fusion::{Weigh, Weigher, risk};
pub use local::{Local, Recent};
pub use weighed::Weighed;
