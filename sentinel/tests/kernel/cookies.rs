//! The SYN cookies' stage, packet by packet, against the stack of a namespace.

use super::flood::pass_on;
use super::frames::{SYN, TCP, frame, tcp};
use super::live::retransmitted;
use super::pair::{Ends, Pair, records};
use super::reflex::drain;
use super::*;
use sentinel::config::Switch;
use sentinel::kernel::{Cookies, Record};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{AllowEntry, NEVER_NS};
use sentinel_common::event::SynFloodRecord;
use sentinel_common::flow::{FlowValue, STATE_HANDSHAKE, STATE_OPENED_BY_EGRESS};
use sentinel_common::names::{PROG_XDP, PROG_XDP_FRAGS};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

const DROP: u32 = 1;
pub(crate) const PASS: u32 = 2;
pub(crate) const TX: u32 = 3;
const ACK: u8 = 0x10;
/// Handshakes that make a flood here.
const FLOOD: u32 = 20;

/// Segment size 1460, SACK, timestamps, window scaling: what a client asks for.
const OPTIONS: [u8; 20] = [2, 4, 0x05, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

pub(crate) fn flooded(ports: Vec<u16>) -> KernelConfig {
    KernelConfig {
        syn_cookies: SynCookieConfig {
            enabled: Switch::On,
            ports,
            half_open: FLOOD,
        },
        ..config()
    }
}

/// Sets `net.ipv4.tcp_syncookies` of a namespace.
pub(crate) fn set_syncookies(ns: &str, value: u8) {
    Pair::inside(ns, || {
        std::fs::write("/proc/sys/net/ipv4/tcp_syncookies", value.to_string()).unwrap();
    });
}

/// A SYN to this host, with a client's options or without.
pub(crate) fn syn(v6: bool, host: u16, port: u16, options: bool) -> Vec<u8> {
    let mut segment = tcp(40_000 + host, port, SYN, b"");
    if options {
        segment[12] = 0xa0;
        segment.extend(OPTIONS);
    }
    if v6 {
        frame(&format!("fd99::1:{host:x}"), "fd99::1", &segment, TCP)
    } else {
        frame(&format!("10.99.0.{}", 10 + host % 200), "10.99.0.1", &segment, TCP)
    }
}

/// The sum over a packet's words, with `seed` (RFC 1071); 0xffff where a checksum within is right.
fn sum(bytes: &[u8], seed: u32) -> u16 {
    let mut sum = seed;
    for word in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([word[0], *word.get(1).unwrap_or(&0)]));
    }
    while sum >> 16 != 0 {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// Checks a SYN-ACK against its SYN, byte by byte, and gives its cookie.
#[track_caller]
fn check(syn: &[u8], answer: &[u8], l3: usize, options: bool) -> u32 {
    assert_eq!((&answer[..6], &answer[6..12]), (&syn[6..12], &syn[..6]), "addresses");
    assert_eq!(answer[12..l3], syn[12..l3], "tags");
    let (ip, was) = (&answer[l3..], &syn[l3..]);
    let v6 = ip[0] >> 4 == 6;
    let segment = if options { 24 } else { 20 };
    let (tcp, tcp_was) = if v6 {
        assert_eq!((ip[..4].to_vec(), ip[6], ip[7]), (vec![0x60, 0, 0, 0], TCP, 64));
        assert_eq!(u16::from_be_bytes([ip[4], ip[5]]), segment);
        assert_eq!((&ip[8..24], &ip[24..40]), (&was[24..40], &was[8..24]));
        (&ip[40..], &was[40..])
    } else {
        assert_eq!((ip[0], ip[8], ip[9], sum(&ip[..20], 0)), (0x45, 64, TCP, 0xffff));
        assert_eq!(u16::from_be_bytes([ip[2], ip[3]]), 20 + segment);
        assert_eq!((&ip[12..16], &ip[16..20]), (&was[16..20], &was[12..16]));
        (&ip[20..], &was[20..])
    };
    assert_eq!(tcp.len(), usize::from(segment), "nothing behind it");
    assert_eq!((&tcp[..2], &tcp[2..4]), (&tcp_was[2..4], &tcp_was[..2]), "ports");
    assert_eq!(u32::from_be_bytes(tcp[8..12].try_into().unwrap()), 1001);
    assert_eq!((tcp[12], tcp[13]), (segment as u8 * 4, 0x12));
    let addresses = if v6 { &ip[8..40] } else { &ip[12..20] };
    let pseudo = u32::from(sum(addresses, 0)) + u32::from(TCP) + u32::from(segment);
    assert_eq!(sum(tcp, pseudo), 0xffff, "TCP checksum");
    if options {
        assert_eq!((tcp[20], tcp[21]), (2, 4));
        let mss = u16::from_be_bytes([tcp[22], tcp[23]]);
        assert!((1220..=1460).contains(&mss), "{mss}");
    }
    u32::from_be_bytes(tcp[4..8].try_into().unwrap())
}

/// What the client sends next.
fn ack(syn: &[u8], l3: usize, cookie: u32) -> Vec<u8> {
    let l4 = l3 + if syn[l3] >> 4 == 6 { 40 } else { 20 };
    let mut out = syn[..l4 + 20].to_vec();
    let len = if l4 - l3 == 40 { 20u16 } else { 40 };
    let at = if l4 - l3 == 40 { l3 + 4 } else { l3 + 2 };
    out[at..at + 2].copy_from_slice(&len.to_be_bytes());
    out[l4 + 4..l4 + 8].copy_from_slice(&1001u32.to_be_bytes());
    out[l4 + 8..l4 + 12].copy_from_slice(&cookie.wrapping_add(1).to_be_bytes());
    out[l4 + 12] = 0x50;
    out[l4 + 13] = ACK;
    out
}

/// SYNs until a port is under flood: twice as many as make one within a second, so that they do wherever a window ends.
fn burst(kernel: &mut Kernel, port: u16) {
    for _ in 0..50 {
        let start = Instant::now();
        for host in 0..2 * (FLOOD as u16 + 1) {
            run(kernel, &syn(false, 400 + host, port, true));
        }
        if start.elapsed() < Duration::from_secs(1) {
            return;
        }
    }
    panic!("this machine sends no {FLOOD} SYNs within a second");
}

/// SYNs until a port is under flood, and stays so for seconds. A flood that was there already and near its end goes on
/// only from the end of a window that had SYNs enough, so that they go on beyond one.
pub(crate) fn flood(kernel: &mut Kernel, port: u16) {
    for _ in 0..50 {
        burst(kernel, port);
        let start = Instant::now();
        let (mut latest, mut gap) = (start, Duration::ZERO);
        while start.elapsed() < Duration::from_millis(1_100) {
            std::thread::sleep(Duration::from_millis(50));
            for host in 0..5 {
                run(kernel, &syn(false, 400 + host, port, true));
            }
            gap = gap.max(latest.elapsed());
            latest = Instant::now();
        }
        if gap < Duration::from_millis(500) {
            return;
        }
    }
    panic!("this machine stands still for half a second in each");
}

pub(crate) fn run(kernel: &mut Kernel, frame: &[u8]) -> (u32, Vec<u8>) {
    kernel.test_rewrite(PROG_XDP, frame).unwrap()
}

pub(crate) fn counter(kernel: &Kernel, which: Counter) -> u64 {
    kernel.test_counters().unwrap()[which as usize]
}

/// A kernel with stages, and a namespace whose stack answers: cookies always, on port 8099 of either family.
fn machine(ports: Vec<u16>) -> Option<(Kernel, Pair, [TcpListener; 2])> {
    let kernel = kernel(&flooded(ports), Mode::Production)?;
    assert_eq!(*kernel.cookies(), Cookies::Ready);
    let pair = Pair::new();
    set_syncookies(&pair.near, 2);
    let listeners = Pair::inside(&pair.near, || {
        ["10.99.0.1:8099", "[fd99::1]:8099"].map(|at| TcpListener::bind(at).unwrap())
    });
    Some((kernel, pair, listeners))
}

#[test]
fn a_syn_becomes_its_answer_and_the_stack_takes_what_comes_back() {
    let Some((mut kernel, pair, _listeners)) = machine(vec![]) else {
        return;
    };
    Pair::inside(&pair.near, || {
        for program in [PROG_XDP, PROG_XDP_FRAGS] {
            if program == PROG_XDP_FRAGS && !probe::multi_buffer() {
                continue;
            }
            // Loaded before there is a flood, which may be over until it is.
            drop(kernel.test_program(program).unwrap());
            for (v6, options, tags) in [
                (false, true, 0),
                (false, false, 0),
                (true, true, 0),
                (true, false, 0),
                (false, true, 1),
                (true, true, 2),
            ] {
                let mut asked = syn(v6, 7, 8099, options);
                for _ in 0..tags {
                    asked.splice(12..12, [0x81, 0, 0, 5]);
                }
                let l3 = 14 + 4 * tags;
                flood(&mut kernel, 8099);
                let before = kernel.test_counters().unwrap();
                let (code, answer) = kernel.test_rewrite(program, &asked).unwrap();
                assert_eq!(code, TX, "{program} {v6} {options} {tags}");
                let cookie = check(&asked, &answer, l3, options);
                let (packets, octets) = if v6 {
                    ("answer_v6", "answer_v6_bytes")
                } else {
                    ("answer_v4", "answer_v4_bytes")
                };
                let expected = BTreeMap::from([(packets, 1), (octets, asked.len() as u64)]);
                assert_eq!(moved(&before, &kernel.test_counters().unwrap()), expected);

                let valid = counter(&kernel, Counter::CookieValid);
                let back = ack(&asked, l3, cookie);
                assert_eq!(kernel.test_rewrite(program, &back).unwrap(), (PASS, back.clone()));
                assert_eq!(counter(&kernel, Counter::CookieValid), valid + 1);
                kernel.test_forget().unwrap();

                let invalid = counter(&kernel, Counter::CookieInvalid);
                let guessed = ack(&asked, l3, cookie ^ 0x0100_0000);
                assert_eq!(kernel.test_run(program, &guessed, 1).unwrap().code, DROP);
                assert_eq!(counter(&kernel, Counter::CookieInvalid), invalid + 1);
            }
        }
    });
}

/// Whether the only flow in the table is proven to receive what we send; `None` where there is no flow.
fn proven(kernel: &Kernel) -> Option<bool> {
    let flows = kernel.test_flows(sentinel::time::boot_now()).unwrap();
    assert!(flows.len() < 2, "{flows:?}");
    flows.first().map(|(_, value)| value.state & STATE_HANDSHAKE != 0)
}

#[test]
fn only_a_valid_cookie_proves_the_return_path() {
    let Some((mut kernel, pair, _listeners)) = machine(vec![]) else {
        return;
    };
    Pair::inside(&pair.near, || {
        for (program, host) in [(PROG_XDP, 20), (PROG_XDP_FRAGS, 21)] {
            if program == PROG_XDP_FRAGS && !probe::multi_buffer() {
                continue;
            }
            // Loaded before there is a flood, which may be over until it is.
            drop(kernel.test_program(program).unwrap());
            for v6 in [false, true] {
                for port in [9000, 8099] {
                    flood(&mut kernel, port);
                }
                let asked = syn(v6, host, 8099, true);
                kernel.test_forget().unwrap();
                let (code, answer) = kernel.test_rewrite(program, &asked).unwrap();
                assert_eq!((code, proven(&kernel)), (TX, None), "no flow yet");
                let cookie = check(&asked, &answer, 14, true);
                let l4 = if v6 { 54 } else { 34 };
                for wrong in [cookie ^ 0x0100_0000, cookie ^ 0x8000, cookie.wrapping_add(0x1000), 0] {
                    let guessed = ack(&asked, 14, wrong);
                    let code = kernel.test_run(program, &guessed, 1).unwrap().code;
                    assert_eq!((code, proven(&kernel)), (DROP, None), "{wrong:x}");
                    // What passes and does not acknowledge finds nothing that was left for it.
                    let mut silent = guessed;
                    silent[l4 + 13] = 0x08;
                    let code = kernel.test_run(program, &silent, 1).unwrap().code;
                    assert_eq!((code, proven(&kernel)), (PASS, Some(false)), "{wrong:x}");
                    kernel.test_forget().unwrap();
                }
                let back = ack(&asked, 14, cookie);
                for (count, proof) in [(1, true), (2, true)] {
                    let code = kernel.test_run(program, &back, 1).unwrap().code;
                    assert_eq!((code, proven(&kernel)), (PASS, Some(proof)), "{count} times");
                }
                // Where nobody listens and where there is no flood it passes, and proves nothing.
                for port in [9000u16, 9001] {
                    kernel.test_forget().unwrap();
                    let mut elsewhere = back.clone();
                    elsewhere[l4 + 2..l4 + 4].copy_from_slice(&port.to_be_bytes());
                    let code = kernel.test_run(program, &elsewhere, 1).unwrap().code;
                    assert_eq!((code, proven(&kernel)), (PASS, Some(false)), "{port}");
                }
            }
        }
    });
}

/// A client of each family comes to a port under flood; what is recorded of them.
async fn clients() -> Option<(Kernel, Pair, HashMap<Ends, FlowValue>)> {
    let (mut kernel, pair, listeners) = machine(vec![])?;
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    let _far_end = pass_on(&pair);
    Pair::inside(&pair.near, || flood(&mut kernel, 8099));
    let far = pair.far.clone();
    let flows = records(&mut kernel, move || {
        for (listener, to) in listeners.iter().zip(["10.99.0.1:8099", "[fd99::1]:8099"]) {
            let to: SocketAddr = to.parse().unwrap();
            let mut client = Pair::inside(&far, || TcpStream::connect(to).unwrap());
            client.write_all(b"hello").unwrap();
            let (mut served, _) = listener.accept().unwrap();
            let mut words = [0; 5];
            served.read_exact(&mut words).unwrap();
            served.write_all(&words).unwrap();
            client.read_exact(&mut words).unwrap();
        }
    })
    .await;
    Some((kernel, pair, flows))
}

#[tokio::test]
async fn the_record_of_a_client_that_came_by_a_cookie_carries_the_proof() {
    let valid = |kernel: &Kernel| kernel.counters().read().unwrap().0[0].get(Counter::CookieValid);
    let mut tries = 0;
    let (kernel, pair, flows) = loop {
        let Some(came) = clients().await else { return };
        tries += 1;
        // On a busy machine the flood may be over before they come.
        if valid(&came.0) >= 2 || tries == 5 {
            break came;
        }
    };
    // On a busy machine segments are sent again.
    let again = retransmitted(&pair.far) + retransmitted(&pair.near);
    for remote in ["10.99.0.2", "fd99::2"] {
        let remote: IpAddr = remote.parse().unwrap();
        let of_client: Vec<_> = flows
            .iter()
            .filter(|(ends, _)| (ends.0, ends.2, ends.3) == (remote, 8099, TCP))
            .collect();
        let [(_, flow)] = of_client[..] else {
            panic!("{remote}: {flows:?}");
        };
        let (syn, synack) = (u64::from(flow.ingress.syn), u64::from(flow.egress.synack));
        assert!(syn.max(synack) <= again, "by a cookie: {again} {flow:?}");
        let sent = 5..=5 + again * 5;
        assert!(sent.contains(&flow.ingress.payload_bytes), "{again} {flow:?}");
        let both = STATE_HANDSHAKE | STATE_OPENED_BY_EGRESS;
        assert_eq!(flow.state & both, STATE_HANDSHAKE, "{flow:?}");
    }
    assert!(valid(&kernel) >= 2);
}

#[test]
fn when_in_doubt_it_is_the_stack_s() {
    let Some((mut kernel, pair, listeners)) = machine(vec![8099, 9000]) else {
        return;
    };
    Pair::inside(&pair.near, || {
        let other = TcpListener::bind("10.99.0.1:9001").unwrap();
        for port in [9000, 9001, 8099] {
            flood(&mut kernel, port);
        }
        let asked = syn(false, 7, 8099, true);
        assert_eq!(run(&mut kernel, &asked).0, TX);
        // Nobody listens; the port is not protected; the packet is none that opens or acknowledges.
        assert_eq!(run(&mut kernel, &syn(false, 7, 9000, true)).0, PASS);
        assert_eq!(run(&mut kernel, &ack(&syn(false, 7, 9000, true), 14, 7)).0, PASS);
        assert_eq!(run(&mut kernel, &syn(false, 7, 9001, true)).0, PASS);
        drop(other);
        for flags in [0x04, 0x12, 0x14, 0x01] {
            let mut strange = ack(&asked, 14, 7);
            strange[14 + 20 + 13] = flags;
            assert_eq!(run(&mut kernel, &strange).0, PASS, "{flags:x}");
        }
        // A port that is not under flood.
        assert_eq!(run(&mut kernel, &ack(&syn(false, 7, 81, true), 14, 7)).0, PASS);

        // The allowlist is exempt, simulation answers nothing.
        let mut blocks = kernel.blocks();
        let allow = AllowEntry {
            expires_ns: NEVER_NS,
            ..AllowEntry::default()
        };
        blocks.put_allow("10.99.0.17/32".parse().unwrap(), &allow).unwrap();
        assert_eq!(run(&mut kernel, &asked), (PASS, asked.clone()));
        blocks.delete_allow("10.99.0.17/32".parse().unwrap()).unwrap();
        flood(&mut kernel, 8099);
        assert_eq!(run(&mut kernel, &asked).0, TX);
        kernel.set_enforce(false).unwrap();
        assert_eq!(run(&mut kernel, &asked), (PASS, asked.clone()));
        kernel.set_enforce(true).unwrap();
    });
    // The stack says when. At 0 never; at 1 while the listener's queue is full, which it is not.
    for value in [0, 1] {
        set_syncookies(&pair.near, value);
        let asked = syn(false, 9, 8099, true);
        Pair::inside(&pair.near, || {
            flood(&mut kernel, 8099);
            assert_eq!(run(&mut kernel, &asked), (PASS, asked.clone()));
        });
    }
    // A connection that stands, and that the flow table has never heard of, is the stack's too.
    set_syncookies(&pair.near, 2);
    let mut client = Pair::inside(&pair.far, || TcpStream::connect("10.99.0.1:8099").unwrap());
    let (served, from) = listeners[0].accept().unwrap();
    let segment = tcp(from.port(), 8099, ACK, b"");
    let stray = frame("10.99.0.2", "10.99.0.1", &segment, TCP);
    Pair::inside(&pair.near, || {
        assert_eq!(run(&mut kernel, &stray).0, PASS);
    });
    drop(served);
    assert_eq!(client.read(&mut [0; 1]).unwrap(), 0);
}

#[tokio::test]
async fn a_flood_is_told_of_once_and_so_is_its_end() {
    let Some((mut kernel, pair, _listeners)) = machine(vec![]) else {
        return;
    };
    Pair::inside(&pair.near, || {
        burst(&mut kernel, 8099);
        for host in 0..200 {
            assert_eq!(run(&mut kernel, &syn(false, host, 8099, true)).0, TX);
        }
    });
    // Calm is a matter of seconds; a SYN a second is none to speak of.
    let start = Instant::now();
    let mut code = TX;
    let (mut latest, mut gap) = (start, Duration::ZERO);
    while code == TX {
        assert!(start.elapsed().as_secs() < 20, "it never ends");
        std::thread::sleep(Duration::from_millis(250));
        code = Pair::inside(&pair.near, || run(&mut kernel, &syn(false, 1, 8099, true)).0);
        gap = gap.max(latest.elapsed());
        latest = Instant::now();
    }
    assert!(start.elapsed().as_secs() >= 4, "{:?}", start.elapsed());
    // It is told of with the first SYN of a second.
    std::thread::sleep(Duration::from_millis(1_100));
    let code = Pair::inside(&pair.near, || run(&mut kernel, &syn(false, 1, 8099, true)).0);
    assert_eq!(code, PASS);
    let told: Vec<SynFloodRecord> = drain(kernel.ring())
        .await
        .into_iter()
        .filter_map(|record| match record {
            Record::SynFlood(record) => Some(record),
            _ => None,
        })
        .collect();
    let facts: Vec<_> = told
        .iter()
        .map(|one| (one.port, one.under_flood, one.answered))
        .collect();
    assert_eq!(facts, [(8099, 1, 1), (8099, 0, 1)], "{told:?}");
    assert_eq!((told[0].syns, told[0].completed), (FLOOD + 1, 0), "{told:?}");
    // Its figures are of the window before, which is the flood's where none was sent for a while.
    assert!(
        told[1].syns < FLOOD || gap > Duration::from_millis(900),
        "{gap:?} {told:?}"
    );
}
