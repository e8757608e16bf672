//! The gate's near side: loads and attaches the kernel programs, and is the only one to touch their maps.
//!
//! In: [`crate::config::KernelConfig`], block and allow entries. Out: flow records, counters, the [`Enforcer`].
//! Invariant: unless `kernel.pin` is set nothing is pinned and every attachment goes with the process; no capacity is
//! exceeded silently; programs, pins and files of others are never touched.
//! Deliberately elsewhere: what a flow means (`flow`), what is blocked (`decide`), when (`respond`).
//!
//! [`Enforcer`]: crate::respond::Enforcer

mod attach;
mod clsact;
mod cookies;
mod counters;
mod decode;
mod error;
mod fetched;
mod flows;
#[doc(hidden)]
pub mod fuzzing;
mod interface;
mod load;
#[cfg(feature = "kernel-debug")]
mod log;
mod maps;
mod mmap;
mod nat;
mod netlink;
mod occupant;
mod pin;
mod pinned;
pub mod probe;
mod rawmap;
mod reflex;
mod ring;
mod settings;
mod slots;
mod stages;
mod sweep;
mod takeover;
mod tc;
mod tend;
pub mod testrun;
mod undo;
mod xdp;

pub use attach::Attachment;
pub use cookies::{Cookies, Sysctl, diverted, sysctl as syncookies};
pub use counters::Counters;
pub use decode::{DecodeError, Record, decode};
pub use error::KernelError;
pub use load::Kernel;
#[cfg(feature = "kernel-debug")]
pub use log::KernelLog;
pub use maps::{BlockMaps, ListChange, ListError, ListHits, ListId, ListMaps, ListOrder, Listed};
pub use occupant::{Occupant, on_tc, on_xdp};
pub use pin::{Leftovers, in_bpffs, leftovers, unpin};
pub use reflex::{SourceUse, Sources};
pub use ring::RingReader;
pub use sweep::FlowSweep;
pub use tc::detach_leftovers;
pub use tend::{State, Tended};
