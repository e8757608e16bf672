//! Zeek's conn.log (docs.zeek.org, `base/protocols/conn/main.zeek`).

use super::{FlowLogError, Labels, Line, LoggedFlow, Side, Told, protocol};
use sentinel_common::flow::{PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP};
use sentinel_common::packet::{TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, icmp_ports};
use serde_json::{Map, Value};

/// Columns without which there is no flow, and those of the rest that are read.
const NEEDED: [&str; 13] = [
    "ts",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "proto",
    "duration",
    "orig_bytes",
    "resp_bytes",
    "orig_pkts",
    "orig_ip_bytes",
    "resp_pkts",
    "resp_ip_bytes",
];
const MEND: &str = "Zeek writes it where its policies do not take it out";

/// The values of a line in the order of [`NEEDED`], and its history and labels.
struct Values<'a> {
    needed: [&'a str; NEEDED.len()],
    history: &'a str,
    label: &'a str,
    detail: &'a str,
}

impl<'a> Values<'a> {
    fn flow(&self, start_ns: u64, line: &Line<'_>) -> Result<Option<Told<'a>>, FlowLogError> {
        let [
            _,
            source,
            source_port,
            target,
            target_port,
            proto,
            duration,
            sent,
            answered,
            packets,
            bytes,
            back,
            back_bytes,
        ] = self.needed;
        let (source, target) = (line.address(source)?, line.address(target)?);
        let Some(proto) = protocol(proto, source) else {
            return Ok(None);
        };
        let port = |name, text| {
            let port = line.count(name, text)?;
            u16::try_from(port).map_err(|_| line.fault(format!("{name} is {port}, no port")))
        };
        let mut ports = (port("id.orig_p", source_port)?, port("id.resp_p", target_port)?);
        if matches!(proto, PROTO_ICMP | PROTO_ICMPV6) {
            // Type and code stand where ports do.
            ports = icmp_ports(proto, ports.0 as u8, ports.1 as u8);
        }
        let flags = if proto == PROTO_TCP {
            flags(self.history)
        } else {
            [0; 2]
        };
        let side = |names: [&str; 3], [packets, bytes, payload]: [&str; 3], flags| -> Result<Side, FlowLogError> {
            let bytes = line.count(names[1], bytes)?;
            Ok(Side {
                packets: line.count(names[0], packets)?,
                bytes,
                // By sequence numbers, which may have run further than what was seen.
                payload: line.count(names[2], payload)?.min(bytes),
                flags,
            })
        };
        Ok(Some(Told {
            flow: LoggedFlow {
                start_ns,
                lasted_ns: line.nanos("duration", duration)?,
                proto,
                ends: [(source, ports.0), (target, ports.1)],
                sides: [
                    side(
                        ["orig_pkts", "orig_ip_bytes", "orig_bytes"],
                        [packets, bytes, sent],
                        flags[0],
                    )?,
                    side(
                        ["resp_pkts", "resp_ip_bytes", "resp_bytes"],
                        [back, back_bytes, answered],
                        flags[1],
                    )?,
                ],
                label: 0,
            },
            label: self.label,
            detail: self.detail,
        }))
    }
}

/// TCP flags by a connection's history: capitals are the originator's, small letters the responder's.
fn flags(history: &str) -> [u8; 2] {
    let mut flags = [0; 2];
    for letter in history.chars() {
        let side = usize::from(letter.is_ascii_lowercase());
        flags[side] |= match letter.to_ascii_lowercase() {
            's' => TCP_SYN,
            'h' => TCP_SYN | TCP_ACK,
            'a' | 'd' => TCP_ACK,
            'f' => TCP_FIN | TCP_ACK,
            'r' => TCP_RST,
            _ => 0,
        };
    }
    flags
}

/// What the lines of `#` say before the columns are known.
pub(super) struct Header {
    separator: char,
}

impl Default for Header {
    fn default() -> Self {
        Self { separator: '\t' }
    }
}

impl Header {
    /// Takes in a line of `#`; gives the columns where it names them.
    pub(super) fn line(&mut self, text: &str, line: &Line<'_>) -> Result<Option<Columns>, FlowLogError> {
        if let Some(separator) = text.strip_prefix("#separator ") {
            let number = separator.strip_prefix("\\x").map(|hex| u8::from_str_radix(hex, 16));
            self.separator = match (number, separator.chars().next()) {
                (Some(Ok(number)), _) => char::from(number),
                (None, Some(one)) if separator.chars().count() == 1 => one,
                _ => return Err(line.fault(format!("the separator `{separator}` is none: Zeek writes `\\x09`"))),
            };
            return Ok(None);
        }
        let Some(names) = text.strip_prefix("#fields") else {
            return Ok(None);
        };
        let names = split(names.trim_start_matches(self.separator), self.separator);
        let place = |name: &str| names.iter().position(|n| *n == name);
        let mut needed = [0; NEEDED.len()];
        for (at, name) in NEEDED.into_iter().enumerate() {
            needed[at] = place(name).ok_or_else(|| FlowLogError::Column {
                path: line.path.to_owned(),
                name,
                mend: MEND,
            })?;
        }
        Ok(Some(Columns {
            separator: self.separator,
            needed,
            history: place("history"),
            label: place("label"),
            detail: place("detailedlabel").or_else(|| place("detailed-label")),
        }))
    }
}

/// Where columns stand.
pub(super) struct Columns {
    separator: char,
    needed: [usize; NEEDED.len()],
    history: Option<usize>,
    label: Option<usize>,
    detail: Option<usize>,
}

impl Columns {
    /// The flow of a line; none where it is one of other protocols.
    pub(super) fn flow<'a>(&self, text: &'a str, line: &Line<'_>) -> Result<Option<Told<'a>>, FlowLogError> {
        let all = split(text, self.separator);
        let mut needed = [""; NEEDED.len()];
        for (at, value) in needed.iter_mut().enumerate() {
            *value = all
                .get(self.needed[at])
                .ok_or_else(|| line.fault(format!("no value for `{}`: the line is cut short", NEEDED[at])))?;
        }
        let other = |place: Option<usize>| place.and_then(|at| all.get(at).copied()).unwrap_or_default();
        let values = Values {
            needed,
            history: other(self.history),
            label: other(self.label),
            detail: other(self.detail),
        };
        values.flow(line.nanos("ts", needed[0])?, line)
    }
}

/// The values of a line. The labels of the Stratosphere laboratory's IoT-23 are set apart from the last value, and from each
/// other, by three spaces.
fn split(text: &str, separator: char) -> Vec<&str> {
    let mut values: Vec<&str> = text.split(separator).collect();
    let last = values.pop().unwrap_or_default();
    values.extend(last.split("   "));
    values.into_iter().map(str::trim).collect()
}

/// The flow of a line of JSON; none where it is one of other protocols.
pub(super) fn json(text: &str, line: &Line<'_>, labels: &mut Labels) -> Result<Option<LoggedFlow>, FlowLogError> {
    let members: Map<String, Value> =
        serde_json::from_str(text).map_err(|e| line.fault(format!("no object of JSON: {e}")))?;
    let text = |name: &str| match members.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => String::new(),
    };
    let needed: [String; NEEDED.len()] = NEEDED.map(&text);
    // Zeek leaves out what is not set, such as a duration.
    for name in &NEEDED[..6] {
        if !members.contains_key(*name) {
            return Err(line.fault(format!("it has no `{name}`: is it a line of conn.log?")));
        }
    }
    // Both forms of JSON that Zeek writes: seconds, or ISO 8601.
    let start_ns = match needed[0].parse::<jiff::Timestamp>() {
        Ok(time) => line.since_1970("ts", &needed[0], time.as_nanosecond())?,
        Err(_) => line.nanos("ts", &needed[0])?,
    };
    let (history, label) = (text("history"), text("label"));
    let detail = [text("detailedlabel"), text("detailed-label")].concat();
    let values = Values {
        needed: needed.each_ref().map(String::as_str),
        history: &history,
        label: &label,
        detail: &detail,
    };
    labels.labelled(values.flow(start_ns, line)?, line)
}
