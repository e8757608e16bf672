//! A source that fails is left alone for a while.

use super::{IntelError, IntelSource, Profile, Reply};
use crate::types::{BreakerState, BreakerStatus, Severity};
use futures_util::future::BoxFuture;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// How long it is open first, and so the shortest time between two tries while it is.
const FIRST: Duration = Duration::from_mins(1);
/// It doubles with every try that fails, up to this.
const LONGEST: Duration = Duration::from_mins(10);
/// A refused key does not mend itself.
const REFUSED: Duration = Duration::from_hours(1);

/// What a breaker knows; shared with who tells of it.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open: Option<Open>,
    cause: String,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    /// No try before.
    until: Instant,
    /// How long it is open next, should the try fail.
    wait: Duration,
    /// A try is on its way.
    trying: bool,
}

/// What may be done with a question.
enum Pass {
    /// Ask.
    Through,
    /// Ask: the outcome decides.
    Try,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, now: Instant) -> Result<Pass, IntelError> {
        let mut state = self.lock();
        let failures = state.failures;
        let Some(open) = &mut state.open else {
            return Ok(Pass::Through);
        };
        if open.trying || now < open.until {
            return Err(IntelError::BreakerOpen {
                for_another: open.until.saturating_duration_since(now),
                failures,
            });
        }
        // A try that is given up on the way must not make room for the next one at once.
        open.until = now + open.wait;
        open.trying = true;
        Ok(Pass::Try)
    }

    /// Takes note of an outcome; returns what to tell where that opened it.
    fn leave(&self, now: Instant, error: Option<&IntelError>) -> Option<Duration> {
        let mut state = self.lock();
        let Some(error) = error.filter(|e| is_failure(e)) else {
            match error {
                // The provider answered, if only that it wants patience: it is there.
                None | Some(IntelError::RateLimited { .. }) => *state = State::default(),
                // Nobody was asked: as if the try had not been.
                Some(_) => {
                    if let Some(open) = state.open.as_mut().filter(|open| open.trying) {
                        (open.trying, open.until) = (false, now);
                    }
                }
            }
            return None;
        };
        state.failures = state.failures.saturating_add(1);
        state.cause = error.to_string();
        let refused = matches!(error, IntelError::Unauthorised { .. });
        let wait = match state.open {
            Some(open) if open.trying => (open.wait * 2).min(LONGEST),
            // One that was under way when it opened.
            Some(_) if !refused => return None,
            _ if refused || state.failures >= FAILURES => FIRST,
            _ => return None,
        };
        let pause = if refused { REFUSED } else { wait };
        let told = state.open.is_none().then_some(pause);
        state.open = Some(Open {
            until: now + pause,
            wait,
            trying: false,
        });
        told
    }

    /// A try that nobody waits for any more tells nothing.
    fn abandon(&self) {
        if let Some(open) = &mut self.lock().open {
            open.trying = false;
        }
    }

    /// How it stands.
    pub(super) fn status(&self, now: Instant) -> BreakerStatus {
        let state = self.lock();
        let (which, wait) = match state.open {
            None => (BreakerState::Closed, Duration::ZERO),
            Some(open) if open.trying || now >= open.until => (BreakerState::HalfOpen, Duration::ZERO),
            Some(open) => (BreakerState::Open, open.until - now),
        };
        BreakerStatus {
            state: which,
            failures: state.failures,
            retry_in_ms: wait.as_millis() as u64,
            cause: state.cause.clone(),
        }
    }

    /// Whether a question would be held back now.
    pub(super) fn shut(&self, now: Instant) -> bool {
        self.lock().open.is_some_and(|open| open.trying || now < open.until)
    }
}

/// Whether an error says that the provider does not work for us. A spent quota says nothing of the kind.
fn is_failure(error: &IntelError) -> bool {
    error.asked() && !matches!(error, IntelError::RateLimited { .. })
}

/// Opens after [`FAILURES`] failures in a row, or one refused key; while it is open nobody is asked, but for one try
/// when the time is over, which closes it or keeps it open for twice as long.
pub(super) struct Breaker {
    inner: Box<dyn IntelSource>,
    gate: Arc<Gate>,
}

impl Breaker {
    pub(super) fn new(inner: Box<dyn IntelSource>, gate: Arc<Gate>) -> Self {
        Self { inner, gate }
    }
}

/// Gives the turn back where a try is dropped.
struct Turn<'a>(Option<&'a Gate>);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.abandon();
        }
    }
}

impl IntelSource for Breaker {
    fn profile(&self) -> &Profile {
        self.inner.profile()
    }

