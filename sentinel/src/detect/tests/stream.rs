//! The baseline that compares each record with those before.

use super::{EVIL, GOOD, HOST};
use crate::config::{BaselineMode, Config};
use crate::detect::testing::{Wire, ms};
use crate::types::{Detector, EvidenceClass, Severity};
use std::time::Duration;

fn config(warm_up: u32, z: f64) -> Config {
    let mut config = Config::default();
    config.detect.baseline.mode = BaselineMode::Stream;
    config.detect.baseline.stream.warm_up = warm_up;
    config.detect.baseline.stream.z = z;
    config
}

/// So many records of five packets each.
fn steady(wire: &mut Wire, records: u32) {
    for _ in 0..records {
        for _ in 0..5 {
            wire.talk((GOOD, 50_000), (HOST, 443), 500, 100);
        }
        wire.wait(ms(200));
    }
}

fn jump(wire: &mut Wire, packets: u32) {
    for _ in 0..packets {
        wire.talk((GOOD, 50_000), (HOST, 443), 500, 100);
    }
    wire.wait(ms(200));
}

#[test]
fn constant_traffic_says_nothing_and_a_jump_is_told_at_once() {
    let mut wire = Wire::with(&config(10, 3.0));
    wire.open((GOOD, 50_000), (HOST, 443));
    steady(&mut wire, 300);
    assert!(wire.alerts.is_empty(), "{:?}", wire.alerts);
    let before = wire.now;
    jump(&mut wire, 900);
    let alerts = wire.of(Detector::Baseline);
    assert_eq!(alerts.len(), 1, "{:?}", wire.alerts);
    let alert = alerts[0];
    assert!(alert.evidence_at.since(before) <= ms(200), "no window is waited for");
    assert_eq!(alert.class, EvidenceClass::Statistical);
    assert!(alert.severity <= Severity::Medium, "it never blocks alone");
    assert!(alert.technique.starts_with("sudden "), "{}", alert.technique);
    assert!(alert.summary.contains("in one record against"), "{}", alert.summary);
    let z = alert.evidence.iter().find(|row| row.name == "z_score").unwrap();
    assert!(z.value >= z.threshold && (z.threshold - 3.0).abs() < 1e-9, "{z:?}");
}

#[test]
fn nothing_is_said_before_so_many_samples() {
    for (records, told) in [(5, 0), (60, 1)] {
        let mut wire = Wire::with(&config(40, 3.0));
        wire.open((GOOD, 50_000), (HOST, 443));
        steady(&mut wire, records);
        jump(&mut wire, 900);
        assert_eq!(wire.of(Detector::Baseline).len(), told, "after {records}");
    }
}

#[test]
fn what_is_odd_teaches_little_and_is_told_once_an_hour() {
    let mut wire = Wire::with(&config(10, 3.0));
    wire.open((GOOD, 50_000), (HOST, 443));
    steady(&mut wire, 300);
    for _ in 0..5 {
        jump(&mut wire, 900);
        wire.skip(Duration::from_mins(2));
    }
    assert_eq!(wire.of(Detector::Baseline).len(), 1);
    wire.skip(Duration::from_hours(1));
    wire.open((GOOD, 50_000), (HOST, 443));
    steady(&mut wire, 20);
    jump(&mut wire, 900);
    assert_eq!(wire.of(Detector::Baseline).len(), 2, "five bursts made it no habit");
}

#[test]
fn who_opens_flows_much_faster_than_ever_is_odd() {
    let mut wire = Wire::with(&config(10, 3.0));
    for n in 0..100 {
        wire.session((GOOD, 20_000 + n), (HOST, 443), 500, 3000);
        wire.wait(Duration::from_secs(3));
    }
    assert!(wire.alerts.is_empty(), "{:?}", wire.alerts);
    for n in 0..30 {
        wire.session((GOOD, 30_000 + n), (HOST, 443), 500, 3000);
        wire.wait(ms(50));
    }
    let alerts = wire.of(Detector::Baseline);
    assert_eq!(alerts.len(), 1, "{:?}", wire.alerts);
    assert!(alerts[0].summary.contains("flows per minute"), "{}", alerts[0].summary);
}

#[test]
fn what_another_detector_accuses_is_not_odd_as_well() {
    let mut wire = Wire::with(&config(10, 3.0)).raw_syns();
    for n in 0..100 {
        wire.session((EVIL, 20_000 + n), (HOST, 443), 500, 3000);
        wire.wait(Duration::from_secs(3));
    }
    for port in 1..=200 {
        wire.refused((EVIL, 40_000), (HOST, port));
        wire.wait(ms(20));
    }
    assert!(!wire.of(Detector::PortScan).is_empty());
    let scans = wire.of(Detector::PortScan)[0].evidence_at;
    assert!(
        wire.of(Detector::Baseline)
            .iter()
            .all(|alert| alert.evidence_at <= scans),
        "{:?}",
        wire.of(Detector::Baseline)
    );
}

#[test]
fn its_memory_is_bounded_and_what_makes_room_is_counted() {
    let mut config = config(10, 3.0);
    config.flow.max_sources = 64;
    let mut wire = Wire::with(&config);
    for n in 0..200_u8 {
        wire.session((&format!("198.51.100.{n}"), 20_000), (HOST, 443), 500, 3000);
        wire.wait(ms(50));
    }
    let load = wire
        .detectors
        .loads()
        .into_iter()
        .find(|(name, ..)| *name == Detector::Baseline);
    assert_eq!(load, Some((Detector::Baseline, 64, 136)));
}

#[test]
fn one_mode_holds_nothing_of_the_other_and_both_hold_both() {
    let held = |mode: BaselineMode| {
        let mut config = Config::default();
        config.detect.baseline.mode = mode;
        let mut wire = Wire::with(&config);
        wire.session((GOOD, 20_000), (HOST, 443), 500, 3000);
        let load = wire.detectors.loads().into_iter();
        load.filter(|(name, ..)| *name == Detector::Baseline)
            .map(|(_, held, _)| held)
            .sum::<usize>()
    };
    assert_eq!(
        [BaselineMode::Habit, BaselineMode::Stream, BaselineMode::Both].map(held),
        [1, 1, 2]
    );
}

#[test]
fn the_same_packets_say_the_same() {
    let run = || {
        let mut wire = Wire::with(&config(10, 3.0));
        wire.open((GOOD, 50_000), (HOST, 443));
        for n in 1..40 {
            steady(&mut wire, n % 7);
            jump(&mut wire, n * n);
        }
        wire.alerts
    };
    let first = run();
    assert!(!first.is_empty());
    assert_eq!(first, run());
}
