//! Lists of the size operators have: how long they take to load, change and delete, what they hold in memory, and what
//! a packet pays for them. Flows are not accounted here; what they cost is the `kernel` suite's matter.
//!
//! Arguments: `--json FILE` for a list of figures, `--quick` for a tenth of the entries and fewer rounds.

use anyhow::{Context, Result, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sentinel::config::{Config, KernelConfig, Mode};
use sentinel::kernel::{Kernel, ListId, ListOrder, probe};
use sentinel::respond::Enforcer;
use sentinel_common::entry::{ACTION_DROP, BlockEntry, NEVER_NS};
use sentinel_common::names::{PROG_FLOOR_DROP, PROG_FLOOR_PASS, PROG_XDP};
use serde::Serialize;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Instant;

#[derive(Serialize)]
struct Figure {
    suite: &'static str,
    name: String,
    value: f64,
    unit: &'static str,
    better: &'static str,
}

/// How much of each kind.
#[derive(Clone, Copy)]
struct Sizes {
    v4: u32,
    nets: u32,
    v6: u32,
}

struct Bench {
    sizes: Sizes,
    rounds: usize,
    repeat: u32,
    figures: Vec<Figure>,
}

const LIST: ListId = ListId::new(0).unwrap();
const ORDER: ListOrder = ListOrder {
    decision: [7; 16],
    expires_ns: NEVER_NS,
    shadow: false,
};

fn main() -> Result<()> {
    let mut bench = Bench {
        sizes: Sizes {
            v4: 1_000_000,
            nets: 100_000,
            v6: 100_000,
        },
        rounds: 9,
        repeat: 500_000,
        figures: Vec::new(),
    };
    let mut json: Option<PathBuf> = None;
    if std::env::args().len() == 1 {
        // Run as a test: only whether it works.
        (bench.sizes, bench.rounds, bench.repeat) = (
            Sizes {
                v4: 1000,
                nets: 100,
                v6: 100,
            },
            1,
            100,
        );
    }
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = args.next().map(PathBuf::from),
            "--quick" => {
                let Sizes { v4, nets, v6 } = bench.sizes;
                bench.sizes = Sizes {
                    v4: v4 / 10,
                    nets: nets / 10,
                    v6: v6 / 10,
                };
                bench.rounds = 3;
            }
            _ => {}
        }
    }
    if !probe::has_object() {
        println!("skipped: no kernel object; run `cargo xtask build-ebpf` and build again");
        return Ok(());
    }
    if !probe::missing_capabilities().is_empty() {
        println!("skipped: needs {}", probe::missing_capabilities().join(" and "));
        return Ok(());
    }
    bench.lists()?;
    bench.decisions()?;
    if let Some(path) = &json {
        let text = serde_json::to_string_pretty(&bench.figures)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

impl Bench {
    fn tell(&mut self, name: &str, value: f64, unit: &'static str) {
        println!("{name:<52} {value:>10.1} {unit}");
        self.figures.push(Figure {
            suite: "lists",
            name: name.to_owned(),
            value,
            unit,
            better: "lower",
        });
    }

    fn timed<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let at = Instant::now();
        let out = work()?;
        self.tell(name, at.elapsed().as_secs_f64() * 1000.0, "ms");
        Ok(out)
    }

    fn config(&self) -> KernelConfig {
        let Sizes { v4, nets, v6 } = self.sizes;
        KernelConfig {
            list_capacity: v4 + 1000,
            list6_capacity: v6 + 1000,
            list_net_capacity: nets + 1000,
            ..Config::default().kernel
        }
    }

    fn lists(&mut self) -> Result<()> {
        let Sizes { v4, nets, v6 } = self.sizes;
        let mut kernel = Kernel::load(&self.config(), Mode::Production)?;
        kernel.test_accounting(false)?;
        let lists = kernel.lists();
        self.tell("memory of all maps, empty", memory()?, "MiB");
        self.packets(&mut kernel, "nothing listed", false)?;
        let addresses = || (0..v4).map(address4);
        self.timed(&format!("list: {v4} IPv4 loaded"), || {
            Ok(lists.replace(LIST, &ORDER, addresses())?)
        })?;
        self.packets(&mut kernel, "list of IPv4", true)?;
        self.timed(&format!("list: {v4} IPv4 exchanged for the same"), || {
            let change = lists.replace(LIST, &ORDER, addresses())?;
            ensure!(change.kept == u64::from(v4), "{change:?}");
            Ok(())
        })?;
        let all = || addresses().chain((0..nets).map(net4)).chain((0..v6).map(address6));
        self.timed(&format!("list: {nets} prefixes and {v6} IPv6 added"), || {
            Ok(lists.replace(LIST, &ORDER, all())?)
        })?;
        self.tell("memory of all maps, loaded", memory()?, "MiB");
        self.timed("list: 500 added, 500 removed", || {
            let change = lists.change(LIST, (v4..v4 + 500).map(address4), (0..500).map(address4))?;
            ensure!(change.added == 500 && change.removed == 500, "{change:?}");
            Ok(())
        })?;
        self.packets(&mut kernel, "list of everything", true)?;
        self.timed("list: all removed", || Ok(lists.remove(LIST)?))?;
        self.timed("list: all loaded at once", || Ok(lists.replace(LIST, &ORDER, all())?))?;
        Ok(())
    }

    fn decisions(&mut self) -> Result<()> {
        let Sizes { v4, nets, v6 } = self.sizes;
        let config = KernelConfig {
            block_capacity: v4,
            block_net_capacity: nets,
            list_capacity: 1,
            list6_capacity: 1,
            ..Config::default().kernel
        };
        let mut kernel = Kernel::load(&config, Mode::Production)?;
        kernel.test_accounting(false)?;
        let mut blocks = kernel.blocks();
        self.tell("memory of all maps with room for decisions", memory()?, "MiB");
        let entry = BlockEntry {
            expires_ns: NEVER_NS,
            action: ACTION_DROP,
            decision: [7; 16],
            ..BlockEntry::default()
        };
        let all: Vec<_> = (0..v4)
            .map(address4)
            .chain((0..nets).map(net4))
            .chain((0..v6).map(address6))
            .collect();
        self.timed("decisions: as many written one by one", || {
            for net in &all {
                blocks.put_block(*net, &entry)?;
            }
            Ok(())
        })?;
        self.packets(&mut kernel, "decisions", true)?;
        self.timed("decisions: deleted one by one", || {
            for net in &all {
                blocks.delete_block(*net)?;
            }
            Ok(())
        })
    }

    /// What a packet costs beyond an empty program.
    fn packets(&mut self, kernel: &mut Kernel, what: &str, blocked: bool) -> Result<()> {
        let mut subjects = vec![
            ("IPv4 passed", frame4([192, 0, 2, 9]), PROG_FLOOR_PASS),
            (
                "IPv6 passed",
                frame6(Ipv6Addr::new(0x3fff, 1, 2, 3, 0, 0, 0, 9)),
                PROG_FLOOR_PASS,
            ),
        ];
        if blocked {
            let IpNet::V4(listed) = address4(self.sizes.v4 / 2) else {
                unreachable!("an IPv4 address")
            };
            subjects.push(("IPv4 blocked", frame4(listed.addr().octets()), PROG_FLOOR_DROP));
        }
        for (name, frame, floor) in subjects {
            let mut net = Vec::new();
            for _ in 0..self.rounds {
                let empty = kernel.test_run(floor, &frame, self.repeat)?;
                let full = kernel.test_run(PROG_XDP, &frame, self.repeat)?;
                ensure!(full.code == empty.code, "{name}, {what}: verdict {}", full.code);
                net.push(full.each.as_nanos() as f64 - empty.each.as_nanos() as f64);
            }
            net.sort_by(f64::total_cmp);
            let median = net.get(net.len() / 2).copied().unwrap_or(f64::NAN);
            self.tell(&format!("{name}, {what}"), median, "ns/packet");
        }
        Ok(())
    }
}

