//! A store as it is after a busy month: what detectors say, what was looked into, what was decided and done.

use anyhow::Result;
use ipnet::IpNet;
use sentinel::store::{Record, Store};
use sentinel::types::{
    Action, ActionKind, ActionStatus, Alert, AlertId, Answer, Decision, DecisionId, DecisionStatus, Detector, Evidence,
    EvidenceClass, Family, Indicator, IntelVerdict, Investigation, InvestigationState, Ktime, Mint, Origin, Risk,
    RiskPart, Service, Severity, Standing, Terms, Timestamp, Veto,
};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

/// The source that raised one alert in twenty.
pub(crate) const LOUDEST: Ipv4Addr = Ipv4Addr::new(45, 3, 7, 9);
/// Addresses that the others come from.
const SOURCES: u64 = 60_000;
/// How far back it goes.
const SPAN: Duration = Duration::from_hours(30 * 24);
/// Records of one commit, and commits that wait for one another.
const GROUP: usize = 2048;
const AHEAD: usize = 4;

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) alerts: u64,
    pub(crate) decisions: u64,
}

/// splitmix64 (Steele, Lea, Flood 2014).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn of<T: Copy>(&mut self, weighed: &[(u64, T)]) -> T {
        let all = weighed.iter().map(|(weight, _)| weight).sum();
        let mut at = self.below(all);
        for (weight, item) in weighed {
            if at < *weight {
                return *item;
            }
            at -= weight;
        }
        weighed[0].1
    }
}

/// Few sources speak often: the square of an even draw.
fn source(rng: &mut Rng) -> Ipv4Addr {
    if rng.below(20) == 0 {
        return LOUDEST;
    }
    let draw = rng.below(SOURCES);
    host(draw * draw / SOURCES)
}

/// Of a source by its number: spread over the address space.
fn host(n: u64) -> Ipv4Addr {
    let spread = Rng(n).next();
    Ipv4Addr::new(
        1 + (spread % 223) as u8,
        (spread >> 8) as u8,
        (spread >> 16) as u8,
        (n & 0xff) as u8,
    )
}

const KINDS: &[(u64, (Detector, Family, &str))] = &[
    (46, (Detector::PortScan, Family::Scan, "syn vertical")),
    (12, (Detector::BruteForce, Family::BruteForce, "ssh guessing")),
    (9, (Detector::SlowScan, Family::Scan, "slow horizontal")),
    (8, (Detector::Feed, Family::Unknown, "listed")),
    (7, (Detector::Model, Family::Scan, "model")),
    (6, (Detector::Baseline, Family::Unknown, "deviation")),
    (5, (Detector::SynFlood, Family::Flood, "syn flood")),
    (3, (Detector::PacketFlood, Family::Flood, "udp flood")),
    (2, (Detector::Probation, Family::Scan, "return")),
    (1, (Detector::SlowDos, Family::SlowDos, "slow headers")),
    (1, (Detector::Beacon, Family::C2, "beacon")),
];

pub(crate) fn alert(rng: &mut Rng, mint: &mut Mint, at: Timestamp) -> Alert {
    let (detector, family, technique) = rng.of(KINDS);
    let severity = rng.of(&[(70, Severity::Low), (23, Severity::Medium), (7, Severity::High)]);
    let forged = detector == Detector::SynFlood && rng.below(3) == 0;
    let ip = source(rng);
    let value = 20.0 + rng.below(4000) as f64;
    let evidence = |name: &str, value: f64, threshold: f64, unit: &str| Evidence {
        name: name.to_owned(),
        value,
        threshold,
        unit: unit.to_owned(),
    };
    let service = |n: u64| Service {
        ip: Ipv4Addr::new(192, 0, 2, 1 + (n % 5) as u8).into(),
        port: [22, 443, 80, 25, 3389][(n % 5) as usize],
        proto: 6,
    };
    Alert {
        id: mint.alert(at),
        at,
        evidence_at: Ktime(at.0 as u64),
        source: (!forged).then_some(IpAddr::V4(ip)),
        targets: (0..=rng.below(4)).map(service).collect(),
        detector,
        family,
        technique: technique.to_owned(),
        score: 0.5 + rng.below(500) as f64 / 1000.0,
        severity,
        class: EvidenceClass::Behaviour,
        evidence: vec![
            evidence("distinct_ports", value, 20.0, "ports/60s"),
            evidence("failed_share", 0.97, 0.5, "share"),
        ],
        summary: format!("{ip} probed {value} ports of 192.0.2.1 in 60 s, 97 % of them closed (limit 20)"),
        sensor: "xdp".to_owned(),
        standing: Some(Standing::default()),
        former: None,
        explanation: None,
    }
}

