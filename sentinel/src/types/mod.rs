//! The nouns. No I/O, no clock, no locks.
//!
//! In: nothing. Out: what the rooms hand each other. Deliberately elsewhere: how any of it is found, judged or stored.

mod action;
mod alert;
mod decision;
mod event;
mod health;
mod ids;
mod net;
mod protected;
mod stats;
mod time;

pub use action::{Action, ActionKind, ActionStatus};
pub use alert::{Alert, Detector, Evidence, EvidenceClass, Family, Service, Severity};
pub use decision::{Command, CommandError, Decision, DecisionStatus, NewDecision, Origin, Selector, Veto};
pub use event::{Event, Live};
pub use health::{Component, Condition, Health};
pub use ids::{ActionId, AlertId, DecisionId, Mint};
pub use net::canonical;
pub use protected::{Hits, Protected};
pub use stats::{InterfaceStats, MapUse, Stats, Trouble};
pub use time::{Clock, Ktime, Timestamp};
