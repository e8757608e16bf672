//! What the kernel noticed, in words.

use super::*;
use crate::config::Config;
use crate::types::{Clock, Mint, Severity};
use sentinel_common::addr::Addr;

fn detectors() -> Detectors {
    let reflex = Reflex {
        window_ns: 1_000_000_000,
        ports: 50,
        syns: 200,
        packets: 1000,
        ..Reflex::default()
    };
    let limits = KernelLimits {
        reflex,
        syn_flood_half_open: 500,
    };
    Detectors::new(&Config::default(), Clock::default(), Mint::Counted(0), "xdp").with_limits(limits)
}

fn addr(text: &str) -> Addr {
    Addr::from(text.parse::<IpAddr>().unwrap())
}

fn seconds(n: u64) -> u64 {
    n * 1_000_000_000
}

fn reflex(crossed: u32, at: u64) -> Notice {
    Notice::Reflex(ReflexRecord {
        now_ns: seconds(at),
        remote: addr("203.0.113.7"),
        limited_until_ns: seconds(at + 10),
        crossed,
        packets: 1001,
        syns: 201,
        ports: 51,
        ..ReflexRecord::default()
    })
}

#[test]
fn a_crossed_threshold_is_told_with_its_numbers_and_what_the_kernel_does() {
    let mut detectors = detectors();
    let alert = detectors.notice(&reflex(REFLEX_PORTS | REFLEX_SYNS, 5)).unwrap();
    assert_eq!((alert.detector, alert.family), (Name::Reflex, Family::Scan));
    assert_eq!(alert.severity, Severity::Medium);
    assert_eq!(alert.source, "203.0.113.7".parse().ok());
    assert_eq!(
        alert.summary,
        "203.0.113.7 reached 51 distinct ports (limit 50), 201 SYNs (limit 200) within 1s; \
         the kernel limits it by itself until 1970-01-01T00:00:15.000000Z"
    );
    let rows: Vec<_> = alert
        .evidence
        .iter()
        .map(|e| (e.name.as_str(), e.value, e.threshold))
        .collect();
    assert_eq!(rows, [("distinct_ports", 51.0, 50.0), ("syns", 201.0, 200.0)]);
    assert_eq!(detectors.notice(&reflex(REFLEX_PORTS, 6)), None, "said a second ago");
    let flood = detectors.notice(&reflex(REFLEX_PACKETS, 6)).unwrap();
    assert_eq!(
        (flood.family, flood.technique.as_str()),
        (Family::Flood, "packet flood")
    );
    assert!(
        detectors.notice(&reflex(REFLEX_PORTS, 65)).is_some(),
        "and again after a minute"
    );
    assert_eq!(detectors.notice(&reflex(0, 200)), None);
}

#[test]
fn a_limit_that_only_counts_or_is_not_there_is_not_told_as_one() {
    for (until, shadow, said) in [
        (0, 0, "the kernel does nothing about it by itself"),
        (seconds(9), 1, "would limit it by itself until"),
    ] {
        let Notice::Reflex(record) = reflex(REFLEX_BYTES, 5) else {
            unreachable!()
        };
        let record = ReflexRecord {
            limited_until_ns: until,
            shadow,
            ..record
        };
        let alert = detectors().notice(&Notice::Reflex(record)).unwrap();
        assert!(alert.summary.contains(said), "{}", alert.summary);
    }
}

fn returned(reapplied_until_ns: u64, at: u64, action: u8) -> Notice {
    Notice::Return(ReturnRecord {
        now_ns: seconds(at),
        remote: addr("2001:db8::7"),
        decision: [7; 16],
        reapplied_until_ns,
        prefix_len: 64,
        action: action.into(),
        ..ReturnRecord::default()
    })
}

#[test]
fn a_return_names_the_decision_that_is_over_and_what_is_in_force() {
    let mut detectors = detectors();
    let former = DecisionId(uuid::Uuid::from_bytes([7; 16]));
    let alert = detectors.notice(&returned(0, 5, ACTION_WATCH)).unwrap();
    assert_eq!((alert.detector, alert.former), (Name::Probation, Some(former)));
    assert_eq!(
        alert.summary,
        format!(
            "2001:db8::7 returned while on probation: it was released from decision {former}; nothing is in force against it"
        )
    );
    assert_eq!(detectors.notice(&returned(0, 6, ACTION_WATCH)), None);
    let again = detectors.notice(&returned(seconds(600), 7, ACTION_LIMIT)).unwrap();
    assert!(
        again
            .summary
            .contains("its rate limit is in force again at once, until"),
        "{}",
        again.summary
    );
    assert!(
        detectors.notice(&returned(seconds(600), 8, ACTION_REDIRECT)).is_some(),
        "what must be renewed is never withheld"
    );
}

#[test]
fn a_return_is_told_whatever_the_thresholds() {
    let mut config = Config::default();
    config.severity_thresholds = crate::config::SeverityThresholds {
        high: 0.9,
        medium: 0.9,
        low: 0.9,
    };
    let mut detectors = Detectors::new(&config, Clock::default(), Mint::Counted(0), "xdp");
    let alert = detectors.notice(&returned(seconds(600), 5, ACTION_LIMIT)).unwrap();
    assert_eq!(alert.severity, Severity::Low);
}

fn flood(under_flood: u8, answered: u8, at: u64, port: u16) -> Notice {
    Notice::SynFlood(SynFloodRecord {
        now_ns: seconds(at),
        local: addr("192.0.2.1"),
        syns: 2000,
        completed: 10,
        port,
        under_flood,
        answered,
        ..SynFloodRecord::default()
    })
}

#[test]
fn a_flood_of_syns_blames_nobody_says_whether_cookies_answer_and_when_it_is_over() {
    let mut detectors = detectors();
    assert_eq!(detectors.notice(&flood(0, 0, 4, 443)), None, "an end of nothing");
    let alert = detectors.notice(&flood(1, 1, 5, 443)).unwrap();
    assert_eq!((alert.detector, alert.source), (Name::SynFloodKernel, None));
    assert_eq!(alert.severity, Severity::High);
    assert!(
        alert
            .summary
            .starts_with("192.0.2.1:443 is under a SYN flood, 2000 handshakes begun and 10 completed")
    );
    assert!(alert.summary.contains("answer SYNs with cookies"), "{}", alert.summary);
    let other = detectors.notice(&flood(1, 0, 6, 80)).unwrap();
    assert!(
        other.summary.contains("answer no SYN with a cookie"),
        "{}",
        other.summary
    );
    let over = detectors.notice(&flood(0, 1, 10, 443)).unwrap();
    assert_eq!(
        (over.severity, over.technique.as_str()),
        (Severity::Low, "syn flood over")
    );
    // On and off again within a minute is not told again.
    for (under, at) in [(1, 12), (0, 13), (1, 20), (0, 21)] {
        assert_eq!(detectors.notice(&flood(under, 1, at, 443)), None);
    }
    assert!(detectors.notice(&flood(1, 1, 70, 443)).is_some());
    assert!(detectors.notice(&flood(0, 1, 71, 443)).is_some());
}
