//! When the model speaks, what it says, and what learn mode takes from whom.

use super::*;
use crate::config::Config;
use crate::features::{Cut, Vector};
use crate::model::testing::{record as hand_made, vector};
use crate::train::calibrate::learnt;
use crate::types::{Mint, Service, Timestamp};
use std::net::IpAddr;

const SECOND: u64 = 1_000_000_000;

/// A flow that the hand-made model flags, and one that it does not.
fn loud() -> Vector {
    vector(30.0, 40.0)
}

fn quiet() -> Vector {
    vector(3.0, 1.0)
}

fn model(calibrated: bool) -> Arc<Model> {
    let mut record = hand_made();
    record.description.site = calibrated.then_some([9; 32]);
    Arc::new(Model::new(record).unwrap())
}

fn supervised(calibrated: bool) -> (Supervised, Voice) {
    let config = Config::default();
    // A single flow suffices nowhere here.
    let settings = ModelConfig {
        certain: 1.0,
        ..config.detect.model.clone()
    };
    let supervised = Supervised::new(&settings, &Limits::from(&config.flow), true, model(calibrated));
    let voice = Voice::new(config.detect.realert_after, config.severity_thresholds, 1024);
    (supervised, voice)
}

fn flow(at: u64, port: u16, vector: &Vector) -> FeatureRecord {
    FeatureRecord {
        at: Ktime(at * SECOND),
        source: IpAddr::from([192, 0, 2, 1]),
        source_port: port,
        target: Service {
            ip: IpAddr::from([10, 0, 0, 1]),
            port: 22,
            proto: 6,
        },
        from_inside: false,
        start: Ktime(at * SECOND),
        end: Ktime(at * SECOND),
        cut: Cut::Closed,
        continued: false,
        packets: 5,
        allowed: false,
        vector: *vector,
    }
}

#[test]
fn flags_speak_when_they_are_more_than_the_limit_and_the_shares_sum_to_the_score() {
    let (mut at_work, voice) = supervised(true);
    assert_eq!(at_work.scorer().verdict(&loud()).level, Level::Flag);
    assert_eq!(at_work.scorer().verdict(&quiet()).level, Level::Benign);
    assert!(at_work.judge(&flow(1, 1, &loud()), &voice).is_none());
    assert!(at_work.judge(&flow(2, 2, &loud()), &voice).is_none());
    assert!(at_work.judge(&flow(3, 3, &quiet()), &voice).is_none());
    let (finding, explanation) = at_work.judge(&flow(4, 4, &loud()), &voice).expect("three flags");
    assert_eq!(
        (finding.source, finding.class),
        (Some(IpAddr::from([192, 0, 2, 1])), EvidenceClass::Statistical)
    );
    assert!((finding.ratio - 1.0).abs() < 1e-9);
    assert!((explanation.sum() - explanation.score).abs() < 1e-9, "{explanation:?}");
    assert!(explanation.score > explanation.threshold);
    assert_eq!(explanation.model, hex(at_work.model().sha256()));
    assert!(
        finding
            .summary
            .contains("takes 3 flows to 10.0.0.1:22 within 180s from 192.0.2.1 for an attack"),
        "{}",
        finding.summary
    );
    // The window goes by.
    assert!(at_work.judge(&flow(400, 5, &loud()), &voice).is_none());
}

#[test]
fn without_thresholds_of_this_network_nothing_is_said_and_everything_counted() {
    let (mut at_work, voice) = supervised(false);
    for n in 0..50 {
        assert!(at_work.judge(&flow(1, n, &loud()), &voice).is_none());
    }
    assert_eq!(at_work.judged(), [50, 50, 50]);
    assert!(!at_work.learning(&Clock::default()).calibrated);
}

#[test]
fn who_has_many_flows_has_some_flags_by_chance() {
    let (mut at_work, voice) = supervised(true);
    // 3,000 flows: three flags are expected, and thrice that is nothing yet.
    for n in 0..3000_u16 {
        assert!(at_work.judge(&flow(10, n, &quiet()), &voice).is_none());
    }
    let flags = (0..12).filter(|n| at_work.judge(&flow(11, 10_000 + n, &loud()), &voice).is_some());
    assert_eq!(flags.collect::<Vec<_>>(), [11], "the twelfth: 3 and thrice 3.0");
}

