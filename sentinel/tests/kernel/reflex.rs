//! Counters per source: what raises an event, how often, and what is limited for how long.

use super::frames::{SYN, TCP, UDP, frame, tcp, udp};
use super::life::{Bpffs, pinned};
use super::pair::Pair;
use super::*;
use sentinel::kernel::{Record, RingReader, decode};
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, FLAG_SHADOW, NEVER_NS};
use sentinel_common::event::{REFLEX_BYTES, REFLEX_HALF_OPEN, REFLEX_PACKETS, REFLEX_PORTS, REFLEX_SYNS, ReflexRecord};
use sentinel_common::names::PROG_XDP;
use std::net::IpAddr;
use std::time::{Duration, Instant};

const DROP: u32 = 1;
const PASS: u32 = 2;
const ACK: u8 = 0x10;

/// Thresholds that nothing crosses but what a test sets; a window nothing outlasts.
fn quiet() -> ReflexConfig {
    ReflexConfig {
        enabled: true,
        window: Duration::from_mins(1),
        packets: 0,
        bytes: 0,
        syns: 0,
        ports: 0,
        half_open: 0,
        limit: false,
        limit_packets: 1,
        limit_bytes: 0,
        hold: Duration::from_mins(1),
    }
}

fn with(reflex: ReflexConfig) -> KernelConfig {
    KernelConfig { reflex, ..config() }
}

/// Everything the ring holds now of sources that crossed.
pub(crate) async fn drain(ring: RingReader) -> Vec<Record> {
    let (out, mut batches) = tokio::sync::mpsc::channel(4096);
    let cancel = tokio_util::sync::CancellationToken::new();
    cancel.cancel();
    ring.run(out, cancel).await;
    let mut all = Vec::new();
    while let Some(batch) = batches.recv().await {
        all.extend(decode(&batch).map(Result::unwrap));
    }
    all
}

async fn raised(kernel: &mut Kernel) -> Vec<ReflexRecord> {
    let records = drain(kernel.ring()).await;
    let of_sources = records.into_iter().filter_map(|record| match record {
        Record::Reflex(record) => Some(record),
        _ => None,
    });
    of_sources.collect()
}

fn syn(src: &str, n: u32) -> Vec<u8> {
    let dst = if src.contains(':') { "2001:db8:1::1" } else { "10.0.0.1" };
    frame(src, dst, &tcp(2000 + n as u16, 443, SYN, b""), TCP)
}

/// Sends frames made of a number until one is dropped or `count` are through; how many passed.
fn send(kernel: &mut Kernel, count: u32, frame: impl Fn(u32) -> Vec<u8>) -> u32 {
    for n in 0..count {
        match kernel.test_run(PROG_XDP, &frame(n), 1).unwrap().code {
            PASS => {}
            DROP => return n,
            code => panic!("code {code}"),
        }
    }
    count
}

/// Sends SYNs until one is dropped: a thread that stands still may miss the end of a window, or a whole limit.
fn limited(kernel: &mut Kernel, source: &str) {
    eventually("the limit", || send(kernel, 1, |n| syn(source, n)) == 0);
}

fn counter(kernel: &Kernel, which: Counter) -> u64 {
    kernel.test_counters().unwrap()[which as usize]
}

#[tokio::test]
async fn each_threshold_speaks_once_a_window_and_tells_its_numbers() {
    type Case = (ReflexConfig, u32, fn(u32) -> Vec<u8>);
    let cases: [Case; 5] = [
        (
            ReflexConfig {
                packets: 100,
                ..quiet()
            },
            REFLEX_PACKETS,
            |_| frame("198.51.100.7", "10.0.0.1", &udp(53, 40_000, b""), UDP),
        ),
        (
            ReflexConfig {
                bytes: 100_000,
                ..quiet()
            },
            REFLEX_BYTES,
            |_| frame("198.51.100.7", "10.0.0.1", &udp(53, 40_000, &[0; 972]), UDP),
        ),
        (ReflexConfig { syns: 100, ..quiet() }, REFLEX_SYNS, |n| {
            syn("198.51.100.7", n)
        }),
        (ReflexConfig { ports: 60, ..quiet() }, REFLEX_PORTS, |n| {
            frame("198.51.100.7", "10.0.0.1", &udp(4000, 1 + n as u16, b""), UDP)
        }),
        (
            ReflexConfig {
                half_open: 100,
                ..quiet()
            },
            REFLEX_HALF_OPEN,
            |n| syn("2001:db8:7:7::7", n),
        ),
    ];
    for (reflex, bit, frame) in cases {
        let Some(mut kernel) = kernel(&with(reflex), Mode::Production) else {
            return;
        };
        assert_eq!(send(&mut kernel, 400, frame), 400, "told, not limited");
        let told = raised(&mut kernel).await;
        assert_eq!(told.len(), 1, "{told:?}");
        let one = &told[0];
        assert_eq!(counter(&kernel, Counter::ReflexRaised), 1);
        assert_eq!((one.crossed, one.limited_until_ns, one.shadow), (bit, 0, 0));
        let expected: IpAddr = if bit == REFLEX_HALF_OPEN {
            "2001:db8:7:7::7"
        } else {
            "198.51.100.7"
        }
        .parse()
        .unwrap();
        assert_eq!(IpAddr::from(one.remote), expected);
        // A flow may tell of its packets thirty-two at a time.
        let near = |value: u64| (101..=133).contains(&value);
        match bit {
            REFLEX_PACKETS => assert!(near(u64::from(one.packets)), "{one:?}"),
            REFLEX_BYTES => assert!(near(one.bytes / 1000), "{one:?}"),
            REFLEX_PORTS => assert!(
                (61..=70).contains(&one.ports) && (30..120).contains(&one.packets),
                "{one:?}"
            ),
            _ => assert_eq!((one.syns, one.half_open), (101, 101), "{one:?}"),
        }
    }
}

