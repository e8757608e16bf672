//! Numbers and times as short words.

use super::super::output::escape_line;
use crate::types::{Busy, BusyFlow, Moved, Timestamp};
use std::net::IpAddr;
use std::time::Duration;

/// `999`, `1.2k`, `34M`: three digits at most.
pub(super) fn count(n: u64) -> String {
    scaled(n as f64, 1_000.0, &["", "k", "M", "G", "T", "P", "E"])
}

/// `999 B`, `1.2 KiB`, `34 MiB`.
pub(super) fn bytes(n: f64) -> String {
    scaled(n, 1_024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB", " EiB"])
}

fn scaled(mut n: f64, step: f64, units: &[&str]) -> String {
    let mut at = 0;
    while n >= 999.5 && at + 1 < units.len() {
        n /= step;
        at += 1;
    }
    if at == 0 || n >= 9.95 {
        format!("{n:.0}{}", units[at])
    } else {
        format!("{n:.1}{}", units[at])
    }
}

/// Time of day, UTC.
pub(super) fn clock(at: Timestamp) -> String {
    at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// `3d4h`, `3h2m`, `2m5s`, `9s`.
pub(super) fn age(time: Duration) -> String {
    super::super::remaining(Timestamp(0), Timestamp(time.as_nanos() as i64))
}

/// A text that is cut where it does not fit, and says so.
pub(super) fn fit(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// `203.0.113.7:443`, `[2001:db8::1]:443`, or the address alone.
pub(super) fn place(ip: IpAddr, port: u16) -> String {
    match (ip, port) {
        (ip, 0) => ip.to_string(),
        (IpAddr::V4(ip), port) => format!("{ip}:{port}"),
        (IpAddr::V6(ip), port) => format!("[{ip}]:{port}"),
    }
}

/// Name of an IP protocol, else its number.
pub(super) fn protocol(proto: u8) -> String {
    match proto {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmp6".to_owned(),
        other => other.to_string(),
    }
}

/// How a flow is.
pub(super) fn stage(flow: &BusyFlow) -> &'static str {
    match (flow.closed, flow.established) {
        (true, _) => "closed",
        (false, true) => "open",
        _ => "",
    }
}

/// Both ways.
pub(super) const fn packets(moved: &Moved) -> u64 {
    moved.packets_sent + moved.packets_received
}

/// Both ways.
pub(super) fn volume(moved: &Moved) -> f64 {
    moved.bytes_sent as f64 + moved.bytes_received as f64
}

pub(super) const fn moved(busy: &Busy) -> &Moved {
    match busy {
        Busy::Flow(flow) => &flow.moved,
        Busy::Source(source) => &source.moved,
    }
}

/// A failure in one line.
pub(super) fn line(text: &str) -> String {
    escape_line(text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_say_their_unit() {
        let counts = [0, 7, 999, 1_000, 1_249, 9_960, 34_000, 999_600, 12_345_678].map(count);
        assert_eq!(counts, ["0", "7", "999", "1.0k", "1.2k", "10k", "34k", "1.0M", "12M"]);
        let sizes = [0.0, 999.0, 1_024.0, 1_500.0, 1e6, 1e9].map(bytes);
        assert_eq!(sizes, ["0 B", "999 B", "1.0 KiB", "1.5 KiB", "977 KiB", "954 MiB"]);
        assert_eq!(fit("abcdef", 4), "abc…");
        assert_eq!(place("2001:db8::1".parse().unwrap(), 443), "[2001:db8::1]:443");
    }
}
