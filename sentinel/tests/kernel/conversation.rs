//! The proof of return path, and every packet accounted for once: the two directions on different CPUs.

use super::frames::{SYN, TCP, UDP, frame, udp};
use super::*;
use sentinel::kernel::{FlowSweep, Record, decode};
use sentinel::time::boot_now;
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{
    EGRESS, FlowValue, INGRESS, STATE_ANSWERED, STATE_CLOSED, STATE_HANDSHAKE, STATE_OPENED_BY_EGRESS,
};
use sentinel_common::names::PROG_XDP;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const FAR: &str = "192.0.2.7";
const NEAR: &str = "10.0.0.1";
const ACK: u8 = 0x10;
const RST: u8 = 0x04;
const SYNACK: u8 = SYN | ACK;

/// Whom a segment comes from.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Far,
    Near,
}
use Side::{Far, Near};

/// A segment with numbers of its own.
fn segment(from: Side, flags: u8, seq: u32, ack: u32) -> Vec<u8> {
    let (src, dst, ports) = match from {
        Far => (FAR, NEAR, [4000u16, 22]),
        Near => (NEAR, FAR, [22, 4000]),
    };
    let mut l4 = Vec::new();
    for port in ports {
        l4.extend(port.to_be_bytes());
    }
    l4.extend(seq.to_be_bytes());
    l4.extend(ack.to_be_bytes());
    l4.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame(src, dst, &l4, TCP)
}

fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Hands a frame to the program of its direction, on a CPU.
fn pass(kernel: &mut Kernel, cpu: usize, from: Side, frame: &[u8]) {
    std::thread::scope(|scope| {
        let on_cpu = || {
            pin(cpu % cpus());
            match from {
                Far => assert_eq!(kernel.test_run(PROG_XDP, frame, 1).unwrap().code, 2),
                Near => drop(kernel.test_egress(frame).unwrap()),
            }
        };
        scope.spawn(on_cpu).join().unwrap();
    });
}

/// State of the only flow, of both directions and all CPUs.
fn state(kernel: &Kernel) -> u32 {
    let flows = kernel.test_flows(boot_now()).unwrap();
    assert_eq!(flows.len(), 1, "{flows:?}");
    flows[0].1.state
}

/// A handshake begun by the far side: its SYN, our SYN-ACK, on CPUs of their own.
fn half_open(kernel: &mut Kernel) {
    pass(kernel, 0, Far, &segment(Far, SYN, 1000, 0));
    pass(kernel, 1, Near, &segment(Near, SYNACK, 7000, 1001));
}

#[test]
fn a_handshake_is_proven_by_the_right_number_on_whatever_cpu() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    for cpu in 0..3 {
        kernel.test_forget().unwrap();
        half_open(&mut kernel);
        assert_eq!(state(&kernel) & STATE_HANDSHAKE, 0, "nothing is proven yet");
        for forged in [7000, 7002, 0, 1001] {
            pass(&mut kernel, cpu, Far, &segment(Far, ACK, 1001, forged));
            assert_eq!(state(&kernel) & STATE_HANDSHAKE, 0, "{forged} proves nothing");
        }
        pass(&mut kernel, cpu, Far, &segment(Far, ACK | RST, 1001, 7001));
        assert_eq!(state(&kernel) & STATE_HANDSHAKE, 0, "a reset proves nothing");
        pass(&mut kernel, cpu, Far, &segment(Far, ACK, 1001, 7001));
        let state = state(&kernel);
        assert_eq!(state & (STATE_HANDSHAKE | STATE_OPENED_BY_EGRESS), STATE_HANDSHAKE);
    }
}

#[test]
fn we_open_and_the_far_side_proves_itself() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    pass(&mut kernel, 1, Near, &segment(Near, SYN, 500, 0));
    pass(&mut kernel, 0, Far, &segment(Far, SYNACK, 9000, 502));
    assert_eq!(state(&kernel) & STATE_HANDSHAKE, 0, "one off");
    pass(&mut kernel, 0, Far, &segment(Far, SYNACK, 9000, 501));
    let state = state(&kernel);
    let both = STATE_HANDSHAKE | STATE_OPENED_BY_EGRESS;
    assert_eq!(state & both, both);
}

