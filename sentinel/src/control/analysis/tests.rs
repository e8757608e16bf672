//! What the analysis tells the traffic log.

use super::*;
use crate::flow::ModelFlows;
use crate::types::Mint;
use sentinel_common::addr::Addr;
use sentinel_common::flow::{Direction, PROTO_UDP};
use sentinel_common::packet::PacketMeta;
use std::net::IpAddr;

/// A datagram from so many ports each, a while ago, as the kernel reports them.
fn datagrams(ports: std::ops::Range<u16>, ago: Duration) -> Vec<FlowRecord> {
    let at = Ktime(time::boot_now().0.saturating_sub(ago.as_nanos() as u64));
    let mut kernel = ModelFlows::new(64, Duration::from_millis(100));
    let addr = |last: u8| Addr::from(IpAddr::from([192, 0, 2, last]));
    let packet = |port| PacketMeta {
        src: addr(7),
        dst: addr(1),
        src_port: port,
        dst_port: 4242,
        proto: PROTO_UDP,
        ip_version: 4,
        payload_len: 12,
        l3_len: 40,
        ..PacketMeta::default()
    };
    let mut records = Vec::new();
    for port in ports {
        records.extend(kernel.packet(&packet(port), Direction::Ingress, None, at).records);
    }
    records
}

#[tokio::test]
async fn rows_reach_the_log_under_the_sensors_name_and_what_finds_no_room_is_counted() {
    let config = Config::default();
    let metrics = Arc::new(Metrics::new());
    metrics.watch_stats(watch::channel(Arc::default()).1);
    let detectors = Detectors::new(&config, time::clock(), Mint::Counted(0), "xdp");
    let (traffic, mut told) = mpsc::channel(1);
    let analysis = Analysis::new(
        FlowTable::new(&config.flow),
        detectors,
        Arc::clone(&metrics),
        Arc::default(),
        watch::channel(Arc::default()).0,
        watch::channel(Arc::default()).0,
    )
    .with_traffic(Some(traffic), &config);
    let (records, input) = mpsc::channel(4);
    let (alerts, _heard) = mpsc::channel(64);
    let running = tokio::spawn(analysis.run(input, mpsc::channel(1).1, mpsc::channel(1).1, alerts));
    let quiet = Duration::from_secs(20);

    // Nobody takes the first three out of a channel with room for one batch.
    records.send(datagrams(1..4, quiet)).await.unwrap();
    while told.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    records.send(datagrams(4..6, quiet)).await.unwrap();
    let lost = r#"sentinel_events_dropped_total{stage="traffic",reason="channel_full"} 2"#;
    while !metrics.encode().unwrap().lines().any(|line| line == lost) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let batch = told.recv().await.unwrap();
    let ports = |batch: &Batch| -> Vec<u16> { batch.rows.iter().map(|row| row.record.source_port).collect() };
    assert_eq!((&*batch.sensor, ports(&batch)), ("xdp", vec![1, 2, 3]));
    let ago = time::wall_now().0 - batch.clock.wall(batch.rows[0].record.start).0;
    assert!(
        (19_000_000_000..60_000_000_000).contains(&ago),
        "by the clock on the wall: {ago} ns ago"
    );

    // What goes on at the end is told of then, and after that nothing.
    records.send(datagrams(6..7, Duration::ZERO)).await.unwrap();
    drop(records);
    let batch = told.recv().await.unwrap();
    assert_eq!(ports(&batch), [6]);
    assert!(told.recv().await.is_none(), "the log may close");
    running.await.unwrap();
}
