//! Interfaces that come and go, and other people's programs on them.

use super::pair::{Pair, block, far, ip};
use super::*;
use sentinel::config::Hook;
use sentinel::kernel::{State, on_tc, on_xdp};
use sentinel::respond::Enforcer;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

/// F9: an interface is deleted and made again, 50 times.
#[test]
fn an_interface_that_comes_back_is_protected_again_and_inherits_nothing() {
    const TIMES: usize = 50;
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let wanted = ["veth0".to_owned(), "lo".to_owned()];
    Pair::inside(&pair.near, || kernel.attach(&wanted)).unwrap();
    kernel.blocks().put_block(far(), &block()).unwrap();
    let mut worst = Duration::ZERO;
    let mut dropped = 0;
    for _ in 0..TIMES {
        ip(&format!("-n {} link del veth0", pair.near));
        let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
        assert_eq!((looks[0].state, looks[1].state), (State::Absent, State::Attached));
        let (interfaces, _) = kernel.counters().read().unwrap();
        let gone = interfaces.iter().find(|i| i.name == "veth0").unwrap();
        assert_eq!(gone.xdp_mode, "none");
        assert!(
            gone.trouble.as_ref().is_some_and(|t| t.cause.contains("veth0")),
            "{gone:?}"
        );
        pair.wire();
        let since = Instant::now();
        let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
        worst = worst.max(since.elapsed());
        assert_eq!((looks[0].state, looks[1].state), (State::Came, State::Attached));
        let socket = Pair::inside(&pair.far, || UdpSocket::bind("10.99.0.2:0").unwrap());
        for _ in 0..3 {
            socket.send_to(b"?", "10.99.0.1:9").unwrap();
        }
        let begin = Instant::now();
        loop {
            let (interfaces, _) = kernel.counters().read().unwrap();
            let back = interfaces.iter().find(|i| i.name == "veth0").unwrap();
            assert_eq!((back.xdp_mode, &back.trouble), ("native", &None));
            let now = back.get(Counter::DropExact);
            assert!(now >= dropped, "counters went backwards");
            if now >= dropped + 3 {
                assert_eq!(now, dropped + 3, "something was counted twice, or inherited");
                dropped = now;
                break;
            }
            assert!(begin.elapsed() < Duration::from_mins(2), "not dropped: {back:?}");
        }
    }
    eprintln!(
        "figure: re-attached, of {TIMES} times, at most = {:.3} s",
        worst.as_secs_f64()
    );
    assert_eq!(kernel.attached().len(), 2);
    // A slot that was freed counts for its next owner from zero.
    ip(&format!("-n {} link add veth9 type veth peer name veth8", pair.near));
    let third = [wanted[1].clone(), "veth9".to_owned()];
    Pair::inside(&pair.near, || kernel.tend(&third));
    let (interfaces, _) = kernel.counters().read().unwrap();
    let names: Vec<&str> = interfaces.iter().map(|i| i.name.as_str()).collect();
    assert_eq!(names, ["lo", "veth9"]);
    assert_eq!(interfaces[1].get(Counter::DropExact), 0);
}

#[test]
fn a_renamed_interface_stays_protected_until_another_takes_its_name() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let wanted = ["veth0".to_owned()];
    Pair::inside(&pair.near, || kernel.attach(&wanted)).unwrap();
    kernel.blocks().put_block(far(), &block()).unwrap();
    assert!(!pair.ping("10.99.0.1"));
    ip(&format!("-n {} link set veth0 name lan0", pair.near));
    let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
    assert_eq!(looks[0].state, State::Attached);
    assert!(!pair.ping("10.99.0.1"), "renamed, and unprotected");
    let trouble = kernel.counters().read().unwrap().0[0].trouble.clone().unwrap();
    assert!(
        trouble.cause.contains("lan0") && trouble.mend.contains("kernel.interfaces"),
        "{trouble:?}"
    );
    ip(&format!("-n {} link add veth0 type veth peer name veth8", pair.near));
    let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
    assert_eq!(looks[0].state, State::Came);
    assert_eq!(kernel.attached().len(), 1);
    assert!(pair.ping("10.99.0.1"), "lan0 is not what is to be watched");
}

/// An XDP program of somebody else's: an empty one that passes, on a link that ends with the test.
fn foreign_xdp(ns: &str) -> sentinel::kernel::testrun::Floor {
    Pair::inside(ns, || sentinel::kernel::testrun::Floor::attach("veth0")).unwrap()
}

