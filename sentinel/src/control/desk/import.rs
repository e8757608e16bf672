//! A list of decisions, all or none: judged as a whole, stored in one transaction, then carried out in parts, so that
//! alerts are answered meanwhile.

use super::{Desk, Enforcer};
use crate::respond::Line;
use crate::types::{BadLine, CommandError, Decision, Import, ImportError, Imported, Listed, NewDecision, canonical};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// Decisions carried out at a time.
const PART: usize = 2048;
/// Refused lines that are told; the others are counted.
const TOLD: usize = 100;

type Reply = oneshot::Sender<Result<Imported, ImportError>>;

/// The import under way; there is at most one.
#[derive(Default)]
pub(super) struct Imports {
    running: Option<Running>,
}

struct Running {
    /// Until the decisions are stored.
    stored: Option<BoxFuture<'static, Result<(), CommandError>>>,
    /// How that ended.
    outcome: Option<Result<(), CommandError>>,
    /// Still to be carried out, each with what stood on its target when it was drawn up.
    rest: std::vec::IntoIter<(Decision, Option<Decision>)>,
    /// Carried out, each with what stood there.
    done: Vec<(Decision, Option<Decision>)>,
    /// What will be answered.
    answer: Imported,
    actor: String,
    reply: Option<Reply>,
    /// Somebody wants everything taken back.
    cancelled: bool,
}

impl Imports {
    /// Returns when there is a part to be carried out; never where there is none.
    pub(super) async fn ready(&mut self) {
        let Some(running) = &mut self.running else {
            return std::future::pending().await;
        };
        if let Some(stored) = &mut running.stored {
            running.outcome = Some(stored.await);
            running.stored = None;
        }
    }

    /// Whether there is a part to be carried out now.
    pub(super) fn due(&mut self) -> bool {
        self.ready().now_or_never().is_some()
    }

    /// Everything is to be taken back: what is under way goes no further.
    pub(super) fn cancel(&mut self) {
        if let Some(running) = &mut self.running {
            running.cancelled = true;
        }
    }
}

impl<E: Enforcer> Desk<E> {
    /// Judges a list and has it stored; [`Desk::import_part`] goes on from there.
    pub(super) fn import(&mut self, import: Import, reply: Reply) {
        match self.draw_up(import) {
            Ok(mut running) => {
                running.reply = Some(reply);
                // On its way to the disk from here on: what becomes of the same decisions later is stored after it.
                if let Some(outcome) = running.stored.as_mut().and_then(FutureExt::now_or_never) {
                    (running.stored, running.outcome) = (None, Some(outcome));
                }
                self.imports.running = Some(running);
            }
            Err(error) => {
                tracing::info!(%error, "import refused");
                let _ = reply.send(Err(error));
            }
        }
    }

    fn draw_up(&mut self, import: Import) -> Result<Running, ImportError> {
        if self.imports.running.is_some() {
            let text = "another import is under way; try again when it is done";
            return Err(CommandError::Failed(text.to_owned()).into());
        }
        let mut bad = import.unread;
        let mut good: Vec<Listed> = Vec::with_capacity(import.wishes.len());
        for listed in import.wishes {
            match self.judge.acceptable(&listed.wish, &self.guards) {
                Ok(()) => good.push(listed),
                Err(error) => {
                    bad.push(refused(&listed, &error));
                    if let CommandError::Vetoed(veto) = &error {
                        self.deps.metrics.veto(veto);
                    }
                }
            }
        }
        bad.sort();
        let total = bad.len() as u64;
        bad.truncate(TOLD);
        if total > 0 && !import.skip_bad {
            return Err(ImportError::Bad { lines: bad, total });
        }
        let lines = good.len() as u64;
        let wishes = last_of_each(good);
        if wishes.is_empty() {
            let text = "there is no line to import";
            return Err(CommandError::Invalid(text.to_owned()).into());
        }
        let targets: Vec<_> = wishes.iter().map(|wish| canonical(wish.target)).collect();
        self.responder.room_for(targets.iter())?;
        let now = self.now();
        let drawn = self.judge.draw_up(wishes.iter(), now);
        let answer = Imported {
            imported: drawn.len() as u64,
            replaced: 0,
            repeated: lines - drawn.len() as u64,
            skipped: total,
            bad,
            simulated: drawn.iter().any(|d| d.simulated),
        };
        let line = Line {
            at: now,
            actor: import.actor.clone(),
            verb: "imported",
            subject: format!("{} decisions", drawn.len()),
            detail: format!("{} lines repeated, {total} skipped", answer.repeated),
        };
        let stored = self.responder.keep_all(&drawn, line);
        // One that has the name of what stands there was drawn up to take its place.
        let rest: Vec<_> = drawn
            .into_iter()
            .map(|decision| {
                let stood = self.judge.active_on(&decision.target).cloned();
                (decision, stood)
            })
            .collect();
        Ok(Running {
            stored: Some(stored),
            outcome: None,
            rest: rest.into_iter(),
            done: Vec::new(),
            answer,
            actor: import.actor,
            reply: None,
            cancelled: false,
        })
    }

