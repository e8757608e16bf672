//! From agent to agent: what a start that fails leaves, who counts where, what follows a changed capacity, and what the
//! old programs still do when only their maps are forgotten.

use super::life::{Bpffs, pinned};
use super::pair::{Pair, block, far, ip};
use super::redirect::redirect;
use super::*;
use sentinel::config::Hook;
use sentinel::kernel::{ListId, ListOrder, leftovers, on_tc, on_xdp, unpin};
use sentinel::respond::Enforcer;
use sentinel_common::entry::NEVER_NS;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Every file under a directory, in order.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            all.extend(files(&entry.path()));
        } else {
            all.push(entry.path());
        }
    }
    all.sort();
    all
}

/// The programs on the hooks of `veth0`, and who is pinned.
fn state(pair: &Pair, bpffs: &Bpffs) -> (Vec<u32>, Vec<PathBuf>) {
    let ids = Pair::inside(&pair.near, || {
        let both = on_xdp("veth0").into_iter().chain(on_tc("veth0"));
        both.map(|one| one.id).collect()
    });
    (ids, files(&bpffs.pins()))
}

#[test]
fn a_start_that_fails_leaves_the_agent_before_in_charge() {
    if kernel(&config(), Mode::Simulation).is_none() || !probe::tcx() {
        return;
    }
    // Another hook than before, and a second interface that is not there.
    for (before, after) in [(Hook::Xdp, Hook::Xdp), (Hook::Tc, Hook::Tc), (Hook::Xdp, Hook::Tc)] {
        let (pair, bpffs) = (Pair::new(), Bpffs::new());
        let start = |hook, interfaces: &[String]| {
            let config = KernelConfig { hook, ..pinned(&bpffs) };
            let mut kernel = Kernel::load(&config, Mode::Production)?;
            Pair::inside(&pair.near, || kernel.attach(interfaces))?;
            Ok::<_, KernelError>(kernel)
        };
        let watched = ["veth0".to_owned()];
        let more = ["veth0".to_owned(), "absent0".to_owned()];
        assert!(start(before, &more).is_err());
        eventually("a first start to leave nothing", || {
            state(&pair, &bpffs) == (vec![], vec![])
        });
        let agent = start(before, &watched).unwrap();
        agent.blocks().put_block(far(), &block()).unwrap();
        assert!(!pair.ping("10.99.0.1"));
        let counters = agent.counters();
        drop(agent);
        let left = state(&pair, &bpffs);
        let dropped = counters.of_slot(0).unwrap()[Counter::DropExact as usize];
        assert!(dropped >= 2 && left.0.len() == 1, "{left:?}");

        assert!(matches!(start(after, &more), Err(KernelError::NoInterface { .. })));
        eventually("the hooks to be as before", || state(&pair, &bpffs) == left);
        assert!(!pair.ping("10.99.0.1"), "the block of the agent before is gone");
        assert!(counters.of_slot(0).unwrap()[Counter::DropExact as usize] >= dropped + 2);
        let agent = start(after, &watched).unwrap();
        assert!(agent.blocks().get_block(far()).unwrap().unwrap().hits >= dropped + 2);
        assert!(agent.counters().read().unwrap().0[0].get(Counter::DropExact) >= dropped + 2);
        assert_ne!(state(&pair, &bpffs).0, left.0);
    }
}

#[test]
fn an_egress_that_cannot_be_had_puts_the_old_ingress_back() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let start = |egress, tcx| {
        let config = KernelConfig {
            egress,
            ..pinned(&bpffs)
        };
        let mut kernel = Kernel::load(&config, Mode::Production)?;
        Pair::inside(&pair.near, || kernel.attach_with(&["veth0".into()], tcx))?;
        Ok::<_, KernelError>(kernel)
    };
    let agent = start(false, true).unwrap();
    agent.blocks().put_block(far(), &block()).unwrap();
    let index = agent.attached()[0].ifindex;
    drop(agent);
    // Something else at the place of the pin.
    let place = bpffs.pins().join(format!("links/tcx-egress-{index}"));
    std::fs::create_dir(&place).unwrap();
    let before = state(&pair, &bpffs);
    if probe::tcx() {
        let error = start(true, true).err().unwrap();
        assert!(matches!(error, KernelError::ForeignPins { .. }), "{error}");
        eventually("the hooks to be as before", || state(&pair, &bpffs) == before);
        assert!(!pair.ping("10.99.0.1"), "the block of the agent before is gone");
    }
    std::fs::remove_dir(&place).unwrap();
    let agent = start(true, false).unwrap();
    assert!(agent.attached()[0].egress && !pair.ping("10.99.0.1"));

    // A filter that keeps itself is replaced, and comes back too.
    drop(agent);
    let egress = || {
        let out = Command::new("tc")
            .args(["-n", &pair.near, "filter", "show", "dev", "veth0", "egress"])
            .output()
            .unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let ids = text
            .split(" id ")
            .skip(1)
            .map(|rest| rest.split(' ').next().unwrap().to_owned());
        ids.collect::<Vec<_>>()
    };
    let before = egress();
    assert_eq!(before.len(), 1, "{before:?}");
    let mut failing = Kernel::load(&pinned(&bpffs), Mode::Production).unwrap();
    let more = ["veth0".to_owned(), "absent0".to_owned()];
    assert!(Pair::inside(&pair.near, || failing.attach_with(&more, false)).is_err());
    assert_eq!(egress(), before);
}

