//! From flow records to observations about whoever opened the flow.
//!
//! In: [`sentinel_common::event::FlowRecord`]s of one direction each, which add up, in whatever order they arrive, and
//! the time.
//! Out: [`Observation`]s: initiator to responder, cumulative and since the last record, with the flow's [`Fate`]; on demand
//! the busiest flows and sources.
//! Invariant: a flow's traffic is always accounted to its initiator, never to who merely answers; memory is bounded by
//! `flow.max_flows` and `flow.max_sources` (see [`FlowTable::memory_bound`]); no clock, no I/O, no order of iteration.
//! Deliberately elsewhere: what an observation means (`detect`).

mod accounting;
mod busiest;
mod lru;
mod observation;
mod pace;
mod peers;
mod ring;
mod sources;
mod table;
mod tally;
#[cfg(test)]
mod tests;

pub use accounting::{ModelFlows, Told};
pub use lru::Bounded;
pub use observation::{Cause, Fate, Observation, Stealth};
pub use peers::History;
pub use ring::Ring;
pub use sources::SourceWindow;
pub use table::{FlowLosses, FlowTable};
pub use tally::Tally;
