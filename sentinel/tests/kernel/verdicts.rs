//! The verdict matrix: what is listed, what comes, what becomes of it, and which counters move. No other may.

use super::frames::{SYN, TCP, UDP, frame, tagged, tcp, udp};
use super::*;
use sentinel::kernel::BlockMaps;
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::entry::{ACTION_DROP, AllowEntry, BlockEntry, FLAG_SHADOW, NEVER_NS};
use sentinel_common::names::{PROG_XDP, PROG_XDP_FRAGS};

const DROP: u32 = 1;
const PASS: u32 = 2;

/// How an entry stands.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Holds,
    Shadow,
    Expired,
    /// An action this kernel program does not know.
    Strange,
}
use How::{Expired, Holds, Shadow, Strange};

fn entry(how: How) -> BlockEntry {
    BlockEntry {
        expires_ns: if how == Expired { 1 } else { NEVER_NS },
        action: if how == Strange { 99 } else { ACTION_DROP },
        flags: if how == Shadow { FLAG_SHADOW } else { 0 },
        decision: [7; 16],
        ..BlockEntry::default()
    }
}

struct Case<'a> {
    name: &'a str,
    allow: &'a [(&'a str, How)],
    block: &'a [(&'a str, How)],
    enforce: bool,
    frame: Vec<u8>,
    code: u32,
    /// Reason counters; packets, bytes and flows follow from the verdict and the frame.
    reasons: &'a [&'a str],
    /// (hits, would_hits) of each block entry.
    hits: &'a [(u64, u64)],
}

fn v4() -> Vec<u8> {
    frame("198.51.100.7", "10.0.0.1", &tcp(4000, 22, SYN, b""), TCP)
}

fn v6() -> Vec<u8> {
    frame("2001:db8::7", "2001:db8:1::1", &udp(4000, 53, b"abc"), UDP)
}

impl Case<'_> {
    fn expected(&self) -> BTreeMap<&'static str, u64> {
        let bytes = self.frame.len() as u64;
        let v4 = parse_ethernet(&self.frame.as_slice()).unwrap().ip_version == 4;
        let (packets, octets) = match (self.code == PASS, v4) {
            (true, true) => ("pass_v4", "pass_v4_bytes"),
            (true, false) => ("pass_v6", "pass_v6_bytes"),
            (false, true) => ("drop_v4", "drop_v4_bytes"),
            (false, false) => ("drop_v6", "drop_v6_bytes"),
        };
        let mut all = BTreeMap::from([(packets, 1), (octets, bytes)]);
        if self.code == PASS {
            all.extend([("flow_new", 1), ("event_sent", 1)]);
        }
        for reason in self.reasons {
            let label = Counter::ALL
                .iter()
                .find(|counter| counter.label() == *reason)
                .unwrap()
                .label();
            all.insert(label, 1);
        }
        all
    }

    fn check(&self, kernel: &mut Kernel, blocks: &mut BlockMaps, program: &str) {
        kernel.set_enforce(self.enforce).unwrap();
        kernel.test_forget().unwrap();
        for (net, how) in self.allow {
            let expires_ns = if *how == Expired { 1 } else { NEVER_NS };
            blocks
                .put_allow(
                    net.parse().unwrap(),
                    &AllowEntry {
                        expires_ns,
                        ..AllowEntry::default()
                    },
                )
                .unwrap();
        }
        for (net, how) in self.block {
            blocks.put_block(net.parse().unwrap(), &entry(*how)).unwrap();
        }
        let before = kernel.test_counters().unwrap();
        let answer = kernel.test_run(program, &self.frame, 1).unwrap();
        let after = kernel.test_counters().unwrap();
        assert_eq!(answer.code, self.code, "{}", self.name);
        assert_eq!(moved(&before, &after), self.expected(), "{}", self.name);
        let flows = kernel.test_flows(boot_now()).unwrap();
        assert_eq!(
            flows.len(),
            usize::from(self.code == PASS),
            "{}: dropped packets are no flows",
            self.name
        );
        let bytes = self.frame.len() as u64;
        for ((net, _), (hits, would)) in self.block.iter().zip(self.hits) {
            let entry = blocks.delete_block(net.parse().unwrap()).unwrap().unwrap();
            assert_eq!((entry.hits, entry.would_hits), (*hits, *would), "{}: {net}", self.name);
            assert_eq!(
                (entry.hit_bytes, entry.would_bytes),
                (hits * bytes, would * bytes),
                "{}: {net}",
                self.name
            );
            assert_eq!(entry.first_hit_ns != 0, hits + would > 0, "{}: {net}", self.name);
            assert_eq!(entry.first_hit_ns, entry.last_hit_ns, "{}: {net}", self.name);
            assert!(entry.last_hit_ns <= boot_now().0, "{}: {net}", self.name);
        }
        for (net, _) in self.allow {
            assert!(blocks.delete_allow(net.parse().unwrap()).unwrap(), "{}", self.name);
        }
    }
}

