//! The numbers a model sees of a flow and of who opened it: named, ordered, with units, versioned.
//!
//! In: flow records, each with what the flow table made of it, and the time. Out: [`FeatureRecord`]s: who, when and why
//! now, and a [`Vector`] in the order of [`schema::FEATURES`]. Invariant: the same code makes them live, in replay and
//! for training; no address and no port is a feature; the same records in the same order give the same bytes; memory is
//! bounded (see [`Builder::memory_bound`]) and whatever makes room is counted; no NaN, no infinity; no clock, no I/O.
//! Deliberately elsewhere: who opened a flow (`flow`), what a vector means (`model`), files of them (`dataset`).

mod builder;
mod distinct;
mod limits;
mod owner;
mod pair;
mod piece;
mod record;
pub mod schema;
#[cfg(test)]
#[expect(clippy::float_cmp, reason = "counts and flags are exact")]
mod tests;
#[cfg(test)]
mod tests_windows;
mod trail;
mod vector;
mod windows;

pub use builder::{Builder, FeatureLosses};
pub use limits::Limits;
pub use record::{Cut, FeatureRecord};
pub use schema::{FEATURES, Feature, Group, VERSION, Vector, WIDTH};
