//! How the source of an alert had behaved: what an alert says of it, and who counts as a good peer.

use super::*;
use crate::flow::History;
use crate::types::{Ktime, Standing};

fn scanned(wire: &mut Wire) -> Standing {
    for port in 1..=30 {
        wire.tcp((EVIL, 40_000), (HOST, port), TCP_SYN, 0);
    }
    wire.wait(ms(1500));
    let alerts = wire.of(Detector::PortScan);
    alerts.last().expect("an alert").standing.expect("of somebody")
}

#[test]
fn a_scan_of_syns_proves_nothing_and_a_handshake_before_it_does() {
    let mut wire = Wire::new();
    assert_eq!(scanned(&mut wire), Standing::default());

    let mut wire = Wire::new();
    wire.open((EVIL, 50_000), (HOST, 22));
    wire.wait(ms(500));
    let standing = scanned(&mut wire);
    assert_eq!((standing.proven, standing.good_sessions), (true, 0));

    let mut wire = Wire::new();
    wire.half_open((EVIL, 50_000), (HOST, 22));
    wire.ask((EVIL, 50_000), (HOST, 53), 40, 90);
    assert!(
        !scanned(&mut wire).proven,
        "a reset and a datagram can be sent in anybody's name"
    );
}

#[test]
fn good_sessions_count_until_they_prove_to_be_an_attack() {
    let mut wire = Wire::new();
    for n in 0..6 {
        wire.session((EVIL, 50_000 + n), (HOST, 443), 300, 900);
        wire.wait(ms(1000));
    }
    let standing = scanned(&mut wire);
    assert!(standing.proven && standing.good_sessions == 6, "{standing:?}");
    assert!((5_000..10_000).contains(&standing.good_for_ms), "{standing:?}");
    // The scan may have been sent in its name: it takes nothing away.
    assert_eq!(wire.detectors.good_peers(wire.now).len(), 1);

    for n in 0..20 {
        wire.session((EVIL, 51_000 + n), (HOST, 22), 300, 900);
        wire.wait(ms(100));
    }
    assert!(!wire.of(Detector::BruteForce).is_empty());
    assert!(wire.detectors.good_peers(wire.now).is_empty());
}

#[test]
fn both_ends_of_what_an_inside_host_opens_are_proven() {
    let mut wire = Wire::new();
    wire.session((HOST, 50_000), (GOOD, 443), 300, 900);
    wire.wait(ms(500));
    let peers = wire.detectors.good_peers(wire.now);
    assert_eq!(peers.within("203.0.113.5/32".parse().unwrap()), 1);
    assert_eq!(peers.within("10.0.0.1/32".parse().unwrap()), 1);
}

#[test]
fn proof_and_goodness_are_forgotten_in_time() {
    let mut wire = Wire::new();
    wire.session((GOOD, 50_000), (HOST, 443), 300, 900);
    wire.wait(ms(500));
    let mut history = History::new(16);
    let seen = std::mem::take(&mut wire.seen);
    for observation in &seen {
        history.note(observation);
    }
    let ip: IpAddr = GOOD.parse().unwrap();
    let later = |hours: u64| Ktime(wire.now.0 + hours * 3_600_000_000_000);
    assert!(history.standing(ip, later(0)).proven);
    assert!(!history.standing(ip, later(2)).proven);
    assert_eq!(history.standing(ip, later(23)).good_sessions, 1);
    assert_eq!(history.standing(ip, later(25)), Standing::default());
}

#[test]
fn a_good_peer_is_heard_of_by_its_packets_and_not_by_ours() {
    let mut wire = Wire::new();
    wire.session((GOOD, 50_000), (HOST, 443), 300, 900);
    wire.wait(ms(500));
    let last = wire.now;
    let heard = |wire: &Wire, within: u64| {
        let told = wire
            .detectors
            .heard_peers(wire.now, std::time::Duration::from_secs(within));
        assert_eq!(told.at, wire.now);
        told.peers
            .iter()
            .filter(|(ip, _)| ip.to_string() == GOOD)
            .map(|(_, at)| *at)
            .max()
    };
    let first = heard(&wire, 10).expect("heard of");
    assert!(first <= last);
    wire.wait(ms(60_000));
    assert_eq!(heard(&wire, 10), None, "long ago");
    assert_eq!(heard(&wire, 120), Some(first));
    // We call, and nobody answers.
    wire.tcp((HOST, 50_001), (GOOD, 443), TCP_SYN, 0);
    wire.wait(ms(500));
    assert_eq!(heard(&wire, 10), None);
    wire.session((GOOD, 50_002), (HOST, 443), 300, 900);
    wire.wait(ms(500));
    assert!(heard(&wire, 10).is_some());
}

#[test]
fn forged_sources_push_nobody_out() {
    let mut wire = Wire::new();
    wire.session((GOOD, 50_000), (HOST, 443), 300, 900);
    for n in 0..70_000u32 {
        let [_, b, c, d] = n.to_be_bytes();
        let forged = format!("198.{b}.{c}.{d}");
        wire.tcp((&forged, 40_000), (HOST, 443), TCP_SYN, 0);
    }
    wire.wait(ms(500));
    assert_eq!(wire.detectors.good_peers(wire.now).len(), 1);
}

#[test]
fn a_connection_of_some_seconds_counts_for_some_minutes_whatever_is_said_of_its_end() {
    let (ours, theirs) = ((HOST, 22), (EVIL, 50_000));
    let histories = [(); 2].map(|()| std::cell::RefCell::new(History::new(16)));
    let known = |history: usize, wire: &mut Wire| {
        let mut history = histories[history].borrow_mut();
        for observation in std::mem::take(&mut wire.seen) {
            history.note(&observation);
        }
        history.standing(EVIL.parse().unwrap(), wire.now).connected
    };
    let mut wire = Wire::new();
    wire.open(theirs, ours);
    wire.talk(theirs, ours, 100, 100);
    wire.wait(ms(2000));
    assert!(!known(0, &mut wire), "young");
    wire.wait(ms(4000));
    wire.talk(theirs, ours, 100, 100);
    wire.wait(ms(2000));
    assert!(known(0, &mut wire));
    let standing = scanned(&mut wire);
    assert!(standing.connected, "a scan in its name leaves it: {standing:?}");
    wire.tcp(theirs, ours, TCP_RST, 0);
    wire.wait(ms(2000));
    assert!(known(0, &mut wire), "a reset can be forged");
    wire.skip(std::time::Duration::from_mins(6));
    assert!(!known(0, &mut wire), "long ago");

    let mut wire = Wire::new();
    wire.open(theirs, ours);
    wire.wait(ms(6000));
    wire.tcp(theirs, ours, TCP_ACK, 100);
    wire.wait(ms(2000));
    assert!(!known(1, &mut wire), "we said nothing");
}
