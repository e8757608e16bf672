//! xdp-filter, of Debian's package xdp-tools: loaded onto a veth by its own loader, then run by its program's number.

use crate::frames::{listed_v4, listed_v6};
use crate::net::{self, Pair, sh};
use anyhow::{Context, Result};
use aya::maps::{Map, MapData, MapInfo, PerCpuHashMap, PerCpuValues};
use aya::programs::{ProgramFd, loaded_programs};
use std::collections::HashSet;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

/// `MAP_FLAG_SRC` of its `common_kern_user.h`: the address is denied as a source.
const SOURCE: u64 = 1;

/// A loaded xdp-filter.
pub(crate) struct Filter {
    pub(crate) name: &'static str,
    /// Its program is attached to this pair's near end.
    pub(crate) pair: Pair,
    program: ProgramFd,
}

impl Filter {
    pub(crate) fn available() -> bool {
        net::has("xdp-filter")
    }

    /// Loads it with the features named, or all, and denies the first `entries` sources, 10,000 at most.
    pub(crate) fn load(name: &'static str, features: Option<&str>, entries: u32) -> Result<Self> {
        let pair = Pair::new()?;
        let known: HashSet<u32> = loaded_programs().filter_map(|info| Some(info.ok()?.id())).collect();
        let features = features.map_or(String::new(), |list| format!("-f {list}"));
        // It wants a BPF file system, which is gone with the shell; the program stays with the interface.
        sh(&format!(
            "unshare -m sh -c 'mount --make-rprivate / && mount -t bpf bpf /sys/fs/bpf && \
             nsenter --net=/run/netns/{} xdp-filter load -m native {features} {}'",
            pair.near, pair.interface
        ))?;
        let info = loaded_programs()
            .filter_map(Result::ok)
            .find(|info| !known.contains(&info.id()) && info.name().starts_with(b"xdpfilt"))
            .context("xdp-filter's program is not among the loaded ones")?;
        let filter = Self {
            name,
            pair,
            program: info.fd()?,
        };
        for id in info.map_ids()?.context("this kernel does not tell a program's maps")? {
            match MapInfo::from_id(id)?.name_as_str() {
                Some("filter_ipv4") => fill(id, entries, listed_v4, |ip| match ip {
                    IpAddr::V4(ip) => Some(ip.octets()),
                    IpAddr::V6(_) => None,
                })?,
                Some("filter_ipv6") => fill(id, entries, listed_v6, |ip| match ip {
                    IpAddr::V4(_) => None,
                    IpAddr::V6(ip) => Some(ip.octets()),
                })?,
                _ => {}
            }
        }
        Ok(filter)
    }

    pub(crate) fn program(&self) -> BorrowedFd<'_> {
        self.program.as_fd()
    }
}

fn fill<K: aya::Pod>(id: u32, entries: u32, nth: fn(u32) -> IpAddr, key: fn(IpAddr) -> Option<K>) -> Result<()> {
    let mut map: PerCpuHashMap<_, K, u64> = Map::PerCpuHashMap(MapData::from_id(id)?).try_into()?;
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| anyhow::anyhow!("{what}: {error}"))?;
    for n in 0..entries {
        if let Some(key) = key(nth(n)) {
            map.insert(key, PerCpuValues::try_from(vec![SOURCE; cpus])?, 0)?;
        }
    }
    Ok(())
}
