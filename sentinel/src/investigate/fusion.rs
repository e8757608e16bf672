//! Evidence to risk, in log-odds.
//!
//! With p_i what a piece of evidence says and w_i how much its word counts, a risk has the log-odds
//!
//! ```text
//! L = Σ_groups Σ_k 2^-k · w_i · ln(p_i / (1 - p_i))        k = 0, 1, … within a group, the strongest first
//! ```
//!
//! and the score 1 / (1 + e^-L): naive Bayes with a prior of even odds (it is about somebody a detector spoke of), each
//! likelihood ratio tempered by the reliability of its source (logarithmic opinion pool; Genest & Zidek 1986,
//! doi:10.1214/ss/1177013825), and halved for each further voice from the same well: sources that copy from each other
//! must not outvote one that saw for itself.
//!
//! * Behaviour past a stated limit says p = 0.5 + 0.48·score (0.74 at the limit, 0.88 at twice it), with weight 1. A
//!   statistical oddity says p = 0.5 + 0.25·score, the model its calibrated probability, both with weight 0.5. All local
//!   voices are one group: they look at the same packets. To have met who is on a list adds nothing to what the list says.
//! * A source outside says p = 0.5 + (score - 0.5)·confidence·2^(-age/30 d), age being the time since it last saw
//!   anything, with its configured weight. "Never heard of it" adds nothing: it is not "benign".
//! * A source that says "do not block" (a shared service, its allowlist) says p = 0.02.
//!
//! Every p stays within [0.01, 0.99]: no single voice decides alone.

use super::Local;
use crate::config::SeverityThresholds;
use crate::types::{Detector, EvidenceClass, Indicator, IntelVerdict, Risk, RiskPart, Severity, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How much a source's word counts, and which well it draws from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weigh {
    /// 0 to 1.
    pub weight: f64,
    /// Sources of one group count for less together than apart.
    pub group: String,
}

/// Source to weight; one that is not in it counts nothing.
pub type Weigher = BTreeMap<String, Weigh>;

/// What no single voice exceeds.
const SUREST: f64 = 0.99;
/// What "do not block" says.
const SPARED: f64 = 0.02;
/// Time after which what a source last saw counts half.
const HALF_LIFE: Duration = Duration::from_hours(30 * 24);
/// Name of the group of everything that was seen here.
const HERE: &str = "local";
/// From here on a source that calls an address bad corroborates it.
const CORROBORATES: f64 = 0.65;
/// Log-odds on both sides from which on voices contradict each other.
const LOUD: f64 = 0.5;

/// One voice before it is discounted.
struct Voice {
    name: String,
    group: String,
    says: f64,
    weight: f64,
    sure: f64,
    words: String,
}

/// Adds up what is known. `local` must not be empty; parts come out the loudest first.
pub fn risk(
    local: &[Local],
    indicators: &[&Indicator],
    weigher: &Weigher,
    thresholds: &SeverityThresholds,
    now: Timestamp,
) -> Risk {
    // What a list says is told by the list itself; to have met who is on it adds nothing.
    let seen = local.iter().filter(|local| local.detector != Detector::Feed);
    let mut voices: Vec<Voice> = seen.map(seen_here).collect();
    voices.extend(indicators.iter().filter_map(|i| told(i, weigher, now)));
    let bad: BTreeSet<&str> = indicators
        .iter()
        .filter(|i| !i.spare && i.verdict >= IntelVerdict::Suspicious)
        .filter_map(|i| {
            let weigh = weigher.get(&i.source).filter(|w| w.weight > 0.0)?;
            (says(i, now) >= CORROBORATES).then_some(weigh.group.as_str())
        })
        .collect();
    let corroborated_by = bad.len() as u32;
    let local_only = voices.iter().all(|v| v.group == HERE);
    let confidence = 1.0 - voices.iter().map(|v| 1.0 - v.sure).product::<f64>();
    let parts = weigh(voices);
    let log_odds: f64 = parts.iter().map(|part| part.log_odds).sum();
    let score = 1.0 / (1.0 + (-log_odds).exp());
    let level = level(score, thresholds);
    Risk {
        score,
        log_odds,
        confidence,
        level,
        corroborated_by,
        local_only,
        contradictions: contradictions(&parts),
        summary: summary(score, level, &parts, corroborated_by, local_only),
        parts,
    }
}

/// The level of a risk.
fn level(score: f64, thresholds: &SeverityThresholds) -> Severity {
    if score >= thresholds.high {
        Severity::High
    } else if score >= thresholds.medium {
        Severity::Medium
    } else {
        Severity::Low
    }
}

