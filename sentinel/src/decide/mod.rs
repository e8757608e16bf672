//! From alerts and operators' wishes to decisions with an end.
//!
//! In: [`crate::types::Alert`]s with the [`crate::types::Risk`] of their sources, operators' commands, the [`Guards`], the
//! time. Out: [`crate::types::Decision`]s. Invariant: pure; no decision in force overlaps what a guard protects; whatever
//! acts has an end, and what is about a prefix one within the window until it is confirmed; statistical evidence acts only where two independent sources outside agree; alerts lengthen what is in
//! force and never shorten it, only better knowledge of the same alert makes it milder; what a person decided is never
//! overruled, and who was released by one is not blocked again at once. Deliberately elsewhere: carrying out (`respond`), remembering (`store`), the kernel's own look
//! at the allowlist.

mod bulk;
mod ceiling;
mod confirm;
mod containers;
mod fleet;
mod guards;
mod judge;
mod judged;
mod ledger;
mod measure;
mod offenders;
mod operator;
mod renew;
mod revise;
mod stop;
mod widen;
mod widened;

pub use containers::Container;
pub use fleet::{ENTRIES, Followed};
pub use guards::Guards;
pub use judge::{HOLD, Judge};
pub use judged::{Before, Ground, Judged};
pub use offenders::OFFENDERS;
pub use revise::{Found, Revision};
pub use widened::{WIDENED, Widened};
