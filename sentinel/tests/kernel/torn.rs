//! Programs of ours that somebody takes off an interface by force are attached again, and it is said.

use super::life::{Bpffs, pinned};
use super::pair::{Pair, block, far};
use super::*;
use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use caps::{CapSet, Capability};
use sentinel::config::Hook;
use sentinel::kernel::{State, on_tc};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{BlockEntry, FLAG_EGRESS};
use std::process::Command;

fn tc(pair: &Pair, args: &str) {
    let out = Command::new("tc")
        .args(["-n", &pair.near])
        .args(args.split_whitespace())
        .output()
        .unwrap();
    assert!(out.status.success(), "tc {args}: {out:?}");
}

/// Detaches the tcx link on one side of `veth0`, as its owner would not.
fn tear(pair: &Pair, side: TcAttachType) {
    let (_, programs) = Pair::inside(&pair.near, || SchedClassifier::query_tcx("veth0", side)).unwrap();
    let listed = Command::new("bpftool").args(["-j", "link", "list"]).output().unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let mut links = listed.as_array().unwrap().iter();
    let link = links.find(|link| link["prog_id"] == programs[0].id()).unwrap();
    let out = Command::new("bpftool")
        .args(["link", "detach", "id", &link["id"].to_string()])
        .output()
        .unwrap();
    assert!(out.status.success(), "{out:?}");
}

/// Who sends to the far end is told so by a drop on the way out.
fn sends(pair: &Pair) -> bool {
    let ping = [
        "netns",
        "exec",
        &pair.near,
        "ping",
        "-c",
        "2",
        "-i",
        "0.2",
        "-W",
        "1",
        "10.99.0.2",
    ];
    Command::new("ip").args(ping).output().unwrap().status.success()
}

fn dropped_going_out(kernel: &Kernel) -> u64 {
    kernel.counters().read().unwrap().0[0].get(Counter::EgressDropV4)
}

/// A look with no more capabilities than the agent keeps.
fn tend(pair: &Pair, kernel: &mut Kernel) -> State {
    let look = Pair::inside(&pair.near, || {
        let all = caps::read(None, CapSet::Effective).unwrap();
        let kept = [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON];
        caps::set(None, CapSet::Effective, &kept.into()).unwrap();
        let look = kernel.tend(&["veth0".into()]);
        caps::set(None, CapSet::Effective, &all).unwrap();
        look
    });
    look[0].state
}

#[test]
fn a_tcx_program_torn_off_is_attached_again() {
    if kernel(&config(), Mode::Simulation).is_none() || !probe::tcx() {
        return;
    }
    for pin in [false, true] {
        let (pair, bpffs) = (Pair::new(), Bpffs::new());
        let config = KernelConfig {
            hook: Hook::Tc,
            pin,
            ..pinned(&bpffs)
        };
        let mut kernel = Kernel::load(&config, Mode::Production).unwrap();
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
        let entry = BlockEntry {
            flags: FLAG_EGRESS,
            ..block()
        };
        kernel.blocks().put_block(far(), &entry).unwrap();
        assert!(!pair.ping("10.99.0.1"));
        for _ in 0..2 {
            assert_eq!(tend(&pair, &mut kernel), State::Attached);
            let before = kernel.counters().read().unwrap().0[0].get(Counter::DropExact);
            tear(&pair, TcAttachType::Ingress);
            let answers = dropped_going_out(&kernel);
            assert!(!pair.ping("10.99.0.1"));
            assert!(dropped_going_out(&kernel) > answers, "not torn off");
            let came = tend(&pair, &mut kernel);
            assert_eq!(
                came,
                State::Came,
                "{:?}",
                kernel.counters().read().unwrap().0[0].trouble
            );
            assert!(!pair.ping("10.99.0.1"), "not attached again");
            let after = kernel.counters().read().unwrap().0[0].get(Counter::DropExact);
            assert!(after >= before + 2, "{before} {after}");

            assert_eq!(tend(&pair, &mut kernel), State::Attached);
            let ingress = Pair::inside(&pair.near, || on_tc("veth0"));
            tear(&pair, TcAttachType::Egress);
            let before = dropped_going_out(&kernel);
            assert!(!sends(&pair));
            assert_eq!(dropped_going_out(&kernel), before, "torn off");
            assert_eq!(tend(&pair, &mut kernel), State::Came);
            assert!(!sends(&pair));
            assert!(dropped_going_out(&kernel) >= before + 2, "not attached again");
            let there = Pair::inside(&pair.near, || on_tc("veth0"));
            assert_eq!(there, ingress, "what was in order was touched");
        }
        assert_eq!(tend(&pair, &mut kernel), State::Attached);
    }
}

#[test]
fn a_filter_that_was_removed_is_attached_again_and_who_took_its_place_stays() {
    let on_tc_hook = KernelConfig {
        hook: Hook::Tc,
        ..config()
    };
    let Some(mut kernel) = kernel(&on_tc_hook, Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    for side in ["ingress", "egress"] {
        Pair::inside(&pair.near, || kernel.attach_with(&["veth0".into()], false)).unwrap();
        assert_eq!(tend(&pair, &mut kernel), State::Attached);
        tc(&pair, &format!("filter del dev veth0 {side}"));
        // At the very number ours had.
        let add = format!("filter add dev veth0 {side} protocol all prio 49152 handle 1 bpf bytecode");
        let foreign = Command::new("tc")
            .args(["-n", &pair.near])
            .args(add.split_whitespace())
            .arg("1,6 0 0 4294967295,")
            .output()
            .unwrap();
        assert!(foreign.status.success(), "{foreign:?}");
        let shown = || {
            let out = Command::new("tc")
                .args(["-n", &pair.near, "filter", "show", "dev", "veth0", side])
                .output()
                .unwrap();
            String::from_utf8(out.stdout).unwrap()
        };
        let before = shown();
        assert!(before.contains("bytecode"), "{before}");
        assert_eq!(tend(&pair, &mut kernel), State::Came);
        assert!(
            shown().contains("bytecode"),
            "somebody else's filter is gone: {}",
            shown()
        );
        assert_eq!(tend(&pair, &mut kernel), State::Attached);
        kernel.blocks().put_block(far(), &block()).unwrap();
        assert!(!pair.ping("10.99.0.1"));
        Pair::inside(&pair.near, || kernel.detach());
        assert!(pair.ping("10.99.0.1") && shown().contains("bytecode"), "{}", shown());
        tc(&pair, "qdisc del dev veth0 clsact");
    }
}

#[test]
fn a_qdisc_that_was_removed_comes_back_with_the_egress_and_nothing_else_is_touched() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    Pair::inside(&pair.near, || kernel.attach_with(&["veth0".into()], false)).unwrap();
    kernel.blocks().put_block(far(), &block()).unwrap();
    assert!(!pair.ping("10.99.0.1"));
    let before = kernel.counters().read().unwrap().0;
    tc(&pair, "qdisc del dev veth0 clsact");
    assert!(kernel.attached()[0].egress);
    assert_eq!(tend(&pair, &mut kernel), State::Came);
    assert_eq!(tend(&pair, &mut kernel), State::Attached);
    let after = kernel.counters().read().unwrap().0;
    assert_eq!((after[0].xdp_mode, after[0].egress), ("native", true));
    assert_eq!(after[0].get(Counter::DropExact), before[0].get(Counter::DropExact));
    sends(&pair);
    let out = kernel.counters().read().unwrap().0[0].get(Counter::EgressV4);
    assert!(out >= after[0].get(Counter::EgressV4) + 2, "{out}");
}
