//! Feature records of the kernel's counts against those of the same packets in a file.

use super::*;
use sentinel::detect::Notice;
use sentinel::features::{Builder, Cut, FEATURES, FeatureRecord, Group, Limits};
use sentinel::flow::FlowTable;
use sentinel::metrics::Metrics;
use sentinel::replay::FeatureReplay;
use sentinel::sensor::XdpSensor;
use sentinel::sensor::pcap::Capture;
use sentinel::time::boot_now;
use sentinel::types::{Ktime, Service};
use sentinel_common::names::PROG_XDP;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A jiffy at most, and what a busy machine takes between our clock and the kernel's.
const APART: Duration = Duration::from_millis(30);

/// A packet as it was recorded.
struct Packet {
    at: Duration,
    inward: bool,
    bytes: Vec<u8>,
}

/// The packets of a fixture, padded to what they were on the wire. Of two hosts the one seen to send first is the far one.
fn packets(name: &str) -> Vec<Packet> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/fixtures")
        .join(name);
    let mut capture = Capture::open(&path).unwrap();
    let (mut all, mut first, mut far) = (Vec::new(), None, HashMap::new());
    while let Some(frame) = capture.next() {
        let frame = frame.unwrap();
        let Ok(meta) = parse_ethernet(&frame.bytes) else {
            continue;
        };
        let mut bytes = frame.bytes.to_vec();
        bytes.resize(bytes.len().max(frame.wire_len as usize), 0);
        let pair = (meta.src.min(meta.dst), meta.src.max(meta.dst));
        all.push(Packet {
            at: Duration::from_nanos(frame.at_ns - *first.get_or_insert(frame.at_ns)),
            inward: *far.entry(pair).or_insert(meta.src) == meta.src,
            bytes,
        });
    }
    all
}

/// Hands packets to the programs at their time; gives when that was.
fn send(kernel: &mut Kernel, packets: &[Packet]) -> Vec<Ktime> {
    pin(0);
    let began = Instant::now();
    let one = |packet: &Packet| {
        std::thread::sleep(packet.at.saturating_sub(began.elapsed()));
        let at = boot_now();
        if packet.inward {
            assert_eq!(kernel.test_run(PROG_XDP, &packet.bytes, 1).unwrap().code, 2);
        } else {
            kernel.test_egress(&packet.bytes).unwrap();
        }
        at
    };
    packets.iter().map(one).collect()
}

/// What the agent makes of the packets, and when each was handed over.
fn live(kernel: &mut Kernel, packets: &[Packet]) -> (Vec<FeatureRecord>, Vec<Ktime>) {
    let defaults = Config::default();
    let (ring, sweep) = (kernel.ring(), kernel.sweep());
    let sent = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let times = send(kernel, packets);
            sent.store(true, Ordering::Relaxed);
            times
        });
        let (mut table, mut out) = (FlowTable::new(&defaults.flow), Vec::new());
        let mut builder = Builder::new(&Limits::from(&defaults.flow));
        runtime.block_on(async {
            let (batches_tx, batches) = mpsc::channel(1024);
            let (records_tx, mut records) = mpsc::channel(1024);
            let (notices_tx, _notices) = mpsc::channel::<Notice>(16);
            let cancel = CancellationToken::new();
            let reading = tokio::spawn(ring.run(batches_tx, cancel.clone()));
            let sensor = XdpSensor::new(sweep, Arc::new(Metrics::new()));
            let sensing = tokio::spawn(sensor.run(batches, records_tx, notices_tx));
            let mut timer = tokio::time::interval(Duration::from_millis(100));
            let mut rest = 8;
            while rest > 0 {
                tokio::select! {
                    Some(batch) = records.recv() => for record in &batch {
                        if let Some(seen) = table.apply(record) {
                            builder.record(record, &seen, &mut out);
                        }
                    },
                    _ = timer.tick() => {
                        table.tick(boot_now());
                        builder.tick(boot_now(), &mut out);
                        // The last of it is fetched by a sweep, which comes every 200 ms.
                        rest -= u32::from(sent.load(Ordering::Relaxed));
                    }
                }
            }
            cancel.cancel();
            reading.await.unwrap();
            sensing.await.unwrap();
        });
        let times = sender.join().unwrap();
        builder.tick(times.last().unwrap().after(FeatureReplay::WAIT), &mut out);
        builder.finish(&mut out);
        (out, times)
    })
}

