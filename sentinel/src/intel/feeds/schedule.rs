//! When a feed is asked again. Pure.

use std::time::Duration;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);
/// The longest a provider may put us off.
const PATIENCE: Duration = Duration::from_hours(7 * 24);

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// With a list, or with the word that the old one still holds.
    Well,
    /// Badly, and the provider was asked.
    Asked {
        /// As it says (`Retry-After`).
        retry_after: Option<Duration>,
    },
    /// Badly, before the provider was asked.
    Unreached,
}

/// How long after an attempt the next one comes. `interval` is the feed's shortest, `failures` the attempts that failed
/// in a row, this one included, `luck` in [0, 1): up to a tenth is added by it, so that many agents spread out.
///
/// A provider that was asked is never asked again before its interval, whatever it answered; it is given more time with
/// every failure in a row. Who was not reached was not asked, and is tried again after a minute, then two, …
pub(super) fn wait(interval: Duration, ended: Ended, failures: u32, luck: f64) -> Duration {
    let doubled = |first: Duration| first.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let wait = match ended {
        Ended::Well => interval,
        Ended::Asked { retry_after } => doubled(interval)
            .min(DAY)
            .max(interval)
            .max(retry_after.unwrap_or_default().min(PATIENCE)),
        Ended::Unreached => doubled(MINUTE).min(interval.max(MINUTE)),
    };
    wait + wait.mul_f64(luck.clamp(0.0, 1.0) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn who_was_asked_is_left_alone_longer_with_every_failure() {
        let asked = |failures, retry_after| wait(HOUR, Ended::Asked { retry_after }, failures, 0.0);
        assert_eq!([1, 2, 3, 9].map(|n| asked(n, None)), [HOUR, 2 * HOUR, 4 * HOUR, DAY]);
        assert_eq!(asked(1, Some(5 * HOUR)), 5 * HOUR);
        assert_eq!(asked(1, Some(Duration::MAX)), PATIENCE);
        assert_eq!(wait(DAY, Ended::Asked { retry_after: None }, 5, 0.0), DAY);
        let unreached = |failures| wait(HOUR, Ended::Unreached, failures, 0.0);
        assert_eq!([1, 2, 3, 20].map(unreached), [MINUTE, 2 * MINUTE, 4 * MINUTE, HOUR]);
    }

    proptest! {
        #[test]
        fn never_before_the_interval_once_asked(
            secs in 1u64..200_000, failures in 0u32..100, luck in 0.0f64..1.0, after in proptest::option::of(0u64..u64::MAX / 2),
        ) {
            let interval = Duration::from_secs(secs);
            let retry_after = after.map(Duration::from_secs);
            for ended in [Ended::Well, Ended::Asked { retry_after }] {
                prop_assert!(wait(interval, ended, failures, luck) >= interval);
            }
        }
    }
}
