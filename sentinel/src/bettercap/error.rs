//! What goes wrong with Bettercap, in our own words.

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BettercapError {
    /// No request can be made of the settings.
    #[error("{cause}; {mend}")]
    Settings {
        /// What is wrong with them.
        cause: String,
        /// What to do about it.
        mend: &'static str,
    },
    /// Nobody listens there: whatever ran in it runs no more.
    #[error(
        "Bettercap does not answer: no connection; is it running, with `api.rest on`, and is `bettercap.url` right?"
    )]
    Nobody,
    /// It did not answer, or not in time, or was not reached; it may go on.
    #[error("Bettercap does not answer: {0}; is it running, with `api.rest on`, and is `bettercap.url` right?")]
    Away(&'static str),
    /// It does not know us.
    #[error(
        "Bettercap refuses the login (401); check `bettercap.username` and the password against `api.rest.username` and `api.rest.password`"
    )]
    Login,
    /// It refused a command.
    #[error("Bettercap refused `{command}` with {status}; its own log says why")]
    Refused {
        /// Which.
        command: String,
        /// Its answer.
        status: u16,
    },
    /// What answers is no Bettercap, or one we do not understand.
    #[error("what answers at `bettercap.url` is not understood: {0}; 2.32 is")]
    Strange(&'static str),
}
