//! Ten thousand hostile scenarios: whatever is forged, listed, wished or changed, nothing of who is protected is dropped,
//! and nobody is blocked for what was sent in its name.

use super::ModelGate;
use crate::config::{Config, Mode};
use crate::decide::{Guards, Judge};
use crate::respond::{Enforcer, entry_of};
use crate::types::testing::risk;
use crate::types::{
    ActionKind, Alert, AlertId, Clock, Decision, DecisionStatus, Detector, EvidenceClass, Family, Ktime, Mint,
    NewDecision, Peers, Protected, Severity, Standing, Timestamp,
};
use ipnet::IpNet;
use sentinel_common::addr::Addr;
use sentinel_common::entry::{AllowEntry, NEVER_NS};
use sentinel_common::flow::PROTO_TCP;
use sentinel_common::hash::SplitMix64;
use sentinel_common::packet::{PacketMeta, TCP_SYN};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

const SCENARIOS: u64 = 10_000;
/// Things that happen in one.
const EVENTS: u64 = 24;
/// Who may be protected: own, gateway, resolver, operator, endpoint, and who shares prefixes with attackers.
const OWNERS: [&str; 12] = [
    "192.0.2.1",
    "192.0.2.254",
    "198.51.100.53",
    "203.0.113.77",
    "203.0.113.78",
    "2001:db8::1",
    "2001:db8::fe",
    "2001:db8:1::53",
    "2001:db8:2::77",
    "10.0.0.1",
    "fe80::1",
    "127.0.0.1",
];
const GUARDS: [&str; 5] = ["own_address", "gateway", "resolver", "operator_session", "endpoint"];

/// What happens, drawn by lot; the same in every run.
struct Rng(SplitMix64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0.draw() % n
    }

    fn one<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// Somebody protected, a neighbour of one, or a stranger.
    fn address(&mut self) -> IpAddr {
        let owner: IpAddr = self.one(&OWNERS).parse().unwrap();
        match (self.below(3), owner) {
            (0, owner) => owner,
            (1, IpAddr::V4(v4)) => {
                let [a, b, c, _] = v4.octets();
                IpAddr::from([a, b, c, self.below(256) as u8])
            }
            (1, IpAddr::V6(v6)) => {
                let mut segments = v6.segments();
                segments[7] = self.below(65_536) as u16;
                IpAddr::from(segments)
            }
            _ => IpAddr::from([45, 33, self.below(4) as u8, self.below(256) as u8]),
        }
    }

    fn net(&mut self) -> IpNet {
        let ip = self.address();
        let most = if ip.is_ipv4() { 33 } else { 129 };
        IpNet::new(ip, self.below(most) as u8).unwrap()
    }
}

