//! What each detector must say, and when all of them must be silent.

mod behaviour;
mod habits;
mod ordinary;
mod poison;
mod standing;
mod stream;

use super::testing::{End, Wire, ms};
use super::{MAX_TARGETS, score};
use crate::config::Config;
use crate::types::{Detector, EvidenceClass, Family, Severity};
use sentinel_common::addr::Addr;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{CAUSE_FIRST, PROTO_TCP, STATE_ALLOWED};
use sentinel_common::packet::{TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG};
use std::net::IpAddr;

const EVIL: &str = "198.51.100.66";
const GOOD: &str = "203.0.113.5";
const HOST: &str = "10.0.0.1";

fn evil() -> Option<IpAddr> {
    EVIL.parse().ok()
}

#[test]
fn scores_rise_from_half_at_the_limit_to_high_at_twice() {
    for (ratio, expected) in [
        (0.0, 0.0),
        (0.5, 0.25),
        (1.0, 0.5),
        (1.5, 0.65),
        (2.0, 0.8),
        (4.0, 0.9),
        (1e9, 1.0),
    ] {
        assert!((score(ratio) - expected).abs() < 1e-4, "{ratio}");
    }
}

/// One probe of a port of [`HOST`], and what it should be called.
type Probe = fn(&mut Wire, u16);

#[test]
fn every_technique_of_a_vertical_scan_fires_on_the_fifteenth_port() {
    let cases: [(&str, u64, bool, Probe); 15] = [
        ("syn vertical", 0, true, |w, p| w.refused((EVIL, 40_000), (HOST, p))),
        ("syn vertical", 0, true, |w, p| w.half_open((EVIL, 40_000), (HOST, p))),
        ("syn vertical", 1000, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_SYN, 0);
        }),
        ("connect vertical", 0, false, |w, p| {
            w.refused((EVIL, 40_000 + p), (HOST, p));
        }),
        ("connect vertical", 1000, false, |w, p| {
            w.tcp((EVIL, 40_000 + p), (HOST, p), TCP_SYN, 0);
        }),
        ("fin vertical", 0, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_FIN, 0);
        }),
        ("null vertical", 0, true, |w, p| w.tcp((EVIL, 40_000), (HOST, p), 0, 0)),
        ("xmas vertical", 0, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_FIN | TCP_PSH | TCP_URG, 0);
        }),
        ("ack vertical", 0, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_ACK, 0);
            w.tcp((HOST, p), (EVIL, 40_000), TCP_RST, 0);
        }),
        ("maimon vertical", 0, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_FIN | TCP_ACK, 0);
            w.tcp((HOST, p), (EVIL, 40_000), TCP_RST, 0);
        }),
        ("odd flags vertical", 0, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_URG, 0);
        }),
        ("odd flags vertical", 0, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_PSH, 0);
        }),
        ("odd flags vertical", 0, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_URG | TCP_PSH, 0);
        }),
        ("odd flags vertical", 0, true, |w, p| {
            w.tcp((EVIL, 40_000), (HOST, p), TCP_FIN | TCP_PSH, 0);
        }),
        ("udp vertical", 1000, true, |w, p| w.udp((EVIL, 40_000), (HOST, p), 0)),
    ];
    for (technique, wait, raw, probe) in cases {
        let mut wire = if raw { Wire::new().raw_syns() } else { Wire::new() };
        for port in 1..15 {
            probe(&mut wire, port);
        }
        wire.wait(ms(wait));
        assert_eq!(wire.accusations(), Vec::<String>::new(), "{technique} before the limit");
        probe(&mut wire, 15);
        let last = wire.now;
        wire.wait(ms(wait));
        let alert = wire.alerts.first().unwrap_or_else(|| panic!("{technique} unseen"));
        assert_eq!((alert.technique.as_str(), alert.source), (technique, evil()));
        assert_eq!((alert.detector, alert.family), (Detector::PortScan, Family::Scan));
        assert_eq!(
            (alert.severity, alert.class),
            (Severity::Medium, EvidenceClass::Behaviour)
        );
        assert_eq!(
            alert.evidence_at,
            last.after(ms(wait)),
            "{technique}: on the very packet, or as its wait ends"
        );
        assert!(
            alert.summary.contains("15 distinct ports of 10.0.0.1"),
            "{}",
            alert.summary
        );
        assert!(!alert.targets.is_empty() && alert.targets.len() <= MAX_TARGETS);
        assert_eq!(alert.targets[0].port, 15, "most recent first");
        for port in 16..=40 {
            probe(&mut wire, port);
        }
        wire.wait(ms(wait));
        let severities: Vec<_> = wire.of(Detector::PortScan).iter().map(|a| a.severity).collect();
        assert_eq!(
            severities,
            [Severity::Medium, Severity::High],
            "{technique} at twice the limit, once"
        );
    }
}

