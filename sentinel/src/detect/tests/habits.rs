//! The detectors that know a host's habit.

use super::{EVIL, GOOD};
use crate::config::Config;
use crate::detect::testing::Wire;
use crate::types::{Detector, EvidenceClass, Family};
use std::time::Duration;

const INSIDE: &str = "10.0.0.7";
const HOUR: Duration = Duration::from_hours(1);
const MIB: u32 = 1 << 20;

/// Sends so many MiB from inside over one connection, and gets a hundredth back.
fn upload(wire: &mut Wire, to: &str, port: u16, mib: u32) {
    let (from, to) = ((INSIDE, port), (to, 443));
    wire.open(from, to);
    for _ in 0..mib {
        wire.talk(from, to, MIB, MIB / 100);
    }
    wire.wait(Duration::from_millis(200));
    wire.close(from, to);
}

#[test]
fn an_upload_is_odd_past_the_limit_once_the_host_is_known() {
    let mut wire = Wire::new();
    upload(&mut wire, GOOD, 20_000, 20);
    wire.skip(25 * HOUR);
    upload(&mut wire, EVIL, 20_001, 510);
    assert_eq!(wire.accusations(), Vec::<String>::new(), "just under");
    upload(&mut wire, EVIL, 20_002, 3);
    let alert = wire.of(Detector::Upload)[0];
    assert_eq!(
        (alert.source, alert.family),
        (INSIDE.parse().ok(), Family::Exfiltration)
    );
    assert_eq!(alert.class, EvidenceClass::Statistical, "it never blocks");
    assert!(
        alert.summary.contains("198.51.100.66:443 513 MiB within 3600s"),
        "{}",
        alert.summary
    );
}

#[test]
fn before_the_host_is_known_it_takes_four_times_as_much() {
    let mut wire = Wire::new();
    upload(&mut wire, EVIL, 20_000, 2040);
    assert_eq!(wire.accusations(), Vec::<String>::new());
    upload(&mut wire, EVIL, 20_001, 10);
    assert_eq!(wire.of(Detector::Upload).len(), 1);
}

#[test]
fn a_nightly_backup_becomes_habit_and_a_call_is_no_upload() {
    let mut wire = Wire::new();
    for night in 0..5 {
        upload(&mut wire, GOOD, 20_000 + night, 1200 + 100 * u32::from(night));
        wire.skip(24 * HOUR);
    }
    assert_eq!(wire.accusations(), Vec::<String>::new(), "a backup");
    upload(&mut wire, EVIL, 30_000, 1500);
    assert_eq!(
        wire.accusations(),
        Vec::<String>::new(),
        "the host is used to that much"
    );
    let mut wire = Wire::new();
    for _ in 0..3000 {
        wire.udp((INSIDE, 40_000), (GOOD, 3478), MIB);
        wire.udp((GOOD, 3478), (INSIDE, 40_000), MIB / 2);
    }
    wire.wait(Duration::from_millis(200));
    assert_eq!(wire.accusations(), Vec::<String>::new(), "a video call");
    let mut wire = Wire::new();
    upload(&mut wire, "192.168.9.9", 20_000, 3000);
    assert_eq!(
        wire.accusations(),
        Vec::<String>::new(),
        "a copy to the storage next door"
    );
}

fn administer(wire: &mut Wire, hosts: std::ops::Range<u8>, port: u16) {
    for host in hosts {
        wire.session(
            (INSIDE, 20_000 + u16::from(host)),
            (&format!("192.168.3.{host}"), port),
            4000,
            30_000,
        );
        wire.wait(Duration::from_secs(20));
    }
}