    fn ask(&self, ip: IpAddr, severity: Severity) -> BoxFuture<'_, Result<Reply, IntelError>> {
        Box::pin(async move {
            let pass = self.gate.enter(Instant::now())?;
            let mut turn = Turn(matches!(pass, Pass::Try).then_some(&*self.gate));
            let told = self.inner.ask(ip, severity).await;
            turn.0 = None;
            if let Some(pause) = self.gate.leave(Instant::now(), told.as_ref().err()) {
                let error = told.as_ref().err().map(ToString::to_string).unwrap_or_default();
                let (source, seconds) = (self.profile().name, pause.as_secs());
                tracing::warn!(source, %error, seconds, "source of intelligence is left alone for a while");
            }
            told
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::QuotaHint;
    use super::super::tests::{IP, Scripted};
    use super::*;
    use tokio::time::{advance, sleep};

    fn broke() -> Result<(), IntelError> {
        Err(IntelError::Transport("refused".into()))
    }

    fn breaker(source: &Scripted) -> (Breaker, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        (Breaker::new(source.boxed(), Arc::clone(&gate)), gate)
    }

    async fn ask(breaker: &Breaker) -> Result<Reply, IntelError> {
        breaker.ask(IP, Severity::High).await
    }

    #[tokio::test(start_paused = true)]
    async fn it_opens_after_five_failures_in_a_row_and_closes_with_an_answer() {
        let source = Scripted::new("x");
        let (breaker, gate) = breaker(&source);
        source.then(vec![broke(), broke(), broke(), broke(), Ok(())]);
        for _ in 0..5 {
            let _ = ask(&breaker).await;
        }
        assert_eq!(gate.status(Instant::now()), BreakerStatus::default());
        source.then(vec![broke(); 5]);
        for _ in 0..5 {
            assert!(matches!(ask(&breaker).await, Err(IntelError::Transport(_))));
        }
        let status = gate.status(Instant::now());
        assert_eq!((status.state, status.failures), (BreakerState::Open, 5));
        assert_eq!(status.retry_in_ms, 60_000);
        assert!(status.cause.contains("refused"), "{status:?}");
        let told = ask(&breaker).await;
        let (for_another, failures) = (FIRST, 5);
        assert_eq!(told, Err(IntelError::BreakerOpen { for_another, failures }));
        assert_eq!(source.begun(), 10);
        advance(FIRST).await;
        assert_eq!(gate.status(Instant::now()).state, BreakerState::HalfOpen);
        assert!(ask(&breaker).await.is_ok());
        assert_eq!(gate.status(Instant::now()), BreakerStatus::default());
    }

    #[tokio::test(start_paused = true)]
    async fn while_open_it_tries_at_most_once_a_minute_and_ever_more_rarely() {
        let source = Scripted::new("x");
        source.always(broke());
        let (breaker, _) = breaker(&source);
        for _ in 0..5 {
            let _ = ask(&breaker).await;
        }
        let began = Instant::now();
        let mut tries = Vec::new();
        while began.elapsed() < Duration::from_hours(1) {
            let before = source.begun();
            let _ = ask(&breaker).await;
            if source.begun() > before {
                tries.push(began.elapsed().as_secs());
            }
            sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(tries, [60, 180, 420, 900, 1_500, 2_100, 2_700, 3_300]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_try_that_is_given_up_is_followed_by_the_next_in_a_minute_only() {
        let source = Scripted::new("x");
        let (breaker, gate) = breaker(&source);
        source.then(vec![broke(); 5]);
        for _ in 0..5 {
            let _ = ask(&breaker).await;
        }
        advance(FIRST).await;
        let source = source.takes(Duration::from_secs(9));
        let given_up = tokio::time::timeout(Duration::from_secs(1), ask(&breaker)).await;
        assert!(given_up.is_err());
        assert!(gate.shut(Instant::now()));
        let before = source.begun();
        assert!(matches!(ask(&breaker).await, Err(IntelError::BreakerOpen { .. })));
        assert_eq!(source.begun(), before);
        advance(FIRST).await;
        assert!(!gate.shut(Instant::now()));
        assert!(ask(&breaker).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_try_at_a_time() {
        let source = Scripted::new("x");
        let (breaker, _) = breaker(&source);
        source.then(vec![broke(); 5]);
        for _ in 0..5 {
            let _ = ask(&breaker).await;
        }
        advance(FIRST).await;
        let _source = source.takes(Duration::from_secs(1));
        let told = futures_util::future::join_all((0..20).map(|_| ask(&breaker))).await;
        assert_eq!(told.iter().filter(|t| t.is_ok()).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_key_opens_it_for_an_hour_and_is_told() {
        let source = Scripted::new("x");
        let (breaker, gate) = breaker(&source);
        source.always(Err(IntelError::Unauthorised { status: 401 }));
        assert!(ask(&breaker).await.is_err());
        let status = gate.status(Instant::now());
        assert_eq!(
            (status.state, status.retry_in_ms),
            (BreakerState::Open, 3_600_000),
            "{status:?}"
        );
        assert!(status.cause.contains("refused the key"), "{status:?}");
        advance(REFUSED).await;
        assert!(ask(&breaker).await.is_err());
        assert_eq!(gate.status(Instant::now()).retry_in_ms, 3_600_000);
        assert_eq!(source.begun(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_failure_of_the_provider_does_not_open_it() {
        let source = Scripted::new("x");
        let (breaker, gate) = breaker(&source);
        for error in [
            IntelError::RateLimited {
                retry_after: None,
                hint: QuotaHint::default(),
            },
            IntelError::Quota {
                period: "day",
                reserved: false,
            },
            IntelError::Unavailable("gone".into()),
        ] {
            source.always(Err(error));
            for _ in 0..20 {
                let _ = ask(&breaker).await;
            }
        }
        assert_eq!(gate.status(Instant::now()).state, BreakerState::Closed);
        // Nor does a spent quota use up a try.
        source.always(broke());
        for _ in 0..5 {
            let _ = ask(&breaker).await;
        }
        advance(FIRST).await;
        source.always(Err(IntelError::Quota {
            period: "day",
            reserved: false,
        }));
        let _ = ask(&breaker).await;
        assert!(!gate.shut(Instant::now()));
    }
}
