//! What the trained model says of flows, gathered until it is worth an alert.
//!
//! One flow in a thousand is flagged by chance, so a flag alone is none. Flags are counted per source and per source and
//! service over a window, against what chance alone would bring, or a single score has to be nearly certain. The model
//! speaks only with thresholds set by this network's own flows (learn mode): elsewhere it was wrong about a third of
//! benign flows. What it says is statistical evidence, which blocks nobody.

use super::collector::{Collector, Suspects};
use super::{Finding, Voice, capacity, place, row, span};
use crate::config::ModelConfig;
use crate::features::{Builder, Cut, FeatureLosses, FeatureRecord, Limits};
use crate::flow::{Bounded, Observation, Ring};
use crate::model::conformal::{ALPHAS, needed};
use crate::model::drift::{Drift, DriftReport};
use crate::model::{Level, Method, Model, Scorer, Variant, Verdict};
use crate::types::{
    Clock, Condition, Detector as Name, DriftTold, EvidenceClass, Explanation, Family, Ktime, Learning, LearningLevel,
    RealisedLevel, Share, hex,
};
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use std::sync::Arc;
use std::time::Duration;

const SLOTS: usize = 12;
/// A flow that goes on is told of every 60 s, and a little oftener in its first minute: so much later it counts again.
const AGAIN: Duration = Duration::from_secs(55);
/// Flags of a source, for each that is expected by chance, that are still put down to chance.
const CHANCE: f64 = 3.0;
/// Packets of a flow that may still be forged one by one, each from another source: on a single such flow nobody is named.
const FORGED: u64 = 2;
/// What a source has to do more of at all its services than at one.
const SPREAD: u32 = 2;
/// Alerts of a second whose shares are exact Shapley values, each of which takes some 20 ms; those of more are told along
/// the trees' paths, which sum to the score just as well.
const EXACT: u32 = 5;
/// How long traffic is watched before it is compared with what the thresholds were set by.
const HOUR: Duration = Duration::from_hours(1);
/// Moved numbers that are told of.
const MOVED: usize = 5;
/// Names of the levels.
pub(crate) const LEVELS: [&str; 2] = ["suspicious", "flag"];

/// A flow, as flags are counted.
type FlowId = (Addr, u16, Addr, u16, u8);
/// A source and a service.
type Pair = (Addr, Addr, u16, u8);

/// What was counted of a source, or of it at one service.
#[derive(Clone, Copy, Debug, Default)]
struct Gathered {
    flows: Ring<SLOTS>,
    flags: Ring<SLOTS>,
}

/// The model at work on feature records.
#[derive(Debug)]
pub struct Supervised {
    builder: Builder,
    records: Vec<FeatureRecord>,
    model: Arc<Model>,
    variant: Variant,
    window: Duration,
    slot_ns: u64,
    flags: u32,
    certain: f64,
    flagged: Bounded<FlowId, Ktime>,
    sources: Bounded<Addr, Gathered>,
    pairs: Bounded<Pair, Gathered>,
    suspects: Suspects,
    collector: Option<Collector>,
    /// The second of the latest alert, and how many it had.
    spoken: (u64, u32),
    /// Flows of the running hour, and since when it runs.
    drift: Option<(Ktime, Drift)>,
    /// Why this network's thresholds are not in force, where they were.
    lost: Option<String>,
    /// What the last hour said.
    told: Option<(Ktime, DriftReport)>,
    /// Records of sources that are not suspected: judged, suspicious and more, flagged.
    realised: [u64; 3],
}

impl Supervised {
    /// Nothing seen yet. Without `egress` the model for what comes in alone is asked.
    pub fn new(config: &ModelConfig, limits: &Limits, egress: bool, model: Arc<Model>) -> Self {
        let held = capacity(limits.sources);
        Self {
            builder: Builder::new(limits),
            records: Vec::new(),
            model,
            variant: if egress { Variant::Both } else { Variant::Ingress },
            window: config.window,
            slot_ns: config.window.as_nanos() as u64 / SLOTS as u64,
            flags: config.flags.max(1),
            certain: config.certain,
            flagged: Bounded::new(held),
            sources: Bounded::new(held),
            pairs: Bounded::new(held),
            suspects: Suspects::new(),
            collector: None,
            spoken: (0, 0),
            drift: None,
            lost: None,
            told: None,
            realised: [0; 3],
        }
    }