/// A transfer over TCP: on tc its segments come as large frames, of which only the headers are in one piece.
fn transfer(pair: &Pair) {
    let server = Pair::inside(&pair.near, || TcpListener::bind("10.99.0.1:7500").unwrap());
    let mut client = Pair::inside(&pair.far, || TcpStream::connect("10.99.0.1:7500")).unwrap();
    let (mut served, _) = server.accept().unwrap();
    let sender = std::thread::spawn(move || client.write_all(&vec![7; 1 << 20]).unwrap());
    let mut got = Vec::new();
    served.read_to_end(&mut got).unwrap();
    sender.join().unwrap();
    assert_eq!(got.len(), 1 << 20);
}

#[test]
fn an_interface_is_known_by_its_other_names_too() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let named = Command::new("ip")
        .args([
            "-n", &pair.near, "link", "property", "add", "dev", "veth0", "altname", "other0",
        ])
        .status()
        .unwrap();
    assert!(named.success());
    let watched = ["other0".to_owned(), "none0".to_owned()];
    Pair::inside(&pair.near, || kernel.attach_present(&watched)).unwrap();
    for _ in 0..2 {
        let looks = Pair::inside(&pair.near, || kernel.tend(&watched));
        let states: Vec<State> = looks.iter().map(|look| look.state).collect();
        assert_eq!(states, [State::Attached, State::Absent]);
    }
    let troubles = kernel.counters().read().unwrap().0;
    let trouble = |name: &str| troubles.iter().find(|one| one.name == name).unwrap().trouble.clone();
    assert_eq!(trouble("other0"), None);
    assert!(trouble("none0").is_some());
    kernel.blocks().put_block(far(), &block()).unwrap();
    assert!(!pair.ping("10.99.0.1"));
}

