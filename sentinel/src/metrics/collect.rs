//! Families that are read from snapshots at scrape time instead of being kept twice.

use crate::types::{Condition, Health, InterfaceStats, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use sentinel_common::stat::Counter;
use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Packets and bytes that passed or were dropped, by direction of the verdict and IP version.
const TRAFFIC: &[(&str, &str, Counter, Counter)] = &[
    ("pass", "4", Counter::PassV4, Counter::PassV4Bytes),
    ("pass", "6", Counter::PassV6, Counter::PassV6Bytes),
    ("pass", "other", Counter::PassOther, Counter::PassOtherBytes),
    ("drop", "4", Counter::DropV4, Counter::DropV4Bytes),
    ("drop", "6", Counter::DropV6, Counter::DropV6Bytes),
    ("drop", "other", Counter::DropHidden, Counter::DropHiddenBytes),
    ("redirect", "4", Counter::RedirectV4, Counter::RedirectV4Bytes),
    ("redirect", "6", Counter::RedirectV6, Counter::RedirectV6Bytes),
    ("answer", "4", Counter::AnswerV4, Counter::AnswerV4Bytes),
    ("answer", "6", Counter::AnswerV6, Counter::AnswerV6Bytes),
    ("egress_drop", "4", Counter::EgressDropV4, Counter::EgressDropV4Bytes),
    ("egress_drop", "6", Counter::EgressDropV6, Counter::EgressDropV6Bytes),
];

/// What went out, by IP version: packets and bytes.
const EGRESS: &[(&str, Counter)] = &[
    ("4", Counter::EgressV4),
    ("6", Counter::EgressV6),
    ("other", Counter::EgressOther),
];
const EGRESS_BYTES: &[(&str, Counter)] = &[("4", Counter::EgressV4Bytes), ("6", Counter::EgressV6Bytes)];

/// Why packets were dropped.
const DROPS: &[(&str, Counter)] = &[
    ("exact", Counter::DropExact),
    ("prefix", Counter::DropPrefix),
    ("hidden_source", Counter::DropHidden),
    ("list", Counter::DropList),
    ("rate_limit", Counter::DropLimit),
    ("reflex", Counter::DropReflex),
    ("redirect_failed", Counter::RedirectFailed),
    ("syn_cookie", Counter::CookieInvalid),
];

/// Packets with something to say about them, whatever became of them.
const NOTED: &[(&str, Counter)] = &[
    ("would_drop", Counter::WouldDrop),
    ("allowed", Counter::PassAllowed),
    ("expired", Counter::Expired),
    ("not_ip", Counter::NotIp),
    ("truncated", Counter::Truncated),
    ("malformed", Counter::Malformed),
    ("too_deep", Counter::TooDeep),
    ("would_limit", Counter::WouldLimit),
    ("would_redirect", Counter::WouldRedirect),
    ("restored", Counter::Restored),
    ("egress_would_drop", Counter::EgressWouldDrop),
    ("reflex_raised", Counter::ReflexRaised),
    ("returned", Counter::Returned),
    ("cookie_valid", Counter::CookieValid),
    ("limit_shared", Counter::LimitShared),
];

/// Flows of the kernel's table.
const FLOWS: &[(&str, Counter)] = &[
    ("new", Counter::FlowNew),
    ("refused", Counter::FlowRefused),
    ("evicted", Counter::FlowEvicted),
];

/// Losses counted in the agent, by (stage, reason).
#[derive(Clone, Debug, Default)]
pub(super) struct Dropped(Arc<Mutex<BTreeMap<(&'static str, &'static str), u64>>>);

impl Dropped {
    pub(super) fn add(&self, stage: &'static str, reason: &'static str, items: u64) {
        *self.lock().entry((stage, reason)).or_default() += items;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<(&'static str, &'static str), u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads [`Stats`].
#[derive(Debug)]
pub(super) struct StatsCollector {
    stats: watch::Receiver<Arc<Stats>>,
    dropped: Dropped,
}

impl StatsCollector {
    pub(super) fn new(stats: watch::Receiver<Arc<Stats>>, dropped: Dropped) -> Self {
        Self { stats, dropped }
    }
}

impl Collector for StatsCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let stats = Arc::clone(&self.stats.borrow());
        let mut out = Out(encoder);
        traffic(&mut out, &stats.interfaces)?;
        out.seconds(
            "interface_unprotected_seconds",
            "Time interfaces were there and unprotected, at most, summed over them",
            stats.unprotected,
        )?;
        kernel(&mut out, &stats)?;
        out.gauges("flows_active", "Flows in the agent's table", [([], stats.flows_active)])?;
        out.gauges(
            "sources_active",
            "Sources in the agent's windows",
            [([], stats.sources_active)],
        )?;
        out.gauges(
            "map_entries",
            "Elements held by a kernel map",
            stats.maps.iter().map(|(map, m)| ([("map", map.as_str())], m.entries)),
        )?;
        out.gauges(
            "map_capacity",
            "Elements a kernel map can hold",
            stats.maps.iter().map(|(map, m)| ([("map", map.as_str())], m.capacity)),
        )?;
        let mut lost = self.dropped.lock().clone();
        for (place, items) in &stats.lost {
            *lost.entry(*place).or_default() += items;
        }
        out.counters(
            "events_dropped",
            "Items dropped on the way through the agent",
            lost.iter()
                .map(|((stage, reason), n)| ([("stage", *stage), ("reason", *reason)], *n)),
        )
    }
}

fn traffic(out: &mut Out<'_>, interfaces: &[InterfaceStats]) -> Result<(), Error> {
    let ingress = |pick: fn(&(&'static str, &'static str, Counter, Counter)) -> Counter| {
        interfaces.iter().flat_map(move |i| {
            TRAFFIC.iter().map(move |row| {
                let labels = [("action", row.0), ("interface", i.name.as_str()), ("ip_version", row.1)];
                (labels, i.get(pick(row)))
            })
        })
    };
    out.counters("xdp_packets", "Packets that came in, by verdict", ingress(|row| row.2))?;
    out.counters(
        "xdp_bytes",
        "Frame bytes that came in, by verdict",
        ingress(|row| row.3),
    )?;
    let egress = |rows: &'static [(&'static str, Counter)]| {
        interfaces.iter().flat_map(move |i| {
            rows.iter()
                .map(move |row| ([("interface", i.name.as_str()), ("ip_version", row.0)], i.get(row.1)))
        })
    };
    out.counters("egress_packets", "Packets that went out", egress(EGRESS))?;
    out.counters("egress_bytes", "Frame bytes that went out", egress(EGRESS_BYTES))?;
    let modes = interfaces
        .iter()
        .map(|i| ([("interface", i.name.as_str()), ("mode", i.xdp_mode)], 1));
    out.gauges(
        "xdp_mode",
        "How the ingress program is attached: native or generic XDP, tc, or none",
        modes,
    )?;
    let attached = interfaces
        .iter()
        .map(|i| ([("interface", i.name.as_str())], u64::from(i.xdp_mode != "none")));
    out.gauges(
        "interface_attached",
        "1 where the interface's packets are judged, 0 where they ought to be and are not",
        attached,
    )
}