#[test]
fn another_cpu_learns_what_was_proven_and_an_old_proof_is_no_new_one() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    if cpus() < 2 {
        println!("skipped: one CPU");
        return;
    }
    half_open(&mut kernel);
    pass(&mut kernel, 0, Far, &segment(Far, ACK, 1001, 7001));
    pass(&mut kernel, 1, Far, &segment(Far, ACK, 1001, 7900));
    let proven = |kernel: &Kernel| {
        let slots = kernel.test_slots().unwrap();
        let told = slots
            .iter()
            .filter(|(head, _)| u32::from(head.state) & STATE_HANDSHAKE != 0);
        (told.count(), slots.len())
    };
    assert_eq!(proven(&kernel), (2, 3), "both CPUs that saw the far side know");
    // The connection ends, and somebody begins another on its ports, who may be anybody.
    pass(&mut kernel, 0, Far, &segment(Far, RST, 1001, 0));
    pass(&mut kernel, 0, Far, &segment(Far, SYN, 1, 0));
    assert_eq!(
        proven(&kernel).0,
        1,
        "what the other CPU knew is of the connection before"
    );
    pass(&mut kernel, 0, Far, &segment(Far, ACK, 2, 7001 + 12_345));
    assert_eq!(proven(&kernel).0, 1);
}

#[test]
fn a_reset_is_believed_where_our_side_would() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let far_off = [1001 - 1, 1001 + (2 << 20), 1001 + (1 << 31)];
    for seq in far_off {
        kernel.test_forget().unwrap();
        half_open(&mut kernel);
        pass(&mut kernel, 0, Far, &segment(Far, ACK, 1001, 7001));
        pass(&mut kernel, 0, Far, &segment(Far, RST, seq, 0));
        assert_eq!(state(&kernel) & STATE_CLOSED, 0, "{seq} is out of the window");
        pass(&mut kernel, 1, Far, &segment(Far, RST, 1001 + 100, 0));
        assert_ne!(state(&kernel) & STATE_CLOSED, 0, "in the window, on another CPU");
    }
    // Our acknowledgement moves on, and the window with it.
    kernel.test_forget().unwrap();
    half_open(&mut kernel);
    pass(&mut kernel, 0, Far, &segment(Far, ACK, 1001, 7001));
    for ack in [1001, 1001 + 50_000, 1001 + 3_000_000] {
        pass(&mut kernel, 1, Near, &segment(Near, ACK, 7001, ack));
    }
    pass(&mut kernel, 0, Far, &segment(Far, RST, 1001, 0));
    assert_eq!(state(&kernel) & STATE_CLOSED, 0, "far behind by now");
    pass(&mut kernel, 0, Far, &segment(Far, RST, 1001 + 3_000_100, 0));
    assert_ne!(state(&kernel) & STATE_CLOSED, 0);
}

#[test]
fn udp_has_a_weaker_word_of_its_own() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let (question, answer) = (
        frame(FAR, NEAR, &udp(4000, 53, b"?"), UDP),
        frame(NEAR, FAR, &udp(53, 4000, b"!"), UDP),
    );
    pass(&mut kernel, 0, Far, &question);
    pass(&mut kernel, 0, Far, &question);
    assert_eq!(state(&kernel) & STATE_ANSWERED, 0, "nobody answered");
    pass(&mut kernel, 1, Near, &answer);
    assert_eq!(state(&kernel) & STATE_ANSWERED, 0, "our answer was not answered");
    pass(&mut kernel, 0, Far, &question);
    let state = state(&kernel);
    assert_eq!(state & (STATE_ANSWERED | STATE_HANDSHAKE), STATE_ANSWERED);
    assert_eq!(state & STATE_OPENED_BY_EGRESS, 0);
}

/// What the ring has, what the sweep fetches, and what still waits in slots, per direction.
struct Books {
    reader: Option<sentinel::kernel::RingReader>,
    sweep: FlowSweep,
    told: FlowValue,
    records: u64,
}

impl Books {
    fn new(kernel: &mut Kernel) -> Self {
        Self {
            reader: Some(kernel.ring()),
            // As after a flood: each sweep comes in many parts.
            sweep: kernel.sweep().with_records(64),
            told: FlowValue::default(),
            records: 0,
        }
    }

    fn add(&mut self, record: &FlowRecord) {
        self.told.absorb(record.direction, &record.counts, 0);
    }

    fn sweep(&mut self, after: Duration) {
        loop {
            for record in self.sweep.sweep(boot_now().after(after)) {
                self.add(&record);
            }
            if !self.sweep.is_cut() {
                break;
            }
        }
    }