fn seen_here(local: &Local) -> Voice {
    let name = local.detector.as_str().to_owned();
    let (says, weight, sure, kind) = match (local.class, local.probability) {
        (EvidenceClass::Behaviour, _) => (0.5 + 0.48 * local.score, 1.0, 0.6, "behaviour past its limit"),
        (EvidenceClass::Statistical, Some(probability)) => (probability, 0.5, 0.3, "the model's probability"),
        (EvidenceClass::Statistical, None) => (0.5 + 0.25 * local.score, 0.5, 0.2, "an oddity"),
    };
    let says = says.clamp(1.0 - SUREST, SUREST);
    Voice {
        words: format!("{name} saw {kind} here and says {says:.2}"),
        group: HERE.to_owned(),
        name,
        says,
        weight,
        sure,
    }
}

/// What an indicator says once confidence and age are taken off.
fn says(indicator: &Indicator, now: Timestamp) -> f64 {
    if indicator.spare {
        return SPARED;
    }
    let age = indicator
        .last_seen
        .map_or(0, |seen| now.0.saturating_sub(seen.0).max(0));
    let fresh = 0.5_f64.powf(age as f64 / HALF_LIFE.as_nanos() as f64);
    let says = 0.5 + (indicator.score - 0.5) * indicator.confidence * fresh;
    says.clamp(1.0 - SUREST, SUREST)
}

fn told(indicator: &Indicator, weigher: &Weigher, now: Timestamp) -> Option<Voice> {
    let weigh = weigher.get(&indicator.source).filter(|w| w.weight > 0.0)?;
    if indicator.verdict == IntelVerdict::Unknown && !indicator.spare {
        return None;
    }
    let says = says(indicator, now);
    let name = indicator.source.clone();
    let what = if indicator.spare {
        "says that it must not be blocked".to_owned()
    } else {
        let mut what = format!("calls it {}", indicator.verdict.as_str());
        if let Some(category) = indicator.categories.first() {
            what = format!("{what} ({category})");
        }
        what
    };
    Some(Voice {
        words: format!("{name} {what} and says {says:.2}"),
        group: weigh.group.clone(),
        name,
        says,
        weight: weigh.weight.clamp(0.0, 1.0),
        sure: (weigh.weight * if indicator.spare { 1.0 } else { indicator.confidence }).clamp(0.0, 1.0),
    })
}

/// Weighs voices, each further one of a group half as much; the loudest first, by name among equals.
fn weigh(voices: Vec<Voice>) -> Vec<RiskPart> {
    let mut heard: Vec<(f64, Voice)> = voices
        .into_iter()
        .map(|voice| (voice.weight * (voice.says / (1.0 - voice.says)).ln(), voice))
        .collect();
    // Of two equally loud the one that speaks against it is heard first, so that no order of arrival matters.
    heard.sort_by(|(a, x), (b, y)| {
        let louder = b.abs().total_cmp(&a.abs());
        louder.then_with(|| b.total_cmp(a)).then_with(|| x.name.cmp(&y.name))
    });
    let mut before: BTreeMap<String, i32> = BTreeMap::new();
    let mut parts: Vec<RiskPart> = heard
        .into_iter()
        .map(|(full, voice)| {
            let earlier = before.entry(voice.group).or_insert(0);
            let share = 0.5_f64.powi(*earlier);
            *earlier += 1;
            let counts = voice.weight * share;
            RiskPart {
                sentence: format!("{}; its word counts {counts:.2}", voice.words),
                name: voice.name,
                says: voice.says,
                log_odds: full * share,
            }
        })
        .collect();
    parts.sort_by(|a, b| {
        b.log_odds
            .abs()
            .total_cmp(&a.log_odds.abs())
            .then_with(|| a.name.cmp(&b.name))
    });
    parts
}

fn contradictions(parts: &[RiskPart]) -> Vec<String> {
    let against = parts.iter().find(|part| part.log_odds >= LOUD);
    let mut out = Vec::new();
    if let Some(against) = against {
        for part in parts.iter().filter(|part| part.log_odds <= -LOUD) {
            out.push(format!(
                "{} says {:.2}, {} says {:.2}",
                part.name, part.says, against.name, against.says
            ));
        }
    }
    out
}

fn summary(score: f64, level: Severity, parts: &[RiskPart], corroborated_by: u32, local_only: bool) -> String {
    if parts.is_empty() {
        return "nothing is known that speaks for or against it".to_owned();
    }
    let loudest: Vec<String> = parts
        .iter()
        .take(3)
        .map(|part| format!("{} {:+.2}", part.name, part.log_odds))
        .collect();
    let basis = if local_only {
        "local evidence only".to_owned()
    } else {
        match corroborated_by {
            0 => "nobody outside calls it bad".to_owned(),
            1 => "one independent source outside calls it bad".to_owned(),
            n => format!("{n} independent sources outside call it bad"),
        }
    };
    // Nothing is certain: what rounds to 0 or 1 is not told as such.
    let score = score.clamp(0.01, 0.99);
    format!("risk {score:.2} ({}): {}; {basis}", level.as_str(), loudest.join(", "))
}
