//! From observations to alerts about whoever opened the flows.
//!
//! In: [`Observation`]s and the time. Out: [`Alert`]s, each with one sentence and the numbers that made it fire.
//! Invariant: thresholds come from the configuration; an alert names an initiator, never who merely answered; the same
//! source, detector and family speaks again only after `detect.realert_after` or when the severity rises; every memory
//! is bounded and its evictions are counted; nothing here depends on an order of iteration.
//! Deliberately elsewhere: flows (`flow`), what to do about it (`decide`).
//!
//! A score says how far past its limit a measurement is: 0.5 at the limit, 0.8 at twice the limit, towards 1 beyond.

mod amplification;
mod baseline;
mod beacon;
mod brute_force;
mod card;
mod collector;
mod distributed_brute_force;
mod dns_tunnel;
mod flags;
mod habit;
mod icmp_tunnel;
mod lateral_movement;
mod listed;
mod notice;
mod packet_flood;
mod port_scan;
mod renew;
mod rows;
mod season;
mod silence;
mod sketch;
mod slow_dos;
mod slow_scan;
mod stream;
mod supervised;
mod syn_flood;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod upload;
mod voice;

pub use amplification::Amplification;
pub use baseline::Baseline;
pub use beacon::Beacon;
pub use brute_force::BruteForce;
pub use collector::{Collector, Contradiction, Gain, Kept};
pub use distributed_brute_force::DistributedBruteForce;
pub use dns_tunnel::DnsTunnel;
pub use icmp_tunnel::IcmpTunnel;
pub use lateral_movement::LateralMovement;
pub use listed::Lists;
pub use notice::{KernelLimits, Notice};
pub use packet_flood::PacketFlood;
pub use port_scan::PortScan;
pub use rows::{Row, Said};
pub use slow_dos::SlowDos;
pub use slow_scan::SlowScan;
pub use supervised::Supervised;
pub use syn_flood::SynFlood;
pub use upload::Upload;
pub use voice::Voice;

use crate::config::{Config, DetectConfig, SeverityThresholds};
use crate::features::{FeatureLosses, Limits, Vector};
use crate::flow::{History, Observation};
use crate::model::Model;
use crate::types::{
    Alert, Clock, Condition, Detector as Name, Evidence, EvidenceClass, Explanation, Family, Heard, Ktime, Learning,
    Mint, Peers, Service, Severity,
};
use listed::Listed;
use rows::Plain;
use sentinel_common::event::FlowRecord;
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Services an alert lists at most.
pub const MAX_TARGETS: usize = 8;

/// One way of recognising an attack. Synchronous, no I/O, no clock.
pub trait Detector {
    /// Which one it is.
    fn name(&self) -> Name;

    /// Takes in an observation; speaks if it completes the evidence and `voice` says it is not a repetition.
    fn observe(&mut self, observation: &Observation, voice: &Voice) -> Option<Finding>;

    /// Entries it holds, and how many had to make room so far.
    fn load(&self) -> (usize, u64);
}

/// What a detector found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// When the evidence was complete.
    pub at: Ktime,
    /// Who; `None` where sources are forged.
    pub source: Option<IpAddr>,
    /// To whom, most recent first.
    pub targets: Vec<Service>,
    /// What kind.
    pub family: Family,
    /// How, in a word or two.
    pub technique: Cow<'static, str>,
    /// Measurement over limit; 1 is a plain crossing.
    pub ratio: f64,
    /// What the evidence is good for.
    pub class: EvidenceClass,
    /// The numbers.
    pub evidence: Vec<Evidence>,
    /// One sentence.
    pub summary: String,
}

/// Entries of a flood detector: a quarter of `flow.max_sources`.
///
/// The least recently touched makes room, and whoever floods touches its entry many times a second: pushing it out would
/// take a quarter of `max_sources` other sources between two of its packets. Forged sources come once and fill the rest.
const fn capacity(sources: usize) -> usize {
    share(sources, 4)
}

/// One in `of` of `flow.max_sources`, and never fewer than sixteen.
const fn share(sources: usize, of: usize) -> usize {
    if sources / of > 16 { sources / of } else { 16 }
}

