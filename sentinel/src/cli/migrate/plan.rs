//! What is to be done of what was found. Pure.

use crate::migrate::{Ban, Found};
use crate::types::{Decision, Protected, Timestamp};
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Ends that are this close are the same.
const CLOSE: Duration = Duration::from_secs(2);

/// How it stands with the agent.
pub(super) struct Here {
    protected: Vec<Protected>,
    active: BTreeMap<IpNet, Decision>,
}

impl Here {
    pub(super) fn new(protected: Vec<Protected>, active: impl Iterator<Item = Decision>) -> Self {
        Self {
            protected,
            active: active.map(|decision| (decision.target, decision)).collect(),
        }
    }
}

/// What becomes of one thing that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is done: `allow`, or the word of an action.
    Do(&'static str),
    /// It is so already.
    There,
    /// It is not done, for this reason.
    Refused(String),
}

/// One thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) target: IpNet,
    pub(super) fate: Fate,
    /// Until when; `None`: for good.
    pub(super) until: Option<Timestamp>,
    /// What is kept with it.
    pub(super) reason: String,
    /// What is to be known of it.
    note: Option<&'static str>,
    length: Duration,
}

impl Step {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.fate, Fate::Do(_))
    }

    /// In words.
    pub(super) fn because(&self) -> String {
        let note = self.note.map_or(String::new(), |note| format!("; {note}"));
        match &self.fate {
            Fate::Do(_) => format!("{}{note}", self.reason),
            Fate::There => format!("{}: it is so already", self.reason),
            Fate::Refused(why) => format!("{}, and {why}", self.reason),
        }
    }

    /// As the agent imports it; `None` where it does not.
    pub(super) fn line(&self) -> Option<Value> {
        let Fate::Do(kind) = self.fate else { return None };
        Some(json!({
            "value": self.target,
            "type": kind,
            "duration": format!("{}ms", self.length.as_millis()),
            "reason": self.reason,
        }))
    }
}

/// Everything that is to be done, in order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) allow: Vec<Step>,
    pub(super) ban: Vec<Step>,
}

impl Plan {
    /// `longest` is the longest block there may be; without `here` nothing is known of the agent.
    pub(super) fn draw(found: &Found, here: Option<&Here>, longest: Duration, now: Timestamp) -> Self {
        let allow = found.spared.iter().map(|(target, place)| {
            let covered = |guard: &Protected| guard.guard == "allowlist" && guard.target.contains(target);
            let there = here.is_some_and(|here| here.protected.iter().any(covered));
            Step {
                target: *target,
                fate: if there { Fate::There } else { Fate::Do("allow") },
                until: None,
                reason: place.clone(),
                note: None,
                length: Duration::ZERO,
            }
        });
        let ban = found.bans.values().map(|ban| step(ban, found, here, longest, now));
        Self {
            allow: allow.collect(),
            ban: ban.collect(),
        }
    }

    pub(super) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.allow.iter().chain(&self.ban)
    }

    /// How many are allowed, and how many blocked or limited.
    pub(super) fn counts(&self) -> (usize, usize) {
        let done = |steps: &[Step]| steps.iter().filter(|step| step.is_done()).count();
        (done(&self.allow), done(&self.ban))
    }
}

fn step(ban: &Ban, found: &Found, here: Option<&Here>, longest: Duration, now: Timestamp) -> Step {
    let last = now.after(longest);
    let cut = ban.until.is_none_or(|end| end > last);
    let until = if cut { last } else { ban.until.unwrap_or(last) };
    let kind = ban.action.profile().words.first().copied().unwrap_or("block");
    Step {
        target: ban.target,
        fate: fate(ban, (until, cut), kind, found, here),
        until: Some(until),
        reason: ban.reason.clone(),
        note: cut.then_some("cut to `response.max_duration`"),
        length: Duration::from_nanos(until.0.saturating_sub(now.0).max(1_000_000) as u64),
    }
}

