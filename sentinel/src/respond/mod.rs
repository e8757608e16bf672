//! From decision to deed: write-ahead intent, kernel write, read-back, outcome, undo, expiry.
//!
//! In: [`crate::types::Decision`]s to carry out or take back. Out: [`crate::types::Action`]s that say what truly happened.
//! Invariant: nothing is called enforced before the enforcer was read back; this room never chooses.
//! Deliberately elsewhere: choosing (`decide`), the kernel maps (`kernel`), durability (`store`).

mod acting;
mod again;
mod bulk;
mod held;
mod memory;
mod notes;
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
pub use notes::Line;
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

    /// Turns the one switch in front of all entries, limits and lists: off, and they only count. An enforcer that has
    /// none says so, and then nothing was changed.
    ///
    /// # Errors
    /// [`EnforceError::Kernel`] when there is none or it cannot be turned.
    fn set_acting(&mut self, on: bool) -> Result<(), EnforceError> {
        let _ = on;
        Err(no_switch())
    }

    /// How that switch stands, read from where packets meet it.
    ///
    /// # Errors
    /// [`EnforceError::Kernel`] when there is none or it cannot be read.
    fn acting(&self) -> Result<bool, EnforceError> {
        Err(no_switch())
    }

    /// The map that an entry on `target` belongs to, and how many more it can hold; `None` where nobody knows.
    fn room(&self, target: IpNet) -> Option<(&'static str, u64)> {
        let _ = target;
        None
    }

    /// Tells what is about to be put, so that whoever pays by the call can do it in one. Each is put, checked and read
    /// back by itself all the same, and what went wrong here is met there.
    fn put_ahead(&mut self, entries: &[(IpNet, BlockEntry)]) {
        let _ = entries;
    }

    /// The same of what is about to be deleted.
    fn delete_ahead(&mut self, targets: &[IpNet]) {
        let _ = targets;
    }

    /// Whether an entry that is over can stay to watch for a return.
    fn watches(&self) -> bool {
        true
    }

    /// What of an entry cannot be carried out here, and what is done instead, in words that complete "…, because"; `None`
    /// where it is carried out as it says.
    fn shortfall(&self, target: IpNet, entry: &BlockEntry) -> Option<String> {
        let _ = (target, entry);
        None
    }

    /// Who enforces, for outcomes: `xdp (native)`, `replay`.
    fn name(&self) -> String;
}

fn no_switch() -> EnforceError {
    EnforceError::Kernel {
        map: "settings",
        cause: "this way of enforcing has no switch; delete the decisions instead".to_owned(),
    }
}

/// Whichever it is.
impl<E: Enforcer + ?Sized> Enforcer for Box<E> {
    fn put_block(&mut self, target: IpNet, entry: &BlockEntry) -> Result<(), EnforceError> {
        (**self).put_block(target, entry)
    }

    fn get_block(&self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        (**self).get_block(target)
    }

    fn delete_block(&mut self, target: IpNet) -> Result<Option<BlockEntry>, EnforceError> {
        (**self).delete_block(target)
    }

    fn list_blocks(&self) -> Result<Vec<(IpNet, BlockEntry)>, EnforceError> {
        (**self).list_blocks()
    }

    fn put_allow(&mut self, target: IpNet, entry: &AllowEntry) -> Result<(), EnforceError> {
        (**self).put_allow(target, entry)
    }

    fn delete_allow(&mut self, target: IpNet) -> Result<bool, EnforceError> {
        (**self).delete_allow(target)
    }

    fn list_allows(&self) -> Result<Vec<(IpNet, AllowEntry)>, EnforceError> {
        (**self).list_allows()
    }

    fn set_acting(&mut self, on: bool) -> Result<(), EnforceError> {
        (**self).set_acting(on)
    }

    fn acting(&self) -> Result<bool, EnforceError> {
        (**self).acting()
    }

    fn room(&self, target: IpNet) -> Option<(&'static str, u64)> {
        (**self).room(target)
    }

    fn put_ahead(&mut self, entries: &[(IpNet, BlockEntry)]) {
        (**self).put_ahead(entries);
    }

    fn delete_ahead(&mut self, targets: &[IpNet]) {
        (**self).delete_ahead(targets);
    }

    fn watches(&self) -> bool {
        (**self).watches()
    }

    fn shortfall(&self, target: IpNet, entry: &BlockEntry) -> Option<String> {
        (**self).shortfall(target, entry)
    }

    fn name(&self) -> String {
        (**self).name()
    }
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
