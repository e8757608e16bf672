//! A flow with an address that a feed lists.
//!
//! Looks for: inside hosts that call listed addresses (MITRE ATT&CK T1071, T1571), and listed addresses that talk to us.
//! Statistical: that somebody is on a list is nothing that happened here. Blind spots: who is on no list. Known false
//! positives: shared addresses (VPN exits, carrier NAT) and those that changed hands since they were listed.

use super::{Finding, Voice, local, place, row};
use crate::flow::Observation;
use crate::types::{Detector as Name, EvidenceClass, Family, Indicator, IntelVerdict, Service};
use std::fmt;
use std::net::IpAddr;

/// The lists, as they stand at the moment of asking.
pub trait Lists: Send {
    /// Whether any list names the address. Asked for every record of every flow, so it must cost next to nothing.
    fn lists(&self, ip: IpAddr) -> bool;

    /// What each list says of it; source `feed:NAME`.
    fn entries(&self, ip: IpAddr) -> Vec<Indicator>;
}

/// Holds the far end of every flow against the lists.
pub(super) struct Listed {
    lists: Box<dyn Lists>,
    /// Flows with a listed address: opened from inside, and from outside.
    flows: [u64; 2],
}

impl fmt::Debug for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listed")
            .field("flows", &self.flows)
            .finish_non_exhaustive()
    }
}

impl Listed {
    pub(super) fn new(lists: Box<dyn Lists>) -> Self {
        Self { lists, flows: [0; 2] }
    }

    /// Flows with a listed address so far: opened from inside, and from outside.
    pub(super) const fn flows(&self) -> [u64; 2] {
        self.flows
    }

    /// Speaks of the listed address, not of the inside host that called it. Whoever comes from outside must have proven
    /// that the address is its own, since a forged packet can name anybody.
    pub(super) fn observe(&mut self, o: &Observation, voice: &Voice) -> Option<Finding> {
        let (far, near) = if o.from_inside {
            (o.target.ip, o.source)
        } else {
            (o.source, o.target.ip)
        };
        if o.allowed || local(far) || !self.lists.lists(far) {
            return None;
        }
        if o.new {
            self.flows[usize::from(!o.from_inside)] += 1;
        }
        if !o.from_inside && !o.remote_proven {
            return None;
        }
        let entries = self.lists.entries(far);
        // Whom we call ourselves we trust to be who it is, and a call to a known attacker is graver than a visit.
        let attacker = entries.iter().any(|entry| entry.verdict == IntelVerdict::Malicious);
        let believed = entries.iter().map(|entry| entry.score).fold(0.0, f64::max);
        let ratio = if o.from_inside && attacker { 1.0 } else { 0.9 * believed };
        let family = family(&entries);
        if !voice.may_wonder(far, Name::Feed, family, ratio, o.at) {
            return None;
        }
        Some(finding(o, [far, near], family, ratio, &entries))
    }
}

/// Command and control where a list says so; else lists do not tell.
fn family(entries: &[Indicator]) -> Family {
    let categories = entries.iter().flat_map(|entry| &entry.categories);
    if categories
        .into_iter()
        .any(|category| category.contains("command and control"))
    {
        Family::C2
    } else {
        Family::Unknown
    }
}

