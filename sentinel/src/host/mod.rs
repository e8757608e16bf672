//! What this host is: its addresses, gateways, resolvers and default interface, kept current.
//!
//! In: rtnetlink, the lists of name servers, the environment we were started in, who is logged in, the names of servers we
//! talk to. Out: [`HostFacts`] on a watch channel, and the list of what must never be touched.
//! Invariant: a fact that cannot be read is an error, never an empty list: an empty list would unprotect.
//! Deliberately elsewhere: enforcing the list (`decide::Guards`, the kernel's allow maps).

mod endpoints;
mod facts;
mod netlink;
mod operator;
mod room;
mod rtnetlink;
mod sessions;

pub use endpoints::Endpoint;
pub use facts::{HostFacts, protected};
pub use netlink::HostError;
pub use room::HostRoom;
