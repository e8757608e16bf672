//! The detectors of slow and quiet behaviour: each fires on what it looks for, at its limit and not below.

use super::{EVIL, HOST, evil};
use crate::detect::testing::{Wire, ms};
use crate::types::{Detector, EvidenceClass, Family};
use sentinel_common::hash::SplitMix64;
use sentinel_common::packet::{TCP_ACK, TCP_PSH};
use std::time::Duration;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Repeats `act` with 1, 2 … until `detector` speaks; how often it took.
fn until(wire: &mut Wire, detector: Detector, most: u16, mut act: impl FnMut(&mut Wire, u16)) -> u16 {
    for n in 1..=most {
        act(wire, n);
        if !wire.of(detector).is_empty() {
            return n;
        }
    }
    panic!("{detector:?} is silent after {most}: {:?}", wire.accusations());
}

#[test]
fn a_scan_of_four_doors_in_three_minutes_is_seen_within_the_hour() {
    let mut wire = Wire::new().raw_syns();
    let at = until(&mut wire, Detector::SlowScan, 70, |w, port| {
        w.refused((EVIL, 40_000), (HOST, port));
        w.skip(secs(45));
    });
    assert!((56..=64).contains(&at), "a sketch's sixty: {at}");
    let alert = wire.of(Detector::SlowScan)[0];
    assert_eq!((alert.source, alert.family), (evil(), Family::Scan));
    assert_eq!(alert.class, EvidenceClass::Behaviour);
    assert_eq!(alert.targets[0].port, at, "most recent first");
    assert_eq!(wire.accusations().len(), 1, "{:?}", wire.accusations());
    for port in 100..110 {
        wire.refused((EVIL, 40_000), (HOST, port));
        wire.skip(secs(45));
    }
    assert_eq!(wire.accusations().len(), 1, "no news yet");
}

#[test]
fn a_scan_of_a_door_in_two_minutes_is_seen_within_six_hours() {
    let mut wire = Wire::new();
    let at = until(&mut wire, Detector::SlowScan, 180, |w, n| {
        w.tcp((EVIL, 40_000 + n), (&format!("10.0.1.{n}"), 22), super::TCP_SYN, 0);
        w.skip(secs(120));
    });
    assert!((140..=160).contains(&at), "a sketch's hundred and fifty: {at}");
    assert!(
        wire.alerts[0].summary.contains("within 6h"),
        "{}",
        wire.alerts[0].summary
    );
}

#[test]
fn forged_sources_push_no_slow_scanner_out() {
    let mut config = crate::config::Config::default();
    config.flow.max_sources = 256;
    let mut wire = Wire::with(&config).raw_syns();
    let at = until(&mut wire, Detector::SlowScan, 70, |w, port| {
        w.refused((EVIL, 40_000), (HOST, port));
        for n in 0..100 {
            w.refused((&format!("203.0.{port}.{n}"), 40_000), (HOST, 80));
        }
        w.skip(secs(45));
    });
    assert!((56..=66).contains(&at), "{at}");
}

#[test]
fn fast_doors_hardly_count_as_slow_ones() {
    let mut wire = Wire::new().raw_syns();
    for port in 1..=2000 {
        wire.refused((EVIL, 40_000), (HOST, port));
    }
    wire.skip(secs(1000));
    for port in 3000..3010 {
        wire.refused((EVIL, 40_000), (HOST, port));
        wire.skip(secs(60));
    }
    assert_eq!(wire.of(Detector::SlowScan).len(), 0);
    assert!(!wire.of(Detector::PortScan).is_empty());
}

/// `sources` attempt one after the other to log in `each` times.
fn guesses(wire: &mut Wire, sources: u16, each: u16, pause: Duration) {
    for round in 0..each {
        for n in 0..sources {
            let from = (&*format!("198.51.100.{n}"), 30_000 + round);
            wire.session(from, (HOST, 22), 1800, 2200);
            wire.wait(pause);
        }
    }
}

