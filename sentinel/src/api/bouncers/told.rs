//! What of decisions is told to bouncers. Pure.

use super::wish::Wish;
use crate::types::{ActionKind, Change, Decision, DecisionStatus, Numbered, Origin, Timestamp};
use ipnet::IpNet;
use std::collections::BTreeMap;

/// What bouncers take decisions for one by: value and remediation.
type Place = (IpNet, &'static str);

/// What changed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Delta<'d> {
    pub(super) new: Vec<&'d Numbered>,
    pub(super) deleted: Vec<&'d Numbered>,
}

/// What CrowdSec calls the action in the kernel; `None` for a line in the log.
pub(super) fn kind(decision: &Decision) -> Option<&'static str> {
    match decision.action.in_kernel() {
        ActionKind::LogOnly => None,
        ActionKind::RateLimit => Some("throttle"),
        ActionKind::RedirectToHoneypot => Some("redirect"),
        ActionKind::BlockIp | ActionKind::IsolateContainer | ActionKind::ArpBan => Some("ban"),
    }
}

/// What CrowdSec calls who wanted it.
pub(super) fn origin(decision: &Decision) -> &'static str {
    match decision.origin {
        Origin::Detector | Origin::Fleet => "crowdsec",
        Origin::Operator => "cscli",
    }
}

/// Whether others may act on it.
fn is_for_others(one: &Numbered, wish: &Wish) -> bool {
    (wish.simulated() || !one.decision.simulated) && could_be_for_others(one, wish)
}

/// Whether others may act on it were it not simulated. A limit on whom may be forged says nothing about whoever is at the
/// address.
fn could_be_for_others(one: &Numbered, wish: &Wish) -> bool {
    let decision = &one.decision;
    let acted = !matches!(decision.status, DecisionStatus::Vetoed | DecisionStatus::Logged);
    acted && !decision.of_the_unproven() && wish.has(one)
}

fn stands(decision: &Decision, now: Timestamp) -> bool {
    decision.status == DecisionStatus::Active && decision.expires_at.is_none_or(|end| now < end)
}

/// Of all those in force what is asked for: of each value and remediation the one that holds longest, oldest first.
pub(super) fn standing<'d>(
    all: &'d [Numbered],
    wish: &Wish,
    now: Timestamp,
) -> impl Iterator<Item = &'d Numbered> + use<'d> {
    let mut longest: BTreeMap<Place, &Numbered> = BTreeMap::new();
    for one in all
        .iter()
        .filter(|one| stands(&one.decision, now) && is_for_others(one, wish))
    {
        let Some(kind) = kind(&one.decision) else { continue };
        let place = longest.entry((one.decision.target, kind)).or_insert(one);
        if (one.decision.expires_at, one.number) > (place.decision.expires_at, place.number) {
            *place = one;
        }
    }
    let mut kept: Vec<&Numbered> = longest.into_values().collect();
    kept.sort_unstable_by_key(|one| one.number);
    kept.into_iter()
}

/// What bouncers are told of changes, for each value and remediation once: the one that holds longest is `new`; where none
/// does any more, one that ended is `deleted`, and so is another remediation that it had before.
///
/// `again`: whoever asks leaves what it has as it is, and is to drop it first: what changed its end, or follows on another,
/// is both. What was there before and is simulated now, as all is after a restart in simulation, is over for others.
pub(super) fn delta<'d>(changes: &'d [Change], wish: &Wish, now: Timestamp, again: bool) -> Delta<'d> {
    let mut by_target: BTreeMap<IpNet, Vec<&Change>> = BTreeMap::new();
    // What was simulated all along is told as deleted too, which is no news to anybody.
    let concerns =
        |change: &Change| is_for_others(&change.now, wish) || (!change.came && could_be_for_others(&change.now, wish));
    for change in changes.iter().filter(|change| concerns(change)) {
        by_target.entry(change.now.decision.target).or_default().push(change);
    }
    let mut delta = Delta::default();
    for of_one in by_target.into_values() {
        let changed = of_one.iter().map(|change| &change.now);
        let beside = of_one.iter().flat_map(|change| &change.beside);
        let mut kept: BTreeMap<&str, &Numbered> = BTreeMap::new();
        for one in changed.clone().chain(beside.clone()) {
            let Some(kind) = kind(&one.decision) else { continue };
            if !stands(&one.decision, now) || !is_for_others(one, wish) {
                continue;
            }
            let place = kept.entry(kind).or_insert(one);
            if (one.decision.expires_at, one.number) > (place.decision.expires_at, place.number) {
                *place = one;
            }
        }
        let followed = of_one.len() > 1 || of_one.iter().any(|change| !change.came || !change.beside.is_empty());
        delta.new.extend(kept.values().copied());
        if again && followed {
            delta.deleted.extend(kept.values().copied());
        }
        let mut over: BTreeMap<&str, &Numbered> = BTreeMap::new();
        for one in changed.filter(|one| !stands(&one.decision, now) || !is_for_others(one, wish)) {
            if let Some(kind) = kind(&one.decision)
                && !kept.contains_key(kind)
            {
                over.insert(kind, one);
            }
        }
        delta.deleted.extend(over.into_values());
    }
    delta.new.sort_unstable_by_key(|one| one.number);
    delta.deleted.sort_unstable_by_key(|one| one.number);
    delta
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use crate::types::{Mint, Terms};

    /// A block by a detector, which ends after its number in seconds.
    pub(in crate::api::bouncers) fn numbered(number: i64, target: &str) -> Numbered {
        let at = Timestamp(0);
        Numbered {
            number,
            decision: Decision {
                id: Mint::Counted(number as u64).decision(at),
                at,
                target: target.parse().unwrap(),
                action: ActionKind::BlockIp,
                terms: Terms::default(),
                expires_at: Some(Timestamp(number * 1_000_000_000)),
                until_if_confirmed: None,
                simulated: false,
                origin: Origin::Detector,
                actor: "port_scan".into(),
                reason: "because".into(),
                alert: None,
                severity: None,
                risk: None,
                basis: None,
                investigation: None,
                checks: Vec::new(),
                collateral: None,
                status: DecisionStatus::Active,
                veto: None,
                ended_at: None,
            },
        }
    }
}

#[cfg(test)]
mod tests;
