//! What this machine can do: for `sentinel doctor`, and for errors that name what is missing.

use aya::maps::{Array, MapData};
use caps::{CapSet, Capability};
use std::fs;

/// The running kernel's version, as (major, minor, patch). It takes no descriptor to know it.
pub fn kernel_version() -> Option<(u16, u16, u16)> {
    let name = nix::sys::utsname::uname().ok()?;
    let text = name.release().to_str()?;
    let mut numbers = text
        .split(|c: char| !c.is_ascii_digit())
        .map(|part| part.parse().unwrap_or(0));
    Some((numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)))
}

/// Whether egress programs attach through tcx, which came with Linux 6.6; through a clsact qdisc before.
pub fn tcx() -> bool {
    kernel_version().is_some_and(|version| version >= (6, 6, 0))
}

/// Whether XDP programs may declare that they take frames of several buffers (`xdp.frags`), from Linux 5.18 on.
pub fn multi_buffer() -> bool {
    kernel_version().is_some_and(|version| version >= (5, 18, 0))
}

/// Whether the kernel describes its own types (`CONFIG_DEBUG_INFO_BTF`).
pub fn btf() -> bool {
    fs::metadata("/sys/kernel/btf/vmlinux").is_ok()
}

/// Whether BPF programs are compiled rather than interpreted; `None` where the kernel does not say.
pub fn jit() -> Option<bool> {
    let text = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").ok()?;
    Some(text.trim() != "0")
}

/// Whether every run of a BPF program is timed (`kernel.bpf_stats_enabled`), which costs two clock reads a packet.
pub fn run_time_stats() -> bool {
    fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|text| text.trim() != "0")
}

/// Whether this binary carries the kernel programs.
pub fn has_object() -> bool {
    super::load::has_object()
}

/// The capabilities that loading and attaching need and this process has not. Before Linux 5.8 it is `CAP_SYS_ADMIN`.
pub fn missing_capabilities() -> Vec<String> {
    let has = |cap| caps::has_cap(None, CapSet::Effective, cap).unwrap_or(false);
    let mut needed = vec![Capability::CAP_NET_ADMIN];
    if has(Capability::CAP_SYS_ADMIN) {
        // Stands for the others, and for this one too where nothing goes by netlink.
    } else if kernel_version().is_some_and(|version| version >= (5, 8, 0)) {
        needed.extend([Capability::CAP_BPF, Capability::CAP_PERFMON]);
    } else {
        needed.push(Capability::CAP_SYS_ADMIN);
    }
    needed
        .into_iter()
        .filter(|cap| !has(*cap))
        .map(|cap| cap.to_string())
        .collect()
}

/// The same of what nftables need, where no program is loaded.
pub fn missing_for_nftables() -> Vec<String> {
    let cap = Capability::CAP_NET_ADMIN;
    let has = caps::has_cap(None, CapSet::Effective, cap).unwrap_or(false);
    if has { Vec::new() } else { vec![cap.to_string()] }
}

/// Whether this kernel asks for a capability with every access to a map, and not only where one is made: before Linux 5.19,
/// with `kernel.unprivileged_bpf_disabled` set. Tried, since distributions carry such changes back.
pub fn maps_need_privilege() -> bool {
    let Ok(map) = Array::<MapData, u32>::create(1, 0) else {
        return true;
    };
    let tried = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            caps::clear(None, CapSet::Effective).ok()?;
            map.get(&0, 0).ok()
        });
        asking.join().ok().flatten()
    });
    tried.is_none()
}

/// What the kernel says to a call of bpf(2) that asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BpfCall {
    /// It comes through.
    Taken,
    /// It is refused (EPERM): for want of a capability, by a seccomp profile, or by lockdown.
    Refused,
    /// There is no such system call (ENOSYS), or a seccomp profile says so.
    Missing,
}

/// Asks bpf(2) for a command that no kernel has: nothing is made, and what is in its way says so.
pub fn bpf_call() -> BpfCall {
    const NO_COMMAND: libc::c_long = 0xffff;
    let attr = [0u64; 1];
    // SAFETY: the kernel reads as many bytes as it is told the attribute has, and knows no such command.
    let code = unsafe { libc::syscall(libc::SYS_bpf, NO_COMMAND, attr.as_ptr(), size_of_val(&attr)) };
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if code < 0 => BpfCall::Refused,
        Some(libc::ENOSYS) if code < 0 => BpfCall::Missing,
        _ => BpfCall::Taken,
    }
}

/// Whether a seccomp profile filters this process's system calls (proc(5), `Seccomp: 2`).
pub fn filtered() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .filter_map(|line| line.strip_prefix("Seccomp:"))
        .any(|mode| mode.trim() == "2")
}