fn fate(ban: &Ban, (until, cut): (Timestamp, bool), kind: &'static str, found: &Found, here: Option<&Here>) -> Fate {
    let meets = |net: &IpNet| net.contains(&ban.target) || ban.target.contains(net);
    if let Some((net, place)) = found.spared.iter().find(|(net, _)| meets(net)) {
        return Fate::Refused(format!("{net} is spared there ({place})"));
    }
    let Some(here) = here else { return Fate::Do(kind) };
    if let Some(guard) = here.protected.iter().find(|guard| meets(&guard.target)) {
        return Fate::Refused(format!(
            "{} is protected here by guard {}: {}",
            guard.target, guard.guard, guard.reason
        ));
    }
    let stands = here.active.get(&ban.target).is_some_and(|decision| {
        let lasts = decision.expires_at.is_none_or(|end| end.after(CLOSE) >= until);
        // Cut, it would end later with each time it is carried over.
        decision.action >= ban.action && (lasts || (cut && decision.reason == ban.reason))
    });
    if stands { Fate::There } else { Fate::Do(kind) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::ActionKind;

    const NOW: Timestamp = Timestamp(1_767_225_600_000_000_000);

    fn ban(target: &str, hours: Option<u64>) -> Ban {
        Ban {
            target: target.parse().unwrap(),
            action: ActionKind::BlockIp,
            until: hours.map(|hours| NOW.after(Duration::from_hours(hours))),
            reason: "fail2ban sshd".into(),
        }
    }

    #[test]
    fn what_is_spared_or_protected_is_not_blocked_and_what_has_no_end_gets_one() {
        let mut found = Found::default();
        for one in [
            ban("203.0.113.1/32", Some(1)),
            ban("203.0.113.2/32", None),
            ban("198.51.100.9/32", Some(1)),
            ban("192.0.2.0/24", Some(1)),
        ] {
            found.bans.insert(one.target, one);
        }
        let net = |text: &str| -> IpNet { text.parse().unwrap() };
        found
            .spared
            .insert(net("198.51.100.0/24"), "ignoreip of [DEFAULT]".into());
        let here = Here::new(
            vec![Protected {
                target: net("192.0.2.1/32"),
                guard: "gateway".into(),
                reason: "it is the gateway".into(),
            }],
            std::iter::empty(),
        );
        let longest = Duration::from_hours(720);
        let plan = Plan::draw(&found, Some(&here), longest, NOW);
        assert_eq!(plan.counts(), (1, 2));
        let of = |target: &str| plan.steps().find(|step| step.target == net(target)).unwrap();
        assert_eq!(of("203.0.113.1/32").until, Some(NOW.after(Duration::from_hours(1))));
        assert_eq!(of("203.0.113.2/32").until, Some(NOW.after(longest)));
        assert!(of("203.0.113.2/32").because().contains("max_duration"));
        assert!(of("198.51.100.9/32").because().contains("spared there"));
        assert!(of("192.0.2.0/24").because().contains("guard gateway"));
        let line = of("203.0.113.1/32").line().unwrap();
        assert_eq!(
            (line["duration"].as_str(), line["type"].as_str()),
            (Some("3600000ms"), Some("block"))
        );
        assert_eq!(of("192.0.2.0/24").line(), None);
        // Without an agent nothing is known of what it protects.
        assert_eq!(Plan::draw(&found, None, longest, NOW).counts(), (1, 3));
    }

    #[test]
    fn what_lasts_longer_there_is_done_again_but_for_what_was_cut_the_last_time_as_well() {
        let longest = Duration::from_hours(720);
        let held = |target: &str| Decision {
            target: target.parse().unwrap(),
            reason: "fail2ban sshd".into(),
            expires_at: Some(NOW.after(Duration::from_hours(1))),
            ..crate::respond::tests::rig::block(target)
        };
        let mut found = Found::default();
        for one in [
            ban("203.0.113.1/32", None),
            ban("203.0.113.2/32", Some(2)),
            ban("203.0.113.3/32", Some(1)),
        ] {
            found.bans.insert(one.target, one);
        }
        let all = found.bans.keys().map(|target| held(&target.to_string()));
        let here = Here::new(Vec::new(), all.collect::<Vec<_>>().into_iter());
        let plan = Plan::draw(&found, Some(&here), longest, NOW);
        let fates: Vec<_> = plan.steps().map(|step| step.fate.clone()).collect();
        assert_eq!(fates, [Fate::There, Fate::Do("block"), Fate::There]);
    }
}