    pub(super) const fn memory_bound(limits: &Limits) -> usize {
        let held = capacity(limits.sources);
        Builder::memory_bound(limits)
            + Bounded::<FlowId, Ktime>::memory_bound(held)
            + Bounded::<Addr, Gathered>::memory_bound(held)
            + Bounded::<Pair, Gathered>::memory_bound(held)
            + Suspects::memory_bound()
            + Collector::memory_bound()
    }

    /// The model that judges.
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Judges by another model from now on.
    pub fn set_model(&mut self, model: Arc<Model>) {
        self.model = model;
        self.realised = [0; 3];
        (self.drift, self.told, self.lost) = (None, None, None);
    }

    /// Whether this network's flows set the threshold that flags. While they did not, nothing is said.
    pub fn calibrated(&self) -> bool {
        self.model.record().description.site.is_some() && self.scorer().levels()[1].score.is_some()
    }

    /// Says that this network's thresholds were there and cannot be read.
    pub fn set_lost(&mut self, why: String) {
        self.lost = Some(why);
    }

    /// What learn mode gathered, while it is on.
    pub const fn collector(&self) -> Option<&Collector> {
        self.collector.as_ref()
    }

    /// Begins to gather, anew where it was at it.
    pub fn collect(&mut self, now: Ktime) {
        self.collector = Some(Collector::new(now, Collector::ROOM));
    }

    /// Ends it.
    pub fn stop_collecting(&mut self) -> bool {
        self.collector.take().is_some()
    }

    /// What share of flows reached each level since this model judges.
    pub fn realised(&self) -> Vec<RealisedLevel> {
        let levels = self.scorer().levels();
        let row = |at: usize| RealisedLevel {
            name: LEVELS[at].to_owned(),
            alpha: levels[at].alpha,
            judged: self.realised[0],
            reached: self.realised[at + 1],
        };
        vec![row(0), row(1)]
    }

    /// How learn mode is.
    pub fn learning(&self, clock: &Clock) -> Learning {
        let collector = self.collector.as_ref();
        let (seen, kept, left_out) = collector.map(Collector::counts).unwrap_or_default();
        let level = |at: usize| LearningLevel {
            name: LEVELS[at].to_owned(),
            alpha: ALPHAS[at],
            missing: needed(ALPHAS[at]).saturating_sub(kept),
        };
        Learning {
            since: collector.map(|collector| clock.wall(collector.since())),
            seen,
            kept,
            left_out,
            suspects: self.suspects.load().0 as u64,
            levels: vec![level(0), level(1)],
            model: hex(self.model.sha256()),
            calibrated: self.calibrated(),
            realised: self.realised(),
            drift: self.told.as_ref().map(|(at, report)| DriftTold {
                at: clock.wall(*at),
                flows: report.flows,
                alarm: report.alarm,
                moved: report
                    .moved
                    .iter()
                    .take(MOVED)
                    .map(|m| (m.name.to_owned(), m.psi))
                    .collect(),
                advice: report.advice.clone(),
            }),
        }
    }

    /// Records of sources not under suspicion, since this model judges: all, suspicious and more, flagged.
    pub const fn judged(&self) -> [u64; 3] {
        self.realised
    }

    /// What the builder of vectors had to give up.
    pub fn losses(&self) -> FeatureLosses {
        self.builder.losses()
    }

    /// Entries held and evicted.
    pub fn load(&self) -> (usize, u64) {
        let held = self.flagged.len() + self.sources.len() + self.pairs.len() + self.suspects.load().0;
        let gone = self.flagged.evicted() + self.sources.evicted() + self.pairs.evicted() + self.suspects.load().1;
        let gone = gone + self.collector.as_ref().map_or(0, Collector::evicted);
        (held, gone)
    }

    /// The variant of the model that judges here.
    pub fn scorer(&self) -> &Scorer {
        self.model.scorer(self.variant)
    }

    /// Takes in a record and what the flow table made of it.
    pub fn record(&mut self, record: &FlowRecord, seen: &Observation, voice: &Voice) -> Vec<(Finding, Explanation)> {
        self.builder.record(record, seen, &mut self.records);
        self.judge_all(voice)
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Ktime, voice: &Voice) -> Vec<(Finding, Explanation)> {
        self.suspects.forget(now);
        self.end_hour(now);
        self.builder.tick(now, &mut self.records);
        self.judge_all(voice)
    }

    /// Says what the hour brought, where it is over and had flows enough, and begins the next.
    fn end_hour(&mut self, now: Ktime) {
        if !self.calibrated() {
            return;
        }
        match &self.drift {
            Some((since, _)) if now.since(*since) < HOUR => return,
            Some((_, drift)) => {
                let report = drift.report();
                if report.flows >= report.needed {
                    self.told = Some((now, report));
                }
            }
            None => {}
        }
        self.drift = Some((now, self.scorer().drift()));
    }

