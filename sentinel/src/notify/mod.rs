//! What is told to people: which alerts, by which way, how often; and until it is told.
//!
//! In: alerts, from the store, in the order of their arrival. Out: e-mail, Slack, webhooks, JSON lines, syslog; how it stands
//! with each.
//! Invariant: every alert that is routed to a channel is in a message of its own or counted in a digest, durably; messages wait
//! in the store until their channel takes them, in order; a channel that is down delays nobody else.
//! Deliberately elsewhere: what alerts are, what follows from them (`detect`, `decide`), lines for other programs (`export`).

mod channels;
mod deliver;
mod dispatch;
mod endpoints;
mod letter;
mod room;
mod router;
#[cfg(test)]
mod tests;

pub use channels::{Channel, ChannelError, Fault, build};
pub use endpoints::endpoints;
pub use letter::{Letter, Sender};
pub use room::{Deps, Notifications, test};
