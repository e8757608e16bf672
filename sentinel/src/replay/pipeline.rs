//! The rooms in a row, driven by the packets' own time.

use super::pace::{Pace, STEP, STEPS, Stamp};
use super::{ModelGate, Summary};
use crate::config::{Config, Mode, SeverityThresholds};
use crate::decide::{Guards, Judge};
use crate::detect::Detectors;
use crate::export::eve;
use crate::flow::{FlowTable, ModelFlows, Observation};
use crate::investigate::{Recent, Weigher, risk};
use crate::model::Model;
use crate::respond::{Enforcer, entry_of};
use crate::types::{Alert, Clock, Decision, DecisionId, DecisionStatus, Ktime, Mint, Protected, Timestamp};
use ipnet::IpNet;
use sentinel_common::entry::{AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{Direction, FlowKey, FlowValue};
use sentinel_common::packet::{PacketMeta, ParseError, parse_ethernet};
use sentinel_common::verdict::Verdict;
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Pairs of decision and flow that a `drop` event was written for; beyond it drops are only counted.
const DROPS: usize = 100_000;

/// How often the judge is told who behaved well lately.
const PEERS: Duration = Duration::from_secs(5);

/// A decision with what it met.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Outcome {
    #[serde(flatten)]
    decision: Decision,
    hits: u64,
    hit_bytes: u64,
    would_hits: u64,
    would_bytes: u64,
}

/// Everything between a frame and a verdict.
#[derive(Debug)]
pub struct Pipeline {
    kernel: ModelFlows,
    gate: ModelGate,
    table: FlowTable,
    detectors: Detectors,
    guards: Guards,
    recent: Recent,
    risk_thresholds: SeverityThresholds,
    judge: Judge,
    peers_at: Ktime,
    clock: Clock,
    idle_timeout: Duration,
    pace: Pace,
    summary: Summary,
    alerts: Vec<Alert>,
    outcomes: BTreeMap<DecisionId, Outcome>,
    order: Vec<DecisionId>,
    dropped: HashSet<(DecisionId, FlowKey)>,
    events: Vec<eve::Event>,
}

impl Pipeline {
    /// The rooms as a configuration wants them, the allowlist in guards and gate.
    pub fn new(config: &Config) -> Self {
        let kernel = &config.kernel;
        let enforce = config.mode == Mode::Production;
        let mut gate = ModelGate::new(kernel.block_capacity, kernel.block_net_capacity, enforce);
        let mut protected = Vec::new();
        for net in &config.allowlist {
            let entry = AllowEntry {
                expires_ns: NEVER_NS,
                prefix_len: net.prefix_len(),
                pad: [0; 7],
            };
            // An allowlist beyond the map's capacity still holds in the guards.
            let _ = gate.put_allow(net.trunc(), &entry);
            protected.push(Protected {
                target: *net,
                guard: "allowlist".to_owned(),
                reason: "on the allowlist of the configuration".to_owned(),
            });
        }
        let clock = Clock::default();
        Self {
            kernel: ModelFlows::new(kernel.flow_capacity as usize, kernel.report_interval),
            gate,
            table: FlowTable::new(&config.flow),
            detectors: Detectors::new(&whole(config), clock, Mint::Counted(0), "pcap"),
            guards: Guards::new(protected),
            recent: Recent::default(),
            risk_thresholds: config.risk_thresholds,
            judge: Judge::new(&whole(config).response, config.mode, Mint::Counted(0)),
            peers_at: Ktime::default(),
            clock,
            idle_timeout: config.flow.idle_timeout,
            pace: Pace::default(),
            summary: Summary::default(),
            alerts: Vec::new(),
            outcomes: BTreeMap::new(),
            order: Vec::new(),
            dropped: HashSet::new(),
            events: Vec::new(),
        }
    }

    /// Has a model judge flows too, if `detect.model.enabled`.
    #[must_use]
    pub fn with_model(mut self, config: &Config, model: Arc<Model>) -> Self {
        self.detectors = self.detectors.with_model(&whole(config), model);
        self
    }

    /// Takes in a frame stamped `at_ns` (ns since 1970).
    pub fn frame(&mut self, at_ns: u64, bytes: &[u8], wire_len: u32) {
        let now = self.advance(Ktime(at_ns));
        self.summary.packets += 1;
        self.summary.bytes += u64::from(wire_len);
        let packet = match parse_ethernet(&bytes) {
            Ok(packet) => packet,
            Err(error) => {
                let reason = match error {
                    ParseError::NotIp => "not_ip",
                    ParseError::Truncated => "truncated",
                    ParseError::Malformed | ParseError::Mapped => "malformed",
                    ParseError::TooDeep => "too_deep",
                };
                *self.summary.unread.entry(reason).or_default() += 1;
                return;
            }
        };
        let direction = self.kernel.direction(&packet);
        let verdict = self.pass(&packet, direction, wire_len, now);
        if verdict.drops() {
            return;
        }
        let allowed = Some(verdict == Verdict::PassAllowed).filter(|_| direction == Direction::Ingress);
        let told = self.kernel.packet(&packet, direction, allowed, now);
        if let Some((key, value)) = told.evicted {
            self.flow_ended(&key, &value, now);
        }
        for record in &told.records {
            self.record(record);
        }
    }

