//! What the kernel offers, and what we may use of it.

use super::Finding;
use crate::kernel::probe::{self, BpfCall};
use std::fs::read_to_string;
use std::path::Path;

type Version = (u16, u16, u16);

/// Oldest kernel with what the programs need: ring buffer and BPF links for XDP.
const OLDEST: Version = (5, 10, 0);
/// From here on egress attaches by link (tcx) without a qdisc.
const TCX: Version = (6, 6, 0);
/// From here on BPF memory counts against the memory cgroup, not `RLIMIT_MEMLOCK`.
const CGROUP: Version = (5, 11, 0);
/// What the maps take with default capacities, bytes, rounded up.
const MAPS: u64 = 128 << 20;

pub(super) fn findings() -> Vec<Finding> {
    let version = probe::kernel_version();
    let mut out = vec![
        kernel(version),
        object(probe::has_object()),
        btf(probe::btf()),
        jit(probe::jit()),
        timing(probe::run_time_stats()),
        capabilities(&probe::missing_capabilities()),
    ];
    let capable = probe::missing_capabilities().is_empty();
    out.extend(capable.then(|| called(probe::bpf_call())));
    out.extend(lockdown(
        &read_to_string("/sys/kernel/security/lockdown").unwrap_or_default(),
    ));
    out.push(if version.is_some_and(|v| v < CGROUP) {
        locked(probe::memlock())
    } else {
        grouped(cgroup_limit())
    });
    out
}

fn kernel(version: Option<Version>) -> Finding {
    let Some(version) = version else {
        return Finding::warn("kernel", "its version cannot be read from /proc", "mount /proc");
    };
    let shown = format!("{}.{}.{}", version.0, version.1, version.2);
    if version >= TCX {
        Finding::pass("kernel", shown)
    } else if version >= OLDEST {
        Finding::pass(
            "kernel",
            format!("{shown}; egress attaches through a clsact qdisc (tcx came with 6.6)"),
        )
    } else {
        Finding::fail(
            "kernel",
            format!("{shown} is older than 5.10"),
            "boot a kernel from 5.10 on, the oldest that the programs are tested on",
        )
    }
}

fn object(embedded: bool) -> Finding {
    if embedded {
        Finding::pass("kernel programs", "embedded")
    } else {
        Finding::fail(
            "kernel programs",
            "this binary carries none",
            "run `cargo xtask build-ebpf` and build again, or start with `cargo xtask run`",
        )
    }
}

fn btf(there: bool) -> Finding {
    if there {
        Finding::pass("btf", "the kernel describes its types")
    } else {
        Finding::warn(
            "btf",
            "the kernel has no type information",
            "use a kernel with CONFIG_DEBUG_INFO_BTF (Debian's have it); the programs load without, tools show less",
        )
    }
}

fn jit(on: Option<bool>) -> Finding {
    match on {
        Some(true) => Finding::pass("jit", "on"),
        Some(false) => Finding::warn(
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

fn timing(on: bool) -> Finding {
    if on {
        Finding::warn(
            "timing",
            "every run of a program is timed, which costs",
            "sysctl -w kernel.bpf_stats_enabled=0",
        )
    } else {
        Finding::pass("timing", "off")
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

fn capabilities(missing: &[String]) -> Finding {
    if missing.is_empty() {
        Finding::pass("capabilities", "enough to load and attach")
    } else {
        Finding::fail(
            "capabilities",
            format!("missing {}", missing.join(", ")),
            "run as root, or give the binary `setcap cap_bpf,cap_net_admin,cap_perfmon+ep`; in a container `cap_add: \
             [BPF, NET_ADMIN, PERFMON]`, or SYS_ADMIN and NET_ADMIN where the engine does not know BPF",
        )
    }
}

/// What becomes of bpf(2) where the capabilities are there.
fn called(answer: BpfCall) -> Finding {
    match answer {
        BpfCall::Taken => Finding::pass("bpf", "the kernel takes bpf(2)"),
        BpfCall::Refused => Finding::fail(
            "bpf",
            "bpf(2) is refused although the capabilities are there",
            probe::refuses_bpf(),
        ),
        BpfCall::Missing => Finding::fail(
            "bpf",
            "there is no bpf(2), or a seccomp profile says so",
            "boot a kernel with CONFIG_BPF_SYSCALL; in a container allow bpf(2) in its seccomp profile; or set `kernel.hook: \
             nftables`, which carries out decisions and sees no packets",
        ),
    }
}

fn locked(limit: Option<u64>) -> Finding {
    match limit {
        Some(limit) if limit < MAPS => Finding::warn(
            "memory",
            format!("this kernel charges maps to locked memory, limited to {limit} bytes"),
            "as root the agent raises it; else `ulimit -l unlimited` or LimitMEMLOCK=infinity",
        ),
        _ => Finding::pass("memory", "locked memory suffices for the maps"),
    }
}

fn grouped(limit: Option<u64>) -> Finding {
    match limit {
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
        for (version, level) in [
            (Some((6, 1, 0)), Level::Pass),
            (Some((5, 10, 0)), Level::Pass),
            (Some((5, 9, 16)), Level::Fail),
            (None, Level::Warn),
        ] {
            assert_eq!(kernel(version).level, level, "{version:?}");
        }
    }

    #[test]
    fn every_shortcoming_names_its_mend() {
        let findings = [
            kernel(Some((4, 19, 0))),
            object(false),
            btf(false),
            jit(Some(false)),
            jit(None),
            timing(true),
            capabilities(&["CAP_BPF".into()]),
            locked(Some(65_536)),
            grouped(Some(16 << 20)),
            lockdown("none integrity [confidentiality]").expect("said"),
            called(BpfCall::Refused),
            called(BpfCall::Missing),
        ];
        assert!(
            findings.iter().all(|f| f.level > Level::Pass && !f.mend.is_empty()),
            "{findings:?}"
        );
        assert_eq!(lockdown("[none] integrity confidentiality"), None);
        assert_eq!(called(BpfCall::Taken).level, Level::Pass);
    }
}