/// A count as windows keep it.
fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// How far past the limit: 0.5 at the limit, 0.8 at twice the limit, towards 1 beyond.
pub fn score(ratio: f64) -> f64 {
    let score = if ratio <= 1.0 {
        0.5 * ratio.max(0.0)
    } else if ratio <= 2.0 {
        0.5 + 0.3 * (ratio - 1.0)
    } else {
        1.0 - 0.4 / ratio
    };
    (score * 10_000.0).round() / 10_000.0
}

/// The severity of a score; `None` below the lowest threshold.
pub fn severity(score: f64, thresholds: &SeverityThresholds) -> Option<Severity> {
    if score >= thresholds.high {
        Some(Severity::High)
    } else if score >= thresholds.medium {
        Some(Severity::Medium)
    } else if score >= thresholds.low {
        Some(Severity::Low)
    } else {
        None
    }
}

/// The severity of an alert by its score, its detector and the class of its evidence; `None` where it is worth none.
pub fn severity_of(alert: &Alert, thresholds: &SeverityThresholds) -> Option<Severity> {
    graded(alert.detector, alert.class, alert.score, thresholds)
}

fn graded(detector: Name, class: EvidenceClass, score: f64, thresholds: &SeverityThresholds) -> Option<Severity> {
    // A return is told however it is weighed: what the kernel put in force again is renewed on that word.
    let least = (detector == Name::Probation).then_some(Severity::Low);
    let severity = severity(score, thresholds).or(least)?;
    Some(match class {
        EvidenceClass::Statistical => severity.min(Severity::Medium),
        EvidenceClass::Behaviour => severity,
    })
}

/// All detectors that are switched on.
#[derive(Debug)]
pub struct Detectors {
    behaviour: Vec<Box<dyn DetectorBox>>,
    baseline: Option<Baseline>,
    supervised: Option<Supervised>,
    /// What makes rows of flows where no model judges.
    plain: Option<Plain>,
    listed: Option<Listed>,
    noticed: notice::Noticed,
    speaker: Speaker,
    /// What those of behaviour were made by.
    by: DetectConfig,
}

/// Makes alerts of findings: stamps, names and signs them, and knows what was said already.
#[derive(Debug)]
struct Speaker {
    voice: Voice,
    clock: Clock,
    mint: Mint,
    sensor: String,
    history: History,
}

/// A detector that can be owned by another thread and shown in a log.
trait DetectorBox: Detector + Send + std::fmt::Debug {}
impl<T: Detector + Send + std::fmt::Debug> DetectorBox for T {}

/// The detectors of behaviour that are switched on, in the order in which they speak.
fn behaviour(config: &Config) -> Vec<Box<dyn DetectorBox>> {
    let (detect, sources, egress) = (&config.detect, config.flow.max_sources, config.kernel.egress);
    let mut on: Vec<Box<dyn DetectorBox>> = Vec::new();
    let mut add = |enabled: bool, make: &dyn Fn() -> Box<dyn DetectorBox>| {
        if enabled {
            on.push(make());
        }
    };
    add(detect.port_scan.enabled, &|| {
        Box::new(PortScan::new(&detect.port_scan, sources))
    });
    add(detect.syn_flood.enabled, &|| {
        Box::new(SynFlood::new(&detect.syn_flood, sources))
    });
    add(detect.packet_flood.enabled, &|| {
        Box::new(PacketFlood::new(&detect.packet_flood, sources, egress))
    });
    add(detect.brute_force.enabled, &|| {
        Box::new(BruteForce::new(&detect.brute_force, sources))
    });
    add(detect.slow_scan.enabled, &|| {
        Box::new(SlowScan::new(&detect.slow_scan, sources))
    });
    add(detect.distributed_brute_force.enabled, &|| {
        Box::new(DistributedBruteForce::new(&detect.distributed_brute_force))
    });
    add(detect.beacon.enabled, &|| {
        Box::new(Beacon::new(&detect.beacon, sources))
    });
    add(detect.dns_tunnel.enabled, &|| {
        Box::new(DnsTunnel::new(&detect.dns_tunnel, sources))
    });
    add(detect.icmp_tunnel.enabled, &|| {
        Box::new(IcmpTunnel::new(&detect.icmp_tunnel, sources, egress))
    });
    add(detect.upload.enabled, &|| {
        Box::new(Upload::new(&detect.upload, sources))
    });
    add(detect.lateral_movement.enabled, &|| {
        Box::new(LateralMovement::new(&detect.lateral_movement, sources))
    });
    add(detect.amplification.enabled, &|| {
        Box::new(Amplification::new(&detect.amplification, sources, egress))
    });
    add(detect.slow_dos.enabled, &|| {
        Box::new(SlowDos::new(&detect.slow_dos, sources, egress))
    });
    on
}

