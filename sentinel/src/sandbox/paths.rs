//! Which files a thread may open and which ports it may connect to (landlock(7)).

use super::Reach;
use anyhow::{Context, Result};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreated,
    RulesetCreatedAttr, RulesetStatus,
};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// What is known of Landlock here.
const KNOWN: ABI = ABI::V6;
/// What programs read: libraries, certificates, names of hosts and users, the kernel's own files. All of `/etc`, since a rule is
/// about a file and not about its name, and `resolv.conf`, `hosts` or `passwd` are replaced whenever they change; passwords
/// there are root's alone to read.
const EVERYBODYS: [&str; 18] = [
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/gnu/store",
    "/etc",
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
    "/var/lib/ca-certificates",
];
/// The name servers, where they are a link the directory of what it leads to.
const RESOLVERS: &str = "/etc/resolv.conf";
/// What loads a program's libraries is run with it.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
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
    for path in EVERYBODYS {
        rules = allow(rules, Path::new(path), read)?;
    }
    if let Some(folder) = std::fs::canonicalize(RESOLVERS).ok().as_deref().and_then(Path::parent) {
        rules = allow(rules, folder, read)?;
    }
    if let Some(program) = &reach.run {
        for path in LOADERS.iter().map(Path::new).chain([program.as_path()]) {
            rules = allow(rules, path, read | AccessFs::Execute)?;
        }
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

/// The directory itself, made where it is not there yet: what is above it is not to be written in for its sake. Where it cannot be
/// made (below a bpffs somebody else makes it), the nearest one above, but for the root of everything.
pub(super) fn standing(path: &Path) -> Option<PathBuf> {
    let whole = std::path::absolute(path).ok()?;
    if !whole.is_dir() && !whole.starts_with("/sys") {
        // Whoever needs it says why it cannot be made.
        let _ = DirBuilder::new().recursive(true).mode(0o750).create(&whole);
    }
    let found = whole.ancestors().find(|above| above.is_dir())?;
    (found != Path::new("/") || whole == found).then(|| found.to_owned())
}

/// Every rule.
pub(super) const WHOLLY: u8 = 2;
/// Those this kernel knows.
pub(super) const IN_PART: u8 = 1;

/// Holds the calling thread, and those it begins, to the rules; to how many of them.
pub(super) fn apply(rules: &RulesetCreated) -> Result<u8> {
    let status = rules.try_clone()?.restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => WHOLLY,
        RulesetStatus::PartiallyEnforced => IN_PART,
        RulesetStatus::NotEnforced => 0,
    })
}
