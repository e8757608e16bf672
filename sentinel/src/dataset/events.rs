//! What the whole house makes of a capture whose attacks are known: which were told of, when, by whom, and who was
//! accused that did nothing.

use super::error::DatasetError;
use super::truth::{Event, Truth};
use crate::config::{Config, Mode};
use crate::files::Meter;
use crate::model::Model;
use crate::replay::Pipeline;
use crate::sensor::pcap::Capture;
use crate::types::{Alert, Detector, EvidenceClass, Timestamp};
use sentinel_common::addr::Addr;
use sentinel_common::packet::parse_ethernet;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

/// How long before an attack an alert may be stamped and still be about it: two clocks, s.
const BEFORE: f64 = 1.0;
/// How long after its end it may still be told of, s.
const AFTER: f64 = 60.0;
/// How long after its end what is told of the attacker may still follow from it, s: the longest window of features, and the
/// longest that a flow waits for its record.
const LINGERS: f64 = 300.0 + 60.0;
/// An address that sent fewer packets is no host that an alert could be counted against.
const HOST: u64 = 10;
/// Wrong alerts that are told one by one.
const TOLD: usize = 100;

/// Attacks of one family.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FamilyFigures {
    /// As the truth calls it.
    pub family: String,
    /// Attacks.
    pub events: usize,
    /// Told of.
    pub found: usize,
    /// Told of by the model.
    pub found_by_model: usize,
    /// From the beginning of an attack to its first alert, the middle one, s.
    pub median_s: Option<f64>,
    /// The same, the 95th of a hundred.
    pub p95_s: Option<f64>,
    /// Which detectors told of one, by name.
    pub detectors: BTreeSet<&'static str>,
}

/// An attack that nobody told of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Missed {
    /// As the truth calls it.
    pub family: String,
    /// Who did it.
    pub ip: IpAddr,
    /// When it began.
    pub began: Timestamp,
    /// How long it lasted, s.
    pub lasted_s: f64,
}

/// An alert about no attack.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Wrong {
    /// When.
    pub at: Timestamp,
    /// Whose.
    pub detector: &'static str,
    /// What it says.
    pub summary: String,
}

/// What a capture came to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EventFigures {
    /// From the first packet to the last, hours.
    pub hours: f64,
    /// Addresses that sent ten packets and more and are no attacker.
    pub hosts: usize,
    /// Attacks by family, by name.
    pub families: Vec<FamilyFigures>,
    /// All of them.
    pub all: FamilyFigures,
    /// Attacks that nobody told of.
    pub missed: Vec<Missed>,
    /// Alerts about an attacker so soon after an attack that they may follow from it, and too late to have found it: they count for
    /// nothing, by detector.
    pub late_alerts: BTreeMap<&'static str, usize>,
    /// Alerts that are about no attack; the first [`TOLD`].
    pub wrong: Vec<Wrong>,
    /// How many there are of these, by detector.
    pub false_alerts: BTreeMap<&'static str, usize>,
    /// Whom they accuse.
    pub falsely_accused: BTreeSet<IpAddr>,
    /// Those of them whose accusation suffices for a block.
    pub falsely_blocked: usize,
    /// False alerts in a hundred hours of one host.
    pub per_100_host_hours: f64,
    /// Of 10,000 hosts so many would be blocked.
    pub blocked_per_10000: f64,
}

