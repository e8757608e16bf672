//! Why somebody is not let in.

use std::time::Duration;

/// Why not. None of it says what was presented.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No such token, session or link, or not any more.
    #[error(
        "that is no token or link that opens anything here; `sentinel token create` makes a token, `sentinel login` a link"
    )]
    Wrong,
    /// Too many failures from there.
    #[error("too many failed attempts from your address; try again in {} s", .wait.as_secs().max(1))]
    Locked {
        /// How long still.
        wait: Duration,
    },
    /// Too many ask at once.
    #[error("too many log in at this moment; try again in some seconds")]
    Busy,
    /// A wish that cannot be had.
    #[error("{0}")]
    Invalid(String),
    /// Revoking what is not there.
    #[error("there is no token of this name or id that still holds; `sentinel token list` has them")]
    NoSuchToken,
    /// It cannot be kept.
    #[error("the database does not take it: {0}")]
    Store(String),
    /// No randomness to be had.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// Computing a hash failed.
    #[error("the token's hash cannot be computed: {0}")]
    Hash(String),
}