/// Two agents' interfaces have room beside each other: nobody counts where another does, what is watched again goes on.
#[test]
fn interfaces_of_two_agents_do_not_share_their_counters() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let names = |letter: char| (0..16).map(|n| format!("{letter}{n}")).collect::<Vec<_>>();
    for name in names('a').iter().chain(&names('b')) {
        ip(&format!(
            "-n {} link add {name} type veth peer name {name} netns {}",
            pair.near, pair.far
        ));
    }
    for (name, number) in [("a0", 1), ("a7", 2)] {
        for (ns, host) in [(&pair.near, 1), (&pair.far, 2)] {
            ip(&format!("-n {ns} addr add 10.98.{number}.{host}/24 dev {name}"));
            ip(&format!("-n {ns} link set {name} up"));
        }
    }
    let start = |watched: &[String]| {
        let mut kernel = Kernel::load(&pinned(&bpffs), Mode::Production).unwrap();
        Pair::inside(&pair.near, || kernel.attach(watched)).map(|()| kernel)
    };
    let dropped = |kernel: &Kernel, name: &str| {
        let counters = kernel.counters().read().unwrap().0;
        counters
            .iter()
            .find(|i| i.name == name)
            .unwrap()
            .get(Counter::DropExact)
    };
    // Waits until the block has met the packets.
    let send = |kernel: &Kernel, number: u8| {
        let target = format!("10.98.{number}.2/32").parse().unwrap();
        let hits = || kernel.blocks().get_block(target).unwrap().unwrap().hits;
        let before = hits();
        let socket = Pair::inside(&pair.far, || UdpSocket::bind(format!("10.98.{number}.2:0")).unwrap());
        for _ in 0..5 {
            socket.send_to(b"?", format!("10.98.{number}.1:9")).unwrap();
        }
        let begin = Instant::now();
        while hits() < before + 5 {
            assert!(begin.elapsed() < Duration::from_mins(1), "not dropped");
        }
    };
    let agent = start(&names('a')).unwrap();
    for net in ["10.98.1.2/32", "10.98.2.2/32"] {
        agent.blocks().put_block(net.parse().unwrap(), &block()).unwrap();
    }
    send(&agent, 1);
    send(&agent, 2);
    assert_eq!((dropped(&agent, "a0"), dropped(&agent, "a7")), (5, 5));
    drop(agent);

    // One more than there were, asked for first, takes nobody's counters.
    let mut watched = vec!["b0".to_owned()];
    watched.extend_from_slice(&names('a')[..15]);
    let agent = start(&watched).unwrap();
    send(&agent, 1);
    let all = (dropped(&agent, "b0"), dropped(&agent, "a0"), dropped(&agent, "a7"));
    assert_eq!(all, (0, 10, 5));
    drop(agent);
    // Too many, and one that is not there, change nothing.
    watched.push("b1".to_owned());
    assert!(matches!(start(&watched), Err(KernelError::TooManyInterfaces { .. })));
    let mut absent = names('b')[1..].to_vec();
    absent.push("absent0".to_owned());
    assert!(start(&absent).is_err());

    // All others, while the old programs still count.
    let mut agent = Kernel::load(&pinned(&bpffs), Mode::Production).unwrap();
    send(&agent, 2);
    let others = names('b');
    Pair::inside(&pair.near, || agent.attach(&others)).unwrap();
    assert!(others.iter().all(|name| dropped(&agent, name) == 0));
    // And back, again and again, for room that was left is room.
    for _ in 0..3 {
        drop(agent);
        agent = start(&names('a')).unwrap();
        assert_eq!(
            dropped(&agent, "a0"),
            0,
            "counters of an interface that was not watched"
        );
        send(&agent, 1);
        assert_eq!((dropped(&agent, "a0"), dropped(&agent, "a1")), (5, 0));
        drop(agent);
        agent = start(&names('b')).unwrap();
    }
}

