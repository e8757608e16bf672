//! What a model is worth on labelled flows it has not seen.

use super::error::TrainError;
use super::labels::{BENIGN, FAMILIES, family_of};
use super::metrics::{self, Reliability};
use super::table::Table;
use crate::model::{Scorer, UNKNOWN};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// So many flagged flows within [`WITHIN`], or one with a score of [`ALONE`], and a source would be blocked.
const FLAGGED: usize = 3;
/// Seconds.
const WITHIN: f64 = 120.0;
const ALONE: f64 = 0.95;

/// A flow, what it was and what was said.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged<'a> {
    /// Its label.
    pub label: &'a str,
    /// Where it came from.
    pub origin: &'a str,
    /// Its source, numbered.
    pub source: u32,
    /// Start, unix seconds.
    pub t0: f64,
    /// An attack.
    pub attack: bool,
    /// Its score.
    pub score: f64,
    /// What levels are held against: the score, less the discount of its kind.
    pub held: f64,
    /// The score as a probability.
    pub probability: f64,
    /// What it would be called if flagged.
    pub named: &'a str,
}

/// Figures at one threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Which threshold.
    pub name: String,
    /// What is held against it (the score where the point is one of probability) counts as an attack above it.
    pub threshold: f64,
    /// Share judged rightly.
    pub accuracy: f64,
    /// Mean of recall and of the share of benign flows judged rightly.
    pub balanced_accuracy: f64,
    /// Share of attacks among what was judged one.
    pub precision: f64,
    /// Share of attacks found.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Mean recall over labels.
    pub macro_recall: f64,
    /// Share of benign flows judged attacks, with Wilson's interval at 95 %.
    pub fpr: f64,
    /// Lower end.
    pub fpr_low: f64,
    /// Upper end.
    pub fpr_high: f64,
}

/// Figures of one family at the level `suspicious`, named by the second stage.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FamilyFigures {
    /// Its name.
    pub family: &'static str,
    /// Flows of it.
    pub rows: u64,
    /// Share of it among what was called it.
    pub precision: f64,
    /// Share of it that was called it.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

/// Share of one label's, origin's or source's flows above each threshold.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slice {
    /// Its name.
    pub name: String,
    /// Flows of it.
    pub rows: u64,
    /// All of them attacks.
    pub attack: bool,
    /// In the order of [`Evaluation::points`].
    pub above: Vec<f64>,
}

/// Recall where one origin's attacks meet a threshold set by another's benign flows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cross {
    /// Share of benign flows above the threshold.
    pub alpha: f64,
    /// Origins of benign flows: columns.
    pub benign: Vec<String>,
    /// Origins of attacks: rows.
    pub attacks: Vec<String>,
    /// Recall.
    pub recall: Vec<Vec<f64>>,
}

/// Everything that is said.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Flows.
    pub rows: u64,
    /// Of these benign.
    pub benign: u64,
    /// Area under the receiver's curve.
    pub roc_auc: f64,
    /// Average precision.
    pub pr_auc: f64,
    /// Expected calibration error.
    pub calibration_error: f64,
    /// Thresholds: the model's levels, probability ½, and those that give 1 % and 0.1 % on these benign flows.
    pub points: Vec<Point>,
    /// Families.
    pub families: Vec<FamilyFigures>,
    /// Labels, `benign` among them.
    pub labels: Vec<Slice>,
    /// Origins, benign flows and attacks apart.
    pub origins: Vec<Slice>,
    /// Names of the confusion matrix.
    pub confusion_names: Vec<&'static str>,
    /// Rows are what flows were, columns what they were called at the level `suspicious`.
    pub confusion: Vec<Vec<u64>>,
    /// Where there are several origins.
    pub cross: Option<Cross>,
    /// Benign sources.
    pub benign_sources: u64,
    /// Of these so many in 10,000 would be blocked: three flags in 120 s, or one score of 0.95.
    pub benign_sources_blocked_per_10000: f64,
    /// Said against was.
    pub reliability: Vec<Reliability>,
    /// The receiver's curve.
    #[serde(skip)]
    pub roc: Vec<(f64, f64)>,
    /// Precision over recall.
    #[serde(skip)]
    pub precision_recall: Vec<(f64, f64)>,
}

/// Judges all rows of a table.
pub fn judge<'a>(scorer: &'a Scorer, table: &'a Table) -> Vec<Judged<'a>> {
    (0..table.rows.len())
        .into_par_iter()
        .map(|at| {
            let (row, vector) = (&table.rows[at], &table.vectors[at]);
            let judgement = scorer.judge(vector);
            Judged {
                label: table.label(at),
                origin: table.origin(at),
                source: row.source,
                t0: row.t0,
                attack: row.attack,
                score: judgement.verdict.score,
                held: judgement.held,
                probability: judgement.verdict.probability,
                named: judgement.named,
            }
        })
        .collect()
}

