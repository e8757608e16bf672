//! One kernel in a machine of its own: qemu without acceleration, without network, without disk, for a bounded time.

use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A kernel that has not answered by then is stuck.
const LIMIT: Duration = Duration::from_mins(15);
/// The kernel's command line.
const LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on";
/// Begins the line that a test tells its findings in; `sentinel/tests/kernel/boot.rs` writes it.
const MARK: &str = "kernel-report:";

/// The first process. It ends by a reset, which `-no-reboot` makes the end of the machine.
pub(super) const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /usr/sbin /usr/bin /sbin
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
mount -t bpf bpf /sys/fs/bpf
mkdir -p /run/netns
for module in /modules/*.ko; do insmod $module; done
ip link set lo up
echo kernel-release: $(uname -r)
/bin/tests boot:: verdicts::every_verdict --test-threads=1 --nocapture
echo kernel-tests: $?
reboot -f
";

/// What a kernel said.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// `uname -r`.
    pub(super) release: Option<String>,
    /// The findings, as JSON.
    pub(super) report: Option<String>,
    /// Exit code of the tests.
    pub(super) code: Option<i32>,
    /// The end of what it printed.
    pub(super) tail: Vec<String>,
    /// How long it ran.
    pub(super) took: Duration,
}

/// A machine that begins with a kernel and an image, its console on its output, with neither network nor disk; `more` is for
/// the kernel's command line.
pub(super) fn machine(kernel: &Path, image: &Path, more: &str) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args([
            "-machine",
            "q35",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "768",
        ])
        .args(["-nographic", "-no-reboot", "-nic", "none", "-append"])
        .arg(format!("{LINE} {more}"))
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Boots a kernel with an image and listens until it ends, or its time is up.
///
/// # Errors
/// When qemu cannot be run.
pub(super) fn boot(kernel: &Path, image: &Path) -> Result<Said> {
    let begun = Instant::now();
    let mut child = machine(kernel, image, "")
        .spawn()
        .context("qemu-system-x86_64 cannot be run")?;
    let console = child.stdout.take().context("qemu has no console")?;
    let (sender, lines) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut said = Said::default();
    while let Some(left) = LIMIT.checked_sub(begun.elapsed())
        && let Ok(line) = lines.recv_timeout(left)
    {
        said.hear(&String::from_utf8_lossy(&line));
    }
    // It has closed its console, or its time is up.
    let _ = child.kill();
    let status = child.wait()?;
    drop(lines);
    ensure!(reader.join().is_ok(), "the console's reader failed");
    said.took = begun.elapsed();
    if said.took >= LIMIT {
        said.tail.push(format!("ended after {} s ({status})", LIMIT.as_secs()));
    }
    Ok(said)
}

impl Said {
    fn hear(&mut self, line: &str) {
        const TAIL: usize = 60;
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        if let Some((_, release)) = line.split_once("kernel-release: ") {
            self.release = Some(release.to_owned());
        } else if let Some((_, report)) = line.split_once(MARK) {
            self.report = Some(report.to_owned());
        } else if let Some((_, code)) = line.split_once("kernel-tests: ") {
            self.code = code.trim().parse().ok();
        }
        if self.tail.len() == TAIL {
            self.tail.remove(0);
        }
        self.tail.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_console_is_understood_and_its_end_kept() {
        let mut said = Said::default();
        for line in [
            "\u{1b}ckernel-release: 6.1.0-50",
            "kernel-report:{\"native\":\"native\"}\r",
            "kernel-tests: 101\r",
        ] {
            said.hear(line);
        }
        assert_eq!(said.release.as_deref(), Some("6.1.0-50"));
        assert_eq!(said.report.as_deref(), Some("{\"native\":\"native\"}"));
        assert_eq!(said.code, Some(101));
        (0..100).for_each(|n| said.hear(&n.to_string()));
        assert_eq!(
            (said.tail.len(), said.tail.last().map(String::as_str)),
            (60, Some("99"))
        );
    }
}
