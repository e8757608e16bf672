//! Lists of bad addresses that others keep: fetched, checked, matched, and handed to the kernel where that is asked for.
//!
//! In: settings, what is protected, the providers' servers. Out: [`Feeds`], asked by whoever looks into an address, and
//! [`ListEnforcer`], through which lists reach the kernel. Invariant: a list is believed whole or not at all; what was
//! believed stays until better comes or its time is over, and a provider is never asked more often than it allows, over
//! restarts too. Deliberately elsewhere: what an entry is worth beside other evidence (`investigate`), the maps (`kernel`).
//!
//! [`table`] what there is · [`fetch`] from server to file · [`lapi`] from a local API of CrowdSec to file · [`parse`] from file to entries · [`sanity`] whether they are
//! believed · [`protect`] what of them counts beside what is protected · [`set`] all entries, ready to be matched · [`disk`] over restarts · [`schedule`] when · [`block`] and
//! [`handover`] into the kernel · [`slot`] one feed as it stands · [`room`] drives them.

mod block;
mod disk;
mod fetch;
#[doc(hidden)]
pub mod fuzzing;
mod handover;
mod lapi;
mod parse;
mod protect;
mod renew;
mod room;
mod sanity;
mod schedule;
mod set;
mod slot;
mod table;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use block::{ListEnforcer, ListHold, ListRefused, ListUse, list_id};
pub use parse::{ENTRIES_MAX, Entry, Format, LINE_MAX, ParseError, Parsed, parse};
pub use room::{FeedDeps, FeedError, FeedRoom, Feeds};
pub use sanity::{Refusal, Sane, WIDEST4, WIDEST6, judge};
pub use set::{FEEDS_MAX, FeedSet};
pub use table::{Blocking, FEEDS, Feed};
