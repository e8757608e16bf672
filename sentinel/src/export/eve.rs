//! Lines of `eve.json`: Suricata's names for what they cover, ours under `sentinel`.

use super::community;
use super::event::{Dropped, Happening, Observer, Totals};
use crate::types::{Alert, Clock, Decision, DecisionId, FlowEnd, Ktime, Severity, Timestamp};
use sentinel_common::addr::Addr;
use sentinel_common::flow::{
    FlowKey, FlowValue, PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP, STATE_CLOSED, STATE_HANDSHAKE,
    STATE_OPENED_BY_EGRESS,
};
use sentinel_common::packet::PacketMeta;
use serde::Serialize;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::net::IpAddr;

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Event(Value);

impl Event {
    /// A flow that ended, initiator first.
    pub fn flow(at: Timestamp, clock: Clock, key: &FlowKey, value: &FlowValue) -> Self {
        let outgoing = value.state & STATE_OPENED_BY_EGRESS != 0;
        let (opener, other) = if outgoing {
            (&value.egress, &value.ingress)
        } else {
            (&value.ingress, &value.egress)
        };
        // A flow that begins with a SYN-ACK was opened by the other side.
        let answered = opener.synack > 0 && opener.syn == 0 && other.synack == 0;
        let (ahead, back) = if answered { (other, opener) } else { (opener, other) };
        let (remote, local) = ((key.remote, key.remote_port), (key.local, key.local_port));
        let (source, target) = if outgoing == answered {
            (remote, local)
        } else {
            (local, remote)
        };
        let first = [ahead.first_ns, back.first_ns]
            .into_iter()
            .filter(|t| *t > 0)
            .min()
            .unwrap_or(0);
        let state = if value.state & STATE_CLOSED != 0 {
            "closed"
        } else if value.state & STATE_HANDSHAKE != 0 || ahead.packets > 0 && back.packets > 0 {
            "established"
        } else {
            "new"
        };
        let mut line = base("flow", at, source, target, key.proto);
        line["flow_id"] = json!(flow_id(source, target, key.proto, first));
        line["flow"] = json!({
            "pkts_toserver": ahead.packets,
            "pkts_toclient": back.packets,
            "bytes_toserver": ahead.bytes,
            "bytes_toclient": back.bytes,
            "start": clock.wall(Ktime(first)),
            "end": clock.wall(Ktime(value.last_ns())),
            "age": value.last_ns().saturating_sub(first) / 1_000_000_000,
            "state": state,
        });
        Self(line)
    }

    /// An alert, and what it led to.
    pub fn alert(alert: &Alert, decision: Option<&Decision>) -> Self {
        let severity = match alert.severity {
            Severity::High => 1,
            Severity::Medium => 2,
            Severity::Low => 3,
        };
        let mut line = json!({ "timestamp": alert.at, "event_type": "alert" });
        if let Some(source) = alert.source {
            line["src_ip"] = json!(source);
        }
        if let Some(target) = alert.targets.first() {
            line["dest_ip"] = json!(target.ip);
            line["dest_port"] = json!(target.port);
            line["proto"] = json!(proto(target.proto));
        }
        line["alert"] = json!({
            "action": "allowed",
            "signature": alert.technique,
            "category": alert.family,
            "severity": severity,
        });
        line["sentinel"] = json!({ "alert": alert, "decision": decision.map(|d| d.id) });
        Self(line)
    }

    /// The first packet of a flow that met a decision.
    pub fn drop(at: Timestamp, packet: &PacketMeta, decision: DecisionId, reason: &str, simulated: bool) -> Self {
        let (source, target) = ((packet.src, packet.src_port), (packet.dst, packet.dst_port));
        let mut line = base("drop", at, source, target, packet.proto);
        line["drop"] = json!({ "len": packet.l3_len, "reason": reason });
        line["sentinel"] = json!({ "decision": decision, "simulated": simulated });
        Self(line)
    }

    /// Totals.
    pub fn stats(at: Timestamp, totals: &impl Serialize) -> Self {
        Self(
            json!({ "timestamp": at, "event_type": "stats", "stats": serde_json::to_value(totals).unwrap_or_default() }),
        )
    }

    /// Writes it as one line.
    ///
    /// # Errors
    /// Whatever the writer says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &self.0)?;
        out.write_all(b"\n")
    }
}