    /// How the model is, for people.
    pub fn condition(&self) -> Condition {
        if let Some(why) = &self.lost {
            return Condition::Degraded {
                cause: format!("the thresholds of this network cannot be read, and the model goes without: {why}"),
                mend: "put the file back and start again, or learn anew: `sentinel learn start`".to_owned(),
            };
        }
        if !self.calibrated() {
            return Condition::Ok {
                detail: "says nothing: not calibrated for this network; `sentinel learn start`".to_owned(),
            };
        }
        match &self.told {
            Some((_, report)) if report.alarm => Condition::Degraded {
                cause: format!(
                    "traffic is no longer what the thresholds were set by ({})",
                    moved(report, 2)
                ),
                mend: "learn this network anew: `sentinel learn start`, and `accept` when it has enough".to_owned(),
            },
            _ => Condition::Ok {
                detail: "thresholds of this network".to_owned(),
            },
        }
    }

    /// Takes no flow of this source for benign: of what is learnt now none, and for an hour none that is held against what
    /// the thresholds promised.
    pub fn suspect(&mut self, source: std::net::IpAddr, at: Ktime) {
        self.suspects.add(source, at);
        if let Some(collector) = &mut self.collector {
            collector.accuse(source);
        }
    }

    fn judge_all(&mut self, voice: &Voice) -> Vec<(Finding, Explanation)> {
        let mut records = std::mem::take(&mut self.records);
        let found = records.iter().filter_map(|record| self.judge(record, voice)).collect();
        records.clear();
        self.records = records;
        found
    }

    /// Judges one record; speaks if that completes the evidence.
    fn judge(&mut self, record: &FeatureRecord, voice: &Voice) -> Option<(Finding, Explanation)> {
        let model = Arc::clone(&self.model);
        let scorer = model.scorer(self.variant);
        let verdict = scorer.verdict(&record.vector);
        let source = Addr::from(record.source);
        if let Some(collector) = &mut self.collector {
            collector.note(record);
        }
        if record.allowed {
            return None;
        }
        if !self.suspects.holds(&source, record.at) {
            self.realised[0] += 1;
            self.realised[1] += u64::from(verdict.level >= Level::Suspicious);
            self.realised[2] += u64::from(verdict.level >= Level::Flag);
            if let Some((_, drift)) = &mut self.drift {
                drift.observe(&record.vector, &verdict);
            }
        }
        if !self.calibrated() {
            return None;
        }
        let flagged = verdict.level >= Level::Flag && self.counts(record);
        let (at, slot_ns) = (record.at, self.slot_ns);
        let service = record.target;
        let began = u32::from(!record.continued);
        let everywhere = self.sources.touch_or(source, Gathered::default);
        let flows = everywhere.flows.add(at, slot_ns, began);
        let flags = everywhere.flags.add(at, slot_ns, flagged.into());
        if verdict.level < Level::Flag {
            return None;
        }
        let pair = (source, Addr::from(service.ip), service.port, service.proto);
        let here = self
            .pairs
            .touch_or(pair, Gathered::default)
            .flags
            .add(at, slot_ns, flagged.into());
        let alpha = scorer.levels()[1].alpha;
        let limit = self.limit(flows, alpha);
        let measured = [
            f64::from(here) / f64::from(limit),
            f64::from(flags) / f64::from(limit.saturating_mul(SPREAD)),
            if verdict.score >= self.certain && record.packets > FORGED {
                1.0
            } else {
                0.0
            },
        ];
        let ratio = measured.into_iter().fold(0.0, f64::max);
        if ratio < 1.0 {
            return None;
        }
        let (name, _) = scorer.family(&record.vector);
        let family = Family::from_name(name);
        if !voice.may_wonder(record.source, Name::Model, family, ratio, at) {
            return None;
        }
        let exact = self.spare_exact(at);
        let counted = Counted {
            here,
            flags,
            flows,
            limit,
        };
        Some((
            self.finding(record, &verdict, scorer, family, ratio, counted),
            explanation(&model, scorer, record, verdict.probability, exact),
        ))
    }

    /// Whether this second has time for exact shares.
    fn spare_exact(&mut self, at: Ktime) -> bool {
        let second = at.0 / 1_000_000_000;
        let before = if self.spoken.0 == second { self.spoken.1 } else { 0 };
        self.spoken = (second, before + 1);
        before < EXACT
    }

