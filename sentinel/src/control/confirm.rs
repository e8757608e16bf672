//! Provisional decisions in, verdicts out: asks who must answer, again and again, beside the desk.

use crate::config::Probe;
use crate::metrics::Metrics;
use crate::probe::{Answer, Asker, Round, Trials};
use crate::time;
use crate::types::{Clock, Component, Condition, Health, Heard, Ktime, Provisional, Verdict};
use futures_util::future::BoxFuture;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// The longest anybody is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// The window that is reckoned with where none is configured and an earlier run left something provisional.
const WINDOW: Duration = Duration::from_secs(30);
/// While nothing is provisional it is asked now and then, to know who answers; so long apart, more or less: a timer
/// without jitter looks like an implant's, and a short one like a load.
const IDLE_MS: std::ops::Range<u64> = 10_000..50_000;

/// What the room shares with the rest of the house.
pub struct ConfirmDeps {
    /// What is provisional.
    pub provisional: watch::Receiver<Arc<Vec<Provisional>>>,
    /// Who was heard of lately.
    pub heard: watch::Receiver<Arc<Heard>>,
    /// What is to be said of it.
    pub verdicts: mpsc::Sender<Verdict>,
    /// How the clocks stand, as the desk has it.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Published health.
    pub health: watch::Sender<Arc<Health>>,
}

/// The room.
pub struct Confirmations {
    asker: Arc<Asker>,
    probes: Vec<String>,
    trials: Trials,
    deps: ConfirmDeps,
    idle_until: Ktime,
}

type Asking = BoxFuture<'static, Vec<Answer>>;

impl Confirmations {
    /// Asks these probes; `window` is the configured one.
    pub fn new(probes: &[Probe], window: Duration, deps: ConfirmDeps) -> Self {
        let window = if window.is_zero() { WINDOW } else { window };
        let texts: Vec<String> = probes.iter().map(|probe| probe.text.clone()).collect();
        Self {
            asker: Arc::new(Asker::new(probes, PATIENCE.min(window / 10))),
            trials: Trials::new(texts.clone(), window),
            probes: texts,
            deps,
            idle_until: Ktime::default(),
        }
    }

    /// Runs until cancelled or until nobody says what is provisional. What is not judged by then ends by the kernel.
    pub async fn run(mut self, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(&mut self) {
        let mut asking: Option<(Round, Asking)> = None;
        self.keep();
        loop {
            let now = time::boot_now();
            let next = self.next(now);
            let later = async {
                match next {
                    Some(at) => tokio::time::sleep(at.since(now)).await,
                    None => pending().await,
                }
            };
            let idle = asking.is_none();
            let answers = async {
                match &mut asking {
                    Some((round, asking)) => (*round, asking.await),
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = self.deps.provisional.changed() => match changed {
                    Ok(()) => self.keep(),
                    Err(_) => return,
                },
                (round, answers) = answers => {
                    asking = None;
                    self.answered(round, &answers).await;
                }
                () = later, if idle => {
                    let asker = Arc::clone(&self.asker);
                    let round = self.trials.begin(time::boot_now());
                    asking = Some((round, Box::pin(async move { asker.round().await })));
                }
            }
        }
    }

    fn next(&self, now: Ktime) -> Option<Ktime> {
        let idle = (!self.probes.is_empty()).then_some(self.idle_until);
        self.trials.next(now).into_iter().chain(idle).min()
    }

    fn keep(&mut self) {
        let provisional = Arc::clone(&self.deps.provisional.borrow_and_update());
        let heard = Arc::clone(&self.deps.heard.borrow());
        let now = time::boot_now();
        if provisional.is_empty() {
            // What was asked last may have been silent because of what is over now.
            self.idle_until = now;
        }
        let beyond = self.trials.keep(&provisional, &heard, self.deps.clock, now);
        self.deps.metrics.dropped("confirm", "trials_full", beyond);
    }

    async fn answered(&mut self, round: Round, answers: &[Answer]) {
        let now = time::boot_now();
        let jitter = uuid::Uuid::new_v4().as_u64_pair().0 % (IDLE_MS.end - IDLE_MS.start);
        self.idle_until = now.after(Duration::from_millis(IDLE_MS.start + jitter));
        self.tell_health(answers);
        let heard = Arc::clone(&self.deps.heard.borrow());
        for verdict in self.trials.told(round, answers, &heard, now) {
            // Closed: the house is closing, and the kernel lets go by itself.
            let _ = self.deps.verdicts.send(verdict).await;
        }
    }

    fn tell_health(&self, answers: &[Answer]) {
        if answers.is_empty() {
            return;
        }
        let silent: Vec<String> = self
            .probes
            .iter()
            .zip(answers)
            .filter_map(|(probe, answer)| answer.as_ref().err().map(|why| format!("{probe}: {why}")))
            .collect();
        let condition = if silent.is_empty() {
            Condition::Ok {
                detail: format!("{} answer", answers.len()),
            }
        } else {
            Condition::Degraded {
                cause: format!(
                    "{} of {} do not answer: {}",
                    silent.len(),
                    answers.len(),
                    silent.join("; ")
                ),
                mend: "what does not answer speaks against no decision about a prefix, and while one cannot be asked \
                       none is confirmed; mend it, or take it out of `response.confirm.probes`"
                    .to_owned(),
            }
        };
        self.deps
            .health
            .send_if_modified(|board| Health::note(board, Component::Probes, condition));
    }
}

#[cfg(test)]
mod tests;
