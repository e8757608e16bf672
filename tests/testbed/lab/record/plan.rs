//! Which attacks a session holds, in which order, and for how long: a matter of its seed alone.

use super::kind::{KINDS, Kind, Scope, Steps};
use super::rng::Rng;
use crate::tools;
use anyhow::{Result, ensure};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Attacks of a session; each has an address of its own, and a lab has not many more.
pub(super) const MAX_ATTACKS: usize = 60;
/// Only benign traffic at the beginning and at the end, s.
pub(super) const LEAD: u64 = 4;
/// An attack lasts so long times its weight, s.
const LASTS: std::ops::RangeInclusive<u64> = 5..=20;
/// Between two attacks, s.
const GAP: std::ops::RangeInclusive<u64> = 1..=3;

/// One attack to come.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) kind: &'static Kind,
    /// Before it begins.
    pub(super) gap: Duration,
    /// After which it is ended.
    pub(super) lasts: Duration,
    /// The last number of its address.
    pub(super) number: u8,
    pub(super) steps: Steps,
}

/// Kinds that can be run here: those asked for by family (all if none is), and the programs missing for the others.
pub(super) fn kinds(families: &[String]) -> Result<(Vec<&'static Kind>, Vec<String>)> {
    for family in families {
        let known = KINDS.iter().any(|kind| kind.family == *family);
        let all = || {
            let mut all: Vec<&str> = KINDS.iter().map(|kind| kind.family).collect();
            all.dedup();
            all.join(", ")
        };
        ensure!(
            known,
            "no attack of the family `{family}` can be recorded; these can: {}",
            all()
        );
    }
    let (mut there, mut without) = (Vec::new(), Vec::new());
    for kind in KINDS {
        if !families.is_empty() && !families.iter().any(|family| kind.family == *family) {
            continue;
        }
        match kind.programs.iter().find(|program| tools::find(program).is_none()) {
            None => there.push(kind),
            Some(program) => without.push(format!("{} ({program} is missing)", kind.name)),
        }
    }
    ensure!(!there.is_empty(), "nothing can be recorded: {}", without.join(", "));
    Ok((there, without))
}

/// Rounds through `kinds`, each in another order, until the time is full.
pub(super) fn plan(seed: u64, kinds: &[&'static Kind], length: Duration, target: Ipv4Addr) -> Vec<Planned> {
    let mut rng = Rng::new(seed);
    let mut left = length.as_secs().saturating_sub(2 * LEAD);
    let weights: u64 = kinds.iter().map(|kind| kind.weight).sum();
    let share = left.saturating_sub(kinds.len() as u64 * GAP.end()) / weights.max(1);
    let share = share.clamp(*LASTS.start(), *LASTS.end());
    let mut numbers = super::attackers();
    let mut plan = Vec::new();
    loop {
        let before = plan.len();
        let mut round = kinds.to_vec();
        rng.shuffle(&mut round);
        for kind in round {
            let (gap, seconds) = (rng.within(GAP), share * kind.weight);
            if plan.len() == MAX_ATTACKS || gap + seconds > left {
                continue;
            }
            let Some(number) = numbers.next() else { continue };
            left -= gap + seconds;
            let scope = Scope {
                target,
                attacker: Ipv4Addr::new(192, 0, 2, number),
                seconds,
            };
            plan.push(Planned {
                kind,
                gap: Duration::from_secs(gap),
                lasts: Duration::from_secs(seconds),
                number,
                steps: (kind.steps)(&mut rng, scope),
            });
        }
        if plan.len() == before {
            return plan;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const TARGET: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

    fn all() -> Vec<&'static Kind> {
        KINDS.iter().collect()
    }

    fn told(plan: &[Planned]) -> Vec<String> {
        plan.iter()
            .map(|p| format!("{} {:?} {:?} {} {:?}", p.kind.name, p.gap, p.lasts, p.number, p.steps))
            .collect()
    }

    #[test]
    fn a_seed_repeats_a_session_and_another_does_not() {
        let length = Duration::from_mins(4);
        let first = told(&plan(7, &all(), length, TARGET));
        assert_eq!(first, told(&plan(7, &all(), length, TARGET)));
        assert_ne!(first, told(&plan(8, &all(), length, TARGET)));
    }

    #[test]
    fn a_session_keeps_its_time_and_its_number_of_attacks() {
        for minutes in [0, 1, 3, 4, 60] {
            let length = Duration::from_mins(minutes);
            let plan = plan(1, &all(), length, TARGET);
            let takes: Duration = plan.iter().map(|p| p.gap + p.lasts).sum();
            assert!(takes + Duration::from_secs(2 * LEAD) <= length.max(Duration::from_secs(2 * LEAD)));
            assert!(plan.len() <= MAX_ATTACKS, "{minutes} min: {}", plan.len());
            let addresses: BTreeSet<u8> = plan.iter().map(|p| p.number).collect();
            assert_eq!(addresses.len(), plan.len(), "each from an address of its own");
        }
        assert_eq!(plan(1, &all(), Duration::from_hours(1), TARGET).len(), MAX_ATTACKS);
        let four = plan(1, &all(), Duration::from_mins(4), TARGET);
        let kinds: BTreeSet<&str> = four.iter().map(|p| p.kind.name).collect();
        assert_eq!(kinds.len(), KINDS.len(), "four minutes have room for all of them");
    }

    #[test]
    fn a_family_nobody_records_is_refused_with_those_that_are() {
        let error = kinds(&["teapot".into()]).expect_err("refused").to_string();
        assert!(error.contains("teapot") && error.contains("scan_slow"), "{error}");
    }
}