#[test]
fn a_flow_counts_once_and_again_each_minute_it_goes_on() {
    let (mut at_work, voice) = supervised(true);
    let again = |at, cut| FeatureRecord {
        cut,
        continued: true,
        ..flow(at, 7, &loud())
    };
    assert!(at_work.judge(&flow(3, 7, &loud()), &voice).is_none());
    for (at, cut) in [(10, Cut::Mark), (30, Cut::Mark), (31, Cut::Closed)] {
        assert!(
            at_work.judge(&again(at, cut), &voice).is_none(),
            "the same flow at {at}"
        );
    }
    assert!(at_work.judge(&again(63, Cut::Active), &voice).is_none(), "two");
    let (finding, _) = at_work
        .judge(&again(123, Cut::Active), &voice)
        .expect("three within two minutes");
    assert!(
        finding
            .summary
            .contains("takes 3 records of 1 flow to 10.0.0.1:22 within 180s"),
        "{}",
        finding.summary
    );
    let numbers: Vec<_> = finding
        .evidence
        .iter()
        .map(|e| (e.name.as_str(), e.value as u32))
        .collect();
    assert_eq!(
        numbers[1..],
        [
            ("flagged_records_to_service", 3),
            ("flagged_records", 3),
            ("flagged_flows_to_service", 1),
            ("flagged_flows", 1)
        ]
    );
}

#[test]
fn twice_as_much_at_several_services_speaks_too() {
    let (mut at_work, voice) = supervised(true);
    let at = |service: u16, port: u16| FeatureRecord {
        target: Service {
            port: service,
            ..flow(5, port, &loud()).target
        },
        ..flow(5, port, &loud())
    };
    for (n, service) in [22, 80, 443, 22, 80].into_iter().enumerate() {
        assert!(at_work.judge(&at(service, n as u16), &voice).is_none(), "{n}");
    }
    let (finding, _) = at_work.judge(&at(443, 9), &voice).expect("six at three services");
    assert!(
        finding
            .summary
            .contains("takes 6 flows to several services within 180s from 192.0.2.1"),
        "{}",
        finding.summary
    );
    let ports: Vec<u16> = finding.targets.iter().map(|target| target.port).collect();
    assert_eq!(ports, [443, 80, 22], "the one that completed it, then the others");
}

#[test]
fn one_flow_suffices_that_is_all_but_certain() {
    let (mut at_work, voice) = supervised(true);
    at_work.certain = at_work.scorer().verdict(&loud()).score;
    let forged = FeatureRecord {
        source: IpAddr::from([192, 0, 2, 2]),
        packets: FORGED,
        ..flow(1, 1, &loud())
    };
    assert!(
        at_work.judge(&forged, &voice).is_none(),
        "whoever sends no more may be anybody"
    );
    let (finding, _) = at_work.judge(&flow(1, 1, &loud()), &voice).expect("certain");
    assert!(
        finding.summary.contains("one flow to 10.0.0.1:22"),
        "{}",
        finding.summary
    );
}

#[test]
fn whoever_is_allowlisted_is_not_judged() {
    let (mut at_work, voice) = supervised(true);
    for n in 0..10 {
        let allowed = FeatureRecord {
            allowed: true,
            ..flow(1, n, &loud())
        };
        assert!(at_work.judge(&allowed, &voice).is_none());
    }
    assert_eq!(at_work.judged(), [0; 3]);
}

#[test]
fn what_is_learnt_sets_thresholds_that_hold_what_they_promise() {
    let (mut at_work, voice) = supervised(false);
    at_work.collect(Timestamp(0));
    let ports = |n: u32| f64::from(n % 7);
    for n in 0..20_000_u32 {
        let record = FeatureRecord {
            source: IpAddr::from((0x0a00_0000 + n % 500).to_be_bytes()),
            ..flow(1, n as u16, &vector(f64::from(n % 40), ports(n)))
        };
        at_work.judge(&record, &voice);
    }
    let learning = at_work.learning(&Clock::default());
    assert_eq!((learning.seen, learning.kept, learning.left_out), (20_000, 20_000, 0));
    assert_eq!(learning.since, Some(Timestamp(0)));
    assert!(learning.levels.iter().all(|level| level.missing == 0));
    let vectors = at_work.collector().unwrap().vectors();
    let here = learnt(at_work.model(), &vectors).unwrap();
    at_work.set_model(Arc::new(here));
    assert!(at_work.calibrated() && at_work.stop_collecting() && !at_work.stop_collecting());
    for n in 0..20_000_u32 {
        at_work.judge(&flow(2, n as u16, &vector(f64::from(n % 40), ports(n))), &voice);
    }
    for level in at_work.realised() {
        assert!(level.reached as f64 <= level.alpha * level.judged as f64, "{level:?}");
    }
}

