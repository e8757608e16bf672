//! The verdict matrix: every shape of packet, listed and not, through every program that judges.

use super::pair::block;
use super::shapes::{SOURCE4, SOURCE6, Shape, shapes4, shapes6};
use super::*;
use sentinel::respond::Enforcer;
use sentinel_common::names::{PROG_XDP, PROG_XDP_FRAGS};

const DROP: u32 = 1;
const PASS: u32 = 2;

/// How the source is listed; the counter says which it was.
const LISTED: [(usize, &str); 2] = [(1, "drop_exact"), (2, "drop_prefix")];

/// What counters move: by what became of the packet and its family, and by reason.
fn expected(shape: &Shape, v4: bool, reason: Option<&'static str>) -> BTreeMap<&'static str, u64> {
    let bytes = shape.frame.len() as u64;
    let (packets, octets) = match (shape.readable, reason.is_some(), v4) {
        (false, _, _) => ("pass_other", "pass_other_bytes"),
        (true, true, true) => ("drop_v4", "drop_v4_bytes"),
        (true, true, false) => ("drop_v6", "drop_v6_bytes"),
        (true, false, true) => ("pass_v4", "pass_v4_bytes"),
        (true, false, false) => ("pass_v6", "pass_v6_bytes"),
    };
    let mut all = BTreeMap::from([(packets, 1), (octets, bytes)]);
    all.extend(shape.also.map(|label| (label, 1)));
    if shape.readable {
        all.extend(reason.map(|label| (label, 1)));
    }
    all
}

fn check(kernel: &mut Kernel, program: &str, shape: &Shape, v4: bool, reason: Option<&'static str>) {
    let name = format!(
        "{program}, {} {}, {}",
        if v4 { "IPv4" } else { "IPv6" },
        shape.name,
        reason.unwrap_or("not listed")
    );
    let before = kernel.test_counters().unwrap();
    let answer = kernel.test_run(program, &shape.frame, 1).unwrap();
    let mut moved = moved(&before, &kernel.test_counters().unwrap());
    // What becomes of flows and records is accounted for elsewhere.
    moved.retain(|label, _| !label.starts_with("event_") && !label.starts_with("flow_"));
    let drops = shape.readable && reason.is_some();
    assert_eq!(answer.code, if drops { DROP } else { PASS }, "{name}");
    assert_eq!(moved, expected(shape, v4, reason), "{name}");
}

#[test]
fn every_shape_listed_and_not() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let mut blocks = kernel.blocks();
    let frags = probe::multi_buffer().then_some(PROG_XDP_FRAGS);
    let mut cases = 0;
    for program in std::iter::once(PROG_XDP).chain(frags) {
        for (v4, source, shapes) in [(true, SOURCE4, shapes4()), (false, SOURCE6, shapes6())] {
            for shape in &shapes {
                check(&mut kernel, program, shape, v4, None);
                for (how, reason) in LISTED {
                    let net = source[how].parse().unwrap();
                    blocks.put_block(net, &block()).unwrap();
                    check(&mut kernel, program, shape, v4, Some(reason));
                    let entry = blocks.delete_block(net).unwrap().unwrap();
                    assert_eq!(entry.hits, u64::from(shape.readable), "{}", shape.name);
                    cases += 1;
                }
                check(&mut kernel, program, shape, v4, None);
            }
        }
    }
    println!("{cases} cases listed, as many and half again not");
}
