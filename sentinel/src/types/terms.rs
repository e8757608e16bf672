//! What an action is carried out with, beyond its kind.

use super::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

/// Packets a second a source may be limited to at most.
pub const PACKETS_MAX: u32 = 10_000_000;
/// Fewest bytes a second: what one element of the kernel's entry can still say (256 * 10^9 / 2^32, rounded up).
const BYTES_MIN: u64 = 64;
/// Most bytes a second; above it the kernel's price of a byte (ns in 1/256) would be off by several percent.
pub const BYTES_MAX: u64 = 8 << 30;
/// Shortest burst, ms: the kernel's clock steps by a jiffy, 10 ms at most.
pub const BURST_MIN_MS: u32 = 10;
/// Longest burst, ms.
pub const BURST_MAX_MS: u32 = 3_600_000;

/// A rate, and how far a source may run ahead of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rate {
    /// Packets a second; 0 for no such limit.
    pub packets: u32,
    /// Frame bytes a second; 0 for no such limit.
    pub bytes: u64,
    /// Burst: ms of traffic at that rate.
    pub burst_ms: u32,
    /// Each address under a limited prefix has the rate for itself.
    #[serde(default, skip_serializing_if = "is_false")]
    pub each: bool,
    /// It is about packets that open something: anything but a TCP segment that acknowledges. Connections that stand go on.
    #[serde(default, skip_serializing_if = "is_false")]
    pub openings: bool,
}

impl Rate {
    /// ns one packet costs; 0 for no such limit.
    pub fn packet_ns(self) -> u32 {
        1_000_000_000_u32.checked_div(self.packets).unwrap_or(0)
    }

    /// ns one byte costs, in 1/256; 0 for no such limit.
    pub fn byte_ns_q8(self) -> u32 {
        let price = 256_000_000_000_u64.checked_div(self.bytes).unwrap_or(0);
        u32::try_from(price).unwrap_or(u32::MAX)
    }

    /// Whether the kernel can carry it out. The first packet after a pause always passes, however short the burst.
    ///
    /// # Errors
    /// What is wrong with it and what to write instead, for people.
    pub fn check(self) -> Result<(), String> {
        let Self {
            packets,
            bytes,
            burst_ms,
            ..
        } = self;
        if packets == 0 && bytes == 0 {
            return Err("limits neither packets nor bytes; give at least one of them".to_owned());
        }
        if packets > PACKETS_MAX {
            return Err(format!(
                "{packets} packets a second are beyond the {PACKETS_MAX} that can be told apart; lower it or write 0 for no limit"
            ));
        }
        if bytes > 0 && !(BYTES_MIN..=BYTES_MAX).contains(&bytes) {
            return Err(format!(
                "{bytes} bytes a second are not within {BYTES_MIN} and {BYTES_MAX}; write 0 for no limit"
            ));
        }
        if !(BURST_MIN_MS..=BURST_MAX_MS).contains(&burst_ms) {
            return Err(format!(
                "a burst of {burst_ms} ms is not within {BURST_MIN_MS} ms and {} s",
                BURST_MAX_MS / 1000
            ));
        }
        Ok(())
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.packets > 0 {
            let what = if self.openings { "openings" } else { "packets" };
            parts.push(format!("{} {what}/s", self.packets));
        }
        if self.bytes > 0 {
            parts.push(size(self.bytes) + "/s");
        }
        parts.push(format!("burst {}", millis(self.burst_ms.into())));
        if self.each {
            parts.push("each address by itself".to_owned());
        }
        f.write_str(&parts.join(", "))
    }
}

/// What an action is carried out with. On the wire its fields stand among those of what it belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Terms {
    /// What a rate limit lets through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// Drop what goes out to the address, too.
    #[serde(default, skip_serializing_if = "is_false")]
    pub egress: bool,
    /// Probation: until when, after its end, the kernel still watches for a return.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_until: Option<Timestamp>,
    /// Probation: for how long a return puts the action in force again at once, ms; 0 for an alert only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reapply_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

/// A size in the largest binary unit that says it exactly.
fn size(bytes: u64) -> String {
    let units = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units
        .into_iter()
        .find(|(_, shift)| bytes >= 1 << shift && bytes.is_multiple_of(1 << shift))
    {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => format!("{bytes} bytes"),
    }
}

/// A time of whole or broken seconds.
fn millis(ms: u64) -> String {
    if ms.is_multiple_of(1000) {
        format!("{} s", ms / 1000)
    } else {
        format!("{ms} ms")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(packets: u32, bytes: u64, burst_ms: u32) -> Rate {
        Rate {
            packets,
            bytes,
            burst_ms,
            each: false,
            openings: false,
        }
    }

    #[test]
    fn prices_are_those_of_the_entry() {
        let rate = rate(100, 1 << 20, 1000);
        assert_eq!((rate.packet_ns(), rate.byte_ns_q8()), (10_000_000, 244_140));
        let none = Rate {
            packets: 0,
            bytes: 0,
            ..rate
        };
        assert_eq!((none.packet_ns(), none.byte_ns_q8()), (0, 0));
    }

    #[test]
    fn every_rate_that_is_accepted_has_a_price_close_to_it() {
        for packets in [1, 3, 7, 100, 9_999, PACKETS_MAX] {
            let back = 1e9 / f64::from(rate(packets, 0, 1000).packet_ns());
            assert!((back / f64::from(packets) - 1.0).abs() < 0.02, "{packets}: {back}");
        }
        for bytes in [BYTES_MIN, 1_000, 1 << 20, 1 << 30, BYTES_MAX] {
            let back = 256e9 / f64::from(rate(0, bytes, 1000).byte_ns_q8());
            assert!((back / bytes as f64 - 1.0).abs() < 0.05, "{bytes}: {back}");
        }
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_with_the_mend() {
        for (rate, part) in [
            (rate(0, 0, 1000), "neither packets nor bytes"),
            (rate(PACKETS_MAX + 1, 0, 1000), "beyond"),
            (rate(0, 63, 60_000), "not within 64"),
            (rate(0, BYTES_MAX + 1, 1000), "not within"),
            (rate(100, 0, 9), "burst of 9 ms is not within 10 ms"),
            (rate(100, 0, BURST_MAX_MS + 1), "not within"),
        ] {
            let said = rate.check().expect_err(part);
            assert!(said.contains(part), "{said}");
        }
        for good in [rate(1, 0, 10), rate(0, BYTES_MIN, 10), rate(PACKETS_MAX, BYTES_MAX, 10)] {
            assert_eq!(good.check(), Ok(()));
        }
    }

    #[test]
    fn it_reads_as_people_write_it() {
        let all = Rate {
            each: true,
            ..rate(100, 1 << 20, 1500)
        };
        assert_eq!(
            all.to_string(),
            "100 packets/s, 1 MiB/s, burst 1500 ms, each address by itself"
        );
        let opening = Rate {
            openings: true,
            ..rate(10, 0, 1000)
        };
        assert_eq!(opening.to_string(), "10 openings/s, burst 1 s");
        assert_eq!(rate(0, 1500, 1000).to_string(), "1500 bytes/s, burst 1 s");
    }
}
