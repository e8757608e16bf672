//! Documents in the Elastic Common Schema (elastic.co/guide/en/ecs, 8.11), ours under `sentinel`.

use super::community;
use super::eve;
use super::event::{Dropped, Happening, Observer, Technique, Totals, has_ports, protocol, technique};
use crate::types::{Alert, Clock, Decision, FlowEnd, FlowState, Severity};
use sentinel_common::addr::Addr;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Version of the schema.
const VERSION: &str = "8.11.0";

/// A happening as a document.
pub(super) fn document(of: &Happening, by: &Observer) -> Value {
    let mut document = match of {
        Happening::Alert(alert, decision) => alerted(alert, decision.as_deref()),
        Happening::Flow(flow, clock) => flowed(flow, *clock),
        Happening::Drop(dropped) => denied(dropped),
        Happening::Stats(totals) => counted(totals),
    };
    document["@timestamp"] = json!(of.at());
    document["ecs"] = json!({ "version": VERSION });
    document["event"]["module"] = json!("sentinel");
    document["event"]["dataset"] = json!(format!("sentinel.{}", of.kind()));
    document["observer"] = json!({
        "vendor": "Sentinel",
        "product": "Sentinel",
        "type": "ids",
        "version": by.version,
        "hostname": by.host,
    });
    document
}

fn alerted(alert: &Alert, decision: Option<&Decision>) -> Value {
    // The numbers that Elastic's own detection rules have for low, medium and high.
    let severity = match alert.severity {
        Severity::Low => 21,
        Severity::Medium => 47,
        Severity::High => 73,
    };
    let mut document = json!({
        "message": alert.summary,
        "event": {
            "kind": "alert",
            "category": ["intrusion_detection", "network"],
            "type": ["info"],
            "id": alert.id,
            "action": alert.detector.as_str(),
            "severity": severity,
            "risk_score": alert.score * 100.0,
            "reason": alert.summary,
        },
        "rule": { "name": alert.technique, "id": alert.detector.as_str(), "category": alert.family.as_str(), "ruleset": "sentinel" },
        "sentinel": {
            "alert": {
                "detector": alert.detector.as_str(),
                "family": alert.family.as_str(),
                "severity": alert.severity.as_str(),
                "class": alert.class,
                "score": alert.score,
                "evidence": alert.evidence,
                "targets": alert.targets,
            },
        },
    });
    let mut related = Vec::new();
    if let Some(source) = alert.source {
        document["source"] = json!({ "ip": source, "address": source });
        related.push(source);
    }
    if let Some(target) = alert.targets.first() {
        document["destination"] = json!({ "ip": target.ip, "address": target.ip, "port": target.port });
        document["network"] = network(target.ip, target.proto);
    }
    for target in &alert.targets {
        if !related.contains(&target.ip) {
            related.push(target.ip);
        }
    }
    document["related"] = json!({ "ip": related });
    if let Some(Technique {
        id,
        name,
        tactic,
        tactic_name,
    }) = technique(alert)
    {
        document["threat"] = json!({
            "framework": "MITRE ATT&CK",
            "tactic": { "id": [tactic], "name": [tactic_name] },
            "technique": { "id": [id], "name": [name] },
        });
    }
    if let Some(decision) = decision {
        document["sentinel"]["decision"] = json!({
            "id": decision.id,
            "action": decision.action.as_str(),
            "target": decision.target,
            "status": decision.status,
            "simulated": decision.simulated,
        });
    }
    document
}

fn flowed(flow: &FlowEnd, clock: Clock) -> Value {
    let number = flow.target.proto;
    let (source, target) = (Addr::from(flow.source), Addr::from(flow.target.ip));
    let mut network = network(flow.target.ip, number);
    network["bytes"] = json!(flow.bytes_ahead + flow.bytes_back);
    network["packets"] = json!(flow.packets_ahead + flow.packets_back);
    network["direction"] = json!(if flow.from_inside { "egress" } else { "ingress" });
    network["community_id"] = json!(community::id(
        (source, flow.source_port),
        (target, flow.target.port),
        number
    ));
    let mut document = json!({
        "event": {
            "kind": "event",
            "category": ["network"],
            "type": if flow.state == FlowState::New { json!(["end"]) } else { json!(["connection", "end"]) },
            "action": "flow_ended",
            "start": clock.wall(flow.started),
            "end": clock.wall(flow.last),
            "duration": flow.last.since(flow.started).as_nanos() as u64,
        },
        "source": {
            "ip": flow.source,
            "address": flow.source,
            "bytes": flow.bytes_ahead,
            "packets": flow.packets_ahead,
        },
        "destination": {
            "ip": flow.target.ip,
            "address": flow.target.ip,
            "bytes": flow.bytes_back,
            "packets": flow.packets_back,
        },
        "network": network,
        "related": { "ip": [flow.source, flow.target.ip] },
        "sentinel": { "flow": { "state": flow.state.as_str() } },
    });
    if has_ports(number) {
        document["source"]["port"] = json!(flow.source_port);
        document["destination"]["port"] = json!(flow.target.port);
    }
    document
}

fn denied(dropped: &Dropped) -> Value {
    let mut document = json!({
        "event": {
            "kind": "event",
            "category": ["network"],
            "type": ["denied"],
            "action": dropped.action.as_str(),
        },
        "source": { "address": dropped.target.to_string() },
        "network": { "packets": dropped.packets, "bytes": dropped.bytes },
        "sentinel": {
            "decision": { "id": dropped.decision, "target": dropped.target, "simulated": false },
            "drop": { "packets_total": dropped.total, "first": dropped.first },
        },
    });
    if dropped.target.prefix_len() == dropped.target.max_prefix_len() {
        let ip = dropped.target.addr();
        document["source"] = json!({ "ip": ip, "address": ip });
        document["related"] = json!({ "ip": [ip] });
    }
    document
}

fn counted(totals: &Totals) -> Value {
    json!({
        "event": { "kind": "metric", "action": "totals" },
        "sentinel": { "stats": eve::details(totals), "uptime": totals.uptime.as_secs() },
    })
}

fn network(ip: IpAddr, number: u8) -> Value {
    let mut network = json!({
        "type": if ip.is_ipv4() { "ipv4" } else { "ipv6" },
        "iana_number": number.to_string(),
    });
    if let Some(name) = protocol(number) {
        network["transport"] = json!(name);
    }
    network
}