#[test]
fn a_foreign_xdp_program_is_named_and_lived_with() {
    let Some(mut strict) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let foreign = foreign_xdp(&pair.near);
    let watched = ["veth0".to_owned()];
    let error = Pair::inside(&pair.near, || strict.attach(&watched)).unwrap_err();
    assert!(matches!(error, KernelError::ForeignXdp { .. }), "{error}");
    let said = error.to_string();
    let own = format!("process {}", std::process::id());
    for part in [
        "floor_pass",
        "native XDP",
        "loaded by user 0",
        &own,
        "kernel.hook: auto",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    drop(strict);
    let auto = KernelConfig {
        hook: Hook::Auto,
        ..config()
    };
    for tcx in [probe::tcx(), false] {
        let mut kernel = Kernel::load(&auto, Mode::Production).unwrap();
        Pair::inside(&pair.near, || kernel.attach_with(&watched, tcx)).unwrap();
        let attached = kernel.attached();
        assert_eq!(attached[0].xdp_mode, "tc");
        assert!(
            attached[0]
                .fallback
                .as_ref()
                .is_some_and(|why| why.contains("floor_pass")),
            "{attached:?}"
        );
        assert!(pair.ping("10.99.0.1") && pair.ping("fd99::1"));
        transfer(&pair);
        kernel.blocks().put_block(far(), &block()).unwrap();
        assert!(!pair.ping("10.99.0.1") && pair.ping("fd99::1"), "tcx {tcx}");
        let interfaces = kernel.counters().read().unwrap().0;
        assert!(interfaces[0].get(Counter::PassV4Bytes) > 1 << 20);
        assert_eq!(
            interfaces[0].get(Counter::Truncated) + interfaces[0].get(Counter::Malformed),
            0
        );
        assert!(interfaces[0].get(Counter::DropExact) >= 2 && interfaces[0].get(Counter::PassV4) >= 2);
        assert_eq!(interfaces[0].xdp_mode, "tc");
        let on_tc = Pair::inside(&pair.near, || on_tc("veth0"));
        assert!(on_tc.iter().any(sentinel::kernel::Occupant::is_sentinel), "{on_tc:?}");
        Pair::inside(&pair.near, || drop(kernel));
        eventually("the program to go with its agent", || {
            let left = Pair::inside(&pair.near, || (on_xdp("veth0"), sentinel::kernel::on_tc("veth0")));
            (left.0.len(), left.1.len()) == (1, 0)
        });
        eventually("nothing to be dropped without it", || pair.ping("10.99.0.1"));
    }
    // Freed, the hook is taken again.
    drop(foreign);
    let mut kernel = Kernel::load(&auto, Mode::Production).unwrap();
    Pair::inside(&pair.near, || kernel.attach(&watched)).unwrap();
    assert_eq!(kernel.attached()[0].xdp_mode, "native");
}

#[test]
fn a_foreign_filter_on_tc_stays_where_it_is() {
    let tc = KernelConfig {
        hook: Hook::Tc,
        ..config()
    };
    let Some(mut kernel) = kernel(&tc, Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    ip(&format!("netns exec {} tc qdisc add dev veth0 clsact", pair.near));
    let filter = "filter add dev veth0 ingress protocol ip prio 7 bpf bytecode";
    let added = Command::new("tc")
        .args(["-n", &pair.near])
        .args(filter.split_whitespace())
        .arg("1,6 0 0 4294967295,")
        .output()
        .unwrap();
    assert!(added.status.success(), "{added:?}");
    for tcx in [probe::tcx(), false] {
        Pair::inside(&pair.near, || kernel.attach_with(&["veth0".into()], tcx)).unwrap();
        let attached = &kernel.attached()[0];
        assert_eq!(attached.xdp_mode, "tc");
        assert!(
            attached
                .fallback
                .as_deref()
                .is_some_and(|why| why.starts_with("wanted"))
        );
        let there = Pair::inside(&pair.near, || on_tc("veth0"));
        assert!(there.iter().any(|one| one.name == "a bpf filter"), "{there:?}");
        Pair::inside(&pair.near, || kernel.detach());
        eventually("all but the foreign filter to go", || {
            let there = Pair::inside(&pair.near, || on_tc("veth0"));
            there.len() == 1 && there[0].name == "a bpf filter"
        });
    }
}

#[test]
fn three_interfaces_are_counted_each_for_itself() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    for (number, name) in [(1, "veth1"), (2, "veth2")] {
        ip(&format!(
            "-n {} link add {name} type veth peer name {name} netns {}",
            pair.near, pair.far
        ));
        for (ns, host) in [(&pair.near, 1), (&pair.far, 2)] {
            ip(&format!("-n {ns} addr add 10.98.{number}.{host}/24 dev {name}"));
            ip(&format!("-n {ns} link set {name} up"));
        }
    }
    let watched = ["veth0", "veth1", "veth2", "absent0"].map(str::to_owned);
    Pair::inside(&pair.near, || kernel.attach_present(&watched)).unwrap();
    kernel
        .blocks()
        .put_block("10.98.1.2/32".parse().unwrap(), &block())
        .unwrap();
    assert!(pair.ping("10.99.0.1") && pair.ping("10.98.2.1") && !pair.ping("10.98.1.1"));
    let interfaces = kernel.counters().read().unwrap().0;
    let of = |name: &str| interfaces.iter().find(|i| i.name == name).unwrap();
    assert!(of("veth1").get(Counter::DropExact) >= 2);
    assert_eq!(of("veth0").get(Counter::DropV4) + of("veth2").get(Counter::DropV4), 0);
    assert!(of("veth0").get(Counter::PassV4) >= 2 && of("veth2").get(Counter::PassV4) >= 2);
    assert_eq!(of("absent0").xdp_mode, "none");
    let error = Pair::inside(&pair.near, || kernel.attach_present(&["absent0".into()])).unwrap_err();
    assert!(matches!(error, KernelError::NoInterface { .. }), "{error}");
}

#[test]
fn an_interface_that_comes_back_occupied_is_said_and_taken_when_it_is_free() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let wanted = ["veth0".to_owned()];
    Pair::inside(&pair.near, || kernel.attach(&wanted)).unwrap();
    let blocks = kernel.blocks();
    assert_eq!(blocks.shortfall(far(), &block()), None);
    ip(&format!("-n {} link del veth0", pair.near));
    pair.wire();
    let foreign = foreign_xdp(&pair.near);
    for _ in 0..2 {
        let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
        assert_eq!(looks[0].state, State::Refused);
        let trouble = kernel.counters().read().unwrap().0[0].trouble.clone().unwrap();
        assert!(
            trouble.cause.contains("unprotected") && trouble.cause.contains("floor_pass"),
            "{trouble:?}"
        );
        // An entry there blocks nothing, and is not said to.
        let told = blocks.shortfall(far(), &block()).unwrap();
        assert_eq!(told, "its packets pass on veth0, where our program cannot be attached");
    }
    drop(foreign);
    let free = Instant::now();
    loop {
        let looks = Pair::inside(&pair.near, || kernel.tend(&wanted));
        if looks[0].state == State::Came {
            break;
        }
        assert!(free.elapsed() < Duration::from_mins(2), "{looks:?}");
    }
    assert_eq!(blocks.shortfall(far(), &block()), None);
    assert_eq!(kernel.counters().read().unwrap().0[0].trouble, None);
}