#[test]
fn a_sweep_is_horizontal_and_a_scatter_is_spread() {
    let mut wire = Wire::new().raw_syns();
    for host in 1..=15 {
        wire.refused((EVIL, 40_000), (&format!("10.0.1.{host}"), 445));
    }
    assert_eq!(wire.alerts[0].technique, "syn horizontal");
    let mut wire = Wire::new().raw_syns();
    for i in 1..=30_u16 {
        wire.refused((EVIL, 40_000), (&format!("10.0.1.{i}"), 1000 + i));
    }
    assert_eq!(wire.alerts[0].technique, "syn spread");
}

#[test]
fn connect_scans_count_silent_connections_beside_failures() {
    let mut wire = Wire::new();
    for port in 1..=15 {
        let (from, to) = ((EVIL, 30_000 + port), (HOST, port));
        if port % 4 == 0 {
            wire.open(from, to);
            wire.tcp(from, to, TCP_RST | TCP_ACK, 0);
        } else {
            wire.refused(from, to);
        }
    }
    assert_eq!(wire.alerts[0].technique, "connect vertical");
    assert!(
        wire.alerts[0].summary.contains("connected and said nothing"),
        "{}",
        wire.alerts[0].summary
    );
}

#[test]
fn the_same_is_said_again_only_after_a_while() {
    let mut wire = Wire::new().raw_syns();
    let burst = |wire: &mut Wire, first: u16| (first..first + 40).for_each(|p| wire.refused((EVIL, 40_000), (HOST, p)));
    burst(&mut wire, 1);
    wire.wait(ms(30_000));
    burst(&mut wire, 101);
    assert_eq!(wire.of(Detector::PortScan).len(), 2, "medium, then high");
    wire.wait(ms(31_000));
    burst(&mut wire, 201);
    assert_eq!(wire.of(Detector::PortScan).len(), 3);
}

#[test]
fn a_syn_flood_from_one_source_is_named_with_its_source() {
    let mut wire = Wire::new().raw_syns();
    for i in 0..99 {
        wire.half_open((EVIL, 1000 + i), (HOST, 80));
    }
    assert_eq!(wire.accusations(), Vec::<String>::new());
    wire.half_open((EVIL, 2000), (HOST, 80));
    let alert = &wire.alerts[0];
    assert_eq!((alert.detector, alert.source), (Detector::SynFlood, evil()));
    assert_eq!((alert.family, alert.severity), (Family::Flood, Severity::Medium));
    assert!(
        alert.summary.contains("100 handshakes with 10.0.0.1:80"),
        "{}",
        alert.summary
    );
}

#[test]
fn handshakes_that_nobody_finishes_count_when_their_time_is_over() {
    let mut wire = Wire::new().raw_syns();
    for i in 0..120 {
        wire.tcp((EVIL, 1000 + i), (HOST, 80), TCP_SYN, 0);
        wire.tcp((HOST, 80), (EVIL, 1000 + i), TCP_SYN | TCP_ACK, 0);
    }
    assert!(wire.alerts.is_empty(), "the last ACKs may still be on their way");
    wire.wait(ms(1000));
    assert_eq!(wire.of(Detector::SynFlood).len(), 1);
}

#[test]
fn repeated_syns_in_one_flow_count_by_their_deltas() {
    let mut wire = Wire::new().raw_syns();
    for _ in 0..300 {
        wire.tcp((EVIL, 1000), (HOST, 80), TCP_SYN, 0);
        wire.wait(ms(5));
    }
    assert_eq!(wire.alerts[0].detector, Detector::SynFlood);
    assert_eq!(wire.alerts[0].source, evil());
}