#[test]
fn guesses_from_many_sources_are_counted_together() {
    let mut wire = Wire::new();
    guesses(&mut wire, 33, 3, secs(5));
    assert_eq!(wire.accusations(), Vec::<String>::new(), "99 are one too few");
    wire.session((EVIL, 40_000), (HOST, 22), 1800, 2200);
    let alert = wire.of(Detector::DistributedBruteForce)[0];
    assert_eq!((alert.source, alert.family), (None, Family::BruteForce));
    assert_eq!(alert.technique, "ssh login distributed");
    assert!(alert.summary.contains("nobody is blocked"), "{}", alert.summary);
    assert!(
        alert.summary.contains("100 short connections to 10.0.0.1:22"),
        "{}",
        alert.summary
    );

    let mut few = Wire::new();
    guesses(&mut few, 15, 9, secs(4));
    assert_eq!(few.accusations(), Vec::<String>::new(), "fifteen sources are no crowd");
}

/// One check-in, or an upload, `gap` after the one before.
fn call(wire: &mut Wire, from: (&str, u16), to: (&str, u16), upload: bool, gap: Duration) {
    wire.session(from, to, if upload { 9000 } else { 700 }, 300);
    wire.wait(gap);
}

#[test]
fn a_beacon_is_found_by_its_ninth_call_in_either_direction() {
    for (from, to) in [("10.0.0.7", "198.51.100.66"), ("198.51.100.66", "10.0.0.7")] {
        let mut wire = Wire::new();
        let gaps = [10_000, 9100, 10_700, 9600, 10_400, 9300, 10_900, 10_000, 9500];
        for (n, gap) in (0..9).zip(gaps) {
            assert_eq!(wire.accusations(), Vec::<String>::new(), "call {n}");
            call(&mut wire, (from, 30_000 + n), (to, 443), matches!(n, 4 | 6), ms(gap));
        }
        let alert = wire.of(Detector::Beacon)[0];
        assert_eq!((alert.source, alert.family), (from.parse().ok(), Family::C2));
        assert_eq!(alert.class, EvidenceClass::Statistical, "it never blocks");
        assert!(alert.summary.contains("every 10.0 s"), "{}", alert.summary);
    }
}

/// A host polls a place by a jittered timer, and something else on it makes backups there: no turn of the timer is missing.
#[test]
fn uploads_beside_the_rhythm_are_no_beacons() {
    let at_work = |in_turn: bool| {
        let mut wire = Wire::new();
        for n in 0..40_u16 {
            let gap = 2700 + 260 * u64::from(n * n % 9);
            let upload = n % 5 == 3;
            if upload && !in_turn {
                wire.session(("10.0.0.7", 30_000 + n), (EVIL, 443), 700, 300);
                wire.wait(ms(gap / 3));
                wire.session(("10.0.0.7", 40_000 + n), (EVIL, 443), 9000, 300);
                wire.wait(ms(gap - gap / 3));
            } else {
                call(&mut wire, ("10.0.0.7", 30_000 + n), (EVIL, 443), upload, ms(gap));
            }
        }
        wire.of(Detector::Beacon).len()
    };
    assert_eq!((at_work(true), at_work(false)), (1, 0));
}

/// Fetches at any time are by chance as regular as an implant's now and then, but not without one that is far off.
#[test]
fn what_comes_at_any_time_is_no_beacon() {
    let mut told = 0;
    for seed in 0..8 {
        let mut wire = Wire::new();
        let mut numbers = SplitMix64(seed);
        let mut any = |from: u64, to: u64| from + numbers.draw() % (to - from);
        let mut backup = any(15_000, 50_000);
        for n in 0..800_u16 {
            let gap = any(500, 8000);
            wire.session(("10.0.0.7", 20_000 + n), (EVIL, 443), 700, 300);
            if backup < gap {
                wire.wait(ms(backup));
                wire.session(("10.0.0.7", 40_000 + n), (EVIL, 443), 9000, 300);
                wire.wait(ms(gap - backup));
                backup = any(15_000, 50_000);
            } else {
                wire.wait(ms(gap));
                backup -= gap;
            }
        }
        told += wire.of(Detector::Beacon).len();
    }
    assert_eq!(told, 0);
}

