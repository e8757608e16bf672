//! Which sources are worth a request. Pure.
//!
//! A request is worth what its answer can change. Let p be what is believed (the probability of harm) and t a risk
//! threshold. Who acts from t on holds that a wrong block costs t and a missed one 1 - t, so deciding on p alone costs
//! R(p) = min((1 - p) t, p (1 - t)), most where p = t. A source of weight w that knows a share c of the addresses calls
//! a harmful one bad with probability c, and a harmless one with c e^(-4w): that moves p to p' by Bayes' rule. The value
//! of asking is the expected value of sample information (Raiffa and Schlaifer, "Applied Statistical Decision Theory",
//! 1961)
//!
//! value = severity · group · Σ over thresholds (R(p) - E[R(p')])
//!
//! with 4, 1 and ¼ for high, medium and low severity, and half for each source of the same group that was chosen or has
//! answered already. It is never negative, and nothing where no answer could lead to another decision; there, and where
//! an action is likely (p at or above the lower threshold), [`WORD`] · w · c is added to the sum, because an action that
//! somebody outside confirms is worth a little more than one on local evidence only.
//!
//! The price of a request follows what is left. With r the share left of a day's or month's requests (without what is
//! kept for grave alerts, for all others) and l the share left of its time,
//!
//! price = [`PRICE`] · e^([`STEEP`] (1 - r / l)), at least [`FREE`]; the dearest of the periods counts
//!
//! so that who spends ahead of time pays ever more, and what would be left over at the end is nearly free. A source
//! without limits by day or month costs [`FREE`]. A source is asked where value ≥ price.

use super::quota::Purse;
use crate::types::Severity;

/// What a request must be worth while quota is spent as evenly as time passes.
pub(super) const PRICE: f64 = 0.01;
/// How fast the price rises for who spends ahead of time: threefold for every 8 % behind the even pace, and beyond what any
/// answer can be worth where half of what should be left is gone.
pub(super) const STEEP: f64 = 14.0;
/// Lowest price; that of a request that is limited by the minute only.
pub(super) const FREE: f64 = 1e-4;
/// What a second opinion is worth where an action is likely.
pub(super) const WORD: f64 = 0.01;
/// Natural logarithm of the likelihood ratio of "bad" from a source of weight 1.
pub(super) const EVIDENCE: f64 = 4.0;

/// A source that could be asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its wells: those of one group know much the same.
    pub group: &'static str,
    /// How much its word counts, 0 to 1.
    pub weight: f64,
    /// Share of the addresses it knows, 0 to 1.
    pub coverage: f64,
    /// What is left of its quota, for the severity in question.
    pub purse: Purse,
    /// It is left alone after failures.
    pub shut: bool,
}

/// What is decided about a source.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Choice {
    /// Ask it.
    Ask {
        /// Of the answer.
        value: f64,
        /// Of the request.
        price: f64,
    },
    /// It is not worth it.
    NotWorth {
        /// Of the answer.
        value: f64,
        /// Of the request.
        price: f64,
    },
    /// Its quota is spent.
    Spent {
        /// `minute`, `day`, `month`, or `moment` where the provider asked for patience.
        period: &'static str,
        /// Whether a graver alert would still be served.
        reserved: bool,
    },
    /// It is left alone after failures.
    Shut,
}

/// What is known of the address in question.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// Of the alert.
    pub severity: Severity,
    /// Probability of harm, 0 to 1, with what is known already.
    pub believed: f64,
    /// `risk_thresholds`: medium and high.
    pub thresholds: [f64; 2],
    /// Groups of sources that have answered.
    pub answered: Vec<&'static str>,
}

/// What deciding at once costs when harm has probability `p` and the decision turns at `t`.
fn regret(p: f64, t: f64) -> f64 {
    ((1.0 - p) * t).min(p * (1.0 - t))
}

/// The expected value of an answer, before severity and group.
pub fn value(believed: f64, thresholds: [f64; 2], weight: f64, coverage: f64) -> f64 {
    let (p, c) = (unit(believed), unit(coverage));
    let bad = [c, c * (-EVIDENCE * unit(weight)).exp()];
    let outcome = |harmful: f64, harmless: f64| {
        let chance = p * harmful + (1.0 - p) * harmless;
        (chance, if chance > 0.0 { p * harmful / chance } else { p })
    };
    let outcomes = [outcome(bad[0], bad[1]), outcome(1.0 - bad[0], 1.0 - bad[1])];
    let of = |t: f64| {
        let after: f64 = outcomes.iter().map(|(chance, p)| chance * regret(*p, t)).sum();
        (regret(p, t) - after).max(0.0)
    };
    let word = if p >= thresholds[0] {
        WORD * unit(weight) * c
    } else {
        0.0
    };
    thresholds.into_iter().map(|t| of(unit(t))).sum::<f64>() + word
}

