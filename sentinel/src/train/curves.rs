//! Fitting calibrations.

use crate::model::calibration::{Isotonic, Platt};

/// Points of an isotonic curve before equal ones are joined.
const BINS: usize = 200;

/// Isotonic regression by pooling adjacent violators over at most 200 groups of rows with like scores; each group's
/// share of attacks is (n₊ + ½)/(n + 1), so that none is certain. None without rows.
pub fn isotonic(scored: &[(f64, bool)]) -> Option<Isotonic> {
    struct Block {
        score: f64,
        positive: f64,
        rows: f64,
    }
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let size = sorted.len().div_ceil(BINS);
    let mut blocks: Vec<Block> = Vec::new();
    let mut at = 0;
    while at < sorted.len() {
        // Equal scores stay together.
        let mut end = (at + size).min(sorted.len());
        while end < sorted.len() && sorted[end].0 <= sorted[end - 1].0 {
            end += 1;
        }
        let rows = &sorted[at..end];
        blocks.push(Block {
            score: rows.iter().map(|row| row.0).sum(),
            positive: rows.iter().filter(|row| row.1).count() as f64,
            rows: rows.len() as f64,
        });
        at = end;
        while let [.., before, last] = &blocks[..] {
            if (before.positive + 0.5) / (before.rows + 1.0) < (last.positive + 0.5) / (last.rows + 1.0) {
                break;
            }
            let (score, positive, rows) = (last.score, last.positive, last.rows);
            blocks.pop();
            if let Some(before) = blocks.last_mut() {
                before.score += score;
                before.positive += positive;
                before.rows += rows;
            }
        }
    }
    let mut points: Vec<(f64, f64)> = blocks
        .iter()
        .map(|block| (block.score / block.rows, (block.positive + 0.5) / (block.rows + 1.0)))
        .collect();
    points.dedup_by(|next, before| next.0 <= before.0);
    (!points.is_empty()).then_some(Isotonic { points })
}

/// Platt's curve by Newton's method with step halving (Lin, Lin and Weng, "A note on Platt's probabilistic outputs for
/// support vector machines", 2007), with their targets that keep it from certainty. A slope that would be negative is 0.
pub fn platt(scored: &[(f64, bool)]) -> Platt {
    let positive = scored.iter().filter(|row| row.1).count() as f64;
    let negative = scored.len() as f64 - positive;
    let (high, low) = ((positive + 1.0) / (positive + 2.0), 1.0 / (negative + 2.0));
    let target = |attack: bool| if attack { high } else { low };
    let loss = |a: f64, b: f64| {
        let term = |&(margin, attack): &(f64, bool)| {
            let z = a * margin + b;
            // ln(1 + e^z) − t·z, without overflow.
            z.max(0.0) + (-z.abs()).exp().ln_1p() - target(attack) * z
        };
        scored.iter().map(term).sum::<f64>()
    };
    let (mut a, mut b) = (0.0, ((positive + 1.0) / (negative + 1.0)).ln());
    let mut now = loss(a, b);
    for _ in 0..100 {
        let (mut haa, mut hbb, mut hab, mut ga, mut gb) = (1e-12, 1e-12, 0.0, 0.0, 0.0);
        for &(margin, attack) in scored {
            let said = 1.0 / (1.0 + (-(a * margin + b)).exp());
            let (gap, weight) = (said - target(attack), said * (1.0 - said));
            haa += margin * margin * weight;
            hbb += weight;
            hab += margin * weight;
            ga += margin * gap;
            gb += gap;
        }
        if ga.abs() < 1e-5 && gb.abs() < 1e-5 {
            break;
        }
        let det = haa * hbb - hab * hab;
        let (da, db) = (-(hbb * ga - hab * gb) / det, -(haa * gb - hab * ga) / det);
        let mut step = 1.0;
        let better = loop {
            let next = loss(a + step * da, b + step * db);
            if next < now - 1e-10 {
                break Some(next);
            }
            step /= 2.0;
            if step < 1e-10 {
                break None;
            }
        };
        let Some(next) = better else { break };
        (a, b, now) = (a + step * da, b + step * db, next);
    }
    if a.is_finite() && b.is_finite() && a >= 0.0 {
        Platt { slope: a, offset: b }
    } else {
        Platt {
            slope: 0.0,
            offset: ((positive + 1.0) / (negative + 1.0)).ln(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::rng::Rng;

    /// Scores whose true probability of an attack is known.
    fn drawn(count: usize, probability: impl Fn(f64) -> f64) -> Vec<(f64, bool)> {
        let mut rng = Rng::new(5, "curves", 0);
        (0..count)
            .map(|_| {
                let score = rng.unit() * 6.0 - 3.0;
                (score, rng.unit() < probability(score))
            })
            .collect()
    }

    #[test]
    fn isotonic_finds_the_probability_and_never_falls() {
        let truth = |score: f64| if score < 0.0 { 0.1 } else { 0.8 };
        let curve = isotonic(&drawn(20_000, truth)).unwrap();
        for score in [-2.5, -1.0, 1.0, 2.5] {
            assert!(
                (curve.apply(score) - truth(score)).abs() < 0.06,
                "{score}: {}",
                curve.apply(score)
            );
        }
        assert!(curve.points.windows(2).all(|p| p[0].0 < p[1].0 && p[0].1 <= p[1].1));
        assert!(isotonic(&[]).is_none());
        let constant = isotonic(&[(0.5, true), (0.5, false)]).unwrap();
        assert_eq!(constant.points, [(0.5, 0.5)]);
    }

    #[test]
    fn platt_finds_slope_and_offset() {
        let curve = platt(&drawn(50_000, |m| 1.0 / (1.0 + (-(2.0 * m + 0.5)).exp())));
        assert!(
            (curve.slope - 2.0).abs() < 0.1 && (curve.offset - 0.5).abs() < 0.1,
            "{curve:?}"
        );
        let upside_down = platt(&drawn(5_000, |m| 1.0 / (1.0 + (2.0 * m).exp())));
        assert!(upside_down.slope.abs() < f64::EPSILON);
        let apart = platt(&[(-1.0, false), (1.0, true)]);
        assert!(apart.slope.is_finite() && apart.slope > 0.0);
    }
}