fn investigation(rng: &mut Rng, mint: &mut Mint, of: &Alert, ip: IpAddr) -> Investigation {
    let level = rng.of(&[(4, Severity::Low), (4, Severity::Medium), (2, Severity::High)]);
    let answer = |name: &str| {
        let mut told = Indicator::new(name, ip, of.at);
        told.judge(IntelVerdict::Malicious, 0.9, 0.8);
        told.category("ssh brute force");
        Answer {
            source: name.to_owned(),
            indicator: Some(told),
            result: if of.at.0 % 3 == 0 { "fresh" } else { "cache" }.to_owned(),
            reason: String::new(),
            took_ms: 120,
        }
    };
    let quiet = Answer {
        source: "virustotal".to_owned(),
        indicator: None,
        result: "quota".to_owned(),
        reason: "the day's requests are spent".to_owned(),
        took_ms: 0,
    };
    Investigation {
        id: mint.investigation(of.at),
        alert: of.id,
        ip,
        at: of.at,
        updated_at: of.at.after(Duration::from_millis(480)),
        state: InvestigationState::Complete,
        severity: of.severity,
        answers: vec![answer("abuseipdb"), answer("greynoise"), quiet],
        risk: Risk {
            score: 0.75,
            log_odds: 1.1,
            confidence: 0.6,
            level,
            corroborated_by: 2,
            local_only: false,
            contradictions: Vec::new(),
            parts: vec![RiskPart {
                name: "port_scan".to_owned(),
                says: 0.75,
                log_odds: 1.1,
                sentence: "port_scan says 0.75".to_owned(),
            }],
            summary: format!("{} risk: two sources call it bad", level.as_str()),
        },
        revisions: 1,
        country: Some("NL".to_owned()),
        network: Some("AS64500 Example Net".to_owned()),
        network_prefix: None,
    }
}

/// What was decided about one, and how it ended; the last four of five stand.
pub(crate) fn decision(
    rng: &mut Rng,
    mint: &mut Mint,
    n: u64,
    stands: bool,
    cause: Option<(AlertId, Severity)>,
    at: Timestamp,
) -> Decision {
    let status = if stands {
        DecisionStatus::Active
    } else {
        rng.of(&[
            (6, DecisionStatus::Expired),
            (1, DecisionStatus::Deleted),
            (1, DecisionStatus::Lifted),
            (1, DecisionStatus::Vetoed),
            (1, DecisionStatus::Logged),
        ])
    };
    let vetoed = status == DecisionStatus::Vetoed;
    let over = !stands;
    let (n, block) = (n as u32, ActionKind::BlockIp);
    Decision {
        id: mint.decision(at),
        at,
        target: IpNet::from(IpAddr::V4(Ipv4Addr::from(0x2d00_0000 + n))),
        action: rng.of(&[(8, block), (2, ActionKind::RateLimit)]),
        terms: Terms::default(),
        expires_at: Some(at.after(Duration::from_hours(if stands { 2000 } else { 4 }))),
        until_if_confirmed: None,
        simulated: n.is_multiple_of(4),
        origin: if cause.is_some() {
            Origin::Detector
        } else {
            Origin::Operator
        },
        actor: if cause.is_some() { "port_scan" } else { "alice" }.to_owned(),
        reason: "probed 412 ports of 192.0.2.1 in 60 s, 97 % of them closed (limit 20)".to_owned(),
        alert: cause.map(|(id, _)| id),
        severity: cause.map(|(_, severity)| severity),
        risk: None,
        basis: None,
        investigation: None,
        checks: Vec::new(),
        collateral: None,
        status,
        veto: vetoed.then(|| Veto {
            guard: ["allowlist", "gateway", "resolver"][rng.below(3) as usize].to_owned(),
            reason: "it is protected".to_owned(),
        }),
        ended_at: over.then(|| at.after(Duration::from_hours(3))),
    }
}