/// A client that polls and uploads like an implant does so all day long, and that is told ever more seldom.
#[test]
fn what_goes_on_like_a_beacon_is_told_after_an_hour_then_two() {
    let mut wire = Wire::new();
    let mut told = Vec::new();
    for hour in 0..8_u16 {
        for n in 0..60_u16 {
            let gap = ms(50_000 + 700 * u64::from(n * n % 13));
            let from = ("10.0.0.7", 20_000 + hour * 100 + n);
            call(&mut wire, from, (EVIL, 443), matches!(n % 8, 4 | 6), gap);
        }
        wire.wait(ms(3_600_000
            - (0..60_u64)
                .map(|n| 50_000 + 700 * (n * n % 13))
                .sum::<u64>()
                .min(3_600_000)));
        told.push(wire.of(Detector::Beacon).len());
    }
    assert_eq!(told, [1, 2, 2, 3, 3, 3, 3, 4]);
}

#[test]
fn other_business_with_the_same_service_hides_no_beacon() {
    let mut wire = Wire::new();
    for n in 0..12_u16 {
        call(
            &mut wire,
            ("10.0.0.7", 30_000 + n),
            (EVIL, 443),
            matches!(n, 4 | 6),
            ms(3000 + 37 * u64::from(n)),
        );
        if n % 3 == 0 {
            let other = 2000 + 900 * u32::from(n);
            wire.session(("10.0.0.7", 40_000 + n), (EVIL, 443), other, 60_000);
        }
        wire.wait(ms(6500 + 300 * u64::from(n * n % 7)));
    }
    assert_eq!(wire.of(Detector::Beacon).len(), 1);
}

#[test]
fn jitter_counts_up_to_the_limit() {
    for (jitter, found) in [(15, 0), (30, 1), (230, 1), (242, 0)] {
        let mut wire = Wire::new();
        for n in 0..14_u16 {
            let gap = if n % 2 == 0 {
                10_000 + 10 * jitter
            } else {
                10_000 - 10 * jitter
            };
            call(
                &mut wire,
                ("10.0.0.7", 30_000 + n),
                (EVIL, 443),
                matches!(n, 4 | 6),
                ms(gap),
            );
        }
        assert_eq!(wire.of(Detector::Beacon).len(), found, "jitter of {jitter} per mille");
    }
}

#[test]
fn long_queries_make_a_dns_tunnel() {
    let mut wire = Wire::new();
    let at = until(&mut wire, Detector::DnsTunnel, 40, |w, n| {
        w.ask(("10.0.0.7", 30_000 + n), ("198.51.100.53", 53), 250, 180);
        w.wait(ms(500));
    });
    assert_eq!(at, 20, "the twentieth long query");
    let alert = wire.of(Detector::DnsTunnel)[0];
    assert_eq!(
        (alert.family, alert.class),
        (Family::Tunnel, EvidenceClass::Statistical)
    );
    let mut wire = Wire::new();
    let at = until(&mut wire, Detector::DnsTunnel, 40, |w, _| {
        w.ask((EVIL, 30_000), (HOST, 53), 113 + 32, 180);
        w.wait(ms(500));
    });
    assert_eq!(at, 32, "32 bytes in excess, 32 times, are a KiB; one socket for all");
}

#[test]
fn replies_that_are_no_echo_block_who_asked_from_outside() {
    let mut wire = Wire::new();
    let at = until(&mut wire, Detector::IcmpTunnel, 40, |w, _| {
        w.ping(EVIL, HOST, 28);
        w.pong(HOST, EVIL, 28 + 1024);
        w.wait(ms(500));
    });
    assert_eq!(at, 16, "16 KiB more than was asked");
    let alert = wire.of(Detector::IcmpTunnel)[0];
    assert_eq!((alert.source, alert.class), (evil(), EvidenceClass::Behaviour));
    assert_eq!(
        (alert.technique.as_str(), alert.family),
        ("icmp tunnel", Family::Tunnel)
    );

    let mut wire = Wire::new();
    for _ in 0..40 {
        wire.ping(HOST, EVIL, 28);
        wire.pong(EVIL, HOST, 28 + 1024);
        wire.wait(ms(500));
    }
    assert_eq!(
        wire.alerts[0].class,
        EvidenceClass::Statistical,
        "anyone could have sent these replies"
    );
}

