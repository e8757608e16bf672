//! From decision to deed: write-ahead intent, kernel write, read-back, outcome, undo, expiry.
//!
//! In: [`crate::types::Decision`]s to carry out or take back. Out: [`crate::types::Action`]s that say what truly happened.
//! Invariant: nothing is called enforced before the enforcer was read back; this room never chooses.
//! Deliberately elsewhere: choosing (`decide`), the kernel maps (`kernel`), durability (`store`).

mod held;
mod memory;
mod order;
mod probation;
mod responder;
#[cfg(test)]
pub(crate) mod tests;
mod tidings;
mod undo;
mod watch;

pub(crate) use held::entry_of;
pub use held::{HitNews, HitTable};
pub use order::{Cause, Order};
pub use responder::{Deps, Responder};

use ipnet::IpNet;
use sentinel_common::entry::{AllowEntry, BlockEntry};

/// What carries out blocks: the kernel's maps live, a model of them in replay.
pub trait Enforcer: Send {
    /// Writes an entry, keeping the counters of one that is there already.
    ///
    /// # Errors
    /// [`EnforceError`] when the map is full or the write failed; nothing is then changed.
    fn put_block(&mut self, target: IpNet, entry: &BlockEntry) -> Result<(), EnforceError>;

    /// Reads an entry with its counters as they stand; an expired entry is still returned.
    ///
    /// # Errors
    /// [`EnforceError::Kernel`] when the map cannot be read.
    fn get_block(&self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError>;

    /// Removes an entry and returns what it was; `None` if there was none.
    ///
    /// # Errors
    /// [`EnforceError::Kernel`] when the map cannot be written.
    fn delete_block(&mut self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError>;

    /// Every entry.
    ///
    /// # Errors
    /// [`EnforceError::Kernel`] when a map cannot be read.
    fn list_blocks(&self) -> Result<Vec<(IpNet, BlockEntry)>, EnforceError>;

    /// Writes an allow entry.
    ///
    /// # Errors
    /// As [`Enforcer::put_block`].
    fn put_allow(&mut self, target: IpNet, entry: &AllowEntry) -> Result<(), EnforceError>;

    /// Removes an allow entry; returns whether there was one.
    ///
    /// # Errors
    /// [`EnforceError::Kernel`] when the map cannot be written.
    fn delete_allow(&mut self, target: IpNet) -> Result<bool, EnforceError>;

    /// Every allow entry.
    ///
    /// # Errors
    /// [`EnforceError::Kernel`] when a map cannot be read.
    fn list_allows(&self) -> Result<Vec<(IpNet, AllowEntry)>, EnforceError>;

    /// What of an entry cannot be carried out here, and what is done instead, in words that complete "…, because"; `None`
    /// where it is carried out as it says.
    fn shortfall(&self, target: IpNet, entry: &BlockEntry) -> Option<String> {
        let _ = (target, entry);
        None
    }

    /// Who enforces, for outcomes: `xdp (native)`, `replay`.
    fn name(&self) -> String;
}

/// Why an enforcer refused.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnforceError {
    /// The map is at capacity; nothing was evicted for it.
    #[error("{map} is full at {capacity} entries; raise `kernel.block_capacity` or delete decisions")]
    Full {
        /// Map name.
        map: &'static str,
        /// Its capacity.
        capacity: u32,
    },
    /// The kernel refused the call.
    #[error("{map}: {cause}")]
    Kernel {
        /// Map name.
        map: &'static str,
        /// The kernel's words.
        cause: String,
    },
}
