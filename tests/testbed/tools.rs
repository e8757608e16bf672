//! Other people's programs that the testbed runs, and the Debian packages they come in.

use std::path::{Path, PathBuf};

/// One program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool {
    /// Its name.
    pub program: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

const fn tool(program: &'static str, package: &'static str) -> Tool {
    Tool { program, package }
}

/// Everything the lab and the tests run.
pub const TOOLS: &[Tool] = &[
    tool("ip", "iproute2"),
    tool("nmap", "nmap"),
    tool("hping3", "hping3"),
    tool("trafgen", "netsniff-ng"),
    tool("hydra", "hydra"),
    tool("iperf3", "iperf3"),
    tool("dnsmasq", "dnsmasq-base"),
    tool("dig", "bind9-dnsutils"),
    tool("sshd", "openssh-server"),
    tool("ssh", "openssh-client"),
    tool("ssh-keygen", "openssh-client"),
    tool("curl", "curl"),
    tool("ping", "iputils-ping"),
    tool("busybox", "busybox-static"),
    tool("bpftool", "bpftool"),
    tool("nft", "nftables"),
    tool("setpriv", "util-linux"),
    tool("kill", "procps"),
    tool("tcpdump", "tcpdump"),
    tool("ethtool", "ethtool"),
    tool("tc", "iproute2"),
    tool("mount", "mount"),
    tool("python3", "python3"),
];

/// What jemalloc is built with.
pub const MAKE: Tool = tool("make", "make");

/// What libFuzzer is built with.
pub const CPP: Tool = tool("c++", "g++");

/// More attacks for recorded sessions, which leave out what is not there.
pub const ATTACKS: &[Tool] = &[
    tool("ab", "apache2-utils"),
    tool("slowhttptest", "slowhttptest"),
    tool("iodine", "iodine"),
    tool("iodined", "iodine"),
    tool("dns2tcpc", "dns2tcp"),
    tool("dns2tcpd", "dns2tcp"),
    tool("ptunnel-ng", "ptunnel-ng"),
    tool("medusa", "medusa"),
    tool("ncrack", "ncrack"),
    tool("fping", "fping"),
    tool("vsftpd", "vsftpd"),
    tool("socat", "socat"),
];

/// Firewalls the benchmark measures beside ours, and what sets up its devices. It leaves out what is not there.
pub const FIREWALLS: &[Tool] = &[
    tool("xdp-filter", "xdp-tools"),
    tool("nft", "nftables"),
    tool("ipset", "ipset"),
    tool("iptables", "iptables"),
    tool("ethtool", "ethtool"),
];

/// What the dashboard's tests drive.
pub const BROWSER: Tool = tool("chromium", "chromium");

/// What the tests of the shared cache start.
pub const REDIS: Tool = tool("redis-server", "redis-server");

/// What the tests of the package lay a Debian out with.
pub const MACHINE: Tool = tool("mmdebstrap", "mmdebstrap");

/// What the tests of the unit and the package ask and pack with.
pub const PACKAGING: &[Tool] = &[
    tool("systemd-analyze", "systemd"),
    tool("dpkg-deb", "dpkg"),
    tool("strip", "binutils"),
];

/// What the tests of containers start: an engine and what it runs. Their image is busybox, which must need no libraries.
pub const ENGINE: &[Tool] = &[
    tool("dockerd", "docker.io"),
    tool("docker", "docker.io"),
    tool("containerd", "containerd"),
    tool("runc", "runc"),
    tool("iptables", "iptables"),
    tool("unshare", "util-linux"),
    tool("tar", "tar"),
    tool("busybox", "busybox-static"),
];

/// What the tests of the second pair of ears and of bans by ARP start.
pub const BETTERCAP: Tool = tool("bettercap", "bettercap");

/// What the tests of sudden ends strike a running agent with, at a system call of their choice.
pub const STRIKE: Tool = tool("strace", "strace");
/// What has a process's own threads make calls of our choice.
pub const DEBUGGER: Tool = tool("gdb", "gdb");

/// What sets the clock of one program alone.
pub const FAKETIME: Tool = tool("faketime", "faketime");

/// What the tests of messages write to, and what makes it a certificate.
pub const MAIL: &[Tool] = &[tool("aiosmtpd", "python3-aiosmtpd"), tool("openssl", "openssl")];
/// What reads and draws the pages of reports.
pub const PAGES: Tool = tool("pdftotext", "poppler-utils");

/// What fetches the reader of the API's document from PyPI.
pub const PIP: Tool = tool("pip3", "python3-pip");

/// What builds the image and runs it as its users do.
pub const IMAGE: &[Tool] = &[
    tool("mmdebstrap", "mmdebstrap"),
    tool("buildah", "buildah"),
    tool("docker-compose", "docker-compose"),
];

/// What scrapes the agent, and what proves the rules that it watches by.
pub const PROMETHEUS: &[Tool] = &[tool("prometheus", "prometheus"), tool("promtool", "prometheus")];

/// What puts captures on a wire for the kernel's tests.
pub const REPLAY: Tool = tool("tcpreplay", "tcpreplay");

/// Where a program is; root's folders count even when the caller's `PATH` lacks them.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir: PathBuf| dir.join(program))
        .find(|path: &PathBuf| Path::is_file(path))
}

/// Why not all of them can be used, where some are not there.
pub fn obstacle(tools: &[Tool]) -> Option<String> {
    let missing = missing(tools);
    let names: Vec<_> = missing.iter().map(|tool| tool.program).collect();
    (!names.is_empty()).then(|| format!("{} missing; `cargo xtask setup` installs them", names.join(", ")))
}

/// Whether a test can use all of them; where not it is skipped, or fails ([`crate::skip`]).
pub fn there(tools: &[Tool]) -> bool {
    let obstacle = obstacle(tools);
    if let Some(why) = &obstacle {
        crate::skip(why);
    }
    obstacle.is_none()
}

/// Those that are not there.
pub fn missing(tools: &[Tool]) -> Vec<Tool> {
    tools
        .iter()
        .copied()
        .filter(|tool| !find(tool.program).is_some_and(|path| tool.package != STATIC || stands_alone(&path)))
        .collect()
}

/// The package whose program must need no libraries: images are made of it alone. The plain one has the same name.
const STATIC: &str = "busybox-static";

/// Whether a program needs no dynamic loader, which it would name (elf(5), PT_INTERP).
fn stands_alone(program: &Path) -> bool {
    std::fs::read(program).is_ok_and(|bytes| !bytes.windows(5).any(|bytes| bytes == b"/ld-l"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_needs_libraries_does_not_stand_alone() {
        assert!(!stands_alone(&find("sh").expect("a shell")));
        let there = Tool {
            program: "sh",
            package: "dash",
        };
        assert_eq!(missing(&[there]), []);
        let dynamic = Tool {
            package: STATIC,
            ..there
        };
        assert_eq!(missing(&[dynamic]), [dynamic]);
    }
}
