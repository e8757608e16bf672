//! Two namespaces of a test's own, and what every live test does with them.

use super::*;
use sentinel::kernel::{Record, decode};
use sentinel::time::boot_now;
use sentinel_common::entry::{ACTION_DROP, BlockEntry, NEVER_NS};
use sentinel_common::event::FlowRecord;
use sentinel_common::flow::FlowValue;
use std::collections::HashMap;
use std::net::IpAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// Two namespaces joined by a veth pair: `near` has 10.99.0.1, `far` has 10.99.0.2; IPv6 likewise in fd99::/64.
pub(crate) struct Pair {
    pub(crate) near: String,
    pub(crate) far: String,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

pub(crate) fn ip(args: &str) {
    let out = Command::new("ip").args(args.split_whitespace()).output().unwrap();
    assert!(
        out.status.success(),
        "ip {args}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
}

impl Pair {
    pub(crate) fn new() -> Self {
        let id = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let pair = Self {
            near: format!("gate-{id}-n"),
            far: format!("gate-{id}-f"),
        };
        ip(&format!("netns add {}", pair.near));
        ip(&format!("netns add {}", pair.far));
        pair.wire();
        for ns in [&pair.near, &pair.far] {
            ip(&format!("-n {ns} link set lo up"));
        }
        pair
    }

    /// Makes the veth pair (again), with its addresses.
    pub(crate) fn wire(&self) {
        ip(&format!(
            "-n {} link add veth0 type veth peer name veth0 netns {}",
            self.near, self.far
        ));
        for (ns, host) in [(&self.near, 1), (&self.far, 2)] {
            ip(&format!("-n {ns} addr add 10.99.0.{host}/24 dev veth0"));
            ip(&format!("-n {ns} addr add fd99::{host}/64 dev veth0 nodad"));
            ip(&format!("-n {ns} link set veth0 up"));
        }
    }

    /// Runs a closure inside a namespace, on a thread of its own.
    pub(crate) fn inside<T: Send>(ns: &str, work: impl FnOnce() -> T + Send) -> T {
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

    pub(crate) fn ping(&self, to: &str) -> bool {
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

/// Says at its end, also by a panic, that it is over: a scope waits for its threads, which wait for this.
pub(crate) struct Ending<'a>(pub(crate) &'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The far end, as an exact target.
pub(crate) fn far() -> ipnet::IpNet {
    "10.99.0.2/32".parse().unwrap()
}

pub(crate) fn block() -> BlockEntry {
    BlockEntry {
        expires_ns: NEVER_NS,
        action: ACTION_DROP,
        ..BlockEntry::default()
    }
}

/// Far side, its port, our port, protocol.
pub(crate) type Ends = (IpAddr, u16, u16, u8);

/// Adds a record to what is known of its flow.
pub(crate) fn keep(flows: &mut HashMap<Ends, FlowValue>, record: &FlowRecord) {
    let key = &record.key;
    let ends = (IpAddr::from(key.remote), key.remote_port, key.local_port, key.proto);
    let flow = flows.entry(ends).or_default();
    flow.absorb(record.direction, &record.counts, record.state);
}

/// Reads the ring for a while, and adds up the records of each flow.
pub(crate) async fn records(kernel: &mut Kernel, work: impl FnOnce() + Send + 'static) -> HashMap<Ends, FlowValue> {
    let reader = kernel.ring();
    let mut sweep = kernel.sweep();
    let (out, mut batches) = tokio::sync::mpsc::channel(1024);
    let cancel = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(reader.run(out, cancel.clone()));
    tokio::task::spawn_blocking(work).await.unwrap();
    let mut flows = HashMap::new();
    // The sweep tells of what is quiet for a report interval.
    tokio::time::sleep(Duration::from_millis(200)).await;
    cancel.cancel();
    task.await.unwrap();
    while let Some(batch) = batches.recv().await {
        for record in decode(&batch) {
            if let Record::Flow(flow) = record.unwrap() {
                keep(&mut flows, &flow);
            }
        }
    }
    for record in sweep.sweep(boot_now()) {
        keep(&mut flows, &record);
    }
    flows
}
