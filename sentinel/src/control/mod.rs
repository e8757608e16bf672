//! The loops that drive the pure rooms: records to alerts, alerts and commands to deeds, counters to a snapshot,
//! interfaces to attachments.
//!
//! In: flow records, host facts, commands. Out: orders to the responder, alerts, stored and told.
//! Invariant: one desk decides and acts, one step after the other, so that what is decided, stored and enforced
//! cannot run apart; host facts are heard before anything is decided.
//! Deliberately elsewhere: every judgement (`flow`, `detect`, `decide`) and every deed (`respond`).

mod analysis;
mod bans;
mod beside;
mod busiest;
mod condition;
mod confirm;
mod counting;
mod desk;
mod enquiries;
mod guard;
mod investigations;
mod isolation;
mod learning;
mod reloading;
mod reporting;
mod retention;
mod sightings;
mod witness;
mod world;

pub use analysis::{Analysis, Gauges};
pub use bans::Bans;
pub use beside::BesideDeps;
pub use condition::follow_store;
pub use confirm::{ConfirmDeps, Confirmations};
pub use counting::{Counting, Losses, Reading};
pub use desk::{Desk, DeskDeps, NewSettings, Renewed};
pub use enquiries::Enquiries;
pub use guard::Guard;
pub use investigations::{Case, Investigations, Sources};
pub use isolation::Isolations;
pub use learning::{Ask, LearnRoom};
pub use reloading::{Hand, Part, Reloading, Reread};
pub use reporting::{ReportDeps, Reporting};
pub use retention::Retention;
pub use sightings::keep_sightings;
pub use witness::{Shadows, Witness};
pub use world::World;
