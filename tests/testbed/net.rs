//! Hosts in network namespaces on one bridge, and nothing that leads out.

use crate::child::{self, Child, Finished};
use crate::scratch;
use anyhow::{Context, Result};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What the names of our namespaces begin with; the process id follows.
const PREFIX: &str = "stb";
/// `ip` answers at once.
const QUICK: Duration = Duration::from_mins(1);
/// Networks alive at once in one process; attacks share the processors with what they attack.
const AT_ONCE: u32 = 2;

static PERMITS: (Mutex<u32>, Condvar) = (Mutex::new(AT_ONCE), Condvar::new());
static COUNT: AtomicU32 = AtomicU32::new(0);

/// One of a bounded number of networks.
struct Permit;

impl Permit {
    fn take() -> Self {
        let free = PERMITS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free = PERMITS
            .1
            .wait_while(free, |free| *free == 0)
            .unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Self
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        *PERMITS.0.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        PERMITS.1.notify_one();
    }
}

/// A bridge and the hosts on it: 192.0.2.0/24 (RFC 5737) and 2001:db8::/64 (RFC 3849).
pub struct Network {
    prefix: String,
    bridge: String,
    hosts: Vec<Host>,
    /// Dropped last, when the namespaces are gone.
    _permit: Permit,
}

/// A host in its own namespace; its interface is `eth0`.
#[derive(Clone, Debug)]
pub struct Host {
    /// Namespace.
    pub ns: String,
    /// Address.
    pub v4: Ipv4Addr,
    /// Address.
    pub v6: Ipv6Addr,
}

/// The router of the network: it answers, and forwards nothing.
pub const GATEWAY: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(192, 0, 2, 254),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe),
);

fn ip(args: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(args);
    child::must(command, QUICK).map(|_| ())
}

impl Network {
    /// Makes the bridge; removes first what dead processes left.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn new() -> Result<Self> {
        sweep();
        let permit = Permit::take();
        let prefix = format!(
            "{PREFIX}{}x{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let bridge = format!("{prefix}-bridge");
        // From here on, dropping removes what was made.
        let network = Self {
            prefix,
            bridge,
            hosts: Vec::new(),
            _permit: permit,
        };
        let bridge = network.bridge.as_str();
        ip(&["netns", "add", bridge])?;
        quiet(bridge)?;
        ip(&["-n", bridge, "link", "set", "lo", "up"])?;
        ip(&[
            "-n",
            bridge,
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "forward_delay",
            "0",
            "mcast_snooping",
            "0",
        ])?;
        ip(&["-n", bridge, "addr", "add", &format!("{}/24", GATEWAY.0), "dev", "br0"])?;
        ip(&[
            "-n",
            bridge,
            "addr",
            "add",
            &format!("{}/64", GATEWAY.1),
            "dev",
            "br0",
            "nodad",
        ])?;
        ip(&["-n", bridge, "link", "set", "br0", "up"])?;
        ip(&["-n", bridge, "route", "add", "blackhole", "default"])?;
        ip(&["-n", bridge, "-6", "route", "add", "blackhole", "default"])?;
        Ok(network)
    }

    /// Adds a host with addresses 192.0.2.`number` and 2001:db8::`number` (hex).
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn host(&mut self, name: &str, number: u8) -> Result<Host> {
        let ns = format!("{}-{name}", self.prefix);
        let host = Host {
            ns: ns.clone(),
            v4: Ipv4Addr::new(192, 0, 2, number),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(number)),
        };
        self.hosts.push(host.clone());
        ip(&["netns", "add", &ns])?;
        quiet(&ns)?;
        ip(&["-n", &ns, "link", "set", "lo", "up"])?;
        self.wire(&host)?;
        Ok(host)
    }

    /// Gives a host its interface, address and default routes (again).
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn wire(&self, host: &Host) -> Result<()> {
        let number = host.v4.octets()[3];
        let (ns, port) = (host.ns.as_str(), format!("p{number}"));
        ip(&[
            "-n",
            ns,
            "link",
            "add",
            "eth0",
            "type",
            "veth",
            "peer",
            "name",
            &port,
            "netns",
            &self.bridge,
        ])?;
        ip(&["-n", &self.bridge, "link", "set", &port, "master", "br0", "up"])?;
        routed(host)
    }

    /// Puts an interface that is there onto the bridge, and gives the one at the host its addresses and routes.
    ///
    /// # Errors
    /// When `ip` refuses, as it does while either is not there.
    pub(crate) fn plug(&self, host: &Host, port: &str) -> Result<()> {
        ip(&["-n", &host.ns, "link", "show", "eth0"])?;
        ip(&["-n", &self.bridge, "link", "set", port, "master", "br0", "up"])?;
        routed(host)
    }

    /// Starts a command line where the bridge is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn spawn(&self, line: &str) -> Result<Child> {
        Child::spawn(self.command(line))
    }

    /// A command line (split at spaces) to run where the bridge is.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.bridge])
            .args(line.split_whitespace());
        command
    }

    /// The namespace of the bridge; the gateway's addresses live there.
    pub fn bridge(&self) -> &str {
        &self.bridge
    }
}

