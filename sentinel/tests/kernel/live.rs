//! Real traffic between two namespaces of the test's own.

use super::*;
use sentinel::kernel::decode;
use sentinel::respond::Enforcer;
use sentinel::time::boot_now;
use sentinel_common::entry::{ACTION_DROP, BlockEntry, NEVER_NS};
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::{STATE_CLOSED, STATE_HANDSHAKE};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Two namespaces joined by a veth pair: `near` has 10.99.0.1, `far` has 10.99.0.2; IPv6 likewise in fd99::/64.
struct Pair {
    near: String,
    far: String,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

fn ip(args: &str) {
    let out = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    assert!(
        out.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

impl Pair {
    fn new() -> Self {
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let pair = Self {
            near: format!("gate-{id}-n"),
            far: format!("gate-{id}-f"),
        };
        ip(&format!("netns add {}", pair.near));
        ip(&format!("netns add {}", pair.far));
        ip(&format!(
            "-n {} link add veth0 type veth peer name veth0 netns {}",
            pair.near, pair.far
        ));
        for (ns, host) in [(&pair.near, 1), (&pair.far, 2)] {
            ip(&format!("-n {ns} addr add 10.99.0.{host}/24 dev veth0"));
            ip(&format!("-n {ns} addr add fd99::{host}/64 dev veth0 nodad"));
            ip(&format!("-n {ns} link set lo up"));
            ip(&format!("-n {ns} link set veth0 up"));
        }
        pair
    }

    /// Runs a closure inside a namespace, on a thread of its own.
    fn inside<T: Send>(ns: &str, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            scope
                .spawn(|| {
                    let file = std::fs::File::open(format!("/run/netns/{ns}")).unwrap();
                    nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                    work()
                })
                .join()
                .unwrap()
        })
    }

    fn ping(&self, to: &str) -> bool {
        let args = [
            "netns", "exec", &self.far, "ping", "-c", "2", "-i", "0.2", "-W", "1", to,
        ];
        Command::new("ip").args(args).output().unwrap().status.success()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for ns in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", ns]).status();
        }
    }
}

fn block() -> BlockEntry {
    BlockEntry {
        expires_ns: NEVER_NS,
        action: ACTION_DROP,
        ..BlockEntry::default()
    }
}

/// Reads the ring for a while, and keeps the latest record of each flow.
async fn records(
    kernel: &mut Kernel,
    work: impl FnOnce() + Send + 'static,
) -> HashMap<(IpAddr, u16, u16, u8), FlowRecord> {
    let reader = kernel.ring();
    let mut sweep = kernel.sweep();
    let (out, mut batches) = tokio::sync::mpsc::channel(1024);
    let cancel = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(reader.run(out, cancel.clone()));
    tokio::task::spawn_blocking(work).await.unwrap();
    let mut latest = HashMap::new();
    let mut keep = |record: FlowRecord| {
        let key = (
            IpAddr::from(record.key.remote),
            record.key.remote_port,
            record.key.local_port,
            record.key.proto,
        );
        latest.insert(key, record);
    };
    // The sweep tells of what is quiet for a report interval.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let last = sweep.sweep(boot_now());
    cancel.cancel();
    task.await.unwrap();
    while let Some(batch) = batches.recv().await {
        decode(&batch).for_each(|record| keep(record.unwrap()));
    }
    last.into_iter().for_each(&mut keep);
    latest
}

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
        drop(served);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).unwrap();
        assert_eq!(rest.len(), 3000);
    })
    .await;
    let remote = IpAddr::V4(Ipv4Addr::new(10, 99, 0, 2));
    let tcp: Vec<_> = flows
        .iter()
        .filter(|(key, _)| key.0 == remote && key.2 == 8099)
        .collect();
    assert_eq!(tcp.len(), 1, "{flows:?}");
    let value = &tcp[0].1.value;
    assert_ne!(value.state & STATE_HANDSHAKE, 0, "{value:?}");
    assert_ne!(value.state & STATE_CLOSED, 0, "{value:?}");
    assert_eq!((value.ingress.syn, value.egress.synack), (1, 1), "{value:?}");
    assert_eq!(
        (value.ingress.payload_bytes, value.egress.payload_bytes),
        (5, 3000),
        "{value:?}"
    );
    assert_eq!((value.ingress.fin, value.egress.fin), (1, 1), "{value:?}");

    assert!(pair.ping("10.99.0.1"));
    assert!(pair.ping("fd99::1"));
    let mut blocks = kernel.blocks();
    assert_eq!(blocks.name(), "xdp (native)");
    blocks.put_block("10.99.0.2/32".parse().unwrap(), &block()).unwrap();
    assert!(!pair.ping("10.99.0.1"));
    assert!(pair.ping("fd99::1"));
    let entry = blocks.get_block("10.99.0.2/32".parse().unwrap()).unwrap().unwrap();
    assert_eq!(entry.hits, 2);
    blocks.delete_block("10.99.0.2/32".parse().unwrap()).unwrap().unwrap();
    assert!(pair.ping("10.99.0.1"));
    let _ = Instant::now();
}
