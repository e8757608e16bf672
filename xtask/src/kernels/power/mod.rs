//! Power cuts: the agent decides in a machine with a disk that has a volatile cache, and the machine is killed.
//!
//! In: how many cuts, a seed. Out: figures, and failure where something acknowledged is not there afterwards. Invariant: what
//! a cut leaves is what was flushed and any part of the rest, to the sector ([`testbed::disk`]); each rig shows on its own
//! recordings that it finds a loss, by disks whose last flushes were lies. Deliberately elsewhere: what is asked of the agent in
//! the machine (`tests/power`).
//!
//! A machine costs seconds without acceleration and a cut of its disk a quarter of one. Nothing but the disk outlives a cut, so
//! that a recording of it can be cut at as many points as one likes; the last is where the machine was killed, and the next
//! machine starts from what that left.

mod books;
mod inspect;

use super::archive::Archive;
use super::{bootable, image, machine, tools};
use crate::prove::Figure;
use crate::{Consent, run, shell};
use anyhow::{Context, Result, bail, ensure};
use books::{Books, Word};
use inspect::Inspector;
use serde_json::json;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use testbed::disk::{Cut, Disk, next};
use testbed::tools::Tool;

/// Debian's kernels of this series have ext4 built in.
const SERIES: &str = "6.1";
/// The disk is virtio's: qemu's NVMe drive takes writes that are to go through its cache (FUA) for any others, which loses
/// journals without a fault of whoever wrote them.
const MODULES: [&str; 7] = [
    "virtio_ring",
    "virtio",
    "virtio_pci_legacy_dev",
    "virtio_pci_modern_dev",
    "virtio_pci",
    "virtio_blk",
    "veth",
];
/// Bytes of the disk.
const SIZE: u64 = 48 << 20;
/// Cuts of one machine's recording at most; there are always two machines, so that one starts from what a cut left.
const CUTS: u64 = 20;
/// Cuts with lies, for the rig's own sake.
const LIES: u64 = 3;
/// So many of the last flushes are lies: a decision takes several, and on a busy machine its word comes after those of
/// later ones. The first number that loses something is enough.
const LIED: [usize; 3] = [6, 24, 96];
/// Machines after which the disk is a new one.
const CHAIN: u64 = 5;
/// Until the agent in the machine answers, and from then until it acknowledges something.
const START: Duration = Duration::from_mins(3);
/// The least time a machine decides after its first acknowledgement, and what a draw adds to it at most.
const WORK: (Duration, u64) = (Duration::from_secs(3), 6000);
/// Begins a line that is for us.
const MARK: &str = "power: ";
/// Where Debian keeps whom TLS trusts; the agent does not start without.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// What makes and reads file systems.
const FILE_SYSTEMS: [Tool; 2] = [
    Tool {
        program: "mke2fs",
        package: "e2fsprogs",
    },
    Tool {
        program: "debugfs",
        package: "e2fsprogs",
    },
];

