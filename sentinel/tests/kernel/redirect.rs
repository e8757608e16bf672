//! To the honeypot and back, frame by frame: what is rewritten, what is not, and every checksum in full.

use super::frames::{SYN, TCP, UDP, frame, tagged, tcp, udp};
use super::*;
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::addr::Addr;
use sentinel_common::entry::{ACTION_REDIRECT, BlockEntry, NEVER_NS};
use sentinel_common::names::PROG_XDP;
use sentinel_common::packet::{PacketMeta, parse_ethernet};
use sentinel_common::redirect::IDLE_NS;
use std::net::IpAddr;

const DROP: u32 = 1;
const PASS: u32 = 2;

pub(crate) fn redirect() -> BlockEntry {
    BlockEntry {
        action: ACTION_REDIRECT,
        expires_ns: NEVER_NS,
        ..BlockEntry::default()
    }
}

fn meta(frame: &[u8]) -> PacketMeta {
    parse_ethernet(&frame).unwrap()
}

/// The ones' complement sum of bytes, in full (RFC 1071).
fn sum(parts: &[&[u8]]) -> u16 {
    let mut total = 0u64;
    for part in parts {
        for pair in part.chunks(2) {
            total += u64::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
        }
    }
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The checksums of a frame, where they stand, and the sums over what they cover, themselves included.
fn sums(frame: &[u8]) -> Vec<(usize, u16)> {
    let meta = meta(frame);
    let (l3, l4) = (usize::from(meta.l3_offset), usize::from(meta.l4_offset));
    let end = l3 + meta.l3_len as usize;
    let addresses = if meta.ip_version == 4 {
        &frame[l3 + 12..l3 + 20]
    } else {
        &frame[l3 + 8..l3 + 40]
    };
    let len = ((end - l4) as u16).to_be_bytes();
    let pseudo = [addresses, &[0, meta.proto], &len, &frame[l4..end]];
    let mut all = vec![(l4 + if meta.proto == TCP { 16 } else { 6 }, sum(&pseudo))];
    if meta.ip_version == 4 {
        let header = usize::from(frame[l3] & 0xf) * 4;
        all.push((l3 + 10, sum(&[&frame[l3..l3 + header]])));
    }
    all
}

/// Fills in the checksums.
fn sealed(mut frame: Vec<u8>) -> Vec<u8> {
    for (at, _) in sums(&frame) {
        frame[at..at + 2].fill(0);
    }
    for (at, sum) in sums(&frame) {
        frame[at..at + 2].copy_from_slice(&(!sum).to_be_bytes());
    }
    assert_whole(&frame, "sealed");
    frame
}

#[track_caller]
fn assert_whole(frame: &[u8], what: &str) {
    for (at, sum) in sums(frame) {
        assert_eq!(sum, 0xffff, "{what}: the checksum at {at} of {frame:02x?}");
    }
}

fn address(addr: Addr) -> String {
    IpAddr::from(addr).to_string()
}

/// Who and where, as text: source, its port, destination, its port.
fn ends(frame: &[u8]) -> (String, u16, String, u16) {
    let meta = meta(frame);
    (address(meta.src), meta.src_port, address(meta.dst), meta.dst_port)
}

const FAR4: &str = "198.51.100.7";
const FAR6: &str = "2001:db8::7";
const NEAR4: &str = "10.0.0.1";
const NEAR6: &str = "2001:db8:1::1";

fn listed(mode: Mode) -> Option<Kernel> {
    let kernel = kernel(&config(), mode)?;
    for far in ["198.51.100.7/32", "2001:db8::7/128"] {
        kernel.blocks().put_block(far.parse().unwrap(), &redirect()).unwrap();
    }
    Some(kernel)
}

/// TCP and UDP, IPv4 and IPv6, behind tags, options and extension headers, odd lengths: (frame, far, near).
fn shapes() -> Vec<(Vec<u8>, &'static str, &'static str, &'static [u16])> {
    const TAGS: [&[u16]; 3] = [&[], &[0x8100], &[0x88a8, 0x8100]];
    let mut all = Vec::new();
    for tags in TAGS {
        for payload in [&b""[..], b"odd", b"even"] {
            for (l4, proto) in [(tcp(4000, 22, SYN, payload), TCP), (udp(4000, 22, payload), UDP)] {
                for (far, near) in [(FAR4, NEAR4), (FAR6, NEAR6)] {
                    all.push((sealed(tagged(tags, far, near, &l4, proto)), far, near, tags));
                }
                let chain = [&[60, 0, 0, 0, 0, 0, 0, 0, proto, 0, 0, 0, 0, 0, 0, 0][..], &l4].concat();
                all.push((sealed(tagged(tags, FAR6, NEAR6, &chain, 0)), FAR6, NEAR6, tags));
                let mut options = tagged(tags, FAR4, NEAR4, &[&[1; 12][..], &l4].concat(), proto);
                options[14 + 4 * tags.len()] = 0x48;
                all.push((sealed(options), FAR4, NEAR4, tags));
            }
        }
    }
    all
}

#[test]
fn there_and_back_with_every_checksum_right() {
    let Some(mut kernel) = listed(Mode::Production) else {
        return;
    };
    let own = (
        Some((Some("10.0.0.99".parse().unwrap()), 2222)),
        Some((Some("2001:db8:1::99".parse().unwrap()), 2222)),
    );
    for (v4, v6) in [(Some((None, 2222)), Some((None, 2222))), own] {
        kernel.set_honeypot(v4, v6).unwrap();
        for (frame, far, near, tags) in shapes() {
            let pot = match (v4.unwrap().0, v6.unwrap().0, far) {
                (Some(address), _, FAR4) => IpAddr::V4(address).to_string(),
                (_, Some(address), FAR6) => IpAddr::V6(address).to_string(),
                _ => near.to_owned(),
            };
            let what = format!("{far} by way of {pot}, {frame:02x?}");
            let (code, out) = kernel.test_rewrite(PROG_XDP, &frame).unwrap();
            assert_eq!(code, PASS, "{what}");
            assert_eq!(ends(&out), (far.into(), 4000, pot.clone(), 2222), "{what}");
            assert_whole(&out, &what);
            let (before, after) = (meta(&frame), meta(&out));
            let restored = PacketMeta {
                dst: before.dst,
                dst_port: before.dst_port,
                ..after
            };
            assert_eq!(restored, before, "{what}: nothing else is changed");

            // The honeypot answers, and the answer comes from where the question went.
            let l4 = match before.proto {
                TCP => tcp(2222, 4000, 0x12, b"answer"),
                _ => udp(2222, 4000, b"answer"),
            };
            let answer = sealed(tagged(tags, &pot, far, &l4, before.proto));
            let (code, back) = kernel.test_egress(&answer).unwrap();
            assert_eq!(code, -1, "{what}");
            assert_eq!(ends(&back), (near.into(), 22, far.into(), 4000), "{what}");
            assert_whole(&back, &what);
        }
    }
    let counters = kernel.test_counters().unwrap();
    let shapes = 2 * shapes().len() as u64;
    let count = |counter: Counter| counters[counter as usize];
    assert_eq!(count(Counter::RedirectV4) + count(Counter::RedirectV6), shapes);
    assert_eq!(count(Counter::Restored), shapes);
    assert_eq!(count(Counter::EgressV4) + count(Counter::EgressV6), shapes);
    assert_eq!(count(Counter::RedirectFailed), 0);
}

#[test]
fn flows_are_those_the_source_meant() {
    // Without a budget nothing is reported, and the table holds it all.
    let silent = KernelConfig {
        event_budget: 0,
        ..config()
    };
    let Some(mut kernel) = kernel(&silent, Mode::Production) else {
        return;
    };
    let source = "198.51.100.7/32".parse().unwrap();
    kernel.blocks().put_block(source, &redirect()).unwrap();
    kernel.set_honeypot(Some((None, 2222)), None).unwrap();
    let ask = sealed(frame(FAR4, NEAR4, &udp(4000, 53, b"ask"), UDP));
    kernel.test_rewrite(PROG_XDP, &ask).unwrap();
    let answer = sealed(frame(NEAR4, FAR4, &udp(2222, 4000, b"answer"), UDP));
    kernel.test_egress(&answer).unwrap();
    let flows = kernel.test_flows(boot_now()).unwrap();
    assert_eq!(flows.len(), 1, "{flows:?}");
    let (key, value) = flows[0];
    assert_eq!((key.local_port, key.remote_port), (53, 4000));
    assert_eq!((value.ingress.packets, value.egress.packets), (1, 1));
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let Some(mut kernel) = listed(Mode::Production) else {
        return;
    };
    kernel.set_honeypot(Some((None, 2222)), None).unwrap();
    let ask = frame(FAR4, NEAR4, &udp(4000, 53, b"ask"), UDP);
    let (code, out) = kernel.test_rewrite(PROG_XDP, &ask).unwrap();
    assert_eq!((code, &out[40..42]), (PASS, &[0, 0][..]));
    let answer = frame(NEAR4, FAR4, &udp(2222, 4000, b"answer"), UDP);
    let (_, back) = kernel.test_egress(&answer).unwrap();
    assert_eq!(ends(&back), (NEAR4.into(), 53, FAR4.into(), 4000));
    assert_eq!(&back[40..42], &[0, 0]);
}

#[test]
fn one_source_port_for_many_targets_as_scanners_use_it() {
    const TARGETS: u16 = 1000;
    let Some(mut kernel) = listed(Mode::Production) else {
        return;
    };
    kernel.set_honeypot(Some((None, 2222)), Some((None, 2222))).unwrap();
    for (far, near) in [(FAR4, NEAR4), (FAR6, NEAR6)] {
        let mut stand_ins = BTreeMap::new();
        for round in 0..2 {
            for port in 1..=TARGETS {
                let ask = sealed(frame(far, near, &tcp(40_000, port, SYN, b""), TCP));
                let (code, out) = kernel.test_rewrite(PROG_XDP, &ask).unwrap();
                assert_eq!(code, PASS, "{port}");
                assert_whole(&out, "asked");
                let (_, source, _, pot) = ends(&out);
                assert_eq!(pot, 2222);
                let known = stand_ins.insert(source, port);
                // The second time each conversation goes as it went before.
                assert_eq!(known, (round == 1).then_some(port), "{port} under {source}");
            }
        }
        assert_eq!(stand_ins[&40_000], 1, "the first keeps the port");
        for (source, port) in stand_ins {
            let answer = sealed(frame(near, far, &tcp(2222, source, 0x12, b""), TCP));
            let (_, back) = kernel.test_egress(&answer).unwrap();
            assert_eq!(ends(&back), (near.into(), port, far.into(), 40_000));
            assert_whole(&back, "answered");
        }
    }
}

#[test]
fn what_is_on_its_way_to_the_honeypot_goes_on_untouched() {
    let Some(mut kernel) = listed(Mode::Production) else {
        return;
    };
    kernel
        .set_honeypot(Some((Some("10.0.0.99".parse().unwrap()), 2222)), None)
        .unwrap();
    let ask = sealed(frame(FAR4, NEAR4, &tcp(4000, 22, SYN, b""), TCP));
    let (_, once) = kernel.test_rewrite(PROG_XDP, &ask).unwrap();
    // Met again on a second interface, as where the honeypot is a container.
    let (code, twice) = kernel.test_rewrite(PROG_XDP, &once).unwrap();
    assert_eq!((code, &twice), (PASS, &once));
    let answer = sealed(frame("10.0.0.99", FAR4, &tcp(2222, 4000, 0x12, b""), TCP));
    let (_, back) = kernel.test_egress(&answer).unwrap();
    assert_eq!(
        ends(&back),
        (NEAR4.into(), 22, FAR4.into(), 4000),
        "and is restored as it was meant"
    );
    // Asked for by its own name it answers by it.
    let direct = sealed(frame(FAR4, "10.0.0.99", &tcp(4001, 2222, SYN, b""), TCP));
    let (code, out) = kernel.test_rewrite(PROG_XDP, &direct).unwrap();
    assert_eq!((code, &out), (PASS, &direct));
    let answer = sealed(frame("10.0.0.99", FAR4, &tcp(2222, 4001, 0x12, b""), TCP));
    assert_eq!(kernel.test_egress(&answer).unwrap(), (-1, answer));
}

#[test]
fn answers_to_others_and_of_others_stay_as_they_are() {
    let Some(mut kernel) = listed(Mode::Production) else {
        return;
    };
    kernel.set_honeypot(Some((None, 2222)), None).unwrap();
    let ask = sealed(frame(FAR4, NEAR4, &tcp(4000, 22, SYN, b""), TCP));
    kernel.test_rewrite(PROG_XDP, &ask).unwrap();
    for (near, port, far, far_port) in [
        (NEAR4, 2222, "198.51.100.8", 4000),
        (NEAR4, 2222, FAR4, 4001),
        (NEAR4, 22, FAR4, 4000),
    ] {
        let other = sealed(frame(near, far, &tcp(port, far_port, 0x12, b""), TCP));
        assert_eq!(kernel.test_egress(&other).unwrap(), (-1, other));
    }
    let udp = sealed(frame(NEAR4, FAR4, &udp(2222, 4000, b""), UDP));
    assert_eq!(kernel.test_egress(&udp).unwrap(), (-1, udp));
    assert_eq!(kernel.test_counters().unwrap()[Counter::Restored as usize], 0);
}

#[test]
fn a_family_without_a_honeypot_and_a_stage_without_headers_drop_and_say_so() {
    let Some(mut kernel) = listed(Mode::Production) else {
        return;
    };
    kernel.set_honeypot(Some((None, 2222)), None).unwrap();
    let v6 = sealed(frame(FAR6, NEAR6, &tcp(4000, 22, SYN, b""), TCP));
    assert_eq!(kernel.test_rewrite(PROG_XDP, &v6).unwrap(), (DROP, v6));
    // A header cut short, another protocol, a fragment.
    let cut = frame(FAR4, NEAR4, &tcp(4000, 22, SYN, b"")[..12], TCP);
    let gre = frame(FAR4, NEAR4, &[0; 24], 47);
    let mut later = frame(FAR4, NEAR4, &[0; 24], UDP);
    later[20..22].copy_from_slice(&0x00b9u16.to_be_bytes());
    for frame in [cut, gre, later] {
        assert_eq!(kernel.test_rewrite(PROG_XDP, &frame).unwrap(), (DROP, frame));
    }
    assert_eq!(kernel.test_counters().unwrap()[Counter::RedirectFailed as usize], 4);
}

#[test]
fn ports_run_out_with_a_count_and_come_back_when_conversations_are_quiet() {
    const TARGETS: u16 = 30_000;
    let Some(mut kernel) = listed(Mode::Production) else {
        return;
    };
    if boot_now().0 < 2 * IDLE_NS {
        println!("skipped: this machine has not been up for twice as long as a conversation may be quiet");
        return;
    }
    kernel.set_honeypot(Some((None, 2222)), None).unwrap();
    let asks: Vec<_> = (1..=TARGETS)
        .filter(|port| *port != 2222)
        .map(|port| frame(FAR4, NEAR4, &tcp(40_000, port, SYN, b""), TCP))
        .collect();
    let mut taken = std::collections::HashSet::new();
    let mut refused = Vec::new();
    for ask in &asks {
        let (code, out) = kernel.test_rewrite(PROG_XDP, ask).unwrap();
        if code == DROP {
            refused.push(ask);
        } else {
            assert!(taken.insert(ends(&out).1), "no port serves two");
        }
    }
    let failed = kernel.test_counters().unwrap()[Counter::RedirectFailed as usize];
    println!("{} of {} found a port", taken.len(), asks.len());
    assert_eq!(failed, refused.len() as u64);
    // 32,768 others are tried four at a time: the first thousands all find one.
    assert!(failed > 0 && taken.len() > usize::from(TARGETS) / 2);
    kernel.test_age_redirects().unwrap();
    let again = |ask: &&Vec<u8>| kernel.test_run(PROG_XDP, ask, 1).unwrap().code != PASS;
    let unlucky = refused.into_iter().filter(again).count();
    println!("{unlucky} of {failed} found none again");
    // What they take is a tenth of the ports: four tries miss once in 10,000 at most, a few times in all at worst.
    assert!(unlucky <= 5, "{unlucky}");
}

#[test]
fn a_full_map_forgets_the_least_recent_conversation() {
    let small = KernelConfig {
        redirect_capacity: 1024,
        ..config()
    };
    let Some(mut kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    kernel
        .blocks()
        .put_block("198.51.0.0/16".parse().unwrap(), &redirect())
        .unwrap();
    kernel.set_honeypot(Some((None, 2222)), None).unwrap();
    let mut restored = 0;
    for n in 0..4096u16 {
        let far = format!("198.51.{}.{}", n / 256, n % 256);
        let ask = sealed(frame(&far, NEAR4, &tcp(4000, 22, SYN, b""), TCP));
        assert_eq!(kernel.test_run(PROG_XDP, &ask, 1).unwrap().code, PASS);
        let answer = sealed(frame(NEAR4, &far, &tcp(2222, 4000, 0x12, b""), TCP));
        restored += u64::from(ends(&kernel.test_egress(&answer).unwrap().1).1 == 22);
    }
    assert_eq!(restored, 4096, "whoever spoke last is answered under the right name");
    let first = sealed(frame(NEAR4, "198.51.0.0", &tcp(2222, 4000, 0x12, b""), TCP));
    assert_eq!(
        kernel.test_egress(&first).unwrap(),
        (-1, first),
        "and is not restored wrongly"
    );
}