impl Evaluation {
    /// Figures of judged flows. `levels` are suspicious and flag, where they have a threshold.
    ///
    /// # Errors
    /// [`TrainError::OneClass`].
    pub fn of(judged: &[Judged<'_>], levels: [Option<f64>; 2]) -> Result<Self, TrainError> {
        let benign = judged.iter().filter(|row| !row.attack).count();
        for (none, what) in [(benign == 0, "attacks"), (benign == judged.len(), "benign")] {
            if none {
                return Err(TrainError::OneClass {
                    rows: judged.len(),
                    what,
                });
            }
        }
        let scored: Vec<_> = judged.iter().map(|row| (row.held, row.attack)).collect();
        let said: Vec<_> = judged.iter().map(|row| (row.probability, row.attack)).collect();
        let cuts = cuts(judged, levels);
        let points = cuts.iter().map(|cut| point(judged, cut)).collect();
        // The model's own levels where it has them, or else what is likelier an attack than not.
        let suspicious = &cuts[0];
        let flag = cuts.iter().find(|cut| cut.name == FLAG).unwrap_or(suspicious);
        let (confusion_names, confusion) = confusion(judged, suspicious);
        let (benign_sources, blocked) = sources(judged, flag);
        Ok(Self {
            rows: judged.len() as u64,
            benign: benign as u64,
            roc_auc: metrics::roc_auc(&scored),
            pr_auc: metrics::average_precision(&scored),
            calibration_error: metrics::calibration_error(&said),
            points,
            families: families(&confusion_names, &confusion),
            labels: slices(judged, &cuts, |row| row.label.to_owned()),
            origins: slices(judged, &cuts, |row| {
                format!("{} {}", row.origin, if row.attack { "attacks" } else { BENIGN })
            }),
            confusion_names,
            confusion,
            cross: cross(judged),
            benign_sources,
            benign_sources_blocked_per_10000: blocked as f64 / benign_sources.max(1) as f64 * 1e4,
            reliability: metrics::reliability(&said),
            roc: metrics::roc(&scored),
            precision_recall: metrics::precision_recall(&scored),
        })
    }

    /// The point of that name.
    pub fn point(&self, name: &str) -> Option<&Point> {
        self.points.iter().find(|point| point.name == name)
    }
}

/// Scores above it are at most a share `alpha` of these.
pub fn quantile_above(mut scores: Vec<f64>, alpha: f64) -> f64 {
    scores.sort_by(f64::total_cmp);
    let beyond = (scores.len() as f64 * alpha + 1e-9).floor() as usize;
    scores[scores.len() - 1 - beyond.min(scores.len() - 1)]
}

/// The name of the upper level.
const FLAG: &str = "flag";

/// A threshold and what is held against it.
struct Cut {
    name: &'static str,
    threshold: f64,
    of: fn(&Judged<'_>) -> f64,
}

impl Cut {
    fn is_exceeded(&self, row: &Judged<'_>) -> bool {
        (self.of)(row) > self.threshold
    }
}

fn cuts(judged: &[Judged<'_>], levels: [Option<f64>; 2]) -> Vec<Cut> {
    let benign = || {
        let benign = judged.iter().filter(|row| !row.attack);
        benign.map(|row| row.held).collect::<Vec<_>>()
    };
    // The lowest score whose probability is at least one half: the two rise together.
    let likely = judged.iter().filter(|row| row.probability >= 0.5).map(|row| row.score);
    let half = likely.fold(1.0, f64::min);
    let cut = |name, threshold| Cut {
        name,
        threshold,
        of: |row| row.held,
    };
    let mut out = Vec::new();
    for (name, level) in [("suspicious", levels[0]), (FLAG, levels[1])] {
        out.extend(level.map(|level| cut(name, level)));
    }
    out.push(Cut {
        name: "probability ½",
        threshold: half - 1e-12,
        of: |row| row.score,
    });
    out.push(cut("FPR 1 %", quantile_above(benign(), 0.01)));
    out.push(cut("FPR 0.1 %", quantile_above(benign(), 0.001)));
    out
}

fn point(judged: &[Judged<'_>], cut: &Cut) -> Point {
    let mut counts = [[0u64; 2]; 2];
    let mut by_label: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for row in judged {
        let above = cut.is_exceeded(row);
        counts[usize::from(row.attack)][usize::from(above)] += 1;
        if row.attack {
            let label = by_label.entry(row.label).or_default();
            *label = (label.0 + u64::from(above), label.1 + 1);
        }
    }
    let [[tn, fp], [missed, tp]] = counts;
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let (recall, fpr, precision) = (share(tp, tp + missed), share(fp, fp + tn), share(tp, tp + fp));
    let (fpr_low, fpr_high) = metrics::wilson(fp, fp + tn);
    Point {
        name: cut.name.into(),
        threshold: cut.threshold,
        accuracy: share(tp + tn, judged.len() as u64),
        balanced_accuracy: f64::midpoint(recall, 1.0 - fpr),
        precision,
        recall,
        f1: f1(precision, recall),
        macro_recall: by_label.values().map(|&(found, all)| share(found, all)).sum::<f64>()
            / by_label.len().max(1) as f64,
        fpr,
        fpr_low,
        fpr_high,
    }
}

fn f1(precision: f64, recall: f64) -> f64 {
    if precision + recall == 0.0 {
        0.0
    } else {
        2.0 * precision * recall / (precision + recall)
    }
}

fn slices(judged: &[Judged<'_>], cuts: &[Cut], name: impl Fn(&Judged<'_>) -> String) -> Vec<Slice> {
    let mut by_name: BTreeMap<String, (u64, bool, Vec<u64>)> = BTreeMap::new();
    for row in judged {
        let slice = by_name
            .entry(name(row))
            .or_insert_with(|| (0, true, vec![0; cuts.len()]));
        slice.0 += 1;
        slice.1 &= row.attack;
        for (count, cut) in slice.2.iter_mut().zip(cuts) {
            *count += u64::from(cut.is_exceeded(row));
        }
    }
    let slice = |(name, (rows, attack, above)): (String, (u64, bool, Vec<u64>))| Slice {
        name,
        rows,
        attack,
        above: above.into_iter().map(|count| count as f64 / rows as f64).collect(),
    };
    by_name.into_iter().map(slice).collect()
}

fn confusion(judged: &[Judged<'_>], suspicious: &Cut) -> (Vec<&'static str>, Vec<Vec<u64>>) {
    let names: Vec<&'static str> = [BENIGN].iter().chain(FAMILIES).chain(&[UNKNOWN]).copied().collect();
    let at = |name: &str| names.iter().position(|known| *known == name).unwrap_or(names.len() - 1);
    let mut counts = vec![vec![0; names.len()]; names.len()];
    for row in judged {
        let said = if suspicious.is_exceeded(row) { row.named } else { BENIGN };
        counts[at(family_of(row.label))][at(said)] += 1;
    }
    (names, counts)
}

fn families(names: &[&'static str], confusion: &[Vec<u64>]) -> Vec<FamilyFigures> {
    let figures = |at: usize| {
        let rows: u64 = confusion[at].iter().sum();
        let called: u64 = confusion.iter().map(|row| row[at]).sum();
        let right = confusion[at][at] as f64;
        let (precision, recall) = (right / called.max(1) as f64, right / rows.max(1) as f64);
        (rows > 0).then(|| FamilyFigures {
            family: names[at],
            rows,
            precision,
            recall,
            f1: f1(precision, recall),
        })
    };
    (0..names.len()).filter_map(figures).collect()
}

fn cross(judged: &[Judged<'_>]) -> Option<Cross> {
    const ALPHA: f64 = 0.01;
    /// Fewer benign flows set no threshold.
    const NEEDED: usize = 100;
    let mut benign: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut attacks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for row in judged {
        let side = if row.attack { &mut attacks } else { &mut benign };
        side.entry(row.origin).or_default().push(row.held);
    }
    benign.retain(|_, scores| scores.len() >= NEEDED);
    let origins: BTreeSet<&str> = benign.keys().chain(attacks.keys()).copied().collect();
    if origins.len() < 2 || benign.is_empty() {
        return None;
    }
    let cut: Vec<f64> = benign
        .values()
        .map(|scores| quantile_above(scores.clone(), ALPHA))
        .collect();
    let found = |scores: &Vec<f64>, threshold: f64| {
        scores.iter().filter(|score| **score > threshold).count() as f64 / scores.len() as f64
    };
    Some(Cross {
        alpha: ALPHA,
        benign: benign.keys().map(|name| (*name).to_owned()).collect(),
        attacks: attacks.keys().map(|name| (*name).to_owned()).collect(),
        recall: attacks
            .values()
            .map(|scores| cut.iter().map(|&t| found(scores, t)).collect())
            .collect(),
    })
}

/// Benign sources, and those that would be blocked.
fn sources(judged: &[Judged<'_>], flag: &Cut) -> (u64, u64) {
    let mut by_source: BTreeMap<(&str, u32), (bool, bool, Vec<f64>)> = BTreeMap::new();
    for row in judged {
        let source = by_source.entry((row.origin, row.source)).or_default();
        source.0 |= row.attack;
        if flag.is_exceeded(row) {
            source.1 |= row.score >= ALONE;
            source.2.push(row.t0);
        }
    }
    let (mut all, mut blocked) = (0, 0);
    for (attack, alone, mut times) in by_source.into_values() {
        if attack {
            continue;
        }
        times.sort_by(f64::total_cmp);
        all += 1;
        let often = times.windows(FLAGGED).any(|run| run[FLAGGED - 1] - run[0] <= WITHIN);
        blocked += u64::from(alone || often);
    }
    (all, blocked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(label: &'static str, origin: &'static str, score: f64, source: u32, t0: f64) -> Judged<'static> {
        Judged {
            label,
            origin,
            source,
            t0,
            attack: label != BENIGN,
            score,
            held: score,
            probability: score,
            named: family_of(label),
        }
    }

    #[test]
    fn figures_by_hand() {
        let judged = [
            row("benign", "a", 0.1, 1, 0.0),
            row("benign", "a", 0.2, 1, 0.0),
            row("benign", "a", 0.6, 2, 0.0),
            row("benign", "a", 0.3, 3, 0.0),
            row("scan", "a", 0.9, 9, 0.0),
            row("scan", "a", 0.4, 9, 0.0),
            row("c2", "a", 0.8, 9, 0.0),
        ];
        let figures = Evaluation::of(&judged, [Some(0.5), None]).unwrap();
        let point = figures.point("suspicious").unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} is not {b}");
        close(point.accuracy, 5.0 / 7.0);
        close(point.recall, 2.0 / 3.0);
        close(point.precision, 2.0 / 3.0);
        close(point.macro_recall, 0.75);
        close(point.fpr, 0.25);
        close(point.balanced_accuracy, f64::midpoint(2.0 / 3.0, 0.75));
        assert!(figures.point("flag").is_none());
        close(figures.roc_auc, 11.0 / 12.0);
        let scan = figures.families.iter().find(|f| f.family == "scan").unwrap();
        assert_eq!((scan.rows, scan.precision, scan.recall), (2, 1.0, 0.5));
        // The benign row above the threshold is called unknown: no family's forest was asked here but by label.
        let sum: u64 = figures.confusion.iter().flatten().sum();
        assert_eq!(sum, 7);
        assert_eq!(figures.cross, None);
    }

    #[test]
    fn one_class_is_refused() {
        let judged = [row("benign", "a", 0.1, 1, 0.0)];
        let error = Evaluation::of(&judged, [None, None]).unwrap_err().to_string();
        assert!(error.starts_with("all 1 rows are benign;"), "{error}");
    }

    #[test]
    fn sources_are_blocked_by_three_flags_in_two_minutes_or_one_that_is_sure() {
        let flagged = |source, times: [f64; 3]| times.map(|t0| row("benign", "a", 0.7, source, t0));
        let mut judged = vec![
            row("benign", "a", 0.96, 1, 0.0),
            row("benign", "a", 0.1, 2, 0.0),
            row("c2", "a", 0.9, 5, 0.0),
        ];
        // What its kind takes off leaves it below the flag, however sure the score is.
        judged.push(Judged {
            held: 0.3,
            ..row("benign", "a", 0.96, 6, 0.0)
        });
        judged.extend(flagged(3, [0.0, 60.0, 119.0]));
        judged.extend(flagged(4, [0.0, 60.0, 121.0]));
        let figures = Evaluation::of(&judged, [Some(0.5), Some(0.5)]).unwrap();
        assert_eq!(
            (figures.benign_sources, figures.benign_sources_blocked_per_10000),
            (5, 4000.0)
        );
    }

    #[test]
    fn attacks_of_one_origin_meet_thresholds_of_the_other() {
        let mut judged: Vec<_> = (0..200)
            .map(|i| row("benign", "calm", f64::from(i) / 1000.0, 1, 0.0))
            .collect();
        judged.extend((0..200).map(|i| row("benign", "loud", 0.5 + f64::from(i) / 1000.0, 2, 0.0)));
        judged.extend((0..10).map(|_| row("scan", "calm", 0.4, 3, 0.0)));
        let cross = Evaluation::of(&judged, [None, None]).unwrap().cross.unwrap();
        assert_eq!(
            (cross.benign, cross.attacks),
            (vec!["calm".into(), "loud".into()], vec!["calm".into()])
        );
        assert_eq!(cross.recall, [[1.0, 0.0]]);
    }
}
