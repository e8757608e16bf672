//! The container engine: who has an address, cutting a container off, and putting it back exactly.
//!
//! In: the engine's socket, a container. Out: [`crate::types::ContainerSet`]s, an [`Undo`] before anything is changed,
//! and what was read back after. Invariant: every call ends in time or is an error that names the mend; each step may be
//! repeated after a crash at any point; nothing is told that was not read back from the engine.
//! Deliberately elsewhere: who is cut off and for how long (`decide`), when it is tried again and what is remembered
//! (`control`).

mod cut;
mod engine;
mod error;
mod find;
mod own;
mod restore;
mod roster;
#[cfg(test)]
mod tests;
mod undo;

pub use cut::{capture, cut};
pub use engine::Engine;
pub use error::ContainerError;
pub use find::{Protection, find};
pub use own::OwnIds;
pub use restore::{Restored, restore};
pub use roster::Roster;
pub use undo::{Endpoint, Undo};
