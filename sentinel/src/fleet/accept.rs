//! From another node's word to what this one does about it. Pure.

use super::clocks::Clocks;
use super::share::is_private;
use super::word::{Said, What, clean};
use crate::config::FleetConfig;
use crate::types::{ActionKind, Allowed, FleetDecision, FleetOrder, Origin};
use std::time::Duration;

/// How long no detector puts back what a person ended.
const HOLD: Duration = Duration::from_mins(1);

/// Whether a word is a detector's that came too soon after a person's end, which is the latest word before: whoever said it
/// did not know.
pub(super) fn is_held(said: &Said, before: &Said) -> bool {
    let by_detector = matches!(&said.what, What::Decided(decided) if decided.by == Origin::Detector);
    let ended = matches!(before.what, What::Released { by_person: true, .. });
    by_detector && ended && said.version < before.version.saturating_add(HOLD.as_nanos() as i64)
}

/// What follows from a word.
///
/// # Errors
/// Why nothing does: the key of `fleet.accept` that says so, `fleet.private`, or `over`.
pub(super) fn order(said: &Said, config: &FleetConfig, clocks: Clocks) -> Result<FleetOrder, &'static str> {
    let now = clocks.wall;
    let accept = &config.accept;
    let named = |list: &[String], word: &str| list.iter().any(|one| one == word);
    let actor = |actor: &str| format!("{} at {}", clean(actor), said.node);
    let target = match &said.what {
        What::Decided(decided) => decided.target,
        What::Released { target, .. } | What::Allowed { target, .. } | What::Disallowed { target, .. } => *target,
    };
    if is_private(target) && !config.private {
        return Err("private");
    }
    match &said.what {
        What::Decided(decided) => {
            let by_person = match decided.by {
                Origin::Operator => true,
                Origin::Detector => false,
                Origin::Fleet => return Err("by"),
            };
            // A person shortened it, and that time is over: what was longer before is no longer wanted.
            if by_person && decided.until <= now {
                return Ok(FleetOrder::Release {
                    target,
                    actor: actor(&decided.actor),
                    by_person,
                    as_of: clocks.desk,
                });
            }
            let wide = target.prefix_len() < target.max_prefix_len();
            for (refuses, why) in [
                (decided.until <= now, "over"),
                (!named(&accept.by, decided.by.as_str()), "by"),
                (!named(&accept.actions, decided.action.as_str()), "actions"),
                (
                    !by_person && decided.confidence < accept.min_confidence,
                    "min_confidence",
                ),
                (wide && !accept.prefixes, "prefixes"),
                (decided.action == ActionKind::LogOnly, "actions"),
            ] {
                if refuses {
                    return Err(why);
                }
            }
            Ok(FleetOrder::Follow(FleetDecision {
                id: decided.id,
                target,
                // A container with that address is another one here.
                action: match decided.action {
                    ActionKind::IsolateContainer => ActionKind::BlockIp,
                    action => action,
                },
                rate: decided.rate,
                egress: decided.egress,
                until: clocks.heard(decided.until.min(now.after(accept.max_duration))),
                as_of: clocks.desk,
                by_person,
                actor: actor(&decided.actor),
                reason: clean(&decided.reason),
                severity: decided.severity,
                risk: decided.risk,
            }))
        }
        What::Released {
            actor: who, by_person, ..
        } => Ok(FleetOrder::Release {
            target,
            actor: actor(who),
            by_person: *by_person,
            as_of: clocks.desk,
        }),
        What::Allowed { .. } | What::Disallowed { .. } if !accept.allowlist => Err("allowlist"),
        What::Allowed {
            actor: who,
            comment,
            until,
            ..
        } => {
            if until.is_some_and(|until| until <= now) {
                return Err("over");
            }
            Ok(FleetOrder::Allow(Allowed {
                target,
                comment: clean(comment),
                actor: actor(who),
                at: clocks.desk,
                expires_at: until.map(|until| clocks.heard(until)),
            }))
        }
        What::Disallowed { actor: who, .. } => Ok(FleetOrder::Disallow {
            target,
            actor: actor(who),
        }),
    }
}
