//! The agent as a service of systemd: whether it starts, is watched over, and may do what it has to and no more.
//!
//! Asked of `systemctl` and `/proc`. Where no unit is installed and no manager runs there is nothing to say.

use super::Finding;
use crate::config::Config;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const UNIT: &str = "sentinel.service";
/// What is asked of the unit.
const ASKED: &str =
    "LoadState,ActiveState,UnitFileState,Type,User,WatchdogUSec,NRestarts,MainPID,ProtectSystem,NoNewPrivileges";
/// The capabilities without which nothing is loaded or attached, which are those of the packaged unit; by their numbers
/// (capability.h).
const NEEDED: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];
/// What reads other users' environments, for sessions that systemd-logind knows nothing of.
const SESSIONS: [(&str, u32); 2] = [("CAP_DAC_READ_SEARCH", 2), ("CAP_SYS_PTRACE", 19)];
const ADMIN: (&str, u32) = ("CAP_SYS_ADMIN", 21);

type Shown = BTreeMap<String, String>;

pub(super) fn findings(config: &Config) -> Vec<Finding> {
    if !Path::new("/run/systemd/system").exists() {
        return Vec::new();
    }
    let told = Command::new("systemctl")
        .args(["show", UNIT, "--property", ASKED])
        .output();
    let Ok(told) = told else { return Vec::new() };
    let shown = read(&String::from_utf8_lossy(&told.stdout));
    if is(&shown, "LoadState", "not-found") {
        return Vec::new();
    }
    let mut out = unit(&shown);
    let process = shown.get("MainPID").filter(|pid| *pid != "0");
    if let Some(pid) = process {
        out.extend(capabilities(&statuses(pid)));
    }
    out.extend(state(config.store.path.parent().unwrap_or(Path::new("/"))));
    out.extend(socket(&config.api.socket, &config.api.socket_group));
    out
}

fn read(text: &str) -> Shown {
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn is(shown: &Shown, key: &str, value: &str) -> bool {
    shown.get(key).is_some_and(|found| found == value)
}

/// What /proc says of each of its threads: once it runs, one of them still has what attaching takes.
fn statuses(pid: &str) -> String {
    let threads = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    texts.collect()
}

/// Whether it runs, comes back, and is confined.
fn unit(shown: &Shown) -> Vec<Finding> {
    let value = |key: &str| shown.get(key).map_or("", String::as_str);
    let mut out = vec![match value("ActiveState") {
        "active" | "reloading" => Finding::pass("service", "runs"),
        "activating" => Finding::warn(
            "service",
            "is starting",
            "look again; `journalctl -u sentinel -n 50` says what it waits for",
        ),
        "failed" => Finding::fail(
            "service",
            "failed",
            "`journalctl -u sentinel -n 50` says why; then `systemctl restart sentinel`",
        ),
        _ => Finding::warn(
            "service",
            "is installed and does not run",
            "systemctl enable --now sentinel",
        ),
    }];
    if value("LoadState") == "masked" {
        out.push(Finding::fail(
            "service",
            "is masked, so that nobody can start it",
            "systemctl unmask sentinel",
        ));
    } else if !matches!(value("UnitFileState"), "enabled" | "enabled-runtime" | "static") {
        out.push(Finding::warn(
            "boot",
            "it does not start when the machine does",
            "systemctl enable sentinel",
        ));
    }
    out.push(match (value("Type"), value("WatchdogUSec")) {
        ("notify" | "notify-reload", time) if time != "0" && time != "infinity" && !time.is_empty() => Finding::pass(
            "watchdog",
            format!("an agent that hangs is ended after {time} and started again"),
        ),
        _ => Finding::warn(
            "watchdog",
            "an agent that hangs is left hanging",
            "let the unit say Type=notify and WatchdogSec=30s, as the packaged one does",
        ),
    });
    let restarts: u64 = value("NRestarts").parse().unwrap_or(0);
    if restarts > 0 {
        out.push(Finding::warn(
            "restarts",
            format!("it was started again {restarts} times by itself"),
            "`journalctl -u sentinel` says why it ended; `systemctl reset-failed sentinel` forgets the count",
        ));
    }
    let confined = value("NoNewPrivileges") == "yes" && matches!(value("ProtectSystem"), "strict" | "full");
    out.push(match (value("User"), confined) {
        ("" | "root", _) => Finding::warn(
            "confinement",
            "it runs as root",
            "use the packaged unit, which has a user of its own and three capabilities, or say User=sentinel in yours",
        ),
        (user, true) => Finding::pass(
            "confinement",
            format!("user {user}, no new privileges, the system read-only"),
        ),
        (user, false) => Finding::warn(
            "confinement",
            format!("user {user}, and it may write to the system or gain privileges"),
            "let the unit say NoNewPrivileges=yes and ProtectSystem=strict, as the packaged one does",
        ),
    });
    out
}

/// What the running agent may do, of the `status` of its threads.
fn capabilities(status: &str) -> Option<Finding> {
    let sets = status.lines().filter_map(|line| line.strip_prefix("CapEff:"));
    let sets = sets.filter_map(|set| u64::from_str_radix(set.trim(), 16).ok());
    let has = sets.reduce(|all, set| all | set)?;
    let may = |number: u32| has & (1 << number) != 0;
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|(_, number)| !may(*number))
        .map(|(name, _)| *name)
        .collect();
    if !missing.is_empty() && !may(ADMIN.1) {
        return Some(Finding::fail(
            "agent's privileges",
            format!("it lacks {}", missing.join(", ")),
            "let AmbientCapabilities= and CapabilityBoundingSet= of the unit name them",
        ));
    }
    let known = NEEDED
        .iter()
        .chain(&SESSIONS)
        .fold(0, |all, (_, number)| all | 1 << number);
    let more = (has & !known).count_ones();
    if more > 0 {
        return Some(Finding::warn(
            "agent's privileges",
            format!("it has {more} capabilities more than it needs"),
            "use the packaged unit, or narrow AmbientCapabilities= and CapabilityBoundingSet= of yours",
        ));
    }
    Some(Finding::pass("agent's privileges", "what it needs, and no more"))
}