    /// Events since the last call, for the caller to drain.
    pub fn events(&mut self) -> &mut Vec<eve::Event> {
        &mut self.events
    }

    /// Alerts so far.
    pub fn alerts(&self) -> &[Alert] {
        &self.alerts
    }

    /// Decisions so far, in the order they were first taken.
    pub fn taken(&self) -> impl Iterator<Item = &Decision> {
        self.order
            .iter()
            .filter_map(|id| self.outcomes.get(id))
            .map(|o| &o.decision)
    }

    /// Lets the last waits run out, ends every flow, and counts.
    pub fn finish(&mut self, file: String, problem: Option<String>) -> Summary {
        if let Some(end) = self.pace.now() {
            self.step_to(Ktime(end.0.saturating_add(u64::from(STEPS) * STEP.as_nanos() as u64)));
            while let Some((key, value)) = self.kernel.pop_idle(Ktime(u64::MAX)) {
                self.flow_ended(&key, &value, end);
            }
            self.summary.end = Some(self.clock.wall(end));
        }
        self.read_back();
        self.summary.file = file;
        self.summary.complete = problem.is_none();
        self.summary.problem = problem;
        self.summary.flows = self.kernel.created();
        let statuses = self.outcomes.values().map(|o| o.decision.status);
        self.summary.decisions = statuses.fold(BTreeMap::new(), |mut counts, status| {
            *counts.entry(name(status)).or_default() += 1;
            counts
        });
        self.count_losses();
        if let Some(end) = self.summary.end {
            self.events.push(eve::Event::stats(end, &self.summary));
        }
        self.summary.clone()
    }

    /// Decisions with what they met, in the order they were first taken.
    pub(super) fn decisions(&self) -> Vec<&Outcome> {
        self.order.iter().filter_map(|id| self.outcomes.get(id)).collect()
    }

    /// The time a packet counts at; what is due before it is seen to.
    fn advance(&mut self, at: Ktime) -> Ktime {
        let (now, stamp) = self.pace.stamp(at);
        match stamp {
            Stamp::First => self.summary.start = Some(self.clock.wall(now)),
            Stamp::InOrder => {}
            Stamp::Reordered => self.summary.out_of_order += 1,
            Stamp::Stepped => self.summary.clock_steps += 1,
        }
        self.step_to(now);
        now
    }

    /// Lets time pass in steps up to `to`.
    fn step_to(&mut self, to: Ktime) {
        let mut taken = 0;
        while let Some(at) = self.pace.step(to, &mut taken) {
            self.step(at);
        }
    }

    fn step(&mut self, now: Ktime) {
        for record in self.kernel.sweep(now) {
            self.record(&record);
        }
        for observation in self.table.tick(now) {
            self.observe(&observation);
        }
        for alert in self.detectors.tick(now) {
            self.alert(alert, now);
        }
        for ended in self.judge.expire(self.clock.wall(now)) {
            self.ended(ended);
        }
        let horizon = Ktime(now.0.saturating_sub(self.idle_timeout.as_nanos() as u64));
        while let Some((key, value)) = self.kernel.pop_idle(horizon) {
            self.flow_ended(&key, &value, now);
        }
    }

    fn record(&mut self, record: &FlowRecord) {
        self.summary.records += 1;
        if let Some(observation) = self.table.apply(record) {
            let alerts = self.detectors.record(record, &observation);
            self.alerts_at(alerts, observation.at);
        }
    }

    fn observe(&mut self, observation: &Observation) {
        let alerts = self.detectors.observe(observation);
        self.alerts_at(alerts, observation.at);
    }

    fn alerts_at(&mut self, alerts: Vec<Alert>, at: Ktime) {
        for alert in alerts {
            let now = self.pace.now().unwrap_or(alert.evidence_at);
            self.alert(alert, now.max(at));
        }
    }

    fn alert(&mut self, alert: Alert, now: Ktime) {
        *self.summary.alerts.entry(alert.detector.as_str()).or_default() += 1;
        *self.summary.severities.entry(alert.severity.as_str()).or_default() += 1;
        let now = self.clock.wall(now);
        let local = self.recent.take(&alert);
        let risk = risk(&local, &[], &Weigher::new(), &self.risk_thresholds, now);
        self.meet_peers(alert.evidence_at);
        let decision = self.judge.judge(&alert, &risk, &self.guards, now);
        self.events.push(eve::Event::alert(&alert, decision.as_ref()));
        self.alerts.push(alert);
        let mut next = decision;
        while let Some(decision) = next {
            next = self.judge.widen(&decision, None, &self.guards, now);
            self.decided(decision);
        }
    }

