//! How long what is remembered is kept: `store.retention`.

use super::keys::{DAY, HOUR, Key, MIB, key, secs};
use super::policy::PolicyConfig;
use super::value::{Slot, show_duration, show_size};
use std::time::Duration;

/// `store.retention:`; 0 for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionConfig {
    /// Alerts, from their time on.
    pub alerts: Duration,
    /// Investigations, from their time on.
    pub investigations: Duration,
    /// Decisions with all that belongs to them, from their end on.
    pub decisions: Duration,
    /// Lines of the audit.
    pub audit: Duration,
    /// Bytes of the database beyond which the oldest goes first; 0 for no such bound.
    pub max_bytes: u64,
}

impl Default for RetentionConfig {
    fn default() -> Self {
        Self {
            alerts: secs(90 * DAY),
            investigations: secs(90 * DAY),
            decisions: secs(366 * DAY),
            audit: Duration::ZERO,
            max_bytes: 4096 * MIB,
        }
    }
}

/// Longest that can be asked for but for ever.
const LONGEST: Duration = secs(3_660 * DAY);
/// Shortest: what is looked at now must not go meanwhile.
const SHORTEST: Duration = secs(HOUR);
/// Smallest bound on the size.
const SMALLEST: u64 = 16 * MIB;

pub(super) const KEYS: &[Key] = &[
    key("store.retention.alerts", "How long alerts are kept; 0s for ever", |d| {
        Slot::Time(&mut d.config.store.retention.alerts, Duration::ZERO..=LONGEST)
    }),
    key(
        "store.retention.investigations",
        "How long investigations are kept; 0s for ever",
        |d| Slot::Time(&mut d.config.store.retention.investigations, Duration::ZERO..=LONGEST),
    ),
    key(
        "store.retention.decisions",
        "How long decisions are kept from their end on, with actions, proofs and tallies; 0s for ever",
        |d| Slot::Time(&mut d.config.store.retention.decisions, Duration::ZERO..=LONGEST),
    ),
    key(
        "store.retention.audit",
        "How long the audit is kept; 0s for ever",
        |d| Slot::Time(&mut d.config.store.retention.audit, Duration::ZERO..=LONGEST),
    ),
    key(
        "store.retention.max_size",
        "Size of the database beyond which the oldest alerts and investigations go, then decisions that are over; 0 for no such bound",
        |d| Slot::Size64(&mut d.config.store.retention.max_bytes, 0..=1 << 50),
    ),
];

/// What is kept for too short a time to be of use, or for shorter than it is asked for.
pub(super) fn check(kept: &RetentionConfig, policy: &PolicyConfig, say: &mut impl FnMut(&'static str, String, &str)) {
    for (key, time) in [
        ("store.retention.alerts", kept.alerts),
        ("store.retention.investigations", kept.investigations),
        ("store.retention.decisions", kept.decisions),
        ("store.retention.audit", kept.audit),
    ] {
        if !time.is_zero() && time < SHORTEST {
            say(
                key,
                format!("{} is too short to be looked at", show_duration(time)),
                "write 1h or longer, or 0s to keep it for ever",
            );
        }
    }
    let memory = policy.repeat.memory;
    if !kept.decisions.is_zero() && kept.decisions < memory {
        say(
            "store.retention.decisions",
            format!(
                "{} is shorter than `response.repeat.memory` {}, which looks for whose decisions ran out",
                show_duration(kept.decisions),
                show_duration(memory)
            ),
            "keep decisions at least as long, or shorten the memory",
        );
    }
    if kept.max_bytes > 0 && kept.max_bytes < SMALLEST {
        say(
            "store.retention.max_size",
            format!("{} holds next to nothing", show_size(kept.max_bytes)),
            "write 16MiB or more, or 0 for no such bound",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_too_short_is_told_with_the_mend() {
        let said = |kept: RetentionConfig| {
            let mut said = Vec::new();
            check(&kept, &PolicyConfig::default(), &mut |key, message, mend| {
                said.push(format!("{key} {message}; {mend}"));
            });
            said
        };
        assert_eq!(said(RetentionConfig::default()), Vec::<String>::new());
        let zero = RetentionConfig {
            alerts: Duration::ZERO,
            investigations: Duration::ZERO,
            decisions: Duration::ZERO,
            audit: Duration::ZERO,
            max_bytes: 0,
        };
        assert_eq!(said(zero), Vec::<String>::new());
        let short = said(RetentionConfig {
            alerts: secs(60),
            decisions: secs(29 * DAY),
            max_bytes: MIB,
            ..zero
        });
        assert_eq!(short.len(), 3, "{short:?}");
        assert!(short[0].contains("alerts") && short[0].contains("1h"), "{short:?}");
        assert!(short[1].contains("`response.repeat.memory` 30d"), "{short:?}");
        assert!(short[2].contains("16MiB"), "{short:?}");
    }
}