/// Whether others may look into its directory.
fn state(directory: &Path) -> Option<Finding> {
    let found = fs::metadata(directory).ok()?;
    let mode = found.permissions().mode() & 0o777;
    let shown = directory.display();
    Some(if mode & 0o002 != 0 {
        Finding::fail(
            "state directory",
            format!("anybody may write to {shown}"),
            format!("chmod 0750 {shown}"),
        )
    } else if mode & 0o005 != 0 {
        Finding::warn(
            "state directory",
            format!("anybody may look into {shown}"),
            format!("chmod 0750 {shown}"),
        )
    } else {
        Finding::pass("state directory", format!("{shown}, mode {mode:04o}"))
    })
}

/// Whether the members of the group that the settings name reach the agent.
fn socket(path: &Path, group: &str) -> Option<Finding> {
    let found = fs::symlink_metadata(path).ok()?;
    if group.is_empty() {
        return None;
    }
    let name = nix::unistd::Group::from_gid(found.gid().into())
        .ok()
        .flatten()
        .map(|group| group.name);
    Some(if name.as_deref() == Some(group) && found.mode() & 0o060 == 0o060 {
        Finding::pass("socket group", format!("members of `{group}` may do whatever root may"))
    } else {
        Finding::warn(
            "socket group",
            format!("{} is not open to members of `{group}`", path.display()),
            "restart the agent, which makes the socket anew by `api.socket_group`",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    const GOOD: &str = "LoadState=loaded\nActiveState=active\nUnitFileState=enabled\nType=notify\nUser=sentinel\n\
                        WatchdogUSec=30s\nNRestarts=0\nMainPID=7\nProtectSystem=strict\nNoNewPrivileges=yes\n";

    #[test]
    fn the_packaged_unit_passes_and_each_fault_has_its_mend() {
        let good = unit(&read(GOOD));
        assert!(good.iter().all(|f| f.level == Level::Pass), "{good:?}");
        for (from, to, check, level) in [
            ("ActiveState=active", "ActiveState=failed", "service", Level::Fail),
            ("ActiveState=active", "ActiveState=inactive", "service", Level::Warn),
            ("LoadState=loaded", "LoadState=masked", "service", Level::Fail),
            ("UnitFileState=enabled", "UnitFileState=disabled", "boot", Level::Warn),
            ("WatchdogUSec=30s", "WatchdogUSec=0", "watchdog", Level::Warn),
            ("Type=notify", "Type=simple", "watchdog", Level::Warn),
            ("NRestarts=0", "NRestarts=3", "restarts", Level::Warn),
            ("User=sentinel", "User=", "confinement", Level::Warn),
            ("ProtectSystem=strict", "ProtectSystem=no", "confinement", Level::Warn),
        ] {
            let found = unit(&read(&GOOD.replace(from, to)));
            let said = found.iter().find(|f| f.level == level && f.check == check);
            assert!(said.is_some_and(|f| !f.mend.is_empty()), "{to}: {found:?}");
        }
    }

    #[test]
    fn too_little_and_too_much_are_both_said() {
        let with = |bits: &[u32]| {
            let all: u64 = bits.iter().map(|bit| 1u64 << bit).sum();
            capabilities(&format!("Name:\tsentinel\nCapEff:\t{all:016x}\n")).expect("said")
        };
        assert_eq!(with(&[12, 38, 39]).level, Level::Pass);
        assert_eq!(with(&[2, 12, 19, 38, 39]).level, Level::Pass, "with a drop-in");
        assert_eq!(with(&[12, 19, 38]).level, Level::Fail, "no BPF");
        assert_eq!(with(&[12, 19, 38, 39, 21, 1]).level, Level::Warn, "more");
        assert_eq!(capabilities(""), None);
    }

    #[test]
    fn a_directory_that_is_open_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        for (mode, level) in [(0o750, Level::Pass), (0o755, Level::Warn), (0o777, Level::Fail)] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).expect("set");
            assert_eq!(state(dir.path()).expect("said").level, level, "{mode:o}");
        }
    }
}
