//! A Debian of its own, with systemd as its process 1: in namespaces, on the network of a host of the testbed.
//!
//! In: packages from Debian's archive (`mmdebstrap`), kept under `target/debian-roots` for the next time. Out: a machine
//! in which units start and packages are installed. Invariant: nothing outside sees its mounts, processes, control groups
//! or bpffs, and nothing of it is left. Deliberately elsewhere: what is installed in it.

use crate::child::{self, Child, Finished};
use crate::net::Host;
use crate::{scratch, tools, wait};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// The release.
const SUITE: &str = "bookworm";
/// What is in it beside what every Debian has.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,ca-certificates,logrotate,nftables,iproute2,procps";
/// How long the packages may take to come and to be laid out.
const LAID_OUT: Duration = Duration::from_mins(5);
const BOOT: Duration = Duration::from_mins(1);
const QUICK: Duration = Duration::from_mins(5);
/// The first program in its namespaces.
const SCRIPT: &str = include_str!("machine.sh");

/// A machine that runs.
pub struct Machine {
    root: TempDir,
    child: Child,
    /// Its process 1, as it is called outside.
    init: u32,
    group: String,
}

/// Why there can be none here.
pub fn obstacle() -> Option<String> {
    for program in ["mmdebstrap", "unshare", "nsenter", "pivot_root", "tar"] {
        if tools::find(program).is_none() {
            return Some(format!("`{program}` is missing"));
        }
    }
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let lacks = |name: &str| !known.split_whitespace().any(|word| word == name);
    ["cgroup2", "bpf"]
        .into_iter()
        .find(|name| lacks(name))
        .map(|name| format!("this kernel has no {name} file system"))
}

/// The packages laid out, as an archive under `target`.
fn archive(target: &Path) -> Result<PathBuf> {
    let kept = target.join("debian-roots");
    let there = kept.join(format!("{SUITE}-{}.tar", PACKAGES.replace(',', "-")));
    if there.is_file() {
        return Ok(there);
    }
    fs::create_dir_all(&kept)?;
    let part = there.with_extension("part.tar");
    let mut command = Command::new("mmdebstrap");
    command
        .arg("--variant=minbase")
        .arg(format!("--include={PACKAGES}"))
        .arg(SUITE)
        .arg(&part);
    child::must(command, LAID_OUT).context("no Debian could be laid out; is its archive reachable?")?;
    fs::rename(part, &there)?;
    Ok(there)
}

impl Machine {
    /// Boots one on the network of `host`; `target` is where archives are kept.
    ///
    /// # Errors
    /// When its packages cannot be had, or systemd does not come up.
    pub fn boot(host: &Host, target: &Path) -> Result<Self> {
        let archive = archive(target)?;
        let root = scratch::folder()?;
        let mut unpack = Command::new("tar");
        unpack.arg("-C").arg(root.path()).arg("-xf").arg(archive);
        child::must(unpack, LAID_OUT)?;
        // These would turn knobs of the whole machine.
        for unit in [
            "systemd-sysctl.service",
            "systemd-modules-load.service",
            "systemd-binfmt.service",
        ] {
            let mask = root.path().join("etc/systemd/system").join(unit);
            std::os::unix::fs::symlink("/dev/null", mask)?;
        }
        let group = format!("sentinel-machine-{}", std::process::id());
        // Bounded, should we be killed.
        let bound = ["--foreground", "--signal=KILL", "3600"];
        let apart = ["unshare", "--mount", "sh", "-ec", SCRIPT, "machine"];
        let mut script = host.program("timeout", &[&bound[..], &apart[..]].concat());
        script.arg(root.path()).arg(&group);
        let child = Child::spawn(script)?;
        let mut machine = Self {
            root,
            child,
            init: 0,
            group,
        };
        let up = wait::until("systemd to come up", BOOT, || {
            if let Some(status) = machine.child.ended()? {
                bail!("it ended with {status}: {}", machine.child.output());
            }
            machine.init = init_of(machine.child.id()).unwrap_or(0);
            if machine.init == 0 {
                return Ok(None);
            }
            let state = machine.sh("systemctl is-system-running || true")?.output;
            Ok(matches!(state.trim(), "running" | "degraded").then_some(()))
        });
        up?;
        Ok(machine)
    }

    /// Runs a line of shell in it.
    ///
    /// # Errors
    /// When it cannot be run, or takes too long.
    pub fn sh(&self, line: &str) -> Result<Finished> {
        child::run(self.command(line), QUICK)
    }

    /// The same, and it must end well; what it printed.
    ///
    /// # Errors
    /// When it does not.
    pub fn must(&self, line: &str) -> Result<String> {
        let done = self.sh(line)?;
        ensure!(done.code == 0, "`{line}` ended with {}:\n{}", done.code, done.output);
        Ok(done.output)
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("nsenter");
        let pid = self.init.to_string();
        command.args(["-t", &pid, "-m", "-p", "-i", "-u", "-C", "-n", "env", "-i"]);
        command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "NO_COLOR=1", "sh", "-c", line]);
        command
    }

    /// A path of it, as it is called outside.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside.trim_start_matches('/'))
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.child.end();
        let line = format!(
            "mount --make-rprivate /; at=$(mktemp -d); mount -t cgroup2 cgroup2 \"$at\"; for n in 1 2 3 4 5; do \
             find \"$at/{0}\" -depth -type d -exec rmdir {{}} + && break; sleep 0.2; done; umount \"$at\"; rmdir \"$at\"",
            self.group
        );
        let mut clean = Command::new("unshare");
        clean.args(["--mount", "sh", "-c", &line]);
        drop(child::run(clean, QUICK));
    }
}

/// The process 1 of the namespace that `unshare` made below this process.
fn init_of(parent: u32) -> Option<u32> {
    let mut pid = parent;
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
        pid = children.split_whitespace().next()?.parse().ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
        let is_systemd = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim() == "systemd";
        if is_systemd && inside.split_whitespace().last() == Some("1") {
            return Some(pid);
        }
    }
}
