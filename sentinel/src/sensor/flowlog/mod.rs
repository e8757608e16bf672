//! Logs of flows: Zeek's `conn.log`, with tabs or as JSON, and the binetflow of Argus' `ra`, compressed with gzip or not.
//!
//! What a log tells of a flow is less than its packets: totals of each side, and which TCP flags were seen.

mod argus;
mod error;
#[cfg(test)]
mod tests;
mod zeek;

pub use error::FlowLogError;

use super::pcap::GZIP;
use crate::files::{Meter, Metered};
use flate2::read::MultiGzDecoder;
use sentinel_common::flow::{PROTO_ICMP, PROTO_ICMPV6, PROTO_TCP, PROTO_UDP};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::Path;

/// Flows that are held at most: a log is sorted before anything is made of it.
const MOST: usize = 10_000_000;
/// The longest line, bytes.
const LONGEST: u64 = 1 << 20;
/// Packets that all flows of a log may have: each is played.
const PACKETS: u64 = 1_000_000_000;
/// No count of a flow is larger: a petabyte, and sums of it have room.
const COUNT: u64 = 1_000_000_000_000_000;
/// Labels that are told apart at most.
const LABELS: usize = 1000;
/// The longest a flow may be said to last: a century, s.
const LONG: u64 = 3_200_000_000;

/// One side of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Side {
    /// Packets it sent.
    pub packets: u64,
    /// L3 bytes of these.
    pub bytes: u64,
    /// L4 payload bytes of these.
    pub payload: u64,
    /// TCP flags that were seen in any of these.
    pub flags: u8,
}

/// A line of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedFlow {
    /// Its first packet, ns since 1970.
    pub start_ns: u64,
    /// From the first packet to the last, ns.
    pub lasted_ns: u64,
    /// TCP, UDP or ICMP.
    pub proto: u8,
    /// Who opened it, and whom it was opened to, with their ports; of ICMP as [`sentinel_common::packet::PacketMeta`] has them.
    pub ends: [(IpAddr, u16); 2],
    /// What each of them sent.
    pub sides: [Side; 2],
    /// Which of [`FlowLog::labels`] it has.
    pub label: u32,
}

/// A log as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowLog {
    /// Its flows, by their beginning.
    pub flows: Vec<LoggedFlow>,
    /// What the log calls them: label and, where it has one, a finer one. Both empty where it has none.
    pub labels: Vec<(String, String)>,
    /// Lines about other protocols than TCP, UDP and ICMP, or without a packet.
    pub left_out: u64,
}

/// What a line says, as text. Columns that a log need not have are empty where it has none.
struct Line<'a> {
    path: &'a Path,
    number: usize,
}

impl Line<'_> {
    fn fault(&self, cause: impl Into<String>) -> FlowLogError {
        FlowLogError::Line {
            path: self.path.to_owned(),
            line: self.number,
            cause: cause.into(),
        }
    }

    fn address(&self, text: &str) -> Result<IpAddr, FlowLogError> {
        text.parse()
            .map_err(|_| self.fault(format!("`{text}` is no IP address; have the log written without names")))
    }

    /// A time as whole nanoseconds since 1970.
    fn since_1970(&self, name: &str, text: &str, nanos: i128) -> Result<u64, FlowLogError> {
        let nanos = u64::try_from(nanos).ok().filter(|nanos| *nanos < LONG * 1_000_000_000);
        nanos.ok_or_else(|| self.fault(format!("{name} is `{text}`, no time between 1970 and 2071")))
    }

    /// A count; nothing, and what logs write for it, is none.
    fn count(&self, name: &str, text: &str) -> Result<u64, FlowLogError> {
        if matches!(text, "" | "-") {
            return Ok(0);
        }
        let count: Option<u64> = text.parse().ok();
        let count = count.filter(|count| *count <= COUNT);
        count.ok_or_else(|| {
            self.fault(format!(
                "{name} is `{text}`, no count of packets or bytes; is the line damaged?"
            ))
        })
    }

    /// Seconds as nanoseconds.
    fn nanos(&self, name: &str, text: &str) -> Result<u64, FlowLogError> {
        if matches!(text, "" | "-") {
            return Ok(0);
        }
        let nanos = decimal(text).or_else(|| {
            let seconds = text.parse().ok().filter(|s| (0.0..LONG as f64).contains(s));
            seconds.map(|seconds: f64| (seconds * 1e9).round() as u64)
        });
        nanos.ok_or_else(|| self.fault(format!("{name} is `{text}`, no time in seconds")))
    }
}

/// Nanoseconds of seconds with a point, to the digit: as a floating-point number the time of day has steps of 238 ns.
fn decimal(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let seconds: u64 = whole.parse().ok().filter(|s| digits(whole) && *s < LONG)?;
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanos: u64 = nine.parse().ok().filter(|_| digits(fraction))?;
    Some(seconds * 1_000_000_000 + nanos)
}

/// Labels by number.
#[derive(Debug, Default)]
struct Labels {
    numbers: BTreeMap<(String, String), u32>,
    all: Vec<(String, String)>,
}

impl Labels {
    fn number(&mut self, label: &str, detail: &str, line: &Line<'_>) -> Result<u32, FlowLogError> {
        let none = |text: &str| matches!(text, "-" | "(empty)");
        let clean = |text: &str| if none(text) { String::new() } else { text.to_owned() };
        let label = (clean(label), clean(detail));
        if let Some(number) = self.numbers.get(&label) {
            return Ok(*number);
        }
        if self.all.len() == LABELS {
            return Err(line.fault(format!(
                "the log has more than {LABELS} different labels: is that column one of labels?"
            )));
        }
        let number = self.all.len() as u32;
        self.numbers.insert(label.clone(), number);
        self.all.push(label);
        Ok(number)
    }

