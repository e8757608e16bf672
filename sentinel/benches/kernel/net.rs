//! Namespaces of the benchmark's own, and commands in them.

use anyhow::{Context, Result, ensure};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// Two namespaces joined by a veth pair of one queue: `near` has 10.0.0.1, `far` sends.
pub(crate) struct Pair {
    pub(crate) near: String,
    pub(crate) far: String,
    /// The interface's name, in both.
    pub(crate) interface: String,
}

impl Pair {
    pub(crate) fn new() -> Result<Self> {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("{}-{n}", std::process::id());
        let pair = Self {
            near: format!("bench-{id}-n"),
            far: format!("bench-{id}-f"),
            // The kernel cuts names at 15 characters, and its thread is found by this one.
            interface: format!("y{}x{n}", std::process::id() % 10_000),
        };
        let (near, far, interface) = (&pair.near, &pair.far, &pair.interface);
        sh(&format!(
            "ip netns add {near} && ip netns add {far} && \
             ip -n {near} link add {interface} type veth peer name {interface} netns {far} && \
             ip -n {near} addr add 10.0.0.1/24 dev {interface} && \
             ip -n {near} link set lo up && ip -n {far} link set lo up && \
             ip -n {near} link set {interface} address 02:00:00:00:00:01 up && \
             ip -n {far} link set {interface} address 02:00:00:00:00:02 up && \
             ip -n {near} route add default dev {interface} && \
             ip netns exec {near} sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{interface}.rp_filter=0 \
             net.ipv6.conf.{interface}.disable_ipv6=1 && \
             ip netns exec {far} sysctl -qw net.ipv6.conf.{interface}.disable_ipv6=1"
        ))?;
        Ok(pair)
    }

    /// Runs a closure in a namespace, on a thread of its own.
    pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let file = std::fs::File::open(format!("/run/netns/{namespace}"))?;
                nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET)?;
                work()
            });
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?
        })
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in [&self.near, &self.far] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).status();
        }
    }
}

/// Runs a command line.
pub(crate) fn sh(line: &str) -> Result<String> {
    let out = Command::new("sh").args(["-c", line]).output().context("sh")?;
    // A refused list comes back whole.
    let told: String = String::from_utf8_lossy(&out.stderr).trim().chars().take(300).collect();
    ensure!(out.status.success(), "`{line}`: {told}");
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Whether a program is installed.
pub(crate) fn has(program: &str) -> bool {
    sh(&format!("PATH=$PATH:/usr/sbin:/sbin command -v {program}")).is_ok()
}
