//! From alerts and operators' wishes to decisions with an end.
//!
//! In: [`crate::types::Alert`]s, operators' commands, the [`Guards`], the time. Out: [`crate::types::Decision`]s.
//! Invariant: pure; no decision in force overlaps what a guard protects; whatever acts has an end; statistical evidence
//! never acts; automatic decisions lengthen what is in force and never shorten it; who was released by a person is not
//! blocked again at once. Deliberately elsewhere: carrying out (`respond`), remembering (`store`), the kernel's own look
//! at the allowlist.

mod guards;
mod judge;
mod ledger;

pub use guards::Guards;
pub use judge::{HOLD, Judge};
