//! Real clients that believe they talk to services of the host, and talk to a decoy; and what goes out to nobody.

use super::frames::Rng;
use super::loss::tools;
use super::pair::{Pair, block, ip};
use super::redirect::redirect;
use super::*;
use sentinel::respond::Enforcer;
use sentinel_common::entry::{BlockEntry, FLAG_EGRESS};
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the decoy listens.
const DECOY: u16 = 2222;
/// More than a megabyte each way, in no even number of segments.
const STREAM: usize = 1_500_001;
const NEAR: [&str; 2] = ["10.99.0.1", "fd99::1"];
/// An address of the decoy's own.
const OWN: [&str; 2] = ["10.99.0.77", "fd99::77"];
const FAR: [&str; 2] = ["10.99.0.2", "fd99::2"];

/// Whether both ends leave checksums to their device, as they do unless told otherwise; without that they are in every
/// packet, and the other end's stack looks at them.
fn offload(pair: &Pair, on: bool) -> bool {
    [&pair.near, &pair.far].iter().all(|ns| {
        let switch = if on { "on" } else { "off" };
        let args = ["netns", "exec", ns.as_str(), "ethtool", "-K", "veth0", "tx", switch];
        Command::new("ip").args(args).output().unwrap().status.success()
    })
}

/// Packets a namespace's stack refused for their checksum (snmp(5)).
fn bad_checksums(ns: &str) -> u64 {
    let read = |path: &str| Pair::inside(ns, || std::fs::read_to_string(path).unwrap());
    let snmp = read("/proc/thread-self/net/snmp");
    let mut bad = 0;
    let lines: Vec<&str> = snmp.lines().collect();
    for pair in lines.chunks(2) {
        for (name, value) in pair[0].split_whitespace().zip(pair[1].split_whitespace()) {
            if name.ends_with("CsumErrors") {
                bad += value.parse::<u64>().unwrap();
            }
        }
    }
    for line in read("/proc/thread-self/net/snmp6").lines() {
        let mut words = line.split_whitespace();
        if words.next().is_some_and(|name| name.ends_with("CsumErrors")) {
            bad += words.next().unwrap().parse::<u64>().unwrap();
        }
    }
    bad
}

fn noise(len: usize) -> Vec<u8> {
    let mut rng = Rng(0x5eed);
    (0..len).map(|_| rng.next() as u8).collect()
}

/// Attaches to `near` and lists `far`, in both families.
fn attached(pair: &Pair, own_address: bool) -> Option<Kernel> {
    let mut kernel = kernel(&config(), Mode::Production)?;
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    let (v4, v6) = if own_address {
        (Some(OWN[0].parse().unwrap()), Some(OWN[1].parse().unwrap()))
    } else {
        (None, None)
    };
    kernel.set_honeypot(Some((v4, DECOY)), Some((v6, DECOY))).unwrap();
    for far in FAR {
        let host = far.parse::<IpAddr>().unwrap().into();
        kernel.blocks().put_block(host, &redirect()).unwrap();
    }
    Some(kernel)
}

/// A connection from `from`, whose port may be in use towards others.
fn connect(ns: &str, from: SocketAddr, to: SocketAddr) -> TcpStream {
    Pair::inside(ns, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let stream = runtime.block_on(async {
            let socket = if to.is_ipv4() {
                tokio::net::TcpSocket::new_v4()
            } else {
                tokio::net::TcpSocket::new_v6()
            }
            .unwrap();
            socket.set_reuseaddr(true).unwrap();
            socket.bind(from).unwrap();
            tokio::time::timeout(Duration::from_secs(30), socket.connect(to))
                .await
                .unwrap_or_else(|_| panic!("nobody answers at {to}"))
                .unwrap()
                .into_std()
                .unwrap()
        });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream
    })
}

/// Sends a stream through a connection whose other end sends it back.
fn there_and_back(mut near: TcpStream, mut far: TcpStream) {
    let sent = noise(STREAM);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            near.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
            let mut got = Vec::new();
            near.read_to_end(&mut got).unwrap();
            near.write_all(&got).unwrap();
        });
        far.write_all(&sent).unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        let mut back = Vec::new();
        far.read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), sent.len());
        assert!(back == sent, "what came back is not what was sent");
    });
}

