//! The model as a whole: verdicts, sums, bytes.

use super::artefact::FORMAT;
use super::record::Record;
use super::testing::{record, vector};
use super::*;
use crate::features::schema::index_of;
use proptest::prelude::*;
use sha2::{Digest, Sha256};

fn model() -> Model {
    Model::new(record()).unwrap()
}

/// The sum set right again, as whoever alters a model would.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 32;
    let sum = Sha256::digest(&bytes[..end]);
    bytes[end..].copy_from_slice(&sum);
    bytes
}

#[test]
fn a_scan_is_flagged_and_named_and_a_talk_is_not() {
    let model = model();
    for variant in Variant::ALL {
        let scorer = model.scorer(variant);
        let talk = scorer.verdict(&vector(3.0, 1.0));
        assert_eq!(talk.level, Level::Benign);
        assert_eq!(talk.margin, None, "the second opinion is not asked below the gate");
        let long = scorer.verdict(&vector(3000.0, 1.0));
        assert_ne!(long.level, Level::Flag, "many packets to one port: {long:?}");
        let scan = scorer.verdict(&vector(30.0, 40.0));
        assert_eq!(scan.level, Level::Flag);
        assert!(scan.margin.is_some() && scan.probability > 0.9);
        assert_eq!(scorer.family(&vector(30.0, 40.0)).0, "scan");
        assert_eq!(scorer.family(&vector(3.0, 1.0)).0, UNKNOWN);
    }
}

#[test]
fn numbers_that_are_none_make_no_verdict_that_is_none() {
    let model = model();
    for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        let flow = vector(odd, odd);
        let verdict = model.scorer(Variant::Both).verdict(&flow);
        assert!(
            verdict.score.is_finite() && verdict.probability.is_finite(),
            "{odd}: {verdict:?}"
        );
    }
}

#[test]
fn a_level_without_a_threshold_is_never_reached() {
    let mut record = record();
    record.both.levels[1] = conformal::threshold(&[0.1; 50], 0.001).unwrap();
    let model = Model::new(record).unwrap();
    let verdict = model.scorer(Variant::Both).verdict(&vector(30.0, 40.0));
    assert_eq!(verdict.level, Level::Suspicious);
}

#[test]
fn what_comes_in_alone_is_judged_by_what_comes_in_alone() {
    let model = model();
    let mut seen = vector(30.0, 40.0);
    let before = model.scorer(Variant::Ingress).verdict(&seen);
    for (at, feature) in crate::features::FEATURES.iter().enumerate() {
        if feature.needs_egress {
            seen.0[at] = 12345.0;
        }
    }
    assert_eq!(model.scorer(Variant::Ingress).verdict(&seen), before);
    // A record that would ask for more is refused.
    let mut record = record();
    let replies = index_of("r_n").unwrap() as u16;
    if let NodeRecord::Split { feature, .. } = &mut record.ingress.forest.trees[0][0] {
        *feature = replies;
    }
    assert!(matches!(
        Model::new(record),
        Err(ArtefactError::Unsound {
            variant: "ingress only",
            ..
        })
    ));
}

#[test]
fn words_carry_the_numbers() {
    let model = model();
    let scorer = model.scorer(Variant::Both);
    let told = scorer.explain(&vector(30.0, 40.0), Method::Path);
    let ports = told.contributions.iter().find(|c| c.feature == "ws_ports").unwrap();
    assert!(
        ports.sentence.starts_with(
            "ws_ports is 40 ports (distinct destination ports of these; above 100 % of benign flows): adds 0."
        ),
        "{}",
        ports.sentence
    );
    assert!(
        told.summary.starts_with("Looks like scan: score 0."),
        "{}",
        told.summary
    );
    assert!(
        told.second.sentence.contains("nearest in training: "),
        "{}",
        told.second.sentence
    );
    for c in &told.contributions {
        assert!(
            !c.sentence.contains("NaN") && !c.sentence.contains("inf"),
            "{}",
            c.sentence
        );
    }
    let texts = [0.0, 1234.0, 123.4, 12.34, 1.234, 0.01234, 0.000_012_3, -1.0].map(number);
    assert_eq!(texts, ["0", "1234", "123", "12.3", "1.23", "0.0123", "1.23e-5", "-1"]);
}

