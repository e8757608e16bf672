//! The table of exact entries while it is written: packets look into it all the time, and none of them may slip through.

use super::frames::{SYN, TCP, frame, tcp};
use super::pair::Ending;
use super::*;
use sentinel::respond::{EnforceError, Enforcer};
use sentinel_common::entry::{BlockEntry, NEVER_NS};
use sentinel_common::exact::WAYS;
use sentinel_common::names::PROG_XDP;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

const DROP: u32 = 1;
const PASS: u32 = 2;
/// Frames judged in one go.
const ROUND: u32 = 500;
/// Changes to the table meanwhile.
const CHANGES: usize = 600;

/// Addresses that all belong into the same four buckets, sixteen slots.
fn crowded(kernel: &Kernel, v4: bool) -> Vec<IpAddr> {
    let address = |n: u32| -> IpAddr {
        if v4 {
            Ipv4Addr::from(0xc612_0000 + n).into()
        } else {
            Ipv6Addr::from((0x2001_0db8_u128 << 96) + u128::from(n)).into()
        }
    };
    let all = (1..60_000).map(address);
    let near = |address: &IpAddr| kernel.test_buckets(*address).unwrap().iter().all(|bucket| *bucket < 4);
    all.filter(near).take(30).collect()
}

/// Whether that many entries cannot all stand in their buckets, however they are arranged: some of the buckets would have
/// to hold more than they have slots (Hall's marriage theorem).
fn overfull(kernel: &Kernel, entries: &[IpAddr]) -> bool {
    let bits = |address: &IpAddr| {
        let [one, two] = kernel.test_buckets(*address).unwrap();
        1_u32 << one | 1 << two
    };
    let wanted: Vec<u32> = entries.iter().map(bits).collect();
    (1..16_u32).any(|among| {
        let nowhere_else = wanted.iter().filter(|bits| *bits & !among == 0).count();
        nowhere_else > among.count_ones() as usize * WAYS
    })
}

fn syn(from: IpAddr) -> Vec<u8> {
    let to = if from.is_ipv4() { "10.0.0.1" } else { "2001:db8:1::1" };
    frame(&from.to_string(), to, &tcp(4000, 22, SYN, b""), TCP)
}

#[test]
fn a_blocked_source_stays_blocked_while_others_come_go_and_move() {
    let small = KernelConfig {
        block_capacity: 64,
        ..config()
    };
    let Some(kernel) = kernel(&small, Mode::Production) else {
        return;
    };
    let block = |n: usize| BlockEntry {
        expires_ns: NEVER_NS - n as u64,
        decision: [7; 16],
        ..pair::block()
    };
    for v4 in [true, false] {
        let pool = crowded(&kernel, v4);
        assert_eq!(
            pool.len(),
            30,
            "60,000 addresses have more than that in four of 64 buckets"
        );
        let (steady, others) = pool.split_at(6);
        let mut blocks = kernel.blocks();
        for address in steady {
            blocks.put_block((*address).into(), &block(1)).unwrap();
        }
        let stop = AtomicBool::new(false);
        let before = kernel.test_counters().unwrap();
        let judged = std::thread::scope(|scope| {
            let judge = scope.spawn(|| {
                let frames: Vec<_> = steady.iter().map(|address| syn(*address)).collect();
                let mut judged = 0;
                while !stop.load(Ordering::Relaxed) {
                    for frame in &frames {
                        kernel.test_rerun(PROG_XDP, frame, ROUND).unwrap();
                        judged += u64::from(ROUND);
                    }
                }
                judged
            });
            let end = Ending(&stop);
            let mut listed = Vec::new();
            for n in 0..CHANGES {
                let address = others[n * 7 % others.len()];
                if let Some(at) = listed.iter().position(|other| *other == address) {
                    listed.swap_remove(at);
                    blocks.delete_block(address.into()).unwrap().unwrap();
                } else if listed.len() < 9 {
                    match blocks.put_block(address.into(), &block(n)) {
                        Ok(()) => listed.push(address),
                        Err(EnforceError::Full { .. }) => {
                            let all = [&listed, steady, &[address]].concat();
                            assert!(
                                overfull(&kernel, &all),
                                "there was room for {address} beside {listed:?}"
                            );
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
                // Extended, which replaces it.
                blocks.put_block(steady[n % 6].into(), &block(n)).unwrap();
            }
            for address in listed.iter().chain(steady) {
                assert!(blocks.get_block((*address).into()).unwrap().is_some(), "{address}");
            }
            drop(end);
            for address in listed {
                blocks.delete_block(address.into()).unwrap().unwrap();
            }
            judge.join().unwrap()
        });
        let moved = moved(&before, &kernel.test_counters().unwrap());
        assert_eq!(moved["drop_exact"], judged, "some slipped through: {moved:?}");
        for address in others {
            let code = kernel.test_rerun(PROG_XDP, &syn(*address), 1).unwrap().code;
            assert_eq!(code, PASS, "{address} is not listed any more");
        }
        for address in steady {
            let code = kernel.test_rerun(PROG_XDP, &syn(*address), 1).unwrap().code;
            assert_eq!(code, DROP, "{address}");
            let entry = blocks.delete_block((*address).into()).unwrap().unwrap();
            assert!(entry.hits > 0, "{address}: {entry:?}");
        }
    }
}