impl Detectors {
    /// The detectors of a configuration; alerts are stamped by `clock`, named by `mint` and signed `sensor`.
    pub fn new(config: &Config, clock: Clock, mint: Mint, sensor: impl Into<String>) -> Self {
        let (detect, sources) = (&config.detect, config.flow.max_sources);
        let behaviour = behaviour(config);
        let mut detectors = Self {
            behaviour,
            baseline: detect
                .baseline
                .enabled
                .then(|| Baseline::new(&detect.baseline, detect.realert_after, sources)),
            supervised: None,
            plain: None,
            listed: None,
            noticed: notice::Noticed::new(detect.realert_after),
            speaker: Speaker {
                voice: Voice::new(detect.realert_after, config.severity_thresholds, sources),
                clock,
                mint,
                sensor: sensor.into(),
                history: History::new(sources),
            },
            by: detect.clone(),
        };
        detectors.set_clock(clock);
        detectors
    }

    /// Sets the relation of the two clocks anew, for alerts to come.
    pub fn set_clock(&mut self, clock: Clock) {
        self.speaker.clock = clock;
        if let Some(baseline) = &mut self.baseline {
            baseline.set_clock(clock);
        }
    }

    /// Has a model judge flows too, if `detect.model.enabled`.
    #[must_use]
    pub fn with_model(mut self, config: &Config, model: Arc<Model>) -> Self {
        let limits = Limits::from(&config.flow);
        let settings = &config.detect.model;
        self.supervised = settings
            .enabled
            .then(|| Supervised::new(settings, &limits, config.kernel.egress, model));
        self
    }

    /// Holds every flow's far end against lists too, if `detect.feed.enabled`.
    #[must_use]
    pub fn with_lists(mut self, config: &Config, lists: Box<dyn Lists>) -> Self {
        self.listed = config.detect.feed.then(|| Listed::new(lists));
        self
    }

    /// Everybody who behaved well lately.
    pub fn good_peers(&self, now: Ktime) -> Peers {
        self.speaker.history.good(now)
    }

    /// Of those, who was heard of within `horizon`.
    pub fn heard_peers(&self, now: Ktime, horizon: Duration) -> Heard {
        self.speaker.history.heard(now, horizon)
    }

    /// Flows with a listed address so far: opened from inside, and from outside.
    pub fn listed_flows(&self) -> [u64; 2] {
        self.listed.as_ref().map_or([0; 2], Listed::flows)
    }

    /// Takes in a record and what the flow table made of it.
    pub fn record(&mut self, record: &FlowRecord, observation: &Observation) -> Vec<Alert> {
        let mut alerts = self.observe(observation);
        if let Some(listed) = &mut self.listed
            && let Some(finding) = listed.observe(observation, &self.speaker.voice)
        {
            alerts.extend(self.speaker.utter(Name::Feed, finding));
        }
        if let Some(supervised) = &mut self.supervised {
            let found = supervised.record(record, observation, &self.speaker.voice);
            alerts.extend(self.speaker.explain(found));
        }
        if let Some(plain) = &mut self.plain {
            plain.record(record, observation);
        }
        self.suspect(&alerts);
        alerts
    }

    /// Nobody who was just accused teaches the model what is benign. An oddity is no accusation: what the model and the
    /// baseline take for odd may well be what is to be learnt.
    fn suspect(&mut self, alerts: &[Alert]) {
        let Some(supervised) = &mut self.supervised else {
            return;
        };
        for alert in alerts {
            if alert.class == EvidenceClass::Behaviour
                && let Some(source) = alert.source
            {
                supervised.suspect(source, alert.evidence_at);
            }
        }
    }