#[test]
fn a_changed_capacity_of_the_lists_keeps_what_is_on_them() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let start = |capacity| {
        let config = KernelConfig {
            list_capacity: capacity,
            list6_capacity: capacity,
            ..pinned(&bpffs)
        };
        let mut kernel = Kernel::load(&config, Mode::Production)?;
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()]))?;
        Ok::<_, KernelError>(kernel)
    };
    let (list, other) = (ListId::new(3).unwrap(), ListId::new(9).unwrap());
    let order = ListOrder {
        decision: [3; 16],
        expires_ns: NEVER_NS,
        shadow: false,
    };
    let mut nets: Vec<ipnet::IpNet> = vec![far(), "fd99::2/128".parse().unwrap(), "192.0.2.0/24".parse().unwrap()];
    nets.extend((1..=60u8).flat_map(|n| {
        let six = format!("2001:db8::{n}/128");
        [format!("198.51.100.{n}/32"), six].map(|net| net.parse::<ipnet::IpNet>().unwrap())
    }));
    nets.sort_unstable();
    let agent = start(64).unwrap();
    agent.lists().replace(list, &order, nets.clone()).unwrap();
    // In force in the odd version and in the even one.
    agent.lists().replace(other, &order, nets.clone()).unwrap();
    agent.lists().change(other, [], nets[..50].to_vec()).unwrap();
    assert!(!pair.ping("10.99.0.1") && !pair.ping("fd99::1"));
    drop(agent);
    let met = |agent: &Kernel, net: ipnet::IpNet| {
        let all = agent.lists().entries(list).unwrap();
        all.into_iter().find(|(other, _)| *other == net).unwrap().1
    };
    for capacity in [4096, 128, 61] {
        let agent = start(capacity).unwrap();
        for (list, wanted) in [(list, &nets[..]), (other, &nets[50..])] {
            let mut there: Vec<_> = agent
                .lists()
                .entries(list)
                .unwrap()
                .into_iter()
                .map(|one| one.0)
                .collect();
            there.sort_unstable();
            assert_eq!(there, wanted, "{capacity}");
        }
        assert_eq!(agent.lists().in_use().unwrap().len(), 2);
        let hits = met(&agent, far());
        assert!(hits >= 2 && !pair.ping("10.99.0.1") && !pair.ping("fd99::1"), "{hits}");
        assert!(met(&agent, far()) >= hits + 2, "another table is read than written");
        let change = agent.lists().replace(list, &order, nets.clone()).unwrap();
        assert_eq!((change.added, change.removed, change.kept), (0, 0, nets.len() as u64));
        assert_eq!(leftovers(&bpffs.pins()).unwrap().foreign, Vec::<PathBuf>::new());
    }
    let before = files(&bpffs.pins());
    let error = start(10).err().unwrap();
    assert!(matches!(error, KernelError::Shrunk { .. }), "{error}");
    assert!(error.to_string().contains("kernel.list_capacity"), "{error}");
    assert_eq!(files(&bpffs.pins()), before);
    assert!(
        !pair.ping("10.99.0.1") && !pair.ping("fd99::1"),
        "a refused start changed the lists"
    );
}

/// `sentinel detach --maps`: what the old programs call by tail call is there until the new ones are.
#[test]
fn programs_whose_maps_are_forgotten_still_redirect() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let load = || {
        let mut kernel = Kernel::load(&pinned(&bpffs), Mode::Production).unwrap();
        kernel.set_honeypot(Some((None, 7301)), None).unwrap();
        kernel.blocks().put_block(far(), &redirect()).unwrap();
        kernel
    };
    let attach = |kernel: &mut Kernel, names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        Pair::inside(&pair.near, || kernel.attach(&names))
    };
    let decoy = Pair::inside(&pair.near, || UdpSocket::bind("10.99.0.1:7301").unwrap());
    let client = Pair::inside(&pair.far, || UdpSocket::bind("10.99.0.2:7302").unwrap());
    for socket in [&decoy, &client] {
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    }
    let redirected = |when: &str| {
        client.send_to(b"question", "10.99.0.1:53").unwrap();
        let (_, peer) = decoy.recv_from(&mut [0; 16]).expect(when);
        decoy.send_to(b"answer", peer).unwrap();
        let (_, from) = client.recv_from(&mut [0; 16]).expect(when);
        assert_eq!(from.port(), 53, "{when}");
    };
    let mut agent = load();
    attach(&mut agent, &["veth0"]).unwrap();
    redirected("with the agent");
    drop(agent);
    for round in 0..2 {
        redirected("pinned");
        assert!(unpin(&bpffs.pins(), false).unwrap());
        redirected("without pinned maps");
        let found = leftovers(&bpffs.pins()).unwrap();
        assert!(found.maps.is_empty() && found.foreign.is_empty(), "{found:?}");
        // An attempt that fails changes nothing about it.
        assert!(attach(&mut load(), &["veth0", "absent0"]).is_err());
        redirected("after a start that failed");
        let mut agent = load();
        attach(&mut agent, &["veth0"]).unwrap();
        redirected("with the next agent");
        let links = files(&bpffs.pins().join("links"));
        assert!(
            links.iter().all(|path| !path.to_string_lossy().contains("STAGES")),
            "{round}: {links:?}"
        );
    }
    assert!(unpin(&bpffs.pins(), false).unwrap());
    redirected("without pinned maps");
    assert!(unpin(&bpffs.pins(), true).unwrap());
    assert!(!bpffs.pins().exists(), "{:?}", leftovers(&bpffs.pins()).unwrap());
}