/// Has the house watch a capture in simulation, with a model if there is one, and holds its alerts against the truth.
///
/// # Errors
/// [`DatasetError::Capture`] where the capture cannot be read or breaks off.
pub fn watch(
    config: &Config,
    model: Option<Arc<Model>>,
    file: &Path,
    truth: &Truth,
    meter: &Meter,
) -> Result<EventFigures, DatasetError> {
    let simulated = Config {
        mode: Mode::Simulation,
        ..config.clone()
    };
    let mut pipeline = Pipeline::new(&simulated);
    if let Some(model) = model {
        pipeline = pipeline.with_model(&simulated, model);
    }
    let unread = |source| DatasetError::Capture {
        path: file.to_owned(),
        source,
    };
    let mut capture = Capture::open_metered(file, meter).map_err(unread)?;
    let mut sent: HashMap<Addr, u64> = HashMap::new();
    let (mut first, mut last) = (None, 0);
    while let Some(frame) = capture.next() {
        let frame = frame.map_err(unread)?;
        first.get_or_insert(frame.at_ns);
        last = last.max(frame.at_ns);
        if let Ok(packet) = parse_ethernet(&frame.bytes) {
            *sent.entry(packet.src).or_default() += 1;
        }
        pipeline.frame(frame.at_ns, frame.bytes, frame.wire_len);
        pipeline.events().clear();
    }
    pipeline.finish(String::new(), None);
    let attackers: BTreeSet<IpAddr> = truth.events.iter().map(|event| event.ip).collect();
    let hosts = sent
        .iter()
        .filter(|(source, packets)| **packets >= HOST && !attackers.contains(&IpAddr::from(**source)))
        .count();
    let hours = last.saturating_sub(first.unwrap_or(last)) as f64 / 3.6e12;
    Ok(figures(pipeline.alerts(), truth, hosts, hours))
}

impl From<&Event> for Missed {
    fn from(event: &Event) -> Self {
        Self {
            family: event.family.clone(),
            ip: event.ip,
            began: Timestamp((event.t0 * 1e9) as i64),
            lasted_s: event.t1 - event.t0,
        }
    }
}

/// Holds alerts against the truth.
fn figures(alerts: &[Alert], truth: &Truth, hosts: usize, hours: f64) -> EventFigures {
    let mut families: BTreeMap<&str, Vec<(&Event, Vec<&Alert>)>> = BTreeMap::new();
    for event in &truth.events {
        let about = alerts.iter().filter(|alert| is_about(alert, event, AFTER)).collect();
        families.entry(&event.family).or_default().push((event, about));
    }
    let everything: Vec<_> = families.values().flatten().cloned().collect();
    let mut out = EventFigures {
        hours,
        hosts,
        families: families
            .iter()
            .map(|(family, events)| family_of(family, events))
            .collect(),
        all: family_of("all", &everything),
        missed: everything
            .iter()
            .filter(|(_, about)| about.is_empty())
            .map(|(event, _)| Missed::from(*event))
            .collect(),
        ..EventFigures::default()
    };
    let mut blocked = BTreeSet::new();
    for alert in alerts {
        let is_about = |after: f64| truth.events.iter().any(|event| is_about(alert, event, after));
        if is_about(AFTER) {
            continue;
        }
        if is_about(LINGERS) {
            *out.late_alerts.entry(alert.detector.as_str()).or_default() += 1;
            continue;
        }
        *out.false_alerts.entry(alert.detector.as_str()).or_default() += 1;
        if out.wrong.len() < TOLD {
            out.wrong.push(Wrong {
                at: alert.at,
                detector: alert.detector.as_str(),
                summary: alert.summary.clone(),
            });
        }
        out.falsely_accused.extend(alert.source);
        if alert.class == EvidenceClass::Behaviour {
            blocked.extend(alert.source);
        }
    }
    out.falsely_blocked = blocked.len();
    let host_hours = hosts as f64 * hours;
    let wrong: usize = out.false_alerts.values().sum();
    if host_hours > 0.0 {
        out.per_100_host_hours = wrong as f64 * 100.0 / host_hours;
        out.blocked_per_10000 = blocked.len() as f64 * 10_000.0 / hosts as f64;
    }
    out
}

/// Whether an alert is about an attack: at about its time, or so many seconds after its end, it names the attacker, as whoever
/// did it or as whom an inside host reported to, or nobody while a flood went on.
fn is_about(alert: &Alert, event: &Event, after: f64) -> bool {
    let at = seconds(alert.at);
    let named = match alert.source {
        Some(source) => source == event.ip || alert.targets.iter().any(|target| target.ip == event.ip),
        None => event.family.starts_with("flood"),
    };
    named && at >= event.t0 - BEFORE && at <= event.t1 + after
}

