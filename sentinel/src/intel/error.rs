//! Why there is no answer.

use super::QuotaHint;
use std::time::Duration;

/// Why a source has not answered. None of it holds a key, or text of the server's.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IntelError {
    /// It is gone, or has no base URL that works.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The key is wrong, expired, or lacks the right.
    #[error("refused the key (HTTP {status}); check it, and that the account may use this API")]
    Unauthorised {
        /// 401 or 403; 200 where the provider says so in the answer.
        status: u16,
    },
    /// The source knows nothing of addresses of this kind, and was not asked. No fault of its own: nothing to count
    /// against it.
    #[error("not asked: {0}")]
    Unsupported(&'static str),
    /// The provider says that we ask too often.
    #[error("asks for patience (HTTP 429){}", .retry_after.map(|d| format!(", {} s", d.as_secs())).unwrap_or_default())]
    RateLimited {
        /// As it says (`Retry-After`).
        retry_after: Option<Duration>,
        /// What it told besides.
        hint: QuotaHint,
    },
    /// Our own count says that its quota is spent, or what is left is kept for graver alerts.
    #[error("quota of the {period} is spent{}", if *.reserved { ", but for what is kept for graver alerts" } else { "" })]
    Quota {
        /// `minute`, `day` or `month`.
        period: &'static str,
        /// Whether a graver alert would still be served.
        reserved: bool,
    },
    /// It failed too often of late and is left alone for a while.
    #[error("left alone for {} s more after failing {failures} times in a row", .for_another.as_secs())]
    BreakerOpen {
        /// Until it is tried again.
        for_another: Duration,
        /// In a row.
        failures: u32,
    },
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The connection could not be made or broke; the text names no URL.
    #[error("not reached: {0}")]
    Transport(String),
    /// A status that means nothing here.
    #[error("answered HTTP {0}")]
    Status(u16),
    /// The answer is longer than is read.
    #[error("answered with more than {0} bytes")]
    TooLarge(usize),
    /// The answer is not what the provider documents.
    #[error("answered with something else than its documented form: {0}")]
    Malformed(String),
}

impl IntelError {
    /// A word for metrics.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Unavailable(_) => "unavailable",
            Self::Unauthorised { .. } => "unauthorised",
            Self::Unsupported(_) => "unsupported",
            Self::RateLimited { .. } => "rate_limited",
            Self::Quota { .. } => "quota",
            Self::BreakerOpen { .. } => "breaker",
            Self::Timeout(_) => "timeout",
            Self::Transport(_) => "transport",
            Self::Status(_) => "status",
            Self::TooLarge(_) => "too_large",
            Self::Malformed(_) => "malformed",
        }
    }

    /// Whether the provider was asked, and a request of its quota may be spent.
    pub const fn asked(&self) -> bool {
        !matches!(
            self,
            Self::Unavailable(_) | Self::Unsupported(_) | Self::Quota { .. } | Self::BreakerOpen { .. }
        )
    }

    /// Whether asking again soon may help.
    pub const fn transient(&self) -> bool {
        match self {
            Self::Timeout(_) | Self::Transport(_) => true,
            Self::Status(status) => *status >= 500,
            _ => false,
        }
    }
}
