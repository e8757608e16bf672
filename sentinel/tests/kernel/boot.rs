//! The whole path in one go, on whatever kernel this is: what `cargo xtask test-kernels` boots each kernel for. It tells
//! what it saw in one line that the task reads.

use super::life::{Bpffs, pinned};
use super::pair::{Pair, block, records};
use super::redirect::redirect;
use super::*;
use sentinel::config::Hook;
use sentinel::kernel::State;
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::entry::{AllowEntry, BlockEntry, NEVER_NS};
use sentinel_common::names::{
    PROG_COOKIE, PROG_COOKIE_FRAGS, PROG_EGRESS, PROG_INGRESS, PROG_REDIRECT, PROG_REDIRECT_FRAGS, PROG_RESTORE,
    PROG_XDP, PROG_XDP_FRAGS,
};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// What stands before the line's JSON.
const MARK: &str = "kernel-report:";
/// Datagrams of one burst.
const BURST: u64 = 50;

/// Sends a burst from `far` to `near` and waits until the kernel has judged it: (dropped, passed) IPv4 packets. Only
/// the first burst may be accompanied by neighbour discovery, and that is not IP.
fn burst(kernel: &Kernel, pair: &Pair) -> (u64, u64) {
    let count = || {
        let counters = kernel.counters().read().unwrap().0;
        (counters[0].get(Counter::DropV4), counters[0].get(Counter::PassV4))
    };
    let before = count();
    let socket = Pair::inside(&pair.far, || UdpSocket::bind("10.99.0.2:7100").unwrap());
    for n in 0..BURST {
        socket.send_to(&n.to_be_bytes(), "10.99.0.1:7101").unwrap();
    }
    let (mut came, mut since) = (0, Instant::now());
    loop {
        let now = count();
        let moved = (now.0 - before.0, now.1 - before.1);
        if moved.0 + moved.1 > came {
            (came, since) = (moved.0 + moved.1, Instant::now());
        }
        // Until no more comes; the first may take its time.
        let patience = Duration::from_secs(if came == 0 { 60 } else { 5 });
        if came >= BURST || since.elapsed() > patience {
            return moved;
        }
        std::thread::yield_now();
    }
}

/// All of a burst that came in was dropped, or all of it passed: a veth whose receiver is not given time loses some
/// before they come in.
#[track_caller]
fn assert_all((dropped, passed): (u64, u64), listed: bool, why: &str) {
    let (all, none) = if listed { (dropped, passed) } else { (passed, dropped) };
    let shown = format!("{why}: {dropped} dropped, {passed} passed");
    assert!(none == 0 && all > BURST / 2 && all <= BURST, "{shown}");
}

/// Attaches to a fresh pair; the listed source is dropped to the packet, allowed or unlisted it passes, and a block
/// ends by itself.
fn enforces(kernel: &mut Kernel, pair: &Pair) -> &'static str {
    let far = "10.99.0.2/32".parse().unwrap();
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    // Somebody has to listen, or the answers say so by ICMP, a limited number of times.
    let _sink = Pair::inside(&pair.near, || UdpSocket::bind("10.99.0.1:7101").unwrap());
    let mut blocks = kernel.blocks();
    assert_all(burst(kernel, pair), false, "nothing is listed");
    blocks.put_block(far, &block()).unwrap();
    let moved = burst(kernel, pair);
    assert_all(moved, true, "the source is listed");
    assert_eq!(blocks.get_block(far).unwrap().unwrap().hits, moved.0);
    let allow = AllowEntry {
        expires_ns: NEVER_NS,
        ..AllowEntry::default()
    };
    blocks.put_allow("10.99.0.0/24".parse().unwrap(), &allow).unwrap();
    assert_all(burst(kernel, pair), false, "allowed and listed");
    blocks.delete_allow("10.99.0.0/24".parse().unwrap()).unwrap();

    // Long enough for a burst, also where others have the machine.
    let held = [1, 5, 20, 120].into_iter().find_map(|seconds| {
        let expires_ns = boot_now().0 + seconds * 1_000_000_000;
        let ends = BlockEntry { expires_ns, ..block() };
        blocks.put_block(far, &ends).unwrap();
        let moved = burst(kernel, pair);
        (boot_now().0 < expires_ns).then_some((moved, expires_ns))
    });
    let (moved, expires_ns) = held.expect("two minutes were not enough for a burst");
    assert_all(moved, true, "the block holds");
    let rest = Duration::from_nanos(expires_ns.saturating_sub(boot_now().0));
    std::thread::sleep(rest + Duration::from_millis(50));
    assert_all(burst(kernel, pair), false, "the block ended, and nobody removed it");
    blocks.delete_block(far).unwrap();
    let look = Pair::inside(&pair.near, || kernel.tend(&["veth0".into()]));
    assert_eq!(look[0].state, State::Attached, "what is attached is seen to be");
    kernel.attached()[0].xdp_mode
}

/// What a redirected source sends to a port where nobody listens reaches the decoy, and the answer comes from that port.
fn redirects(kernel: &mut Kernel, pair: &Pair) {
    kernel.set_honeypot(Some((None, 7301)), Some((None, 7301))).unwrap();
    let mut blocks = kernel.blocks();
    for (near, far, listed) in [
        ("10.99.0.1", "10.99.0.2", "10.99.0.2/32"),
        ("fd99::1", "fd99::2", "fd99::/64"),
    ] {
        let decoy = Pair::inside(&pair.near, || UdpSocket::bind((near, 7301)).unwrap());
        let client = Pair::inside(&pair.far, || UdpSocket::bind((far, 7302)).unwrap());
        for socket in [&decoy, &client] {
            socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        }
        let net = listed.parse().unwrap();
        blocks.put_block(net, &redirect()).unwrap();
        for port in [53, 123] {
            client.send_to(b"question", (near, port)).unwrap();
            let (_, peer) = decoy.recv_from(&mut [0; 16]).unwrap();
            decoy.send_to(b"answer", peer).unwrap();
            let (len, from) = client.recv_from(&mut [0; 16]).unwrap();
            assert_eq!((len, from.port()), (6, port), "{near}");
        }
        blocks.delete_block(net).unwrap();
    }
}

