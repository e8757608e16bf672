//! Interfaces that come and go: whenever the kernel announces a change, and once a second in any case, what is attached
//! is brought in line with what there is. The time in between is counted.

use super::Gauges;
use crate::host::HostFacts;
use crate::kernel::{Kernel, State, Tended};
use crate::time;
use crate::types::Ktime;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// How often is looked without an announcement: a lost one costs no more than this.
const LOOK: Duration = Duration::from_secs(1);

/// The room.
pub struct Guard {
    /// What attaches.
    pub kernel: Box<Kernel>,
    /// The interfaces of the configuration; empty to follow the default route.
    pub configured: Vec<String>,
    /// The host's links and default route.
    pub facts: watch::Receiver<Arc<HostFacts>>,
    /// Where the unprotected time goes.
    pub gauges: Arc<Gauges>,
}

impl Guard {
    /// Runs until cancelled. `watched` is what was attached at the start.
    pub async fn run(&mut self, watched: Vec<String>, cancel: CancellationToken) {
        let mut timer = tokio::time::interval(LOOK);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut wanted = watched;
        let mut exposure = Exposure::default();
        let mut before = time::boot_now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = self.facts.changed() => if changed.is_err() { return },
                _ = timer.tick() => {}
            }
            self.follow(&mut wanted);
            let looks = self.kernel.tend(&wanted);
            let now = time::boot_now();
            let unprotected = exposure.since(&looks, before, now);
            let nanos = u64::try_from(unprotected.as_nanos()).unwrap_or(u64::MAX);
            self.gauges.unprotected_ns.fetch_add(nanos, Ordering::Relaxed);
            before = now;
        }
    }

    /// Where no interface is configured, the watched one is that of the default route, wherever it moves. Without a
    /// default route it stays where it was.
    fn follow(&mut self, wanted: &mut Vec<String>) {
        let facts = self.facts.borrow_and_update();
        if let Some(default) = facts.default_interface.as_ref().filter(|_| self.configured.is_empty())
            && !wanted.contains(default)
        {
            tracing::info!(from = ?wanted, to = default, "the default route moved");
            *wanted = vec![default.clone()];
        }
    }
}

/// Counts the time interfaces were there and unprotected.
#[derive(Debug, Default)]
struct Exposure {
    /// How each interface was at the latest look.
    known: HashMap<String, State>,
}

impl Exposure {
    /// Unprotected time between two looks, summed over interfaces: all of it where an interface came or is refused.
    /// That is an upper bound, for it may have come just before the second look.
    fn since(&mut self, looks: &[Tended], before: Ktime, now: Ktime) -> Duration {
        let mut sum = Duration::ZERO;
        for look in looks {
            if matches!(look.state, State::Came | State::Refused) {
                sum += now.since(before);
            }
            let old = self.known.insert(look.interface.clone(), look.state);
            if look.state == State::Came {
                let at_most = now.since(before);
                tracing::info!(
                    interface = look.interface,
                    ?old,
                    ?at_most,
                    "protected again; unprotected for"
                );
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_and_unprotected_is_counted_and_nothing_else() {
        let mut exposure = Exposure::default();
        let look = |state| {
            [Tended {
                interface: "eth0".into(),
                state,
            }]
        };
        let mut at = Ktime(0);
        let mut sum = Duration::ZERO;
        for (state, millis) in [
            (State::Attached, 1000),
            (State::Absent, 1000),
            (State::Came, 70),
            (State::Attached, 1000),
            (State::Refused, 300),
            (State::Refused, 1000),
            (State::Came, 500),
        ] {
            let now = at.after(Duration::from_millis(millis));
            sum += exposure.since(&look(state), at, now);
            at = now;
        }
        assert_eq!(sum, Duration::from_millis(70 + 300 + 1000 + 500));
    }
}
