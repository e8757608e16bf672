//! Which attacks a session holds, in which order, and for how long: a matter of its seed alone.

use super::kind::{self, Kind, Scope, Steps};
use super::rng::Rng;
use crate::tools;
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Attacks of a session; each has an address of its own, and a lab has not many more.
pub(super) const MAX_ATTACKS: usize = 76;
/// Only benign traffic at the beginning and at the end, s.
pub(super) const LEAD: u64 = 4;
/// An attack lasts so long times its weight, s.
const LASTS: std::ops::RangeInclusive<u64> = 5..=20;
/// Quiet attacks that may be on at once, beside a loud one.
const QUIET_LANES: usize = 2;
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
        let known = kind::all().any(|kind| kind.family == *family);
        let all = || {
            let all: BTreeSet<&str> = kind::all().map(|kind| kind.family).collect();
            let all: Vec<&str> = all.into_iter().collect();
            all.join(", ")
        };
        ensure!(
            known,
            "no attack of the family `{family}` can be recorded; these can: {}",
            all()
        );
    }
    let (mut there, mut without) = (Vec::new(), Vec::new());
    for kind in kind::all() {
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

/// Rounds through `kinds`, each in another order, until the time is full: lanes of attacks one after the other, the loud
/// ones in the first, the quiet ones in those beside it.
pub(super) fn plan(
    seed: u64,
    kinds: &[&'static Kind],
    length: Duration,
    target: (Ipv4Addr, Ipv6Addr),
) -> Vec<Vec<Planned>> {
    let mut rng = Rng::new(seed);
    let all = length.as_secs().saturating_sub(2 * LEAD);
    let (quiet, loud): (Vec<_>, Vec<_>) = kinds.iter().copied().partition(|kind| kind.quiet);
    let mut numbers = super::attackers().take(MAX_ATTACKS);
    let mut lanes: Vec<(u64, Vec<Planned>)> = (0..=QUIET_LANES).map(|_| (all, Vec::new())).collect();
    let of = |lane: usize| if lane == 0 { &loud } else { &quiet };
    let share = |kinds: &[&Kind], lanes: u64| {
        let weights: u64 = kinds.iter().map(|kind| kind.weight).sum();
        let time = (all * lanes).saturating_sub(kinds.len() as u64 * GAP.end());
        (time / weights.max(1)).clamp(*LASTS.start(), *LASTS.end())
    };
    let shares = [share(&loud, 1), share(&quiet, QUIET_LANES as u64)];
    loop {
        let before: usize = lanes.iter().map(|(_, plan)| plan.len()).sum();
        for first in [0, 1] {
            let mut round = of(first).clone();
            rng.shuffle(&mut round);
            for kind in round {
                let (gap, seconds) = (rng.within(GAP), shares[first] * kind.weight);
                // The emptiest of the lanes for its sort.
                let free = (first..=first * QUIET_LANES).max_by_key(|&lane| (lanes[lane].0, QUIET_LANES - lane));
                let Some((left, plan)) = free.map(|lane| &mut lanes[lane]).map(|(left, plan)| (left, plan)) else {
                    continue;
                };
                if gap + seconds > *left {
                    continue;
                }
                let Some(number) = numbers.next() else { continue };
                *left -= gap + seconds;
                plan.push(planned(&mut rng, kind, [gap, seconds], number, target));
            }
        }
        if lanes.iter().map(|(_, plan)| plan.len()).sum::<usize>() == before {
            return lanes.into_iter().map(|(_, plan)| plan).collect();
        }
    }
}

fn planned(
    rng: &mut Rng,
    kind: &'static Kind,
    [gap, seconds]: [u64; 2],
    number: u8,
    (target, target6): (Ipv4Addr, Ipv6Addr),
) -> Planned {
    let scope = Scope {
        target,
        target6,
        attacker: Ipv4Addr::new(192, 0, 2, number),
        attacker6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)),
        seconds,
    };
    Planned {
        kind,
        gap: Duration::from_secs(gap),
        lasts: Duration::from_secs(seconds),
        number,
        steps: (kind.steps)(rng, scope),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: (Ipv4Addr, Ipv6Addr) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::LOCALHOST);

    fn all() -> Vec<&'static Kind> {
        kind::all().collect()
    }

    fn told(plan: &[Vec<Planned>]) -> Vec<String> {
        plan.iter()
            .flatten()
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
            for lane in &plan {
                let takes: Duration = lane.iter().map(|p| p.gap + p.lasts).sum();
                assert!(takes + Duration::from_secs(2 * LEAD) <= length.max(Duration::from_secs(2 * LEAD)));
            }
            assert!(plan[0].iter().all(|p| !p.kind.quiet) && plan[1..].iter().flatten().all(|p| p.kind.quiet));
            let plan: Vec<Planned> = plan.into_iter().flatten().collect();
            assert!(plan.len() <= MAX_ATTACKS, "{minutes} min: {}", plan.len());
            let addresses: BTreeSet<u8> = plan.iter().map(|p| p.number).collect();
            assert_eq!(addresses.len(), plan.len(), "each from an address of its own");
        }
        let hour = plan(1, &all(), Duration::from_hours(1), TARGET);
        assert_eq!(hour.iter().flatten().count(), MAX_ATTACKS);
        let seven = plan(1, &all(), Duration::from_mins(7), TARGET);
        let kinds: BTreeSet<&str> = seven.iter().flatten().map(|p| p.kind.name).collect();
        assert_eq!(
            kinds.len(),
            kind::all().count(),
            "seven minutes have room for all of them"
        );
    }

    #[test]
    fn a_family_nobody_records_is_refused_with_those_that_are() {
        let error = kinds(&["teapot".into()]).expect_err("refused").to_string();
        assert!(error.contains("teapot") && error.contains("scan_slow"), "{error}");
    }
}