    /// The flow that a line told of, if it told of one, with the number of its label.
    fn labelled(&mut self, told: Option<Told<'_>>, line: &Line<'_>) -> Result<Option<LoggedFlow>, FlowLogError> {
        let Some(Told { flow, label, detail }) = told else {
            return Ok(None);
        };
        let label = self.number(label, detail, line)?;
        Ok(Some(LoggedFlow { label, ..flow }))
    }
}

/// What a line of either kind comes to.
#[derive(Clone, Copy)]
struct Told<'a> {
    flow: LoggedFlow,
    label: &'a str,
    detail: &'a str,
}

/// Of whose lines a log consists.
enum Format {
    ZeekTabs(zeek::Columns),
    ZeekJson,
    Argus(argus::Columns),
}

impl FlowLog {
    /// Reads a log.
    ///
    /// # Errors
    /// [`FlowLogError`]: nothing of a log is used that has a line which cannot be read.
    pub fn read(path: &Path, meter: &Meter) -> Result<Self, FlowLogError> {
        let io = |source| FlowLogError::Io {
            path: path.to_owned(),
            source,
        };
        let file = Metered(File::open(path).map_err(io)?, meter.clone());
        let mut reader = BufReader::new(file);
        let packed = reader.fill_buf().map_err(io)?.starts_with(&GZIP);
        let bytes: Box<dyn Read> = if packed {
            Box::new(MultiGzDecoder::new(reader))
        } else {
            Box::new(reader)
        };
        Self::of(path, bytes, MOST)
    }

    /// A log from whatever its bytes come from, with so many flows at most.
    fn of(path: &Path, bytes: impl Read, most: usize) -> Result<Self, FlowLogError> {
        let mut reader = BufReader::new(bytes);
        let (mut log, mut labels) = (Self::default(), Labels::default());
        let (mut format, mut zeek) = (None, zeek::Header::default());
        let mut raw = Vec::new();
        let (mut number, mut packets) = (0, 0_u64);
        loop {
            raw.clear();
            number += 1;
            let at = Line { path, number };
            let read = (&mut reader).take(LONGEST).read_until(b'\n', &mut raw);
            let read = read.map_err(|source| FlowLogError::Broken {
                path: path.to_owned(),
                line: number,
                source,
            })?;
            if read == 0 {
                break;
            }
            if read as u64 == LONGEST {
                return Err(at.fault("it is longer than a mebibyte, and no line of a log is"));
            }
            let text = std::str::from_utf8(&raw)
                .map_err(|_| at.fault("it is no UTF-8 text: give a log of flows, compressed with gzip or not"))?;
            let text = text.trim_end_matches(['\r', '\n']);
            if text.trim().is_empty() {
                continue;
            }
            if text.starts_with('#') {
                if let Some(columns) = zeek.line(text, &at)? {
                    format = Some(Format::ZeekTabs(columns));
                }
                continue;
            }
            let told = match &format {
                None if text.starts_with('{') => {
                    format = Some(Format::ZeekJson);
                    zeek::json(text, &at, &mut labels)?
                }
                None => {
                    format = Some(Format::Argus(argus::Columns::of(text, &at)?));
                    continue;
                }
                Some(Format::ZeekJson) => zeek::json(text, &at, &mut labels)?,
                Some(Format::ZeekTabs(columns)) => labels.labelled(columns.flow(text, &at)?, &at)?,
                Some(Format::Argus(columns)) => labels.labelled(columns.flow(text, &at)?, &at)?,
            };
            match told.filter(|flow| flow.sides.iter().any(|side| side.packets > 0)) {
                None => log.left_out += 1,
                Some(_) if log.flows.len() == most => {
                    return Err(FlowLogError::TooLong {
                        path: path.to_owned(),
                        most,
                    });
                }
                Some(flow) => {
                    packets = flow.sides.iter().fold(packets, |sum, side| sum + side.packets);
                    if packets > PACKETS {
                        return Err(at.fault(format!(
                            "with this flow the log has more than {PACKETS} packets; split it, by the day for example"
                        )));
                    }
                    log.flows.push(flow);
                }
            }
        }
        if format.is_none() {
            return Err(FlowLogError::Empty { path: path.to_owned() });
        }
        let mut connections = log.flows.iter().filter(|flow| flow.proto == PROTO_TCP).peekable();
        if matches!(format, Some(Format::Argus(_)))
            && connections.peek().is_some()
            && connections.all(|flow| flow.sides.iter().all(|side| side.flags == 0))
        {
            return Err(FlowLogError::Flags { path: path.to_owned() });
        }
        // Logs are in the order in which flows ended.
        log.flows.sort_by_key(|flow| flow.start_ns);
        log.labels = labels.all;
        Ok(log)
    }
}

/// The number of a protocol that has flows here, by its name in a log.
fn protocol(name: &str, source: IpAddr) -> Option<u8> {
    match name {
        "tcp" | "6" => Some(PROTO_TCP),
        "udp" | "17" => Some(PROTO_UDP),
        "icmp" | "1" if source.is_ipv4() => Some(PROTO_ICMP),
        "icmp" | "icmp6" | "ipv6-icmp" | "58" => Some(PROTO_ICMPV6),
        _ => None,
    }
}