/// Scattered over 64.0.0.0/2, as real lists are; an odd multiplier permutes the numbers.
fn address4(n: u32) -> IpNet {
    let address = Ipv4Addr::from(0x4000_0000 | n.wrapping_mul(0x9e37_79b1) & 0x3fff_ffff);
    Ipv4Net::new_assert(address, 32).into()
}

fn net4(n: u32) -> IpNet {
    let address = Ipv4Addr::from(0x8000_0000 | n.wrapping_mul(0x9e37_79b1) & 0x3fff_ffff);
    Ipv4Net::new_assert(address, 16 + (n % 13) as u8).trunc().into()
}

fn address6(n: u32) -> IpNet {
    let scattered = u128::from(n.wrapping_mul(0x9e37_79b1));
    let address = 0x2001_0db8_0000_0000_0000_0000_0000_0000 | scattered << 64 | scattered;
    Ipv6Net::new_assert(Ipv6Addr::from(address), 128).into()
}

/// What the kernel says this process's maps take, MiB.
fn memory() -> Result<f64> {
    let mut bytes = 0u64;
    for file in std::fs::read_dir("/proc/self/fdinfo")? {
        let Ok(text) = std::fs::read_to_string(file?.path()) else {
            continue;
        };
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
        };
        if field("map_type:").is_some() {
            bytes += field("memlock:").unwrap_or(0);
        }
    }
    Ok(bytes as f64 / f64::from(1 << 20))
}

fn frame4(source: [u8; 4]) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00];
    out.extend([0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0]);
    out.extend(source);
    out.extend([10, 0, 0, 1]);
    out.extend(tcp());
    out
}

fn frame6(source: Ipv6Addr) -> Vec<u8> {
    let mut out = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd];
    out.extend([0x60, 0, 0, 0, 0, 40, 6, 64]);
    out.extend(source.octets());
    out.extend(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).octets());
    out.extend(tcp());
    out
}

/// A segment with ACK and 20 bytes of payload.
fn tcp() -> Vec<u8> {
    let mut out = vec![
        0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0,
    ];
    out.extend([0x55; 20]);
    out
}
