//! The numbers a model sees of a flow and of who opened it: named, ordered, with units, versioned.
//!
//! In: flow records. Out: vectors in the order of [`schema::FEATURES`]. Invariant: the same code makes them live, in
//! replay and for training; no address and no port is one. Deliberately elsewhere: what a vector means (`model`).

pub mod schema;

pub use schema::{FEATURES, Feature, Group, VERSION, Vector, WIDTH};