#[test]
fn a_forged_flood_names_nobody() {
    let mut wire = Wire::new().raw_syns();
    for i in 0..2000_u32 {
        let source = format!("198.{}.{}.7", 18 + i / 250, i % 250);
        wire.tcp((&source, 1000), (HOST, 443), TCP_SYN, 0);
        wire.tcp((HOST, 443), (&source, 1000), TCP_SYN | TCP_ACK, 0);
    }
    wire.wait(ms(1000));
    let alerts = wire.of(Detector::SynFlood);
    assert_eq!(alerts.len(), 2, "a medium and a high");
    assert!(
        alerts
            .iter()
            .all(|a| a.source.is_none() && a.class == EvidenceClass::Behaviour)
    );
    assert!(alerts[0].summary.contains("nobody is blocked"));
    let sources = alerts[0].evidence[1].value;
    assert!((900.0..1100.0).contains(&sources), "about {sources} sources");
    assert_eq!(wire.alerts.len(), 2, "{:?}", wire.accusations());
}

#[test]
fn one_source_over_many_ports_is_a_flood_once_it_asks_refused_ports_again() {
    let mut wire = Wire::new().raw_syns();
    for i in 0..2000_u16 {
        wire.refused((EVIL, 1000 + i), (HOST, 1 + i % 500));
    }
    let floods = wire.of(Detector::SynFlood);
    assert!(floods.iter().all(|a| a.source == evil()) && !floods.is_empty());
    let mut scan = Wire::new().raw_syns();
    for port in 1..=5000 {
        scan.refused((EVIL, 40_000), (HOST, port));
    }
    assert_eq!(scan.of(Detector::SynFlood).len(), 0, "a fast scan is a scan");
    assert_eq!(scan.of(Detector::PortScan).len(), 2);
}

#[test]
fn udp_and_icmp_floods_are_found() {
    let mut wire = Wire::new();
    for i in 0..4000_u32 {
        wire.udp((EVIL, 5000), (HOST, 9), 500);
        if i % 10 == 0 {
            wire.wait(ms(5));
        }
    }
    let alert = wire.of(Detector::PacketFlood)[0];
    assert_eq!((alert.technique.as_str(), alert.source), ("udp flood", evil()));
    let mut wire = Wire::new();
    for i in 0..3000_u16 {
        wire.udp((EVIL, 2000 + i), (HOST, 53), 500);
    }
    assert!(wire.alerts.is_empty(), "answers may still come");
    wire.wait(ms(1000));
    assert_eq!(wire.accusations()[0], format!("packet_flood udp flood {:?}", evil()));
    let mut wire = Wire::new();
    for _ in 0..500 {
        wire.icmp(EVIL, HOST);
        wire.icmp(HOST, EVIL);
        wire.wait(ms(2));
    }
    let alert = wire.of(Detector::PacketFlood)[0];
    assert_eq!((alert.technique.as_str(), alert.source), ("icmp flood", evil()));
    // `ping -f` over a slow wire; and one that asks every 25 ms.
    for (every, flood) in [(9, true), (25, false)] {
        let mut wire = Wire::new();
        for _ in 0..20_000 / every {
            wire.icmp(EVIL, HOST);
            wire.icmp(HOST, EVIL);
            wire.wait(ms(every));
        }
        let alerts = wire.of(Detector::PacketFlood);
        assert_eq!(!alerts.is_empty(), flood, "every {every} ms");
        assert!(alerts.iter().all(|alert| alert.summary.contains("over 10s")));
    }
}

