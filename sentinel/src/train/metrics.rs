//! Figures of merit.

/// Area under the receiver's curve: how often an attack scores above a benign flow, ties counting half (Fawcett, "An
/// introduction to ROC analysis", 2006). One half without either class.
pub fn roc_auc(scored: &[(f64, bool)]) -> f64 {
    let (mut below, mut sum, mut attacks) = (0.0, 0.0, 0.0);
    for (positive, negative) in ties(scored).into_iter().rev() {
        sum += positive * (below + negative / 2.0);
        below += negative;
        attacks += positive;
    }
    if attacks * below == 0.0 {
        0.5
    } else {
        sum / (attacks * below)
    }
}

/// Average precision: area under precision over recall, stepwise (Davis and Goadrich, "The relationship between
/// precision-recall and ROC curves", 2006). Zero without attacks.
pub fn average_precision(scored: &[(f64, bool)]) -> f64 {
    let (mut positive, mut all, mut sum) = (0.0, 0.0, 0.0);
    for (p, n) in ties(scored) {
        positive += p;
        all += p + n;
        sum += p * (positive / all);
    }
    if positive == 0.0 { 0.0 } else { sum / positive }
}

/// Attacks and benign flows at each distinct score, from the highest.
fn ties(scored: &[(f64, bool)]) -> Vec<(f64, f64)> {
    let mut sorted = scored.to_vec();
    sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut out: Vec<(f64, f64)> = Vec::new();
    let mut last = None;
    for (score, attack) in sorted {
        if last != Some(score) {
            out.push((0.0, 0.0));
            last = Some(score);
        }
        if let Some(tie) = out.last_mut() {
            *(if attack { &mut tie.0 } else { &mut tie.1 }) += 1.0;
        }
    }
    out
}

/// Points of the receiver's curve: false-positive rate and recall, from (0, 0) to (1, 1).
pub fn roc(scored: &[(f64, bool)]) -> Vec<(f64, f64)> {
    let ties = ties(scored);
    let (p, n) = ties.iter().fold((0.0, 0.0), |sum, tie| (sum.0 + tie.0, sum.1 + tie.1));
    let mut at = (0.0, 0.0);
    let mut out = vec![(0.0, 0.0)];
    for (positive, negative) in ties {
        at = (at.0 + negative, at.1 + positive);
        out.push((at.0 / f64::max(n, 1.0), at.1 / f64::max(p, 1.0)));
    }
    out
}

/// Points of precision (second) over recall (first), from the highest score.
pub fn precision_recall(scored: &[(f64, bool)]) -> Vec<(f64, f64)> {
    let ties = ties(scored);
    let attacks: f64 = ties.iter().map(|tie| tie.0).sum();
    let (mut positive, mut all) = (0.0, 0.0);
    let point = |tie: (f64, f64)| {
        positive += tie.0;
        all += tie.0 + tie.1;
        (positive / f64::max(attacks, 1.0), positive / all)
    };
    ties.into_iter().map(point).collect()
}

/// A group of rows of like probability.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Reliability {
    /// Mean of what was said.
    pub said: f64,
    /// Share of attacks.
    pub was: f64,
    /// Rows.
    pub rows: u64,
}

/// What was said and what was, in 15 groups of equal width; empty ones are left out.
pub fn reliability(said: &[(f64, bool)]) -> Vec<Reliability> {
    const GROUPS: usize = 15;
    let mut groups = [(0.0, 0.0, 0u64); GROUPS];
    for &(probability, attack) in said {
        let group = &mut groups[((probability * GROUPS as f64) as usize).min(GROUPS - 1)];
        group.0 += probability;
        group.1 += f64::from(attack);
        group.2 += 1;
    }
    let filled = groups.into_iter().filter(|group| group.2 > 0);
    filled
        .map(|(said, was, rows)| Reliability {
            said: said / rows as f64,
            was: was / rows as f64,
            rows,
        })
        .collect()
}

/// Expected calibration error (Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian
/// binning", 2015): the mean gap between said and was, by rows.
pub fn calibration_error(said: &[(f64, bool)]) -> f64 {
    let gaps = reliability(said)
        .into_iter()
        .map(|g| (g.said - g.was).abs() * g.rows as f64);
    gaps.sum::<f64>() / said.len().max(1) as f64
}

/// Wilson's interval at 95 % for a share of `count` in `of` (Wilson, 1927). The whole range for none.
pub fn wilson(count: u64, of: u64) -> (f64, f64) {
    if of == 0 {
        return (0.0, 1.0);
    }
    let (n, p, z) = (of as f64, count as f64 / of as f64, 1.959_964);
    let middle = p + z * z / (2.0 * n);
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z * z / n;
    // At the ends the exact bound is the end itself.
    let low = if count == 0 { 0.0 } else { (middle - half) / scale };
    let high = if count == of { 1.0 } else { (middle + half) / scale };
    (low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn areas_by_hand() {
        // Pairs: (0.9 beats both), (0.4 beats 0.2, ties 0.4).
        let scored = [(0.9, true), (0.4, true), (0.4, false), (0.2, false)];
        close(roc_auc(&scored), (2.0 + 1.5) / 4.0);
        close(average_precision(&scored), f64::midpoint(1.0, 2.0 / 3.0));
        assert_eq!(roc(&scored), [(0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        assert_eq!(precision_recall(&scored), [(0.5, 1.0), (1.0, 2.0 / 3.0), (1.0, 0.5)]);
        close(roc_auc(&[(0.1, true), (0.9, false)]), 0.0);
        close(roc_auc(&[(0.5, true)]), 0.5);
        close(average_precision(&[(0.5, false)]), 0.0);
    }

    #[test]
    fn the_calibration_error_is_the_mean_gap() {
        let said = [(0.9, true), (0.9, false), (0.1, false), (0.1, false)];
        close(calibration_error(&said), (0.4 * 2.0 + 0.1 * 2.0) / 4.0);
        close(calibration_error(&[(1.0, true), (0.0, false)]), 0.0);
    }

    #[test]
    fn wilsons_interval() {
        // From Wilson's formula for 1 of 10.
        let (low, high) = wilson(1, 10);
        assert!(
            (low - 0.0179).abs() < 1e-4 && (high - 0.4042).abs() < 1e-4,
            "{low} {high}"
        );
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        assert!(wilson(0, 1000).0 == 0.0 && wilson(0, 1000).1 < 0.004);
    }
}
