//! Feature records of the kernel's counts against those of the same packets in a file: handed to the programs one by one,
//! and replayed over a veth pair that they watch.

use super::pair::{Ending, Pair, ip};
use super::*;
use sentinel::detect::Notice;
use sentinel::features::{Builder, Cut, FEATURES, FeatureRecord, Group, Limits};
use sentinel::flow::FlowTable;
use sentinel::kernel::{FlowSweep, RingReader};
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
use std::process::{Command, Stdio};
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

/// Hands packets to the programs at their time; gives when that was, and how long it took.
fn send(kernel: &mut Kernel, packets: &[Packet]) -> Vec<(Ktime, Duration)> {
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
        (at, boot_now().since(at))
    };
    packets.iter().map(one).collect()
}

/// What the agent makes of the packets, and when each was handed over, and how long that took.
fn live(kernel: &mut Kernel, packets: &[Packet]) -> (Vec<FeatureRecord>, Vec<(Ktime, Duration)>) {
    let (ring, sweep) = (kernel.ring(), kernel.sweep());
    let (mut out, builder, times) = watch(ring, sweep, || send(kernel, packets));
    finish(builder, times.last().unwrap().0, &mut out);
    (out, times)
}

/// The records of flows that are told of for as long after the last packet as a file is walked.
fn finish(mut builder: Builder, last: Ktime, out: &mut Vec<FeatureRecord>) {
    builder.tick(last.after(FeatureReplay::WAIT), out);
    builder.finish(out);
}

/// What the agent makes of what it sees while `work` goes on, and a little longer.
fn watch<T: Send>(
    ring: RingReader,
    sweep: FlowSweep,
    work: impl FnOnce() -> T + Send,
) -> (Vec<FeatureRecord>, Builder, T) {
    let defaults = Config::default();
    let sent = AtomicBool::new(false);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let _ending = Ending(&sent);
            work()
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
        (out, builder, sender.join().unwrap())
    })
}

/// What the same packets come to without a kernel.
fn filed(packets: &[Packet], times: &[(Ktime, Duration)]) -> Vec<FeatureRecord> {
    let mut replay = FeatureReplay::new(&Config::default());
    for (packet, (at, _)) in packets.iter().zip(times) {
        replay.frame(at.0, &packet.bytes);
    }
    replay.finish();
    std::mem::take(replay.records())
}

/// Both ends of a flow, whoever opened it; without ports but of TCP and UDP.
type Ends = [(IpAddr, u16); 2];

fn ends(proto: u8, one: (IpAddr, u16), other: (IpAddr, u16)) -> Ends {
    let mut ends = [one, other];
    if ![6, 17].contains(&proto) {
        ends = ends.map(|(ip, _)| (ip, 0));
    }
    ends.sort();
    ends
}

