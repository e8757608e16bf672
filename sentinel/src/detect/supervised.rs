//! What the trained model says of flows, gathered until it is worth an alert.
//!
//! One flow in a thousand is flagged by chance, so a flag alone is none. Flags are counted per source and per source and
//! service over a window, against what chance alone would bring, or a single score has to be nearly certain. The model
//! speaks only with thresholds set by this network's own flows (learn mode): elsewhere it was wrong about a third of
//! benign flows. What it says is statistical evidence, which blocks nobody.

use super::collector::{Collector, Gain, Suspects};
use super::flags::{Counted, Flagged, Flags};
use super::rows::{Row, Rows, Said};
use super::{Finding, Voice, place, row, span};
use crate::config::ModelConfig;
use crate::features::{Builder, FeatureLosses, FeatureRecord, Limits};
use crate::flow::Observation;
use crate::model::conformal::{ALPHAS, needed};
use crate::model::drift::{Drift, DriftReport};
use crate::model::{Level, Method, Model, Scorer, Variant, Verdict};
use crate::types::{
    Clock, Condition, Detector as Name, DriftTold, EvidenceClass, Explanation, Family, Ktime, Learning, LearningLevel,
    RealisedLevel, Share, Timestamp, hex,
};
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use std::sync::Arc;
use std::time::Duration;

/// Packets of a flow that may still be forged one by one, each from another source: on a single such flow nobody is named.
const FORGED: u64 = 2;
/// Alerts of a second whose shares are exact Shapley values, with what would have softened them: some 5 ms each. Those of more
/// are told along the trees' paths, which sum to the score just as well.
const EXACT: u32 = 20;
/// How long traffic is watched before it is compared with what the thresholds were set by.
const HOUR: Duration = Duration::from_hours(1);
/// Moved numbers that are told of.
const MOVED: usize = 5;
/// Names of the levels.
pub(crate) const LEVELS: [&str; 2] = ["suspicious", "flag"];