#[tokio::test]
async fn the_next_packet_is_limited_and_only_what_opens() {
    let reflex = ReflexConfig {
        syns: 50,
        limit: true,
        limit_packets: 100,
        ..quiet()
    };
    for (source, sibling) in [
        ("198.51.100.7", None),
        ("2001:db8:7:7::7", Some("2001:db8:7:7:ffff::1")),
    ] {
        let Some(mut kernel) = kernel(&with(reflex.clone()), Mode::Production) else {
            return;
        };
        // 51 cross; then a burst of 250 ms at 100 a second, and one, and what the time it takes gives back.
        let start = Instant::now();
        let passed = send(&mut kernel, 10_000, |n| syn(source, n));
        let most = 51 + 26 + 1 + start.elapsed().as_millis() / 10;
        assert!(passed >= 51 + 26 && u128::from(passed) <= most, "{passed} of {most}");
        assert_eq!(counter(&kernel, Counter::DropReflex), 1);
        let told = raised(&mut kernel).await;
        assert_eq!((told.len(), told[0].packets), (1, 51), "{told:?}");
        assert!(told[0].limited_until_ns > boot_now().0, "{told:?}");

        // Its connections go on, and nobody else is touched but the addresses of the same host.
        let dst = if source.contains(':') {
            "2001:db8:1::1"
        } else {
            "10.0.0.1"
        };
        let ack = frame(source, dst, &tcp(2000, 443, ACK, b"data"), TCP);
        assert_eq!(send(&mut kernel, 200, |_| ack.clone()), 200);
        assert_eq!(send(&mut kernel, 50, |n| syn("198.51.100.8", n)), 50);
        assert_eq!(send(&mut kernel, 50, |n| syn("2001:db8:7:8::7", n)), 50);
        if let Some(sibling) = sibling {
            assert!(send(&mut kernel, 10_000, |n| syn(sibling, n)) < 10_000);
        }
        let top = kernel.sources().unwrap().top(1, boot_now().0);
        let limited: Vec<_> = top.iter().filter(|one| one.limited).collect();
        let address: IpAddr = if sibling.is_some() { "2001:db8:7:7::" } else { source }
            .parse()
            .unwrap();
        assert_eq!(limited.len(), 1, "{top:?}");
        assert_eq!(limited[0].address, address, "{top:?}");
    }
}

#[test]
fn volume_limits_everything_by_packets_and_bytes() {
    let packets = ReflexConfig {
        packets: 100,
        limit: true,
        limit_packets: 100,
        ..quiet()
    };
    let bytes = ReflexConfig {
        packets: 100,
        limit: true,
        limit_packets: 0,
        limit_bytes: 54_000,
        ..quiet()
    };
    for reflex in [packets, bytes] {
        let Some(mut kernel) = kernel(&with(reflex), Mode::Production) else {
            return;
        };
        // 54 bytes: 1,000 a second by bytes, and a quarter of that at once.
        let ack = frame("198.51.100.7", "10.0.0.1", &tcp(2000, 443, ACK, b""), TCP);
        let passed = send(&mut kernel, 2_000, |_| ack.clone());
        assert!((100..1_000).contains(&passed), "{passed}");
        assert!(counter(&kernel, Counter::DropReflex) > 0);
    }
}