#[test]
fn brute_force_is_found_in_sequence_and_in_parallel() {
    let mut wire = Wire::new();
    for i in 0..16 {
        let (from, to) = ((EVIL, 30_000 + i), (HOST, 22));
        wire.open(from, to);
        wire.talk(from, to, 1500, 1500);
        if i == 15 {
            assert_eq!(wire.alerts.len(), 0, "fifteen in sequence may be a script's sessions");
        }
        wire.wait(ms(2000));
        wire.close(from, to);
    }
    let alert = wire.of(Detector::BruteForce)[0];
    assert_eq!((alert.technique.as_str(), alert.source), ("ssh login", evil()));
    assert!(
        alert.summary.contains("16 connections to 10.0.0.1:22"),
        "{}",
        alert.summary
    );
    let mut wire = Wire::new();
    for i in 0..16 {
        wire.open((EVIL, 30_000 + i), (HOST, 21));
        wire.talk((EVIL, 30_000 + i), (HOST, 21), 40, 80);
    }
    wire.wait(ms(3000));
    for i in 0..2 {
        wire.close((EVIL, 30_000 + i), (HOST, 21));
    }
    assert_eq!(wire.accusations()[0], format!("brute_force ftp login {:?}", evil()));
}

#[test]
fn one_log_in_after_the_other_needs_twice_as_many_as_overlapping_ones() {
    let mut wire = Wire::new();
    // Twelve commands, one right after the other, each through an ssh connection of its own, with the right key.
    for i in 0..12 {
        let (from, to) = ((GOOD, 30_000 + i), (HOST, 22));
        wire.open(from, to);
        wire.talk(from, to, 3673, 3561);
        wire.wait(ms(500));
        wire.close(from, to);
    }
    assert_eq!(wire.accusations(), Vec::<String>::new());
    let mut wire = Wire::new();
    for pair in 0..4_u16 {
        let ends = |i: u16| ((EVIL, 30_000 + 2 * pair + i), (HOST, 22));
        for (from, to) in [ends(0), ends(1)] {
            wire.open(from, to);
            wire.talk(from, to, 1323, 2001);
        }
        wire.wait(ms(150));
        for (from, to) in [ends(0), ends(1)] {
            wire.close(from, to);
        }
    }
    let alert = wire.of(Detector::BruteForce)[0];
    assert!(
        alert.summary.contains("8 connections to 10.0.0.1:22"),
        "{}",
        alert.summary
    );
}

#[test]
fn the_baseline_knows_habit_and_never_suffices() {
    let mut wire = Wire::new();
    let from: End<'_> = (GOOD, 50_000);
    let burst = |wire: &mut Wire, packets: u32| {
        for _ in 0..packets {
            wire.talk(from, (HOST, 443), 500, 100);
            wire.wait(ms(10));
        }
    };
    wire.open(from, (HOST, 443));
    // Of a source just met so much might be chance.
    for windows in [14, 30] {
        for _ in 0..windows {
            burst(&mut wire, 40);
            wire.wait(ms(9600));
        }
        if windows == 14 {
            burst(&mut wire, 500);
        }
        assert!(wire.alerts.is_empty(), "{:?}", wire.alerts);
    }
    burst(&mut wire, 1500);
    let alerts = wire.of(Detector::Baseline);
    assert_eq!(alerts.len(), 1, "{:?}", wire.alerts);
    assert_eq!(alerts[0].class, EvidenceClass::Statistical);
    assert!(alerts[0].severity <= Severity::Medium);
    assert!(
        alerts[0].summary.contains("against a habit of"),
        "{}",
        alerts[0].summary
    );
}

/// What somebody does on the wire.
type Act = fn(&mut Wire);

