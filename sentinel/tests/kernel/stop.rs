//! The one switch: off, and whatever stands in the kernel only counts; on, and the same entries act again.

use super::frames::{SYN, TCP, frame, tcp};
use super::*;
use ipnet::IpNet;
use sentinel::kernel::{ListId, ListOrder};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{ACTION_DROP, ACTION_LIMIT, ACTION_REDIRECT, BlockEntry, NEVER_NS};
use sentinel_common::names::PROG_XDP;

const PASS: u32 = 2;

#[test]
fn one_switch_holds_back_entries_limits_redirections_lists_and_reflexes() {
    let reflex = ReflexConfig {
        enabled: true,
        syns: 50,
        limit: true,
        limit_packets: 1,
        ..config().reflex
    };
    let Some(mut kernel) = kernel(&KernelConfig { reflex, ..config() }, Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let entry = |action| BlockEntry {
        action,
        expires_ns: NEVER_NS,
        decision: [7; 16],
        // Of a limit: one packet in 4.3 s, and none beyond.
        packet_ns: u32::MAX,
        ..BlockEntry::default()
    };
    let targets = [
        ("198.51.100.1/32", ACTION_DROP),
        ("2001:db8::1/128", ACTION_DROP),
        ("198.51.101.0/24", ACTION_DROP),
        ("198.51.100.2/32", ACTION_LIMIT),
        ("198.51.100.3/32", ACTION_REDIRECT),
    ];
    for (target, action) in targets {
        blocks.put_block(target.parse().unwrap(), &entry(action)).unwrap();
    }
    let order = ListOrder {
        decision: [9; 16],
        expires_ns: NEVER_NS,
        shadow: false,
    };
    let listed: IpNet = "198.51.102.0/24".parse().unwrap();
    kernel
        .lists()
        .replace(ListId::new(3).unwrap(), &order, [listed])
        .unwrap();
    let from = |source: &str| {
        let here = if source.contains(':') {
            "2001:db8:1::1"
        } else {
            "10.0.0.1"
        };
        frame(source, here, &tcp(4000, 22, SYN, b""), TCP)
    };
    let sources = [
        "198.51.100.1",
        "2001:db8::1",
        "198.51.101.9",
        "198.51.100.2",
        "198.51.100.3",
        "198.51.102.9",
        "198.51.103.9",
    ];
    // The limit's allowance is spent, and the reflex is brought about.
    kernel.test_run(PROG_XDP, &from("198.51.100.2"), 2).unwrap();
    kernel.test_run(PROG_XDP, &from("198.51.103.9"), 400).unwrap();
    let code = |kernel: &mut Kernel, source: &str| kernel.test_run(PROG_XDP, &from(source), 1).unwrap().code;
    for round in 0..2 {
        assert!(blocks.acting().unwrap());
        for source in sources {
            assert_ne!(code(&mut kernel, source), PASS, "{source} in round {round}");
        }
        let before: Vec<_> = targets
            .map(|(target, _)| blocks.get_block(target.parse().unwrap()).unwrap().unwrap())
            .into();
        blocks.set_acting(false).unwrap();
        assert!(!blocks.acting().unwrap());
        for source in sources {
            assert_eq!(code(&mut kernel, source), PASS, "{source} in round {round}");
        }
        for ((target, _), before) in targets.iter().zip(before) {
            let after = blocks.get_block(target.parse().unwrap()).unwrap().unwrap();
            assert!(after.same_order(&before), "{target}");
            assert_eq!(
                (after.hits, after.would_hits),
                (before.hits, before.would_hits + 1),
                "{target}"
            );
        }
        blocks.set_acting(true).unwrap();
    }
}