/// Sends a datagram until it comes to `there`, unchanged; from whom.
fn carried(here: &UdpSocket, to: SocketAddr, text: &[u8], there: &UdpSocket) -> SocketAddr {
    let mut buffer = [0; 64];
    let came = (0..5).find_map(|_| {
        here.send_to(text, to).unwrap();
        there.recv_from(&mut buffer).ok()
    });
    let (len, from) = came.expect("a datagram that comes");
    assert_eq!(&buffer[..len], text);
    from
}

#[test]
fn clients_reach_the_decoy_under_any_port_and_believe_it_is_the_host() {
    for (checksums_left_to_device, own_address) in [(true, false), (false, false), (true, true), (false, true)] {
        let pair = Pair::new();
        let Some(kernel) = attached(&pair, own_address) else {
            return;
        };
        if own_address {
            ip(&format!("-n {} addr add 10.99.0.77/24 dev veth0", pair.near));
            ip(&format!("-n {} addr add fd99::77/64 dev veth0 nodad", pair.near));
        }
        if !offload(&pair, checksums_left_to_device) {
            println!("skipped: no ethtool, or no veth that takes its word");
            return;
        }
        for family in 0..2 {
            let any: IpAddr = if family == 0 { [0; 4].into() } else { [0; 16].into() };
            let (near, far) = (
                NEAR[family].parse::<IpAddr>().unwrap(),
                FAR[family].parse::<IpAddr>().unwrap(),
            );
            let decoy = Pair::inside(&pair.near, || TcpListener::bind((any, DECOY)).unwrap());
            // Two services, one source port, both at once.
            let from = SocketAddr::new(far, 40_000);
            let first = connect(&pair.far, from, SocketAddr::new(near, 22));
            let (first_end, first_peer) = decoy.accept().unwrap();
            let second = connect(&pair.far, from, SocketAddr::new(near, 80));
            let (second_end, second_peer) = decoy.accept().unwrap();
            assert_eq!(first_peer, from, "the first keeps its port");
            assert_eq!(second_peer.ip(), far);
            assert_ne!(second_peer, from, "the second goes under another");
            assert_eq!(
                (first.local_addr().unwrap(), second.local_addr().unwrap()),
                (from, from)
            );
            there_and_back(first_end, first);
            there_and_back(second_end, second);

            // A UDP socket that is bound to no address answers from the route's, not from the one it was asked under.
            let at = if own_address { OWN[family].parse().unwrap() } else { any };
            let decoy = Pair::inside(&pair.near, || UdpSocket::bind((at, DECOY)).unwrap());
            let client = Pair::inside(&pair.far, || UdpSocket::bind((far, 40_001)).unwrap());
            for socket in [&decoy, &client] {
                socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            }
            for port in [53, 123] {
                for text in [&b"even"[..], b"odd", b""] {
                    let peer = carried(&client, SocketAddr::new(near, port), text, &decoy);
                    assert_eq!(peer.ip(), far);
                    let from = carried(&decoy, peer, text, &client);
                    assert_eq!(from, SocketAddr::new(near, port));
                }
            }
            assert!(pair.ping(NEAR[family]), "ICMP stays");
        }
        for ns in [&pair.near, &pair.far] {
            assert_eq!(bad_checksums(ns), 0);
        }
        let counters = kernel.counters().read().unwrap().0;
        let count = |counter| counters[0].get(counter);
        assert_eq!(count(Counter::RedirectFailed), 0);
        assert!(count(Counter::RedirectV4) > 1000 && count(Counter::RedirectV6) > 1000);
        assert!(count(Counter::Restored) > 1000);
        for far in ["10.99.0.2/32", "fd99::2/128"] {
            assert!(kernel.blocks().get_block(far.parse().unwrap()).unwrap().unwrap().hits > 1000);
        }
    }
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_decoy_sshd_greets_whoever_tries_port_22() {
    if !tools(&["ssh-keygen", "/usr/sbin/sshd", "bash"]) {
        return;
    }
    let pair = Pair::new();
    let Some(kernel) = attached(&pair, false) else { return };
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-N", "", "-t", "ed25519", "-f"])
        .arg(&key)
        .status();
    assert!(made.unwrap().success());
    std::fs::create_dir_all("/run/sshd").unwrap();
    let sshd = Command::new("ip")
        .args([
            "netns",
            "exec",
            &pair.near,
            "/usr/sbin/sshd",
            "-D",
            "-e",
            "-f",
            "/dev/null",
            "-p",
        ])
        .arg(DECOY.to_string())
        .arg("-h")
        .arg(&key)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _sshd = Running(sshd);
    for near in NEAR {
        let ask = format!("exec 3<>/dev/tcp/{near}/22 && head -n 1 <&3");
        let deadline = Instant::now() + Duration::from_mins(1);
        let greeting = loop {
            // It takes a moment until it listens.
            let args = ["netns", "exec", &pair.far, "timeout", "20", "bash", "-c", &ask];
            let out = Command::new("ip").args(args).stderr(Stdio::null()).output().unwrap();
            if out.status.success() && !out.stdout.is_empty() || Instant::now() > deadline {
                break String::from_utf8_lossy(&out.stdout).into_owned();
            }
        };
        assert!(greeting.starts_with("SSH-2.0-OpenSSH"), "{near}: {greeting:?}");
    }
    // Who is not listed finds nothing at port 22.
    for far in ["10.99.0.2/32", "fd99::2/128"] {
        kernel.blocks().delete_block(far.parse().unwrap()).unwrap();
    }
    let refused = Pair::inside(&pair.far, || TcpStream::connect("10.99.0.1:22"));
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn what_goes_out_to_a_blocked_address_does_not_arrive() {
    const PACKETS: u64 = 50;
    let Some(mut kernel) = kernel(&config(), Mode::Production) else {
        return;
    };
    let pair = Pair::new();
    Pair::inside(&pair.near, || kernel.attach(&["veth0".into()])).unwrap();
    for (family, net, dropped, octets) in [
        (0, "10.99.0.2/32", Counter::EgressDropV4, Counter::EgressDropV4Bytes),
        (1, "fd99::/64", Counter::EgressDropV6, Counter::EgressDropV6Bytes),
    ] {
        let far = Pair::inside(&pair.far, || UdpSocket::bind((FAR[family], 7300)).unwrap());
        let near = Pair::inside(&pair.near, || UdpSocket::bind((NEAR[family], 7301)).unwrap());
        far.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        near.send_to(b"before", (FAR[family], 7300)).unwrap();
        assert_eq!(far.recv(&mut [0; 16]).unwrap(), 6);
        let read = |kernel: &Kernel, counter| kernel.counters().read().unwrap().0[0].get(counter);
        let before = (read(&kernel, dropped), read(&kernel, octets));
        let net = net.parse().unwrap();
        let entry = BlockEntry {
            flags: FLAG_EGRESS,
            ..block()
        };
        kernel.blocks().put_block(net, &entry).unwrap();
        for _ in 0..PACKETS {
            // The stack is told of the loss, or not; either way nothing goes out.
            let _ = near.send_to(b"blocked", (FAR[family], 7300));
        }
        let entry = kernel.blocks().delete_block(net).unwrap().unwrap();
        near.send_to(b"after", (FAR[family], 7300)).unwrap();
        assert_eq!(
            far.recv(&mut [0; 16]).unwrap(),
            5,
            "the next to arrive is the one sent after"
        );
        // Neighbour discovery goes by the same way in IPv6.
        let now = (read(&kernel, dropped) - before.0, read(&kernel, octets) - before.1);
        assert!(now.0 >= PACKETS && now.0 <= PACKETS + 4, "{now:?}");
        assert_eq!((entry.hits, entry.hit_bytes), now);
    }
}