#[test]
fn ordinary_traffic_accuses_nobody() {
    let cases: [(&str, Act); 14] = [
        ("a browser", |w| {
            for page in 0..20 {
                for i in 0..6 {
                    w.session((GOOD, 20_000 + page * 10 + i), (HOST, 443), 800, 30_000);
                }
                w.wait(ms(500));
            }
        }),
        ("a busy client that completes handshakes", |w| {
            for i in 0..2000 {
                w.session((GOOD, 20_000 + i), (HOST, 80), 100, 500);
            }
        }),
        ("many connections opened at once", |w| {
            for i in 0..400 {
                w.open((GOOD, 20_000 + i), (HOST, 80));
            }
            w.wait(ms(20));
            for i in 0..400 {
                w.talk((GOOD, 20_000 + i), (HOST, 80), 100, 500);
            }
            w.wait(ms(3000));
        }),
        ("a monitoring check of a few ports, one of them closed", |w| {
            for _ in 0..60 {
                for port in [22, 25, 80, 443, 5432] {
                    w.open((GOOD, 20_000 + port), (HOST, port));
                    w.close((GOOD, 20_000 + port), (HOST, port));
                }
                w.refused((GOOD, 21_000), (HOST, 8080));
                w.wait(ms(1000));
            }
        }),
        ("a client that retries a dead service", |w| {
            for i in 0..200 {
                w.refused((GOOD, 20_000 + i), (HOST, 5432));
                w.wait(ms(200));
            }
        }),
        ("a burst of DNS queries", |w| {
            for i in 0..2500 {
                w.udp((GOOD, 20_000 + i), (HOST, 53), 40);
                w.udp((HOST, 53), (GOOD, 20_000 + i), 120);
            }
            w.wait(ms(2000));
        }),
        ("iperf3 -P 8", |w| {
            for i in 0..8 {
                w.open((GOOD, 20_000 + i), (HOST, 5201));
            }
            for _ in 0..500 {
                for i in 0..8 {
                    w.tcp((GOOD, 20_000 + i), (HOST, 5201), TCP_ACK, 1400);
                    w.tcp((HOST, 5201), (GOOD, 20_000 + i), TCP_ACK, 0);
                }
                w.wait(ms(1));
            }
        }),
        ("iperf3 -u", |w| {
            w.open((GOOD, 20_000), (HOST, 5201));
            w.talk((GOOD, 20_000), (HOST, 5201), 100, 100);
            for i in 0..10_000_u32 {
                w.udp((GOOD, 20_001), (HOST, 5201), 1400);
                if i % 10 == 0 {
                    w.wait(ms(4));
                }
            }
        }),
        ("FTP with passive data connections", |w| {
            w.open((GOOD, 20_000), (HOST, 21));
            for i in 0..40 {
                w.talk((GOOD, 20_000), (HOST, 21), 20, 40);
                let (from, to) = ((GOOD, 21_000 + i), (HOST, 40_000 + i));
                w.open(from, to);
                w.tcp(to, from, TCP_PSH | TCP_ACK, 60);
                w.close(to, from);
                w.wait(ms(100));
            }
        }),
        ("a peer-to-peer client with as many successes as failures", |w| {
            for i in 0..60_u16 {
                let host = format!("10.0.2.{i}");
                if i % 2 == 0 {
                    w.session((GOOD, 20_000 + i), (&host, 6881), 300, 3000);
                } else {
                    w.tcp((GOOD, 20_000 + i), (&host, 6881), TCP_SYN, 0);
                }
                w.wait(ms(100));
            }
            w.wait(ms(2000));
        }),
        ("a person at work over SSH", |w| {
            for i in 0..9 {
                w.session((GOOD, 20_000 + i), (HOST, 22), 3000, 3000);
                w.wait(ms(5000));
            }
        }),
        ("a UDP download that we asked for", |w| {
            w.udp((HOST, 40_000), (GOOD, 443), 1200);
            for i in 0..20_000_u32 {
                w.udp((GOOD, 443), (HOST, 40_000), 1200);
                if i % 20 == 0 {
                    w.wait(ms(2));
                }
            }
        }),
        ("answers to our own queries and connections", |w| {
            for i in 0..200 {
                w.udp((HOST, 20_000 + i), (GOOD, 53), 40);
                w.udp((GOOD, 53), (HOST, 20_000 + i), 120);
                w.session((HOST, 30_000 + i), (GOOD, 443), 300, 60_000);
            }
            w.wait(ms(2000));
        }),
        ("answers to queries from before our time", |w| {
            for i in 0..40 {
                w.udp((GOOD, 53), (HOST, 20_000 + i), 120);
            }
            w.wait(ms(2000));
        }),
    ];
    for (who, act) in cases {
        let mut wire = Wire::new();
        act(&mut wire);
        wire.wait(ms(1500));
        assert_eq!(wire.accusations(), Vec::<String>::new(), "{who}");
    }
}