fn cases() -> Vec<Case<'static>> {
    let none = Case {
        name: "nothing listed",
        allow: &[],
        block: &[],
        enforce: true,
        frame: v4(),
        code: PASS,
        reasons: &[],
        hits: &[],
    };
    macro_rules! case {
        ($name:literal, $($field:ident: $value:expr),* $(,)?) => {
            Case { name: $name, $($field: $value,)* ..Case { frame: v4(), ..none } }
        };
    }
    let later = {
        let mut frame = v4();
        frame[20..22].copy_from_slice(&0x00b9u16.to_be_bytes());
        frame
    };
    let options = {
        let mut frame = frame(
            "198.51.100.7",
            "10.0.0.1",
            &[&[1; 40], &tcp(1, 2, SYN, b"x")[..]].concat(),
            TCP,
        );
        frame[14] = 0x4f;
        frame
    };
    let deep = {
        let chain: Vec<u8> = (0..12).flat_map(|_| [60, 0, 0, 0, 0, 0, 0, 0]).collect();
        frame(
            "2001:db8::7",
            "2001:db8:1::1",
            &[&chain[..], &tcp(1, 2, SYN, b"")].concat(),
            60,
        )
    };
    vec![
        case!("nothing listed, IPv4",),
        case!("nothing listed, IPv6", frame: v6()),
        case!("exact IPv4", block: &[("198.51.100.7/32", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
        case!("exact IPv6", frame: v6(), block: &[("2001:db8::7/128", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
        case!("another source", block: &[("198.51.100.8/32", Holds)], hits: &[(0, 0)]),
        case!("the destination is listed", block: &[("10.0.0.1/32", Holds)], hits: &[(0, 0)]),
        case!("prefix IPv4", block: &[("198.51.100.0/24", Holds)], code: DROP, reasons: &["drop_prefix"], hits: &[(1, 0)]),
        case!("prefix IPv6", frame: v6(), block: &[("2001:db8::/64", Holds)], code: DROP, reasons: &["drop_prefix"], hits: &[(1, 0)]),
        case!("everything", block: &[("0.0.0.0/0", Holds)], code: DROP, reasons: &["drop_prefix"], hits: &[(1, 0)]),
        case!("everything, expired", block: &[("0.0.0.0/0", Expired)], reasons: &["expired"], hits: &[(0, 0)]),
        case!("exact before prefix", block: &[("198.51.100.0/24", Holds), ("198.51.100.7/32", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(0, 0), (1, 0)]),
        case!("allow before exact", allow: &[("198.51.100.7/32", Holds)], block: &[("198.51.100.7/32", Holds)], reasons: &["pass_allowed"], hits: &[(0, 0)]),
        case!("wide allow before exact", allow: &[("198.51.0.0/16", Holds)], block: &[("198.51.100.7/32", Holds)], reasons: &["pass_allowed"], hits: &[(0, 0)]),
        case!("allow before prefix, IPv6", frame: v6(), allow: &[("2001:db8::/32", Holds)], block: &[("2001:db8::/64", Holds)], reasons: &["pass_allowed"], hits: &[(0, 0)]),
        case!("expired allow", allow: &[("198.51.100.7/32", Expired)], block: &[("198.51.100.7/32", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
        case!("an expired allow hides no shorter one", allow: &[("198.51.100.0/24", Expired), ("198.51.0.0/16", Holds)], block: &[("198.51.100.7/32", Holds)], reasons: &["pass_allowed"], hits: &[(0, 0)]),
        case!("expired exact", block: &[("198.51.100.7/32", Expired)], reasons: &["expired"], hits: &[(0, 0)]),
        case!("an expired exact hides no prefix", block: &[("198.51.100.7/32", Expired), ("198.51.100.0/24", Holds)], code: DROP, reasons: &["expired", "drop_prefix"], hits: &[(0, 0), (1, 0)]),
        case!("expired prefixes hide no shorter one", block: &[("198.51.100.0/24", Expired), ("198.51.96.0/20", Expired), ("198.51.0.0/16", Holds)], code: DROP, reasons: &["expired", "drop_prefix"], hits: &[(0, 0), (0, 0), (1, 0)]),
        case!("shadow exact", block: &[("198.51.100.7/32", Shadow)], reasons: &["would_drop"], hits: &[(0, 1)]),
        case!("shadow prefix, IPv6", frame: v6(), block: &[("2001:db8::/64", Shadow)], reasons: &["would_drop"], hits: &[(0, 1)]),
        case!("a shadow exact hides no prefix", block: &[("198.51.100.7/32", Shadow), ("198.51.100.0/24", Holds)], code: DROP, reasons: &["drop_prefix"], hits: &[(0, 1), (1, 0)]),
        case!("two shadows count once", block: &[("198.51.100.7/32", Shadow), ("198.51.100.0/24", Shadow)], reasons: &["would_drop"], hits: &[(0, 1), (0, 0)]),
        case!("not enforcing", enforce: false, block: &[("198.51.100.7/32", Holds)], reasons: &["would_drop"], hits: &[(0, 1)]),
        case!("not enforcing, prefix", enforce: false, block: &[("198.51.100.0/24", Holds), ("198.51.0.0/16", Holds)], reasons: &["would_drop"], hits: &[(0, 1), (0, 0)]),
        case!("not enforcing, allowed", enforce: false, allow: &[("198.51.100.7/32", Holds)], block: &[("198.51.100.7/32", Holds)], reasons: &["pass_allowed"], hits: &[(0, 0)]),
        case!("an action that is not known passes", block: &[("198.51.100.7/32", Strange)], hits: &[(0, 0)]),
        case!("behind a tag", frame: tagged(&[0x8100], "198.51.100.7", "10.0.0.1", &udp(1, 2, b""), UDP), block: &[("198.51.100.7/32", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
        case!("behind two tags", frame: tagged(&[0x88a8, 0x8100], "198.51.100.7", "10.0.0.1", &udp(1, 2, b""), UDP), block: &[("198.51.100.7/32", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
        case!("behind three tags", frame: tagged(&[0x88a8, 0x8100, 0x8100], "198.51.100.7", "10.0.0.1", &udp(1, 2, b""), UDP), block: &[("198.51.100.7/32", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
        case!("a later fragment", frame: later, block: &[("198.51.100.7/32", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
        case!("all options", frame: options, block: &[("198.51.100.7/32", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
        case!("a chain too deep hides nobody", frame: deep.clone(), block: &[("2001:db8::7/128", Holds)], code: DROP, reasons: &["drop_exact", "too_deep"], hits: &[(1, 0)]),
        case!("a chain too deep passes if not listed", frame: deep, reasons: &["too_deep"]),
        case!("IPv4-mapped target is the IPv4 one", block: &[("::ffff:198.51.100.7/128", Holds)], code: DROP, reasons: &["drop_exact"], hits: &[(1, 0)]),
    ]
}

#[test]
fn every_verdict_and_every_counter() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    // Older kernels do not take the second one, nor is it asked of them.
    let frags = probe::multi_buffer().then_some(PROG_XDP_FRAGS);
    for program in std::iter::once(PROG_XDP).chain(frags) {
        for case in cases() {
            case.check(&mut kernel, &mut blocks, program);
        }
    }
    assert_eq!(blocks.list_blocks().unwrap(), vec![]);
    assert_eq!(blocks.list_allows().unwrap(), vec![]);
}

#[test]
fn frames_without_an_ip_header_pass_and_say_why_unless_linux_would_find_one() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let arp = [&[0; 12][..], &0x0806u16.to_be_bytes(), &[0; 28]].concat();
    let cut = v4()[..30].to_vec();
    let version = {
        let mut frame = v4();
        frame[14] = 0x55;
        frame
    };
    let deep = tagged(&[0x8100; 4], "198.51.100.7", "10.0.0.1", &udp(1, 2, b""), UDP);
    let mapped = frame("::ffff:198.51.100.7", "2001:db8::1", &udp(1, 2, b""), UDP);
    // Linux unwraps 802.1p priority tags (VLAN 0) without end, and takes mapped addresses: a listed source would be heard.
    for enforce in [true, false] {
        kernel.set_enforce(enforce).unwrap();
        for (frame, reason, hidden) in [
            (&arp, "not_ip", false),
            (&cut, "truncated", false),
            (&version, "malformed", false),
            (&deep, "too_deep", true),
            (&mapped, "malformed", true),
        ] {
            let before = kernel.test_counters().unwrap();
            let code = kernel.test_run(PROG_XDP, frame, 1).unwrap().code;
            let moved = moved(&before, &kernel.test_counters().unwrap());
            let (expected, packets, bytes) = if hidden && enforce {
                (DROP, "drop_hidden", "drop_hidden_bytes")
            } else {
                (PASS, "pass_other", "pass_other_bytes")
            };
            assert_eq!(code, expected, "{reason}, enforcing: {enforce}");
            let expected = BTreeMap::from([(reason, 1), (packets, 1), (bytes, frame.len() as u64)]);
            assert_eq!(moved, expected);
        }
    }
    assert_eq!(kernel.test_flows(boot_now()).unwrap().len(), 0);
}

#[test]
fn a_block_expires_in_the_kernel_on_time() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let expires_ns = boot_now().0 + 300_000_000;
    blocks
        .put_block(
            "198.51.100.7/32".parse().unwrap(),
            &BlockEntry {
                expires_ns,
                ..entry(Holds)
            },
        )
        .unwrap();
    let frame = v4();
    loop {
        let before = boot_now().0;
        let code = kernel.test_run(PROG_XDP, &frame, 1).unwrap().code;
        let after = boot_now().0;
        if code == PASS {
            let early = expires_ns.saturating_sub(after) / 1_000_000;
            assert!(early <= 20, "{early} ms early");
            break;
        }
        let late = before.saturating_sub(expires_ns) / 1_000_000;
        assert!(late < 50, "{late} ms late");
    }
}

#[test]
fn an_extension_keeps_the_counters_and_a_new_decision_starts_afresh() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    for net in ["198.51.100.7/32", "198.51.100.0/24"] {
        let net = net.parse().unwrap();
        blocks.put_block(net, &entry(Holds)).unwrap();
        kernel.test_run(PROG_XDP, &v4(), 3).unwrap();
        let longer = BlockEntry {
            expires_ns: 1 << 60,
            hits: 77,
            ..entry(Holds)
        };
        blocks.put_block(net, &longer).unwrap();
        let now = blocks.get_block(net).unwrap().unwrap();
        assert_eq!((now.hits, now.expires_ns), (3, 1 << 60));
        let another = BlockEntry {
            decision: [9; 16],
            ..longer
        };
        blocks.put_block(net, &another).unwrap();
        let now = blocks.get_block(net).unwrap().unwrap();
        assert_eq!((now.hits, now.decision), (0, [9; 16]));
        assert_eq!(now.prefix_len, net.prefix_len());
        assert_eq!(blocks.delete_block(net).unwrap(), Some(now));
        assert_eq!(blocks.delete_block(net).unwrap(), None);
    }
}