fn family_of(family: &str, events: &[(&Event, Vec<&Alert>)]) -> FamilyFigures {
    let first = |event: &Event, about: &[&Alert]| {
        let times = about.iter().map(|alert| (seconds(alert.at) - event.t0).max(0.0));
        times.min_by(f64::total_cmp)
    };
    let mut waits: Vec<f64> = events.iter().filter_map(|(event, about)| first(event, about)).collect();
    waits.sort_by(f64::total_cmp);
    let at = |share: usize| {
        waits
            .get((waits.len() * share / 100).min(waits.len().saturating_sub(1)))
            .copied()
    };
    let by_model = |about: &[&Alert]| about.iter().any(|alert| alert.detector == Detector::Model);
    FamilyFigures {
        family: family.to_owned(),
        events: events.len(),
        found: waits.len(),
        found_by_model: events.iter().filter(|(_, about)| by_model(about)).count(),
        median_s: at(50),
        p95_s: at(95),
        detectors: events
            .iter()
            .flat_map(|(_, about)| about.iter().map(|a| a.detector.as_str()))
            .collect(),
    }
}

fn seconds(at: Timestamp) -> f64 {
    at.0 as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::Speed;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../tests/fixtures")
            .join(name)
    }

    /// The scan of the fixture, as its alert tells it.
    fn scan() -> (IpAddr, f64) {
        let out = tempfile::tempdir().unwrap();
        crate::replay::run(
            &Config::default(),
            None,
            &fixture("scan_syn.pcap"),
            out.path(),
            Speed::Max,
            &Meter::default(),
        )
        .unwrap();
        let eve = std::fs::read_to_string(out.path().join("eve.json")).unwrap();
        let alerts = eve
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let alert = alerts.into_iter().find(|event| event["event_type"] == "alert").unwrap();
        let alert: Alert = serde_json::from_value(alert["sentinel"]["alert"].clone()).unwrap();
        (alert.source.unwrap(), seconds(alert.at))
    }

    #[test]
    fn an_attack_is_found_at_its_time_and_an_accusation_at_another_is_false() {
        let (ip, at) = scan();
        let attack = |t0: f64, t1: f64| Truth {
            events: vec![Event {
                family: "scan".into(),
                ip,
                t0,
                t1,
            }],
        };
        let none = Meter::default();
        let watch = |truth: &Truth| watch(&Config::default(), None, &fixture("scan_syn.pcap"), truth, &none).unwrap();
        let told = watch(&attack(at - 2.0, at));
        assert_eq!((told.all.events, told.all.found, told.all.found_by_model), (1, 1, 0));
        assert!((told.all.median_s.unwrap() - 2.0).abs() < 0.01, "{told:?}");
        assert!(
            told.false_alerts.is_empty() && told.families[0].detectors.contains("port_scan"),
            "{told:?}"
        );
        let told = watch(&attack(at - 400.0, at - LINGERS + 10.0));
        let wrong = (told.all.found, told.wrong.len(), told.falsely_blocked);
        assert_eq!(wrong, (0, 0, 0), "{told:?}");
        assert!(told.late_alerts.contains_key("port_scan"), "{told:?}");
        let told = watch(&attack(at - 1000.0, at - LINGERS - 1.0));
        assert!(told.late_alerts.is_empty(), "{told:?}");
        assert_eq!((told.all.found, told.falsely_blocked), (0, 1), "{told:?}");
        assert_eq!((told.missed.len(), told.missed[0].ip), (1, ip));
        let wrong: usize = told.false_alerts.values().sum();
        assert_eq!(told.wrong.len(), wrong);
        assert!(told.wrong[0].summary.contains("tried"), "{told:?}");
        assert!(told.falsely_accused.contains(&ip) && told.per_100_host_hours >= 0.0);
        let missing = watch_missing();
        assert!(missing.contains("nowhere"), "{missing}");
    }

    fn watch_missing() -> String {
        let truth = Truth::default();
        watch(
            &Config::default(),
            None,
            Path::new("/nowhere/x.pcap"),
            &truth,
            &Meter::default(),
        )
        .unwrap_err()
        .to_string()
    }
}
