//! What failed by chance is tried again.

use super::{IntelError, IntelSource, Profile, Reply};
use crate::types::Severity;
use futures_util::future::BoxFuture;
use sentinel_common::hash::SplitMix64;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// Further tries after the first.
const MORE: u32 = 2;
/// Longest pause before the first further try; it doubles. The pause is drawn evenly from zero to that ("full jitter",
/// Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), so that many who failed together do not
/// come back together.
const PAUSE: Duration = Duration::from_millis(200);

/// Tries transient failures again ([`IntelError::transient`]), as long as there is time. Every try is a request of its
/// own to what is inside: it spends quota and counts for the breaker.
pub(super) struct Retry {
    inner: Box<dyn IntelSource>,
    within: Duration,
    dice: AtomicU64,
}

impl Retry {
    /// No try begins later than `within` after the question.
    pub(super) fn new(inner: Box<dyn IntelSource>, within: Duration) -> Self {
        Self {
            inner,
            within,
            dice: AtomicU64::new(RandomState::new().hash_one("retry")),
        }
    }

    /// The pause before a further try, `tries` after the first.
    fn pause(&self, tries: u32) -> Duration {
        let draw = SplitMix64(self.dice.fetch_add(0x9e37_79b9_7f4a_7c15, Relaxed)).draw();
        let share = (draw >> 11) as f64 / (1_u64 << 53) as f64;
        (PAUSE * 2_u32.pow(tries)).mul_f64(share)
    }
}

impl IntelSource for Retry {
    fn profile(&self) -> &Profile {
        self.inner.profile()
    }

    fn ask(&self, ip: IpAddr, severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let began = Instant::now();
            let mut tries = 0;
            loop {
                let told = self.inner.ask(ip, severity).await;
                let again = tries < MORE && matches!(&told, Err(error) if error.transient());
                let pause = self.pause(tries);
                if !again || began.elapsed() + pause >= self.within {
                    return told;
                }
                tokio::time::sleep(pause).await;
                tries += 1;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{IP, Scripted};
    use super::*;

    async fn check(script: Vec<Result<(), IntelError>>, takes: Duration, begun: u64, ok: bool) {
        let source = Scripted::new("x").takes(takes).says(script.clone());
        let retry = Retry::new(source.boxed(), Duration::from_secs(2));
        let told = retry.ask(IP, Severity::Low).await;
        assert_eq!((source.begun(), told.is_ok()), (begun, ok), "{script:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_tried_again_and_only_while_there_is_time() {
        let (fast, slow) = (Duration::from_millis(10), Duration::from_millis(1_500));
        let broke = || Err(IntelError::Transport("reset".into()));
        let limited = Err(IntelError::RateLimited {
            retry_after: None,
            hint: super::super::QuotaHint::default(),
        });
        check(vec![broke(), broke(), Ok(())], fast, 3, true).await;
        check(vec![broke(), broke(), broke(), Ok(())], fast, 3, false).await;
        check(vec![Err(IntelError::Status(503)), Ok(())], fast, 2, true).await;
        check(vec![Err(IntelError::Status(418)), Ok(())], fast, 1, false).await;
        check(
            vec![Err(IntelError::Unauthorised { status: 401 }), Ok(())],
            fast,
            1,
            false,
        )
        .await;
        check(vec![limited, Ok(())], fast, 1, false).await;
        check(vec![Err(IntelError::Malformed("html".into())), Ok(())], fast, 1, false).await;
        // The second try ends after 3 s, when no third may begin.
        check(vec![broke(), broke(), Ok(())], slow, 2, false).await;
    }

    #[test]
    fn pauses_are_spread_evenly_up_to_their_bound() {
        let retry = Retry::new(Scripted::new("x").boxed(), Duration::from_secs(2));
        for tries in 0..MORE {
            let most = (PAUSE * 2_u32.pow(tries)).as_secs_f64();
            let drawn: Vec<f64> = (0..4000).map(|_| retry.pause(tries).as_secs_f64() / most).collect();
            assert!(drawn.iter().all(|p| (0.0..1.0).contains(p)));
            for tenth in 0..10 {
                let low = f64::from(tenth) / 10.0;
                let n = drawn.iter().filter(|p| (low..low + 0.1).contains(*p)).count();
                assert!((300..=500).contains(&n), "{tenth}: {n}");
            }
        }
    }
}
