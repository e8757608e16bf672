//! Real traffic between two namespaces of the test's own.

use super::loss::received;
use super::pair::{Pair, block, ip, records};
use super::*;
use sentinel::kernel::{Record, decode};
use sentinel::respond::Enforcer;
use sentinel_common::flow::{STATE_CLOSED, STATE_HANDSHAKE, STATE_OPENED_BY_EGRESS};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::Ordering;

#[tokio::test]
async fn traffic_is_seen_from_both_sides_and_a_listed_source_is_dropped() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    let watched = ["veth0".to_owned()];
    Pair::inside(&pair.near, || kernel.attach(&watched)).unwrap();
    let attached = kernel.attached();
    assert_eq!(attached[0].xdp_mode, "native", "{attached:?}");

    let (near, far) = (pair.near.clone(), pair.far.clone());
    let flows = records(&mut kernel, move || {
        let server = Pair::inside(&near, || TcpListener::bind("10.99.0.1:8099").unwrap());
        let client = Pair::inside(&far, || TcpStream::connect("10.99.0.1:8099"));
        let mut client = client.unwrap();
        let (mut served, _) = server.accept().unwrap();
        client.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        served.read_exact(&mut buffer).unwrap();
        served.write_all(&[7; 3000]).unwrap();
        served.shutdown(Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 3000);
        drop(client);
        assert_eq!(served.read(&mut buffer).unwrap(), 0);
    })
    .await;
    let remote = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2));
    let tcp: Vec<_> = flows
        .iter()
        .filter(|(key, _)| key.0 == remote && key.2 == 8099)
        .collect();
    assert_eq!(tcp.len(), 1, "{flows:?}");
    let value = tcp[0].1;
    assert_ne!(value.state & STATE_HANDSHAKE, 0, "{value:?}");
    assert_ne!(value.state & STATE_CLOSED, 0, "{value:?}");
    // On a busy machine segments are sent again; those cross the device too, and nothing else may.
    let (far, near) = (retransmitted(&pair.far), retransmitted(&pair.near));
    let (ingress, egress) = (value.ingress, value.egress);
    for (count, again) in [
        (ingress.syn, far),
        (ingress.fin, far),
        (egress.synack, near),
        (egress.fin, near),
    ] {
        assert!((1..=1 + again).contains(&u64::from(count)), "{again} {value:?}");
    }
    assert!((5..=5 + far * 5).contains(&ingress.payload_bytes), "{far} {value:?}");
    let sent = 3000..=3000 + near * 1448;
    assert!(sent.contains(&egress.payload_bytes), "{near} {value:?}");

    assert!(pair.ping("10.99.0.1"));
    assert!(pair.ping("fd99::1"));
    let mut blocks = kernel.blocks();
    assert_eq!(blocks.name(), "xdp (native)");
    blocks.put_block("10.99.0.2/32".parse().unwrap(), &block()).unwrap();
    assert!(!pair.ping("10.99.0.1"));
    assert!(pair.ping("fd99::1"));
    let entry = blocks.get_block("10.99.0.2/32".parse().unwrap()).unwrap().unwrap();
    // Two requests, and what TCP may have sent again meanwhile or answered to that.
    let again = retransmitted(&pair.far) + retransmitted(&pair.near);
    assert!((2..=2 + again).contains(&entry.hits), "{again} {entry:?}");
    blocks.delete_block("10.99.0.2/32".parse().unwrap()).unwrap().unwrap();
    assert!(pair.ping("10.99.0.1"));
}

