//! What Bettercap says, as text, to what it means.
//!
//! One event is `{"tag", "time", "data"}` (its `session.Event`). What is read of `data`: of `net.sniff.*` either a `packet`
//! object or the summary (`protocol`, `from`, `to`, `data.Size`), of `endpoint.*`, `wifi.*` and `ble.*` who was seen. All
//! of it is hostile: whoever sends a packet writes part of the text.

use super::lenient::{Object, Text};
use super::services::Services;
use crate::types::{Sighting, SightingKind, Timestamp};
use sentinel_common::flow::{PROTO_TCP, PROTO_UDP};
use serde::Deserialize;
use std::borrow::Cow;
use std::net::IpAddr;

/// Longest name that is kept of who was seen, characters.
const NAME: usize = 64;

/// The name of this sensor.
const SENSOR: &str = "bettercap";

/// What an event means.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// A packet.
    Packet(Packet),
    /// A packet of which only the application's words are told.
    Words(Words),
    /// Somebody was seen, or is gone.
    Sighting(Box<Sighting>),
    /// Nothing that is judged.
    Other,
}

/// A packet, as far as it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet {
    /// When it was captured, ns since 1970, by the clock of Bettercap's machine.
    pub at_ns: i64,
    /// Sender.
    pub src: IpAddr,
    /// Receiver.
    pub dst: IpAddr,
    /// Port of the sender; 0 where the protocol has none.
    pub src_port: u16,
    /// Port of the receiver.
    pub dst_port: u16,
    /// IP protocol number.
    pub proto: u8,
    /// Length of the L4 header and what follows it, bytes.
    pub l4_len: u32,
    /// TCP flags, where they are told: raw packets only.
    pub flags: Option<u8>,
}

/// A packet of which Bettercap tells the application's words in place of its ports and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Words {
    /// When it was captured, ns since 1970.
    pub at_ns: i64,
    /// Sender: an address Bettercap read from the packet.
    pub src: IpAddr,
    /// Receiver, where that is an address; in a request it is what the client wrote into it, and so may be a lie.
    pub dst: Option<IpAddr>,
    /// It answers.
    pub answer: bool,
}

/// Why an event cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Malformed {
    /// It is no JSON, or no event.
    #[error("it is no event in JSON")]
    Json,
    /// Its time cannot be read.
    #[error("its time cannot be read")]
    Time,
    /// Sender or receiver are no addresses.
    #[error("its addresses cannot be read")]
    Address,
    /// A port is neither a number nor a known service.
    #[error("its ports cannot be read")]
    Port,
    /// Its length is missing or impossible.
    #[error("its length cannot be read")]
    Length,
}

impl Malformed {
    /// As a label of metrics.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Time => "time",
            Self::Address => "address",
            Self::Port => "port",
            Self::Length => "length",
        }
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow)]
    tag: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(borrow, default)]
    data: Object<Data<'a>>,
}

/// What is read of `data`, of whatever event it is.
#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    time: Text<'a>,
    #[serde(borrow, default)]
    protocol: Text<'a>,
    #[serde(borrow, default)]
    from: Text<'a>,
    #[serde(borrow, default)]
    to: Text<'a>,
    #[serde(borrow, default, rename = "data")]
    inner: Object<Size<'a>>,
    #[serde(borrow, default)]
    packet: Object<RawPacket<'a>>,
    #[serde(borrow, default)]
    mac: Text<'a>,
    #[serde(borrow, default)]
    ipv4: Text<'a>,
    #[serde(borrow, default)]
    ipv6: Text<'a>,
    #[serde(borrow, default)]
    hostname: Text<'a>,
    #[serde(borrow, default)]
    name: Text<'a>,
    #[serde(borrow, default)]
    alias: Text<'a>,
    #[serde(borrow, default)]
    essid: Text<'a>,
    #[serde(borrow, default)]
    vendor: Text<'a>,
    #[serde(borrow, default, rename = "Client")]
    client: Object<Who<'a>>,
}