    /// Whether a flagged record is a flag more: one a flow, and one more for each minute it goes on.
    fn counts(&mut self, record: &FeatureRecord) -> bool {
        let flow = (
            Addr::from(record.source),
            record.source_port,
            Addr::from(record.target.ip),
            record.target.port,
            record.target.proto,
        );
        let before = self.flagged.peek(&flow).copied();
        let again =
            before.is_none_or(|then| record.cut == Cut::Active || record.at.since(then) >= AGAIN || !record.continued);
        if again {
            self.flagged.remove(&flow);
            self.flagged.insert(flow, record.at);
        }
        again
    }

    /// Flags at one service that are more than chance brings a source with so many flows.
    fn limit(&self, flows: u32, alpha: f64) -> u32 {
        self.flags
            .saturating_add((CHANCE * alpha * f64::from(flows)).floor() as u32)
    }

    fn finding(
        &self,
        record: &FeatureRecord,
        verdict: &Verdict,
        scorer: &Scorer,
        family: Family,
        ratio: f64,
        counted: Counted,
    ) -> Finding {
        let window = span(self.window);
        let threshold = scorer.levels()[1].score.unwrap_or(1.0);
        let service = record.target;
        let how = if counted.here >= counted.limit {
            format!(
                "what it flagged {} times at {} within {window}",
                counted.here,
                place(&service)
            )
        } else if counted.flags >= counted.limit.saturating_mul(SPREAD) {
            format!(
                "what it flagged {} times in {} flows within {window}",
                counted.flags, counted.flows
            )
        } else {
            format!("one flow to {}, all but certainly", place(&service))
        };
        Finding {
            at: record.at,
            source: Some(record.source),
            targets: vec![service],
            family,
            technique: format!("model: {}", family.as_str()).into(),
            ratio,
            class: EvidenceClass::Statistical,
            evidence: vec![
                row("score", verdict.score, threshold, ""),
                row(
                    "flagged_flows_to_service",
                    counted.here.into(),
                    counted.limit.into(),
                    format!("flows/{window}"),
                ),
                row(
                    "flagged_flows",
                    counted.flags.into(),
                    counted.limit.saturating_mul(SPREAD).into(),
                    format!("flows/{window}"),
                ),
            ],
            summary: format!(
                "The model takes {} from {} for an attack ({}): score {:.3}, and one benign flow in {:.0} here exceeds \
                 {threshold:.3}",
                how,
                record.source,
                family.as_str(),
                verdict.score,
                1.0 / scorer.levels()[1].alpha,
            ),
        }
    }
}

/// What was counted within the window when the evidence was complete.
#[derive(Clone, Copy)]
struct Counted {
    /// Flagged flows to the service.
    here: u32,
    /// Flagged flows of the source.
    flags: u32,
    /// Flows of the source.
    flows: u32,
    /// Flags at one service that suffice.
    limit: u32,
}

/// The numbers that moved most, in words.
fn moved(report: &DriftReport, count: usize) -> String {
    let moved = report.moved.iter().take(count);
    let words: Vec<_> = moved
        .map(|m| format!("{}: stability index {:.2}", m.name, m.psi))
        .collect();
    words.join(", ")
}

/// The shares of a record's score; where there is time, exact ones and what would have softened it.
fn explanation(model: &Model, scorer: &Scorer, record: &FeatureRecord, probability: f64, exact: bool) -> Explanation {
    let threshold = scorer.levels()[1].score.unwrap_or(1.0);
    let method = if exact { Method::TreeShap } else { Method::Path };
    let taken = scorer.explain(&record.vector, method);
    let mut shares: Vec<Share> = taken
        .contributions
        .into_iter()
        .map(|part| Share {
            name: part.feature.to_owned(),
            value: part.value,
            unit: part.unit.to_owned(),
            share: part.share,
            sentence: part.sentence,
        })
        .collect();
    shares.push(Share {
        name: "svm_margin".to_owned(),
        value: taken.second.margin.unwrap_or_default(),
        unit: String::new(),
        share: taken.second.share,
        sentence: taken.second.sentence,
    });
    shares.sort_by(|a, b| b.share.abs().total_cmp(&a.share.abs()));
    Explanation {
        model: hex(model.sha256()),
        score: taken.score,
        threshold,
        probability,
        base: taken.base,
        shares,
        summary: taken.summary,
        method: if exact { "shapley" } else { "path" }.to_owned(),
        counterfactual: if exact {
            scorer
                .counterfactual(&record.vector, threshold)
                .map(|change| change.sentence)
        } else {
            None
        },
    }
}

#[cfg(test)]
mod tests;
