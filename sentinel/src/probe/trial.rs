//! What was before, what is now, and what that says of a decision. Pure.

use super::{Answer, ProbeError};
use crate::types::{Clock, DecisionId, Heard, Ktime, Provisional, Timestamp, Verdict};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Decisions that are probed at a time. What comes beyond is not judged, and so rolled back by its end.
pub const TRIALS: usize = 4096;
/// Rounds in a row that somebody must be silent for it to count: a packet may be lost.
const SILENT: u32 = 2;
/// Peers below which their silence may be chance.
const PEERS: u32 = 5;
/// Shortest time of listening that says anything.
const LISTENED: Duration = Duration::from_secs(2);
/// What was sent before a decision may be told of so much later.
const LAG: Duration = Duration::from_secs(1);
/// How soon after a silence it is asked again, and at most how often what must still answer.
const AGAIN: Duration = Duration::from_millis(250);
/// The longest part of a window that is kept for the last round and for carrying out what it comes to.
const RESERVE: Duration = Duration::from_secs(10);

/// One round of questions.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    number: u64,
    begun: Ktime,
    /// Something was provisional, so that who is silent may be so because of that.
    open: bool,
}

#[derive(Debug)]
struct Trial {
    ends: Timestamp,
    target: IpNet,
    since: Ktime,
    /// From here on a round may be the last.
    due: Ktime,
    /// The first round that was begun after it.
    first: u64,
    /// Whether each probe answered before; `None` where nobody knows.
    before: Vec<Option<bool>>,
    /// For how many rounds each has been silent.
    silent: Vec<u32>,
    heard: Arc<Heard>,
    asked: bool,
    judged: bool,
}

/// The decisions that are provisional.
#[derive(Debug)]
pub struct Trials {
    probes: Vec<String>,
    window: Duration,
    open: BTreeMap<DecisionId, Trial>,
    /// Whether each answered when nothing was provisional, or since.
    latest: Vec<Option<bool>>,
    /// For how many rounds in a row each has been silent while nothing was provisional.
    idle_silent: Vec<u32>,
    rounds: u64,
    ended: Ktime,
}

impl Trials {
    /// None yet. `window` is the configured one.
    pub fn new(probes: Vec<String>, window: Duration) -> Self {
        Self {
            latest: vec![None; probes.len()],
            idle_silent: vec![0; probes.len()],
            probes,
            window,
            open: BTreeMap::new(),
            rounds: 0,
            ended: Ktime::default(),
        }
    }

    /// Takes up what is provisional by now, and forgets what is not any more. Returns how many there is no room for.
    pub fn keep(&mut self, provisional: &[Provisional], heard: &Arc<Heard>, clock: Clock, now: Ktime) -> u64 {
        let now_open: BTreeMap<DecisionId, Timestamp> = provisional.iter().map(|p| (p.decision, p.ends)).collect();
        self.open.retain(|id, trial| now_open.get(id) == Some(&trial.ends));
        let reserve = (self.window / 3).min(RESERVE).as_nanos() as u64;
        let mut beyond = 0;
        for one in provisional {
            if self.open.contains_key(&one.decision) {
                continue;
            }
            if self.open.len() >= TRIALS {
                beyond += 1;
                continue;
            }
            let trial = Trial {
                ends: one.ends,
                target: one.target,
                since: now,
                due: Ktime(clock.boot(one.ends).0.saturating_sub(reserve)).max(now),
                first: self.rounds + 1,
                before: self.latest.clone(),
                silent: vec![0; self.probes.len()],
                heard: Arc::clone(heard),
                asked: false,
                judged: false,
            };
            self.open.insert(one.decision, trial);
        }
        beyond
    }

    /// When the next round is to begin, where anything is provisional.
    pub fn next(&self, now: Ktime) -> Option<Ktime> {
        let pace = self.window / 6;
        let next = |trial: &Trial| {
            if !trial.asked {
                now
            } else if trial.silent.iter().any(|rounds| *rounds > 0) {
                self.ended.after(AGAIN)
            } else {
                self.ended.after(pace).min(trial.due.max(self.ended.after(AGAIN)))
            }
        };
        self.open.values().filter(|trial| !trial.judged).map(next).min()
    }