fn finding(o: &Observation, [far, near]: [IpAddr; 2], family: Family, ratio: f64, entries: &[Indicator]) -> Finding {
    let lists: Vec<String> = entries
        .iter()
        .map(|entry| {
            let name = entry.source.trim_start_matches("feed:");
            let what = entry.categories.first().map_or(entry.verdict.as_str(), String::as_str);
            format!("{name} ({what})")
        })
        .collect();
    let lists = lists.join(", ");
    let (technique, targets, summary) = if o.from_inside {
        let service = place(&o.target);
        (
            "call to a listed address",
            vec![Service {
                ip: near,
                port: 0,
                proto: o.target.proto,
            }],
            format!("{near} opened a connection to {service}, which is on {lists}"),
        )
    } else {
        (
            "visit of a listed address",
            vec![o.target],
            format!("{far} talks to {}, and is on {lists}", place(&o.target)),
        )
    };
    Finding {
        at: o.at,
        source: Some(far),
        targets,
        family,
        technique: technique.into(),
        ratio,
        class: EvidenceClass::Statistical,
        evidence: entries
            .iter()
            .map(|entry| row(&entry.source, entry.score, 0.5, "score"))
            .collect(),
        summary,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::detect::Detectors;
    use crate::detect::testing::{End, Wire, ms};
    use crate::types::{Alert, Clock, Mint, Severity, Timestamp};
    use sentinel_common::packet::TCP_SYN;

    const INSIDE: End<'_> = ("10.0.0.7", 40_000);
    const SERVER: End<'_> = ("10.0.0.1", 443);

    /// Lists that name two addresses.
    struct Two;

    impl Lists for Two {
        fn lists(&self, ip: IpAddr) -> bool {
            !self.entries(ip).is_empty()
        }

        fn entries(&self, ip: IpAddr) -> Vec<Indicator> {
            let (source, verdict, score, category) = match ip.to_string().as_str() {
                "203.0.113.9" | "10.0.0.99" => (
                    "feed:feodo",
                    IntelVerdict::Malicious,
                    0.95,
                    "botnet command and control",
                ),
                "203.0.113.10" => ("feed:tor_exits", IntelVerdict::Suspicious, 0.6, "tor exit"),
                _ => return Vec::new(),
            };
            let mut entry = Indicator::new(source, ip, Timestamp(0));
            entry.judge(verdict, score, 0.9);
            entry.category(category);
            vec![entry]
        }
    }

    fn wire() -> Wire {
        let config = Config::default();
        let mut wire = Wire::new();
        wire.detectors =
            Detectors::new(&config, Clock::default(), Mint::Counted(0), "test").with_lists(&config, Box::new(Two));
        wire
    }

    fn told(wire: &mut Wire) -> Vec<Alert> {
        wire.wait(ms(500));
        wire.of(Name::Feed).into_iter().cloned().collect()
    }

    #[test]
    fn a_call_from_inside_is_graver_than_a_visit_and_both_name_the_listed_address() {
        let far = ("203.0.113.9", 443);
        let mut called = wire();
        called.tcp(INSIDE, far, TCP_SYN, 0);
        let call = told(&mut called);
        let mut visited = wire();
        visited.session(("203.0.113.9", 50_000), SERVER, 300, 900);
        let visit = told(&mut visited);
        assert_eq!((call.len(), visit.len()), (1, 1));
        let (call, visit) = (&call[0], &visit[0]);
        for alert in [call, visit] {
            assert_eq!(alert.source.map(|ip| ip.to_string()).as_deref(), Some("203.0.113.9"));
            assert_eq!((alert.family, alert.class), (Family::C2, EvidenceClass::Statistical));
        }
        assert_eq!((call.severity, visit.severity), (Severity::Medium, Severity::Low));
        let sentence =
            "10.0.0.7 opened a connection to 203.0.113.9:443, which is on feodo (botnet command and control)";
        assert_eq!(call.summary, sentence);
        assert_eq!(
            visit.summary,
            "203.0.113.9 talks to 10.0.0.1:443, and is on feodo (botnet command and control)"
        );
        assert_eq!(called.detectors.listed_flows(), [1, 0]);
        assert_eq!(visited.detectors.listed_flows(), [0, 1]);
    }

    #[test]
    fn who_is_only_suspicious_stays_below_the_limit_both_ways() {
        let far = ("203.0.113.10", 443);
        let mut wire = wire();
        wire.session(INSIDE, far, 300, 900);
        wire.session(("203.0.113.10", 50_000), SERVER, 300, 900);
        let alerts = told(&mut wire);
        assert!(!alerts.is_empty());
        assert!(alerts.iter().all(|alert| alert.severity == Severity::Low), "{alerts:?}");
    }

    #[test]
    fn who_has_proven_nothing_is_counted_and_not_accused() {
        let mut wire = wire();
        wire.tcp(("203.0.113.9", 50_000), SERVER, TCP_SYN, 0);
        wire.udp(("203.0.113.9", 50_000), ("10.0.0.1", 53), 64);
        assert_eq!(told(&mut wire), Vec::new());
        assert_eq!(wire.detectors.listed_flows(), [0, 2]);
    }

    #[test]
    fn nobody_unlisted_or_private_is_spoken_of_and_nobody_twice() {
        let mut wire = wire();
        wire.session(INSIDE, ("198.51.100.1", 443), 300, 900);
        wire.session(INSIDE, ("10.0.0.99", 443), 300, 900);
        assert_eq!(told(&mut wire), Vec::new());
        for port in 0..20 {
            wire.session(("10.0.0.7", 41_000 + port), ("203.0.113.9", 443), 300, 900);
            wire.wait(ms(200));
        }
        assert_eq!(told(&mut wire).len(), 1);
    }

    #[test]
    fn it_can_be_switched_off() {
        let mut config = Config::default();
        config.detect.feed = false;
        let mut wire = Wire::new();
        wire.detectors =
            Detectors::new(&config, Clock::default(), Mint::Counted(0), "test").with_lists(&config, Box::new(Two));
        wire.session(INSIDE, ("203.0.113.9", 443), 300, 900);
        assert_eq!(told(&mut wire), Vec::new());
    }
}