/// The model at work on feature records.
#[derive(Debug)]
pub struct Supervised {
    builder: Builder,
    records: Vec<FeatureRecord>,
    /// What is told of flows, where somebody keeps a log of them.
    rows: Option<Rows>,
    model: Arc<Model>,
    variant: Variant,
    window: Duration,
    certain: f64,
    flags: Flags,
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
        Self {
            builder: Builder::new(limits),
            records: Vec::new(),
            rows: None,
            model,
            variant: if egress { Variant::Both } else { Variant::Ingress },
            window: config.window,
            certain: config.certain,
            flags: Flags::new(config.window, config.flags, limits.sources),
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
        Builder::memory_bound(limits)
            + Flags::memory_bound(limits.sources)
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

    /// Begins to gather, anew where it was at it. Who is under suspicion already is left out from the start.
    pub fn collect(&mut self, since: Timestamp) {
        let mut collector = Collector::new(since, Collector::ROOM);
        for source in self.suspects.sources() {
            collector.accuse(source);
        }
        self.resume(collector);
    }

    /// Goes on gathering.
    pub fn resume(&mut self, collector: Collector) {
        self.collector = Some(collector);
    }

    /// What was gathered since this was last asked, or all of it; none while it gathers none.
    pub fn gain(&mut self, whole: bool) -> Option<Gain> {
        self.collector.as_mut().map(|collector| collector.gain(whole))
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
            since: collector.map(Collector::since),
            resumed: None,
            warning: None,
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

    pub(super) const fn keeps_rows(&self) -> bool {
        self.rows.is_some()
    }

    /// Has it keep what it is told of flows.
    pub(super) fn keep_rows(&mut self) {
        self.rows = Some(Rows::default());
    }

    /// Rows since the last time, and how many more there was no room for.
    pub(super) fn take_rows(&mut self) -> (Vec<Row>, u64) {
        self.rows.as_mut().map(Rows::take).unwrap_or_default()
    }

    /// Ends every flow for the log of them. Nothing is said any more.
    pub(super) fn finish_rows(&mut self) {
        self.builder.finish(&mut self.records);
        for record in std::mem::take(&mut self.records) {
            let verdict = self.scorer().verdict(&record.vector);
            self.keep_row(&record, &verdict);
        }
    }

    fn keep_row(&mut self, record: &FeatureRecord, verdict: &Verdict) {
        let calibrated = self.calibrated();
        if let Some(rows) = &mut self.rows {
            rows.add(&Row {
                record: *record,
                said: Some(Said {
                    score: verdict.score,
                    level: calibrated.then_some(verdict.level),
                }),
            });
        }
    }

    /// What the builder of vectors had to give up.
    pub fn losses(&self) -> FeatureLosses {
        self.builder.losses()
    }

    /// Entries held and evicted.
    pub fn load(&self) -> (usize, u64) {
        let (flags, suspects) = (self.flags.load(), self.suspects.load());
        let held = flags.0 + suspects.0;
        let gone = flags.1 + suspects.1 + self.collector.as_ref().map_or(0, Collector::evicted);
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
            collector.accuse(source.into());
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
        if self.rows.is_some() {
            self.keep_row(record, &verdict);
        }
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
        let flagged = verdict.level >= Level::Flag;
        let counted = self.flags.add(record, flagged, scorer.levels()[1].alpha);
        if !flagged {
            return None;
        }
        let certain = verdict.score >= self.certain && record.packets > FORGED;
        let ratio = counted.ratio().max(f64::from(u8::from(certain)));
        if ratio < 1.0 {
            return None;
        }
        let (name, _) = scorer.family(&record.vector);
        let family = Family::from_name(name);
        // Of what two do with each other, both are news; of all else whoever did it.
        let between = matches!(family, Family::C2 | Family::Tunnel | Family::Exfiltration);
        let new = if between && (certain || counted.here.records >= counted.limit) {
            let pair = [record.source, record.target.ip];
            voice.may_wonder_about(pair, Name::Model, family, ratio, record.at)
        } else {
            voice.may_wonder(record.source, Name::Model, family, ratio, record.at)
        };
        if !new {
            return None;
        }
        let exact = self.spare_exact(record.at);
        Some((
            self.finding(record, &verdict, scorer, family, ratio, &counted),
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

    fn finding(
        &self,
        record: &FeatureRecord,
        verdict: &Verdict,
        scorer: &Scorer,
        family: Family,
        ratio: f64,
        counted: &Counted,
    ) -> Finding {
        let window = span(self.window);
        let threshold = scorer.levels()[1].score.unwrap_or(1.0);
        let service = record.target;
        let mut targets = vec![service];
        let how = if counted.here.records >= counted.limit {
            format!("{} to {} within {window}", records(counted.here), place(&service))
        } else if counted.everywhere.records >= counted.limit_everywhere {
            targets.extend(counted.services().filter(|other| *other != service));
            format!("{} to several services within {window}", records(counted.everywhere))
        } else {
            format!("one flow to {}, all but certainly,", place(&service))
        };
        Finding {
            at: record.at,
            source: Some(record.source),
            targets,
            family,
            technique: format!("model: {}", family.as_str()).into(),
            ratio,
            class: EvidenceClass::Statistical,
            evidence: vec![
                row("score", verdict.score, threshold, ""),
                row(
                    "flagged_records_to_service",
                    counted.here.records.into(),
                    counted.limit.into(),
                    format!("records/{window}"),
                ),
                row(
                    "flagged_records",
                    counted.everywhere.records.into(),
                    counted.limit_everywhere.into(),
                    format!("records/{window}"),
                ),
                // How many flows they are of decides nothing: a tunnel is one.
                row(
                    "flagged_flows_to_service",
                    counted.here.flows.into(),
                    1.0,
                    format!("flows/{window}"),
                ),
                row(
                    "flagged_flows",
                    counted.everywhere.flows.into(),
                    1.0,
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

/// Flagged records and their flows, in words: `3 flows`, or `3 records of 1 flow` where one goes on for minutes.
fn records(flagged: Flagged) -> String {
    let flows = match flagged.flows {
        1 => "1 flow".to_owned(),
        flows => format!("{flows} flows"),
    };
    if flagged.records == flagged.flows {
        flows
    } else {
        format!("{} records of {flows}", flagged.records)
    }
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
        vector: record.vector.0.to_vec(),
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