/// A line of a running agent. Its times are in Suricata's form (`+0000`), which its schema asks for and readers of EVE
/// expect; what `replay` writes has RFC 3339's.
pub fn live(of: &Happening, by: &Observer) -> Value {
    let mut line = match of {
        Happening::Alert(alert, decision) => Event::alert(alert, decision.as_deref()).0,
        Happening::Flow(flow, clock) => ended(flow, *clock),
        Happening::Drop(dropped) => dropped_line(dropped),
        Happening::Stats(totals) => totals_line(totals),
    };
    line["sentinel"]["host"] = json!(by.host);
    suricata_time(&mut line["timestamp"]);
    if let Some(flow) = line.get_mut("flow") {
        suricata_time(&mut flow["start"]);
        suricata_time(&mut flow["end"]);
    }
    line
}

/// `…Z` as `…+0000`.
fn suricata_time(time: &mut Value) {
    if let Some(text) = time.as_str().and_then(|text| text.strip_suffix('Z')) {
        *time = json!(format!("{text}+0000"));
    }
}

fn ended(flow: &FlowEnd, clock: Clock) -> Value {
    let (source, target) = (Addr::from(flow.source), Addr::from(flow.target.ip));
    let (source, target) = ((source, flow.source_port), (target, flow.target.port));
    let number = flow.target.proto;
    let mut line = base("flow", clock.wall(flow.last), source, target, number);
    line["flow_id"] = json!(flow_id(source, target, number, flow.started.0));
    line["flow"] = json!({
        "pkts_toserver": flow.packets_ahead,
        "pkts_toclient": flow.packets_back,
        "bytes_toserver": flow.bytes_ahead,
        "bytes_toclient": flow.bytes_back,
        "start": clock.wall(flow.started),
        "end": clock.wall(flow.last),
        "age": flow.last.since(flow.started).as_secs(),
        "state": flow.state.as_str(),
    });
    line
}

/// What was dropped under a decision; a prefix is no address, and stands under `sentinel` only.
fn dropped_line(dropped: &Dropped) -> Value {
    let mut line = json!({ "timestamp": dropped.at, "event_type": "drop" });
    if dropped.target.prefix_len() == dropped.target.max_prefix_len() {
        line["src_ip"] = json!(dropped.target.addr());
    }
    line["drop"] = json!({ "reason": dropped.action.as_str() });
    line["sentinel"] = json!({
        "decision": dropped.decision,
        "simulated": false,
        "target": dropped.target,
        "packets": dropped.packets,
        "bytes": dropped.bytes,
        "packets_total": dropped.total,
        "first": dropped.first,
    });
    line
}

fn totals_line(totals: &Totals) -> Value {
    json!({
        "timestamp": totals.at,
        "event_type": "stats",
        "stats": { "uptime": totals.uptime.as_secs(), "capture": { "kernel_packets": totals.packets() } },
        "sentinel": details(totals),
    })
}

/// Totals under our own names.
pub(super) fn details(totals: &Totals) -> Value {
    json!({
        "counters": totals.counters,
        "maps": totals.maps,
        "flows_active": totals.flows_active,
        "sources_active": totals.sources_active,
        "lost": totals.lost,
    })
}

fn base(kind: &str, at: Timestamp, source: (Addr, u16), target: (Addr, u16), number: u8) -> Value {
    let mut line = json!({
        "timestamp": at,
        "event_type": kind,
        "src_ip": IpAddr::from(source.0),
        "src_port": source.1,
        "dest_ip": IpAddr::from(target.0),
        "dest_port": target.1,
        "proto": proto(number),
    });
    line["community_id"] = json!(community::id(source, target, number));
    line
}

fn proto(number: u8) -> String {
    match number {
        PROTO_TCP => "TCP".to_owned(),
        PROTO_UDP => "UDP".to_owned(),
        PROTO_ICMP => "ICMP".to_owned(),
        PROTO_ICMPV6 => "IPv6-ICMP".to_owned(),
        other => other.to_string(),
    }
}

/// A number for the flow, stable from run to run: FNV-1a over its key and beginning, 53 bits so that any JSON reader
/// keeps it.
fn flow_id(source: (Addr, u16), target: (Addr, u16), proto: u8, first_ns: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let parts = [
        &source.0.0[..],
        &source.1.to_be_bytes(),
        &target.0.0,
        &target.1.to_be_bytes(),
        &[proto],
        &first_ns.to_be_bytes(),
    ];
    for byte in parts.into_iter().flatten() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash >> 11
}