#[test]
fn administration_of_hosts_it_never_met_is_odd_from_the_eighth_on() {
    let mut wire = Wire::new();
    administer(&mut wire, 1..32, 22);
    assert_eq!(wire.accusations(), Vec::<String>::new(), "31 while habit is learned");
    wire.skip(25 * HOUR);
    administer(&mut wire, 1..32, 22);
    assert_eq!(wire.accusations(), Vec::<String>::new(), "those it knows");
    administer(&mut wire, 100..107, 445);
    assert_eq!(wire.accusations(), Vec::<String>::new(), "seven new ones");
    administer(&mut wire, 107..108, 445);
    let alert = wire.of(Detector::LateralMovement)[0];
    assert_eq!(
        (alert.source, alert.family),
        (INSIDE.parse().ok(), Family::LateralMovement)
    );
    assert_eq!(alert.class, EvidenceClass::Statistical, "it never blocks");
    assert!(alert.summary.contains("on 8 inside hosts"), "{}", alert.summary);
    let mut first = Wire::new();
    administer(&mut first, 1..33, 22);
    assert_eq!(
        first.of(Detector::LateralMovement).len(),
        0,
        "32 hosts, but over more than ten minutes"
    );
}

#[test]
fn what_is_switched_off_is_silent_and_holds_nothing() {
    let mut config = Config::default();
    config.detect.upload.enabled = false;
    config.detect.lateral_movement.enabled = false;
    let mut wire = Wire::with(&config);
    upload(&mut wire, EVIL, 20_000, 2100);
    administer(&mut wire, 1..100, 22);
    assert!(wire.of(Detector::Upload).is_empty() && wire.of(Detector::LateralMovement).is_empty());
    assert!(
        wire.detectors
            .loads()
            .iter()
            .all(|(name, ..)| *name != Detector::Upload)
    );
}

/// A window of a host's usual business: a few connections to peers it knows.
fn business(wire: &mut Wire, n: u16) {
    for i in 0..3 {
        wire.session((INSIDE, 20_000 + 4 * n + i), (GOOD, 443), 500, 3000);
        wire.wait(Duration::from_millis(300));
    }
    wire.wait(Duration::from_secs(9));
}

#[test]
fn an_inside_host_that_turns_to_many_peers_is_odd_once() {
    let mut wire = Wire::new();
    for n in 0..20 {
        business(&mut wire, n);
    }
    assert!(wire.alerts.is_empty(), "{:?}", wire.alerts);
    let storm = |wire: &mut Wire, first: u16| {
        for n in 0..80 {
            let peer = format!("203.0.{first}.{n}");
            wire.session((INSIDE, 40_000 + n), (&peer, 443), 500, 3000);
        }
        wire.wait(Duration::from_secs(30));
    };
    storm(&mut wire, 1);
    let alerts = wire.of(Detector::Baseline);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert_eq!(alerts[0].class, EvidenceClass::Statistical);
    let said = &alerts[0].summary;
    assert!(said.contains("peers") && said.contains("at this hour"), "{said}");
    for round in 2..20 {
        storm(&mut wire, round);
        wire.skip(Duration::from_secs(90));
    }
    assert_eq!(
        wire.of(Detector::Baseline).len(),
        1,
        "silent for an hour, however often"
    );
    wire.skip(HOUR);
    storm(&mut wire, 30);
    assert_eq!(wire.of(Detector::Baseline).len(), 2);
}

#[test]
fn a_slow_rise_is_followed_no_faster_than_a_bounded_pace() {
    // Windows of a minute, a day of a quarter of an hour: settled after 15, then 1 % a real day.
    let mut config = Config::default();
    config.detect.baseline.window = Duration::from_mins(1);
    config.detect.baseline.settle = Duration::from_mins(15);
    let mut wire = Wire::with(&config);
    wire.open((GOOD, 20_000), ("10.0.0.1", 443));
    let minute = |wire: &mut Wire, packets: u32| {
        for _ in 0..packets {
            wire.talk((GOOD, 20_000), ("10.0.0.1", 443), 100, 100);
        }
        wire.skip(Duration::from_mins(1));
    };
    for _ in 0..30 {
        minute(&mut wire, 40);
    }
    let mut packets = 40.0_f64;
    let mut told = 0;
    while told == 0 && packets < 4000.0 {
        packets *= 1.02;
        minute(&mut wire, packets as u32);
        told = wire.of(Detector::Baseline).len();
    }
    // Learned at 40 packets: three hundred above that, however much it rose since.
    assert!((300.0..420.0).contains(&packets), "told at {packets} packets");
}