#[test]
fn echoes_of_many_lengths_are_odd() {
    for (lengths, found) in [(9, 0), (10, 1)] {
        let mut wire = Wire::new();
        for n in 0..60_u32 {
            let length = 40 + 31 * (n % lengths);
            wire.ping(EVIL, HOST, length);
            wire.pong(HOST, EVIL, length);
            wire.wait(ms(1000));
        }
        let alerts = wire.of(Detector::IcmpTunnel);
        assert_eq!(alerts.len(), found, "{lengths} lengths");
        assert!(alerts.iter().all(|a| a.class == EvidenceClass::Statistical));
    }
}

#[test]
fn answers_nobody_asked_for_make_a_victim() {
    for (reflectors, found) in [(7, 0), (8, 1), (40, 1)] {
        let mut wire = Wire::new();
        // 131 packets of 2000 bytes are just short of 256 KiB.
        for n in 0..=131_u32 {
            assert_eq!(
                wire.accusations(),
                Vec::<String>::new(),
                "{reflectors} reflectors, {n} packets"
            );
            let from = format!("198.51.100.{}", 1 + n % reflectors);
            wire.udp((&from, 123), (HOST, 40_000), 1972);
            wire.wait(ms(20));
        }
        let alerts = wire.of(Detector::Amplification);
        assert_eq!(alerts.len(), found, "{reflectors} reflectors");
        if let Some(alert) = alerts.first() {
            assert_eq!((alert.source, alert.technique.as_str()), (None, "amplification victim"));
            assert_eq!(alert.class, EvidenceClass::Behaviour);
        }
    }
}

#[test]
fn a_service_of_ours_that_amplifies_is_told_and_nobody_blocked() {
    for (answer, found) in [(600, false), (1200, true)] {
        let mut wire = Wire::new();
        for n in 0..500_u16 {
            wire.ask((EVIL, 1000 + n), (HOST, 123), 50, answer);
            wire.wait(ms(10));
        }
        let alerts = wire.of(Detector::Amplification);
        assert_eq!(
            !alerts.is_empty(),
            found,
            "{answer} bytes for 50: {:?}",
            wire.accusations()
        );
        if let Some(alert) = alerts.first() {
            assert_eq!(
                (alert.source, alert.technique.as_str()),
                (None, "amplification reflector")
            );
            assert!(alert.summary.contains("restrict who may ask"), "{}", alert.summary);
        }
    }
}

/// Opens `n` connections that each begin a request.
fn begin(wire: &mut Wire, from: &str, n: u16, request: u32) {
    for i in 0..n {
        wire.open((from, 20_000 + i), (HOST, 80));
        wire.tcp((from, 20_000 + i), (HOST, 80), TCP_PSH | TCP_ACK, request);
        wire.wait(ms(50));
    }
}

#[test]
fn forty_connections_of_crumbs_are_a_slow_attack() {
    for (connections, found) in [(39, 0), (40, 1)] {
        let mut wire = Wire::new();
        begin(&mut wire, EVIL, connections, 280);
        for _ in 0..4 {
            wire.wait(secs(8));
            for i in 0..connections {
                wire.tcp((EVIL, 20_000 + i), (HOST, 80), TCP_PSH | TCP_ACK, 40);
            }
        }
        let alerts = wire.of(Detector::SlowDos);
        assert_eq!(alerts.len(), found, "{connections} connections");
        if let Some(alert) = alerts.first() {
            assert_eq!((alert.source, alert.family), (evil(), Family::SlowDos));
            assert_eq!(alert.class, EvidenceClass::Behaviour);
        }
    }
}