    /// A round begins.
    pub fn begin(&mut self, now: Ktime) -> Round {
        self.rounds += 1;
        Round {
            number: self.rounds,
            begun: now,
            open: !self.open.is_empty(),
        }
    }

    /// What a round came to: why each probe did not answer, where it did not; and who is heard of now. Returns what is to
    /// be said of decisions by now.
    pub fn told(&mut self, round: Round, answers: &[Answer], heard: &Heard, now: Ktime) -> Vec<Verdict> {
        self.ended = now;
        let open = round.open || !self.open.is_empty();
        let known = self.latest.iter_mut().zip(&mut self.idle_silent);
        for ((latest, silent), answer) in known.zip(answers) {
            match answer {
                Ok(()) => (*latest, *silent) = (Some(true), 0),
                Err(ProbeError::Silent(_)) if !open => {
                    *silent = silent.saturating_add(1);
                    if *silent >= SILENT {
                        *latest = Some(false);
                    }
                }
                Err(ProbeError::Silent(_) | ProbeError::NotAsked(_)) => {}
            }
        }
        let mut verdicts = Vec::new();
        for (id, trial) in &mut self.open {
            if trial.judged || round.number < trial.first {
                continue;
            }
            trial.asked = true;
            if let Some(outcome) = trial.judge(round, &self.probes, answers, heard) {
                trial.judged = true;
                verdicts.push(Verdict {
                    decision: *id,
                    ends: trial.ends,
                    outcome,
                });
            }
        }
        verdicts
    }
}

impl Trial {
    /// Why it is to be confirmed, or rolled back; `None` while that is open.
    fn judge(
        &mut self,
        round: Round,
        probes: &[String],
        answers: &[Answer],
        heard: &Heard,
    ) -> Option<Result<String, String>> {
        let mut unasked = false;
        let each = self.before.iter().zip(&mut self.silent).zip(probes);
        for (((before, silent), probe), answer) in each.zip(answers) {
            if *before == Some(false) {
                continue;
            }
            match answer {
                Ok(()) => *silent = 0,
                Err(ProbeError::NotAsked(_)) => unasked = true,
                Err(ProbeError::Silent(why)) => {
                    *silent = silent.saturating_add(1);
                    if *silent >= SILENT {
                        let before = match before {
                            Some(_) => "answered before it and does not any more",
                            None => "does not answer, and nobody knows whether it did before",
                        };
                        return Some(Err(format!("{probe} {before}: {why}")));
                    }
                }
            }
        }
        // Who could not be asked may be cut off: without a verdict the kernel lets go at the end of the window.
        let open = unasked || self.silent.iter().any(|rounds| *rounds > 0);
        if open || round.begun < self.due {
            return None;
        }
        Some(self.last_word(heard))
    }

    /// Everybody who must answer does: what do the peers say?
    fn last_word(&self, heard: &Heard) -> Result<String, String> {
        let mut words = Vec::new();
        let asked = self.before.iter().filter(|before| **before != Some(false)).count();
        let down = self.before.len() - asked;
        if asked > 0 {
            words.push(format!("{asked} probes answer"));
        }
        if down > 0 {
            words.push(format!("{down} had not answered before either"));
        }
        let listened = heard.at.since(self.since.after(LAG));
        if listened >= LISTENED && self.heard.at > Ktime::default() {
            let before = Ktime(self.heard.at.0.saturating_sub(listened.as_nanos() as u64));
            let was = self.heard.since(before, &self.target);
            let is = heard.since(self.since.after(LAG), &self.target);
            let seconds = listened.as_secs();
            if was >= PEERS && is.saturating_mul(2) < was {
                return Err(format!(
                    "of peers elsewhere that behaved well {was} were heard of in the {seconds} s before it, and {is} in \
                     the {seconds} s since"
                ));
            }
            if was >= PEERS {
                words.push(format!(
                    "{is} peers elsewhere that behaved well were heard of in {seconds} s, and {was} in the same time before"
                ));
            }
        }
        if words.is_empty() {
            words.push("nothing to ask; confirmed as nothing spoke against it".to_owned());
        }
        Ok(words.join(", "))
    }
}