/// A decision in simulation leaves its source no better off than without it.
#[test]
fn what_only_counts_hides_no_limit() {
    let reflex = ReflexConfig {
        packets: 100,
        limit: true,
        limit_packets: 100,
        ..quiet()
    };
    for (source, dst) in [("198.51.100.7", "10.0.0.1"), ("2001:db8:7:7::7", "2001:db8:1::1")] {
        let Some(mut kernel) = kernel(&with(reflex.clone()), Mode::Production) else {
            return;
        };
        let entry = BlockEntry {
            expires_ns: NEVER_NS,
            action: ACTION_DROP,
            flags: FLAG_SHADOW,
            ..BlockEntry::default()
        };
        let target = ipnet::IpNet::from(source.parse::<IpAddr>().unwrap());
        kernel.blocks().put_block(target, &entry).unwrap();
        let ack = frame(source, dst, &tcp(2000, 443, ACK, b""), TCP);
        let passed = send(&mut kernel, 2_000, |_| ack.clone());
        assert!((100..1_000).contains(&passed), "{passed}");
        assert_eq!(counter(&kernel, Counter::DropReflex), 1);
        assert_eq!(counter(&kernel, Counter::WouldDrop), u64::from(passed));
        let entry = kernel.blocks().get_block(target).unwrap().unwrap();
        assert_eq!((entry.hits, entry.would_hits), (0, u64::from(passed) + 1));
    }
}

#[tokio::test]
async fn a_limit_ends_by_itself_and_a_new_window_speaks_again() {
    const HOLD: Duration = Duration::from_millis(600);
    let reflex = ReflexConfig {
        window: Duration::from_secs(2),
        syns: 50,
        limit: true,
        // One in more time than it holds.
        limit_packets: 1,
        hold: HOLD,
        ..quiet()
    };
    let Some(mut kernel) = kernel(&with(reflex), Mode::Production) else {
        return;
    };
    // It begins with one of these; its end is kept in steps of 17 ms, and the kernel's clock has steps of its own.
    let step = Duration::from_millis(40);
    let before = Instant::now();
    limited(&mut kernel, "198.51.100.7");
    let begun = Instant::now();
    let spoken = counter(&kernel, Counter::ReflexRaised);
    loop {
        let asked = Instant::now();
        let code = kernel.test_run(PROG_XDP, &syn("198.51.100.7", 500), 1).unwrap().code;
        if code == PASS {
            assert!(before.elapsed() + step >= HOLD, "after {:?}", before.elapsed());
            break;
        }
        assert!(asked < begun + HOLD + step, "still, after {:?}", asked - before);
    }
    assert_eq!(send(&mut kernel, 45, |n| syn("198.51.100.7", n)), 45);
    assert_eq!(raised(&mut kernel).await.len() as u64, spoken);

    let Some(mut kernel) = self::kernel(
        &with(ReflexConfig {
            window: Duration::from_millis(200),
            syns: 50,
            ..quiet()
        }),
        Mode::Production,
    ) else {
        return;
    };
    let start = Instant::now();
    for spoken in 1..=5 {
        eventually("it to speak", || {
            send(&mut kernel, 1, |n| syn("198.51.100.7", n));
            counter(&kernel, Counter::ReflexRaised) >= spoken
        });
        // More in the same window, mostly.
        send(&mut kernel, 200, |n| syn("198.51.100.7", n));
        std::thread::sleep(Duration::from_millis(220));
    }
    // Windows are measured in steps of a millisecond.
    let windows = start.elapsed().as_millis() / 199 + 1;
    let told = raised(&mut kernel).await.len();
    assert!(told >= 5 && told as u128 <= windows, "{told} in {windows} windows");
}

/// A limit that was told goes on until then under the next agent, also where that one limits for a shorter time: its
/// own limits cut nobody's short.
#[test]
fn a_limit_outlives_an_upgrade_to_shorter_ones() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let start = |hold| {
        let config = KernelConfig {
            reflex: ReflexConfig {
                window: Duration::from_secs(2),
                syns: 50,
                limit: true,
                limit_packets: 1,
                hold,
                ..quiet()
            },
            ..pinned(&bpffs)
        };
        let mut kernel = Kernel::load(&config, Mode::Production).unwrap();
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
        kernel
    };
    let mut before = start(Duration::from_mins(5));
    limited(&mut before, "198.51.100.7");
    drop(before);
    let mut after = start(Duration::from_millis(600));
    limited(&mut after, "198.51.100.8");
    eventually("the limit to end", || {
        after.test_run(PROG_XDP, &syn("198.51.100.8", 500), 1).unwrap().code == PASS
    });
    // One a second may pass.
    let passed = send(&mut after, 20, |n| syn("198.51.100.7", n));
    assert!(passed < 5, "cut short by another's limit: {passed} passed");
}

