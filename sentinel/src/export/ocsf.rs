//! Events of the Open Cybersecurity Schema Framework (schema.ocsf.io, 1.3.0), ours under `unmapped`.

use super::community;
use super::eve;
use super::event::{Dropped, Happening, Observer, Technique, Totals, has_ports, protocol, technique};
use crate::types::{Alert, Clock, Decision, FlowEnd, FlowState, Severity, Timestamp};
use sentinel_common::addr::Addr;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Version of the schema.
const VERSION: &str = "1.3.0";

/// A happening as an event.
pub(super) fn event(of: &Happening, by: &Observer) -> Value {
    let mut event = match of {
        Happening::Alert(alert, decision) => finding(alert, decision.as_deref()),
        Happening::Flow(flow, clock) => flowed(flow, *clock),
        Happening::Drop(dropped) => denied(dropped),
        Happening::Stats(totals) => counted(totals),
    };
    event["time"] = millis(of.at());
    let mut metadata = json!({
        "version": VERSION,
        "product": { "name": "Sentinel", "vendor_name": "Sentinel", "version": by.version },
        "log_name": of.kind(),
    });
    if let Some(id) = of.id() {
        metadata["uid"] = json!(id);
    }
    if event.get("action_id").is_some() {
        metadata["profiles"] = json!(["security_control"]);
    }
    event["metadata"] = metadata;
    event["unmapped"]["host"] = json!(by.host);
    event
}

/// What every event begins with; `type_uid` is that of its class and activity together.
fn class((category, category_name): (u32, &str), (class, name): (u32, &str), activity: (u32, &str)) -> Value {
    json!({
        "category_uid": category,
        "category_name": category_name,
        "class_uid": class,
        "class_name": name,
        "activity_id": activity.0,
        "activity_name": activity.1,
        "type_uid": class * 100 + activity.0,
        "type_name": format!("{name}: {}", activity.1),
        "severity_id": 1,
        "severity": "Informational",
    })
}

const NETWORK: (u32, &str) = (4, "Network Activity");
const NETWORK_ACTIVITY: (u32, &str) = (4001, "Network Activity");

fn finding(alert: &Alert, decision: Option<&Decision>) -> Value {
    let mut event = class((2, "Findings"), (2004, "Detection Finding"), (1, "Create"));
    let (severity, name) = match alert.severity {
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
    };
    event["severity_id"] = json!(severity);
    event["severity"] = json!(name);
    event["status_id"] = json!(1);
    event["status"] = json!("New");
    event["message"] = json!(alert.summary);
    event["risk_score"] = json!((alert.score * 100.0).round() as i64);
    event["finding_info"] = json!({
        "uid": alert.id,
        "title": alert.technique,
        "desc": alert.summary,
        "types": [alert.family.as_str()],
        "created_time": millis(alert.at),
        "analytic": { "name": alert.detector.as_str(), "uid": alert.detector.as_str(), "type_id": 2, "type": "Behavioral" },
    });
    if let Some(Technique {
        id,
        name,
        tactic,
        tactic_name,
    }) = technique(alert)
    {
        event["finding_info"]["attacks"] = json!([{
            "tactic": { "uid": tactic, "name": tactic_name },
            "technique": { "uid": id, "name": name },
        }]);
    }
    let mut observables = Vec::new();
    let mut evidences = Vec::new();
    if let Some(source) = alert.source {
        observables.push(observable("evidences.src_endpoint.ip", source));
    }
    for target in &alert.targets {
        let mut evidence = json!({
            "dst_endpoint": { "ip": target.ip, "port": target.port },
            "connection_info": connection(target.ip, target.proto),
        });
        if let Some(source) = alert.source {
            evidence["src_endpoint"] = json!({ "ip": source });
        }
        evidences.push(evidence);
    }
    if let (true, Some(source)) = (evidences.is_empty(), alert.source) {
        evidences.push(json!({ "src_endpoint": { "ip": source } }));
    }
    if !evidences.is_empty() {
        event["evidences"] = json!(evidences);
    }
    if !observables.is_empty() {
        event["observables"] = json!(observables);
    }
    event["unmapped"] = json!({ "evidence": alert.evidence, "class": alert.class, "score": alert.score });
    if let Some(decision) = decision {
        event["unmapped"]["decision"] = json!({
            "id": decision.id,
            "action": decision.action.as_str(),
            "target": decision.target,
            "status": decision.status,
            "simulated": decision.simulated,
        });
    }
    event
}

