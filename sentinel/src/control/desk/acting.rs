//! The global stop: everything becomes simulation at once, until a person says otherwise.

use super::{Desk, Enforcer};
use crate::config::Mode;
use crate::respond::Line;
use crate::types::{Acting, CommandError, Component, Condition, Stop};
use std::sync::Arc;

/// What the audit says of a word that was said before.
const STOPPED_AGAIN: &str = "acting_stopped_again";
const RESUMED_AGAIN: &str = "acting_resumed_again";

impl<E: Enforcer> Desk<E> {
    /// Takes up the stop of an earlier run. Call before anything is decided; the programs were loaded with it.
    pub fn stopped_before(&mut self, stop: Option<Stop>) {
        if let Some(stop) = stop {
            tracing::warn!(%stop, "entries only count until `sentinel resume-acting`");
            self.judge.set_stopped(true);
            self.responder.hold_back(stop.clone());
            self.stopped = Some(stop);
        }
        self.tell_acting();
    }

    /// The kernel first, read back; then the books, the disk and whoever listens.
    pub(super) async fn act(&mut self, on: bool, actor: String, reason: String) -> Result<Acting, CommandError> {
        let at = self.now();
        if on == self.stopped.is_none() {
            // Asked again, perhaps because it failed: as the kernel has it, and not as it was thought to be.
            let acts = on && self.judge.mode() == Mode::Production;
            self.responder.check_switch(acts).map_err(|error| {
                let word = if on { "resumed" } else { "stopped" };
                CommandError::Failed(format!("whether acting is {word} cannot be told; try again: {error}"))
            })?;
            // The first word may have been lost on its way to the disk.
            let line = Line {
                at,
                actor,
                verb: if on { RESUMED_AGAIN } else { STOPPED_AGAIN },
                subject: "all actions".to_owned(),
                detail: reason,
            };
            self.responder.note_stop(self.stopped.clone(), line).await;
            return Ok(self.acting());
        }
        let line = Line {
            at,
            actor: actor.clone(),
            verb: if on { "acting_resumed" } else { "acting_stopped" },
            subject: "all actions".to_owned(),
            detail: reason.clone(),
        };
        let failed = |error: &dyn std::fmt::Display| CommandError::Failed(format!("nothing was changed: {error}"));
        if on {
            // What comes into force again is what should be: ends, guards and entries as they stand now.
            self.expire().await;
            self.recheck(at).await;
            self.responder.self_check().map_err(|error| failed(&error))?;
            if self.judge.mode() == Mode::Production
                && let Err(error) = self.responder.switch(true)
            {
                // On the safe side, whatever it took.
                let back = self.responder.switch(false);
                tracing::error!(%error, ?back, "acting could not be resumed");
                return Err(back.map_or_else(
                    |back| {
                        CommandError::Failed(format!(
                            "acting could not be resumed ({error}), and whether it is stopped cannot be told ({back}); \
                             it is tried again within a minute"
                        ))
                    },
                    |()| failed(&error),
                ));
            }
            self.judge.set_stopped(false);
            self.responder.release();
            self.stopped = None;
        } else {
            let stop = Stop { at, actor, reason };
            self.responder.switch(false).map_err(|error| {
                CommandError::Failed(format!(
                    "acting was not stopped, as far as can be told; try again: {error}"
                ))
            })?;
            self.judge.set_stopped(true);
            self.responder.hold_back(stop.clone());
            self.stopped = Some(stop);
        }
        self.take_ground();
        self.tell_acting();
        self.tell_isolations();
        self.responder.note_stop(self.stopped.clone(), line).await;
        self.retelling = true;
        self.tallies.stale = true;
        if let Some(stop) = &self.stopped {
            tracing::warn!(%stop, "entries only count until `sentinel resume-acting`");
        } else {
            tracing::info!("acting was resumed");
        }
        Ok(self.acting())
    }

    fn acting(&self) -> Acting {
        Acting {
            stopped: self.stopped.clone(),
        }
    }

    fn tell_acting(&self) {
        self.deps.acting.send_replace(Arc::new(self.acting()));
        self.deps.metrics.acting_stopped.set(self.stopped.is_some().into());
        let condition = match (&self.stopped, self.judge.mode()) {
            (Some(stop), _) => Condition::Degraded {
                cause: format!("entries only count: {stop}"),
                mend: "`sentinel resume-acting` puts everything in force again".to_owned(),
            },
            (None, Mode::Production) => Condition::Ok {
                detail: "decisions are carried out".to_owned(),
            },
            (None, Mode::Simulation) => Condition::Ok {
                detail: "simulation: nothing is carried out".to_owned(),
            },
        };
        self.condition(Component::Acting, condition);
    }
}