/// Instructions the verifier walked for each program, and the programs this kernel does without, with the reason.
#[derive(Default)]
struct Programs {
    verified: BTreeMap<&'static str, u32>,
    absent: BTreeMap<&'static str, &'static str>,
}

fn programs(kernel: &mut Kernel) -> Programs {
    let mut all = Programs::default();
    // Whether a kernel takes a program is known beforehand: one it should take and refuses fails.
    let frags = (!probe::multi_buffer()).then_some("multi-buffer frames need Linux 5.18");
    let wanted = [
        (PROG_XDP, None),
        (PROG_XDP_FRAGS, frags),
        (PROG_INGRESS, None),
        (PROG_EGRESS, None),
        (PROG_REDIRECT, None),
        (PROG_REDIRECT_FRAGS, frags),
        (PROG_RESTORE, None),
        (PROG_COOKIE, None),
        (PROG_COOKIE_FRAGS, frags),
    ];
    for (program, lacking) in wanted {
        if let Some(why) = lacking {
            all.absent.insert(program, why);
        } else if let Some(cost) = kernel.verifier_cost(program).unwrap() {
            all.verified.insert(program, cost);
        }
    }
    all
}

/// A pinned agent ends and another takes over what it left: the block holds throughout, with its hits.
fn upgrade() {
    let (pair, bpffs) = (Pair::new(), Bpffs::new());
    let _sink = Pair::inside(&pair.near, || UdpSocket::bind("10.99.0.1:7101").unwrap());
    let start = || {
        let mut kernel = Kernel::load(&pinned(&bpffs), Mode::Production).unwrap();
        Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
        kernel
    };
    let far = "10.99.0.2/32".parse().unwrap();
    let before = start();
    assert_all(burst(&before, &pair), false, "nothing is listed");
    before.blocks().put_block(far, &block()).unwrap();
    let watching = before.counters();
    drop(before);
    let dropped = || watching.of_slot(0).unwrap()[Counter::DropV4 as usize];
    let begun = dropped();
    let socket = Pair::inside(&pair.far, || UdpSocket::bind("10.99.0.2:7100").unwrap());
    for n in 0..BURST {
        socket.send_to(&n.to_be_bytes(), "10.99.0.1:7101").unwrap();
    }
    drop(socket);
    let (mut held, mut since) = (0, Instant::now());
    while held < BURST && since.elapsed() < Duration::from_secs(if held == 0 { 60 } else { 5 }) {
        std::thread::yield_now();
        if dropped() - begun > held {
            (held, since) = (dropped() - begun, Instant::now());
        }
    }
    let held = dropped() - begun;
    assert_all((held, 0), true, "the dead agent's block does not hold");
    let after = start();
    let moved = burst(&after, &pair);
    assert_all(moved, true, "the block was taken over");
    assert_eq!(after.blocks().get_block(far).unwrap().unwrap().hits, held + moved.0);
}

#[tokio::test]
async fn this_kernel_does_it_all() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let programs = programs(&mut kernel);
    let pair = Pair::new();
    let native = enforces(&mut kernel, &pair);
    assert_eq!(native, "native", "{:?}", kernel.attached());
    redirects(&mut kernel, &pair);

    let near = pair.near.clone();
    let far = pair.far.clone();
    let flows = records(&mut kernel, move || {
        let server = Pair::inside(&near, || UdpSocket::bind("10.99.0.1:7200").unwrap());
        let client = Pair::inside(&far, || UdpSocket::bind("10.99.0.2:7201").unwrap());
        for _ in 0..3 {
            client.send_to(b"12345", "10.99.0.1:7200").unwrap();
            let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
            server.send_to(b"1234567890", from).unwrap();
            client.recv(&mut [0; 16]).unwrap();
        }
    })
    .await;
    let remote = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2));
    let value = flows[&(remote, 7201, 7200, 17)];
    assert_eq!(
        (value.ingress.packets, value.ingress.payload_bytes),
        (3, 15),
        "{value:?}"
    );
    assert_eq!((value.egress.packets, value.egress.payload_bytes), (3, 30), "{value:?}");
    let egress = kernel.counters().read().unwrap().0[0].get(Counter::EgressV4);
    assert!(egress >= 3, "{egress}");
    drop(kernel);

    let generic_only = KernelConfig {
        force_generic: true,
        ..config()
    };
    let mut kernel = Kernel::load(&generic_only, Mode::Production).unwrap();
    let pair = Pair::new();
    let generic = enforces(&mut kernel, &pair);
    redirects(&mut kernel, &pair);
    drop(kernel);
    let on_tc = KernelConfig {
        hook: Hook::Tc,
        ..config()
    };
    let mut kernel = Kernel::load(&on_tc, Mode::Production).unwrap();
    assert_eq!(enforces(&mut kernel, &Pair::new()), "tc");
    drop(kernel);
    upgrade();
    let report = serde_json::json!({
        "native": native,
        "generic": generic,
        "egress": if probe::tcx() { "tcx" } else { "clsact" },
        "frags": probe::multi_buffer(),
        "verified": programs.verified,
        "absent": programs.absent,
    });
    println!("{MARK}{report}");
}