fn flowed(flow: &FlowEnd, clock: Clock) -> Value {
    let activity = match flow.state {
        FlowState::Closed => (2, "Close"),
        _ => (6, "Traffic"),
    };
    let mut event = class(NETWORK, NETWORK_ACTIVITY, activity);
    let number = flow.target.proto;
    let (source, target) = (Addr::from(flow.source), Addr::from(flow.target.ip));
    let mut connection = connection(flow.target.ip, number);
    let (direction, name) = if flow.from_inside {
        (2, "Outbound")
    } else {
        (1, "Inbound")
    };
    connection["direction_id"] = json!(direction);
    connection["direction"] = json!(name);
    connection["community_uid"] = json!(community::id(
        (source, flow.source_port),
        (target, flow.target.port),
        number
    ));
    event["connection_info"] = connection;
    event["src_endpoint"] = json!({ "ip": flow.source });
    event["dst_endpoint"] = json!({ "ip": flow.target.ip });
    if has_ports(number) {
        event["src_endpoint"]["port"] = json!(flow.source_port);
        event["dst_endpoint"]["port"] = json!(flow.target.port);
    }
    event["start_time"] = millis(clock.wall(flow.started));
    event["end_time"] = millis(clock.wall(flow.last));
    event["duration"] = json!(flow.last.since(flow.started).as_millis() as u64);
    // Out and in as the initiator has them.
    event["traffic"] = json!({
        "bytes": flow.bytes_ahead + flow.bytes_back,
        "bytes_out": flow.bytes_ahead,
        "bytes_in": flow.bytes_back,
        "packets": flow.packets_ahead + flow.packets_back,
        "packets_out": flow.packets_ahead,
        "packets_in": flow.packets_back,
    });
    event["unmapped"] = json!({ "state": flow.state.as_str() });
    event
}

fn denied(dropped: &Dropped) -> Value {
    let mut event = class(NETWORK, NETWORK_ACTIVITY, (6, "Traffic"));
    let host = dropped.target.prefix_len() == dropped.target.max_prefix_len();
    event["src_endpoint"] = if host {
        json!({ "ip": dropped.target.addr() })
    } else {
        json!({ "name": dropped.target.to_string() })
    };
    event["action_id"] = json!(2);
    event["action"] = json!("Denied");
    event["disposition_id"] = json!(2);
    event["disposition"] = json!("Blocked");
    event["traffic"] = json!({ "packets": dropped.packets, "bytes": dropped.bytes });
    event["unmapped"] = json!({
        "decision": dropped.decision,
        "target": dropped.target,
        "reason": dropped.action.as_str(),
        "packets_total": dropped.total,
        "simulated": false,
    });
    event
}

/// No class is about totals: they are a base event.
fn counted(totals: &Totals) -> Value {
    let mut event = class((0, "Uncategorized"), (0, "Base Event"), (99, "Other"));
    event["unmapped"] = json!({ "stats": eve::details(totals), "uptime": totals.uptime.as_secs() });
    event
}

fn connection(ip: IpAddr, number: u8) -> Value {
    let (version, name) = if ip.is_ipv4() {
        (4, "Internet Protocol version 4 (IPv4)")
    } else {
        (6, "Internet Protocol version 6 (IPv6)")
    };
    let mut connection = json!({
        "protocol_num": number,
        "protocol_ver_id": version,
        "protocol_ver": name,
        "direction_id": 0,
        "direction": "Unknown",
    });
    if let Some(name) = protocol(number) {
        connection["protocol_name"] = json!(name);
    }
    connection
}

fn observable(name: &str, ip: IpAddr) -> Value {
    json!({ "name": name, "type_id": 2, "type": "IP Address", "value": ip })
}

fn millis(at: Timestamp) -> Value {
    json!(at.0 / 1_000_000)
}
