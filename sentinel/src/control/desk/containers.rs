//! What is known of containers, and which of them are to be cut off.

use super::Desk;
use crate::respond::Enforcer;
use crate::types::{ActionKind, Decision, Isolate, ToIsolate};
use std::sync::Arc;

impl<E: Enforcer> Desk<E> {
    /// Tells the judge who is a container now.
    pub(super) fn see_containers(&mut self) {
        if let Some(containers) = &mut self.deps.containers {
            let known = Arc::clone(&containers.borrow_and_update());
            self.judge.set_containers(Some(known));
        }
    }

    /// Tells the rooms that isolate and ban what is in force and asks for it.
    pub(super) fn tell_isolations(&self) {
        self.tell_bans();
        let isolates = |decision: &&Decision| decision.action == ActionKind::IsolateContainer;
        let now: ToIsolate = self
            .responder
            .in_force()
            .filter(isolates)
            .map(|decision| {
                let wish = Isolate {
                    address: decision.target.addr(),
                    simulated: decision.simulated || self.stopped.is_some(),
                    expires_at: decision.expires_at,
                };
                (decision.id, wish)
            })
            .collect();
        self.deps.to_isolate.send_if_modified(|told| {
            let changed = **told != now;
            if changed {
                *told = Arc::new(now);
            }
            changed
        });
    }
}