#[test]
fn the_counterfactual_holds_what_it_says() {
    let model = model();
    let scorer = model.scorer(Variant::Both);
    let flow = vector(30.0, 40.0);
    let threshold = scorer.levels()[0].score.unwrap();
    assert!(scorer.verdict(&flow).score > threshold);
    let softer = scorer.counterfactual(&flow, threshold).unwrap();
    let mut changed = flow;
    for change in &softer.changes {
        let at = index_of(change.feature).unwrap();
        assert!((changed.0[at] - change.from).abs() < f64::EPSILON);
        changed.0[at] = change.to;
    }
    let verdict = scorer.verdict(&changed);
    assert!(verdict.score <= threshold && verdict.level == Level::Benign);
    assert!((verdict.score - softer.score).abs() < 1e-12);
    assert_eq!(softer.changes.len(), 1, "{softer:?}");
    assert!(softer.sentence.contains("instead of"), "{}", softer.sentence);
    assert!(
        scorer.counterfactual(&flow, -1.0).is_none(),
        "nothing takes it below zero"
    );
}

#[test]
fn drift_is_told_when_traffic_moves_and_not_before() {
    let model = model();
    let scorer = model.scorer(Variant::Both);
    let count = |flows: u32, ports: fn(u32) -> f64| {
        let mut drift = scorer.drift();
        for i in 0..flows {
            let mut flow = vector(f64::from(i % 21), ports(i));
            for value in &mut flow.0 {
                // The reference knows each feature as a ramp from 0 to 20.
                *value = if *value == 0.0 { f64::from(i % 21) } else { *value };
            }
            let mut verdict = scorer.verdict(&flow);
            (verdict.score, verdict.level) = (f64::from(i % 1000) / 2000.0, Level::Benign);
            drift.observe(&flow, &verdict);
        }
        drift.report()
    };
    let same = count(2100, |i| f64::from(i % 21));
    assert!(!same.alarm && same.moved[0].psi < 0.02, "{same:?}");
    let moved = count(2100, |_| 19.0);
    assert!(moved.alarm && moved.moved[0].name == "ws_ports" && moved.moved[0].psi > drift::ALARM);
    let few = count(50, |_| 19.0);
    assert!(!few.alarm && few.advice.starts_with("950 more"), "{}", few.advice);
}

/// S10: each day one percent more of the flows is what it calls suspicious, for two weeks. The thresholds do not move by
/// themselves, and it is told long before the two weeks are over.
#[test]
fn slow_poisoning_moves_no_threshold_and_is_told() {
    let model = model();
    let scorer = model.scorer(Variant::Both);
    let attack = vector(1.0, 20.0);
    let before = scorer.verdict(&attack);
    let mut alarms = Vec::new();
    for day in 0..=14u32 {
        let mut drift = scorer.drift();
        for i in 0..2100 {
            let mut flow = vector(f64::from(i % 21), f64::from(i % 21));
            for value in &mut flow.0 {
                *value = if *value == 0.0 { f64::from(i % 21) } else { *value };
            }
            let mut verdict = scorer.verdict(&flow);
            let poison = i % 100 < day;
            (verdict.score, verdict.level) = if poison {
                (before.score, Level::Suspicious)
            } else {
                (f64::from(i % 1000) / 2000.0, Level::Benign)
            };
            drift.observe(&flow, &verdict);
        }
        if drift.report().alarm {
            alarms.push(day);
        }
    }
    assert_eq!(alarms.last(), Some(&14), "told to the end");
    assert_eq!(alarms.len() as u32, 15 - alarms[0], "without a gap: {alarms:?}");
    assert!(alarms[0] >= 1 && alarms[0] <= 7, "{alarms:?}");
    let after = scorer.verdict(&attack);
    assert_eq!(
        (after.score.to_bits(), after.level),
        (before.score.to_bits(), before.level)
    );
}

