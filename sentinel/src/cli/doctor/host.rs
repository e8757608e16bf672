//! What the kernel offers, and what we may use of it.

use super::Finding;
use caps::{CapSet, Capability};
use nix::sys::resource::{Resource, getrlimit};
use std::fs::read_to_string;
use std::path::Path;

/// Oldest kernel with what the programs need: ring buffer and BPF links for XDP.
const OLDEST: (u32, u32) = (5, 10);
/// From here on egress attaches by link (tcx) without a qdisc.
const TCX: (u32, u32) = (6, 6);
/// From here on BPF memory counts against the memory cgroup, not `RLIMIT_MEMLOCK`.
const CGROUP: (u32, u32) = (5, 11);
/// What the maps take with default capacities, bytes, rounded up.
const MAPS: u64 = 128 << 20;

pub(super) fn findings() -> Vec<Finding> {
    let release = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let version = version(&release);
    let mut out = vec![
        kernel(release.trim(), version),
        btf(),
        jit(read_to_string("/proc/sys/net/core/bpf_jit_enable").ok().as_deref()),
    ];
    out.extend(lockdown(
        &read_to_string("/sys/kernel/security/lockdown").unwrap_or_default(),
    ));
    out.push(capabilities(&missing_capabilities()));
    out.push(memory(version));
    out
}

/// Capabilities that loading and attaching need and this process lacks.
pub(in crate::cli) fn missing_capabilities() -> Vec<&'static str> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    if has(Capability::CAP_SYS_ADMIN) && has(Capability::CAP_NET_ADMIN) {
        return Vec::new();
    }
    [
        (Capability::CAP_BPF, "CAP_BPF"),
        (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN"),
        (Capability::CAP_PERFMON, "CAP_PERFMON"),
    ]
    .into_iter()
    .filter(|(capability, _)| !has(*capability))
    .map(|(_, name)| name)
    .collect()
}

/// Major and minor of `6.1.0-18-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn kernel(release: &str, version: Option<(u32, u32)>) -> Finding {
    match version {
        Some(v) if v >= TCX => Finding::pass("kernel", release),
        Some(v) if v >= OLDEST => Finding::pass(
            "kernel",
            format!("{release}; egress attaches with a clsact qdisc (tcx came with 6.6)"),
        ),
        Some(_) => Finding::fail(
            "kernel",
            format!("{release} is older than 5.10"),
            "boot a kernel from 5.10 on",
        ),
        None => Finding::warn("kernel", "its version cannot be read from /proc", "mount /proc"),
    }
}

fn btf() -> Finding {
    let path = "/sys/kernel/btf/vmlinux";
    if Path::new(path).exists() {
        Finding::pass("btf", path)
    } else {
        Finding::warn(
            "btf",
            "the kernel has no type information",
            "use a kernel with CONFIG_DEBUG_INFO_BTF (Debian's have it); the programs load without, tools show less",
        )
    }
}

fn jit(enabled: Option<&str>) -> Finding {
    match enabled.map(str::trim) {
        Some("1" | "2") => Finding::pass("jit", "on"),
        Some(_) => Finding::warn(
            "jit",
            "off: every packet is slower",
            "sysctl -w net.core.bpf_jit_enable=1",
        ),
        None => Finding::warn(
            "jit",
            "cannot be read",
            "run doctor as root in the host's network namespace",
        ),
    }
}

fn lockdown(state: &str) -> Option<Finding> {
    state.contains("[confidentiality]").then(|| {
        Finding::fail(
            "lockdown",
            "confidentiality: the kernel forbids BPF to read packets",
            "boot with lockdown=integrity or without",
        )
    })
}

fn capabilities(missing: &[&str]) -> Finding {
    if missing.is_empty() {
        Finding::pass("capabilities", "enough to load and attach")
    } else {
        Finding::fail(
            "capabilities",
            format!("missing {}", missing.join(", ")),
            "run as root, or give the binary `setcap cap_bpf,cap_net_admin,cap_perfmon+ep`",
        )
    }
}

fn memory(version: Option<(u32, u32)>) -> Finding {
    if version.is_some_and(|v| v < CGROUP) {
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
        return if limit >= MAPS {
            Finding::pass("memory", "locked memory suffices for the maps")
        } else {
            Finding::warn(
                "memory",
                format!("this kernel charges maps to locked memory, limited to {limit} bytes"),
                "as root the agent raises it; else `ulimit -l unlimited` or LimitMEMLOCK=infinity",
            )
        };
    }
    match cgroup_limit() {
        Some(limit) if limit < MAPS => Finding::warn(
            "memory",
            format!(
                "the memory cgroup allows {} MiB; the maps alone take up to {} MiB",
                limit >> 20,
                MAPS >> 20
            ),
            "raise MemoryMax= (or the container's limit), or lower kernel.flow_capacity and kernel.block_capacity",
        ),
        Some(limit) => Finding::pass("memory", format!("the memory cgroup allows {} MiB", limit >> 20)),
        None => Finding::pass("memory", "no cgroup limit"),
    }
}

/// The tightest `memory.max` from our cgroup up to the root (cgroup v2), bytes.
fn cgroup_limit() -> Option<u64> {
    let groups = read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = Path::new("/sys/fs/cgroup");
    root.join(own)
        .ancestors()
        .take_while(|dir| dir.starts_with(root))
        .filter_map(|dir| read_to_string(dir.join("memory.max")).ok()?.trim().parse().ok())
        .min()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn kernels() {
        for (release, level) in [
            ("6.1.0-18-amd64", Level::Pass),
            ("5.10.0", Level::Pass),
            ("5.9.16", Level::Fail),
            ("4.19", Level::Fail),
            ("?", Level::Warn),
        ] {
            assert_eq!(kernel(release, version(release)).level, level, "{release}");
        }
    }

    #[test]
    fn every_shortcoming_names_its_mend() {
        let findings = [
            kernel("4.19", Some((4, 19))),
            jit(Some("0\n")),
            jit(None),
            capabilities(&["CAP_BPF"]),
            lockdown("none integrity [confidentiality]").expect("said"),
        ];
        assert!(
            findings.iter().all(|f| f.level > Level::Pass && !f.mend.is_empty()),
            "{findings:?}"
        );
        assert_eq!(lockdown("[none] integrity confidentiality"), None);
        assert_eq!(jit(Some("1\n")).level, Level::Pass);
    }
}