#[test]
fn what_is_switched_off_is_silent() {
    let mut config = Config::default();
    config.detect.port_scan.enabled = false;
    let mut wire = Wire::with(&config);
    for port in 1..100 {
        wire.refused((EVIL, 40_000), (HOST, port));
    }
    assert!(wire.alerts.is_empty());
}

#[test]
fn memory_is_bounded_under_a_million_sources() {
    let mut config = Config::default();
    config.flow.max_flows = 4096;
    config.flow.max_sources = 2048;
    let mut wire = Wire::with(&config).raw_syns();
    for i in 0..1_000_000_u32 {
        let [_, a, b, c] = i.to_be_bytes();
        let mut record = FlowRecord::default();
        record.key.remote = Addr::v4([198, a, b, c]);
        record.key.local = Addr::v4([10, 0, 0, 1]);
        (record.key.remote_port, record.key.local_port, record.key.proto) = (1024, 80, PROTO_TCP);
        (record.now_ns, record.cause) = (wire.now.0, CAUSE_FIRST);
        let half = &mut record.counts;
        (half.packets, half.bytes, half.syn, half.first_ns, half.last_ns) = (1, 40, 1, wire.now.0, wire.now.0);
        wire.record(&record);
        wire.seen.clear();
        if i % 1000 == 0 {
            wire.wait(ms(50));
        }
    }
    wire.wait(ms(2000));
    assert!(wire.table.len() <= 4096 && wire.table.sources() <= 2048);
    for (detector, held, _) in wire.detectors.loads() {
        assert!(held <= 2 * 2048 + 1024 + 64, "{detector:?} holds {held}");
    }
    let losses = wire.table.losses();
    assert!(losses.flows >= 900_000 && losses.sources >= 900_000, "{losses:?}");
    let named = wire.alerts.iter().filter(|a| a.source.is_some()).count();
    assert_eq!(named, 0, "nobody is named in a forged flood: {:?}", wire.accusations());
    assert!(wire.alerts.iter().any(|a| a.technique == "syn flood distributed"));
}

#[test]
fn the_stated_bounds_hold_for_the_default_limits() {
    let config = Config::default();
    let table = crate::flow::FlowTable::memory_bound(&config.flow);
    let detectors = super::Detectors::memory_bound(&config);
    let builder = crate::features::Builder::memory_bound(&crate::features::Limits::from(&config.flow));
    let mib = |bytes: usize| bytes >> 20;
    println!(
        "flow table {} MiB, detectors {} MiB, of that vectors {} MiB",
        mib(table),
        mib(detectors),
        mib(builder)
    );
    assert!(mib(table) <= 72, "flow table: {} MiB", mib(table));
    assert!(mib(detectors) <= 256, "detectors: {} MiB", mib(detectors));
}

#[test]
fn allowed_sources_are_still_observed() {
    let mut wire = Wire::new().raw_syns();
    for port in 1..=15 {
        wire.refused((EVIL, 40_000), (HOST, port));
    }
    let mut record = FlowRecord {
        state: STATE_ALLOWED,
        ..FlowRecord::default()
    };
    record.counts.packets = 1;
    record.now_ns = wire.now.0;
    let observation = wire.table.apply(&record).unwrap();
    assert!(observation.allowed);
    assert_eq!(wire.alerts.len(), 1);
}

#[test]
fn a_traceroute_is_no_scan() {
    let mut wire = Wire::new();
    for probe in 0..90 {
        wire.udp((GOOD, 50_000 + probe), (HOST, 33_434 + probe), 32);
        wire.wait(ms(10));
    }
    wire.wait(ms(2000));
    assert_eq!(wire.accusations(), Vec::<String>::new());
}

#[test]
fn a_server_that_closes_what_its_client_forgot_is_no_scanner() {
    let mut wire = Wire::new();
    wire.wait(ms(60_000));
    for port in 50_000..50_040 {
        for flags in [TCP_FIN | TCP_ACK, TCP_ACK] {
            let port = if flags == TCP_ACK { port + 100 } else { port };
            wire.tcp((GOOD, 443), (HOST, port), flags, 0);
            wire.tcp((HOST, port), (GOOD, 443), TCP_RST, 0);
        }
    }
    assert_eq!(wire.accusations(), Vec::<String>::new());
}
