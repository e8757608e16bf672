//! The lines that `ra` of Argus writes, as CTU-13 and its kin have them (binetflow).

use super::{FlowLogError, Line, LoggedFlow, Side, Told, protocol};
use sentinel_common::flow::{PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP};
use sentinel_common::packet::{TCP_ACK, TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG, icmp_ports};
use std::net::IpAddr;

/// Columns without which there is no flow.
const NEEDED: [&str; 11] = [
    "StartTime",
    "Dur",
    "Proto",
    "SrcAddr",
    "Sport",
    "Dir",
    "DstAddr",
    "Dport",
    "State",
    "TotPkts",
    "TotBytes",
];
const MEND: &str = "have it written: ra -u -n -Z b -c , -s stime dur proto saddr sport dir daddr dport state pkts bytes \
    sbytes spkts sappbytes dappbytes";
/// Argus counts frames: an Ethernet header each.
const ETHERNET: u64 = 14;
/// Headers of a packet, where a log does not tell of its payload (`argus -A` would): IPv4 with TCP, or with UDP or ICMP, bytes.
const HEADERS: [u64; 2] = [40, 28];
/// What an IPv6 header is longer by.
const LONGER: u64 = 20;

/// Where columns stand.
pub(super) struct Columns {
    separator: char,
    needed: [usize; NEEDED.len()],
    source_bytes: usize,
    source_packets: Option<usize>,
    payloads: Option<[usize; 2]>,
    label: Option<usize>,
}

impl Columns {
    /// By the line of names, the first.
    pub(super) fn of(text: &str, line: &Line<'_>) -> Result<Self, FlowLogError> {
        let separator = if text.contains('\t') { '\t' } else { ',' };
        let names: Vec<&str> = text.split(separator).map(str::trim).collect();
        if !names.contains(&NEEDED[0]) {
            return Err(FlowLogError::Format {
                path: line.path.to_owned(),
                begins: text.chars().take(40).collect(),
            });
        }
        let place = |name: &str| names.iter().position(|n| *n == name);
        let find = |name: &'static str| {
            place(name).ok_or_else(|| FlowLogError::Column {
                path: line.path.to_owned(),
                name,
                mend: MEND,
            })
        };
        let mut needed = [0; NEEDED.len()];
        for (at, name) in NEEDED.into_iter().enumerate() {
            needed[at] = find(name)?;
        }
        Ok(Self {
            separator,
            needed,
            source_bytes: find("SrcBytes")?,
            source_packets: place("SrcPkts"),
            payloads: place("SAppBytes").zip(place("DAppBytes")).map(<[usize; 2]>::from),
            label: place("Label"),
        })
    }

    /// The flow of a line; none where it is one of other protocols.
    pub(super) fn flow<'a>(&self, text: &'a str, line: &Line<'_>) -> Result<Option<Told<'a>>, FlowLogError> {
        let all: Vec<&str> = text.split(self.separator).map(str::trim).collect();
        let value = |name: &str, at: usize| {
            let value = all.get(at).copied();
            value.ok_or_else(|| line.fault(format!("no value for `{name}`: the line is cut short")))
        };
        let mut needed = [""; NEEDED.len()];
        for (at, name) in NEEDED.into_iter().enumerate() {
            needed[at] = value(name, self.needed[at])?;
        }
        let [
            start,
            lasted,
            proto,
            source,
            source_port,
            way,
            target,
            target_port,
            state,
            packets,
            bytes,
        ] = needed;
        // Others than these have no addresses of IP.
        if protocol(proto, IpAddr::from([0; 4])).is_none() {
            return Ok(None);
        }
        let (source, target) = (line.address(source)?, line.address(target)?);
        let Some(proto) = protocol(proto, source) else {
            return Ok(None);
        };
        let (packets, bytes) = (line.count("TotPkts", packets)?, line.count("TotBytes", bytes)?);
        let source_bytes = line
            .count("SrcBytes", value("SrcBytes", self.source_bytes)?)?
            .min(bytes);
        let source_packets = match self.source_packets {
            Some(at) => line.count("SrcPkts", value("SrcPkts", at)?)?.min(packets),
            None => share(packets, source_bytes, bytes),
        };
        let flags = if proto == PROTO_TCP { flags(state) } else { [0; 2] };
        let told = match self.payloads {
            Some(at) => [
                line.count("SAppBytes", value("SAppBytes", at[0])?)?,
                line.count("DAppBytes", value("DAppBytes", at[1])?)?,
            ],
            None => [0; 2],
        };
        let side = |number: usize, packets: u64, bytes: u64| {
            let (flags, bytes) = (flags[number], bytes.saturating_sub(packets * ETHERNET));
            let headers = HEADERS[usize::from(proto != PROTO_TCP)] + if source.is_ipv6() { LONGER } else { 0 };
            let payload = if told != [0; 2] {
                told[number].min(bytes)
            } else if proto == PROTO_TCP && flags & TCP_PSH == 0 {
                // What is longer than its headers then has options.
                0
            } else {
                bytes.saturating_sub(packets * headers)
            };
            Side {
                packets,
                bytes,
                payload,
                flags,
            }
        };
        let mut ends = if matches!(proto, PROTO_ICMP | PROTO_ICMPV6) {
            let (kind, code) = message(source_port, line)?;
            let ports = icmp_ports(proto, kind, code);
            [(source, ports.0), (target, ports.1)]
        } else {
            [(source, port(source_port, line)?), (target, port(target_port, line)?)]
        };
        let mut sides = [
            side(0, source_packets, source_bytes),
            side(1, packets - source_packets, bytes - source_bytes),
        ];
        if way == "<-" {
            ends.reverse();
            sides.reverse();
        }
        Ok(Some(Told {
            flow: LoggedFlow {
                start_ns: time(start, line)?,
                lasted_ns: line.nanos("Dur", lasted)?,
                proto,
                ends,
                sides,
                label: 0,
            },
            label: self.label.and_then(|at| all.get(at).copied()).unwrap_or_default(),
            detail: "",
        }))
    }
}

