//! Bettercap, as far as it is told what to do: its session, by REST.
//!
//! In: where its `api.rest` listens, and one [`Command`] at a time. Out: [`State`], as it answered, of which nothing is
//! believed that does not parse; or [`BettercapError`], which names the mend. Invariants: every request ends within its
//! timeout and reads a bounded answer; a command holds nothing but addresses and fixed words, since `;` begins another one
//! there; neither the password nor what a server sent is in a message. This is the only place that speaks HTTP to it.
//! Deliberately elsewhere: whom to ban, and when it is tried again (`control/bans`); its events (`sensor`).

mod error;
mod session;
#[cfg(test)]
pub(crate) mod tests;

pub use error::BettercapError;
pub use session::{Command, Session, State, sayable};