#[test]
fn bytes_come_back_as_the_model_they_were() {
    let model = model();
    let bytes = model.encode().unwrap();
    let back = Model::decode(&bytes).unwrap();
    assert_eq!(back.record(), model.record());
    assert_eq!(back.encode().unwrap(), bytes);
    assert_eq!(back.sha256(), model.sha256());
}

#[test]
fn each_damage_has_its_error() {
    let bytes = model().encode().unwrap();
    let check = |bytes: &[u8], expected: fn(&ArtefactError) -> bool| {
        let error = Model::decode(bytes).map(|_| ()).unwrap_err();
        assert!(expected(&error), "{error}");
    };
    check(b"", |e| matches!(e, ArtefactError::NotAModel));
    check(b"PK\x03\x04something else", |e| matches!(e, ArtefactError::NotAModel));
    for end in [5, 12, 30, bytes.len() - 1] {
        check(&bytes[..end], |e| matches!(e, ArtefactError::Truncated { .. }));
    }
    let mut longer = bytes.clone();
    longer.push(0);
    check(&longer, |e| matches!(e, ArtefactError::TooLong { .. }));
    let mut tampered = bytes.clone();
    tampered[200] ^= 1;
    check(&tampered, |e| matches!(e, ArtefactError::Digest));
    let mut newer = bytes.clone();
    newer[8] = 9;
    check(&newer, |e| {
        matches!(
            e,
            ArtefactError::Format {
                found: 9,
                known: FORMAT
            }
        )
    });
    let mut endless = bytes.clone();
    endless[12..20].fill(0xff);
    check(&endless, |e| matches!(e, ArtefactError::Truncated { .. }));
}

/// A level is held against the score less what the flow's kind is worth, and the score stays as it is explained.
#[test]
fn a_kind_is_held_by_its_discount_and_keeps_its_score() {
    let scan = vector(30.0, 40.0);
    let plain = model();
    let plain = plain.scorer(Variant::Both).judge(&scan);
    assert_eq!((plain.held, plain.named), (plain.verdict.score, "scan"));
    let with = |discounts: [f64; 2]| {
        let mut record = record();
        record.both.discounts = discounts.into();
        Model::new(record).unwrap()
    };
    let others = with([0.0, 3.0]);
    let others = others.scorer(Variant::Both);
    assert!((others.judge(&scan).held - plain.held).abs() < 1e-12);
    assert_eq!(others.judge(&scan).verdict, plain.verdict);
    assert_eq!(
        others.threshold_of(&scan, Level::Flag).map(|t| (t * 1e9).round()),
        Some(0.7e9)
    );
    let scans = with([3.0, 0.0]);
    let scans = scans.scorer(Variant::Both);
    let judged = scans.judge(&scan);
    assert_eq!((judged.verdict.score, judged.named), (plain.verdict.score, "scan"));
    let log_odds = |p: f64| (p / (1.0 - p)).ln();
    assert!((log_odds(judged.held) - (log_odds(plain.held) - 3.0)).abs() < 1e-9);
    assert_eq!(judged.verdict.level, Level::Benign);
    let threshold = scans.threshold_of(&scan, Level::Suspicious).unwrap();
    assert!((log_odds(threshold) - (log_odds(0.5) + 3.0)).abs() < 1e-9);
    let told = scans.explain(&scan, Method::TreeShap);
    assert!((told.sum() - judged.verdict.score).abs() < 1e-9);
    // What would have softened it is so by what levels are held against.
    let flag = others.levels()[1].score.unwrap();
    let softer = others.counterfactual(&scan, flag).unwrap();
    let mut changed = scan;
    for change in &softer.changes {
        changed.0[index_of(change.feature).unwrap()] = change.to;
    }
    let judged = others.judge(&changed);
    assert!(judged.held <= flag && judged.verdict.level < Level::Flag, "{judged:?}");
    assert!(softer.sentence.contains(", of a flow like "), "{}", softer.sentence);
    assert!((judged.verdict.score - softer.score).abs() < 1e-12);
}

