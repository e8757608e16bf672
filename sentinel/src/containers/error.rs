//! What goes wrong with a container engine, each with its mend.

use bollard::errors::Error;
use std::time::Duration;

/// Longest text of the engine's that is passed on, characters.
const TEXT: usize = 300;

/// Why the engine did not do or say what was asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ContainerError {
    /// Nobody listens there.
    #[error("the container engine at {socket} cannot be reached ({cause}); start it, or correct `containers.engine`")]
    Unreachable {
        /// Path of the socket.
        socket: String,
        /// The system's words.
        cause: String,
    },
    /// The socket is there and may not be used.
    #[error(
        "access to the container engine's socket {socket} is denied; run the agent as root or in the socket's group, \
         which amounts to the same"
    )]
    Denied {
        /// Path of the socket.
        socket: String,
    },
    /// No answer in time.
    #[error(
        "the container engine did not answer `{what}` within {} s; see whether `docker ps` answers, or raise \
         `containers.timeout`", .after.as_secs_f64()
    )]
    Timeout {
        /// The request.
        what: &'static str,
        /// How long it had.
        after: Duration,
    },
    /// An answer that is none.
    #[error(
        "the container engine's answer to `{what}` cannot be understood ({cause}); see that `containers.engine` names \
         the socket of a Docker Engine"
    )]
    Nonsense {
        /// The request.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The engine says no.
    #[error("the container engine refuses `{what}` with status {status}: {message}")]
    Refused {
        /// The request.
        what: &'static str,
        /// HTTP status.
        status: u16,
        /// Its words, made fit for messages.
        message: String,
    },
    /// There is no such container any more.
    #[error("the container is gone")]
    ContainerGone,
    /// There is no such network any more.
    #[error("the network is gone")]
    NetworkGone,
    /// There is no network to keep it apart in.
    #[error(
        "there is no network `{0}`; make it with `docker network create --internal {0}`, or empty \
         `containers.quarantine_network` and restart"
    )]
    NoQuarantine(String),
    /// It was disconnected and is still connected.
    #[error("the container is still connected to {0}; something connects it again, stop that")]
    StillConnected(String),
}

impl ContainerError {
    /// What a failure of the client means.
    pub(super) fn of(what: &'static str, error: &Error, socket: &str) -> Self {
        match error {
            Error::DockerResponseServerError {
                status_code: 404,
                message,
            } if message.to_ascii_lowercase().contains("no such container") => Self::ContainerGone,
            Error::DockerResponseServerError {
                status_code: 404,
                message,
            } if message.to_ascii_lowercase().contains("network") => Self::NetworkGone,
            Error::DockerResponseServerError { status_code, message } => Self::Refused {
                what,
                status: *status_code,
                message: fit(message),
            },
            Error::SocketNotFoundError(_) => Self::Unreachable {
                socket: socket.to_owned(),
                cause: "no such file".to_owned(),
            },
            Error::HyperLegacyError { err } if err.is_connect() => Self::Unreachable {
                socket: socket.to_owned(),
                cause: fit(&err.to_string()),
            },
            other => Self::Nonsense {
                what,
                cause: fit(&other.to_string()),
            },
        }
    }

    /// Whether the connection is better made anew.
    pub(super) const fn of_connection(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::Denied { .. } | Self::Timeout { .. } | Self::Nonsense { .. }
        )
    }
}

/// The engine's text made fit for messages: bounded, control characters escaped.
pub(super) fn fit(text: &str) -> String {
    let mut out: String = text.trim().chars().take(TEXT).flat_map(char::escape_debug).collect();
    if text.trim().chars().nth(TEXT).is_some() {
        out.push('…');
    }
    out
}