#[test]
fn through_the_detectors_an_alert_carries_its_explanation_and_only_the_accused_teach_nothing() {
    let mut config = Config::default();
    config.detect.model.certain = 0.5;
    let mut detectors = crate::detect::Detectors::new(&config, Clock::default(), Mint::Counted(0), "test")
        .with_model(&config, model(true));
    detectors.learn(Ktime(0));
    let supervised = detectors.supervised.as_mut().unwrap();
    supervised.records.push(flow(1, 1, &loud()));
    let mut alerts = detectors.tick(Ktime(SECOND));
    let [alert] = &mut alerts[..] else { panic!("{alerts:?}") };
    assert_eq!(
        (alert.detector, alert.severity),
        (Name::Model, crate::types::Severity::Medium)
    );
    let told = serde_json::to_value(&*alert).unwrap();
    assert_eq!(serde_json::from_value::<crate::types::Alert>(told).unwrap(), *alert);
    assert!(alert.explanation.is_some());
    let learning = detectors.learning().unwrap();
    assert_eq!(
        (learning.kept, learning.left_out, learning.suspects),
        (1, 0, 0),
        "what the model takes for odd may be what is to be learnt"
    );
    alert.class = EvidenceClass::Behaviour;
    detectors.suspect(&alerts);
    let learning = detectors.learning().unwrap();
    assert_eq!((learning.kept, learning.left_out, learning.suspects), (0, 1, 1));
}

#[test]
fn who_was_accused_before_it_began_teaches_nothing_either() {
    let (mut at_work, voice) = supervised(true);
    at_work.suspect(IpAddr::from([192, 0, 2, 1]), Ktime(0));
    at_work.collect(Timestamp(0));
    at_work.judge(&flow(1, 1, &quiet()), &voice);
    let learning = at_work.learning(&Clock::default());
    assert_eq!((learning.seen, learning.kept, learning.left_out), (1, 0, 1));
    let mut again = Collector::new(Timestamp(0), Collector::ROOM);
    again.regain(&at_work.gain(false).unwrap()).unwrap();
    let (mut restarted, voice) = supervised(true);
    restarted.resume(again);
    restarted.judge(&flow(2, 2, &quiet()), &voice);
    let learning = restarted.learning(&Clock::default());
    assert_eq!((learning.seen, learning.kept, learning.left_out), (2, 0, 2));
}

#[test]
fn thresholds_that_are_lost_are_said_to_be_until_there_are_new_ones() {
    let (mut at_work, _) = supervised(false);
    assert!(matches!(at_work.condition(), Condition::Ok { .. }));
    at_work.set_lost("data/site.model: cut off".to_owned());
    assert!(matches!(at_work.condition(), Condition::Degraded { cause, .. } if cause.contains("cut off")));
    at_work.set_model(model(true));
    assert!(matches!(at_work.condition(), Condition::Ok { detail } if detail.contains("this network")));
}

#[test]
fn where_many_are_to_be_told_at_once_shares_are_found_the_quick_way_and_sum_all_the_same() {
    let (mut at_work, voice) = supervised(true);
    at_work.certain = 0.5;
    let mut methods = Vec::new();
    for n in 0..2 * EXACT as u8 {
        let record = FeatureRecord {
            source: IpAddr::from([192, 0, 2, n]),
            ..flow(5, 1, &loud())
        };
        let (_, why) = at_work.judge(&record, &voice).expect("certain");
        assert!((why.sum() - why.score).abs() < 1e-9);
        assert_eq!(why.method == "path", why.counterfactual.is_none());
        methods.push(why.method);
    }
    assert_eq!(
        methods.iter().filter(|method| *method == "shapley").count(),
        EXACT as usize
    );
    let (_, why) = at_work.judge(&flow(6, 1, &loud()), &voice).expect("another second");
    assert_eq!(why.method, "shapley");
}