const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /usr/sbin /usr/bin /sbin /data
/bin/busybox --install -s
export PATH=/bin:/sbin:/usr/bin:/usr/sbin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
for module in /modules/*.ko; do insmod $module; done
ip link add eth0 type veth peer name eth1
ip addr add 192.0.2.1/24 dev eth0
ip link set lo up; ip link set eth0 up; ip link set eth1 up
until [ -b /dev/vda ]; do sleep 0.1; done
mount -t ext4 /dev/vda /data || echo 'power: failed: the disk cannot be mounted'
(sentinel -c /settings.yml run > /run/log 2>&1; echo power: failed: the agent ended; cat /run/log) &
power-guest /run/sentinel.sock $machine
sleep 100
";

/// What machine and cuts have in common.
struct Rig {
    boot: PathBuf,
    image: PathBuf,
    folder: TempDir,
    inspector: Inspector,
    draw: u64,
}

/// What came of it.
#[derive(Debug, Default)]
struct Tally {
    machines: u64,
    cuts: u64,
    acknowledged: u64,
    asked_for: u64,
    lies: u64,
    lies_found: u64,
    lost: Vec<String>,
}

/// Cuts the power so often, and tells the figures.
///
/// # Errors
/// When something acknowledged was lost, or the rig finds no loss where there is one.
pub(crate) fn prove(consent: Consent, count: u64, seed: u64) -> Result<Vec<Figure>> {
    ensure!(std::env::consts::ARCH == "x86_64", "the kernels are for amd64");
    tools(consent, &FILE_SYSTEMS)?;
    let mut rig = Rig::new(consent, seed)?;
    shell::step("power cuts");
    let began = Instant::now();
    let mut tally = Tally::default();
    let empty = inspect::file_system(rig.folder.path(), SIZE)?;
    let (mut first, mut books) = (empty.clone(), Books::default());
    while tally.cuts < count {
        if tally.machines.is_multiple_of(CHAIN) {
            (first, books) = (empty.clone(), Books::default());
        }
        tally.machines += 1;
        let left = count.div_ceil(CUTS).max(2).saturating_sub(tally.machines - 1).max(1);
        let wanted = (count - tally.cuts).div_ceil(left);
        let name = format!("machine {} (seed {seed})", tally.machines);
        (first, books) = rig
            .machine(first, &books, wanted, &mut tally)
            .with_context(|| name.clone())?;
        println!("{name}: {} cuts, {} lost so far", tally.cuts, tally.lost.len());
    }
    ensure!(tally.lost.is_empty(), "lost: {}", tally.lost.join("; "));
    ensure!(
        tally.lies_found * 2 > tally.lies,
        "a loss was found in only {} of {} disks that lied: the rig shows nothing",
        tally.lies_found,
        tally.lies
    );
    let figure = |name: &str, value: u64, unit: &str| Figure {
        name: name.to_owned(),
        value: value as f64,
        unit: unit.to_owned(),
    };
    Ok(vec![
        figure("power cuts", tally.cuts, ""),
        figure("machines killed", tally.machines, ""),
        figure("acknowledgements", tally.acknowledged, ""),
        figure("targets asked for after a cut", tally.asked_for, ""),
        figure("lost", 0, ""),
        figure("disks that lied", tally.lies, ""),
        figure("of those found out", tally.lies_found, ""),
        Figure {
            name: "each cut".into(),
            value: (began.elapsed().as_secs_f64() / tally.cuts.max(1) as f64 * 100.0).round() / 100.0,
            unit: "s".into(),
        },
    ])
}

impl Rig {
    fn new(consent: Consent, seed: u64) -> Result<Self> {
        let agent = run::build(consent, false)?;
        let guest = [
            "build",
            "--locked",
            "--package",
            "sentinel-tests",
            "--bin",
            "power-guest",
        ];
        shell::run(&mut shell::cargo(guest)?)?;
        let guest = shell::target()?.join("debug/power-guest");
        let kernels = shell::target()?.join("kernels");
        let archive = Archive::open(&kernels)?;
        let kernel = archive.kernels()?.into_iter().find(|kernel| kernel.series() == SERIES);
        let kernel = kernel.with_context(|| format!("the archive has no kernel {SERIES}"))?;
        let root = archive.fetch(&kernel)?;
        let folder = testbed::scratch::folder()?;
        let common = image::common(&[("sentinel", &agent), ("power-guest", &guest)])?;
        let authorities = std::fs::read(AUTHORITIES).context(AUTHORITIES)?;
        let settings = settings().to_string();
        let files: [(&str, &[u8]); 2] = [("/settings.yml", settings.as_bytes()), (AUTHORITIES, &authorities)];
        // A build meanwhile must not change what looks at the disks.
        let own = folder.path().join("sentinel");
        std::fs::copy(&agent, &own)?;
        let image = folder.path().join("image.cpio");
        let own_parts = image::Own {
            kernel: &root,
            modules: &MODULES,
            files: &files,
            init: INIT,
        };
        image::write(&common, &own_parts, &image)?;
        Ok(Self {
            boot: bootable(&kernel, &root)?,
            image,
            inspector: Inspector {
                agent: own,
                folder: folder.path().to_owned(),
            },
            folder,
            draw: seed,
        })
    }

    /// Lets one machine decide on a disk until it is killed, cuts its recording, and gives the disk and the books with which
    /// the next one starts.
    fn machine(&mut self, first: Vec<u8>, books: &Books, cuts: u64, tally: &mut Tally) -> Result<(Vec<u8>, Books)> {
        let disk = Disk::new(first);
        let reason = format!("machine {}", tally.machines % 250);
        let words = self.run(&disk, tally.machines % 250)?;
        let end = disk.position();
        let acknowledged = |word: &&Word| Books::default().hear(&word.text, &reason);
        let acks: Vec<usize> = words.iter().filter(acknowledged).map(|word| word.position).collect();
        ensure!(!acks.is_empty(), "nothing was acknowledged, so nothing is shown");
        tally.acknowledged += acks.len() as u64;
        let at = |draw: &mut u64| acks[next(draw) as usize % acks.len()];
        for cut in 0..cuts {
            // Where it was killed, right after something was acknowledged, and anywhere.
            let position = match cut {
                0 => end,
                _ if cut % 2 == 0 => at(&mut self.draw),
                _ => acks[0] + next(&mut self.draw) as usize % (end - acks[0]).max(1),
            };
            let how = match next(&mut self.draw) {
                seed if seed.is_multiple_of(4) => Cut::Nothing,
                seed => Cut::Part(seed),
            };
            let asked_for = books.at(&words, position, &reason);
            tally.asked_for += asked_for.stands().count() as u64;
            let missing = self.inspector.missing(&disk.after(position, how), &asked_for)?;
            if !missing.is_empty() {
                let some = missing.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
                let first = acks[0];
                let lost = format!(
                    "{reason}, {how:?} at {position} of {first} to {end}: {} gone, such as {some}",
                    missing.len()
                );
                println!("{lost}");
                tally.lost.push(lost);
            }
        }
        tally.cuts += cuts;
        for _ in 0..LIES.min(cuts) {
            let position = at(&mut self.draw);
            let asked_for = books.at(&words, position, &reason);
            tally.lies += 1;
            for lied in LIED {
                let disk = disk.after(position, Cut::Lied(lied));
                if !self.inspector.missing(&disk, &asked_for)?.is_empty() {
                    tally.lies_found += 1;
                    break;
                }
            }
        }
        let left = disk.after(end, Cut::Part(next(&mut self.draw)));
        Ok((left, books.at(&words, end, &reason)))
    }

    /// What a machine said until it was killed, at a moment nobody chose.
    fn run(&mut self, disk: &Disk, number: u64) -> Result<Vec<Word>> {
        let socket = self.folder.path().join(format!("disk-{number}"));
        let serving = disk.serve(&socket)?;
        // What the kernel does not know becomes the first process' environment.
        let mut command = machine::machine(&self.boot, &self.image, &format!("machine={number}"));
        command
            .args(["-device", "virtio-blk-pci,drive=disk", "-drive"])
            .arg(format!(
                "file=nbd+unix:///?socket={},format=raw,if=none,id=disk,cache=writeback",
                socket.display()
            ));
        let mut child = command.spawn().context("qemu-system-x86_64 cannot be run")?;
        let console = child.stdout.take().context("qemu has no console")?;
        let (sender, heard) = mpsc::channel();
        let recording = disk.clone();
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
                let word = Word {
                    position: recording.position(),
                    text: String::from_utf8_lossy(&line).trim().to_owned(),
                };
                if sender.send(word).is_err() {
                    break;
                }
            }
        });
        let more = Duration::from_millis(next(&mut self.draw) % WORK.1);
        let begun = listen(&heard, &format!("machine {number}"), WORK.0 + more);
        let killed = child.kill();
        child.wait()?;
        let mut words = begun?;
        killed?;
        // What it had said before.
        words.extend(heard.iter().filter_map(|word| ours(&word)));
        ensure!(listener.join().is_ok(), "the console's reader failed");
        serving.join().map_err(|_| anyhow::anyhow!("the disk failed"))??;
        std::fs::remove_file(&socket)?;
        if let Some(bad) = words.iter().find(|word| word.text.starts_with("failed")) {
            bail!("{}", bad.text);
        }
        Ok(words)
    }
}

/// Listens until the machine has decided for so long since it first acknowledged something.
fn listen(heard: &mpsc::Receiver<Word>, reason: &str, long: Duration) -> Result<Vec<Word>> {
    let (mut words, mut tail) = (Vec::new(), Vec::new());
    let mut end = Instant::now() + START;
    let mut decides = false;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match heard.recv_timeout(left) {
            Ok(word) => {
                tail.push(word.text.clone());
                let Some(word) = ours(&word) else { continue };
                if let Some(found) = word.text.strip_prefix("started ") {
                    // No drift, and an audit without a break.
                    ensure!(found == "0 null", "it started with {found}");
                    end = Instant::now() + START;
                } else {
                    if !decides && Books::default().hear(&word.text, reason) {
                        decides = true;
                        end = Instant::now() + long;
                    }
                    words.push(word);
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) if decides => return Ok(words),
            Err(error) => bail!("{error}; it said:\n{}", tail.join("\n")),
        }
    }
}

/// A word that is for us, without its mark.
fn ours(word: &Word) -> Option<Word> {
    let (_, text) = word.text.split_once(MARK)?;
    Some(Word {
        position: word.position,
        text: text.to_owned(),
    })
}

/// Without what a start takes its time for and decisions do without; only the database is on the disk.
fn settings() -> serde_json::Value {
    json!({
        "mode": "production",
        "enable_production_actions": true,
        "kernel": { "interfaces": ["eth0"], "syn_cookies": { "enabled": false }, "egress": false },
        "store": { "path": "/data/sentinel.db" },
        "api": { "socket": "/run/sentinel.sock" },
        "detect": { "model": { "enabled": false, "site": "/run/site.model" } },
        "response": { "confirm": { "window": "0s" } },
        "intel": { "feeds": { "directory": "/run/feeds" } },
        "alerting": { "file": { "path": "/run/alerts.jsonl" } },
        "export": { "eve": { "file": "/run/eve.json" } },
        "traffic_log": { "path": "/run/traffic_log.csv" },
    })
}

/// Whether it can be done here, unasked; why not.
pub(crate) fn unavailable(consent: Consent) -> Option<String> {
    super::unavailable(consent).or_else(|| {
        (!Path::new(AUTHORITIES).exists())
            .then(|| "there are no certificates of authorities (ca-certificates)".to_owned())
    })
}