fn action(rng: &mut Rng, mint: &mut Mint, of: &Decision) -> Option<Action> {
    let status = match of.status {
        DecisionStatus::Vetoed | DecisionStatus::Logged => return None,
        DecisionStatus::Active if of.simulated => ActionStatus::Simulated,
        DecisionStatus::Active => ActionStatus::Enforced,
        DecisionStatus::Expired => ActionStatus::Expired,
        _ => ActionStatus::Reverted,
    };
    let hits = rng.below(90_000);
    let entered_at = Some(of.at.after(Duration::from_micros(1500 + rng.below(9000))));
    Some(Action {
        id: mint.action(of.at),
        decision: of.id,
        kind: of.action,
        target: of.target,
        status,
        intent_at: of.at.after(Duration::from_millis(1)),
        entered_at,
        outcome_at: entered_at,
        expires_at: of.expires_at,
        outcome: "blocks, read back from xdp (native)".to_owned(),
        hits: if of.simulated { 0 } else { hits },
        would_hits: if of.simulated { hits } else { 0 },
    })
}

/// Fills the store with a month that ends at `now`; returns the decisions in force and every thousandth alert.
pub(crate) async fn fill(store: &Store, sizes: Sizes, now: Timestamp) -> Result<(Vec<DecisionId>, Vec<AlertId>)> {
    let (mut rng, mut mint) = (Rng(1), Mint::Random);
    let (mut records, mut under_way) = (Vec::with_capacity(GROUP + 8), Vec::new());
    let (mut active, mut some) = (Vec::new(), Vec::new());
    let each = sizes.alerts / sizes.decisions.max(1);
    for n in 0..sizes.alerts {
        // Busier towards the end, and a time or two later than the one after it.
        let share = (n as f64 / sizes.alerts as f64).sqrt();
        let back = SPAN.mul_f64(1.0 - share).as_nanos() as i64 + rng.below(50_000_000) as i64;
        let at = Timestamp(now.0 - back);
        let alert = alert(&mut rng, &mut mint, at);
        if n.is_multiple_of(1000) {
            some.push(alert.id);
        }
        if let Some(ip) = alert.source.filter(|_| n.is_multiple_of(8)) {
            records.push(Record::Investigation(Arc::new(investigation(
                &mut rng, &mut mint, &alert, ip,
            ))));
        }
        if n % each == 0 && n / each < sizes.decisions {
            let n = n / each;
            let cause = (!n.is_multiple_of(3)).then_some((alert.id, alert.severity));
            let stands = n >= sizes.decisions / 5;
            let decision = decision(
                &mut rng,
                &mut mint,
                n,
                stands,
                cause,
                at.after(Duration::from_millis(2)),
            );
            if stands {
                active.push(decision.id);
            }
            let done = action(&mut rng, &mut mint, &decision);
            records.push(Record::Decision(Arc::new(decision)));
            records.extend(done.map(|action| Record::Action(Arc::new(action))));
            records.push(Record::Audit {
                at,
                actor: "agent".to_owned(),
                verb: "decision.take".to_owned(),
                subject: "203.0.113.1".to_owned(),
                detail: "block_ip, read back".to_owned(),
            });
        }
        records.push(Record::Alert(Arc::new(alert)));
        if records.len() >= GROUP {
            let group = std::mem::replace(&mut records, Vec::with_capacity(GROUP + 8));
            let store = store.clone();
            under_way.push(tokio::spawn(async move { store.commit(group).await }));
            if under_way.len() > AHEAD {
                under_way.remove(0).await??;
            }
        }
    }
    for one in under_way {
        one.await??;
    }
    store.commit(records).await?;
    Ok((active, some))
}
