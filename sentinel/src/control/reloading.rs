//! The settings read anew while the agent runs: all of them are checked first, and then handed to the rooms that can take
//! others up, the desk first. What no room can take up is said to wait for a restart.

use super::{NewSettings, Renewed};
use crate::config::{Config, InForce, Origins, Problem, differences, reloaded};
use crate::types::{Component, Condition, Health, KeyChange, RELOADING, ReloadError, ReloadWish, Reloaded, Renewer};
use futures_util::future::{BoxFuture, join_all};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How long the desk, which may have much to take back, and how long any other room may take.
const DESK: Duration = Duration::from_secs(25);
const ROOM: Duration = Duration::from_secs(10);
// And the time to read them.
const _: () = assert!(DESK.as_secs() + ROOM.as_secs() + 5 < RELOADING.as_secs());
/// Keys that are named in `/health`.
const NAMED: usize = 12;

/// Reads the settings as the start did.
pub type Reread = Box<dyn Fn() -> Result<(Config, Origins), Vec<Problem>> + Send + Sync>;

/// Hands settings to a room.
pub type Hand = Box<dyn Fn(Arc<Config>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// A room that takes settings up.
pub struct Part {
    /// As it is told.
    pub name: &'static str,
    /// Hands them over, and tells whether they hold.
    pub hand: Hand,
}

impl Part {
    /// By a channel of what the room needs of the settings.
    pub fn new<T: Send + 'static>(
        name: &'static str,
        renewer: Renewer<T>,
        needs: impl Fn(&Arc<Config>) -> T + Send + Sync + 'static,
    ) -> Self {
        let hand = move |config: Arc<Config>| -> BoxFuture<'static, Result<(), String>> {
            let (renewer, settings) = (renewer.clone(), needs(&config));
            Box::pin(async move { renewer.hand(settings, ROOM).await })
        };
        Self {
            name,
            hand: Box::new(hand),
        }
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Part").field(&self.name).finish()
    }
}

/// The room.
pub struct Reloading {
    /// Reads the settings as the start did.
    pub read: Arc<Reread>,
    /// What holds.
    pub now: InForce,
    /// The same for everybody who asks, from the first reload on.
    pub told: watch::Sender<Option<Arc<InForce>>>,
    /// Takes decisions, and the allowlist.
    pub desk: Renewer<NewSettings, Renewed>,
    /// The others.
    pub parts: Vec<Part>,
    /// What needs no answer.
    pub tell: Box<dyn Fn(&Config) + Send>,
    /// Whether the running agent may still do what settings need.
    pub fits: Arc<dyn Fn(&Config) -> bool + Send + Sync>,
    /// Told when a reload begins (true) and ends.
    pub around: Box<dyn Fn(bool) + Send>,
    /// State of every part.
    pub health: watch::Sender<Arc<Health>>,
}

impl std::fmt::Debug for Reloading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloading")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

impl Reloading {
    /// Until `cancel`, one wish after the other.
    pub async fn run(mut self, mut wishes: mpsc::Receiver<ReloadWish>, cancel: CancellationToken) {
        let mut unsettled = false;
        loop {
            let wish = tokio::select! {
                () = cancel.cancelled() => return,
                wish = wishes.recv() => wish,
            };
            let Some(ReloadWish { actor, reply }) = wish else {
                return;
            };
            (self.around)(true);
            let outcome = self.reload(actor, unsettled).await;
            (self.around)(false);
            unsettled = outcome.as_ref().map_or(unsettled, |done| !done.failed.is_empty());
            if let Err(error) = &outcome {
                tracing::error!(%error, "the settings stay as they are");
            }
            // Whoever asked may have left.
            let _ = reply.send(outcome);
        }
    }

    /// Whoever did not take them the last time, which is `unsettled`, is handed them again.
    async fn reload(&mut self, actor: String, unsettled: bool) -> Result<Reloaded, ReloadError> {
        let (read, now, fits) = (
            Arc::clone(&self.read),
            Arc::clone(&self.now.config),
            Arc::clone(&self.fits),
        );
        let read = tokio::task::spawn_blocking(move || {
            let (read, origins) = read()?;
            Ok::<_, Vec<Problem>>((reloaded(&now, &read, &*fits), read, origins))
        });
        let read = read.await;
        let read =
            read.map_err(|_| ReloadError::Failed("reading the settings failed; please report that".to_owned()))?;
        let (next, read, origins) =
            read.map_err(|problems| ReloadError::Invalid(problems.iter().map(ToString::to_string).collect()))?;
        let next = Arc::new(next);
        let applied = differences(&self.now.config, &next);
        let restart = differences(&next, &read);
        let mut done = Reloaded {
            applied,
            restart,
            ..Reloaded::default()
        };
        if unsettled || !done.applied.is_empty() {
            let settings = NewSettings {
                config: Arc::clone(&next),
                changes: done.applied.clone(),
                actor,
            };
            match self.desk.hand(settings, DESK).await {
                Ok(Renewed { released, missing }) => {
                    done.released = released;
                    if !missing.is_empty() {
                        done.failed.push(format!("desk: {}", missing.join("; ")));
                    }
                }
                Err(why) => done.failed.push(format!("desk: {why}")),
            }
            (self.tell)(&next);
            let handed = self.parts.iter().map(|part| async {
                let outcome = (part.hand)(Arc::clone(&next)).await;
                outcome.err().map(|why| format!("{}: {why}", part.name))
            });
            done.failed.extend(join_all(handed).await.into_iter().flatten());
        }
        self.now = InForce {
            config: next,
            origins: Arc::new(origins),
            pending: done.restart.clone(),
        };
        self.told.send_replace(Some(Arc::new(self.now.clone())));
        let condition = condition(&done);
        self.health
            .send_if_modified(|board| Health::note(board, Component::Settings, condition));
        Ok(done)
    }
}

fn condition(done: &Reloaded) -> Condition {
    if !done.failed.is_empty() {
        return Condition::Degraded {
            cause: format!(
                "parts did not take the settings that were reloaded: {}",
                done.failed.join("; ")
            ),
            mend: "`sentinel reload` once more, or restart the agent".to_owned(),
        };
    }
    if done.restart.is_empty() {
        return Condition::Ok {
            detail: "as in the files".to_owned(),
        };
    }
    Condition::Degraded {
        cause: format!(
            "restart pending: {} changed and hold from the next start on",
            named(&done.restart)
        ),
        mend: "restart the agent (`systemctl restart sentinel`), or take the change back and `sentinel reload`"
            .to_owned(),
    }
}

/// Keys as a list.
fn named(keys: &[KeyChange]) -> String {
    let mut names: Vec<_> = keys.iter().take(NAMED).map(|one| one.key.clone()).collect();
    if keys.len() > NAMED {
        names.push(format!("{} more", keys.len() - NAMED));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests;