    /// Takes in an observation that no record brought: [`Detectors::record`] takes in those that one did.
    pub fn observe(&mut self, observation: &Observation) -> Vec<Alert> {
        self.speaker.history.note(observation);
        let mut alerts = Vec::new();
        let mut spoke = false;
        for detector in &mut self.behaviour {
            if let Some(finding) = detector.observe(observation, &self.speaker.voice) {
                spoke |= finding.source == Some(observation.source);
                let name = detector.name();
                alerts.extend(self.speaker.utter(name, finding));
            }
        }
        if let Some(baseline) = &mut self.baseline {
            if spoke {
                baseline.freeze(observation.source, observation.at);
            }
            if let Some(finding) = baseline.observe(observation, &self.speaker.voice) {
                let name = baseline.name();
                alerts.extend(self.speaker.utter(name, finding));
            }
        }
        alerts
    }

    /// Lets time pass. Detectors complete their evidence on observations, those of
    /// [`FlowTable::tick`](crate::flow::FlowTable::tick) included, so that nothing falls due here but forgetting what was
    /// said.
    pub fn tick(&mut self, now: Ktime) -> Vec<Alert> {
        self.speaker.voice.forget(now);
        if let Some(plain) = &mut self.plain {
            plain.tick(now);
        }
        let Some(supervised) = &mut self.supervised else {
            return Vec::new();
        };
        let found = supervised.tick(now, &self.speaker.voice);
        let alerts = self.speaker.explain(found);
        self.suspect(&alerts);
        alerts
    }

    /// Gathers benign flows from `now` on.
    pub fn learn(&mut self, now: Ktime) {
        let since = self.speaker.clock.wall(now);
        if let Some(supervised) = &mut self.supervised {
            supervised.collect(since);
        }
    }

    /// Goes on gathering where an earlier run left off.
    pub fn resume_learning(&mut self, collector: Collector) {
        if let Some(supervised) = &mut self.supervised {
            supervised.resume(collector);
        }
    }

    /// What was gathered since this was last asked, with `whole` all of it; `None` while nothing is.
    pub fn gain(&mut self, whole: bool) -> Option<Gain> {
        self.supervised.as_mut()?.gain(whole)
    }

    /// Lets go of what was gathered; whether there was anything.
    pub fn stop_learning(&mut self) -> bool {
        self.supervised.as_mut().is_some_and(Supervised::stop_collecting)
    }

    /// How learn mode is; `None` where no model judges.
    pub fn learning(&self) -> Option<Learning> {
        let supervised = self.supervised.as_ref()?;
        Some(supervised.learning(&self.speaker.clock))
    }

    /// Vectors of the benign flows that were gathered, in the order of time; `None` while none are.
    pub fn gathered(&self) -> Option<Vec<Vector>> {
        Some(self.supervised.as_ref()?.collector()?.vectors())
    }

    /// Says that this network's thresholds were there and cannot be read.
    #[must_use]
    pub fn with_lost(mut self, why: Option<String>) -> Self {
        if let (Some(supervised), Some(why)) = (&mut self.supervised, why) {
            supervised.set_lost(why);
        }
        self
    }

    /// Judges by this model from now on.
    pub fn set_model(&mut self, model: Arc<Model>) {
        if let Some(supervised) = &mut self.supervised {
            supervised.set_model(model);
        }
    }

    /// The model that judges; of the flow records of sources not under suspicion, since it does: judged, suspicious and
    /// more, flagged.
    pub fn judged(&self) -> Option<(&Arc<Model>, [u64; 3])> {
        let supervised = self.supervised.as_ref()?;
        Some((supervised.model(), supervised.judged()))
    }

    /// How the model is, where one judges.
    pub fn model_condition(&self) -> Option<Condition> {
        Some(self.supervised.as_ref()?.condition())
    }

    /// What the builder of vectors had to give up, where there is one.
    pub fn feature_losses(&self) -> Option<FeatureLosses> {
        let plain = self.plain.as_ref().map(Plain::losses);
        self.supervised.as_ref().map(Supervised::losses).or(plain)
    }

