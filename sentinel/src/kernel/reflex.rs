//! The kernel's counters per source: what they are set to, and a look into the table they stand in.

use super::error::KernelError;
use super::mmap::Mapped;
use crate::config::{KernelConfig, ReflexConfig};
use aya::maps::MapData;
use sentinel_common::names as n;
use sentinel_common::reflex::{Source, WAYS, source_address};
use sentinel_common::settings::{Reflex, SETTING_REFLEX, SETTING_REFLEX_LIMIT, Settings};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

/// How far ahead of its rate a limited source may run, ms.
const BURST_MS: u32 = 250;

/// Puts thresholds and table size into the settings of the kernel programs.
///
/// Without the egress program no handshake is seen to complete: what counts half-open ones stays off.
pub(super) fn fill(settings: &mut Settings, config: &KernelConfig) {
    let reflex = &config.reflex;
    settings.source_mask = n::SOURCE_BUCKETS - 1;
    settings.reflex = thresholds(reflex, config.egress);
    settings.syn_flood_half_open = if config.egress { config.syn_cookies.half_open } else { 0 };
    if reflex.enabled {
        settings.flags |= SETTING_REFLEX;
        if reflex.limit {
            settings.flags |= SETTING_REFLEX_LIMIT;
        }
    }
}

fn thresholds(config: &ReflexConfig, egress: bool) -> Reflex {
    const SECOND: u64 = 1_000_000_000;
    let cost = |rate: u64, unit: u64| {
        SECOND
            .saturating_mul(unit)
            .checked_div(rate)
            .map_or(0, |cost| cost.clamp(1, u64::from(u32::MAX)) as u32)
    };
    let thresholds = Reflex {
        window_ns: config.window.as_nanos() as u64,
        bytes: config.bytes,
        hold_ns: config.hold.as_nanos() as u64,
        packets: config.packets,
        syns: config.syns,
        ports: config.ports,
        half_open: if egress { config.half_open } else { 0 },
        packet_ns: cost(u64::from(config.limit_packets), 1),
        byte_ns_q8: cost(config.limit_bytes, 256),
        burst_ms: BURST_MS,
        least: 0,
    };
    Reflex {
        least: thresholds.least_of(),
        ..thresholds
    }
}

/// One source, as the kernel counted it in its latest window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceUse {
    /// The address; the first of the /64 for IPv6, which is counted as one source.
    pub address: IpAddr,
    /// Packets.
    pub packets: u32,
    /// L3 bytes.
    pub bytes: u64,
    /// SYNs.
    pub syns: u32,
    /// Estimate of the distinct destination ports tried.
    pub ports: u32,
    /// Handshakes begun and not completed.
    pub half_open: u32,
    /// Whether the kernel limits it by itself.
    pub limited: bool,
}

/// A look into the kernel's table of sources, which no full ring can make incomplete: reading costs no system call.
pub struct Sources {
    table: Mapped,
    settings: Settings,
}

impl Sources {
    /// Maps the table.
    ///
    /// # Errors
    /// [`KernelError::System`] when the kernel does not let it be mapped.
    pub(super) fn new(map: &MapData, settings: Settings) -> Result<Self, KernelError> {
        let bytes = n::SOURCE_BUCKETS as usize * WAYS * size_of::<Source>();
        let table = Mapped::new(map.fd().as_fd(), bytes).map_err(|source| KernelError::System {
            call: format!("mapping {}", n::MAP_SOURCES),
            source,
        })?;
        Ok(Self { table, settings })
    }

    /// The `count` sources with most packets in a window that is open at `now_ns` (`CLOCK_BOOTTIME`), and all that are
    /// limited, most packets first. A slot that changes hands while it is read may show numbers of both.
    pub fn top(&self, count: usize, now_ns: u64) -> Vec<SourceUse> {
        let mut sources: Vec<SourceUse> = self
            .table
            .words()
            .chunks_exact(size_of::<Source>() / 8)
            .filter_map(|words| {
                let word = |at: usize| words[at].load(Ordering::Relaxed);
                let half = |at: usize| words32(word(at));
                let (window, packets) = half(5);
                let (syns, completed) = half(6);
                let (until, raised) = half(7);
                let source = Source {
                    key: word(0),
                    bytes: word(1),
                    ports: word(2),
                    packet_tat_ns: word(3),
                    byte_tat_ns: word(4),
                    window,
                    packets,
                    syns,
                    completed,
                    until,
                    raised,
                };
                self.one(&source, now_ns)
            })
            .collect();
        sources.sort_unstable_by_key(|source| std::cmp::Reverse(source.packets));
        let mut rank = 0;
        sources.retain(|source| {
            rank += 1;
            rank <= count || source.limited
        });
        sources
    }

    /// A slot, where it holds a source that is of interest now.
    fn one(&self, source: &Source, now_ns: u64) -> Option<SourceUse> {
        let limited = source.limited(now_ns);
        let open = !source.stale(&self.settings.reflex, now_ns);
        (source.key != 0 && (open || limited)).then(|| SourceUse {
            address: source_address(source.key, self.settings.seed).into(),
            packets: if open { source.packets } else { 0 },
            bytes: if open { source.bytes } else { 0 },
            syns: if open { source.syns } else { 0 },
            ports: if open { source.port_estimate() } else { 0 },
            half_open: if open { source.half_open() } else { 0 },
            limited,
        })
    }
}

/// The two halves of a word, in the order they stand in memory.
const fn words32(word: u64) -> (u32, u32) {
    let (low, high) = (word as u32, (word >> 32) as u32);
    if cfg!(target_endian = "little") {
        (low, high)
    } else {
        (high, low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn rates_become_costs_and_no_rate_none() {
        let mut config = Config::default().kernel;
        config.reflex.limit_packets = 200;
        config.reflex.limit_bytes = 1_000_000;
        let mut settings = Settings::default();
        fill(&mut settings, &config);
        assert_eq!(settings.reflex.packet_ns, 5_000_000);
        assert_eq!(settings.reflex.byte_ns_q8, 256_000);
        assert_eq!(settings.flags, SETTING_REFLEX | SETTING_REFLEX_LIMIT);
        config.reflex.limit_packets = 0;
        config.reflex.enabled = false;
        config.egress = false;
        settings.flags = 0;
        fill(&mut settings, &config);
        assert_eq!((settings.reflex.packet_ns, settings.flags), (0, 0));
        assert_eq!((settings.reflex.half_open, settings.syn_flood_half_open), (0, 0));
    }
}