/// Gives a host with an interface its addresses and default routes.
fn routed(host: &Host) -> Result<()> {
    let ns = host.ns.as_str();
    host.address(host.v4.octets()[3])?;
    ip(&["-n", ns, "link", "set", "eth0", "up"])?;
    ip(&["-n", ns, "route", "add", "default", "via", &GATEWAY.0.to_string()])?;
    ip(&["-n", ns, "-6", "route", "add", "default", "via", &GATEWAY.1.to_string()])
}

/// Addresses are usable at once, and nothing is sent unasked.
fn quiet(ns: &str) -> Result<()> {
    let settings = [
        "net.ipv6.conf.all.accept_dad=0",
        "net.ipv6.conf.default.accept_dad=0",
        "net.ipv6.conf.default.router_solicitations=0",
    ];
    let script = settings.map(|setting| {
        let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
        format!("echo {value} > /proc/sys/{}", name.replace('.', "/"))
    });
    let mut command = Command::new("ip");
    command.args(["netns", "exec", ns, "sh", "-c", &script.join("; ")]);
    child::must(command, QUICK).map(|_| ())
}

impl Host {
    /// Takes its interface away; returns the name that its port on the bridge had.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub(crate) fn unplug(&self) -> Result<String> {
        ip(&["-n", &self.ns, "link", "del", "eth0"])?;
        Ok(format!("p{}", self.v4.octets()[3]))
    }

    fn address(&self, number: u8) -> Result<()> {
        ip(&[
            "-n",
            &self.ns,
            "addr",
            "add",
            &format!("192.0.2.{number}/24"),
            "dev",
            "eth0",
        ])?;
        ip(&[
            "-n",
            &self.ns,
            "addr",
            "add",
            &format!("{}/64", self.v6),
            "dev",
            "eth0",
            "nodad",
        ])
    }

    /// Gives the host another IPv4 address, 192.0.2.`number`.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn add(&self, number: u8) -> Result<Ipv4Addr> {
        let address = Ipv4Addr::new(192, 0, 2, number);
        ip(&["-n", &self.ns, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        Ok(address)
    }

    /// A counter of the host's own stack, such as `Udp NoPorts`, as /proc/net/snmp has it (RFC 4113 and others).
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn stack(&self, protocol: &str, counter: &str) -> Result<u64> {
        let table = self.run("cat /proc/net/snmp", QUICK)?.output;
        let mut lines = table
            .lines()
            .filter_map(|line| line.strip_prefix(protocol)?.strip_prefix(": "));
        let (names, values) = (lines.next().unwrap_or(""), lines.next().unwrap_or(""));
        let pair = names
            .split(' ')
            .zip(values.split(' '))
            .find(|(name, _)| *name == counter);
        let (_, value) = pair.with_context(|| format!("no {protocol} {counter} in:\n{table}"))?;
        Ok(value.parse()?)
    }

    /// The address of a family.
    pub fn address_of(&self, v6: bool) -> IpAddr {
        if v6 { self.v6.into() } else { self.v4.into() }
    }

    /// A command line (split at spaces) to run here.
    pub fn command(&self, line: &str) -> Command {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.program(words[0], &words[1..])
    }

    /// A program with arguments to run here.
    pub fn program(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.ns, program]).args(args);
        command
    }

    /// Runs a command line here to its end.
    ///
    /// # Errors
    /// As [`child::run`].
    pub fn run(&self, line: &str, deadline: Duration) -> Result<Finished> {
        child::run(self.command(line), deadline).with_context(|| line.to_owned())
    }

    /// Starts a command line here.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(&self, line: &str) -> Result<Child> {
        Child::spawn(self.command(line))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            remove(&host.ns);
        }
        remove(&self.bridge);
    }
}

/// Ends every process in a namespace of ours and removes it.
fn remove(ns: &str) {
    let run = |args: &[&str]| Command::new("ip").args(args).stderr(Stdio::null()).output();
    for _ in 0..20 {
        let Ok(out) = run(&["netns", "pids", ns]) else { break };
        let pids = String::from_utf8_lossy(&out.stdout);
        let pids: Vec<&str> = pids.split_whitespace().collect();
        if pids.is_empty() {
            break;
        }
        let _ = Command::new("kill")
            .args(["-s", "KILL", "--"])
            .args(&pids)
            .stderr(Stdio::null())
            .status();
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = run(&["netns", "del", ns]);
}

/// Names of our namespaces that exist; those of living testbeds too.
pub fn namespaces() -> Vec<String> {
    let listed = Command::new("ip")
        .args(["netns", "list"])
        .output()
        .map(|out| out.stdout)
        .unwrap_or_default();
    let listed = String::from_utf8_lossy(&listed);
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| owner(name).is_some()).map(str::to_owned).collect()
}

/// The process that made a namespace.
fn owner(ns: &str) -> Option<u32> {
    let (pid, _) = ns.strip_prefix(PREFIX)?.split_once('x')?;
    pid.parse().ok()
}

/// Removes what processes that are gone left behind.
fn sweep() {
    for ns in namespaces() {
        if owner(&ns).is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&ns);
        }
    }
    scratch::sweep();
}