    /// Reads the ring to its end, once.
    fn ring(&mut self) {
        let reader = self.reader.take().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let batches = runtime.block_on(async {
            let (out, mut input) = mpsc::channel(4096);
            let cancel = CancellationToken::new();
            cancel.cancel();
            reader.run(out, cancel).await;
            let mut batches = Vec::new();
            while let Some(batch) = input.recv().await {
                batches.push(batch);
            }
            batches
        });
        for batch in batches {
            for record in decode(&batch) {
                let Record::Flow(mut record) = record.unwrap() else {
                    panic!("flows are all there is");
                };
                self.records += 1;
                if self.sweep.settle(&mut record) {
                    self.add(&record);
                }
            }
        }
    }
}

/// Drives 20,000 packets of 3,000 flows over both directions and all CPUs, with sweeps in between, and adds up.
fn books(config: &KernelConfig) -> Option<BTreeMap<&'static str, u64>> {
    const PACKETS: u32 = 20_000;
    let config = &KernelConfig {
        report_interval: Duration::from_millis(100),
        ..config.clone()
    };
    let mut kernel = kernel(config, Mode::Production)?;
    let mut books = Books::new(&mut kernel);
    let before = kernel.test_counters().unwrap();
    let mut passed = [0u64; 2];
    let mut bytes = [0u64; 2];
    let cpus = cpus();
    for turn in 0..4 {
        for cpu in 0..cpus {
            std::thread::scope(|scope| {
                let (kernel, passed, bytes) = (&mut kernel, &mut passed, &mut bytes);
                let work = move || {
                    pin(cpu);
                    for n in 0..PACKETS / 4 / cpus as u32 {
                        let flow = (n.wrapping_mul(2_654_435_761) >> 8) % 3000;
                        let far = format!("192.0.{}.{}", flow / 250, flow % 250);
                        let out = n % 3 == 0;
                        let (src, dst) = if out {
                            (NEAR, far.as_str())
                        } else {
                            (far.as_str(), NEAR)
                        };
                        let payload = vec![7; (n % 200) as usize];
                        let frame = frame(src, dst, &udp(99, 99, &payload), UDP);
                        if out {
                            kernel.test_egress(&frame).unwrap();
                        } else {
                            kernel.test_run(PROG_XDP, &frame, 1).unwrap();
                        }
                        let direction = if out { EGRESS } else { INGRESS } as usize;
                        passed[direction] += 1;
                        bytes[direction] += 28 + u64::from(n % 200);
                    }
                };
                scope.spawn(work).join().unwrap();
            });
        }
        if turn < 3 {
            // After an interval and what clocks may differ by every slot is quiet: whatever stands unreported is fetched,
            // and counts on. Not before its time: what is younger than half an interval the kernel takes as not fetched.
            std::thread::sleep(config.report_interval * 3 / 2);
            books.sweep(Duration::ZERO);
        }
    }
    let moved = moved(&before, &kernel.test_counters().unwrap());
    books.ring();
    // What is fetched is remembered until the kernel's own record comes; where the table's whole size is remembered, the
    // rest waits until it is clear that none will.
    for after in [1, 40, 41] {
        books.sweep(Duration::from_secs(after));
    }
    let count = |label: &str| moved.get(label).copied().unwrap_or(0);
    let (inward, outward) = (&books.told.ingress, &books.told.egress);
    let told = inward.packets + outward.packets;
    let given_up = count("flow_lost") + count("flow_refused");
    assert_eq!(passed[0] + passed[1], told + given_up, "{moved:?}");
    assert_eq!(count("event_sent"), books.records, "{moved:?}");
    if given_up == 0 {
        assert_eq!([inward.packets, outward.packets], passed, "{moved:?}");
        assert_eq!([inward.bytes, outward.bytes], bytes, "{moved:?}");
    }
    Some(moved)
}