/// Of a summary: how long the packet was.
#[derive(Deserialize)]
struct Size<'a> {
    #[serde(borrow, default, rename = "Size")]
    size: Text<'a>,
}

/// The client of a `wifi.client.*` event.
#[derive(Deserialize)]
struct Who<'a> {
    #[serde(borrow, default)]
    mac: Text<'a>,
    #[serde(borrow, default)]
    hostname: Text<'a>,
    #[serde(borrow, default)]
    vendor: Text<'a>,
}

/// A raw packet, under the names that tools give its fields.
#[derive(Deserialize)]
struct RawPacket<'a> {
    #[serde(borrow, default, alias = "timestamp")]
    time: Text<'a>,
    #[serde(borrow, default, alias = "proto")]
    protocol: Text<'a>,
    #[serde(borrow, default, alias = "source", alias = "src_ip", alias = "from")]
    src: Text<'a>,
    #[serde(borrow, default, alias = "destination", alias = "dst_ip", alias = "to")]
    dst: Text<'a>,
    #[serde(borrow, default, alias = "sport", alias = "srcport", alias = "source_port")]
    src_port: Text<'a>,
    #[serde(borrow, default, alias = "dport", alias = "dstport", alias = "destination_port")]
    dst_port: Text<'a>,
    #[serde(borrow, default, alias = "len", alias = "size")]
    length: Text<'a>,
    #[serde(borrow, default)]
    flags: Text<'a>,
}

/// An event, and how to know it again.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heard<'a> {
    pub(super) event: Event,
    /// When Bettercap made it, ns since 1970: its history is in this order.
    pub(super) stamp_ns: i64,
    /// What makes it this event and no other.
    pub(super) identity: &'a [u8],
}

/// Reads one event.
pub(super) fn read<'a>(text: &'a str, services: &Services) -> Result<Heard<'a>, Malformed> {
    let raw: Raw<'_> = serde_json::from_str(text).map_err(|_| Malformed::Json)?;
    let stamp_ns = time(raw.time.get())?;
    let (event, whole) = match (&raw.data.0, raw.tag.strip_prefix("net.sniff.")) {
        (None, _) => (Event::Other, true),
        (Some(data), Some(kind)) => {
            let event = match &data.packet {
                Object(Some(packet)) => Event::Packet(raw_packet(packet, data.time.get(), stamp_ns, services)?),
                Object(None) => summary(kind, data, stamp_ns, services)?,
            };
            (event, true)
        }
        // Who was seen is a pointer in Bettercap's history: told again, it says when it was seen last.
        (Some(data), None) => (sighting(&raw.tag, data, stamp_ns), false),
    };
    let head = if whole { None } else { text.split("\"data\"").next() };
    Ok(Heard {
        event,
        stamp_ns,
        identity: head.unwrap_or(text).as_bytes(),
    })
}

fn time(text: Option<&str>) -> Result<i64, Malformed> {
    let text = text.ok_or(Malformed::Time)?;
    if let Some(at) = utc(text.as_bytes()) {
        return Ok(at);
    }
    let at: Timestamp = text.parse().map_err(|_| Malformed::Time)?;
    Ok(at.0)
}