    /// Entries held and evicted so far, per detector.
    pub fn loads(&self) -> Vec<(Name, usize, u64)> {
        let behaviour = self.behaviour.iter().map(|d| (d.name(), d.load()));
        let baseline = self.baseline.iter().map(|d| (d.name(), d.load()));
        let supervised = self.supervised.iter().map(|s| (Name::Model, s.load()));
        behaviour
            .chain(baseline)
            .chain(supervised)
            .map(|(n, (held, gone))| (n, held, gone))
            .collect()
    }

    /// Upper bound of the detectors' heap, bytes, whatever the traffic: about 250 MiB with the default limits.
    pub fn memory_bound(config: &Config) -> usize {
        let (detect, sources) = (&config.detect, config.flow.max_sources);
        PortScan::memory_bound(&detect.port_scan, sources)
            + SynFlood::memory_bound(sources)
            + PacketFlood::memory_bound(sources)
            + BruteForce::memory_bound(sources)
            + SlowScan::memory_bound(sources)
            + DistributedBruteForce::memory_bound()
            + Beacon::memory_bound(sources)
            + DnsTunnel::memory_bound(sources)
            + IcmpTunnel::memory_bound(sources)
            + Upload::memory_bound(sources)
            + LateralMovement::memory_bound(sources)
            + Amplification::memory_bound(sources)
            + SlowDos::memory_bound(&detect.slow_dos, sources)
            + Baseline::memory_bound(&detect.baseline, sources)
            + Voice::memory_bound(sources)
            + History::memory_bound(sources)
            + Supervised::memory_bound(&Limits::from(&config.flow))
            + rows::memory_bound()
    }
}

impl Speaker {
    /// Makes alerts of what the model found, each with its score taken apart.
    fn explain(&mut self, found: Vec<(Finding, Explanation)>) -> Vec<Alert> {
        let speak = |(finding, explanation)| {
            let mut alert = self.utter(Name::Model, finding)?;
            alert.explanation = Some(explanation);
            Some(alert)
        };
        found.into_iter().filter_map(speak).collect()
    }

    /// Makes an alert of a finding, if its severity is worth one.
    fn utter(&mut self, detector: Name, mut finding: Finding) -> Option<Alert> {
        let score = score(finding.ratio);
        let severity = graded(detector, finding.class, score, &self.voice.thresholds())?;
        self.voice.said(detector, &finding, severity);
        finding.targets.truncate(MAX_TARGETS);
        let at = self.clock.wall(finding.at);
        let standing = finding.source.map(|ip| self.history.standing(ip, finding.at));
        if finding.class == EvidenceClass::Behaviour
            && let Some(ip) = finding.source
        {
            self.history.accused(ip, detector, finding.at);
        }
        Some(Alert {
            id: self.mint.alert(at),
            at,
            evidence_at: finding.at,
            source: finding.source,
            targets: finding.targets,
            detector,
            family: finding.family,
            technique: finding.technique.into_owned(),
            score,
            severity,
            class: finding.class,
            evidence: finding.evidence,
            summary: finding.summary,
            sensor: self.sensor.clone(),
            standing,
            former: None,
            explanation: None,
        })
    }
}

/// Whether an address is of a private network, the link or this host (RFC 1918, 3927, 4193, 4291, 6598): inside.
fn local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_private() || v4.is_link_local() || v4.is_loopback() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// One row of evidence.
fn row(name: &str, value: f64, threshold: f64, unit: impl Into<String>) -> Evidence {
    Evidence {
        name: name.to_owned(),
        value: (value * 1000.0).round() / 1000.0,
        threshold,
        unit: unit.into(),
    }
}

/// A window as people write it: `60s`, `500ms`.
fn span(window: Duration) -> String {
    if window.subsec_nanos() == 0 {
        format!("{}s", window.as_secs())
    } else {
        format!("{}ms", window.as_millis())
    }
}

/// A service as people write it.
fn place(service: &Service) -> String {
    match service.ip {
        IpAddr::V6(v6) => format!("[{v6}]:{}", service.port),
        IpAddr::V4(v4) => format!("{v4}:{}", service.port),
    }
}