#[test]
fn every_packet_is_told_of_once_or_counted_as_lost() {
    let roomy = KernelConfig {
        flow_capacity: 65_536,
        ring_bytes: 16 << 20,
        ..config()
    };
    let Some(moved) = books(&roomy) else { return };
    assert!(!moved.contains_key("flow_lost"), "{moved:?}");
    let flows = moved["flow_new"];

    let crowded = KernelConfig {
        flow_capacity: 1024,
        ring_bytes: 16 << 20,
        ..config()
    };
    let moved = books(&crowded).unwrap();
    assert!(
        moved["flow_new"] > flows && !moved.contains_key("flow_lost"),
        "{moved:?}"
    );

    let full_ring = KernelConfig {
        flow_capacity: 1024,
        ring_bytes: 4096,
        ..config()
    };
    let moved = books(&full_ring).unwrap();
    assert!(moved["flow_lost"] > 0 && moved["event_thinned"] > 0, "{moved:?}");

    let poor = KernelConfig {
        flow_capacity: 1024,
        event_budget: 1,
        ..config()
    };
    let moved = books(&poor).unwrap();
    assert!(moved["flow_lost"] > 0 && moved["event_deferred"] > 0, "{moved:?}");
}

#[test]
fn established_flows_outlive_a_flood_of_new_ones() {
    const ESTABLISHED: usize = 500;
    /// Four to a bucket in each of five rounds.
    const NEWCOMERS: u32 = 4096;
    let small = KernelConfig {
        flow_capacity: 4096 * cpus() as u32,
        ..config()
    };
    let Some(mut kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    pin(0);
    let far = |n: u32| format!("192.0.{}.{}", n / 250, n % 250);
    // One place of each bucket is the newcomers': four flows that nothing is proven of would leave them none.
    let packets = (0..).map(|n| frame(&far(n), NEAR, &udp(5000, 443, b"x"), UDP));
    let packets = Buckets::choose(&kernel, ESTABLISHED, WAYS - 1, packets);
    let held = |kernel: &Kernel| {
        let flows = kernel.test_flows(boot_now()).unwrap();
        flows.iter().filter(|(key, _)| key.remote_port == 5000).count()
    };
    for round in 0..5 {
        // A flow keeps its place for half a minute after its latest packet. One packet a call: the kernel takes tens of
        // milliseconds to prepare for more.
        for packet in packets.iter().chain(&packets) {
            kernel.test_run(PROG_XDP, packet, 1).unwrap();
        }
        assert_eq!(held(&kernel), ESTABLISHED);
        for n in round * NEWCOMERS..(round + 1) * NEWCOMERS {
            let [_, b, c, d] = n.to_be_bytes();
            let probe = frame(&format!("100.{b}.{c}.{d}"), NEAR, &udp(6000, 443, b"x"), UDP);
            kernel.test_run(PROG_XDP, &probe, 1).unwrap();
        }
        assert_eq!(held(&kernel), ESTABLISHED, "none had to make room, round {round}");
    }
}

#[test]
fn more_established_flows_than_a_bucket_holds_find_room_beside_and_are_found_there() {
    const HELD: usize = WAYS + 2;
    let small = KernelConfig {
        flow_capacity: 4096 * cpus() as u32,
        ..config()
    };
    let Some(mut kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    pin(0);
    let flow = |n: u32| {
        frame(
            &format!("192.0.{}.{}", n / 250, n % 250),
            NEAR,
            &udp(5000, 443, b"x"),
            UDP,
        )
    };
    let bucket_of = |packet: &Vec<u8>| {
        let meta = parse_ethernet(&packet.as_slice()).unwrap();
        kernel.test_place(&meta, Direction::Ingress).unwrap().0
    };
    let crowded = bucket_of(&flow(0));
    let packets: Vec<_> = (0..60_000)
        .map(flow)
        .filter(|p| bucket_of(p) == crowded)
        .take(HELD)
        .collect();
    assert_eq!(packets.len(), HELD);
    let before = kernel.test_counters().unwrap();
    for round in 0..3_u32 {
        for packet in &packets {
            kernel.test_run(PROG_XDP, packet, 1).unwrap();
            kernel.test_run(PROG_XDP, packet, 1).unwrap();
        }
        for n in round * 4096..(round + 1) * 4096 {
            let [_, b, c, d] = n.to_be_bytes();
            let probe = frame(&format!("100.{b}.{c}.{d}"), NEAR, &udp(6000, 443, b"x"), UDP);
            kernel.test_run(PROG_XDP, &probe, 1).unwrap();
        }
        let flows = kernel.test_flows(boot_now()).unwrap();
        let held = flows.iter().filter(|(key, _)| key.remote_port == 5000).count();
        assert_eq!(held, HELD, "round {round}");
    }
    let moved = moved(&before, &kernel.test_counters().unwrap());
    assert_eq!(moved["flow_new"], HELD as u64 + 3 * 4096, "each began once");
}