/// What a request costs.
pub fn price(purse: &Purse) -> f64 {
    let of = |(left, time): &(f64, f64)| PRICE * (STEEP * (1.0 - left / time.max(1e-9))).exp();
    purse.left.iter().map(of).fold(FREE, f64::max)
}

/// Decides about each candidate, in their order; the same question gives the same answer.
pub fn choose(question: &Question, candidates: &[Candidate]) -> Vec<Choice> {
    let severity = match question.severity {
        Severity::High => 4.0,
        Severity::Medium => 1.0,
        Severity::Low => 0.25,
    };
    let mut choices: Vec<Choice> = candidates
        .iter()
        .map(|c| match c.purse.spent {
            _ if c.shut => Choice::Shut,
            Some((period, reserved)) => Choice::Spent { period, reserved },
            None => Choice::NotWorth {
                value: severity * value(question.believed, question.thresholds, c.weight, c.coverage),
                price: price(&c.purse),
            },
        })
        .collect();
    // The best for its price first: what it draws from is worth less to the others of its group.
    let ratio = |choice: &Choice| match choice {
        Choice::NotWorth { value, price } => value / price,
        _ => 0.0,
    };
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|a, b| ratio(&choices[*b]).total_cmp(&ratio(&choices[*a])).then(a.cmp(b)));
    let mut heard = question.answered.clone();
    for at in order {
        let Choice::NotWorth { value, price } = choices[at] else {
            continue;
        };
        let group = candidates[at].group;
        let before = heard.iter().filter(|g| **g == group).count() as i32;
        let value = value * 0.5_f64.powi(before);
        choices[at] = if value > 0.0 && value >= price {
            heard.push(group);
            Choice::Ask { value, price }
        } else {
            Choice::NotWorth { value, price }
        };
    }
    choices
}

/// What is believed after an answer that was known already: its score says how bad, its confidence and the weight of
/// the source how much that counts.
pub(super) fn believe(believed: f64, weight: f64, score: f64, confidence: f64) -> f64 {
    let p = unit(believed).clamp(1e-6, 1.0 - 1e-6);
    let odds = (p / (1.0 - p)).ln() + EVIDENCE * unit(weight) * unit(confidence) * (2.0 * unit(score) - 1.0);
    1.0 / (1.0 + (-odds).exp())
}