#[tokio::test]
async fn simulation_counts_and_the_allowlist_is_exempt() {
    let reflex = ReflexConfig {
        syns: 50,
        limit: true,
        ..quiet()
    };
    let Some(mut kernel) = kernel(&with(reflex), Mode::Simulation) else {
        return;
    };
    assert_eq!(send(&mut kernel, 400, |n| syn("198.51.100.7", n)), 400);
    let told = raised(&mut kernel).await;
    assert_eq!((told.len(), told[0].shadow), (1, 1), "{told:?}");
    assert!(counter(&kernel, Counter::WouldLimit) > 200);
    assert_eq!(counter(&kernel, Counter::DropReflex), 0);

    kernel.set_enforce(true).unwrap();
    assert!(send(&mut kernel, 100, |n| syn("198.51.100.7", n)) < 100);
    let allow = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    let mut blocks = kernel.blocks();
    for net in ["198.51.100.0/24", "2001:db8:7::/48"] {
        blocks.put_allow(net.parse().unwrap(), &allow).unwrap();
    }
    let before = counter(&kernel, Counter::ReflexRaised);
    for source in ["198.51.100.7", "198.51.100.8", "2001:db8:7:7::7"] {
        assert_eq!(send(&mut kernel, 400, |n| syn(source, n)), 400, "{source}");
    }
    assert_eq!(counter(&kernel, Counter::ReflexRaised), before);
}

#[tokio::test]
async fn a_flood_of_forged_sources_hides_no_heavy_one() {
    let reflex = ReflexConfig { syns: 300, ..quiet() };
    let Some(mut kernel) = kernel(&with(reflex), Mode::Production) else {
        return;
    };
    let forged = |n: u32| {
        let [_, a, b, c] = n.wrapping_mul(2_654_435_761).to_be_bytes();
        frame(&format!("20.{a}.{b}.{c}"), "10.0.0.1", &tcp(9, 443, SYN, b""), TCP)
    };
    // More than the table holds; then one real scanner among a hundred forged ones for each of its packets.
    send(&mut kernel, 150_000, forged);
    for n in 0..400 {
        send(&mut kernel, 1, |_| syn("198.51.100.7", n));
        send(&mut kernel, 100, |m| forged(150_000 + n * 100 + m));
    }
    let told = raised(&mut kernel).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(IpAddr::from(told[0].remote), "198.51.100.7".parse::<IpAddr>().unwrap());
    let top = kernel.sources().unwrap().top(3, boot_now().0);
    assert_eq!((top.len(), top[0].address), (3, "198.51.100.7".parse().unwrap()));
    assert_eq!(
        (top[0].packets, top[0].syns, top[0].half_open),
        (400, 400, 400),
        "{top:?}"
    );
}

#[tokio::test]
async fn a_notice_outlives_a_channel_that_was_full() {
    let limits = ReflexConfig {
        packets: 100,
        ..quiet()
    };
    let Some(mut kernel) = kernel(&with(limits), Mode::Production) else {
        return;
    };
    // More records of flows than the channel holds, and behind them one notice.
    for n in 0..3000_u32 {
        let src = format!("100.1.{}.{}", n / 250, n % 250 + 1);
        kernel.test_run(PROG_XDP, &syn(&src, 1), 1).unwrap();
    }
    let noisy = frame("198.51.100.7", "10.0.0.1", &udp(53, 40_000, b""), UDP);
    for _ in 0..150 {
        kernel.test_run(PROG_XDP, &noisy, 1).unwrap();
    }
    let (out, mut batches) = tokio::sync::mpsc::channel(1);
    let cancel = tokio_util::sync::CancellationToken::new();
    let lost = kernel.ring_lost();
    let reading = tokio::spawn(kernel.ring().run(out, cancel.clone()));
    let patience = Duration::from_mins(1);
    let full = async {
        while lost.load(std::sync::atomic::Ordering::Relaxed) < 2000 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(patience, full)
        .await
        .expect("batches were dropped");
    let noticed = async {
        while let Some(batch) = batches.recv().await {
            if decode(&batch).any(|record| matches!(record, Ok(Record::Reflex(_)))) {
                return true;
            }
        }
        false
    };
    assert_eq!(tokio::time::timeout(patience, noticed).await, Ok(true));
    cancel.cancel();
    reading.await.unwrap();
}
