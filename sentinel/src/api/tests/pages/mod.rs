//! The dashboard in a real browser, over the real API and a real store: every page, and the stories of operators.
//!
//! Screenshots are kept under `target/tmp/pages`.

mod alerts;
mod browser;
mod docs;
mod everywhere;
mod home;
mod login;
mod model;
mod operate;
mod show;
mod stream;
mod traffic;

use super::*;
use browser::Browser;

/// Without a browser these tests are skipped; where the whole proof was asked for, they fail.
fn no_browser() {
    let text = "no `chromium` here (apt-get install chromium)";
    assert!(std::env::var_os("TESTBED_REQUIRE").is_none(), "{text}");
    println!("skipped: {text}");
}

/// A house that acts.
fn in_production() -> House {
    let mut house = House::new();
    house.state.config = Arc::new(Config {
        mode: crate::config::Mode::Production,
        ..Config::clone(&house.state.config)
    });
    house
}

async fn serve(house: &House) -> (String, tokio::task::JoinHandle<std::io::Result<()>>) {
    crate::tls::install();
    let doors = Doors::take(&doors_at("127.0.0.1:0", &house.directory.path().join("s")))
        .await
        .unwrap();
    let url = format!("http://{}/", doors.local_addr().unwrap());
    (url, tokio::spawn(doors.open(house.state.clone(), house.cancel.clone())))
}

/// Fills the house with a day an operator might have.
pub(super) async fn busy(house: &House, mode: crate::config::Mode) -> Vec<DecisionId> {
    let mut mint = Mint::Random;
    let mut records = Vec::new();
    let mut hits = HashMap::new();
    let cases = [
        (
            "203.0.113.7",
            Detector::PortScan,
            Severity::High,
            40,
            "syn vertical",
            "distinct_ports",
            412.0,
            15.0,
            "ports/60s",
        ),
        (
            "198.51.100.23",
            Detector::BruteForce,
            Severity::High,
            95,
            "ssh",
            "attempts",
            31.0,
            8.0,
            "connections/60s",
        ),
        (
            "2001:db8:6::bad",
            Detector::SynFlood,
            Severity::High,
            340,
            "syn flood",
            "half_open",
            2180.0,
            100.0,
            "handshakes/2s",
        ),
        (
            "192.0.2.200",
            Detector::PacketFlood,
            Severity::Medium,
            1800,
            "udp flood",
            "udp_packets",
            4120.0,
            1000.0,
            "packets/s",
        ),
        (
            "203.0.113.90",
            Detector::Baseline,
            Severity::Low,
            7300,
            "volume",
            "z_score",
            7.2,
            6.0,
            "standard deviations",
        ),
    ];
    // Its name is markup, and stays text.
    records.push(Record::Sighting(Box::new(crate::types::Sighting {
        first_at: Timestamp(now().0 - 7_200_000_000_000),
        last_at: now(),
        ..sightings::neighbour("203.0.113.7", 3)
    })));
    for (source, detector, severity, ago, technique, name, value, threshold, unit) in cases {
        let at = Timestamp(now().0 - ago * 1_000_000_000);
        let alert = Alert {
            source: Some(source.parse().unwrap()),
            detector,
            severity,
            technique: technique.into(),
            score: if severity == Severity::Low { 0.31 } else { 0.92 },
            class: if detector == Detector::Baseline {
                EvidenceClass::Statistical
            } else {
                EvidenceClass::Behaviour
            },
            evidence: vec![Evidence {
                name: name.into(),
                value,
                threshold,
                unit: unit.into(),
            }],
            summary: format!("{source}: {value} {unit} against 198.51.100.10, the limit is {threshold} ({technique})"),
            ..alert(&mut mint, at)
        };
        let mut decision = decision(&mut mint, &alert, at.after(Duration::from_millis(4)));
        decision.simulated = mode == crate::config::Mode::Simulation;
        match detector {
            Detector::PacketFlood => {
                decision.action = ActionKind::RateLimit;
                decision.terms.rate = Some(Config::default().response.rate_limit);
            }
            Detector::BruteForce => decision.action = ActionKind::RedirectToHoneypot,
            _ => {}
        }
        if severity == Severity::Low {
            decision.status = DecisionStatus::Logged;
            decision.action = ActionKind::LogOnly;
        } else {
            let n = 1_000 + ago as u64 * 37;
            let counted = Hits {
                packets: n,
                bytes: n * 60,
                would_packets: n,
                would_bytes: n * 60,
                first_hit: None,
                last_hit: Some(now()),
            };
            hits.insert(decision.id, counted);
        }
        records.push(Record::Alert(Arc::new(alert)));
        records.push(Record::Decision(Arc::new(decision)));
    }
    house.keep(records).await;
    super::traffic::log(house, &super::traffic::some(now()));
    let ids = hits.keys().copied().collect();
    house.hits.send_replace(Arc::new(hits));
    let protected = [
        ("127.0.0.0/8", "loopback", "this machine's loopback"),
        ("198.51.100.10/32", "own_address", "address of eth0"),
        ("198.51.100.1/32", "gateway", "default gateway of eth0"),
        ("9.9.9.9/32", "resolver", "named in /etc/resolv.conf"),
        ("10.20.0.0/16", "allowlist", "allowlisted in settings.yml"),
    ];
    let entry = |(target, guard, reason): (&str, &str, &str)| Protected {
        target: target.parse().unwrap(),
        guard: guard.into(),
        reason: reason.into(),
    };
    house.protected.send_replace(Arc::new(protected.map(entry).to_vec()));
    ids
}