/// What stands in the first format is the record but for its last part, and means what it meant.
#[test]
fn a_model_of_the_first_format_is_read() {
    let record = record();
    let mut payload = postcard::to_allocvec(&(&record.schema, &record.description)).unwrap();
    for variant in [&record.both, &record.ingress] {
        let bytes = postcard::to_allocvec(variant).unwrap();
        let (none, first) = bytes.split_last().unwrap();
        assert_eq!(*none, 0, "the discounts stand last, and there are none");
        payload.extend_from_slice(first);
    }
    let whole = model().encode().unwrap();
    let mut bytes = whole[..8].to_vec();
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&payload);
    bytes.extend_from_slice(&[0; 32]);
    let old = Model::decode(&sealed(bytes.clone())).unwrap();
    assert_eq!((old.record(), old.format()), (&record, 1));
    assert_ne!(old.sha256(), model().sha256());
    assert_eq!(old.encode().unwrap(), whole);
    bytes.insert(bytes.len() - 32, 0);
    bytes[12..20].copy_from_slice(&(payload.len() as u64 + 1).to_le_bytes());
    assert!(matches!(
        Model::decode(&sealed(bytes)).map(|_| ()),
        Err(ArtefactError::Malformed(_))
    ));
}

#[test]
fn whole_bytes_with_something_unsound_inside_are_refused() {
    let refused = |breaks: fn(&mut Record)| {
        let mut record = record();
        breaks(&mut record);
        Model::new(record).map(|_| ()).unwrap_err()
    };
    let other = refused(|r| r.schema.version += 1);
    assert!(
        matches!(other, ArtefactError::Schema { found, ours } if found == ours + 1),
        "{other}"
    );
    assert!(matches!(
        refused(|r| r.schema.digest[0] ^= 1),
        ArtefactError::Schema { .. }
    ));
    let broken: [fn(&mut Record); 12] = [
        |r| r.both.svm_weight = f64::NAN,
        |r| r.both.gate = 2.0,
        |r| r.both.levels[0].score = Some(f64::NAN),
        |r| r.ingress.levels.swap(0, 1),
        |r| r.both.calibration.points[0].1 = f64::INFINITY,
        |r| r.both.svm.vectors[0].at[0] = f32::NAN,
        |r| r.ingress.families[0].forest.trees.clear(),
        |r| r.both.reference.features.truncate(3),
        |r| r.description.metrics[0].1 = f64::NAN,
        |r| r.both.discounts = vec![1.0],
        |r| r.both.discounts = vec![0.0, f64::NAN],
        |r| r.ingress.discounts = vec![-1.0, 0.0],
    ];
    for breaks in broken {
        let error = refused(breaks);
        assert!(matches!(error, ArtefactError::Unsound { .. }), "{error}");
    }
}

proptest! {
    /// Base and shares sum to the score for any flow, by both methods.
    #[test]
    fn shares_sum_to_the_score(packets in 0f64..1e6, ports in 0f64..1e4) {
        let model = model();
        for variant in Variant::ALL {
            let scorer = model.scorer(variant);
            let flow = vector(packets, ports);
            for method in [Method::Path, Method::TreeShap] {
                let told = scorer.explain(&flow, method);
                prop_assert!((told.sum() - scorer.verdict(&flow).score).abs() < 1e-9);
            }
        }
    }

    /// Whatever is done to a model's bytes, also by someone who sets the sum right again: an error or a sound model,
    /// never a panic, and a verdict that is a number.
    #[test]
    fn no_bytes_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut in any::<Option<prop::sample::Index>>()) {
        let mut bytes = model().encode().unwrap();
        for (at, value) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()).max(33));
        }
        let _ = Model::decode(&bytes);
        if let Ok(model) = Model::decode(&sealed(bytes)) {
            let verdict = model.scorer(Variant::Both).verdict(&vector(30.0, 40.0));
            prop_assert!(verdict.score.is_finite() && verdict.probability.is_finite());
            let _ = model.scorer(Variant::Ingress).explain(&vector(30.0, 40.0), Method::TreeShap);
        }
    }
}