struct Scene {
    rng: Rng,
    judge: Judge,
    gate: ModelGate,
    protected: Vec<Protected>,
    guards: Guards,
    now: i64,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let mut config = Config::default().response;
        config.policy.widen.v4_sources = 3;
        config.policy.widen.v6_sources = 2;
        config.policy.widen.v6_nets = 2;
        config.policy.widen.budget = (seed % 3) as u32;
        let mut scene = Self {
            rng: Rng(SplitMix64(seed)),
            judge: Judge::new(&config, Mode::Production, Mint::Counted(0)),
            gate: ModelGate::new(4096, 4096, true),
            protected: Vec::new(),
            guards: Guards::new(Vec::new()),
            now: 1_000_000,
        };
        scene.facts();
        scene
    }

    fn at(&self) -> Timestamp {
        Timestamp(self.now * 1_000_000_000)
    }

    /// The host's addresses, routes and sessions change: the kernel's allow map first, then the decisions.
    fn facts(&mut self) {
        for old in self.guards.protected() {
            let _ = self.gate.delete_allow(old.target);
        }
        let mut protected = Vec::new();
        for owner in OWNERS {
            if self.rng.below(3) > 0 {
                protected.push(Protected {
                    target: IpNet::from(owner.parse::<IpAddr>().unwrap()),
                    guard: self.rng.one(&GUARDS).to_owned(),
                    reason: "of the scene".to_owned(),
                });
            }
        }
        self.guards = Guards::new(protected);
        self.protected = self.guards.protected().to_vec();
        for p in &self.protected {
            let entry = AllowEntry {
                expires_ns: NEVER_NS,
                prefix_len: p.target.prefix_len(),
                pad: [0; 7],
            };
            self.gate.put_allow(p.target, &entry).unwrap();
        }
        for ended in self.judge.recheck(&self.guards, self.at()) {
            self.gate.delete_block(ended.target).unwrap();
        }
    }

    /// An alert about somebody, forged or not.
    fn alert(&mut self) {
        let forged = self.rng.below(2) == 0;
        let detector = self.rng.one(&[
            Detector::PortScan,
            Detector::SynFlood,
            Detector::PacketFlood,
            Detector::Reflex,
            Detector::BruteForce,
            Detector::Feed,
        ]);
        let alert = Alert {
            id: AlertId(uuid::Uuid::from_u128(self.rng.0.draw().into())),
            at: self.at(),
            evidence_at: Ktime(0),
            source: Some(self.rng.address()),
            targets: Vec::new(),
            detector,
            family: Family::Unknown,
            technique: "test".into(),
            score: 0.9,
            severity: self.rng.one(&[Severity::Low, Severity::Medium, Severity::High]),
            class: self.rng.one(&[EvidenceClass::Behaviour, EvidenceClass::Statistical]),
            evidence: Vec::new(),
            summary: "test".into(),
            sensor: "test".into(),
            standing: Some(Standing {
                proven: !forged,
                good_sessions: self.rng.below(9) as u32,
                good_for_ms: self.rng.below(2_000_000),
                connected: self.rng.below(4) == 0,
            }),
            former: None,
            explanation: None,
        };
        // Lists and sources may be poisoned: they say that anybody is bad.
        let outside = if self.rng.below(3) == 0 {
            self.rng.below(4) as u32
        } else {
            0
        };
        let risk = risk(
            self.rng.one(&[Severity::Low, Severity::Medium, Severity::High]),
            outside,
        );
        let mut next = self.judge.judge(&alert, &risk, &self.guards, self.at());
        if let Some(decision) = &next
            && forged
            && detector.forgeable()
            && outside == 0
        {
            assert!(
                decision.action <= ActionKind::RateLimit,
                "blocked for what may be forged: {decision:?}"
            );
        }
        while let Some(decision) = next {
            next = self.judge.widen(&decision, None, &self.guards, self.at());
            self.carry_out(&decision);
        }
    }

    /// A person wishes something, sensible or not.
    fn wish(&mut self) {
        let wish = NewDecision {
            target: self.rng.net(),
            action: self.rng.one(&[ActionKind::BlockIp, ActionKind::RateLimit]),
            rate: None,
            egress: None,
            duration: Duration::from_secs(self.rng.below(5000)),
            collateral: Some(u32::MAX),
            reason: "because".into(),
            actor: "somebody".into(),
        };
        if let Ok(decision) = self.judge.operator(&wish, &self.guards, self.at()) {
            self.carry_out(&decision);
        }
    }

    fn carry_out(&mut self, decision: &Decision) {
        if decision.status == DecisionStatus::Active {
            assert!(decision.expires_at.is_some(), "without an end: {decision:?}");
            self.gate
                .put_block(decision.target, &entry_of(decision, Clock::default()))
                .unwrap();
        }
    }

    fn check(&mut self) {
        for decision in self.judge.active() {
            assert!(self.guards.check(decision.target).is_ok(), "{decision:?}");
        }
        for p in self.protected.clone() {
            for ip in [p.target.network(), p.target.broadcast()] {
                let packet = PacketMeta {
                    src: Addr::from(ip),
                    proto: PROTO_TCP,
                    tcp_flags: TCP_SYN,
                    ip_version: if ip.is_ipv4() { 4 } else { 6 },
                    ..PacketMeta::default()
                };
                let verdict = self.gate.judge(&packet, 60, self.now as u64 * 1_000_000_000).0;
                assert!(!verdict.drops(), "{ip} of {p:?}: {verdict:?}");
            }
        }
    }
}

#[test]
fn nothing_of_who_is_protected_is_dropped_in_ten_thousand_hostile_scenarios() {
    for seed in 0..SCENARIOS {
        let mut scene = Scene::new(seed.wrapping_mul(0x1234_5678_9abc_def1));
        for _ in 0..EVENTS {
            match scene.rng.below(12) {
                0 => scene.facts(),
                1 | 2 => scene.wish(),
                3 => {
                    scene.now += scene.rng.below(20_000) as i64;
                    for ended in scene.judge.expire(scene.at()) {
                        scene.gate.delete_block(ended.target).unwrap();
                    }
                }
                4 => {
                    let good: Peers = (0..scene.rng.below(8)).map(|_| scene.rng.address()).collect();
                    scene.judge.set_peers(Arc::new(good));
                }
                _ => scene.alert(),
            }
        }
        scene.check();
    }
}
