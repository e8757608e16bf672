//! Feeds' lists in the kernel: what of a list goes there, for how long, and what came of it.

use super::sanity::is_guarded;
use super::set::FeedSet;
use super::table::Feed;
use crate::types::{FeedInKernel, Ktime, Protected, Timestamp};
use ipnet::IpNet;
use sha2::{Digest, Sha256};

/// What a list in the kernel is and how long it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListHold {
    /// Its name in the kernel: a UUID (version 8, RFC 9562) in network order, the same for a feed's name everywhere.
    pub id: [u8; 16],
    /// First instant at which the kernel no longer goes by it.
    pub until: Ktime,
    /// Count what would have been dropped, and let it pass.
    pub shadow: bool,
}

/// A list in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListUse {
    /// Its number.
    pub list: u8,
    /// Its name.
    pub id: [u8; 16],
    /// Packets dropped.
    pub dropped: u64,
    /// Packets that would have been.
    pub would_drop: u64,
}

/// Why a list is not in the kernel as it should be; what was there still is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListRefused {
    /// There is no room for all of it. The text names the setting that makes some.
    #[error("{0}")]
    Full(String),
    /// The kernel refused, in its own words.
    #[error("the kernel refused: {0}")]
    Kernel(String),
    /// It was written, and reads otherwise.
    #[error("{wanted} entries were written and {found} are there; a restart of the agent writes them anew")]
    Differs {
        /// Entries that should be there.
        wanted: u64,
        /// Entries that are.
        found: u64,
    },
}

/// What drops packets by whole lists: the kernel's maps.
pub trait ListEnforcer: Send + Sync {
    /// Makes a list what `nets` and `hold` say, at one instant; returns how many entries it then has, read back.
    /// Duplicates and overlaps are fine. May take some milliseconds, and more for a long list.
    ///
    /// # Errors
    /// [`ListRefused`]; the list is then as it was.
    fn put(&self, list: u8, hold: &ListHold, nets: &mut dyn Iterator<Item = IpNet>) -> Result<u64, ListRefused>;

    /// Takes a list out of use with everything on it.
    ///
    /// # Errors
    /// [`ListRefused::Kernel`].
    fn take_off(&self, list: u8) -> Result<(), ListRefused>;

    /// The lists in use.
    ///
    /// # Errors
    /// [`ListRefused::Kernel`].
    fn standing(&self) -> Result<Vec<ListUse>, ListRefused>;
}

/// A feed's name in the kernel.
pub fn list_id(feed: &str) -> [u8; 16] {
    let digest = Sha256::digest(format!("sentinel feed {feed}"));
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    id[6] = id[6] & 0x0f | 0x80;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

/// One feed's list on its way to the kernel.
pub(super) struct Order<'a> {
    pub(super) feed: &'a Feed,
    /// Its number, here and in the kernel.
    pub(super) number: u8,
    pub(super) protected: &'a [Protected],
    pub(super) shadow: bool,
    /// When the kernel stops going by it, by both clocks.
    pub(super) until: (Timestamp, Ktime),
}

/// What of a feed goes to the kernel, and how much does not: what is protected, and what is on too few lists. What is
/// wider than an exception of the operator's goes there, since the kernel asks its allowlist first.
fn worth_dropping(set: &FeedSet, order: &Order<'_>) -> (Vec<IpNet>, u64) {
    let least = order.feed.block_level();
    let mut left_out = 0;
    let nets = set.entries(order.number).filter_map(|(entry, _)| {
        if is_guarded(entry.net, order.protected) || entry.level < least {
            left_out += 1;
            return None;
        }
        Some(entry.net)
    });
    let nets = nets.collect();
    (nets, left_out)
}

/// Puts a feed's list into the kernel. `before` is how it stood there.
pub(super) fn put(kernel: &dyn ListEnforcer, set: &FeedSet, order: &Order<'_>, before: &FeedInKernel) -> FeedInKernel {
    let (nets, left_out) = worth_dropping(set, order);
    let hold = ListHold {
        id: list_id(&order.feed.name),
        until: order.until.1,
        shadow: order.shadow,
    };
    let note = order.feed.note();
    match kernel.put(order.number, &hold, &mut nets.into_iter()) {
        Ok(entries) => FeedInKernel {
            loaded: true,
            simulated: order.shadow,
            entries,
            left_out,
            until: Some(order.until.0),
            error: None,
            note,
            ..before.clone()
        },
        Err(error) => FeedInKernel {
            error: Some(error.to_string()),
            note,
            ..before.clone()
        },
    }
}

/// Takes out of the kernel what of an earlier run is no longer wanted there, among the lists of feeds. Returns how many.
pub(super) fn sweep(kernel: &dyn ListEnforcer, wanted: impl Fn(u8, [u8; 16]) -> bool) -> Result<u64, ListRefused> {
    let mut gone = 0;
    for list in kernel.standing()? {
        if !wanted(list.list, list.id) {
            kernel.take_off(list.list)?;
            gone += 1;
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FEED_NAMES;

    #[test]
    fn every_feed_has_a_name_of_its_own_in_the_kernel_that_is_a_uuid() {
        let ids: std::collections::BTreeSet<_> = FEED_NAMES.map(list_id).into();
        assert_eq!(ids.len(), FEED_NAMES.len());
        for id in ids {
            let id = uuid::Uuid::from_bytes(id);
            assert_eq!((id.get_version_num(), id.get_variant()), (8, uuid::Variant::RFC4122));
        }
        assert_eq!(list_id("cins"), list_id("cins"));
    }
}
