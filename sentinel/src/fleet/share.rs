//! From what changed in this node's books to what it tells the others. Pure.

use super::word::{Decided, Said, What};
use crate::config::FleetConfig;
use crate::types::{Allowed, Decision, DecisionStatus, FleetChange, FleetLocal, FleetWord, Origin, Timestamp};
use ipnet::IpNet;
use std::net::IpAddr;

/// Who ended something here, for people elsewhere.
const SOMEBODY: &str = "an operator";

/// What is to be said of a change, if anything: `known` is the latest word on its subject.
pub(super) fn say(
    change: &FleetChange,
    known: Option<&Said>,
    config: &FleetConfig,
    node: &str,
    now: Timestamp,
) -> Option<Said> {
    let what = match &change.local {
        FleetLocal::Decision(Some((decision, sure))) => {
            of_decision(decision, *sure, change.known.as_ref(), known, config, node, now)
        }
        FleetLocal::Decision(None) => None,
        FleetLocal::Allowed(entry) => of_allowed(change, entry.as_ref(), known, config, now),
    }?;
    let version = known.map_or(now.0, |known| now.0.max(known.version.saturating_add(1)));
    Some(Said::new(node, version, what))
}

fn of_decision(
    decision: &Decision,
    sure: Option<f64>,
    word: Option<&FleetWord>,
    known: Option<&Said>,
    config: &FleetConfig,
    node: &str,
    now: Timestamp,
) -> Option<What> {
    if decision.status == DecisionStatus::Active {
        return decided(decision, sure, known, config).map(What::Decided);
    }
    // What was only tried here ends nothing elsewhere.
    if decision.simulated {
        return None;
    }
    // It came and went between two looks: somebody else may have it, too, and a person's word is later.
    let by_a_person = decision.status == DecisionStatus::Deleted && decision.veto.is_none();
    let ours = decision.origin != Origin::Fleet && decision.expires_at > Some(now);
    if known.is_none() && by_a_person && ours && (config.private || !is_private(decision.target)) {
        return Some(What::Released {
            target: decision.target,
            actor: SOMEBODY.to_owned(),
            by_person: true,
            until: decision.expires_at,
        });
    }
    // It ended: that is told where the others still have it.
    let Some(Said {
        node: by,
        what: What::Decided(standing),
        ..
    }) = known
    else {
        return None;
    };
    let since = decision.ended_at >= word.map(|word| word.at);
    if standing.until <= now || !since {
        return None;
    }
    let by_person = match decision.status {
        // A guard of this node has its reasons here; what we told is taken back with it.
        DecisionStatus::Deleted if decision.veto.is_some() => (by == node).then_some(false),
        DecisionStatus::Deleted => Some(true),
        DecisionStatus::Lifted => Some(false),
        _ => None,
    }?;
    Some(What::Released {
        target: decision.target,
        actor: if by_person { SOMEBODY } else { "sentinel" }.to_owned(),
        by_person,
        until: Some(standing.until),
    })
}

/// What is told of a decision that is in force, if it is told at all and is not known as it is.
fn decided(decision: &Decision, sure: Option<f64>, known: Option<&Said>, config: &FleetConfig) -> Option<Decided> {
    let share = &config.share;
    let named = |list: &[String], word: &str| list.iter().any(|one| one == word);
    let provisional = decision.until_if_confirmed.is_some();
    // What others may not be harmed by: what is only tried, what was heard from them, and what anybody can forge.
    if decision.simulated || provisional || decision.origin == Origin::Fleet || decision.of_the_unproven() {
        return None;
    }
    let confidence = match decision.origin {
        Origin::Operator => 1.0,
        _ => sure.unwrap_or(0.0),
    };
    let may = named(&share.actions, decision.action.as_str())
        && named(&share.by, decision.origin.as_str())
        && confidence >= share.min_confidence
        && (config.private || !is_private(decision.target));
    let until = decision.expires_at?;
    if let Some(What::Decided(standing)) = known.map(|known| &known.what)
        && standing.action == decision.action
        && standing.rate == decision.terms.rate
        && standing.egress == decision.terms.egress
        && standing.until == until
    {
        return None;
    }
    may.then(|| Decided {
        id: decision.id,
        target: decision.target,
        action: decision.action,
        rate: decision.terms.rate,
        egress: decision.terms.egress,
        until,
        by: decision.origin,
        actor: decision.actor.clone(),
        reason: decision.reason.clone(),
        severity: decision.severity,
        risk: decision.risk,
        confidence,
    })
}

fn of_allowed(
    change: &FleetChange,
    entry: Option<&Allowed>,
    known: Option<&Said>,
    config: &FleetConfig,
    now: Timestamp,
) -> Option<What> {
    if !config.share.allowlist {
        return None;
    }
    let Some(entry) = entry else {
        let Some(What::Allowed { until, .. }) = known.map(|known| &known.what) else {
            return None;
        };
        // Its time ran out, for everybody.
        if until.is_some_and(|until| until <= now) {
            return None;
        }
        return Some(What::Disallowed {
            target: change.subject.get(1..)?.parse().ok()?,
            actor: SOMEBODY.to_owned(),
        });
    };
    if let Some(What::Allowed { comment, until, .. }) = known.map(|known| &known.what)
        && (comment, until) == (&entry.comment, &entry.expires_at)
    {
        return None;
    }
    (config.private || !is_private(entry.target)).then(|| What::Allowed {
        target: entry.target,
        actor: entry.actor.clone(),
        comment: entry.comment.clone(),
        until: entry.expires_at,
    })
}

/// Whether elsewhere somebody else may have the address (RFC 1918, RFC 6598, RFC 4193, and what never leaves a link).
pub(super) fn is_private(target: IpNet) -> bool {
    match target.addr() {
        IpAddr::V4(ip) => {
            let shared = ip.octets()[0] == 100 && ip.octets()[1] & 0xc0 == 64;
            ip.is_private() || ip.is_link_local() || ip.is_loopback() || shared
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    }
}