/// The longest that a packet of each flow took to be handed over: its time may be any instant of that.
fn delays(packets: &[Packet], times: &[(Ktime, Duration)]) -> HashMap<Ends, Duration> {
    let mut delays = HashMap::new();
    for (packet, (_, took)) in packets.iter().zip(times) {
        let meta = parse_ethernet(&packet.bytes.as_slice()).unwrap();
        let (src, dst) = (IpAddr::from(meta.src), IpAddr::from(meta.dst));
        let ends = ends(meta.proto, (src, meta.src_port), (dst, meta.dst_port));
        let longest: &mut Duration = delays.entry(ends).or_default();
        *longest = (*longest).max(*took);
    }
    delays
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

fn gap(a: Ktime, b: Ktime) -> Duration {
    a.since(b).max(b.since(a))
}

fn near(a: Ktime, b: Ktime) -> bool {
    gap(a, b) <= APART
}

/// Hands a fixture to the programs and holds what comes of it against the file.
fn check(name: &str, share: f64) {
    let Some(mut kernel) = kernel(&settings(), Mode::Simulation) else {
        return;
    };
    let packets = packets(name);
    let (live, times) = live(&mut kernel, &packets);
    let delays = delays(&packets, &times);
    compare(name, &live, &filed(&packets, &times), &delays, share);
}

fn settings() -> KernelConfig {
    KernelConfig {
        flow_capacity: 65_536,
        ..config()
    }
}

/// Of a flow's own numbers all must agree to the bit. Its times agree within [`APART`]: the kernel stamps a packet by the
/// latest jiffy (1 to 10 ms, `CONFIG_HZ`), and a busy machine adds what lies between its tap and the programs; what the
/// delays say of a flow comes on top. Its surroundings depend on the instant at which it is told of, which moves with
/// both: seven in ten must be the same, and this share within a tenth.
fn compare(name: &str, live: &[FeatureRecord], filed: &[FeatureRecord], delays: &HashMap<Ends, Duration>, share: f64) {
    let (live, filed) = (by_flow(live), by_flow(filed));
    assert!(live.keys().eq(filed.keys()), "{name}: the same flows");
    let mut apart = Duration::ZERO;
    let (mut around, mut same, mut close, mut differing) = (0, 0, 0, BTreeMap::<&str, (u32, f64, f64)>::new());
    for (who, expected) in &filed {
        let (source, port, target) = *who;
        let ends = ends(target.proto, (source, port), (target.ip, target.port));
        let delay = delays.get(&ends).copied().unwrap_or_default();
        let told = &live[who];
        let cuts = |records: &[FeatureRecord]| records.iter().map(|r| (r.cut, r.continued)).collect::<Vec<_>>();
        assert_eq!(cuts(told), cuts(expected), "{name}: {who:?}");
        for (a, b) in told.iter().zip(expected) {
            let most = gap(a.start, b.start).max(gap(a.end, b.end));
            assert!(most <= APART + delay, "{name}: {delay:?} {a:?} {b:?}");
            apart = apart.max(most);
            // What is told at a mark of a flow that goes on depends on when the last count was fetched.
            let going_on = b.cut == Cut::Mark && near(b.end, b.at);
            for (at, feature) in FEATURES.iter().enumerate() {
                let (x, y) = (a.vector.0[at], b.vector.0[at]);
                let own = matches!(feature.group, Group::Protocol | Group::Forward | Group::Reverse);
                let timed = ["f_dur", "f_imean"].contains(&feature.name);
                if own && timed {
                    assert!(
                        (x - y).abs() <= (2 * APART + delay).as_secs_f64(),
                        "{name}: {who:?} {}: {x} {y}",
                        feature.name
                    );
                } else if own && !going_on {
                    assert!(x.to_bits() == y.to_bits(), "{name}: {who:?} {}: {x} {y}", feature.name);
                } else if !own {
                    around += 1;
                    same += u32::from(x.to_bits() == y.to_bits());
                    close += u32::from((x - y).abs() <= 0.1 * x.abs().max(y.abs()));
                    if x.to_bits() != y.to_bits() {
                        let entry = differing.entry(feature.name).or_insert((0, x, y));
                        entry.0 += 1;
                    }
                }
            }
        }
    }
    let reached = f64::from(same) / f64::from(around);
    let close = f64::from(close) / f64::from(around);
    println!(
        "{name}: {} flows, times at most {apart:?} apart, surroundings {reached:.4} equal, {close:.4} within a tenth; \
         {differing:?}",
        filed.len()
    );
    assert!(reached >= 0.7 && close >= share, "{name}: {reached} {close}");
}

#[test]
fn features_of_the_kernel_are_those_of_the_file() {
    check("scan_syn.pcap", 0.95);
    check("benign.pcap", 0.95);
    check("bruteforce_ssh.pcap", 0.95);
}

/// A namespace with both ends of a veth pair: `veth0`, which is watched, and `wire`, where the network would be. Nothing
/// speaks there by itself.
struct Wire(String);

impl Wire {
    fn new() -> Self {
        let wire = Self(format!("gate-{}-wire", std::process::id()));
        ip(&format!("netns add {}", wire.0));
        for key in ["all", "default"] {
            let set = format!("netns exec {} sysctl -qw net.ipv6.conf.{key}.disable_ipv6=1", wire.0);
            ip(&set);
        }
        ip(&format!("-n {} link add veth0 type veth peer name wire", wire.0));
        for end in ["veth0", "wire"] {
            ip(&format!("-n {} link set {end} arp off up", wire.0));
        }
        wire
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0]).args(line.split_whitespace());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn run(&self, line: &str) {
        let out = self.command(line).stderr(Stdio::piped()).output().unwrap();
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.0]).status();
    }
}

