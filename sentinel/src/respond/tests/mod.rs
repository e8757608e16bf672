//! The responder against a model of the kernel that fails on demand, and a real database.

mod deeds;
mod looks;
pub(crate) mod rig;
mod terms;