/// How many of the packets the source sent, where a log tells of its bytes alone.
fn share(packets: u64, source_bytes: u64, bytes: u64) -> u64 {
    let most = packets.saturating_sub(u64::from(source_bytes < bytes));
    let even = u128::from(packets) * u128::from(source_bytes) / u128::from(bytes.max(1));
    (even as u64).max(u64::from(source_bytes > 0)).min(most)
}

/// TCP flags of the two sides: `FSPA_FSPA`. What is no such state (`CON`, `INT`) has none.
fn flags(state: &str) -> [u8; 2] {
    let side = |text: &str| {
        text.chars().fold(0, |flags, letter| {
            flags
                | match letter {
                    'F' => TCP_FIN,
                    'S' => TCP_SYN,
                    'R' => TCP_RST,
                    'P' => TCP_PSH,
                    'A' => TCP_ACK,
                    'U' => TCP_URG,
                    _ => 0,
                }
        })
    };
    let (source, target) = state.split_once('_').unwrap_or_default();
    [side(source), side(target)]
}

/// A port, as a decimal number or a hexadecimal one; none where there is none.
fn port(text: &str, line: &Line<'_>) -> Result<u16, FlowLogError> {
    let number = match text.strip_prefix("0x") {
        Some(hex) => u16::from_str_radix(hex, 16).ok(),
        None if text.is_empty() => Some(0),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| line.fault(format!("`{text}` is no port (`ra -n` writes numbers)")))
}

/// Type and code of ICMP: both in one hexadecimal number, the type in the low byte, or the type alone.
fn message(text: &str, line: &Line<'_>) -> Result<(u8, u8), FlowLogError> {
    let [code, kind] = port(text, line)?.to_be_bytes();
    Ok((kind, code))
}

/// `2011/08/10 09:46:53.047277`, taken for UTC: the log does not say of which zone it is.
fn time(text: &str, line: &Line<'_>) -> Result<u64, FlowLogError> {
    if let Ok(nanos) = line.nanos("StartTime", text) {
        return Ok(nanos);
    }
    let time = jiff::civil::DateTime::strptime("%Y/%m/%d %H:%M:%S%.f", text)
        .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC));
    match time {
        Ok(time) => line.since_1970("StartTime", text, time.timestamp().as_nanosecond()),
        Err(_) => Err(line.fault(format!(
            "StartTime is `{text}`, no time such as 1312969613.047277, as `ra -u` writes it, or 2011/08/10 09:46:53.047277"
        ))),
    }
}