/// A capture file of these packets (pcap, microseconds).
fn write(path: &Path, packets: &[Packet]) {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let mut out = words(&[0xa1b2_c3d4, 4 << 16 | 2, 0, 0, 65_535, 1]);
    for Packet { at, bytes, .. } in packets {
        let length = bytes.len() as u32;
        out.extend(words(&[at.as_secs() as u32, at.subsec_micros(), length, length]));
        out.extend(bytes);
    }
    std::fs::write(path, out).unwrap();
}

/// Holds the records of a fixture on a wire against those of its capture. Up to three times: between tcpdump's tap and the
/// programs a busy machine may take any time, or lose a packet.
fn over_a_wire(name: &str, share: f64) {
    for _ in 0..2 {
        if std::panic::catch_unwind(|| replayed(name, share)).is_ok() {
            return;
        }
        eprintln!("{name}: once more");
    }
    replayed(name, share);
}

/// Replays a fixture's IPv4 packets through the veth pair (what far hosts send comes in at `veth0`, what ours send goes out
/// there) while tcpdump listens at the other end, and holds the kernel's records against those of what was captured: not
/// against the fixture, because tcpreplay keeps its times only as well as the machine lets it.
fn replayed(name: &str, share: f64) {
    let Some(mut kernel) = kernel(&settings(), Mode::Simulation) else {
        return;
    };
    for tool in ["tcpreplay", "tcpprep", "tcpdump"] {
        if Command::new(tool).arg("--version").output().is_err() {
            skip(&format!("no {tool}; install the packages tcpreplay and tcpdump"));
            return;
        }
    }
    let (wire, dir) = (Wire::new(), tempfile::tempdir().unwrap());
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (file, sides, heard) = (path("file.pcap"), path("sides"), path("heard.pcap"));
    let mut packets = packets(name);
    packets.retain(|packet| parse_ethernet(&packet.bytes.as_slice()).is_ok_and(|meta| meta.src.is_v4()));
    write(Path::new(&file), &packets);
    // All far hosts of the fixtures are there.
    wire.run(&format!(
        "tcpprep --cidr=10.60.0.0/16 --pcap={file} --cachefile={sides}"
    ));
    Pair::inside(&wire.0, || kernel.attach(&["veth0".to_owned()])).unwrap();
    let listen = format!(
        "timeout 120 tcpdump -i wire -s 128 -n --immediate-mode -U -Z root -c {} -w {heard}",
        packets.len()
    );
    let mut listening = wire.command(&listen).spawn().unwrap();
    eventually("the capture to begin", || {
        std::fs::metadata(&heard).is_ok_and(|m| m.len() >= 24)
    });
    let (mut told, builder, clock) = watch(kernel.ring(), kernel.sweep(), || {
        wire.run(&format!(
            "tcpreplay --intf1=wire --intf2=veth0 --cachefile={sides} {file}"
        ));
        assert!(listening.wait().unwrap().success(), "tcpdump heard less than was sent");
        sentinel::time::clock()
    });
    let mut capture = Capture::open(Path::new(&heard)).unwrap();
    let mut replay = FeatureReplay::new(&Config::default());
    let (mut last, mut count) = (Ktime(0), 0);
    while let Some(frame) = capture.next() {
        let frame = frame.unwrap();
        last = clock.boot(sentinel::types::Timestamp(frame.at_ns as i64));
        replay.frame(last.0, frame.bytes);
        count += 1;
    }
    assert_eq!(count, packets.len(), "{name}: all of it was heard");
    let summary = replay.finish();
    assert_eq!(
        (summary.unread, summary.not_ip),
        (0, 0),
        "{name}: 128 bytes of a packet suffice"
    );
    finish(builder, last, &mut told);
    let name = format!("{name} over a wire");
    compare(&name, &told, replay.records(), &HashMap::new(), share);
}

#[test]
fn features_of_traffic_on_a_wire_are_those_of_its_capture() {
    over_a_wire("scan_syn.pcap", 0.95);
    over_a_wire("benign.pcap", 0.95);
    over_a_wire("bruteforce_ssh.pcap", 0.95);
}
