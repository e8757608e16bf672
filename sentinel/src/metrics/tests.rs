//! The exposition: exact names, every kernel counter shown, no address anywhere.

use super::*;
use crate::types::{Component, InterfaceStats, MapUse};
use sentinel_common::stat::{COUNTERS, Counter as Kernel};

/// Stats in which every kernel counter has a value of its own.
fn stats() -> Stats {
    let mut counters = [0; COUNTERS];
    for counter in Kernel::ALL {
        counters[*counter as usize] = 1_000_000 + *counter as u64;
    }
    Stats {
        interfaces: vec![InterfaceStats {
            name: "eth7".into(),
            xdp_mode: "generic",
            egress: true,
            fallback: None,
            trouble: None,
            counters,
        }],
        maps: BTreeMap::from([(
            "BLOCK4".into(),
            MapUse {
                entries: 3,
                capacity: 131_072,
            },
        )]),
        flows_active: 17,
        lost: BTreeMap::from([(("ring", "full"), 4), (("stream", "lagged"), 1)]),
        ..Stats::default()
    }
}

pub(super) fn exposition() -> String {
    let metrics = Metrics::new();
    metrics.watch_stats(watch::channel(Arc::new(stats())).1);
    let mut health = Health::default();
    health.ok(Component::Kernel, "native");
    health.degrade(Component::Store, "disk full", "free space");
    metrics.watch_health(watch::channel(Arc::new(health)).1);
    metrics.dropped("stream", "lagged", 5);
    metrics.detect_to_drop_seconds.observe(0.02);
    metrics.store_write_seconds.observe(0.001);
    metrics.veto(&Veto {
        guard: "gateway".into(),
        reason: "192.0.2.1 is the gateway".into(),
    });
    metrics.expect_alerts(&[Detector::PortScan]);
    metrics.reverted("expired");
    metrics.confirmation("rolled_back");
    metrics.set_active([]);
    let source = "abuseipdb";
    let result = "timeout";
    metrics
        .intel_requests
        .get_or_create(&IntelLabels { source, result })
        .inc();
    metrics.intel_cache_hits.get_or_create(&SourceLabels { source }).inc();
    metrics
        .intel_quota_remaining
        .get_or_create(&SourceLabels { source })
        .set(7);
    metrics.encode().unwrap()
}

#[test]
fn every_kernel_counter_is_exposed() {
    let text = exposition();
    for counter in Kernel::ALL {
        let value = format!(" {}\n", 1_000_000 + *counter as u64);
        assert!(text.contains(&value), "{} is not exposed", counter.label());
    }
}

#[test]
fn names_are_those_of_the_interface() {
    let text = exposition();
    for line in [
        r#"sentinel_xdp_packets_total{action="drop",interface="eth7",ip_version="4"} 1000006"#,
        r#"sentinel_xdp_bytes_total{action="pass",interface="eth7",ip_version="other"} 1000005"#,
        r#"sentinel_xdp_drops_total{reason="prefix"} 1000011"#,
        r#"sentinel_map_entries{map="BLOCK4"} 3"#,
        r#"sentinel_map_capacity{map="BLOCK4"} 131072"#,
        "sentinel_flows_active 17",
        r#"sentinel_guard_vetoes_total{guard="gateway"} 1"#,
        r#"sentinel_actions_reverted_total{cause="expired"} 1"#,
        r#"sentinel_confirmations_total{result="rolled_back"} 1"#,
        r#"sentinel_decisions_active{action="block_ip",origin="operator"} 0"#,
        "sentinel_enforcement_drift_entries 0",
        r#"sentinel_detect_to_drop_seconds_bucket{le="0.025"} 1"#,
        "sentinel_store_write_seconds_count 1",
        "sentinel_flow_score_seconds_count 0",
        r#"sentinel_events_dropped_total{stage="ring",reason="full"} 4"#,
        r#"sentinel_events_dropped_total{stage="stream",reason="lagged"} 6"#,
        r#"sentinel_xdp_mode{interface="eth7",mode="generic"} 1"#,
        r#"sentinel_degraded{component="kernel"} 0"#,
        r#"sentinel_degraded{component="store"} 1"#,
        r#"sentinel_intel_requests_total{source="abuseipdb",result="timeout"} 1"#,
        r#"sentinel_intel_cache_hits_total{source="abuseipdb"} 1"#,
        r#"sentinel_intel_quota_remaining{source="abuseipdb"} 7"#,
        "sentinel_ringbuf_events_total ",
        r#"sentinel_alerts_total{detector="port_scan",severity="high"} 0"#,
        r#"sentinel_reports_total{result="failed"} 0"#,
        r#"sentinel_logins_total{with="token",result="refused"} 0"#,
        "sentinel_ringbuf_lost_total ",
        "sentinel_build_info{version=\"",
    ] {
        assert!(text.contains(&format!("\n{line}")), "missing: {line}\n{text}");
    }
    assert!(!text.contains("_total_total") && text.ends_with("# EOF\n"));
    assert!(!text.contains("192.0.2.1"), "an address is never a label");
}

#[test]
fn families_are_declared_once_and_before_their_samples() {
    let text = exposition();
    let mut declared = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(!declared.contains(&name), "{name} is declared twice");
            declared.push(name);
        } else if !line.starts_with('#') {
            let family = declared.last().unwrap();
            assert!(line.starts_with(family), "{line} stands below {family}");
        }
    }
}