/// `2026-11-29T07:10:53.993100646Z` as ns since 1970: the form Go writes on a machine that keeps UTC, and most of the time it
/// takes to read an event. Whatever else it may be is read by the library.
fn utc(text: &[u8]) -> Option<i64> {
    let (head, rest) = text.split_at_checked(19)?;
    let number = |digits: &[u8]| {
        digits.iter().try_fold(0_i64, |sum, digit| {
            digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0'))
        })
    };
    let [b'-', b'-', b'T', b':', b':'] = [head[4], head[7], head[10], head[13], head[16]] else {
        return None;
    };
    let (year, month, day) = (number(&head[..4])?, number(&head[5..7])?, number(&head[8..10])?);
    let (hour, minute, second) = (number(&head[11..13])?, number(&head[14..16])?, number(&head[17..])?);
    let fraction = rest.strip_suffix(b"Z")?;
    let nanos = match fraction.split_first() {
        None => 0,
        Some((b'.', digits)) if (1..=9).contains(&digits.len()) => {
            number(digits)? * 10_i64.pow(9 - digits.len() as u32)
        }
        _ => return None,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        _ => 31,
    };
    let good = (1970..2170).contains(&year) && (1..=12).contains(&month) && (1..=longest).contains(&day);
    if !good || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Howard Hinnant's `days_from_civil`; within two centuries nothing overflows.
    let shifted = if month > 2 { year } else { year - 1 };
    let (era, of_era) = (shifted / 400, shifted % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60_000_000_000 + second * 1_000_000_000 + nanos)
}

fn proto(name: &str) -> Option<u8> {
    Some(match name {
        "tcp" | "TCP" => PROTO_TCP,
        "udp" | "UDP" => PROTO_UDP,
        "sctp" | "SCTP" => 132,
        "UDPLite" => 136,
        other => other.parse().ok()?,
    })
}

/// The time of the packet, or else of the event.
fn captured(text: Option<&str>, stamp_ns: i64) -> Result<i64, Malformed> {
    text.map_or(Ok(stamp_ns), |text| time(Some(text)))
}

fn summary(kind: &str, data: &Data<'_>, stamp_ns: i64, services: &Services) -> Result<Event, Malformed> {
    let (from, to) = (plain(data.from.get()), plain(data.to.get()));
    let (from, to) = (from.as_ref(), to.as_ref());
    let at_ns = captured(data.time.get(), stamp_ns)?;
    let Some(proto) = data.protocol.get().and_then(proto) else {
        return Ok(words(kind, from, to, at_ns));
    };
    let with_ports = matches!(proto, PROTO_TCP | PROTO_UDP);
    let end = |text: &str| {
        if with_ports {
            let (ip, port) = text.rsplit_once(':').ok_or(Malformed::Address)?;
            let port = services.port(proto, port).ok_or(Malformed::Port)?;
            Ok((address(ip)?, port))
        } else {
            Ok((address(text)?, 0))
        }
    };
    let ((src, src_port), (dst, dst_port)) = (end(from)?, end(to)?);
    let size = data.inner.0.as_ref().and_then(|data| data.size.get());
    Ok(Event::Packet(Packet {
        at_ns,
        src,
        dst,
        src_port,
        dst_port,
        proto,
        l4_len: length(size)?,
        flags: None,
    }))
}

/// Events of protocols that Bettercap reads on: `http.request`, `https`, `ftp` and others.
fn words(kind: &str, from: &str, to: &str, at_ns: i64) -> Event {
    let bare = |text: &str| -> Option<IpAddr> {
        text.parse().ok().or_else(|| {
            let (ip, _) = text.rsplit_once(':')?;
            ip.parse().ok()
        })
    };
    // Of those over UDP (dns, mdns, upnp, krb5) the asking packet is not told, so there is no flow to add to.
    let over_tcp = matches!(
        kind,
        "http.request" | "http.response" | "https" | "ftp" | "ntlm.challenge" | "ntlm.response" | "ntlm.authenticate"
    );
    match bare(from).filter(|_| over_tcp) {
        Some(src) => Event::Words(Words {
            at_ns,
            src,
            dst: bare(to),
            answer: matches!(kind, "http.response" | "ntlm.challenge"),
        }),
        None => Event::Other,
    }
}