/// What `ip -d link` and bpftool show of programs in a namespace.
fn programs(ns: &str) -> String {
    let link = Command::new("ip")
        .args(["-d", "-n", ns, "link", "show"])
        .output()
        .unwrap();
    let net = Command::new("nsenter")
        .args([&format!("--net=/run/netns/{ns}"), "bpftool", "net", "show"])
        .output()
        .unwrap();
    let text = [link.stdout, net.stdout]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    text.lines()
        .filter(|line| line.contains("sentinel") || line.contains("prog/xdp"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn nothing_left(ns: &str) {
    eventually("the programs to go", || programs(ns).is_empty());
}

fn qdiscs(ns: &str) -> String {
    let out = Command::new("tc")
        .args(["-n", ns, "qdisc", "show", "dev", "veth0"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn detaching_leaves_nothing() {
    let Some(mut kernel) = kernel(&config(), Mode::Simulation) else {
        return;
    };
    let pair = Pair::new();
    for tcx in [probe::tcx(), false] {
        Pair::inside(&pair.near, || kernel.attach_with(&["veth0".into()], tcx)).unwrap();
        let shown = programs(&pair.near);
        // Debian 12's tools do not know tcx yet; that it works is seen in the counters below.
        assert!(
            shown.contains("prog/xdp") && (tcx || shown.contains("sentinel_egress")),
            "{shown}"
        );
        assert_eq!(qdiscs(&pair.near).contains("clsact"), !tcx);
        assert!(pair.ping("10.99.0.1"));
        let (interfaces, _) = kernel.counters().read().unwrap();
        assert!(
            interfaces[0].get(Counter::PassV4) >= 2 && interfaces[0].get(Counter::EgressV4) >= 2,
            "{interfaces:?}"
        );
        Pair::inside(&pair.near, || kernel.detach());
        nothing_left(&pair.near);
        assert!(!qdiscs(&pair.near).contains("clsact"));
        assert_eq!(kernel.attached(), vec![]);
    }
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    drop(kernel);
    nothing_left(&pair.near);
}

#[test]
fn a_clsact_that_others_use_stays() {
    let Some(mut kernel) = kernel(&config(), Mode::Simulation) else {
        return;
    };
    let pair = Pair::new();
    // Ours makes the clsact, another hangs a filter from it, ours goes.
    Pair::inside(&pair.near, || kernel.attach_with(&["veth0".into()], false)).unwrap();
    let tc = |args: &str| {
        let out = Command::new("tc")
            .args(["-n", &pair.near])
            .args(args.split_whitespace().map(|word| word.replace('_', " ")))
            .output()
            .unwrap();
        assert!(out.status.success(), "{args}: {out:?}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    tc("filter add dev veth0 egress protocol ip prio 7 bpf bytecode 1,6_0_0_4294967295,");
    Pair::inside(&pair.near, || kernel.detach());
    assert!(qdiscs(&pair.near).contains("clsact"));
    let filters = tc("filter show dev veth0 egress");
    assert!(filters.contains("pref 7") && !filters.contains("sentinel"), "{filters}");
}

#[test]
fn what_a_killed_agent_left_is_found_and_removed() {
    const HOLD: &str = "GATE_TEST_HOLD";
    if let Some(ns) = std::env::var_os(HOLD) {
        // The child: attaches, says so, and waits to be killed.
        let mut kernel = kernel(&config(), Mode::Simulation).unwrap();
        Pair::inside(&ns.into_string().unwrap(), || {
            kernel.attach_with(&["veth0".into()], false)
        })
        .unwrap();
        println!("attached");
        std::io::stdout().flush().unwrap();
        let _ = std::io::stdin().read(&mut [0]);
        return;
    }
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let pair = Pair::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "live::what_a_killed_agent_left_is_found_and_removed",
            "--nocapture",
        ])
        .env(HOLD, &pair.near)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    assert!(lines.any(|line| line.unwrap().contains("attached")));
    assert!(programs(&pair.near).contains("prog/xdp"));
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the link to end with its process", || {
        !programs(&pair.near).contains("prog/xdp")
    });
    let left = programs(&pair.near);
    assert!(left.contains("sentinel_egress"), "a filter does not: {left}");
    let cleaned = Pair::inside(&pair.near, sentinel::kernel::detach_leftovers).unwrap();
    assert_eq!(cleaned, vec!["veth0".to_owned()]);
    assert_eq!(programs(&pair.near), "");
    assert_eq!(
        Pair::inside(&pair.near, sentinel::kernel::detach_leftovers).unwrap(),
        Vec::<String>::new()
    );
}

#[test]
fn a_driver_without_xdp_gets_the_generic_one_and_the_reason() {
    let Some(mut kernel) = kernel(&config(), Mode::Simulation) else {
        return;
    };
    let pair = Pair::new();
    Pair::inside(&pair.near, || kernel.attach(&["lo".into()])).unwrap();
    let attached = kernel.attached();
    assert_eq!(attached[0].xdp_mode, "generic");
    assert!(
        attached[0]
            .fallback
            .as_deref()
            .is_some_and(|why| why.contains("no native XDP")),
        "{attached:?}"
    );
    assert_eq!(kernel.counters().read().unwrap().0[0].xdp_mode, "generic");
    assert_eq!(kernel.blocks().name(), "xdp (generic)");
}

#[test]
fn forced_generic_drops_too() {
    let forced = KernelConfig {
        force_generic: true,
        egress: false,
        ..config()
    };
    let Some(mut kernel) = kernel(&forced, Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    assert_eq!(
        (kernel.attached()[0].xdp_mode, kernel.attached()[0].egress),
        ("generic", false)
    );
    kernel
        .blocks()
        .put_block("fd99::/64".parse().unwrap(), &block())
        .unwrap();
    assert!(!pair.ping("fd99::1"));
    assert!(pair.ping("10.99.0.1"));
    let (interfaces, _) = kernel.counters().read().unwrap();
    assert!(interfaces[0].get(Counter::DropPrefix) >= 2);
    assert_eq!(interfaces[0].get(Counter::EgressV4), 0);
}

#[test]
fn a_large_mtu_gets_the_program_for_multi_buffer_frames() {
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    for ns in [&pair.near, &pair.far] {
        ip(&format!("-n {ns} link set veth0 mtu 9000"));
    }
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    // Before Linux 5.18 there are no such programs, and the generic hook takes over.
    let mode = if probe::multi_buffer() { "native" } else { "generic" };
    assert_eq!(kernel.attached()[0].xdp_mode, mode, "{:?}", kernel.attached());
    let big = |to: &str| {
        let args = [
            "netns", "exec", &pair.far, "ping", "-c", "1", "-W", "1", "-s", "8000", to,
        ];
        Command::new("ip").args(args).output().unwrap().status.success()
    };
    assert!(big("10.99.0.1"));
    let bytes = kernel.counters().read().unwrap().0[0].get(Counter::PassV4Bytes);
    assert!(bytes > 8000, "a frame counts with all its buffers: {bytes}");
    kernel
        .blocks()
        .put_block("10.99.0.2/32".parse().unwrap(), &block())
        .unwrap();
    assert!(!big("10.99.0.1"));
    assert!(big("fd99::1"));
}

#[test]
fn attach_errors_say_what_to_do() {
    let Some(mut first) = kernel(&config(), Mode::Simulation) else {
        return;
    };
    let Some(mut second) = kernel(&config(), Mode::Simulation) else {
        return;
    };
    let pair = Pair::new();
    Pair::inside(&pair.near, || {
        let error = first.attach(&["veth0".into(), "wlan7".into()]).unwrap_err();
        assert!(
            matches!(&error, KernelError::NoInterface { name, existing, .. } if name == "wlan7" && existing.contains("veth0")),
            "{error}"
        );
        assert_eq!(first.attached(), vec![], "all or none");
        first.attach(&["veth0".into()]).unwrap();
        let error = second.attach(&["veth0".into()]).unwrap_err();
        assert!(matches!(error, KernelError::ForeignXdp { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("another XDP program") && text.contains("sentinel_xdp") && text.contains("sentinel detach"),
            "{text}"
        );
    });
}

#[tokio::test]
async fn a_flood_of_random_sources_is_accounted_to_the_unit() {
    const PACKETS: u64 = 20_000;
    if Command::new("hping3").arg("-v").output().is_err() {
        skip("no hping3 (Debian package hping3)");
        return;
    }
    let ingress_only = KernelConfig {
        egress: false,
        event_budget: 50,
        flow_capacity: 65_536,
        ..config()
    };
    let Some(mut kernel) = kernel(&ingress_only, Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    let reader = kernel.ring();
    let lost = reader.lost();
    let (out, mut batches) = tokio::sync::mpsc::channel(64);
    let cancel = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(reader.run(out, cancel.clone()));
    let counting = tokio::spawn(async move {
        let (mut got, mut packets) = (0, 0);
        while let Some(batch) = batches.recv().await {
            for record in decode(&batch) {
                let Record::Flow(flow) = record.unwrap() else {
                    panic!("flows are all there is");
                };
                got += 1;
                packets += flow.counts.packets;
            }
        }
        (got, packets)
    });
    let far = pair.far.clone();
    let flood = move || {
        let args = format!("netns exec {far} hping3 -q --udp -p 9999 -c {PACKETS} -i u10 --rand-source 10.99.0.1");
        Command::new("ip").args(args.split_whitespace()).output().unwrap()
    };
    tokio::task::spawn_blocking(flood).await.unwrap();
    // Until no more comes in.
    let mut came = 0;
    while came != received(&pair) {
        came = received(&pair);
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    cancel.cancel();
    task.await.unwrap();
    let (got, packets): (u64, u64) = counting.await.unwrap();
    let (interfaces, _) = kernel.counters().read().unwrap();
    let count = |counter| interfaces[0].get(counter);
    let (new, sent) = (count(Counter::FlowNew), count(Counter::EventSent));
    // A veth whose receiver is not given time loses some before they come in.
    assert!(new > PACKETS / 4, "{new} flows");
    // Each of the flood is a flow of its own, or has no place for one. What IPv6 says by itself is none of it.
    let (of_v4, passed) = (count(Counter::PassV4), count(Counter::PassV4) + count(Counter::PassV6));
    let begun = new + count(Counter::FlowRefused);
    assert!((of_v4..=passed).contains(&begun), "{begun} of {of_v4} to {passed}");
    assert_eq!(sent, got + lost.load(Ordering::Relaxed));
    // Every packet is in a record, in a slot that waits for one, or in a counter of its own.
    let held: u64 = kernel
        .test_slots()
        .unwrap()
        .iter()
        .map(|(head, _)| u64::from(head.packets))
        .sum();
    let given_up = count(Counter::FlowRefused) + count(Counter::FlowLost);
    assert_eq!(packets + held + given_up, passed, "{interfaces:?}");
}

#[test]
fn an_interface_without_ethernet_is_refused() {
    let Some(mut kernel) = kernel(&config(), Mode::Simulation) else {
        return;
    };
    let pair = Pair::new();
    let made = Command::new("ip")
        .args(["-n", &pair.near, "tuntap", "add", "tun7", "mode", "tun"])
        .output()
        .unwrap();
    if !made.status.success() {
        println!("skipped: this kernel has no tun devices");
        return;
    }
    let error = Pair::inside(&pair.near, || kernel.attach(&["tun7".into()])).unwrap_err();
    assert!(matches!(error, KernelError::NotEthernet { .. }), "{error}");
}

#[test]
fn a_missing_capability_is_named() {
    const CHILD: &str = "GATE_TEST_NO_CAPABILITIES";
    if std::env::var_os(CHILD).is_some() {
        // A process of its own: what aya learns of the kernel here, it would remember.
        caps::clear(None, caps::CapSet::Effective).unwrap();
        let error = Kernel::load(&config(), Mode::Simulation).err().unwrap().to_string();
        println!("error: {error}");
        return;
    }
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "live::a_missing_capability_is_named", "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        text.contains("CAP_BPF") && text.contains("CAP_NET_ADMIN") && text.contains("setcap"),
        "{text}"
    );
}

#[test]
fn capacities_the_kernel_cannot_make_are_refused_with_the_key() {
    if kernel(&config(), Mode::Simulation).is_none() {
        return;
    }
    for (config, key) in [
        (
            KernelConfig {
                ring_bytes: 5000,
                ..config()
            },
            "kernel.ring_bytes",
        ),
        (
            KernelConfig {
                flow_capacity: 0,
                ..config()
            },
            "kernel.flow_capacity",
        ),
        (
            KernelConfig {
                block_capacity: u32::MAX,
                ..config()
            },
            "kernel.block_capacity",
        ),
    ] {
        let error = Kernel::load(&config, Mode::Simulation).err().unwrap().to_string();
        assert!(error.contains(key), "{error}");
    }
    let huge = KernelConfig {
        list_capacity: u32::MAX,
        ..config()
    };
    let error = Kernel::load(&huge, Mode::Simulation).err().unwrap().to_string();
    assert!(error.contains("LIST4") && error.contains("capacity"), "{error}");
}

#[tokio::test]
async fn both_directions_are_counted_to_the_packet() {
    const STREAM: usize = 1_000_000;
    let Some(mut kernel) = kernel(&config(), Mode::Simulation) else {
        return;
    };
    let pair = Pair::new();
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    let (near, far) = (pair.near.clone(), pair.far.clone());
    let flows = records(&mut kernel, move || {
        let server = Pair::inside(&near, || UdpSocket::bind("[fd99::1]:7007").unwrap());
        let client = Pair::inside(&far, || UdpSocket::bind("[fd99::2]:7008").unwrap());
        client.connect("[fd99::1]:7007").unwrap();
        for n in 0..10u8 {
            client.send(&[n; 100]).unwrap();
            let (len, from) = server.recv_from(&mut [0; 200]).unwrap();
            assert_eq!(len, 100);
            server.send_to(&[n; 50], from).unwrap();
            client.recv(&mut [0; 200]).unwrap();
        }
        // A connection of our own, and a stream that the stack hands to the device in super-packets.
        let listener = Pair::inside(&far, || TcpListener::bind("10.99.0.2:7009").unwrap());
        let mut out = Pair::inside(&near, || TcpStream::connect("10.99.0.2:7009").unwrap());
        let (mut into, _) = listener.accept().unwrap();
        let sender = std::thread::spawn(move || {
            out.write_all(&vec![1; STREAM]).unwrap();
            out.shutdown(Shutdown::Write).unwrap();
            out.read_to_end(&mut Vec::new()).unwrap();
        });
        let mut got = Vec::new();
        into.read_to_end(&mut got).unwrap();
        assert_eq!(got.len(), STREAM);
        drop(into);
        sender.join().unwrap();
    })
    .await;
    let udp = flows
        .iter()
        .find(|(ends, _)| ends.3 == 17 && ends.2 == 7007)
        .map(|(_, flow)| flow)
        .unwrap();
    let halves = (udp.ingress, udp.egress);
    assert_eq!(
        (halves.0.packets, halves.0.bytes, halves.0.payload_bytes),
        (10, 1480, 1000),
        "{udp:?}"
    );
    assert_eq!(
        (halves.1.packets, halves.1.bytes, halves.1.payload_bytes),
        (10, 980, 500),
        "{udp:?}"
    );
    let tcp = flows
        .iter()
        .find(|(ends, _)| ends.3 == 6 && ends.1 == 7009)
        .map(|(_, flow)| flow)
        .unwrap();
    assert_ne!(tcp.state & STATE_OPENED_BY_EGRESS, 0);
    assert_ne!(tcp.state & STATE_HANDSHAKE, 0);
    let egress = tcp.egress;
    // On a busy machine segments are sent again; those cross the device too, and nothing else may.
    let again = retransmitted(&pair.near) * 1448;
    let sent = STREAM as u64..=STREAM as u64 + again;
    assert!(sent.contains(&egress.payload_bytes), "{again} {egress:?}");
    // 1,448 bytes of payload fit a packet of 1,500; the super-packets were counted as what leaves.
    assert!(egress.packets as usize >= STREAM / 1448, "{egress:?}");
    assert!(egress.len_max <= 1500, "{egress:?}");
}

/// Segments that TCP sent again inside a namespace (`RetransSegs` of snmp(5)).
pub(crate) fn retransmitted(namespace: &str) -> u64 {
    let text = Pair::inside(namespace, || {
        std::fs::read_to_string("/proc/thread-self/net/snmp").unwrap()
    });
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Tcp: "))
        .map(|line| line.split(' ').collect())
        .collect();
    let column = rows[0].iter().position(|name| *name == "RetransSegs").unwrap();
    rows[1][column].parse().unwrap()
}