/// What the same packets come to without a kernel.
fn filed(packets: &[Packet], times: &[Ktime]) -> Vec<FeatureRecord> {
    let mut replay = FeatureReplay::new(&Config::default());
    for (packet, at) in packets.iter().zip(times) {
        replay.frame(at.0, &packet.bytes);
    }
    replay.finish();
    std::mem::take(replay.records())
}

type Who = (IpAddr, u16, Service);

/// The records of each flow, in order.
fn by_flow(records: &[FeatureRecord]) -> BTreeMap<Who, Vec<FeatureRecord>> {
    let mut flows: BTreeMap<Who, Vec<FeatureRecord>> = BTreeMap::new();
    for record in records {
        let who = (record.source, record.source_port, record.target);
        flows.entry(who).or_default().push(*record);
    }
    flows
}

fn near(a: Ktime, b: Ktime) -> bool {
    a.since(b).max(b.since(a)) <= APART
}

/// Of a flow's own numbers all must agree; of its surroundings, which depend on the instant at which it is told of, this
/// share.
fn check(name: &str, share: f64) {
    let settings = KernelConfig {
        flow_capacity: 65_536,
        ..config()
    };
    let Some(mut kernel) = kernel(&settings, Mode::Simulation) else {
        return;
    };
    let packets = packets(name);
    let (live, times) = live(&mut kernel, &packets);
    let filed = filed(&packets, &times);
    let (live, filed) = (by_flow(&live), by_flow(&filed));
    assert!(live.keys().eq(filed.keys()), "{name}: the same flows");
    let (mut around, mut same, mut differing) = (0, 0, BTreeMap::<&str, (u32, f64, f64)>::new());
    for (who, expected) in &filed {
        let told = &live[who];
        let cuts = |records: &[FeatureRecord]| records.iter().map(|r| (r.cut, r.continued)).collect::<Vec<_>>();
        assert_eq!(cuts(told), cuts(expected), "{name}: {who:?}");
        for (a, b) in told.iter().zip(expected) {
            assert!(near(a.start, b.start) && near(a.end, b.end), "{name}: {a:?} {b:?}");
            // What is told at a mark of a flow that goes on depends on when the last count was fetched.
            let going_on = b.cut == Cut::Mark && near(b.end, b.at);
            for (at, feature) in FEATURES.iter().enumerate() {
                let (x, y) = (a.vector.0[at], b.vector.0[at]);
                let own = matches!(feature.group, Group::Protocol | Group::Forward | Group::Reverse);
                let timed = ["f_dur", "f_imean"].contains(&feature.name);
                if own && timed {
                    assert!(
                        (x - y).abs() <= 2.0 * APART.as_secs_f64(),
                        "{name}: {who:?} {}: {x} {y}",
                        feature.name
                    );
                } else if own && !going_on {
                    assert!(x.to_bits() == y.to_bits(), "{name}: {who:?} {}: {x} {y}", feature.name);
                } else if !own {
                    around += 1;
                    same += u32::from(x.to_bits() == y.to_bits());
                    if x.to_bits() != y.to_bits() {
                        let entry = differing.entry(feature.name).or_insert((0, x, y));
                        entry.0 += 1;
                    }
                }
            }
        }
    }
    let reached = f64::from(same) / f64::from(around);
    println!(
        "{name}: {} flows, surroundings {reached:.4} equal; {differing:?}",
        filed.len()
    );
    assert!(reached >= share, "{name}: {reached}");
}

#[test]
fn features_of_the_kernel_are_those_of_the_file() {
    check("scan_syn.pcap", 0.9);
    check("benign.pcap", 0.9);
    check("bruteforce_ssh.pcap", 0.9);
}