fn kernel(out: &mut Out<'_>, stats: &Stats) -> Result<(), Error> {
    let sums = |rows: &'static [(&'static str, Counter)], label: &'static str| {
        rows.iter()
            .map(move |(value, counter)| ([(label, *value)], stats.total(*counter)))
    };
    out.counters("xdp_drops", "Packets dropped, by reason", sums(DROPS, "reason"))?;
    out.counters("xdp_noted", "Packets worth a note, by what it is", sums(NOTED, "what"))?;
    out.counters(
        "kernel_flows",
        "Flows the kernel began to account for, or could not",
        sums(FLOWS, "result"),
    )?;
    let mut single = |name, help, counter| out.counters(name, help, [([], stats.total(counter))]);
    single("ringbuf_events", "Records put on the ring", Counter::EventSent)?;
    single(
        "ringbuf_lost",
        "Records lost because the ring was full",
        Counter::EventLost,
    )?;
    single(
        "ringbuf_deferred",
        "Records put off because the budget was spent",
        Counter::EventDeferred,
    )?;
    single(
        "ringbuf_thinned",
        "Records of new flows withheld because the ring was filling up",
        Counter::EventThinned,
    )?;
    single(
        "flow_packets_lost",
        "Packets no record tells of: their flow's slot was needed and the last record found no room",
        Counter::FlowLost,
    )
}

/// Reads [`Health`].
#[derive(Debug)]
pub(super) struct HealthCollector(watch::Receiver<Arc<Health>>);

impl HealthCollector {
    pub(super) fn new(health: watch::Receiver<Arc<Health>>) -> Self {
        Self(health)
    }
}

impl Collector for HealthCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let health = Arc::clone(&self.0.borrow());
        let parts = health.components.iter().map(|(part, condition)| {
            let degraded = matches!(condition, Condition::Degraded { .. });
            ([("component", part.as_str())], u64::from(degraded))
        });
        Out(encoder).gauges("degraded", "1 where a part works with less than it should", parts)
    }
}

/// Writes whole families.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> Result<(), Error> {
        let family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        write(family, rows, ConstCounter::new)
    }

    /// One counter of seconds; its name is written with `_total`.
    fn seconds(&mut self, name: &str, help: &str, value: std::time::Duration) -> Result<(), Error> {
        let family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(value.as_secs_f64()).encode(family)
    }

    fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        rows: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> Result<(), Error> {
        let family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        write(family, rows, |value| ConstGauge::new(value as i64))
    }
}

fn write<'l, M: EncodeMetric, const N: usize>(
    mut family: MetricEncoder<'_>,
    rows: impl IntoIterator<Item = ([(&'l str, &'l str); N], u64)>,
    metric: impl Fn(u64) -> M,
) -> Result<(), Error> {
    for (labels, value) in rows {
        let metric = metric(value);
        if N > 0 {
            metric.encode(family.encode_family(&labels)?)?;
        } else {
            return metric.encode(family);
        }
    }
    Ok(())
}