    /// Tells the judge who behaved well, as often as the agent does.
    fn meet_peers(&mut self, now: Ktime) {
        if now.since(self.peers_at) >= PEERS || self.peers_at == Ktime::default() {
            self.peers_at = now;
            self.judge.set_peers(Arc::new(self.detectors.good_peers(now)));
        }
    }

    /// Carries a decision out on the model, and reads back.
    fn decided(&mut self, mut decision: Decision) {
        if let Some(veto) = &decision.veto {
            *self.summary.vetoes.entry(veto.guard.clone()).or_default() += 1;
        }
        if decision.status == DecisionStatus::Active {
            let entry = entry_of(&decision, self.clock);
            let written = self.gate.put_block(decision.target, &entry).is_ok();
            let there = self.gate.get_block(decision.target).ok().flatten();
            if !(written && there.is_some_and(|e| e.same_order(&entry)))
                && let Some(failed) = self.judge.fail(decision.id)
            {
                decision = failed;
            }
        }
        self.remember(decision, None);
    }

    fn ended(&mut self, decision: Decision) {
        let entry = self.gate.delete_block(decision.target).ok().flatten();
        self.remember(decision, entry);
    }

    fn remember(&mut self, decision: Decision, entry: Option<BlockEntry>) {
        let id = decision.id;
        let known = self.outcomes.get(&id).cloned();
        if known.is_none() {
            self.order.push(id);
        }
        let entry = entry.unwrap_or_default();
        let known = known.as_ref();
        self.outcomes.insert(
            id,
            Outcome {
                hits: known.map_or(0, |o| o.hits).max(entry.hits),
                hit_bytes: known.map_or(0, |o| o.hit_bytes).max(entry.hit_bytes),
                would_hits: known.map_or(0, |o| o.would_hits).max(entry.would_hits),
                would_bytes: known.map_or(0, |o| o.would_bytes).max(entry.would_bytes),
                decision,
            },
        );
    }

    /// Takes over the counters of entries still in the gate.
    fn read_back(&mut self) {
        for (_, entry) in self.gate.list_blocks().unwrap_or_default() {
            let id = DecisionId(uuid::Uuid::from_bytes(entry.decision));
            if let Some(decision) = self.outcomes.get(&id).map(|o| o.decision.clone()) {
                self.remember(decision, Some(entry));
            }
        }
    }

    fn pass(&mut self, packet: &PacketMeta, direction: Direction, wire_len: u32, now: Ktime) -> Verdict {
        let (verdict, by) = self.gate.judge(packet, u64::from(wire_len), now.0);
        *self.summary.verdicts.entry(verdict.as_str()).or_default() += 1;
        // What goes to the honeypot, or would, is neither dropped nor would be.
        if let Some(target) = by
            && !matches!(verdict, Verdict::Redirect | Verdict::WouldRedirect)
        {
            self.drop_event(packet, direction, target, verdict, self.clock.wall(now));
        }
        verdict
    }

    /// One `drop` event per decision and flow.
    fn drop_event(&mut self, packet: &PacketMeta, direction: Direction, by: IpNet, verdict: Verdict, at: Timestamp) {
        let Ok(Some(entry)) = self.gate.get_block(by) else {
            return;
        };
        let id = DecisionId(uuid::Uuid::from_bytes(entry.decision));
        let key = FlowKey::of(packet, direction);
        if self.dropped.len() >= DROPS || !self.dropped.insert((id, key)) {
            return;
        }
        let reason = match verdict {
            Verdict::DropLimit | Verdict::WouldLimit => "rate limit",
            _ => "block list",
        };
        self.events
            .push(eve::Event::drop(at, packet, id, reason, !verdict.drops()));
    }

    fn flow_ended(&mut self, key: &FlowKey, value: &FlowValue, now: Ktime) {
        self.events
            .push(eve::Event::flow(self.clock.wall(now), self.clock, key, value));
    }

    fn count_losses(&mut self) {
        let losses = self.table.losses();
        let mut rows = vec![
            ("flow/flows_evicted".to_owned(), losses.flows),
            ("flow/sources_evicted".to_owned(), losses.sources),
            ("flow/unjudged".to_owned(), losses.unjudged),
        ];
        for (detector, _, evicted) in self.detectors.loads() {
            rows.push((format!("detect/{}_evicted", detector.as_str()), evicted));
        }
        self.summary.lost = rows.into_iter().filter(|(_, count)| *count > 0).collect();
    }
}

/// A capture shows both directions, whatever the kernel would be told to watch, and nobody in it can be probed: decisions
/// about prefixes need no confirmation.
fn whole(config: &Config) -> Config {
    let mut config = config.clone();
    config.kernel.egress = true;
    config.response.policy.confirm.window = Duration::ZERO;
    config
}

/// The name a status has on the wire.
fn name(status: DecisionStatus) -> String {
    let text = serde_json::to_value(status).ok();
    text.and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