    /// Carries out the next part, and answers after the last.
    pub(super) async fn import_part(&mut self) {
        let Some(mut running) = self.imports.running.take() else {
            return;
        };
        match running.outcome.take() {
            Some(Err(error)) => return answer(running, Err(error.into())),
            Some(Ok(())) => running.outcome = Some(Ok(())),
            None => {
                self.imports.running = Some(running);
                return;
            }
        }
        if running.cancelled {
            let why = "everything was to be taken back meanwhile";
            return self.undo_import(running, why.to_owned()).await;
        }
        self.tallies.stale = true;
        let now = self.now();
        let mut part = Vec::with_capacity(PART);
        let mut stood = Vec::with_capacity(PART);
        let mut before = Vec::with_capacity(PART);
        for (decision, drawn_on) in running.rest.by_ref().take(PART) {
            let there = self.judge.enlist(&decision);
            // What became of that one since was stored later, and over this one where they have one name.
            let as_drawn = there == drawn_on;
            stood.push((decision.clone(), there));
            part.push((decision, as_drawn));
            before.push(drawn_on);
        }
        let (done, outcome) = self.responder.enlist(part, now).await;
        // The one that failed may have left what stood there ended: it is put back with the others.
        let touched = (done + 1).min(stood.len());
        let untouched = stood.split_off(touched);
        running.done.extend(stood);
        for (decision, there) in &untouched {
            self.judge.strike(decision, there.as_ref());
        }
        if let Err(error) = outcome {
            let untouched = untouched.into_iter().map(|(decision, _)| decision);
            let rest: Vec<_> = untouched.zip(before.split_off(touched)).collect();
            running.rest = rest.into_iter().chain(running.rest).collect::<Vec<_>>().into_iter();
            let why = match error {
                CommandError::Failed(why) => why,
                other => other.to_string(),
            };
            return self.undo_import(running, why).await;
        }
        if running.rest.len() > 0 {
            self.imports.running = Some(running);
            return;
        }
        self.responder.enlisted();
        running.answer.replaced = running.done.iter().filter(|(_, stood)| stood.is_some()).count() as u64;
        self.count_active();
        self.note_respond();
        self.publish_hits(0);
        let told = Ok(running.answer.clone());
        tracing::info!(decisions = running.answer.imported, actor = %running.actor, "imported");
        answer(running, told);
    }

    /// Nothing of an import may stay, and what it took the place of comes back.
    async fn undo_import(&mut self, mut running: Running, why: String) {
        let now = self.now();
        // What is to come back may have run out, or be protected by now; then it is over as if it had stayed. What was
        // taken back or changed since is somebody's later word, and holds.
        let mut done = std::mem::take(&mut running.done);
        let carried_out = done.len();
        done.retain(|(decision, _)| self.judge.active_on(&decision.target) == Some(decision));
        for (decision, stood) in &mut done {
            *stood = stood.take().filter(|d| d.expires_at.is_none_or(|end| end > now));
            self.judge.strike(decision, stood.as_ref());
        }
        let left = carried_out - done.len();
        // A decision that was only to take another's place must not end that one's record, nor stand in that of its end.
        let (named, stored): (Vec<_>, Vec<_>) = running
            .rest
            .by_ref()
            .partition(|(d, drawn_on)| drawn_on.as_ref().is_some_and(|there| there.id == d.id));
        let stored: Vec<_> = stored.into_iter().map(|(decision, _)| decision).collect();
        let (failed, still) = self.responder.unlist(done, stored, &running.actor, now).await;
        let lost = failed.len();
        for id in failed {
            self.judge.fail(id);
        }
        let standing = |decision: &Decision| {
            let there = self.judge.active_on(&decision.target);
            there.filter(|there| there.id == decision.id).cloned()
        };
        let back: Vec<_> = named.iter().filter_map(|(decision, _)| standing(decision)).collect();
        self.responder.restate(&back).await;
        let text = undone(&why, left, still, lost);
        let line = Line {
            at: now,
            actor: running.actor.clone(),
            verb: "import_undone",
            subject: format!("{} decisions", running.answer.imported),
            detail: text.clone(),
        };
        self.responder.note(line).await;
        self.count_active();
        self.note_respond();
        answer(running, Err(CommandError::Failed(text).into()));
    }
}

/// Why an import was taken back, and what of it was not: how many are somebody else's by now, how many are still in the
/// kernel, and how many that stood before did not come back.
fn undone(why: &str, left: usize, still: usize, lost: usize) -> String {
    let but: Vec<String> = [
        (left, "ended or were changed meanwhile and are as they are"),
        (still, "are still in the kernel and tried again every second"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!(" but {count}, which {what}"))
    .collect();
    let back = match lost {
        0 => String::new(),
        lost => format!("; earlier decisions that could not be put back: {lost}"),
    };
    format!("{why}; all of it was taken back{}{back}", but.join(", and"))
}

fn answer(running: Running, told: Result<Imported, ImportError>) {
    if let Some(reply) = running.reply {
        let _ = reply.send(told);
    }
}

fn refused(listed: &Listed, error: &CommandError) -> BadLine {
    let (problem, guard) = match error {
        CommandError::Vetoed(veto) => (veto.reason.clone(), Some(veto.guard.clone())),
        other => (other.to_string(), None),
    };
    BadLine {
        line: listed.line,
        problem,
        guard,
    }
}

/// Of several lines on one target the last holds, as when they were added one after the other; in the order of the file.
fn last_of_each(listed: Vec<Listed>) -> Vec<NewDecision> {
    let mut last: HashMap<_, usize> = HashMap::with_capacity(listed.len());
    for (at, one) in listed.iter().enumerate() {
        last.insert(canonical(one.wish.target), at);
    }
    listed
        .into_iter()
        .enumerate()
        .filter(|(at, one)| last.get(&canonical(one.wish.target)) == Some(at))
        .map(|(_, one)| one.wish)
        .collect()
}
