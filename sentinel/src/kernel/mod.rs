//! The gate's near side: loads and attaches the kernel programs, and is the only one to touch their maps.
//!
//! In: [`crate::config::KernelConfig`], block and allow entries. Out: flow records, counters, the [`Enforcer`].
//! Invariant: unless `kernel.pin` is set nothing is pinned and every attachment goes with the process; no capacity is
//! exceeded silently.
//! Deliberately elsewhere: what a flow means (`flow`), what is blocked (`decide`), when (`respond`).
//!
//! [`Enforcer`]: crate::respond::Enforcer

mod attach;
mod clsact;
mod counters;
mod decode;
mod error;
mod interface;
mod load;
#[cfg(feature = "kernel-debug")]
mod log;
mod maps;
mod mmap;
mod pin;
pub mod probe;
mod ring;
mod settings;
mod stages;
mod sweep;
mod sys;
pub mod testrun;

pub use attach::{Attachment, detach_leftovers};
pub use counters::Counters;
pub use decode::{DecodeError, Record, decode};
pub use error::KernelError;
pub use load::Kernel;
#[cfg(feature = "kernel-debug")]
pub use log::KernelLog;
pub use maps::{BlockMaps, ListChange, ListError, ListHits, ListId, ListMaps, ListOrder, Listed};
pub use pin::unpin;
pub use ring::RingReader;
pub use sweep::FlowSweep;