fn raw_packet(
    packet: &RawPacket<'_>,
    when: Option<&str>,
    stamp_ns: i64,
    services: &Services,
) -> Result<Packet, Malformed> {
    let proto = packet.protocol.get().and_then(proto).ok_or(Malformed::Port)?;
    let src = address(packet.src.get().unwrap_or_default())?;
    let dst = address(packet.dst.get().unwrap_or_default())?;
    let port = |text: &Text<'_>| match (proto, text.get()) {
        (PROTO_TCP | PROTO_UDP, Some(text)) => services.port(proto, &plain(Some(text))).ok_or(Malformed::Port),
        (PROTO_TCP | PROTO_UDP, None) => Err(Malformed::Port),
        _ => Ok(0),
    };
    let header = if src.is_ipv4() { 20 } else { 40 };
    let l3_len = length(packet.length.get())?;
    Ok(Packet {
        at_ns: captured(packet.time.get().or(when), stamp_ns)?,
        src,
        dst,
        src_port: port(&packet.src_port)?,
        dst_port: port(&packet.dst_port)?,
        proto,
        l4_len: l3_len.checked_sub(header).ok_or(Malformed::Length)?,
        flags: packet.flags.get().filter(|_| proto == PROTO_TCP).and_then(flags),
    })
}

/// TCP flags as a number, or as letters (`SA`).
fn flags(text: &str) -> Option<u8> {
    if let Ok(number) = text.parse() {
        return Some(number);
    }
    text.chars().try_fold(0, |flags, letter| {
        let bit = "FSRPAUEC".find(letter)?;
        Some(flags | 1 << bit)
    })
}

fn sighting(tag: &str, data: &Data<'_>, at_ns: i64) -> Event {
    let kind = match tag.split('.').next() {
        Some("endpoint") => SightingKind::Endpoint,
        Some("wifi") => SightingKind::Wifi,
        Some("ble") => SightingKind::Ble,
        _ => return Event::Other,
    };
    let client = data.client.0.as_ref();
    let mac = client.map_or(&data.mac, |client| &client.mac);
    let Some(mac) = mac.get().and_then(hardware) else {
        return Event::Other;
    };
    let ip = [&data.ipv4, &data.ipv6]
        .into_iter()
        .find_map(|text| text.get()?.parse().ok());
    let names = match client {
        Some(client) => [&client.hostname, &data.hostname, &data.name, &data.essid],
        None => [&data.alias, &data.hostname, &data.name, &data.essid],
    };
    let named = names.into_iter().filter_map(Text::get).find(|name| !name.is_empty());
    let vendor = client.map_or(&data.vendor, |client| &client.vendor);
    Event::Sighting(Box::new(Sighting {
        kind,
        mac,
        ip,
        name: harmless(named.unwrap_or_default()),
        vendor: harmless(vendor.get().unwrap_or_default()),
        sensor: SENSOR.to_owned(),
        first_at: Timestamp(at_ns),
        last_at: Timestamp(at_ns),
        gone: tag.rsplit('.').next() == Some("lost"),
    }))
}

/// `aa:bb:cc:dd:ee:ff` in small letters.
fn hardware(text: &str) -> Option<String> {
    let bytes = text
        .split(':')
        .filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
    (text.len() == 17 && bytes.count() == 6).then(|| text.to_ascii_lowercase())
}

/// A name without what moves a terminal or turns text around.
fn harmless(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !crate::types::is_unseen(*c))
        .take(NAME)
        .collect()
}

fn address(text: &str) -> Result<IpAddr, Malformed> {
    let ip: IpAddr = text.parse().map_err(|_| Malformed::Address)?;
    Ok(ip.to_canonical())
}

fn length(text: Option<&str>) -> Result<u32, Malformed> {
    text.and_then(|text| text.parse().ok())
        .filter(|length| *length <= 65_535)
        .ok_or(Malformed::Length)
}

/// Without the colours Bettercap puts around names where it has a terminal (`ESC [ … m`).
fn plain(text: Option<&str>) -> Cow<'_, str> {
    let text = text.unwrap_or_default();
    if !text.contains('\u{1b}') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    Cow::Owned(out)
}