fn unit(x: f64) -> f64 {
    if x.is_nan() { 0.0 } else { x.clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: [f64; 2] = [0.6, 0.8];

    fn candidate(group: &'static str, weight: f64, left: &[(f64, f64)]) -> Candidate {
        Candidate {
            group,
            weight,
            coverage: 0.5,
            purse: Purse {
                spent: None,
                left: left.to_vec(),
            },
            shut: false,
        }
    }

    fn question(severity: Severity, believed: f64) -> Question {
        Question {
            severity,
            believed,
            thresholds: T,
            answered: Vec::new(),
        }
    }

    fn asked(question: &Question, candidates: &[Candidate]) -> Vec<bool> {
        let choices = choose(question, candidates);
        choices.iter().map(|c| matches!(c, Choice::Ask { .. })).collect()
    }

    proptest! {
        #[test]
        fn an_answer_is_never_worth_less_than_nothing(
            p in 0.0..=1.0, low in 0.0..=1.0, high in 0.0..=1.0, w in 0.0..=1.0, c in 0.0..=1.0,
        ) {
            let worth = value(p, [low, high], w, c);
            prop_assert!((0.0..=0.5 + WORD).contains(&worth));
            // More weight never makes it worth less, and a source without weight says nothing.
            prop_assert!(value(p, [low, high], 1.0, c) >= worth - 1e-12);
            prop_assert!(value(p, [low, high], 0.0, c) < 1e-12);
        }

        #[test]
        fn who_spends_ahead_of_time_pays_more(left in 0.0..=1.0, less in 0.0..=1.0, time in 0.0..=1.0) {
            let of = |left| price(&Purse { spent: None, left: vec![(left, time)] });
            prop_assert!(of(left * less) >= of(left));
            prop_assert!((FREE..=PRICE * STEEP.exp() + 1e-9).contains(&of(left)));
        }
    }

    #[test]
    fn an_answer_is_worth_most_where_the_decision_hangs_on_it() {
        let at = |p| value(p, T, 0.8, 0.5);
        assert!(
            at(0.65) > at(0.3) && at(0.3) > at(0.05),
            "{} {} {}",
            at(0.65),
            at(0.3),
            at(0.05)
        );
        // Nothing the source could say would change these decisions.
        assert!(value(0.001, T, 0.8, 0.5) < 1e-12);
        assert!((value(0.999, T, 0.8, 0.5) - WORD * 0.4).abs() < 1e-12);
    }

    #[test]
    fn numbers_that_are_none_ask_nobody() {
        for (p, w, c) in [(f64::NAN, 0.8, 0.5), (0.65, f64::NAN, 0.5), (0.65, 0.8, f64::NAN)] {
            assert!(value(p, T, w, c) < 1e-12, "{p} {w} {c}");
        }
    }

    #[test]
    fn the_price_follows_pace() {
        let of = |left: &[(f64, f64)]| {
            price(&Purse {
                spent: None,
                left: left.to_vec(),
            })
        };
        assert!((of(&[(0.5, 0.5)]) - PRICE).abs() < 1e-12);
        assert!(of(&[(0.46, 0.5)]) > 3.0 * PRICE && of(&[(0.25, 0.5)]) > 4.0);
        assert!(
            (of(&[(1.0, 0.5), (0.5, 0.5)]) - PRICE).abs() < 1e-12,
            "the dearest counts"
        );
        for free in [&[][..], &[(1.0, 0.5)], &[(0.1, 0.0)]] {
            assert!((of(free) - FREE).abs() < 1e-15, "{free:?}");
        }
    }

    #[test]
    fn scarce_requests_go_where_they_pay() {
        use Severity::{High, Low, Medium};
        let even = [candidate("a", 0.8, &[(0.5, 0.5)])];
        let ahead = [candidate("a", 0.8, &[(0.4, 0.5)])];
        for (severity, believed, on_pace, when_dear) in [
            (High, 0.65, true, true),
            (Medium, 0.65, true, false),
            (Low, 0.65, true, false),
            (Low, 0.05, false, false),
            (High, 0.95, true, false),
            (Medium, 0.95, false, false),
        ] {
            let q = question(severity, believed);
            assert_eq!(asked(&q, &even), [on_pace], "{q:?}");
            assert_eq!(asked(&q, &ahead), [when_dear], "{q:?}");
        }
    }

    #[test]
    fn the_second_of_a_group_is_worth_half_and_what_cannot_be_asked_is_told() {
        let mut candidates = vec![
            candidate("a", 0.5, &[(0.5, 0.5)]),
            candidate("a", 0.8, &[(0.5, 0.5)]),
            candidate("b", 0.8, &[(0.5, 0.5)]),
            candidate("c", 0.8, &[]),
            candidate("d", 0.8, &[]),
        ];
        candidates[3].purse.spent = Some(("day", true));
        candidates[4].shut = true;
        let q = question(Severity::Medium, 0.65);
        let choices = choose(&q, &candidates);
        let value = |at: usize| match choices[at] {
            Choice::Ask { value, .. } | Choice::NotWorth { value, .. } => value,
            _ => f64::NAN,
        };
        let alone = choose(&q, &candidates[..1]);
        let Choice::Ask { value: whole, .. } = alone[0] else {
            panic!("{alone:?}")
        };
        assert!((value(0) * 2.0 - whole).abs() < 1e-12, "{choices:?}");
        assert!((value(1) - value(2)).abs() < 1e-12, "{choices:?}");
        let (period, reserved) = ("day", true);
        assert_eq!(choices[3..], [Choice::Spent { period, reserved }, Choice::Shut]);
        assert_eq!(choose(&q, &candidates), choices, "the same every time");
        let heard = Question {
            answered: vec!["b", "b", "b", "b"],
            ..q
        };
        assert_eq!(asked(&heard, &candidates[2..3]), [false]);
    }

    #[test]
    fn what_was_known_already_moves_belief() {
        assert!(believe(0.5, 0.8, 0.9, 0.8) > 0.85);
        assert!(believe(0.5, 0.8, 0.1, 0.8) < 0.15);
        for (weight, score, confidence) in [(0.0, 0.9, 1.0), (0.8, 0.5, 1.0), (0.8, 0.9, 0.0)] {
            assert!((believe(0.3, weight, score, confidence) - 0.3).abs() < 1e-9);
        }
        assert!(believe(1.0, 1.0, 1.0, 1.0) < 1.0 && believe(0.0, 1.0, 0.0, 1.0) > 0.0);
    }
}