#[test]
fn connections_that_nobody_uses_or_reads_are_one_too() {
    let mut idle = Wire::new();
    for i in 0..50 {
        idle.open((EVIL, 20_000 + i), (HOST, 80));
        idle.wait(ms(300));
    }
    assert_eq!(idle.of(Detector::SlowDos).len(), 0, "not stalled yet");
    for i in 50..90 {
        idle.open((EVIL, 20_000 + i), (HOST, 80));
        idle.wait(ms(300));
    }
    assert_eq!(idle.of(Detector::SlowDos).len(), 1);
    let mut unread = Wire::new();
    begin(&mut unread, EVIL, 45, 500);
    for i in 0..45 {
        unread.tcp((HOST, 80), (EVIL, 20_000 + i), TCP_ACK, 1152);
    }
    // Window probes, ever further apart.
    for pause in [1200, 2400, 4800, 9600] {
        unread.wait(ms(pause));
        for i in 0..45 {
            unread.tcp((HOST, 80), (EVIL, 20_000 + i), TCP_ACK, 0);
            unread.tcp((EVIL, 20_000 + i), (HOST, 80), TCP_ACK, 0);
        }
    }
    assert_eq!(unread.of(Detector::SlowDos).len(), 1, "{:?}", unread.accusations());
}

#[test]
fn good_connections_hide_no_bad_ones_and_a_crowd_is_no_attack() {
    let mut hidden = Wire::new();
    // As many good ones as are remembered, and then the bad ones.
    for i in 0..170 {
        hidden.open((EVIL, 1000 + i), (HOST, 80));
        hidden.wait(ms(20));
        hidden.talk((EVIL, 1000 + i), (HOST, 80), 300, 3000);
    }
    begin(&mut hidden, EVIL, 100, 280);
    for _ in 0..3 {
        hidden.wait(secs(8));
        for i in 0..100 {
            hidden.tcp((EVIL, 20_000 + i), (HOST, 80), TCP_PSH | TCP_ACK, 40);
        }
    }
    assert_eq!(hidden.of(Detector::SlowDos).len(), 1, "{:?}", hidden.accusations());
    let mut crowd = Wire::new();
    for i in 0..100 {
        crowd.open((EVIL, 1000 + i), (HOST, 80));
        if i % 5 > 1 {
            crowd.talk((EVIL, 1000 + i), (HOST, 80), 300, 3000);
        }
    }
    crowd.wait(secs(15));
    crowd.session((EVIL, 2000), (HOST, 80), 300, 3000);
    crowd.open((EVIL, 2001), (HOST, 80));
    assert_eq!(
        crowd.accusations(),
        Vec::<String>::new(),
        "forty unused ones of a hundred"
    );
}

#[test]
fn every_memory_is_bounded_and_what_makes_room_is_counted() {
    let mut config = crate::config::Config::default();
    config.flow.max_sources = 256;
    let mut wire = Wire::with(&config);
    for i in 0..600_u16 {
        let far = &*format!("198.51.{}.{}", i / 200, i % 200);
        let near = &*format!("10.1.{}.{}", i / 200, i % 200);
        let service = &*format!("10.2.{}.{}", i / 200, i % 200);
        // One door more than the one at the end.
        if i % 3 == 0 {
            wire.refused((far, 1000), (HOST, 1));
        }
        wire.session((far, 1001), (service, 22), 1000, 1000);
        wire.session((far, 1002), (HOST, 80), 1000, 1000);
        wire.open((far, 1003), (HOST, 80));
        wire.ask((far, 1004), (HOST, 53), 250, 100);
        wire.ping(far, HOST, 100);
        wire.session((near, 1005), (far, 443), 1000, 1000);
        wire.session((near, 1006), ("192.168.7.7", 22), 1000, 1000);
        wire.udp((far, 123), (service, 1007), 400);
        wire.wait(ms(100));
    }
    let expected = [
        (Detector::SlowScan, 32 + 4 * 32),
        (Detector::DistributedBruteForce, 512),
        (Detector::Beacon, 32),
        (Detector::DnsTunnel, 32),
        (Detector::IcmpTunnel, 16),
        (Detector::Upload, 16 + 32),
        (Detector::LateralMovement, 16),
        (Detector::Amplification, 512 + 32),
        (Detector::SlowDos, 16),
        (Detector::Baseline, 256 + 16 + 16),
    ];
    let loads = wire.detectors.loads();
    for (detector, most) in expected {
        let (_, held, gone) = loads.iter().find(|(name, ..)| *name == detector).unwrap();
        assert_eq!(*held, most, "{detector:?}");
        assert!(*gone > 0, "{detector:?} counts what made room");
    }
}
