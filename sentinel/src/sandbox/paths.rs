//! Which files a thread may open and which ports it may connect to (landlock(7)).

use super::Reach;
use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus,
};
use std::path::{Path, PathBuf};

/// What is known of Landlock here.
const KNOWN: ABI = ABI::V6;
/// What programs read: libraries, certificates, names of hosts and services, the kernel's own files. Of `/etc` these and no
/// more: as root, passwords are there.
const EVERYBODYS: [&str; 33] = [
    "/usr",
    "/lib",
    "/lib64",
    "/proc",
    "/sys",
    "/run/systemd",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/run/nscd",
    "/run/connman",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
    "/dev/random",
    "/etc/ca-certificates",
    "/etc/crypto-policies",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/machine-id",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/pki",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/etc/timezone",
    "/var/lib/ca-certificates",
];
/// Where the agent itself reads and writes whatever its settings are.
const DEVICES: [&str; 1] = ["/dev/null"];
/// DNS over TCP.
const DNS: u16 = 53;

/// The rules; a kernel that knows less of them does less.
pub(super) fn rules(reach: &Reach) -> Result<RulesetCreated> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?;
    if reach.connect.is_some() {
        rules = rules.handle_access(AccessNet::ConnectTcp)?;
    }
    let mut rules = rules.create()?;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let run = if reach.run { read | AccessFs::Execute } else { read };
    for path in EVERYBODYS {
        let programs = ["/usr", "/lib", "/lib64"].contains(&path);
        rules = allow(rules, Path::new(path), if programs { run } else { read })?;
    }
    if replaced_in_place() {
        rules = allow(rules, Path::new("/etc"), read)?;
    }
    for path in &reach.read {
        rules = allow(rules, path, read)?;
    }
    let write = AccessFs::from_all(KNOWN) & !AccessFs::Execute;
    for path in DEVICES.iter().map(Path::new) {
        rules = allow(rules, path, write)?;
    }
    for path in &reach.write {
        if let Some(standing) = standing(path) {
            rules = allow(rules, &standing, write)?;
        }
    }
    for port in reach.connect.iter().flatten().copied().chain([DNS]) {
        if reach.connect.is_some() {
            rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp))?;
        }
    }
    Ok(rules)
}

/// A place that is not there allows nothing.
fn allow(rules: RulesetCreated, path: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated> {
    let Ok(place) = PathFd::new(path) else {
        return Ok(rules);
    };
    // Of a file there is nothing to list.
    let access = if path.is_dir() {
        access
    } else {
        access & AccessFs::from_file(KNOWN)
    };
    rules
        .add_rule(PathBeneath::new(place, access))
        .with_context(|| path.display().to_string())
}

/// The directory itself, or the nearest one above it in which it will be made. Where that were the root of everything, it
/// is made now.
pub(super) fn standing(path: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(path).ok()?;
    let found = whole.ancestors().find(|above| above.is_dir())?;
    if found == Path::new("/") && found != whole {
        std::fs::create_dir_all(&whole).ok()?;
        return Some(whole);
    }
    Some(found.to_owned())
}

/// Whether the list of name servers is a file of `/etc` that is replaced whenever they change: a rule is about the file, not
/// about its name, so that all of `/etc` has to be readable. In a container it is a mount, and elsewhere mostly a link.
fn replaced_in_place() -> bool {
    let file = Path::new("/etc/resolv.conf");
    let plain = std::fs::symlink_metadata(file).is_ok_and(|about| about.is_file());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    plain && !mounts.lines().any(|line| line.split(' ').nth(4) == file.to_str())
}

/// Holds the calling thread, and those it begins, to the rules; whether this kernel has Landlock.
pub(super) fn apply(rules: &RulesetCreated) -> Result<bool> {
    let status = rules.try_clone()?.restrict_self()?;
    Ok(status.ruleset != RulesetStatus::NotEnforced)
}