/// Who refuses bpf(2) to a process with the capabilities, and the mend.
pub fn refuses_bpf() -> &'static str {
    if filtered() {
        "a seccomp profile is in force here and does this: run with one that allows bpf(2) and perf_event_open(2), such \
         as `security_opt: [\"seccomp=unconfined\"]` of a container, or a copy of the engine's profile with both added"
    } else {
        "a kernel in lockdown or a security module does this: boot with lockdown=integrity or without, or allow bpf(2)"
    }
}

/// Whether this is a container, by the file that Docker or Podman puts there.
pub fn contained() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|file| fs::metadata(file).is_ok())
}

/// Why an interface of the host may be missing in a container, with the mend.
pub const OWN_INTERFACES: &str = "; a container sees the host's interfaces with `network_mode: host` only";

/// [`OWN_INTERFACES`] in a container, else nothing.
pub fn own_interfaces() -> &'static str {
    if contained() { OWN_INTERFACES } else { "" }
}

/// The limit of locked memory, bytes; `None` for no limit. It bounds maps before Linux 5.11 only.
pub fn memlock() -> Option<u64> {
    use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

/// A page, bytes.
pub(super) fn page_size() -> u32 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .unwrap_or(4096) as u32
}

/// What can be said about XDP on an interface without attaching anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XdpSupport {
    /// The interface.
    pub interface: String,
    /// Its driver, where it has one.
    pub driver: Option<String>,
    /// Its MTU, bytes.
    pub mtu: Option<u32>,
    /// Whether the driver is known to run XDP itself. `None`: unknown, attaching will tell.
    pub native: Option<bool>,
    /// Whether the MTU needs a program for multi-buffer frames.
    pub large_mtu: bool,
}

/// Drivers with XDP of their own in the mainline kernel (`ndo_bpf` with `XDP_SETUP_PROG`).
const NATIVE: &[&str] = &[
    "bnxt_en",
    "cxgb4",
    "ena",
    "fec",
    "funeth",
    "gve",
    "hv_netvsc",
    "i40e",
    "ice",
    "idpf",
    "igb",
    "igc",
    "ixgbe",
    "ixgbevf",
    "lan966x-switch",
    "mana",
    "mlx4_en",
    "mlx5_core",
    "mtk_soc_eth",
    "mvneta",
    "mvpp2",
    "nfp",
    "octeontx2",
    "qede",
    "rvu_nicpf",
    "rvu_nicvf",
    "sfc",
    "stmmac",
    "tsnep",
    "tun",
    "veth",
    "virtio_net",
    "vmxnet3",
    "xen_netfront",
];
/// Drivers that have none.
const GENERIC: &[&str] = &[
    "bridge",
    "dummy",
    "lo",
    "vlan",
    "macvlan",
    "ipvlan",
    "wireguard",
    "e1000",
    "e1000e",
    "r8169",
    "tg3",
];
/// Largest MTU of a page-sized frame with XDP's headroom on common drivers.
const PAGE_MTU: u32 = 3498;

/// A guess for one interface, from `/sys/class/net`.
pub fn xdp_support(interface: &str) -> XdpSupport {
    let dir = std::path::Path::new("/sys/class/net").join(interface);
    let name_of = |path: std::path::PathBuf| Some(path.file_name()?.to_string_lossy().into_owned());
    let device = fs::read_link(dir.join("device/driver")).ok().and_then(name_of);
    let uevent = fs::read_to_string(dir.join("uevent")).unwrap_or_default();
    let kind = uevent
        .lines()
        .find_map(|line| line.strip_prefix("DEVTYPE="))
        .map(str::to_owned);
    let virtual_veth = fs::read_to_string(dir.join("iflink"))
        .ok()
        .zip(fs::read_to_string(dir.join("ifindex")).ok());
    let driver = device.or(kind).or_else(|| {
        // A virtual interface whose other end is elsewhere is a veth; the loopback says so by name.
        match (interface, virtual_veth) {
            ("lo", _) => Some("lo".to_owned()),
            (_, Some((link, own))) if link != own => Some("veth".to_owned()),
            _ => None,
        }
    });
    let mtu = fs::read_to_string(dir.join("mtu"))
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let native = driver.as_deref().and_then(|driver| {
        if NATIVE.contains(&driver) {
            Some(true)
        } else if GENERIC.contains(&driver) {
            Some(false)
        } else {
            None
        }
    });
    XdpSupport {
        interface: interface.to_owned(),
        driver,
        mtu,
        native,
        large_mtu: mtu.is_some_and(|mtu| mtu > PAGE_MTU),
    }
}
