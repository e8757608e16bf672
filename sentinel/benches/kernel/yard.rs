//! The yardstick programs: loaded, filled, driven.

use crate::frames::{listed_v4, listed_v6};
use anyhow::{Context, Result};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use aya::programs::{Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader, Pod};
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

/// `Listed` of `sentinel-ebpf/src/bin/yardstick.rs`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Listed {
    expires: u64,
    id: u64,
    hits: u64,
}

/// `Draw` there.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    pub(crate) sources: u32,
    pub(crate) first: u32,
    pub(crate) base: u32,
    pub(crate) mask: u32,
    pub(crate) prefix: u32,
    pub(crate) ifindex: u32,
    pub(crate) state: u32,
}

/// `Told` there.
#[repr(C)]
#[derive(Clone, Copy)]
struct Told {
    sent: u64,
    lost: u64,
}

// SAFETY: plain numbers without padding, for which every pattern of bits is good.
unsafe impl Pod for Listed {}
// SAFETY: as above.
unsafe impl Pod for Told {}
// SAFETY: as above.
unsafe impl Pod for Draw {}

const HOLDS: Listed = Listed {
    expires: u64::MAX,
    id: 7,
    hits: 0,
};

/// Where `cargo xtask build-ebpf` puts the object.
pub(crate) fn object() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/yardstick.o")
}

/// The loaded programs, with lists of a size.
pub(crate) struct Yard {
    ebpf: Ebpf,
    draw: Array<MapData, Draw>,
    next: MapData,
}

impl Yard {
    /// Loads the programs; their exact lists hold `entries` each, their prefixes `prefixes`.
    pub(crate) fn load(entries: u32, prefixes: u32) -> Result<Self> {
        let bytes = std::fs::read(object()).with_context(|| object().display().to_string())?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("YARD4", entries.max(1))
            .map_max_entries("YARD6", entries.max(1))
            .map_max_entries("YARD_NET4", prefixes.max(1))
            .map_max_entries("YARD_NET6", prefixes.max(1))
            .load(&bytes)?;
        for name in [
            "yard_pass",
            "yard_drop",
            "yard_bare",
            "yard_textbook",
            "yard_shuffle",
            "yard_send",
            "yard_tell",
        ] {
            let program: &mut Xdp = ebpf.program_mut(name).context(name)?.try_into()?;
            program.load().with_context(|| name.to_owned())?;
        }
        let draw = Array::try_from(ebpf.take_map("YARD_DRAW").context("YARD_DRAW")?)?;
        let Some(Map::ProgramArray(next)) = ebpf.take_map("YARD_NEXT") else {
            anyhow::bail!("YARD_NEXT is no program array");
        };
        let mut yard = Self { ebpf, draw, next };
        yard.fill(entries, prefixes)?;
        Ok(yard)
    }

    fn fill(&mut self, entries: u32, prefixes: u32) -> Result<()> {
        let mut exact4: HashMap<_, [u8; 4], Listed> = self.map("YARD4")?.try_into()?;
        for n in 0..entries {
            if let IpAddr::V4(source) = listed_v4(n) {
                exact4.insert(source.octets(), HOLDS, 0)?;
            }
        }
        let mut exact6: HashMap<_, [u8; 16], Listed> = self.map("YARD6")?.try_into()?;
        for n in 0..entries {
            if let IpAddr::V6(source) = listed_v6(n) {
                exact6.insert(source.octets(), HOLDS, 0)?;
            }
        }
        let mut net4: LpmTrie<_, [u8; 4], Listed> = self.map("YARD_NET4")?.try_into()?;
        for n in 0..prefixes {
            if let ipnet::IpNet::V4(net) = crate::frames::prefix_v4(n) {
                net4.insert(&Key::new(u32::from(net.prefix_len()), net.addr().octets()), HOLDS, 0)?;
            }
        }
        let mut net6: LpmTrie<_, [u8; 16], Listed> = self.map("YARD_NET6")?.try_into()?;
        for n in 0..prefixes {
            if let ipnet::IpNet::V6(net) = crate::frames::prefix_v6(n) {
                net6.insert(&Key::new(u32::from(net.prefix_len()), net.addr().octets()), HOLDS, 0)?;
            }
        }
        Ok(())
    }

    /// The ring of `yard_tell`, once.
    pub(crate) fn ring(&mut self) -> Result<RingBuf<MapData>> {
        Ok(self.map("YARD_RING")?.try_into()?)
    }

    /// Records that `yard_tell` sent, and those the ring had no room for.
    pub(crate) fn told(&self) -> Result<[u64; 2]> {
        let told: PerCpuArray<_, Told> = self.ebpf.map("YARD_TOLD").context("YARD_TOLD")?.try_into()?;
        let each = told.get(&0, 0)?;
        let add = |[sent, lost]: [u64; 2], cpu: &Told| [sent + cpu.sent, lost + cpu.lost];
        Ok(each.iter().fold([0; 2], add))
    }

    fn map(&mut self, name: &str) -> Result<Map> {
        // Programs hold what they use; the handle may go.
        self.ebpf.take_map(name).with_context(|| name.to_owned())
    }

    /// A program.
    pub(crate) fn program(&self, name: &str) -> Result<BorrowedFd<'_>> {
        let program: &Xdp = self.ebpf.program(name).context("no such program")?.try_into()?;
        Ok(program.fd()?.as_fd())
    }

    /// Attaches a program to an interface of this thread's namespace, natively.
    pub(crate) fn attach(&mut self, name: &str, interface: &str) -> Result<()> {
        let program: &mut Xdp = self.ebpf.program_mut(name).context("no such program")?.try_into()?;
        program.attach(interface, XdpMode::Driver)?;
        Ok(())
    }

    /// How the drivers choose sources from now on.
    pub(crate) fn draw(&mut self, draw: Draw) -> Result<()> {
        Ok(self.draw.set(0, draw, 0)?)
    }

    /// Where `yard_shuffle` goes on to.
    pub(crate) fn next(&self, program: BorrowedFd<'_>) -> Result<()> {
        crate::run::put(self.next.fd().as_fd(), 0, program.as_raw_fd() as u32)
    }

    /// The driver itself.
    pub(crate) fn shuffle(&self) -> Result<BorrowedFd<'_>> {
        self.program("yard_shuffle")
    }
}
